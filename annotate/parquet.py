"""Read pictures and captions from parquet files; the only module that needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .job import StopError
from .samples import Fault, Reading, Sample

GUESSES = {
    "picture": ("image", "picture", "jpg", "png", "webp", "img", "bytes", "image_bytes"),
    "caption": ("caption", "text", "txt", "prompt"),
    "key": ("__key__", "key", "id"),
}
"""Names of columns, tried in this order."""
MAGICS = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"BM", ".bmp"))
ROWS_AT_ONCE = 16


def opened(path: Path) -> Any:
    """Open a file. Raises OSError where it is not a whole parquet file."""
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise StopError(
            "a parquet file is read with pyarrow, which this Python does not have: run `pip install"
            " pyarrow`, or give tars or a folder"
        ) from error
    try:
        return ParquetFile(path, pre_buffer=False)
    except pyarrow.ArrowException as error:
        raise OSError(f"not a whole parquet file ({str(error).splitlines()[0]})") from error


def groups(path: Path) -> list[int]:
    """Return the rows of each row group."""
    with opened(path) as file:
        groups = (file.metadata.row_group(index) for index in range(file.num_row_groups))
        return [group.num_rows for group in groups]


def columns(path: Path, named: Mapping[str, str]) -> dict[str, str]:
    """Return the columns to read: `picture`, and `caption` and `key` where they are there.

    Raises StopError where a column that is named, or one of pictures, is not there.
    """
    with opened(path) as file:
        there = list(file.schema_arrow.names)
    chosen = {
        role: next((name for name in (named.get(role), *names) if name in there), "")
        for role, names in GUESSES.items()
    }
    for role, name in named.items():
        if name not in there:
            raise StopError(
                f"{path.name} has no column {name!r} (--{role}-column): it has {', '.join(there)}"
            )
    if not chosen["picture"]:
        raise StopError(
            f"{path.name}: which column has the pictures? It has {', '.join(there)}: name one with"
            " --picture-column"
        )
    return {role: name for role, name in chosen.items() if name}


def from_parquet(items: tuple[tuple[Any, ...], ...], named: Mapping[str, str]) -> Reading:
    """Read ranges of rows of parquet files."""
    number = 0
    for item in items:
        for entry in rows(item, named):
            number += 1
            yield entry, number


def rows(item: tuple[Any, ...], named: Mapping[str, str]) -> Iterator[Sample | Fault]:
    """Yield a sample or a fault for each row of a range, as `intake` plans it."""
    import pyarrow

    path, prefix, before, group, first, stop = item
    name, chosen, at = Path(path).name, columns(Path(path), named), 0
    with opened(Path(path)) as file:
        try:
            for batch in file.iter_batches(
                ROWS_AT_ONCE, row_groups=[group], columns=list(chosen.values())
            ):
                begin, end = max(first, at), min(stop, at + batch.num_rows)
                for number, row in enumerate(_part(batch, begin - at, end - begin)):
                    yield _sample(row, chosen, name, prefix, before + begin + number)
                at += batch.num_rows
                if at >= stop:
                    return
        except (pyarrow.ArrowException, OSError) as error:
            rest = f"rows {before + max(first, at)} to {before + stop - 1}"
            yield Fault(name, f"{rest} could not be read ({error})")


def _part(batch: Any, first: int, count: int) -> list[dict[str, Any]]:
    return batch.slice(first, count).to_pylist() if count > 0 else []


def _sample(
    row: dict[str, Any], chosen: Mapping[str, str], file: str, prefix: str, number: int
) -> Sample | Fault:
    source = f"{file}, row {number}"
    picture = row[chosen["picture"]]
    data = picture.get("bytes") if isinstance(picture, dict) else picture
    if not isinstance(data, bytes):
        return Fault(source, f"has no picture: expected its bytes, found {type(data).__name__}")
    suffix = next((suffix for magic, suffix in MAGICS if data.startswith(magic)), ".png")
    key = row.get(chosen.get("key", ""))
    caption = row.get(chosen.get("caption", ""))
    name = f"{prefix}/{number:08d}" if key is None else str(key)
    return Sample(name, source, data, suffix, caption if isinstance(caption, str) else "")
