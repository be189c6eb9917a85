"""Choose the reader of a shard by the kind of its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import parquet
from .samples import Reading, from_files, from_tars

READERS: dict[str, Callable[..., Reading]] = {
    "pictures": lambda items, _: from_files(items),
    "tars": lambda items, _: from_tars(items),
    "parquet": parquet.from_parquet,
}


def read(kind: str, items: tuple[Any, ...], columns: Mapping[str, str]) -> Reading:
    """Read the samples of a shard; `columns` are names that the user gave."""
    return READERS[kind](items, columns)
