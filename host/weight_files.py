"""Find and read files of weights without ComfyUI: below given folders, checked, tensors only.

`weights` and `weight_places` add ComfyUI's folders; `python3 annotate` uses this alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ..files.header import FileError, read_header
from ..preprocessors.spec import StateDict, Weights
from .pickles import refuse_claims, unpickled

TABLES = ("state_dict", "model", "params_ema", "params")
"""Keys under which training code stores the state dict in a pickle."""
BLOCK_BYTES = 1 << 20
MOST_DEEP = 5
"""Levels of subfolders: hub's own cache has models--OWNER--NAME/snapshots/COMMIT."""
MOST_FOLDERS = 5000
"""Subfolders that are looked into below one folder: it may be the root of a disk by mistake."""


class WeightsError(RuntimeError):
    """Weights that cannot be used: names the file, what is wrong, and how to get them."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence


def below(weights: Weights, roots: list[Path]) -> Path | None:
    """Return the file from the folders `roots`, else from their subfolders, or None."""
    near = (root / name for root in roots for name in _names(weights))
    published = Path(weights.repo, weights.remote or weights.file)
    places = (*near, *(root / published for root in roots))
    return next(filter(_is_file, places), None) or next(
        (file for root in roots for file in _below(root, weights)), None
    )


def _names(weights: Weights) -> list[str]:
    """List its names by preference: a safetensors file before the pickle of the same stem.

    A file with a graph of its own is another file in every other format.
    """
    names = list[str]()
    for name in (weights.file, *weights.also):
        plain = [] if weights.opened else [str(Path(name).with_suffix(".safetensors"))]
        names += [*plain, name]
    return list(dict.fromkeys(names))


def _below(root: Path, weights: Weights) -> Iterator[Path]:
    """Yield the files of these names in subfolders, the preferred name first."""
    names = _names(weights)
    remote = Path(weights.remote or weights.file)
    owner = weights.repo.replace("/", "--")
    matches: dict[int, list[Path]] = {}
    for folder, files in islice(_walked(root), MOST_FOLDERS):
        for rank, name in enumerate(names):
            if name in files:
                matches.setdefault(rank, []).append(folder / name)
        # Many repositories have files of these names: only in a folder of this one are they ours.
        is_repository = folder.as_posix().endswith(weights.repo) or owner in folder.as_posix()
        if is_repository and remote.name in files:
            matches.setdefault(len(names), []).append(folder / remote.name)
    yield from (file for rank in sorted(matches) for file in matches[rank] if _is_file(file))


def _walked(root: Path) -> Iterator[tuple[Path, set[str]]]:
    """Yield the subfolders of `root` with the names in them, links followed, none twice."""
    seen = set[str]()
    for path, subfolders, files in os.walk(root, followlinks=True):
        real, depth = os.path.realpath(path), len(Path(path).relative_to(root).parts)
        if real in seen or depth >= MOST_DEEP:
            subfolders.clear()
        if real not in seen:
            subfolders.sort()
            yield Path(path), set(files)
        seen.add(real)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)


def tensors(weights: Weights, path: Path) -> StateDict:
    """Read the tensors of a file.

    Raises FileError where it is damaged, another file, or could run code; OSError where it cannot
    be read.
    """
    check(weights, path)
    return _READERS.get(path.suffix.lower(), _pickled)(path)


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
