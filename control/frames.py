"""Which rows of a sampler's batch a control acts on.

The host stacks conditionings chunk after chunk: a batch of two prompts and three latents has the
rows `[a0 a1 a2, b0 b1 b2]`. A control may act on some conditionings only (cond_only), or on some
latents only (a frame whose strength is 0); the rest is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Rows:
    """`chunks`: the conditionings that act, of `all_chunks`; `entries`: the latents that act in
    each of them.

    `frames`: every latent's number in the whole batch or clip. They differ from 0, 1, 2 … where the
    host samples a long clip in windows.
    """

    chunks: tuple[int, ...]
    all_chunks: int
    entries: tuple[int, ...]
    frames: tuple[int, ...]

    @property
    def total(self) -> int:
        return self.all_chunks * len(self.frames)

    @property
    def are_all(self) -> bool:
        return len(self.chunks) == self.all_chunks and len(self.entries) == len(self.frames)

    @cached_property
    def acting_frames(self) -> tuple[int, ...]:
        return tuple(self.frames[entry] for entry in self.entries)

    @cached_property
    def indices(self) -> list[int]:
        """The acting rows of the whole batch, in the batch's order."""
        return [chunk * len(self.frames) + entry for chunk in self.chunks for entry in self.entries]

    @property
    def selection(self) -> slice | list[int]:
        """The same for indexing: a slice where they lie side by side, which costs a GPU neither
        copy nor wait.
        """
        first, count = self.indices[0], len(self.indices)
        side_by_side = self.indices == list(range(first, first + count))
        return slice(first, first + count) if side_by_side else self.indices


def frames_of(entries: int, window: Sequence[int] | None) -> tuple[int, ...]:
    """Numbers of a conditioning's latents: those of the window that the host is at, else 0, 1, 2 …"""
    return tuple(window) if window is not None and len(window) == entries else tuple(range(entries))


def taken(frames: Sequence[int], available: int) -> list[int]:
    """For each frame the entry of a batch of `available` that is meant for it: its own, from the
    start when fewer.
    """
    return [frame % available for frame in frames]
