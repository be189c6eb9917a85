"""Make shards in an actor of a Ray cluster. Errors travel as sentences."""

from __future__ import annotations

import json
import socket

from .intake import Shard
from .job import Job, StopError
from .manifest import FILE
from .worker import Worker


def start(text: str) -> Worker | str:
    """Return the worker of a job, or the sentence that says why there is none."""
    job = Job.of_text(text)
    if not (job.folder / FILE).is_file():
        return (
            f"{socket.gethostname()} does not see {job.to}: input and output must lie on storage"
            " that every machine of the cluster has under the same path"
        )
    try:
        return Worker(job)
    except StopError as error:
        return str(error)


def make(worker: Worker | str, text: str) -> tuple[int, str]:
    """Make a shard; return how many pictures it has, and the sentence that ends the run or ""."""
    if isinstance(worker, str):
        return 0, worker
    try:
        return worker.make(Shard(**json.loads(text)), lambda *_: None), ""
    except StopError as error:
        return 0, str(error)
