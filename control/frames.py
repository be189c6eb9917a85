"""Which rows of a sampler's batch a control acts on.

ComfyUI stacks conditionings chunk after chunk: a batch of two prompts and three latents has the
rows `[a0 a1 a2, b0 b1 b2]`. A control may act on some conditionings only (cond_only), or on some
latents only (a frame whose strength is 0); the rest is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch


@dataclass(frozen=True)
class Rows:
    """The rows of one batch that a control acts on.

    `chunks`: the conditionings that act, of `all_chunks`; `entries`: the latents that act in each
    of them. `frames`: every latent's number in the whole batch or clip. They differ from 0, 1, 2 …
    where ComfyUI samples a long clip in windows.
    """

    chunks: tuple[int, ...]
    all_chunks: int
    entries: tuple[int, ...]
    frames: tuple[int, ...]

    @property
    def total(self) -> int:
        """Number of rows in the whole batch."""
        return self.all_chunks * len(self.frames)

    @property
    def are_all(self) -> bool:
        """Whether every row of the batch acts."""
        return len(self.chunks) == self.all_chunks and len(self.entries) == len(self.frames)

    @cached_property
    def acting_frames(self) -> tuple[int, ...]:
        """Frame numbers of the acting latents of one conditioning."""
        return tuple(self.frames[entry] for entry in self.entries)

    @cached_property
    def indices(self) -> list[int]:
        """The acting rows of the whole batch, in the batch's order."""
        return [chunk * len(self.frames) + entry for chunk in self.chunks for entry in self.entries]

    @property
    def selection(self) -> slice | list[int]:
        """`indices` for indexing a tensor.

        A slice where the rows are contiguous, which costs a GPU neither a copy nor a wait.
        """
        first, count = self.indices[0], len(self.indices)
        are_contiguous = self.indices == list(range(first, first + count))
        return slice(first, first + count) if are_contiguous else self.indices

    def select(self, value: Any) -> Any:
        """Return the acting rows of a tensor that has all rows; any other value unchanged."""
        if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == self.total:
            return value[self.selection]
        return value


def frames_of(entries: int, window: Sequence[int] | None) -> tuple[int, ...]:
    """Return the frame numbers of a conditioning's latents: its window's, else counted from 0."""
    return tuple(window) if window is not None and len(window) == entries else tuple(range(entries))


def source_indices(frames: Sequence[int], available: int) -> list[int]:
    """Return each frame's entry in a batch of `available`, which repeats when it is shorter."""
    return [frame % available for frame in frames]
