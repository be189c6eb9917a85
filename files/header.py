"""Read a model file's keys, shapes and metadata from its header, and explain unusable pickles.

No tensor is read here.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

HEADER_LIMIT = 100_000_000  # bytes; the safetensors format's own limit
PICKLES = (b"PK", b"\x80")  # torch's archives, and bare pickles from protocol 2


class FileError(ValueError):
    """A model file that cannot be used: names the file, what is wrong, and what to do."""


@dataclass(frozen=True)
class Header:
    """Key → shape, and the metadata of a file."""

    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str] = field(default_factory=dict[str, str])


def is_safetensors(path: Path) -> bool:
    """Tell a safetensors file by its name, as ComfyUI does."""
    return path.suffix.lower() in (".safetensors", ".sft")


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file.

    Raises FileError where it is another kind of file, or cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else HEADER_LIMIT + 1
        if length > min(HEADER_LIMIT, size):
            raise FileError(f"{path.name}: {_not_safetensors(start, size)}")
        text = file.read(length)
    entries = _entries(path, text)
    metadata = cast("dict[str, str]", entries.pop("__metadata__", None) or {})
    expected = (
        8 + length + max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    )
    if size < expected:
        raise FileError(
            f"{path.name} is cut short: its header promises {expected:,} bytes, the file has"
            f" {size:,}. The download or copy broke off: download it again."
        )
    return Header({key: tuple(entry["shape"]) for key, entry in entries.items()}, metadata)


def _entries(path: Path, text: bytes) -> dict[str, Any]:
    try:
        entries: Any = json.loads(text)
        well_formed = all(
            key == "__metadata__" or ("shape" in e and "data_offsets" in e)
            for key, e in entries.items()
        )
    except (ValueError, AttributeError, TypeError):
        well_formed = False
        entries = {}
    if not well_formed:
        raise FileError(
            f"{path.name} is not a safetensors file: its header does not read. Download it again."
        )
    return entries


def _not_safetensors(start: bytes, size: int) -> str:
    if size == 0:
        return "the file is empty. Download it again."
    if start.startswith((b"PK", b"\x80\x02", b"\x80\x04")):
        return (
            "a pickle with the name of a safetensors file. Rename it to .pth, or download the"
            " safetensors version."
        )
    if start.lstrip().startswith((b"<", b"version ", b"{")):
        return (
            "a text file (a web page or a pointer to the real file) instead of weights."
            " Download it again."
        )
    return "not a safetensors file, or one that is cut short in its header. Download it again."


@contextmanager
def tensors_alone(path: Path) -> Generator[None]:
    """Turn errors of reading a pickle with weights_only into FileError.

    Its sentences tell code, damage, and files that are not pickles apart.
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        with path.open("rb") as file:
            is_pickle = file.read(2).startswith(PICKLES)
        problem = (
            "is a pickle with more than weights in it (it could run code), so it was not opened"
            if is_pickle
            else "does not contain weights (perhaps it is a web page)"
        )
        raise FileError(f"{path.name} {problem}.") from error
    except (RuntimeError, EOFError, ValueError, KeyError, AssertionError, OSError) as error:
        reason = "".join(f" ({line})" for line in str(error).splitlines()[:1])
        raise FileError(f"{path.name} is damaged or cut short{reason}.") from error
