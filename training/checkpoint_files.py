"""Checkpoints and saved nets: safetensors files with metadata, whole or not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..host import atomic
from ..host.folders import FileNameError, shortened
from ..host.folders import inside as inside_folder

SUFFIX = ".safetensors"
OTHER_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".sft")
LONGEST_NAME = 220
"""Bytes of a file's name; file systems end at 255, and unfinished files have longer names."""
_FULL_PHRASES = (
    "no space left",
    "not enough space",
    "quota exceeded",
    "file too large",
    "os error 28",
)


def inside(folder: Path, name: str, what: str) -> Path:
    """Return `folder/name.safetensors`, with or without the suffix in `name`; subfolders may be.

    Raises ValueError, with `what` as the name of the input, where it is not inside `folder`, also
    when links are followed.
    """
    parts = Path(name.strip().replace("\\", "/"))
    try:
        if not parts.stem.strip("."):
            raise FileNameError("empty", name)
        file = parts if parts.suffix == SUFFIX else parts.with_name(parts.name + SUFFIX)
        _refuse_suffix(parts, what)
        _refuse_length(file, what)
        inside_folder(folder, file.as_posix(), windows=True)  # nets are carried between systems
    except FileNameError as error:
        if error.fault == "outside":
            raise ValueError(
                f"{what}: {shortened(name)!r} leads out of {folder.name}/ over a link. Choose a"
                " name inside it."
            ) from error
        raise ValueError(
            f"{what}: expected a name, or folder/name, found {shortened(name)!r}. It is written"
            f" below {folder.name}/."
        ) from error
    return folder / file


def _refuse_suffix(name: Path, what: str) -> None:
    if name.suffix.lower() in OTHER_SUFFIXES:
        raise ValueError(
            f"{what}: expected a name without a suffix, found {name.name!r}. The file is written as"
            f" {SUFFIX}: {name.stem!r} is enough."
        )


def _refuse_length(name: Path, what: str) -> None:
    """Leave room for what is written beside a file: its unfinished form, the one before it."""
    longest = max((len(part.encode(errors="replace")) for part in name.parts), default=0)
    if longest > LONGEST_NAME:
        raise ValueError(
            f"{what}: expected a name of at most {LONGEST_NAME} bytes, found one of {longest}."
            " Choose a shorter one."
        )


def save(tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file: at every moment `path` is the old file or the new one, whole.

    Raises OSError in a sentence where the disk is full or the folder cannot be written; the old
    file then stays.
    """

    def fill(part: Path) -> None:
        contiguous = {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}
        try:
            save_file(contiguous, part, metadata=dict(metadata))
        except SafetensorError as error:  # its own type for what the system refuses
            is_full = any(phrase in str(error).lower() for phrase in _FULL_PHRASES)
            raise OSError(errno.ENOSPC if is_full else errno.EIO, str(error)) from error

    size_bytes = sum(value.numel() * value.element_size() for value in tensors.values())
    atomic.write(path, fill, size_bytes=size_bytes)


def keep(path: Path, copy: Path) -> None:
    """Give a file a second name, replacing what has it: `path` itself stays where it is."""
    if not path.exists():
        return
    part = copy.with_name(f".{copy.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        _link(path, part)
        os.replace(part, copy)
    finally:
        part.unlink(missing_ok=True)


def _link(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, other)


def read_metadata(path: Path) -> dict[str, str]:
    """Return what is written beside the weights. Raises ValueError where the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path.name} does not read ({error}). Remove it, or choose another name."
        ) from error


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return tensors on the CPU and the metadata. Raises ValueError where the file is damaged."""
    metadata = read_metadata(path)
    with safe_open(path, framework="pt") as file:
        keys = file.keys()
        return {key: file.get_tensor(key).clone() for key in keys}, metadata


def as_text(values: Mapping[str, object]) -> dict[str, str]:
    """Convert metadata to what the format holds, text to text: other values become JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
    }
