"""Make one shard after another: the same in this process, in a pool and on a cluster."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..host import atomic
from ..training.pictures import PictureError
from .annotator import Annotator, UnusableError
from .intake import Shard
from .job import Job, StopError
from .local_networks import LocalNetworks
from .readers import read
from .samples import Fault, Sample
from .shard_forms import ShardForm, place, unfinished, write_text

Report = Callable[[int, int], None]
"""`report(pictures, weight)`: how much of the shard is done."""


class Worker:
    """Write shards of a job. One thread: whoever wants more starts more workers."""

    def __init__(self, job: Job) -> None:
        one_thread()
        self.job = job
        self.annotator = Annotator(job, LocalNetworks.of(job))

    def make(self, shard: Shard, report: Report) -> int:
        """Write a shard and return how many pictures it has.

        Raises StopError where nothing else could go better.
        """
        final = place(self.job.folder, self.job.form, shard.name)
        notes: dict[str, Any] = {"pictures": 0, "plain": Counter[str](), "unreadable": []}
        try:
            with unfinished(final, self.job.form) as form:
                self._fill(form, shard, notes, report)
                # Before the shard has its name: whoever sees a shard sees its notes.
                write_text(stats_of(final), json.dumps(notes, sort_keys=True))
        except OSError as error:
            raise StopError(_sentence(error, self.job)) from error
        return notes["pictures"]

    def _fill(self, form: ShardForm, shard: Shard, notes: dict[str, Any], report: Report) -> None:
        seen = set[str]()
        for entry, weight in read(shard.kind, shard.items, self.job.columns or {}):
            fault = entry if isinstance(entry, Fault) else self._add(form, entry, seen, notes)
            if fault:
                notes["unreadable"].append(asdict(fault))
            report(notes["pictures"], weight)

    def _add(
        self, form: ShardForm, sample: Sample, seen: set[str], notes: dict[str, Any]
    ) -> Fault | None:
        """Annotate and write a sample; return what is wrong with it, if something is."""
        try:
            entry = self.annotator.entry(sample)
        except (PictureError, UnusableError) as error:
            return Fault.of(sample.source, error)
        if entry.key in seen:
            return Fault(sample.source, f"its key {entry.key!r} was there before: left out")
        seen.add(entry.key)
        form.add(entry)
        notes["pictures"] += 1
        notes["plain"].update(entry.plain)
        return None


def stats_of(shard: Path) -> Path:
    """Return the path of a shard's notes: pictures, hints of one colour, what was not read."""
    return shard.with_name(f"{shard.name.partition('.')[0]}_stats.json")


def one_thread() -> None:
    """Leave the cores to other workers: libraries would each start a thread for every core."""
    import torch

    from ..preprocessors.images import opencv

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    try:
        opencv().setNumThreads(1)
    except RuntimeError as error:
        raise StopError(str(error)) from error


def _sentence(error: OSError, job: Job) -> str:
    if atomic.is_disk_full(error):
        return (
            f"{job.to}: the disk is full. Whole shards stay: free space, and the same command makes"
            " the others"
        )
    return f"{job.to}: a shard could not be written ({error.strerror or error})"
