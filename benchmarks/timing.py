"""Time two functions in pairs, so that other programs slow both alike, and summarize the pairs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
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
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True)
class Paired:
    """Milliseconds of both, and the ratio ours / reference, taken pair by pair.

    Below 1, ours is faster.
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
    """Time both `repeats` times in turn, alternating which runs first.

    `warm_up` rounds before that are not counted. The reference runs inside a context from
    `reference_under`; entering and leaving it is not timed.
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


def in_turn(
    rivals: Mapping[str, Callable[[], object]],
    reference: Callable[[], object],
    repeats: int,
    *,
    warm_up: int = 1,
) -> dict[str, Paired]:
    """Time several functions and one reference `repeats` times in turn, as pairs of each round.

    The order changes from round to round. `warm_up` rounds before that are not counted.
    """
    names = [None, *rivals]
    rounds: list[dict[str | None, float]] = []
    for turn in range(-warm_up, repeats):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        took = {name: milliseconds(rivals[name] if name else reference) for name in order}
        if turn >= 0:
            rounds.append(took)
    theirs = Spread.of([took[None] for took in rounds])
    return {
        name: Paired(
            Spread.of([took[name] for took in rounds]),
            theirs,
            Spread.of([took[name] / took[None] for took in rounds]),
        )
        for name in rivals
    }


def free_cores(work: Callable[[], object], cores: int) -> float:
    """Measure how many of `cores` are free for us.

    Runs `work` in that many threads at once and once alone, and compares the times. `work` must
    release the interpreter's lock. On an idle machine the result is close to `cores`.
    """
    with ThreadPoolExecutor(cores) as pool:
        times = paired(lambda: [*pool.map(lambda _: work(), range(cores))], work, repeats=11)
    return cores / times.ratio.median


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format rows in columns, the first aligned to the left, the others to the right."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    aligned = []
    for first, *others in lines:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        aligned.append("  ".join(cells))
    return "\n".join(aligned)
