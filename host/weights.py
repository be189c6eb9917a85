"""Keep the weights of preprocessors in folders of ComfyUI: find, read, and say what to do."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

import folder_paths

from ..files.header import FileError
from ..preprocessors.spec import StateDict, Weights
from .addresses import shown_address
from .weight_files import WeightsError, tensors
from .weight_places import located

FOLDER = "controlnet_preprocessors"
"""Name of our folder in ComfyUI's models folder; also its key in extra_model_paths.yaml."""


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
        return tensors(weights, path)
    except (FileError, OSError) as error:
        raise WeightsError(f"{error} {remedy(weights, path)}") from error


def remedy(weights: Weights, path: Path) -> str:
    """Say what to do about a file that cannot be used."""
    return (
        f"The file is {path}: delete or replace it. Once deleted, the next run downloads"
        f" {weights.file} from {shown_address(weights)} into {writable(folders())}."
    )
