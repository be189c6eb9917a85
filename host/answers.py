"""Answer our frontend: the hint of a picture in ComfyUI's folders, and which nets fit a model."""

from __future__ import annotations

import io as memory
import json
import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import comfy.model_detection
import folder_paths
import numpy as np
import torch
from PIL import Image

from ..control.net_info import all_union_types, types_in_file
from ..files import base_models
from ..preprocessors import CATALOGUE, Preprocessor
from ..preprocessors.images import fitted
from .folders import FileNameError, inside, shortened
from .kept import Kept
from .net_files import changed_ns, header_of, identity_of, is_loadable, list_nets
from .picture_files import PictureError, Rules, decode, ignore_transparency, rgb_like_comfyui

MAX_SOURCE_PX = 40_000_000
MAX_HINT_PX = 2048 * 2048
RULES = Rules(
    ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"),
    MAX_SOURCE_PX,
    ignore_transparency,
    rgb_like_comfyui,
)
PICTURE_FAULTS = {
    "too large": (413, f"expected at most {MAX_SOURCE_PX:,} pixels; {{detail}}"),
    "unreadable": (400, "expected a picture"),
    "damaged": (400, "the picture is damaged"),
}
NAME_FAULTS = {
    "empty": (400, "expected the name of a picture"),
    "unusable": (400, "expected the name of a picture"),
    "path": (400, "expected a name, found a path"),
    "outside": (403, "it lies outside of {folder}"),
    "itself": (404, "there is no such picture in {folder}"),
    "unreachable": (404, "there is no such picture in {folder}"),
}
FOLDERS: dict[str, Callable[[], str]] = {
    "input": folder_paths.get_input_directory,
    "output": folder_paths.get_output_directory,
    "temp": folder_paths.get_temp_directory,
}
MODEL_FOLDERS = ("checkpoints", "diffusion_models")
DETECTION_ERRORS = (
    RuntimeError,
    LookupError,
    ArithmeticError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
)
"""What ComfyUI's detection raises where it looks at values (a header has shapes only), and for
shapes that no model has."""
MOST_TENSORS = 50_000
kept_pictures = Kept(64 << 20)
"""Of the last questions, so that a slider does not decode the same file again."""
UNKNOWN = {
    **{"is": "", "base": "", "blocks": None, "depth": "", "fits": None},
    **{"is_net": None, "types": None, "fuses": False},
}


class RequestError(Exception):
    """A request that is refused; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(shortened(message, 500))
        self.status = status


# -- hints -----------------------------------------------------------------------------------------


def hint(question: dict[str, Any]) -> bytes:
    """Make the hint of {"image": NAME, "method": KEY, "params": {...}, "resolution": px} as PNG.

    Of several frames it is the first's. A method is the catalogue's key or the class of its node.
    Raises RequestError: 400 for a malformed question, 404 for a missing picture, 413 for too many
    pixels and 422 for a network, both of which belong into the queue.
    """
    row = _row(question.get("method"))
    params = _params(row, question.get("params", {}))
    resolution = question.get("resolution", 0)
    is_whole = isinstance(resolution, int) and not isinstance(resolution, bool)
    if not is_whole or abs(resolution) > MAX_SOURCE_PX:
        raise RequestError(400, "resolution: expected a whole number of pixels")
    picture = _picture(picture_file(question.get("image")))
    try:
        _refuse_large(*fitted(picture.shape[1], picture.shape[2], resolution))
        frames = row(picture, resolution=resolution, **params)
    except ValueError as error:
        raise RequestError(400, str(error)) from error
    return _png(frames[0], grey=row.grey)


def _row(method: Any) -> Preprocessor:
    """Look a method up by its key or its node's id."""
    for row in CATALOGUE:
        if method in (row.key, row.node_id):
            return row
    raise RequestError(400, f"method: expected one of {', '.join(row.key for row in CATALOGUE)}")


def _params(row: Preprocessor, params: Any) -> dict[str, Any]:
    if not isinstance(params, dict) or not all(
        isinstance(value, int | float | str) for value in params.values()
    ):
        raise RequestError(400, "params: expected an object of numbers, texts and booleans")
    default = next((param.default for param in row.params if param.name == "engine"), "")
    if params.get("engine", default) in row.weights:
        raise RequestError(422, f"{row.title} runs a network: press Run")
    return params


def picture_file(name: Any) -> Path:
    """Return the file that LoadImage's name means (`folder/name.png`, `name.png [output]`).

    Raises RequestError for a path, and for a name without a file.
    """
    if not isinstance(name, str) or not name:
        raise RequestError(400, "image: expected the name of a picture")
    folder = "input"
    for key in FOLDERS:
        if name.endswith(f" [{key}]"):
            name, folder = name.removesuffix(f" [{key}]"), key
    try:
        file = inside(Path(FOLDERS[folder]()), name)
    except FileNameError as error:
        status, sentence = NAME_FAULTS[error.fault]
        raise RequestError(status, f"image: {sentence.format(folder=folder)}") from error
    if not file.is_file():
        raise RequestError(404, f"image: there is no such picture in {folder}")
    return file


