"""Time the journal that Control Report reads: one chain with it and with an empty one, in turn.

Of nets for UNets, and of one net each on bases shaped as Flux, Qwen-Image and Z-Image. The
journal's own seconds are measured as well, because they are far less than two runs of the same
chain differ by.
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

from . import steps, timing, transformer_bases

LIMIT = 1.03
REPEATS = {"tiny": 31, "full": 5}
STEPS = {"tiny": 8, "full": 2}
METHODS = ("start", "begin", "measured", "end")  # of Journal
PATCHES = ("record_skip", "record_middle")  # the report's, on the model
INSIDE = ("enter", "leave")  # of Inside, around nets that act inside the model
HEAD = (
    "model, nets",
    "without ms/step",
    "with ms/step",
    "ratio",
    f"limit {LIMIT}",
    "share of it in the journal",
)


def run(args: argparse.Namespace) -> None:
    """Print a table for one, two and three nets.

    `args.quick` leaves out the full size and most repetitions.
    """
    import comfy.utils

    comfy.utils.PROGRESS_BAR_ENABLED = False
    for size in ("tiny",) if args.quick else ("tiny", "full"):
        bench, rows = steps.bench_of(size), []
        for nets in (1, 2, 3):
            print(f"... {steps.NAMES[size]}, {nets} of 3 nets", file=sys.stderr, flush=True)
            chain, count = bench.our_chain(nets), STEPS[size]
            repeats = 5 if args.quick else REPEATS[size]
            name = f"{steps.NAMES[size]}, {nets}"
            rows.append(_row(name, chain, partial(bench.sample, chain, count), count, repeats))
        print(timing.table(HEAD, rows), flush=True)
        del bench
        gc.collect()
    rows = []
    for name in transformer_bases.BUILDERS:
        print(f"... {name}", file=sys.stderr, flush=True)
        rows.append(_transformer_row(name, is_small=args.quick))
        gc.collect()
    print(timing.table(HEAD, rows), flush=True)


def _transformer_row(name: str, *, is_small: bool) -> tuple[Any, ...]:
    bench = transformer_bases.bench_of(name, is_small=is_small)
    chain, label = bench.our_chain("balanced"), f"{name}{' (tiny)' if is_small else '-shaped'}, 1"
    work = partial(bench.sample, chain)
    return _row(label, chain, work, transformer_bases.STEPS, REPEATS["full"])


def _row(
    name: str, chain: Any, work: Callable[[], object], count: int, repeats: int
) -> tuple[Any, ...]:
    """Measure a chain of `count` steps with its journal and without."""

    def reference() -> object:
        return work()

    took = timing.paired(work, reference, repeats, reference_under=partial(_journal_off, chain))
    return (
        name,
        f"{took.reference_ms.median / count:.1f}",
        f"{took.ours_ms.median / count:.1f}",
        took.ratio,
        "met" if took.ratio.median <= LIMIT else "MISSED",
        f"{100 * statistics.median(_share(work) for _ in range(repeats)):.2f} %",
    )


def _share(work: Callable[[], object]) -> float:
    """Measure the share of `work` spent in the journal and in its patches of the model."""
    from pack.control.report import inside, journal, model_blocks

    spent = 0.0

    def timed(recorder: Callable[..., Any]) -> Callable[..., Any]:
        def run_timed(*args: Any, **kwargs: Any) -> Any:
            nonlocal spent
            began = time.perf_counter()
            try:
                return recorder(*args, **kwargs)
            finally:
                spent += time.perf_counter() - began

        return run_timed

    recorders = [(model_blocks, name) for name in PATCHES]
    recorders.append((model_blocks.Recorder, "note"))
    recorders += [(inside.Inside, name) for name in INSIDE]
    recorders += [(journal.Journal, name) for name in METHODS]
    with ExitStack() as replaced:
        for owner, name in recorders:
            replaced.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name))))
        took = timing.milliseconds(work)
    return 1000 * spent / took


@contextmanager
def _journal_off(chain: Any) -> Iterator[None]:
    """Give the chain's members a journal that records nothing, then their own again."""
    from pack.control.report.inside import Inside
    from pack.control.report.journal import Journal

    class EmptyJournal(Journal):
        def begin(self, *_: Any) -> Any:
            return None

        def measured(self, *_: Any) -> Any:
            return {}

        def end(self, *_: Any) -> None:
            return None

    members, control = [], chain[0][0][1]["control"]
    while control is not None:
        members.append((control, control.journal))
        control.journal = EmptyJournal()
        control = control.previous_controlnet
    try:
        with mock.patch.object(Inside, "around", lambda _notes, hooks: hooks):
            yield
    finally:
        for member, journal in members:
            member.journal = journal
