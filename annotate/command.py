"""Run a job from its options to its summary."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from types import FrameType
from typing import Any

from . import manifest, options
from .crew import Pool, alone
from .gauge import Gauge, clock
from .intake import Chosen, Plan, plan, shard_names
from .job import Job, StopError
from .local_networks import fetched
from .ray_crew import RayCrew
from .shard_forms import join_prompts, place, remove, write_text
from .worker import stats_of

UNREADABLE = "unreadable.jsonl"
SHOWN = 5


@dataclass(frozen=True)
class Hands:
    """Who works: `workers` processes here, or actors of the cluster at `ray`."""

    workers: int = 1
    ray: str = ""
    gpus: float | None = None


def main(arguments: Sequence[str]) -> int:
    """Annotate as the command line says; return the exit code."""
    before = signal.signal(signal.SIGTERM, _interrupt)  # what schedulers send first
    try:
        job, hands = options.parse(arguments)
        return annotate(job, Hands(**hands))
    except (StopError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command makes what is missing", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def annotate(job: Job, hands: Hands) -> int:
    """Make every shard that is not there; return 0, or 1 where no picture could be read.

    Raises StopError and ValueError with a sentence.
    """
    planned = plan(job)
    with manifest.opened(job, planned):
        names = enumerate(shard_names(planned.count))
        todo = Chosen(planned, [at for at, name in names if not _is_there(job, name)])
        there = planned.count - len(todo)
        if there:
            print(f"{there} of {planned.count} shards are there", file=sys.stderr)
        gauge = Gauge(planned.weight, planned.weight - sum(shard.weight for shard in todo))
        try:
            if todo:
                _work(job, hands, todo, gauge)
        except BaseException:
            gauge.end()
            with suppress(OSError):  # the disk may be full, which is what ended the run
                _collect(job, planned)
            raise
        _collect(job, planned)
        return 0 if _summary(job, planned, gauge.pictures, gauge.end()) else 1


def _is_there(job: Job, name: str) -> bool:
    return place(job.folder, job.form, name).exists()


def _work(job: Job, hands: Hands, todo: Chosen, gauge: Gauge) -> None:
    if hands.ray:
        RayCrew(job, hands.ray, hands.workers, hands.gpus).run(todo, gauge.report)
        return
    fetched(job, lambda line: print(line, file=sys.stderr, flush=True))
    if hands.workers > 1:
        Pool(job, todo, hands.workers).run(gauge.report)
    else:
        alone(job, todo, gauge.report)


def _collect(job: Job, planned: Plan) -> None:
    """Write the lists of the whole data set from those of its shards."""
    names = shard_names(planned.count)
    whole = [name for name in names if _is_there(job, name)]
    for name in set(names) - set(whole):
        remove(stats_of(place(job.folder, job.form, name)))  # of a shard that was not finished
    faults = chain(map(asdict, planned.faults), _faults(job, whole))
    text = "".join(json.dumps(fault) + "\n" for fault in faults)
    if text:
        write_text(job.folder / UNREADABLE, text)
    else:
        remove(job.folder / UNREADABLE)
    if job.form == "folder":
        join_prompts(job.folder, whole)


def _faults(job: Job, names: Iterable[str]) -> Iterable[dict[str, str]]:
    return (fault for name in names for fault in _stats(job, name)["unreadable"])


def _stats(job: Job, name: str) -> dict[str, Any]:
    path = stats_of(place(job.folder, job.form, name))
    return json.loads(path.read_text(encoding="utf-8"))


def _summary(job: Job, planned: Plan, pictures: int, seconds: float) -> int:
    """Print what is there now and what is odd; return the pictures that are there."""
    stats = [_stats(job, name) for name in shard_names(planned.count)]
    total, plain = sum(each["pictures"] for each in stats), Counter[str]()
    for each in stats:
        plain.update(each["plain"])
    print(f"{job.to}: {total:,} pictures in {planned.count} shards", end="")
    rate = f", {pictures / seconds:,.1f} /s" if seconds > 0 else ""
    print(f"; {pictures:,} of them now, in {clock(seconds)}{rate}" if pictures else "")
    for key, count in plain.items():
        print(f"{key}: {count:,} hints are of one colour")
    faults = [*map(asdict, planned.faults), *(each for s in stats for each in s["unreadable"])]
    if faults:
        print(f"{len(faults):,} could not be read ({UNREADABLE}):")
        for fault in faults[:SHOWN]:
            line = f"  {fault['source']}: {fault['reason']}"
            print(line.encode("utf-8", "backslashreplace").decode())
    return total
