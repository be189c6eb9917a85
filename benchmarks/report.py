"""What the journal for Control Report costs: the same chain with it and with one that notes nothing, in turn."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from . import steps, timing

LIMIT = 1.03
REPEATS = {"tiny": 31, "full": 5}
HEAD = ("model, nets", "without ms/step", "with ms/step", "ratio", f"limit {LIMIT}")


def run(args: argparse.Namespace) -> None:
    """Print a table for one, two and three nets; `args.quick` leaves out the full size and most repetitions."""
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
    )


@contextmanager
def _silent(chain: Any) -> Iterator[None]:
    """Members of the chain note nothing meanwhile."""
    from pack.control.journal import Journal

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
