"""Strength over time: keyframes and an interpolation, read from and written as text.

`"0:1, 0.35:0.8, 0.6:0 | smooth"` multiplies a control's strength by 1 at the start of sampling, by
0.8 at 35 % and by 0 from 60 % on. A position is a fraction of sampling (the host's percent) or a
step of this run's sampler, counted from 0 (`6s:0.5`); `strength@position` is read too (`"1@0,
0@0.6"`). A single number is a constant, an empty text a constant 1. Schedules over frames have the
same grammar with frame numbers as positions.

Every interpolation is a row of `INTERPOLATIONS`: `linear` (the default), `smooth` (a monotone
cubic), `step` (each value holds until the next). Each has a twin in `js/lib/schedule.js` that draws
it; the cases of `tests/fixtures/grammar.json` hold both to the same texts and values.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot, log
from typing import Any, NamedTuple

from .grammar import (
    WHITE,
    TextError,
    indent,
    is_number,
    number,
    one_of,
    plain,
    show,
    split,
    whole_number,
)

STRENGTHS = (0.0, 10.0)
HIGHEST_STEP, HIGHEST_FRAME = 10_000, 1_000_000
JUMP = 1e-9  # keyframes closer than this are a jump, not a slope
# Positions of steps beyond the percents 0 and 1 are squeezed into less than a jump: they keep their
# order, and lines over percents stay what they are.
BEYOND = JUMP / 4
AFTER_LAST_STEP = 1.0 + JUMP / 2


class Keyframe(NamedTuple):
    """A strength at a position.

    `unit`: "percent" (a fraction of sampling in [0,1]), "step" or "frame" (whole numbers from 0).
    """

    position: float
    unit: str
    strength: float


@dataclass(frozen=True)
class Schedule:
    """Keyframes in the order of their text, which never goes back within a unit.

    No keyframes mean a constant 1.
    """

    keyframes: tuple[Keyframe, ...] = ()
    interpolation: str = "linear"

    def at(self, position: float) -> float:
        """Evaluate the multiplier at `position`; before the first and after the last it is theirs.

        Of two keyframes at one position the later holds from there. Steps must be placed first:
        see `placed` and stages.py.
        """
        if not self.keyframes:
            return 1.0
        after = bisect_right(self._positions, position)
        if after == 0:
            return self.keyframes[0].strength
        if after == len(self.keyframes):
            return self.keyframes[-1].strength
        x0, x1 = self._positions[after - 1 : after + 1]
        return INTERPOLATIONS[self.interpolation](self, after - 1, (position - x0) / (x1 - x0))

    def placed(self, percent_of_step: Callable[[int], float]) -> Schedule:
        """Replace every step by its position in sampling and sort the keyframes by position."""
        if not self.has_steps:
            return self
        keyframes = [_placed(key, percent_of_step) for key in self.keyframes]
        return Schedule(tuple(sorted(keyframes, key=lambda key: key.position)), self.interpolation)

    @property
    def has_steps(self) -> bool:
        """Whether some position is a sampler step."""
        return any(key.unit == "step" for key in self.keyframes)

    @property
    def is_constant_one(self) -> bool:
        """Whether it changes nothing."""
        return all(key.strength == 1.0 for key in self.keyframes)

    @property
    def is_zero(self) -> bool:
        """Whether nothing acts at any time."""
        return bool(self.keyframes) and all(key.strength == 0.0 for key in self.keyframes)

    @property
    def strengths(self) -> list[float]:
        """The keyframes' strengths, in order."""
        return [key.strength for key in self.keyframes]

    @cached_property
    def _positions(self) -> list[float]:
        return [key.position for key in self.keyframes]

    @cached_property
    def slopes(self) -> list[float]:
        """The slope of the smooth curve at each keyframe."""
        return monotone_slopes(self._positions, self.strengths)

    def width(self, i: int) -> float:
        """Distance from keyframe i to the next."""
        return self._positions[i + 1] - self._positions[i]


def _placed(key: Keyframe, percent_of_step: Callable[[int], float]) -> Keyframe:
    if key.unit != "step":
        return key
    return Keyframe(percent_of_step(int(key.position)), "percent", key.strength)


# -- interpolations --------------------------------------------------------------------------------


def _linear(schedule: Schedule, i: int, u: float) -> float:
    y0, y1 = schedule.keyframes[i].strength, schedule.keyframes[i + 1].strength
    return y0 + (y1 - y0) * u


