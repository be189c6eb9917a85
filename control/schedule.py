"""Strength over time: keyframes and an interpolation, read from and written as text.

`"0:1, 0.35:0.8, 0.6:0 | smooth"` multiplies a control's strength by 1 at the start of sampling, by
0.8 at 35 % and by 0 from 60 % on. A position is a fraction of sampling (the host's percent) or a
step of this run's sampler, counted from 0 (`6s:0.5`); `strength@position` is read too (`"1@0,
0@0.6"`). Interpolations: `linear` (the default), `smooth` (a monotone cubic), `step` (each value
holds until the next). An empty text is a constant 1. Frame schedules have the same grammar over
frame numbers.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot, log
from typing import Any, NamedTuple

from .grammar import WHITE, TextError, number, show, split, whole

STRENGTHS = (0.0, 10.0)
HIGHEST_STEP, HIGHEST_FRAME = 10_000, 1_000_000
INTERPOLATIONS = ("linear", "smooth", "step")
JUMP = 1e-9  # keyframes closer than this are a jump, not a slope


class Keyframe(NamedTuple):
    """`unit`: "percent" (a fraction of sampling in [0,1]), "step" or "frame" (whole numbers from
    0).
    """

    position: float
    unit: str
    strength: float


@dataclass(frozen=True)
class Schedule:
    """`keyframes` in the order of their text, which never goes back within a unit; none means a
    constant 1.
    """

    keyframes: tuple[Keyframe, ...] = ()
    interpolation: str = "linear"

    def at(self, position: float) -> float:
        """The multiplier at `position`; before the first keyframe and after the last their own
        values.

        Of two keyframes at one position the later holds from there. Steps have no position yet: see
        `placed`.
        """
        if not self.keyframes:
            return 1.0
        after = bisect_right(self._positions, position)
        if after == 0:
            return self.keyframes[0].strength
        if after == len(self.keyframes) or self.interpolation == "step":
            return self.keyframes[after - 1].strength
        (x0, _, y0), (x1, _, y1) = self.keyframes[after - 1 : after + 1]
        u = (position - x0) / (x1 - x0)
        if self.interpolation == "linear":
            return y0 + (y1 - y0) * u
        m0, m1 = (slope * (x1 - x0) for slope in self._slopes[after - 1 : after + 1])
        return y0 + u * (m0 + u * (3 * (y1 - y0) - 2 * m0 - m1 + u * (m0 + m1 - 2 * (y1 - y0))))

    def placed(self, percent_of_step: Callable[[int], float]) -> Schedule:
        """The same schedule with every step where it falls in sampling; keyframes in the order in
        which they come.
        """
        if not self.has_steps:
            return self
        placed = [
            (
                key
                if key.unit != "step"
                else Keyframe(percent_of_step(int(key.position)), "percent", key.strength)
            )
            for key in self.keyframes
        ]
        return Schedule(tuple(sorted(placed, key=lambda key: key.position)), self.interpolation)

    @property
    def has_steps(self) -> bool:
        return any(key.unit == "step" for key in self.keyframes)

    @property
    def is_constant_one(self) -> bool:
        return all(key.strength == 1.0 for key in self.keyframes)

    @property
    def is_zero(self) -> bool:
        return bool(self.keyframes) and all(key.strength == 0.0 for key in self.keyframes)

    @cached_property
    def _positions(self) -> list[float]:
        return [key.position for key in self.keyframes]

    @cached_property
    def _slopes(self) -> list[float]:
        return monotone_slopes(self._positions, [key.strength for key in self.keyframes])


def monotone_slopes(xs: Sequence[float], ys: Sequence[float]) -> list[float]:
    """A cubic Hermite curve's slope at each point such that it never overshoots; 0 on both sides of
    a jump.

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


def parse(text: str) -> Schedule:
    """Read a schedule over sampling. Raises TextError naming the position of what does not parse."""
    return _parsed("schedule", text, _sampling_position)


def parse_frames(text: str) -> Schedule:
    """Read a schedule over frame numbers. Raises TextError naming the position of what does not
    parse.
    """
    return _parsed("frame_strength", text, _frame_position)


