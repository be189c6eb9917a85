"""Read a model file's keys, shapes and metadata from its header, and explain unusable pickles.

No tensor is read here.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Any

HEADER_LIMIT = 100_000_000  # bytes; the safetensors format's own limit
DTYPE_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
}
"""Sizes of the numbers; of types that are not listed the size is not checked."""
MOST_AXES = 16
PICKLES = (b"PK", b"\x80")  # torch's archives, and bare pickles from protocol 2


class FileError(ValueError):
    """A model file that cannot be used: names the file, what is wrong, and what to do."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence


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

    Raises FileError where it is another kind of file, damaged, cut short or padded, and where it
    cannot be read.
    """
    try:
        size, text = _stored(path)
    except OSError as error:
        raise FileError(f"{path.name} could not be read ({error.strerror}).") from error
    entries, metadata = _parsed(path, text)
    spans = [_span(path, key, entry) for key, entry in entries.items()]
    expected = 8 + len(text) + max((end for _, end in spans), default=0)
    if size < expected:
        raise FileError(
            f"{path.name} is cut short: its header promises {expected:,} bytes, the file has"
            f" {size:,}. The download or copy broke off: download it again."
        )
    if size > expected or _have_gaps(spans):
        raise FileError(
            f"{path.name} is damaged: its header describes {expected:,} bytes without gaps, the"
            f" file has {size:,}. Download it again."
        )
    return Header({key: tuple(entry["shape"]) for key, entry in entries.items()}, metadata)


def _stored(path: Path) -> tuple[int, bytes]:
    """Return a file's size and the text of its header. Raises FileError."""
    stat = path.stat()
    if not S_ISREG(stat.st_mode):  # a pipe would wait for a writer for ever
        raise FileError(f"{path.name} is not a file: expected the weights of a ControlNet.")
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else HEADER_LIMIT + 1
        if length > min(HEADER_LIMIT, stat.st_size - 8):
            raise FileError(f"{path.name}: {_not_safetensors(start, stat.st_size)}")
        return stat.st_size, file.read(length)


def _parsed(path: Path, text: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the entries of the tensors, and the metadata. Raises FileError."""
    try:
        table: dict[str, Any] = json.loads(text)
        metadata: dict[str, Any] = table.pop("__metadata__", None) or {}
        if all(isinstance(value, str) for value in metadata.values()):
            return table, metadata
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass  # text that is not JSON, JSON that is not an object, or metadata that is not one
    raise FileError(_unreadable(path, "its header does not read"))


def _span(path: Path, key: str, entry: Any) -> tuple[int, int]:
    """Check one tensor's entry and return where it begins and ends. Raises FileError."""
    try:
        dtype, (begin, end) = entry["dtype"], entry["data_offsets"]
        shape: list[Any] = entry["shape"]
        are_counts = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        if (
            isinstance(dtype, str)
            and are_counts
            and type(shape) is list
            and len(shape) <= MOST_AXES
        ):
            bits = DTYPE_BITS.get(dtype, 0)
            if begin <= end and (not bits or (end - begin) * 8 == bits * math.prod(shape)):
                return begin, end
    except (KeyError, TypeError, ValueError):
        pass  # not an object, or with other values
    raise FileError(_unreadable(path, f"its header does not describe the tensor {key[:80]!r}"))


def _have_gaps(spans: list[tuple[int, int]]) -> bool:
    ordered = sorted(spans)
    ends = [0, *(end for _, end in ordered)]
    return any(begin != end for (begin, _), end in zip(ordered, ends, strict=False))


def _unreadable(path: Path, reason: str) -> str:
    return f"{path.name} is not a safetensors file: {reason}. Download it again."


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


def refuse_other_than_pickle(path: Path) -> None:
    """Raise FileError for a file that cannot be one of torch's: no pickle, damaged, or packed.

    torch packs nothing; an archive that is packed could unpack to any size.
    """
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        raise FileError(f"{path.name} is damaged or cut short (the file is empty).")
    if not start.startswith(PICKLES):
        raise FileError(f"{path.name} does not contain weights (perhaps it is a web page).")
    if start != b"PK":
        return
    try:
        with zipfile.ZipFile(path) as archive:
            is_packed = any(entry.compress_type for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise FileError(f"{path.name} is damaged or cut short ({error}).") from error
    if is_packed:
        raise FileError(f"{path.name} is packed, which weights are not, so it was not opened.")


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
    except Exception as error:  # whatever the unpickler runs into
        reason = "".join(f" ({line[:200]})" for line in str(error).splitlines()[:1])
        raise FileError(f"{path.name} is damaged or cut short{reason}.") from error