def _smooth(schedule: Schedule, i: int, u: float) -> float:
    y0, y1 = schedule.keyframes[i].strength, schedule.keyframes[i + 1].strength
    m0, m1 = (slope * schedule.width(i) for slope in schedule.slopes[i : i + 2])
    return y0 + u * (m0 + u * (3 * (y1 - y0) - 2 * m0 - m1 + u * (m0 + m1 - 2 * (y1 - y0))))


def _step(schedule: Schedule, i: int, _u: float) -> float:
    return schedule.keyframes[i].strength


# The strength between keyframe i and the next, at the fraction u of the way.
INTERPOLATIONS: dict[str, Callable[[Schedule, int, float], float]] = {
    "linear": _linear,
    "smooth": _smooth,
    "step": _step,
}


def monotone_slopes(xs: Sequence[float], ys: Sequence[float]) -> list[float]:
    """Compute the slopes of a cubic Hermite curve that never overshoots, 0 beside a jump.

    F. N. Fritsch, R. E. Carlson: Monotone Piecewise Cubic Interpolation, SIAM J. Numer. Anal. 17
    (1980). The choices that it leaves open (mean of the secants inside, the secant itself at the
    ends) are those of the host's curves.
    """
    segments = zip(xs, xs[1:], ys, ys[1:], strict=False)
    secants = [0.0 if x1 - x0 < JUMP else (y1 - y0) / (x1 - x0) for x0, x1, y0, y1 in segments]
    if not secants:
        return [0.0] * len(xs)
    inner = [(a + b) / 2 if a * b > 0 else 0.0 for a, b in itertools.pairwise(secants)]
    slopes = [secants[0], *inner, secants[-1]]
    for i, secant in enumerate(secants):
        if secant == 0.0:
            slopes[i] = slopes[i + 1] = 0.0
        elif (radius := hypot(slopes[i] / secant, slopes[i + 1] / secant)) > 3.0:
            slopes[i], slopes[i + 1] = slopes[i] * 3.0 / radius, slopes[i + 1] * 3.0 / radius
    return slopes


# -- reading and writing ---------------------------------------------------------------------------


def parse(text: str) -> Schedule:
    """Read a schedule over sampling.

    Raises TextError naming the position of what does not parse.
    """
    return _parsed("schedule", text, _sampling_position)


def parse_frames(text: str) -> Schedule:
    """Read a schedule over frame numbers.

    Raises TextError naming the position of what does not parse.
    """
    return _parsed("frame_strength", text, _frame_position)


def from_points(points: Any, interpolation: str) -> Schedule:
    """Make a schedule of (position, strength) points in any order.

    Raises ValueError for anything that is not a list of points within the axes.
    """
    try:
        pairs = sorted(((float(x), float(y)) for x, y in points), key=lambda point: point[0])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"schedule: expected a text or a curve's points (x, y), found {points!r}"
        ) from error
    within = all(0.0 <= x <= 1.0 and STRENGTHS[0] <= y <= STRENGTHS[1] for x, y in pairs)
    if not pairs or not within:
        raise ValueError(
            "schedule: expected a curve's points with x from 0 to 1 and y from 0 to 10, found"
            f" {pairs}"
        )
    return Schedule(
        tuple(Keyframe(position, "percent", strength) for position, strength in pairs),
        interpolation,
    )


def to_text(schedule: Schedule) -> str:
    """Write a schedule; `parse(to_text(schedule)) == schedule`."""
    pairs = (
        f"{show(key.position)}{'s' if key.unit == 'step' else ''}:{show(key.strength)}"
        for key in schedule.keyframes
    )
    ending = "" if schedule.interpolation == "linear" else f" | {schedule.interpolation}"
    return ", ".join(pairs) + ending


_Position = Callable[[str, str, int], tuple[float, str]]


def _parsed(field: str, text: str, position_of: _Position) -> Schedule:
    text = plain(text)
    pairs, bar, rest = text.partition("|")
    interpolation = _interpolation(field, rest, text, len(pairs) + 1) if bar else "linear"
    if not pairs.strip(WHITE):
        return Schedule()  # a constant has no use for an interpolation
    if is_number(pairs):
        strength = number(field, pairs, text, indent(pairs), *STRENGTHS)
        return Schedule((Keyframe(*position_of("0", text, 0), strength),), interpolation)
    keyframes: list[Keyframe] = []
    latest: dict[str, float] = {}
    for word, at in split(pairs):
        key = _keyframe(field, word, text, at, position_of)
        if key.position < latest.get(key.unit, 0.0):
            raise TextError(field, text, at, f"a position not before {show(latest[key.unit])}")
        latest[key.unit] = key.position
        keyframes.append(key)
    return Schedule(tuple(keyframes), interpolation)


