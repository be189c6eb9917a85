"""Two rivals timed in pairs, so that whatever else the machine does slows both, and what the pairs
say together.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True)
class Paired:
    """Milliseconds of both, and `ratio`: ours over reference, taken pair by pair. Below 1, ours is
    faster.
    """

    ours_ms: Spread
    reference_ms: Spread
    ratio: Spread


def paired(
    ours: Callable[[], object],
    reference: Callable[[], object],
    repeats: int,
    *,
    warm_up: int = 2,
    reference_under: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Paired:
    """Run both `repeats` times in turn, changing who begins, after `warm_up` rounds that do not
    count.

    The reference runs under a context of its own; entering and leaving it is nobody's time.
    """
    pairs: list[tuple[float, float]] = []
    for turn in range(-warm_up, repeats):
        took: dict[Callable[[], object], float] = {}
        for rival in (ours, reference) if turn % 2 else (reference, ours):
            with reference_under() if rival is reference else nullcontext():
                took[rival] = milliseconds(rival)
        if turn >= 0:
            pairs.append((took[ours], took[reference]))
    return Paired(
        Spread.of([mine for mine, _ in pairs]),
        Spread.of([theirs for _, theirs in pairs]),
        Spread.of([mine / theirs for mine, theirs in pairs]),
    )


def free_cores(work: Callable[[], object], cores: int) -> float:
    """How many of the cores are ours: what that many threads do of `work` in the time that one
    takes for its own.

    `work` must release the interpreter's lock. On an idle machine the answer is close to `cores`.
    """
    with ThreadPoolExecutor(cores) as pool:
        told = paired(lambda: [*pool.map(lambda _: work(), range(cores))], work, repeats=11)
    return cores / told.ratio.median


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(pairs)
        )
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )
