"""What the page is told: the hint of a picture that lies in the host's folders, and which nets fit
which model.
"""

from __future__ import annotations

import io as memory
import json
import ntpath
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import comfy.model_detection
import folder_paths
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from ..files import base_models, families
from ..files.header import FileError, Header, is_safetensors, read_header
from ..preprocessors import CATALOGUE, Preprocessor
from ..preprocessors.images import fitted
from .control_files import PATCHES, names

MOST_SOURCE_PX = 40_000_000
MOST_HINT_PX = 2048 * 2048
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
FOLDERS: dict[str, Callable[[], str]] = {
    "input": folder_paths.get_input_directory,
    "output": folder_paths.get_output_directory,
    "temp": folder_paths.get_temp_directory,
}
MODEL_FOLDERS = ("checkpoints", "diffusion_models")
UNKNOWN = {"is": "", "base": "", "blocks": None, "fits": None}


class Refused(Exception):
    """A question that is not answered; `status` is HTTP's."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


# -- a hint ----------------------------------------------------------------------------------------


def hint(question: dict[str, Any]) -> bytes:
    """The hint as PNG of {"image": NAME, "method": KEY, "params": {...}, "resolution": px}; of
    frames, the first.

    A method is the catalogue's key or the class of its node. Raises Refused: 400 for what is no
    such question, 404 for no such picture, 413 for too many pixels and 422 for a network, both of
    which are the queue's business.
    """
    row = _row(question.get("method"))
    params = _params(row, question.get("params", {}))
    resolution = question.get("resolution", 0)
    if not isinstance(resolution, int) or isinstance(resolution, bool):
        raise Refused(400, "resolution: expected a whole number of pixels")
    file = picture_file(question.get("image"))
    picture = _picture(file, file.stat().st_mtime_ns)
    try:
        _refuse_large(*fitted(picture.shape[1], picture.shape[2], resolution))
        made = row(picture, resolution=resolution, **params)
    except ValueError as error:
        raise Refused(400, str(error)) from error
    return _png(made[0], grey=row.grey)


def _row(method: Any) -> Preprocessor:
    """Look a method up by its key or its node's id."""
    for row in CATALOGUE:
        if method in (row.key, row.node_id):
            return row
    raise Refused(400, f"method: expected one of {', '.join(row.key for row in CATALOGUE)}")


def _params(row: Preprocessor, params: Any) -> dict[str, Any]:
    if not isinstance(params, dict) or not all(
        isinstance(value, int | float | str) for value in params.values()
    ):
        raise Refused(400, "params: expected an object of numbers, texts and booleans")
    engine = params.get(
        "engine", next((param.default for param in row.params if param.name == "engine"), "")
    )
    if engine in row.weights:
        raise Refused(422, f"{row.title} runs a network: press Run")
    return params


def picture_file(name: Any) -> Path:
    """The file that LoadImage's name means (`folder/name.png`, `name.png [output]`). Raises Refused
    for a path.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise Refused(400, "image: expected the name of a picture")
    folder = "input"
    for known in FOLDERS:
        if name.endswith(f" [{known}]"):
            name, folder = name.removesuffix(f" [{known}]"), known
    parts = name.replace("\\", "/").split("/")
    if os.path.isabs(name) or ntpath.splitdrive(name)[0] or name[:1] in "/\\" or ".." in parts:
        raise Refused(400, "image: expected a name, found a path")
    base = Path(FOLDERS[folder]()).resolve()
    try:
        file = (base / name).resolve()
        is_there = file.is_file()
    except (OSError, RuntimeError) as error:  # a name too long for the system, a link to itself
        raise Refused(404, f"image: there is no such picture in {folder}") from error
    if not file.is_relative_to(base):
        raise Refused(403, f"image: it lies outside of {folder}")
    if not is_there:
        raise Refused(404, f"image: there is no such picture in {folder}")
    return file


def _opened(file: Path) -> Image.Image:
    """Only the header is read. Raises Refused for what is no picture or has more pixels than it
    may.
    """
    try:
        picture = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Refused(413, f"image: expected at most {MOST_SOURCE_PX} pixels") from error
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise Refused(400, "image: expected a picture") from error
    if picture.width * picture.height > MOST_SOURCE_PX:
        raise Refused(
            413,
            f"image: expected at most {MOST_SOURCE_PX} pixels, found"
            f" {picture.width}x{picture.height}",
        )
    return picture


def _refuse_large(height_px: int, width_px: int) -> None:
    if height_px * width_px > MOST_HINT_PX:
        raise Refused(
            413,
            f"a hint of {width_px}x{height_px} pixels takes long: press Run, or lower the"
            " resolution",
        )


@lru_cache(maxsize=2)
def _picture(file: Path, _changed_ns: int) -> torch.Tensor:
    """(1,H,W,3) float32 in [0,1], as the host's LoadImage gives it."""
    with _opened(file) as picture:
        try:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode == "I":
                upright = upright.point(lambda level: level * (1 / 255))
            levels = np.array(upright.convert("RGB"), dtype=np.float32) / 255.0
        except (OSError, SyntaxError) as error:  # cut short or damaged after its header
            raise Refused(400, "image: the picture is damaged") from error
    return torch.from_numpy(levels)[None]


