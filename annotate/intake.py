"""Find the pictures of a data set and plan them in shards, always the same for the same names.

IN is a folder, a glob or a file, of pictures, webdataset tars or parquet files. Pictures are
planned `per_shard` at a time; a tar is one shard; of a parquet file, a shard is a range of rows
within one row group.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..training.pictures import SUFFIXES
from .job import Job
from .parquet import columns, groups
from .samples import Fault, safe_key

Item = tuple[Any, ...]


@dataclass(frozen=True)
class Shard:
    """What one worker does at a time: `items` are read by the reader of `kind`."""

    name: str
    kind: str
    items: tuple[Item, ...]
    weight: int
    """Its share of the progress: pictures, or bytes of a tar."""


@dataclass(frozen=True)
class Plan:
    """All shards of an input. `faults` are files that could not even be opened."""

    kind: str
    count: int
    weight: int
    digest: str
    shard: Callable[[int], Shard]
    pictures: int | None = None
    """How many there are; None where only reading tells."""
    faults: tuple[Fault, ...] = ()

    def shards(self) -> Iterator[Shard]:
        """Go through all shards."""
        return (self.shard(index) for index in range(self.count))


@dataclass(frozen=True)
class Chosen(Sequence[Shard]):
    """Some shards of a plan, each built when it is asked for: millions of names take memory."""

    plan: Plan
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, at: Any) -> Any:
        return self.plan.shard(self.indices[at])


def shard_name(index: int) -> str:
    """Return the name of a shard by its number."""
    return f"{index:05d}"


def shard_names(count: int) -> list[str]:
    """Return the names of that many shards."""
    return [shard_name(index) for index in range(count)]


def plan(job: Job) -> Plan:
    """Plan an input.

    Raises ValueError where nothing is there to annotate.
    """
    root, names = _names(job.source)
    _refuse_mixed(job.source, names)
    for kind, (suffixes, planned) in KINDS.items():
        if own := [name for name in names if name.lower().endswith(suffixes)]:
            return planned(kind, root, own, job)
    endings = ", ".join(ending for suffixes, _ in KINDS.values() for ending in suffixes)
    seen = f"{len(names):,} other files" if names else "nothing"
    raise ValueError(f"{job.source}: expected files ending in {endings}, found {seen}")


def _refuse_mixed(source: str, names: Sequence[str]) -> None:
    """Raise ValueError where tars and pictures lie together: one kind would be left out silently.

    A parquet file beside either is the list that img2dataset writes.
    """
    counts = {
        kind: sum(name.lower().endswith(KINDS[kind][0]) for name in names)
        for kind in ("tars", "pictures")
    }
    if all(counts.values()):
        raise ValueError(
            f"{source} has {counts['tars']:,} tars and {counts['pictures']:,} pictures: name one"
            " kind by a glob, such as 'IN/**/*.tar'"
        )


def _names(source: str) -> tuple[Path, list[str]]:
    """Return a folder and the sorted names below it that `source` stands for."""
    if os.path.isdir(source):
        return Path(source), sorted(_walked(source))
    matches = [source] if os.path.isfile(source) else glob.glob(source, recursive=True)
    files = sorted(match for match in matches if os.path.isfile(match))
    if not files:
        raise ValueError(f"{source}: expected a folder, a file or a glob, and nothing is there")
    root = os.path.commonpath([os.path.dirname(file) for file in files])
    return Path(root), [os.path.relpath(file, root) for file in files]


def _walked(source: str) -> Iterator[str]:
    """Yield the names of files below a folder, links followed, hidden ones left out."""
    seen = set[str]()
    for folder, folders, files in os.walk(source, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [each for each in folders if each[0] != "." and real not in seen]
        if real not in seen:
            yield from (
                os.path.relpath(os.path.join(folder, file), source)
                for file in files
                if file[0] != "."
            )
        seen.add(real)


# -- pictures --------------------------------------------------------------------------------------


def _planned_files(kind: str, root: Path, names: Sequence[str], job: Job) -> Plan:
    keys = Counter(map(key_of, names))
    twice = {key for key, count in keys.items() if count > 1}
    del keys

    def shard(index: int) -> Shard:
        part = names[index * job.per_shard : (index + 1) * job.per_shard]
        items = tuple((_own_key(name, twice), str(root / name)) for name in part)
        return Shard(shard_name(index), kind, items, len(items))

    count = -(-len(names) // job.per_shard)
    return Plan(kind, count, len(names), _digest(names), shard, len(names))


def key_of(name: str) -> str:
    """Return a picture's key: its name without the ending."""
    return safe_key(str(PurePosixPath(name.replace("\\", "/")).with_suffix("")))


def _own_key(name: str, twice: set[str]) -> str:
    """Return the key of a picture; those that would share one get a hash of their names."""
    key, digest = key_of(name), hashlib.sha256(os.fsencode(name)).hexdigest()
    return f"{key}-{digest[:8]}" if key in twice else key


def _digest(names: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


# -- tars and parquet ------------------------------------------------------------------------------


def _planned_tars(kind: str, root: Path, names: Sequence[str], _job: Job) -> Plan:
    sizes = [(root / name).stat().st_size for name in names]

    def shard(index: int) -> Shard:
        return Shard(shard_name(index), kind, ((str(root / names[index]),),), sizes[index])

    return Plan(kind, len(names), sum(sizes), _digest(names), shard)


def _planned_parquet(kind: str, root: Path, names: Sequence[str], job: Job) -> Plan:
    ranges, faults = list[Item](), list[Fault]()
    for name in names:
        try:
            sizes = groups(root / name)
            columns(root / name, job.columns or {})
        except OSError as error:
            faults.append(Fault(name, str(error)))
            continue
        ranges += _ranges(str(root / name), name, sizes, job.per_shard)

    def shard(index: int) -> Shard:
        *_, first, stop = ranges[index]
        return Shard(shard_name(index), kind, (ranges[index],), stop - first)

    rows = sum(stop - first for *_, first, stop in ranges)
    digest = _digest([item[1:] for item in ranges])
    return Plan(kind, len(ranges), rows, digest, shard, rows, tuple(faults))


def _ranges(path: str, name: str, sizes: Sequence[int], per_shard: int) -> Iterator[Item]:
    """Yield (path, prefix of keys, row before the group, group, first, stop) of a file's shards."""
    prefix, before = key_of(name), 0
    for group, rows in enumerate(sizes):
        for first in range(0, rows, per_shard):
            yield (path, prefix, before, group, first, min(rows, first + per_shard))
        before += rows


KINDS: dict[str, tuple[tuple[str, ...], Callable[[str, Path, Sequence[str], Job], Plan]]] = {
    "tars": ((".tar",), _planned_tars),
    "pictures": (SUFFIXES, _planned_files),
    "parquet": ((".parquet",), _planned_parquet),
}
"""What is searched for first: img2dataset puts a parquet file of addresses beside each tar."""
