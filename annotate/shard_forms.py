"""Write a shard: a webdataset tar, or a folder that ControlNet's tutorial and our nodes read.

A shard is written as `.NAME.HOST-PID.part`, beside its place, and then renamed: it is whole or not
there.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..host import atomic
from .annotator import Entry

PROMPTS = "prompt.json"


class ShardForm(Protocol):
    """A shard that is being written."""

    def add(self, entry: Entry) -> None:
        """Write a sample."""
        ...

    def close(self) -> None:
        """Write what is left, and let go of the file."""
        ...


class TarShard:
    """`KEY.jpg`, `KEY.txt`, `KEY.METHOD.png`, `KEY.json` in a tar."""

    suffix = ".tar"

    def __init__(self, part: Path) -> None:
        self._file = part.open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w")  # noqa: SIM115 - closed in `close`

    def add(self, entry: Entry) -> None:
        """Write a sample; times and owners are left out, so that equal shards have equal bytes."""
        for ending, data in entry.members.items():
            info = tarfile.TarInfo(f"{entry.key}{ending}")
            info.size = len(data)
            self._tar.addfile(info, io.BytesIO(data))
        self._tar.members = []  # pyright: ignore - it would remember every member

    def close(self) -> None:
        """Write the end of the tar."""
        try:
            self._tar.close()
        finally:
            self._file.close()


class FolderShard:
    """`source/KEY.png` (the hint), `target/KEY.jpg`, `about/KEY.json` and `prompt.json`."""

    suffix = ""

    def __init__(self, part: Path) -> None:
        part.mkdir()
        self._folder = part
        self._prompts = (part / PROMPTS).open("w", encoding="utf-8")

    def add(self, entry: Entry) -> None:
        """Write a sample."""
        hint = next(ending for ending in entry.members if ending.count(".") == 2)
        names = {
            "source": (f"source/{entry.key}.png", hint),
            "target": (f"target/{entry.key}{entry.picture}", entry.picture),
            "about": (f"about/{entry.key}.json", ".json"),
        }
        for name, ending in names.values():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.members[ending])
        line = {role: names[role][0] for role in ("source", "target")}
        line["prompt"] = entry.members[".txt"].decode()
        self._prompts.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Write the end of the list."""
        self._prompts.close()


FORMS: dict[str, type[TarShard] | type[FolderShard]] = {
    "webdataset": TarShard,
    "folder": FolderShard,
}


def place(folder: Path, form: str, name: str) -> Path:
    """Return where a shard lies once it is whole."""
    return folder / f"{name}{FORMS[form].suffix}"


def part_of(path: Path) -> Path:
    """Return a temporary name of this process beside `path`."""
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.part")


@contextmanager
def unfinished(path: Path, form: str) -> Iterator[ShardForm]:
    """Write a shard; it gets its name at the end, and nothing stays where an error ends it."""
    part = part_of(path)
    remove(part)
    shard = FORMS[form](part)
    try:
        try:
            yield shard
        finally:
            shard.close()
        if part.is_dir():
            _named(part, path)
        else:
            atomic.finish(part, path)
    finally:
        remove(part)


def _named(part: Path, path: Path) -> None:
    """Give a folder its name; where an equal one stands there already, that one stays."""
    try:
        part.rename(path)
    except OSError:
        if not path.is_dir():
            raise


def write_text(path: Path, text: str) -> None:
    """Write a small file whole, or leave the old one."""
    part = part_of(path)
    try:
        part.write_text(text, encoding="utf-8")
        atomic.finish(part, path)
    finally:
        part.unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """List what runs that died have left in the folder."""
    return [entry for entry in folder.iterdir() if entry.name.endswith(".part")]


def remove(path: Path) -> None:
    """Remove a file or a folder that may not be there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def join_prompts(folder: Path, names: list[str]) -> None:
    """Write the list of the whole data set from those of its shards, with their folders before."""
    target = folder / PROMPTS
    part = part_of(target)
    try:
        with part.open("w", encoding="utf-8") as joined:
            for name in names:
                with (folder / name / PROMPTS).open(encoding="utf-8") as lines:
                    joined.writelines(map(_within(name), lines))
        atomic.finish(part, target)
    finally:
        part.unlink(missing_ok=True)


def _within(name: str):
    def line_of(line: str) -> str:
        entry = json.loads(line)
        paths = {role: f"{name}/{entry[role]}" for role in ("source", "target")}
        return json.dumps({**entry, **paths}, ensure_ascii=False) + "\n"

    return line_of
