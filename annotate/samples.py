"""Read the samples of a shard one by one: a picture's bytes, its caption, what came with it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..training import pictures
from ..training.pictures import MAX_BYTES, SUFFIXES, PictureError

CAPTIONS = (".txt", ".caption")
CAPTION_KEYS = ("caption", "text", "prompt")
BLOCK = 512
"""Bytes of a block of a tar; a whole one ends with two empty blocks."""


DAMAGED = "expected a whole picture, found one that is damaged, cut short or of another kind"


@dataclass(frozen=True)
class Fault:
    """What could not be read, and why; `source` names a file, or a sample in a file."""

    source: str
    reason: str

    @classmethod
    def of(cls, source: str, error: Exception) -> Fault:
        """Say why a sample is left out; an error that only names it says no more than that."""
        is_bare = isinstance(error, PictureError) and error.detail in ("", source)
        return cls(source, DAMAGED if is_bare else str(error))


@dataclass(frozen=True)
class Sample:
    """A picture as it is stored, with its caption and the JSON that came with it."""

    key: str
    source: str
    data: bytes
    suffix: str
    caption: str = ""
    beside: Any = field(default=None)


def safe_key(name: str) -> str:
    """Return a key that stays inside a folder and whose last part has no full stop.

    webdataset would take what follows a full stop for an ending.
    """
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    clean = ["".join(each if each.isprintable() else "_" for each in part) for part in parts]
    return "/".join([*clean[:-1], clean[-1].replace(".", "_")]) if clean else "_"


Reading = Iterator[tuple[Sample | Fault, int]]
"""Samples and faults, each with how much of the shard's weight has been read."""


def from_files(items: tuple[tuple[str, str], ...]) -> Reading:
    """Read pictures and the captions beside them (`NAME.txt`): items are (key, path)."""
    for number, (key, name) in enumerate(items, 1):
        path = Path(name)
        try:
            data, caption = pictures.contents(path), _caption(path)
        except PictureError as error:
            yield Fault.of(name, error), number
            continue
        yield Sample(key, name, data, path.suffix.lower(), caption), number


def _caption(picture: Path) -> str:
    file = picture.with_suffix(".txt")
    if not file.is_file():
        return ""
    return _text(pictures.contents(file), file.name)


def _text(data: bytes, name: str) -> str:
    text = pictures.decoded_text(data)
    if text is None:
        raise PictureError("caption", f"{name} is not UTF-8 text")
    return text.strip()


# -- tars ------------------------------------------------------------------------------------------

Group = dict[str, bytes]
"""The members of one key, by their endings from the first full stop on."""


def from_tars(items: tuple[tuple[str], ...]) -> Reading:
    """Read webdataset tars in one pass; of one that is cut short, the samples that are whole."""
    for (name,) in items:
        yield from _from_tar(Path(name))


def _from_tar(path: Path) -> Reading:
    is_cut = not _has_end(path)
    group, current, at = Group(), "", 0
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                tar.members = []  # pyright: ignore - or it would remember every member
                key, ending = split(member.name)
                if key != current:
                    yield from ((entry, at) for entry in _sample(path, current, group))
                    group, current = Group(), key
                if member.isfile():
                    group[ending] = _member(tar, member, ending)
                at = file.tell()
    except (tarfile.TarError, OSError, EOFError) as error:
        yield Fault(path.name, f"breaks off in {current or 'its first member'} ({error})"), at
        return
    if is_cut and group:
        yield Fault(f"{path.name}/{current}", "the tar is cut short: this may not be whole"), at
    else:
        yield from ((entry, at) for entry in _sample(path, current, group))


def _has_end(path: Path) -> bool:
    """Tell whether a tar has its end, two blocks of zeros."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2 * BLOCK))
        return size >= 2 * BLOCK and not any(file.read())


def split(name: str) -> tuple[str, str]:
    """Return key and ending of a member, as webdataset does: at the first full stop."""
    path = PurePosixPath(name)
    stem, dot, ending = path.name.partition(".")
    return (path.parent / stem).as_posix(), f"{dot}{ending}".lower()


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> bytes:
    """Return a member's bytes, empty for one that is not read."""
    if ending not in (*SUFFIXES, *CAPTIONS, ".json") or member.size > MAX_BYTES:
        return b""
    file = tar.extractfile(member)
    return file.read() if file else b""


def _sample(path: Path, key: str, group: Group) -> Iterator[Sample | Fault]:
    """Yield the sample of a group, if it has members."""
    if not group:
        return
    source = f"{path.name}/{key}"
    suffix = next((suffix for suffix in SUFFIXES if group.get(suffix)), "")
    if not suffix:
        yield Fault(source, f"has no picture: expected one of {', '.join(SUFFIXES)}")
        return
    try:
        beside = json.loads(group[".json"]) if group.get(".json") else None
        text = next((group[ending] for ending in CAPTIONS if group.get(ending)), None)
        caption = caption_of(beside) if text is None else _text(text, source)
    except (PictureError, ValueError, RecursionError) as error:
        yield Fault(source, f"its text could not be read ({error})")
        return
    yield Sample(key, source, group[suffix], suffix, caption, beside)


def caption_of(beside: Any) -> str:
    """Return the caption that a JSON holds, as img2dataset writes it."""
    if not isinstance(beside, dict):
        return ""
    texts = (beside.get(key) for key in CAPTION_KEYS)
    return next((text.strip() for text in texts if isinstance(text, str)), "")