def through(points: Any, interpolation: str) -> Schedule:
    """A schedule through (position, strength) points in any order. Raises ValueError for what is no
    list of points.
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


def form(schedule: Schedule) -> str:
    """The text of a schedule; `parse(form(s)) == s`."""
    mark = {"step": "s"}
    pairs = (
        f"{show(key.position)}{mark.get(key.unit, '')}:{show(key.strength)}"
        for key in schedule.keyframes
    )
    ending = "" if schedule.interpolation == "linear" else f" | {schedule.interpolation}"
    return ", ".join(pairs) + ending


_Position = Callable[[str, str, int], tuple[float, str]]


def _parsed(field: str, text: str, position_of: _Position) -> Schedule:
    pairs, bar, rest = text.partition("|")
    interpolation = _interpolation(field, rest, text, len(pairs) + 1) if bar else "linear"
    if not pairs.strip(WHITE):
        return Schedule()  # a constant has no use for an interpolation
    keyframes: list[Keyframe] = []
    latest: dict[str, float] = {}
    for word, at in split(pairs, ","):
        key = _keyframe(field, word, text, at, position_of)
        if key.position < latest.get(key.unit, 0.0):
            raise TextError(field, text, at, f"a position not before {show(latest[key.unit])}")
        latest[key.unit] = key.position
        keyframes.append(key)
    return Schedule(tuple(keyframes), interpolation)


def _keyframe(field: str, word: str, text: str, at: int, position_of: _Position) -> Keyframe:
    mark = ":" if ":" in word else "@"
    left, found, right = word.partition(mark)
    if not found:
        raise TextError(field, text, at, "'position:strength'")
    right_at = at + len(left) + 1 + len(right) - len(right.lstrip(WHITE))
    (position, p), (strength, s) = (
        ((left, at), (right, right_at)) if mark == ":" else ((right, right_at), (left, at))
    )
    return Keyframe(
        *position_of(position.strip(WHITE), text, p), number(field, strength, text, s, *STRENGTHS)
    )


def _sampling_position(word: str, text: str, at: int) -> tuple[float, str]:
    if word.endswith("s"):
        return float(whole("schedule", word[:-1], text, at, HIGHEST_STEP)), "step"
    return number("schedule", word, text, at, 0.0, 1.0), "percent"


def _frame_position(word: str, text: str, at: int) -> tuple[float, str]:
    return float(whole("frame_strength", word, text, at, HIGHEST_FRAME)), "frame"


def _interpolation(field: str, word: str, text: str, at: int) -> str:
    at += len(word) - len(word.lstrip(WHITE))
    if word.strip(WHITE) not in INTERPOLATIONS:
        raise TextError(field, text, at, "the interpolation 'linear', 'smooth' or 'step'")
    return word.strip(WHITE)


class PercentOfSigma:
    """The inverse of the host's percent → sigma, tabulated once a run.

    The host gives only the forward function, which falls. Discrete models interpolate log sigma
    linearly between 1000 timesteps, so 1000 knots and linear interpolation in log sigma invert them
    exactly, others to better than 1e-5.
    """

    KNOTS = 1000

    def __init__(self, percent_to_sigma: Callable[[float], float]) -> None:
        # The host answers exactly 0 and 1 with sentinels (a huge sigma, zero), so the ends are
        # taken just inside.
        inside = [min(max(k / (self.KNOTS - 1), 1e-9), 1 - 1e-9) for k in range(self.KNOTS)]
        rising = sorted(
            (log(max(float(percent_to_sigma(percent)), 1e-30)), percent) for percent in inside
        )
        self._log_sigmas = [log_sigma for log_sigma, _ in rising]
        self._percents = [percent for _, percent in rising]

    def __call__(self, sigma: float) -> float:
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


class Clock:
    """What time it is in one sampling run, for all members of a chain: the tables are made once, on
    first use.
    """

    def __init__(self, percent_to_sigma: Callable[[float], float]) -> None:
        self._percent_to_sigma = percent_to_sigma
        self._percent_of_sigma: PercentOfSigma | None = None

    def percent(self, sigma: float) -> float:
        if self._percent_of_sigma is None:
            self._percent_of_sigma = PercentOfSigma(self._percent_to_sigma)
        return self._percent_of_sigma(sigma)

    def placed(self, schedule: Schedule, sigmas: Sequence[float]) -> Schedule:
        """`schedule` with its steps at the percents of `sigmas`, the sampler's own; steps after the
        last at the end.
        """
        return schedule.placed(lambda step: self.percent(sigmas[min(step, len(sigmas) - 1)]))
