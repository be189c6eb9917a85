"""Strength over sampling time: keyframes at fractions of sampling (the host's percent), read from and written as text.

`"0:1, 0.35:0.8, 0.6:0"` multiplies a control's strength by 1 at the start, by 0.8 at 35 % and by 0 from 60 % on,
linear between. `strength@position` is read too (`"1@0, 0@0.6"`). An empty text is a constant 1.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from math import log

from .text import TextError, number, show, split

STRENGTHS = (0.0, 10.0)
NOT_BUILT = ("smooth", "step")


@dataclass(frozen=True)
class Schedule:
    """`keyframes`: (position in [0,1], multiplier), positions never decreasing; none means a constant 1."""

    keyframes: tuple[tuple[float, float], ...] = ()

    def at(self, percent: float) -> float:
        """The multiplier at `percent` of sampling; before the first keyframe and after the last their own values."""
        if not self.keyframes:
            return 1.0
        after = bisect_right([position for position, _ in self.keyframes], percent)
        if after == 0:
            return self.keyframes[0][1]
        if after == len(self.keyframes):
            return self.keyframes[-1][1]
        (x0, y0), (x1, y1) = self.keyframes[after - 1 : after + 1]
        return y0 + (y1 - y0) * (percent - x0) / (x1 - x0)

    @property
    def is_constant_one(self) -> bool:
        return all(strength == 1.0 for _, strength in self.keyframes)

    @property
    def is_zero(self) -> bool:
        return bool(self.keyframes) and all(strength == 0.0 for _, strength in self.keyframes)


def parse(text: str) -> Schedule:
    """Read a schedule. Raises TextError naming the position of what does not parse."""
    pairs, bar, interpolation = text.partition("|")
    if bar:
        _check_interpolation(interpolation, text, len(pairs) + 1)
    if not pairs.strip():
        return Schedule()
    keyframes: list[tuple[float, float]] = []
    for word, at in split(pairs, ","):
        position, strength = _keyframe(word, text, at)
        if keyframes and position < keyframes[-1][0]:
            raise TextError("schedule", text, at, f"a position not before {show(keyframes[-1][0])}")
        keyframes.append((position, strength))
    return Schedule(tuple(keyframes))


def form(schedule: Schedule) -> str:
    """The text of a schedule; `parse(form(s)) == s`."""
    return ", ".join(f"{show(position)}:{show(strength)}" for position, strength in schedule.keyframes)


def _keyframe(word: str, text: str, at: int) -> tuple[float, float]:
    mark = ":" if ":" in word else "@"
    left, found, right = word.partition(mark)
    if not found:
        raise TextError("schedule", text, at, "'position:strength'")
    right_at = at + len(left) + 1 + len(right) - len(right.lstrip())
    position, strength = ((left, at), (right, right_at)) if mark == ":" else ((right, right_at), (left, at))
    if position[0].strip().endswith("s"):
        raise TextError("schedule", text, position[1], "a fraction of sampling (sampler steps are not built yet)")
    return (
        number("schedule", position[0], text, position[1], 0.0, 1.0),
        number("schedule", strength[0], text, strength[1], *STRENGTHS),
    )


def _check_interpolation(word: str, text: str, at: int) -> None:
    at += len(word) - len(word.lstrip())
    if word.strip() in NOT_BUILT:
        raise TextError("schedule", text, at, f"the interpolation 'linear' ({word.strip()!r} is not built yet)")
    if word.strip() != "linear":
        raise TextError("schedule", text, at, "the interpolation 'linear'")


class PercentOfSigma:
    """The inverse of the host's percent → sigma, tabulated once a run.

    The host gives only the forward function, which falls. Discrete models interpolate log sigma linearly between 1000
    timesteps, so 1000 knots and linear interpolation in log sigma invert them exactly, others to better than 1e-5.
    """

    KNOTS = 1000

    def __init__(self, percent_to_sigma: Callable[[float], float]) -> None:
        # The host answers exactly 0 and 1 with sentinels (a huge sigma, zero), so the ends are taken just inside.
        inside = [min(max(k / (self.KNOTS - 1), 1e-9), 1 - 1e-9) for k in range(self.KNOTS)]
        rising = sorted((log(max(float(percent_to_sigma(percent)), 1e-30)), percent) for percent in inside)
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
