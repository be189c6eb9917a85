"""Show how far a run is: pictures, rate, remaining time. One line that is written over."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import IO

WIDTH = 24
EVERY_S = {True: 0.2, False: 15.0}
"""Seconds between two lines, on a terminal and elsewhere."""
WINDOW_S = 60.0
"""The rate is that of the last minute."""


class Gauge:
    """Follow shards: `total` is their weight, `done` what is there already."""

    def __init__(self, total: int, done: int, file: IO[str] = sys.stderr) -> None:
        self.total, self.before, self.file = max(1, total), done, file
        self.pictures = 0
        self._whole = done
        self._open: dict[str, tuple[int, int]] = {}
        self._began = self._shown = time.monotonic()
        self._past = deque([(self._began, 0, done)])

    def report(self, shard: str, pictures: int, weight: int, is_done: bool) -> None:
        """Note how far a shard is."""
        self._open.pop(shard, None)
        if is_done:
            self.pictures += pictures
            self._whole += weight
        else:
            self._open[shard] = (pictures, weight)
        now = time.monotonic()
        if now - self._shown >= EVERY_S[self.file.isatty()]:
            self._shown = now
            self._show(now)

    def line(self, now: float) -> str:
        """Return the line for a moment."""
        pictures = self.pictures + sum(count for count, _ in self._open.values())
        weight = self._whole + sum(share for _, share in self._open.values())
        self._past.append((now, pictures, weight))
        while now - self._past[0][0] > WINDOW_S and len(self._past) > 2:
            self._past.popleft()
        then, pictures_then, weight_then = self._past[0]
        seconds = max(1e-6, now - then)
        rate, speed = (pictures - pictures_then) / seconds, (weight - weight_then) / seconds
        share = min(1.0, weight / self.total)
        bar = ("#" * round(WIDTH * share)).ljust(WIDTH, ".")
        left = clock((self.total - weight) / speed) if speed > 0 else "?"
        return f"{bar} {share:6.1%}  {pictures:,} pictures, {rate:,.1f} /s, {left} left"

    def _show(self, now: float) -> None:
        ends = ("\r", "\x1b[K") if self.file.isatty() else ("", "\n")
        self.file.write(f"{ends[0]}{self.line(now)}{ends[1]}")
        self.file.flush()

    def end(self) -> float:
        """Leave the line and return the seconds since the begin."""
        if self.file.isatty():
            self._show(time.monotonic())
            self.file.write("\n")
        return time.monotonic() - self._began


def clock(seconds: float) -> str:
    """Return a duration as 1:02:03 or 02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
