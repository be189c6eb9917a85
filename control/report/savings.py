"""What speeds `fast` and `approximate` spared a net in its last run, and how far off reuse was."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .faults import steps_of
from .journal import Journal

WARN_ABOVE = 0.1


@dataclass(frozen=True)
class Savings:
    """Counts of a member's last run.

    `calls`: of the member, `reused`: those for which its net did not run. `shared`: rows that got
    another prompt's residuals. `together`: calls in one forward with other members, `merged`:
    layers of a Control-LoRA. `off_by`: |fresh - reused| / |fresh| where the net ran again, the
    largest, and `step` where that was, from 1; None where nothing can be told.
    """

    calls: int = 0
    reused: int = 0
    shared: int = 0
    together: int = 0
    merged: int = 0
    off_by: float | None = None
    step: int = 0


def savings_of(journal: Journal, sigmas: Sequence[float] = ()) -> Savings:
    """Read a journal; waits for the devices. `sigmas`: of the run's steps, if others tell more."""
    sigmas, calls = sigmas or steps_of([journal]), journal.calls
    off_by, sigma = None, None
    for call in calls:
        if call.off_by is not None:
            distance, size = (float(squares) for squares in call.off_by)
            off = math.sqrt(distance / size) if size else 0.0
            if off_by is None or not off <= off_by:
                off_by, sigma = off, call.sigma
    return Savings(
        calls=len(calls),
        reused=sum(call.is_reused for call in calls),
        shared=sum(call.shared for call in calls),
        together=sum(call.batch is not None for call in calls),
        merged=journal.merged,
        off_by=off_by,
        step=0 if sigma is None else 1 + list(sigmas).index(sigma),
    )


def lines(net: str, savings: Savings) -> Iterator[str]:
    """Say what was spared, a sentence for each kind."""
    if savings.reused:
        yield f"{net}: what it gave was reused at {savings.reused} of {savings.calls} calls."
    if savings.off_by is not None:
        off = f"{100 * savings.off_by:.1f} %"
        yield f"{net}: what was reused was off by {off} at most, at step {savings.step}."
    if savings.shared:
        yield f"{net}: {savings.shared} rows of the negative got the positive's control."
    if savings.together:
        yield f"{net}: {savings.together} calls ran in one forward with others of the same net."
    if savings.merged:
        yield f"{net}: {savings.merged} layers were merged with the model's weights."


def warning(net: str, savings: Savings) -> str:
    """Say that reuse was far off, and what to do; "" where it was not."""
    if savings.off_by is None or savings.off_by <= WARN_ABOVE:
        return ""
    return (
        f"{net}: with speed 'approximate', what was reused was off by"
        f" {100 * savings.off_by:.0f} % at step {savings.step}, more than"
        f" {100 * WARN_ABOVE:.0f} %. Lower reuse in Apply ControlNet Stack, take more steps, or"
        " choose speed 'fast'."
    )
