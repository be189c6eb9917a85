"""What the journal for Control Report costs: the same chain with it and with one that notes
nothing, in turn.

The journal's own seconds are counted as well, for they are far below what two runs of one chain
differ by.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

from . import steps, timing

LIMIT = 1.03
REPEATS = {"tiny": 31, "full": 5}
NOTING = ("see_skip", "see_middle", "see_double")  # the journal's patches of the model
HEAD = (
    "model, nets",
    "without ms/step",
    "with ms/step",
    "ratio",
    f"limit {LIMIT}",
    "of it in the journal",
)


def run(args: argparse.Namespace) -> None:
    """Print a table for one, two and three nets; `args.quick` leaves out the full size and most
    repetitions.
    """
    import comfy.utils

    comfy.utils.PROGRESS_BAR_ENABLED = False
    for size in ("tiny",) if args.quick else ("tiny", "full"):
        bench, rows = steps.bench_of(size), []
        for nets in (1, 2, 3):
            print(f"... {steps.NAMES[size]}, {nets} of 3 nets", file=sys.stderr, flush=True)
            rows.append(_row(bench, nets, 5 if args.quick else REPEATS[size]))
        print(timing.table(HEAD, rows), flush=True)
        del bench
        gc.collect()


def _row(bench: steps.Bench, nets: int, repeats: int) -> tuple[Any, ...]:
    chain = bench.our_chain(nets, "balanced")
    work = partial(bench.sample, chain)

    def reference() -> object:
        return work()

    took = timing.paired(work, reference, repeats, reference_under=partial(_silent, chain))
    count = steps.STEPS[bench.size]
    return (
        f"{steps.NAMES[bench.size]}, {nets}",
        f"{took.reference_ms.median / count:.1f}",
        f"{took.ours_ms.median / count:.1f}",
        took.ratio,
        "kept" if took.ratio.median <= LIMIT else "MISSED",
        f"{100 * statistics.median(_share(work) for _ in range(repeats)):.2f} %",
    )


def _share(work: Callable[[], object]) -> float:
    """The part of `work` that is spent in the journal and in its patches of the model."""
    from pack.control.report import journal

    spent = 0.0

    def counted(noting: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **kwargs: Any) -> Any:
            nonlocal spent
            began = time.perf_counter()
            try:
                return noting(*args, **kwargs)
            finally:
                spent += time.perf_counter() - began

        return count

    places = [(journal, name) for name in NOTING] + [
        (journal.Journal, name) for name in ("start", "begin", "end")
    ]
    with ExitStack() as patches:
        for place, name in places:
            patches.enter_context(mock.patch.object(place, name, counted(getattr(place, name))))
        took = timing.milliseconds(work)
    return 1000 * spent / took


@contextmanager
def _silent(chain: Any) -> Iterator[None]:
    """Members of the chain note nothing meanwhile."""
    from pack.control.report.journal import Journal

    class Silent(Journal):
        def begin(self, *_: Any) -> Any:
            return None

        def end(self, *_: Any) -> None:
            return None

    members, control = [], chain[0][0][1]["control"]
    while control is not None:
        members.append((control, control.journal))
        control.journal = Silent()
        control = control.previous_controlnet
    try:
        yield
    finally:
        for member, journal in members:
            member.journal = journal
