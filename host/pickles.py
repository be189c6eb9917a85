"""Read pickles as weights only, and refuse tensors that claim more than their file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..files.header import FileError, refuse_other_than_pickle, tensors_alone


def unpickled(path: Path) -> Any:
    """Return the content of a .pth, .pt, .ckpt or .bin.

    Raises FileError for code, damage, and what is not a pickle.
    """
    try:
        refuse_other_than_pickle(path)
    except OSError as error:
        raise FileError(f"{path.name} could not be read ({error.strerror}).") from error
    with tensors_alone(path):
        return torch.load(path, map_location="cpu", weights_only=True)


def refuse_claims(path: Path, table: dict[Any, Any]) -> None:
    """Raise FileError for a tensor that is not a plain one, or that repeats a few bytes.

    Its copy on a device would take memory that no file accounts for.
    """
    for key, value in table.items():
        if isinstance(value, torch.Tensor) and not _is_plain(value):
            raise FileError(f"{path.name} is not a file of weights: its tensor {key!r} is hollow.")


def _is_plain(value: torch.Tensor) -> bool:
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()
