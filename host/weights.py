"""Find the weights of preprocessors where users have them, check them, and read them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import folder_paths
import torch

from ..files.header import FileError, read_header, tensors_alone
from ..preprocessors.spec import StateDict, Weights

FOLDER = "controlnet_preprocessors"
"""Name of our folder in ComfyUI's models folder; also its key in extra_model_paths.yaml."""
AUX_CHECKPOINTS = "AUX_ANNOTATOR_CKPTS_PATH"
"""The environment variable by which users move controlnet_aux's checkpoints."""
WEBUI_DOWNLOADS = (
    "../annotator/downloads",
    "../../extensions/sd-webui-controlnet/annotator/downloads",
)
FORGE_DOWNLOADS = "../ControlNetPreprocessor"
TABLES = ("state_dict", "model", "params_ema", "params")
"""Keys under which training code stores the state dict in a pickle."""
BLOCK_BYTES = 1 << 20


class WeightsError(RuntimeError):
    """Weights that cannot be used: names the file, what is wrong, and how to get them."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence


def folders() -> list[Path]:
    """Register our folders with ComfyUI and list them; the first takes downloads.

    Those that extra_model_paths.yaml names come before the one in ComfyUI's models folder.
    """
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]


def find(weights: Weights) -> Path | None:
    """Return the file from our folders, controlnet_aux's or WEBUI's; None where there is none."""
    return next((place for place in _places(weights) if place.is_file()), None)


def read(weights: Weights, path: Path) -> StateDict:
    """Read the tensors of a file.

    Raises WeightsError where it is damaged, another file, or could run code.
    """
    try:
        check(weights, path)
        return _READERS.get(path.suffix.lower(), _pickled)(path)
    except (FileError, OSError) as error:
        raise WeightsError(f"{error} {remedy(weights, path)}") from error


def remedy(weights: Weights, path: Path) -> str:
    """Say what to do about a file that cannot be used."""
    return (
        f"The file is {path}: delete or replace it. Once deleted, the next run downloads"
        f" {weights.file} from {address(weights)} into {folders()[0]}."
    )


def address(weights: Weights) -> str:
    """Return the URL that the file is downloaded from; HF_ENDPOINT counts."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(weights.repo, weights.remote or weights.file, revision=weights.revision)


def sha256_of(path: Path) -> str:
    """Return a file's sha256 in hexadecimal, reading block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _names(weights: Weights) -> list[str]:
    """List its names by preference: a safetensors file before the pickle of the same stem."""
    names = list[str]()
    for name in (weights.file, *weights.also):
        names += [str(Path(name).with_suffix(".safetensors")), name]
    return list(dict.fromkeys(names))


def _places(weights: Weights) -> Iterator[Path]:
    """Yield every path at which the file may be, ours first."""
    names = _names(weights)
    yield from (folder / name for folder in folders() for name in names)
    # controlnet_aux: ckpts/OWNER/REPOSITORY/FILE; each pack has its own repositories.
    for checkpoints in _aux_checkpoints():
        yield checkpoints / weights.repo / (weights.remote or weights.file)
        for name in names:
            yield from checkpoints.glob(f"*/*/{name}")
            yield from checkpoints.glob(f"*/*/*/{name}")
    for downloads in _webui_downloads():
        for name in names:
            yield from sorted(downloads.glob(f"*/{name}"))


def _aux_checkpoints() -> Iterator[Path]:
    """Yield the folders of controlnet_aux's checkpoints, moved or in a custom node's folder."""
    if moved := os.environ.get(AUX_CHECKPOINTS):
        yield Path(moved)
    for folder in folder_paths.get_folder_paths("custom_nodes"):
        packs = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
        yield from (pack / "ckpts" for pack in packs if (pack / "ckpts").is_dir())


def _webui_downloads() -> Iterator[Path]:
    """Yield the folders of annotators beside ControlNet folders of WEBUI or Forge.

    extra_model_paths.yaml often names those.
    """
    for folder in folder_paths.get_folder_paths("controlnet"):
        beside = [
            Path(folder, *place.split("/")).resolve()
            for place in (*WEBUI_DOWNLOADS, FORGE_DOWNLOADS)
        ]
        yield from (place for place in beside if place.is_dir())


def check(weights: Weights, path: Path) -> None:
    """Check size and sha256 of a file with the published name; a conversion has neither.

    Raises FileError.
    """
    if path.name not in (weights.file, Path(weights.remote).name):
        return
    size = path.stat().st_size
    if weights.size_bytes and size != weights.size_bytes:
        problem = "cut short" if size < weights.size_bytes else "another file of that name"
        raise FileError(
            f"{path.name} is {problem}: expected {weights.size_bytes:,} bytes, found {size:,}."
        )
    if weights.sha256 and (actual := sha256_of(path)) != weights.sha256:
        raise FileError(
            f"{path.name} is not the file that {weights.repo} publishes: expected sha256"
            f" {weights.sha256}, found {actual}. (Name weights of your own"
            f" {path.stem}.safetensors.)"
        )


def _safetensors(path: Path) -> StateDict:
    """Read a safetensors file. Raises FileError where it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_header(path)  # raises clearer sentences than the library
    try:
        return load_file(path)
    except SafetensorError as error:
        raise FileError(f"{path.name} is damaged ({error}).") from error


def _pickled(path: Path) -> StateDict:
    """Read a pickle with weights_only.

    Raises FileError for code, damage, or anything that is not a state dict.
    """
    with tensors_alone(path):
        content = torch.load(path, map_location="cpu", weights_only=True)
    return _state_dict(path, content)


def _state_dict(path: Path, content: Any) -> StateDict:
    if isinstance(content, dict):
        nested = (content[key] for key in TABLES if isinstance(content.get(key), dict))
        table = next(nested, content)
        tensors = {
            str(key): value for key, value in table.items() if isinstance(value, torch.Tensor)
        }
        if tensors:
            return tensors
    raise FileError(
        f"{path.name} does not contain weights: expected a dict of tensors, found"
        f" {type(content).__name__}."
    )


_READERS: dict[str, Callable[[Path], StateDict]] = {
    ".safetensors": _safetensors,
    ".sft": _safetensors,
}
