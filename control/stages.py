"""Steps of schedules in sampling runs, also in runs that are one stage of several.

A sampler tells its own sigmas only. A run that stops before the end (KSampler (Advanced) with
leftover noise, the first part of Split Sigmas) and a run that begins at the very sigma where it
stopped are two stages of one schedule: the second counts its steps on from the first. Any other run
counts from its own first step, wherever it begins, because nothing tells what came before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .schedule import JUMP, Clock, Keyframe, Schedule

MOST_STAGES = 64
LATE_START = 0.001  # percent; schedulers that begin at the model's highest sigma round it


@dataclass
class Stages:
    """Sigmas of a member's runs that stopped before the end, by the sigma where they stopped.

    Shared by all copies of the member, as its journal is.
    """

    stopped: dict[float, tuple[float, ...]] = field(default_factory=dict[float, tuple[float, ...]])

    def __deepcopy__(self, memo: Any) -> Stages:
        """Return itself: a node that copies conditionings deeply samples stages of one schedule."""
        return self

    def whole(self, sigmas: Sequence[float]) -> tuple[float, ...]:
        """Return the sigmas of a run, after those of the stages that it continues."""
        earlier = self.stopped.get(sigmas[0], ())
        whole = (*earlier[:-1], *sigmas)
        if sigmas[-1] > 0.0 and _falls(whole):
            self.stopped.pop(sigmas[-1], None)
            self.stopped[sigmas[-1]] = whole
            for oldest in list(self.stopped)[:-MOST_STAGES]:
                del self.stopped[oldest]
        return whole if _falls(whole) else tuple(sigmas)


def _falls(sigmas: Sequence[float]) -> bool:
    return all(a >= b for a, b in itertools.pairwise(sigmas)) and sigmas[0] > sigmas[-1]


@dataclass(frozen=True)
class Placed:
    """A schedule whose steps have their positions in a run.

    `sign`: -1 where a run goes from the picture to noise, so that percents fall.
    """

    schedule: Schedule
    clock: Clock
    sign: float

    def at(self, sigma: float) -> float:
        """Evaluate the multiplier at a sigma."""
        return self.schedule.at(self.sign * self.clock.position(sigma))


def place(schedule: Schedule, clock: Clock, sigmas: Sequence[float]) -> Placed:
    """Place the steps of a schedule at `sigmas`, which has one entry more than there are steps.

    Steps after the last one fall at the end, after every step that is sampled.
    """
    only_steps = all(key.unit == "step" for key in schedule.keyframes)
    sign = -1.0 if only_steps and sigmas[0] < sigmas[-1] else 1.0
    last = len(sigmas) - 1
    if only_steps and sigmas[-1] > 0.0:
        schedule = _cut(schedule, last)

    def position_of(step: int) -> float:
        return sign * clock.position(sigmas[min(step, last)])

    return Placed(_from_the_start(schedule).placed(position_of), clock, sign)


def remark_on_start(clock: Clock, sigmas: Sequence[float], whole: Sequence[float]) -> str:
    """Say how steps count in a run that begins in mid-sampling for an unknown reason; else ''."""
    percent = clock.percent(sigmas[0])
    if len(whole) > len(sigmas) or percent < LATE_START or sigmas[0] < sigmas[-1]:
        return ""
    return (
        f"schedule: this run begins after {percent:.0%} of sampling, and ComfyUI does not tell"
        " whether steps came before it, so its first step counts as step 0. For positions in the"
        " whole of sampling, use fractions such as 0.5 instead of steps."
    )


def _cut(schedule: Schedule, end: int) -> Schedule:
    """End a schedule at a step where sampling stops early.

    Where in sampling later steps would be is not known, so their share of the way counts by number.
    """
    keys = schedule.keyframes
    within = [key for key in keys if key.position <= end]
    if len(within) == len(keys):
        return schedule
    last = Keyframe(float(end), "step", schedule.at(float(end)))
    return replace(schedule, keyframes=(*within, last))


def _from_the_start(schedule: Schedule) -> Schedule:
    """Move percent 0 before steps above the model's highest sigma."""
    keys = schedule.keyframes
    return replace(
        schedule,
        keyframes=tuple(
            key._replace(position=-JUMP / 2) if key.unit == "percent" and not key.position else key
            for key in keys
        ),
    )