def _png(frame: torch.Tensor, *, grey: bool) -> bytes:
    levels = (frame[..., 0] if grey else frame).mul(255).round().to(torch.uint8).cpu().numpy()
    file = memory.BytesIO()
    Image.fromarray(levels).save(file, "PNG", compress_level=1)
    return file.getvalue()


# -- the nets --------------------------------------------------------------------------------------


def nets(question: dict[str, Any]) -> bytes:
    """{"nets": {NAME: {"is", "base", "blocks", "fits"}}, "base"} for {"model": {"folder", "name"}
    or null}, as JSON.

    `base` is the model's; `fits` is null where it cannot be told. Only the headers of files are
    read. Raises Refused as `hint`.
    """
    model = _model(question.get("model"))
    table = {name: _net(name, model) for name in names()}
    return json.dumps(
        {"nets": table, "base": model.base if model and model.is_known else ""}
    ).encode()


def _net(name: str, model: base_models.Model | None) -> dict[str, Any]:
    folder, file = ("controlnet", name)
    if name.startswith(f"{PATCHES}/"):
        folder, file = PATCHES, name.removeprefix(f"{PATCHES}/")
    header = _header(folder_paths.get_full_path(folder, file))
    identity = families.identify(header.shapes, header.metadata) if header else None
    if identity is None:
        return UNKNOWN
    blocks = len(identity.unet.skips) + 1 if identity.unet else None  # and the middle
    fits = model.accepts(identity) if model else None
    return {"is": str(identity), "base": identity.base, "blocks": blocks, "fits": fits}


def _model(named: Any) -> base_models.Model | None:
    if named is None:
        return None
    folder, name = (
        (named.get("folder"), named.get("name")) if isinstance(named, dict) else (None, None)
    )
    if folder not in MODEL_FOLDERS or not isinstance(name, str):
        raise Refused(400, f"model: expected a name and one of {', '.join(MODEL_FOLDERS)}")
    if name not in folder_paths.get_filename_list(folder):
        raise Refused(404, f"model: there is no such file in {folder}")
    file = folder_paths.get_full_path(folder, name)
    return _described(file, os.stat(file).st_mtime_ns) if file else None


def _header(file: str | None) -> Header | None:
    """A safetensors file's header; None where there is none, or it does not read."""
    if file is None or not is_safetensors(Path(file)):
        return None
    try:
        return _read(file, os.stat(file).st_mtime_ns)
    except (FileError, OSError):
        return None


@lru_cache(maxsize=256)
def _read(file: str, _changed_ns: int) -> Header:
    return read_header(Path(file))


@lru_cache(maxsize=16)
def _described(file: str, _changed_ns: int) -> base_models.Model | None:
    """The base model as the host's own detection sees it, from shapes alone; None where those do
    not tell.
    """
    header = _header(file)
    if header is None:
        return None
    shapes = {
        key: torch.empty(shape, device="meta", dtype=torch.float16)
        for key, shape in header.shapes.items()
    }
    prefix = comfy.model_detection.unet_prefix_from_state_dict(shapes)
    prefix = prefix if any(key.startswith(prefix) for key in shapes) else ""
    try:
        config = comfy.model_detection.model_config_from_unet(shapes, prefix)
    except (
        RuntimeError,
        NotImplementedError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
    ):
        return None  # the host looks at values of some models, and a header has none
    if config is None:
        return None
    return base_models.model_of(
        tuple(base.__name__ for base in type(config).__mro__), config.unet_config
    )
