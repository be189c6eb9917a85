"""Files of trained weights: found where users have them, checked, and read; fetched where nobody
has them.
"""

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
"""Our folder's name among the host's model folders, so also its key in extra_model_paths.yaml."""
AUX_CHECKPOINTS = "AUX_ANNOTATOR_CKPTS_PATH"
"""The environment variable by which users move controlnet_aux's checkpoints."""
WEBUI_DOWNLOADS = (
    "../annotator/downloads",
    "../../extensions/sd-webui-controlnet/annotator/downloads",
)
FORGE_DOWNLOADS = "../ControlNetPreprocessor"
TABLES = ("state_dict", "model", "params_ema", "params")
"""Keys under which training code keeps the table of weights in a pickle."""
BLOCK_BYTES = 1 << 20


class WeightsError(RuntimeError):
    """Weights that cannot be had: names the file, what was expected and found, and how to get them."""


def folders() -> list[Path]:
    """Ours, registered with the host: those that extra_model_paths.yaml names, then the one among
    its models.

    The first takes downloads.
    """
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]


def find(weights: Weights) -> Path | None:
    """The file, in our folders, then where controlnet_aux and WEBUI keep theirs; None where nobody
    has it.
    """
    return next((place for place in _places(weights) if place.is_file()), None)


def read(weights: Weights, path: Path) -> StateDict:
    """The tensors of a file. Raises WeightsError where it is damaged, another's, or could run code."""
    try:
        check(weights, path)
        return _READERS.get(path.suffix.lower(), _pickled)(path)
    except (FileError, OSError) as error:
        raise WeightsError(f"{error} {remedy(weights, path)}") from error


def remedy(weights: Weights, path: Path) -> str:
    """What to do about a file that is of no use."""
    return (
        f"The file is {path}: delete or replace it. Without it, the next run fetches {weights.file}"
        f" from {address(weights)} into {folders()[0]}."
    )


def address(weights: Weights) -> str:
    """Where the file is downloaded from; HF_ENDPOINT counts."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(weights.repo, weights.remote or weights.file, revision=weights.revision)


def sha256_of(path: Path) -> str:
    """In hexadecimal, read in blocks: the file may be larger than memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _names(weights: Weights) -> list[str]:
    """Its names in the order of preference: a safetensors file before the pickle of the same stem."""
    named = (weights.file, *weights.also)
    return list(
        dict.fromkeys(
            n for name in named for n in (str(Path(name).with_suffix(".safetensors")), name)
        )
    )


def _places(weights: Weights) -> Iterator[Path]:
    """Every path at which the file may be, ours first. A place of another tool may not exist at
    all.
    """
    names = _names(weights)
    yield from (folder / name for folder in folders() for name in names)
    for checkpoints in (
        _aux_checkpoints()
    ):  # ckpts/OWNER/REPOSITORY/FILE, where each pack has its own repositories
        yield checkpoints / weights.repo / (weights.remote or weights.file)
        yield from (
            found
            for name in names
            for depth in ("*/*", "*/*/*")
            for found in checkpoints.glob(f"{depth}/{name}")
        )
    for downloads in _webui_downloads():
        yield from (found for name in names for found in sorted(downloads.glob(f"*/{name}")))


def _aux_checkpoints() -> Iterator[Path]:
    if moved := os.environ.get(AUX_CHECKPOINTS):
        yield Path(moved)
    for folder in folder_paths.get_folder_paths("custom_nodes"):
        packs = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
        yield from (pack / "ckpts" for pack in packs if (pack / "ckpts").is_dir())


def _webui_downloads() -> Iterator[Path]:
    """Beside ControlNet folders that belong to WEBUI or Forge, which extra_model_paths.yaml often
    names.
    """
    for folder in folder_paths.get_folder_paths("controlnet"):
        beside = [
            Path(folder, *place.split("/")).resolve()
            for place in (*WEBUI_DOWNLOADS, FORGE_DOWNLOADS)
        ]
        yield from (place for place in beside if place.is_dir())


def check(weights: Weights, path: Path) -> None:
    """Size and sha256, where the file bears the published one's name; a conversion of your own has
    neither.
    """
    if path.name not in (weights.file, Path(weights.remote).name):
        return
    size = path.stat().st_size
    if weights.size_bytes and size != weights.size_bytes:
        how = "cut short" if size < weights.size_bytes else "another file of that name"
        raise FileError(
            f"{path.name} is {how}: {weights.size_bytes:,} bytes are published, it has {size:,}."
        )
    if weights.sha256 and (found := sha256_of(path)) != weights.sha256:
        raise FileError(
            f"{path.name} is not the file that {weights.repo} publishes: its sha256 should be"
            f" {weights.sha256}, but is {found}. (A net that you trained yourself goes by another"
            f" ending: {path.stem}.safetensors.)"
        )


def _safetensors(path: Path) -> StateDict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_header(path)  # its sentences say what is wrong
    try:
        return load_file(path)
    except SafetensorError as error:
        raise FileError(f"{path.name} is damaged ({error}).") from error


def _pickled(path: Path) -> StateDict:
    """Tensors alone are let in. Raises FileError for code, damage or anything that is no table of
    weights.
    """
    with tensors_alone(path):
        found = torch.load(path, map_location="cpu", weights_only=True)
    return _table(path, found)


def _table(path: Path, found: Any) -> StateDict:
    if isinstance(found, dict):
        found = next((found[key] for key in TABLES if isinstance(found.get(key), dict)), found)
        tensors = {
            str(key): value for key, value in found.items() if isinstance(value, torch.Tensor)
        }
        if tensors:
            return tensors
    raise FileError(f"{path.name} holds no table of weights, but {type(found).__name__}.")


_READERS: dict[str, Callable[[Path], StateDict]] = {
    ".safetensors": _safetensors,
    ".sft": _safetensors,
}