def _refuse_large(height_px: int, width_px: int) -> None:
    if height_px * width_px > MAX_HINT_PX:
        raise RequestError(
            413,
            f"a hint of {width_px}x{height_px} pixels takes too long for a preview: press Run, or"
            " lower the resolution",
        )


def _picture(file: Path) -> torch.Tensor:
    """Decode to (1,H,W,3) float32 in [0,1], equal to what ComfyUI's LoadImage gives.

    The last pictures are kept as they are shown, in 8 bits: their levels are exact.
    """
    try:
        stat = file.stat()
        key = (file, stat.st_mtime_ns, stat.st_size)
        levels = kept_pictures.get(key)
        if levels is None:
            levels = (decode(file, RULES) * 255).round().astype(np.uint8)
            kept_pictures.put(key, levels)
        return torch.from_numpy(levels.astype(np.float32) / 255)[None]
    except PictureError as error:
        status, sentence = PICTURE_FAULTS[error.kind]
        raise RequestError(status, f"image: {sentence.format(detail=error.detail)}") from error
    except OSError as error:  # gone, or locked, since it was found
        raise RequestError(404, "image: the picture cannot be read") from error


def _png(frame: torch.Tensor, *, grey: bool) -> bytes:
    levels = (frame[..., 0] if grey else frame).mul(255).round().to(torch.uint8).cpu().numpy()
    file = memory.BytesIO()
    Image.fromarray(levels).save(file, "PNG", compress_level=1)
    return file.getvalue()


# -- nets -----------------------------------------------------------------------------------------


def nets(question: dict[str, Any]) -> bytes:
    """Describe all nets for {"model": {"folder", "name"} or null}, as JSON.

    {"nets": {NAME: {"is", "base", "blocks", "depth", "fits", "is_net", "types", "fuses"}}, "base",
    "types"}: `base` is the model's, `types` are those of all union nets. A net's `blocks` are its
    own, and `depth` how they lie; its `fits`, `is_net` (whether Load ControlNet loads it) and
    `types` are null where unknown. Only headers of files are read. Raises RequestError as `hint`.
    """
    model = _model(question.get("model"))
    table = {name: _net_or_unknown(name, model) for name in list_nets()}
    base = model.base if model and model.is_known else ""
    return json.dumps({"nets": table, "base": base, "types": [*all_union_types()]}).encode()


def _net_or_unknown(name: str, model: base_models.Model | None) -> dict[str, Any]:
    """Describe a net; a file that breaks this must not hide all others."""
    try:
        return _net(name, model)
    except Exception:
        logging.exception("[ControlStack] %s could not be described", name)
        return UNKNOWN


def _net(name: str, model: base_models.Model | None) -> dict[str, Any]:
    identity = identity_of(name)
    if identity is None:
        return UNKNOWN
    types, fuses = types_in_file(identity)
    return {
        "is": str(identity),
        "base": identity.base,
        "blocks": identity.blocks or None,
        "depth": identity.depth,
        "fits": model.accepts(identity) if model else None,
        "is_net": is_loadable(name, identity),
        "types": [*types],
        "fuses": fuses,
    }


def _model(choice: Any) -> base_models.Model | None:
    if choice is None:
        return None
    choice = choice if isinstance(choice, dict) else {}
    folder, name = choice.get("folder"), choice.get("name")
    if folder not in MODEL_FOLDERS or not isinstance(name, str):
        raise RequestError(400, f"model: expected a name and one of {', '.join(MODEL_FOLDERS)}")
    if name not in folder_paths.get_filename_list(folder):
        raise RequestError(404, f"model: there is no such file in {folder}")
    file = folder_paths.get_full_path(folder, name)
    return _described(file, changed_ns(file)) if file else None


@lru_cache(maxsize=16)
def _described(file: str, _changed_ns: int) -> base_models.Model | None:
    """Detect a base model as ComfyUI does, from shapes only; None where those do not suffice."""
    header = header_of(file)
    if header is None or len(header.shapes) > MOST_TENSORS:
        return None
    try:
        shapes = {
            key: torch.empty(shape, device="meta", dtype=torch.float16)
            for key, shape in header.shapes.items()
        }
        prefix = comfy.model_detection.unet_prefix_from_state_dict(shapes)
        prefix = prefix if any(key.startswith(prefix) for key in shapes) else ""
        config = comfy.model_detection.model_config_from_unet(shapes, prefix)
        if config is None:
            return None
        names = tuple(base.__name__ for base in type(config).__mro__)
        return base_models.model_of(names, config.unet_config)
    except DETECTION_ERRORS:
        return None
