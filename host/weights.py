"""Keep the weights of preprocessors: their folders, their checks, and how they are read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import folder_paths
import torch

from ..files.header import FileError, read_header
from ..preprocessors.spec import StateDict, Weights
from .addresses import shown_address
from .pickles import refuse_claims, unpickled
from .weight_places import located

FOLDER = "controlnet_preprocessors"
"""Name of our folder in ComfyUI's models folder; also its key in extra_model_paths.yaml."""
TABLES = ("state_dict", "model", "params_ema", "params")
"""Keys under which training code stores the state dict in a pickle."""
BLOCK_BYTES = 1 << 20


class WeightsError(RuntimeError):
    """Weights that cannot be used: names the file, what is wrong, and how to get them."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence


def folders() -> list[Path]:
    """Register our folders with ComfyUI and list them.

    Those that extra_model_paths.yaml names come before the one in ComfyUI's models folder.
    """
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]


def writable(places: list[Path]) -> Path:
    """Return the first folder in which a file can be written, else the first."""
    return next((place for place in places if _is_writable(place)), places[0])


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def find(weights: Weights) -> Path | None:
    """Return the file from our folders, controlnet_aux's or WEBUI's; None where there is none."""
    return located(weights, folders())


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
        f" {weights.file} from {shown_address(weights)} into {writable(folders())}."
    )


def sha256_of(path: Path) -> str:
    """Return a file's sha256 in hexadecimal, reading block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


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


def check_graph(weights: Weights, path: Path) -> None:
    """Check a file that holds a graph of its own, which runs: only the published bytes may.

    Its name and ending do not matter. Raises FileError.
    """
    if not weights.sha256:
        raise FileError(
            f"{path.name} holds a graph that runs as a program, and the sha256 of the published"
            " file is not known here, so it is not opened: choose another engine"
        )
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise FileError(f"{path.name} could not be read ({error.strerror})") from error
    if actual != weights.sha256:
        raise FileError(
            f"{path.name} holds a graph that runs as a program, and is not the file that"
            f" {weights.repo} publishes, so it is not opened: expected sha256 {weights.sha256},"
            f" found {actual}"
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
    """Read a pickle as weights only.

    Raises FileError for code, damage, or anything that is not a state dict.
    """
    return _state_dict(path, unpickled(path))


def _state_dict(path: Path, content: Any) -> StateDict:
    if isinstance(content, dict):
        nested = (content[key] for key in TABLES if isinstance(content.get(key), dict))
        table = next(nested, content)
        tensors = {
            str(key): value for key, value in table.items() if isinstance(value, torch.Tensor)
        }
        refuse_claims(path, tensors)
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
