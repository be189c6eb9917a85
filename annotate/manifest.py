"""Keep one job to a folder: its manifest is written first, and another job is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..host.locks import locked
from .intake import Plan
from .job import Job, StopError, described
from .shard_forms import leftovers, remove, write_text

FILE, LOCK = "manifest.json", ".annotate.lock"


@contextmanager
def opened(job: Job, plan: Plan) -> Iterator[None]:
    """Hold the output folder for this run, with its manifest and without leftovers.

    Raises StopError where another run holds it, where it was begun with another job, or where it
    holds other files.
    """

    def refuse() -> None:
        raise StopError(f"{job.to}: another run writes there: wait until it has ended, or stop it")

    with ExitStack() as stack:
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(job.folder / LOCK, refuse))
            _agree(job.folder, {**described(job), "input": about(plan)})
            _clean(job.folder)
        except OSError as error:
            raise StopError(f"{job.to} cannot be written ({error.strerror or error})") from error
        stack.callback(_clean, job.folder)
        yield


def about(plan: Plan) -> dict[str, Any]:
    """Describe an input: a digest of its names, in their order."""
    return {"kind": plan.kind, "shards": plan.count, "sha256_of_names": plan.digest}


def _agree(folder: Path, ours: Mapping[str, Any]) -> None:
    """Write the manifest, or raise StopError where the one that is there says otherwise."""
    path = folder / FILE
    if not path.exists():
        if other := [each.name for each in folder.iterdir() if each.name[0] != "."]:
            raise StopError(
                f"{folder} holds other files ({min(other)}) and has no {FILE}: name an empty folder"
            )
        write_text(path, json.dumps(ours, indent=1, ensure_ascii=False) + "\n")
        return
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))
        difference = next(
            f"{key} {_short(theirs.get(key))}, now {_short(ours[key])}"
            for key in ours
            if theirs.get(key) != json.loads(json.dumps(ours[key]))
        )
    except StopIteration:
        return
    except (ValueError, AttributeError) as error:
        raise StopError(f"{path} is damaged ({error}): name another folder") from error
    raise StopError(
        f"{folder} was begun with {difference}: a data set of two kinds would be of no use, so name"
        " another folder, or give the command as it was"
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _clean(folder: Path) -> None:
    for path in leftovers(folder):
        remove(path)