def _keyframe(field: str, word: str, text: str, at: int, position_of: _Position) -> Keyframe:
    mark = ":" if ":" in word else "@"
    left, separator, right = word.partition(mark)
    if not separator:
        raise TextError(field, text, at, "'position:strength'")
    first, second = (left, at), (right, at + len(left) + 1 + indent(right))
    (position, position_at), (strength, strength_at) = (
        (first, second) if mark == ":" else (second, first)
    )
    return Keyframe(
        *position_of(position.strip(WHITE), text, position_at),
        number(field, strength, text, strength_at, *STRENGTHS),
    )


def _sampling_position(word: str, text: str, at: int) -> tuple[float, str]:
    if word.endswith("s"):
        return float(whole_number("schedule", word[:-1], text, at, HIGHEST_STEP)), "step"
    return number("schedule", word, text, at, 0.0, 1.0), "percent"


def _frame_position(word: str, text: str, at: int) -> tuple[float, str]:
    return float(whole_number("frame_strength", word, text, at, HIGHEST_FRAME)), "frame"


def _interpolation(field: str, word: str, text: str, at: int) -> str:
    name = word.strip(WHITE)
    if name not in INTERPOLATIONS:
        raise TextError(
            field, text, at + indent(word), f"the interpolation {one_of(INTERPOLATIONS)}"
        )
    return name


# -- time in a sampling run ------------------------------------------------------------------------


class PercentOfSigma:
    """The inverse of the host's percent → sigma, tabulated once per run.

    The host offers only the forward function, which falls. Discrete models interpolate log sigma
    linearly between 1000 timesteps, so 1000 knots and linear interpolation in log sigma invert them
    exactly, others to better than 1e-5.
    """

    KNOTS = 1000

    def __init__(self, percent_to_sigma: Callable[[float], float]) -> None:
        # At exactly 0 and 1 the host returns sentinels (a huge sigma, zero), so the ends are taken
        # just inside.
        inside = [min(max(k / (self.KNOTS - 1), 1e-9), 1 - 1e-9) for k in range(self.KNOTS)]
        rising = sorted(
            (log(max(float(percent_to_sigma(percent)), 1e-30)), percent) for percent in inside
        )
        self._log_sigmas = [log_sigma for log_sigma, _ in rising]
        self._percents = [percent for _, percent in rising]

    def __call__(self, sigma: float) -> float:
        """Look up the percent of a sigma."""
        if sigma <= 0.0:
            return 1.0
        x = log(sigma)
        after = bisect_right(self._log_sigmas, x)
        if after == 0:
            return 1.0
        if after == self.KNOTS:
            return 0.0
        x0, x1 = self._log_sigmas[after - 1 : after + 1]
        p0, p1 = self._percents[after - 1 : after + 1]
        return p0 if x1 == x0 else p0 + (p1 - p0) * (x - x0) / (x1 - x0)

    def position(self, sigma: float) -> float:
        """Return the percent of a sigma, in order also outside of the model's own sigmas.

        Schedulers may begin above the model's highest sigma (percent 0) or go below its lowest
        (percent 1); steps there are no longer told apart by percent.
        """
        if sigma <= 0.0:
            return AFTER_LAST_STEP
        above, below = log(sigma) - self._log_sigmas[-1], self._log_sigmas[0] - log(sigma)
        if above > 0.0:
            return -BEYOND * above / (1.0 + above)
        if below > 0.0:
            return 1.0 + BEYOND * below / (1.0 + below)
        return self(sigma)


class Clock:
    """The time in one sampling run, shared by all members of a chain; its table is made on use.

    `remarks`: what a member has said about this run, so that the others need not repeat it.
    """

    def __init__(self, percent_to_sigma: Callable[[float], float]) -> None:
        self._percent_to_sigma = percent_to_sigma
        self.remarks: list[str] = []

    @cached_property
    def _percent_of_sigma(self) -> PercentOfSigma:
        return PercentOfSigma(self._percent_to_sigma)

    def percent(self, sigma: float) -> float:
        """Return the fraction of sampling that has passed at `sigma`."""
        return self._percent_of_sigma(sigma)

    def position(self, sigma: float) -> float:
        """Return where a step at `sigma` lies among all steps: its percent, or beyond 0 and 1."""
        return self._percent_of_sigma.position(sigma)
