"""Let workers make shards: this process, or several on this machine.

A worker that dies costs the shard that it was writing; another one makes it again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import IO, Any

from .intake import Shard
from .job import Job, StopError
from .worker import Worker

TRIES = 3
"""Workers that one shard may end before the run stops."""
WORKER = "--as-worker"
REPORT_EVERY_S = 0.5
"""Seconds between two reports of a worker to its driver, at least."""

Report = Callable[[str, int, int, bool], None]
"""`report(shard, pictures, weight, is_done)`."""


def alone(job: Job, shards: Sequence[Shard], report: Report) -> None:
    """Make the shards in this process."""
    worker = Worker(job)
    for shard in shards:

        def tell(pictures: int, weight: int, name: str = shard.name) -> None:
            report(name, pictures, weight, False)

        report(shard.name, worker.make(shard, tell), shard.weight, True)


def refuse_deadly(shard: str, items: Any) -> StopError:
    """Return what ends a run whose shard kills every worker."""
    first, last = items[0][0], items[-1][0]
    return StopError(
        f"shard {shard} ended {TRIES} workers, one after the other (is memory short?). Its pictures"
        f" are {first} to {last}: the other shards can be made once the cause is out of the input"
    )


@dataclass(frozen=True)
class Line:
    """What a worker says, or that it is gone (`died`)."""

    kind: str
    shard: str
    pictures: int = 0
    weight: int = 0
    text: str = ""


class Pool:
    """Worker processes, each fed by a thread of this one."""

    def __init__(self, job: Job, shards: Sequence[Shard], size: int) -> None:
        self.job, self.shards, self.todo = job, shards, deque(range(len(shards)))
        self.size = max(1, min(size, len(self.todo)))
        self.lines: SimpleQueue[Line] = SimpleQueue()
        self.processes: dict[int, subprocess.Popen[str]] = {}
        self.is_over = False
        self.deaths = Counter[str]()

    def run(self, report: Report) -> None:
        """Make all shards. Raises StopError as workers do; no process outlives this."""
        left = len(self.shards)
        feeders = [Thread(target=self._feed, args=(n,), daemon=True) for n in range(self.size)]
        try:
            for feeder in feeders:
                feeder.start()
            while left:
                line = self.lines.get()
                if line.kind == "stop":
                    raise StopError(line.text)
                report(line.shard, line.pictures, line.weight, line.kind == "done")
                left -= line.kind == "done"
        finally:
            self._end(feeders)

    def _feed(self, number: int) -> None:
        """Give one process shard after shard; replace it where it dies."""
        while not self.is_over:
            try:
                index = self.todo.popleft()
            except IndexError:
                return
            shard = self.shards[index]
            try:
                is_done = self._made(number, shard)
            except (OSError, ValueError):  # it died before it was asked, or in the midst of a line
                is_done = False
            if not is_done and not self.is_over:
                self._buried(number, index)

    def _made(self, number: int, shard: Shard) -> bool:
        """Have a shard made; return whether the worker lived to say so."""
        process = self._process(number)
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(asdict(shard)) + "\n")
        process.stdin.flush()
        for text in process.stdout:
            if not text.endswith("\n"):
                return False
            line = Line(**json.loads(text))
            self.is_over |= line.kind == "stop"
            self.lines.put(line)
            if line.kind in ("done", "stop"):
                return True
        return False

    def _buried(self, number: int, index: int) -> None:
        shard, process = self.shards[index], self.processes.pop(number, None)
        if process:  # none where it could not even be started
            process.kill()
            process.wait()
        self.deaths[shard.name] += 1
        if self.deaths[shard.name] >= TRIES:
            self.lines.put(
                Line("stop", shard.name, text=str(refuse_deadly(shard.name, shard.items)))
            )
        self.lines.put(Line("died", shard.name))
        self.todo.appendleft(index)

    def _process(self, number: int) -> subprocess.Popen[str]:
        if number not in self.processes:
            self.processes[number] = started(self.job, number)
        return self.processes[number]

    def _end(self, feeders: Iterable[Thread]) -> None:
        self.is_over = True
        for process in [*self.processes.values()]:
            process.kill()
        for feeder in feeders:
            feeder.join(10)
        for process in [*self.processes.values()]:
            process.kill()
            process.wait()


def started(job: Job, number: int) -> subprocess.Popen[str]:
    """Start a worker process, on one of the cards where there are several."""
    folder = Path(__file__).resolve().parent
    process = subprocess.Popen(
        [sys.executable, str(folder), WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl+C is for the driver, which ends its workers
    )
    assert process.stdin
    process.stdin.write(replace(job, device=device_of(job, number)).text() + "\n")
    process.stdin.flush()
    return process


def device_of(job: Job, number: int) -> str:
    """Return a worker's device: the cards in turn."""
    if job.device or not any(method.weights for method in job.methods):
        return job.device
    import torch

    cards = torch.cuda.device_count()
    return f"cuda:{number % cards}" if cards else "cpu"


def as_worker() -> None:
    """Serve a driver, until it ends: a job and then shards on stdin, lines on stdout."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print is not an answer
    asked: SimpleQueue[str] = SimpleQueue()
    Thread(target=_listen, args=(sys.stdin, asked), daemon=True).start()

    def answer(line: Line) -> None:
        answers.write(json.dumps(asdict(line)) + "\n")
        answers.flush()

    shard = ""
    try:
        worker = Worker(Job.of_text(asked.get()))
        while True:
            values = json.loads(asked.get())
            shard = values["name"]
            answer(Line("done", shard, *_serve(worker, Shard(**values), answer)))
    except StopError as error:
        answer(Line("stop", shard, text=str(error)))


def _serve(worker: Worker, shard: Shard, answer: Callable[[Line], None]) -> tuple[int, int]:
    last = monotonic()

    def tell(pictures: int, weight: int) -> None:
        nonlocal last
        if monotonic() - last >= REPORT_EVERY_S:
            last = monotonic()
            answer(Line("progress", shard.name, pictures, weight))

    return worker.make(shard, tell), shard.weight


def _listen(lines: IO[str], asked: SimpleQueue[str]) -> None:
    """Pass lines on; without a driver, leave at once: the shard is another run's to make."""
    for line in lines:
        asked.put(line)
    os._exit(1)
