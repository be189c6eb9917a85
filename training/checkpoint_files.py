"""Files that are whole or not there: written beside their place under another name, flushed, then
renamed.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

SUFFIX = ".safetensors"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("No space left", "quota exceeded", "File too large", "os error 28")


def inside(folder: Path, name: str, what: str) -> Path:
    """`folder/name.safetensors`, which lies in `folder` also where links are followed. Raises
    ValueError otherwise.

    `name` may have subfolders; with or without the suffix.
    """
    parts = Path(name.strip().replace("\\", "/"))
    if (
        not name.strip()
        or parts.is_absolute()
        or ".." in parts.parts
        or ":" in name
        or not parts.stem.strip(".")
    ):
        raise ValueError(
            f"{what}: expected a name, or folder/name, found {name!r}. It is written below"
            f" {folder.name}/."
        )
    path = folder / (parts if parts.suffix == SUFFIX else parts.with_name(parts.name + SUFFIX))
    root = folder.resolve()
    if not path.parent.resolve().is_relative_to(root) or not path.resolve().is_relative_to(root):
        raise ValueError(
            f"{what}: {name!r} leads out of {folder.name}/ over a link. Choose a name inside it."
        )
    return path


def save(tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file so that `path` is at every moment the old file or the new one,
    whole.

    Raises OSError in a sentence where the disk is full or the folder cannot be written; the old
    file then stays.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}
        save_file(whole, unfinished, metadata=dict(metadata))
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        raise OSError(_sentence(error, path, tensors)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _sentence(error: Exception, path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    full = getattr(error, "errno", None) in _FULL or any(
        words in str(error) for words in _FULL_WORDS
    )
    size_mb = sum(value.numel() * value.element_size() for value in tensors.values()) / 1e6
    kept = "what was there before is untouched" if path.exists() else "nothing was left behind"
    if full:
        return (
            f"{path.name}: the disk is full; {size_mb:,.0f} MB are needed in {path.parent}. Free"
            f" space; {kept}."
        )
    return f"{path.name} could not be written to {path.parent} ({error}); {kept}."


def read_metadata(path: Path) -> dict[str, str]:
    """What is written beside the weights. Raises ValueError where the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path.name} does not read ({error}). Remove it, or choose another name."
        ) from error


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors on the CPU and the metadata. Raises ValueError where the file is damaged."""
    metadata = read_metadata(path)
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key).clone() for key in file.keys()}, metadata  # noqa: SIM118 (no mapping)


def as_text(values: Mapping[str, object]) -> dict[str, str]:
    """Metadata as the format wants it: text to text; what is no text is JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
    }
