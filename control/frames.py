"""Which rows of a sampler's batch a control acts on, and which frames they are.

ComfyUI stacks conditionings chunk after chunk: a batch of two prompts and three latents has the
rows `[a0 a1 a2, b0 b1 b2]`. A tiler may stack tiles of it, each such a batch. A control may act on
some conditionings only (cond_only), or on some latents only (a frame whose strength is 0); the rest
is not computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch


@dataclass(frozen=True)
class Rows:
    """The rows of one batch that a control acts on.

    `chunks`: the conditionings that act, of `all_chunks`; `entries`: the latents that act in each
    of them. `frames`: every latent's number in the whole batch or clip. They differ from 0, 1, 2 …
    where a long clip is sampled in windows. `tiles`: how often this repeats in the batch.
    """

    chunks: tuple[int, ...]
    all_chunks: int
    entries: tuple[int, ...]
    frames: tuple[int, ...]
    tiles: int = 1

    @property
    def total(self) -> int:
        """Number of rows in the whole batch."""
        return self.tiles * self.all_chunks * len(self.frames)

    @property
    def are_all(self) -> bool:
        """Whether every row of the batch acts."""
        return len(self.chunks) == self.all_chunks and len(self.entries) == len(self.frames)

    @cached_property
    def acting_frames(self) -> tuple[int, ...]:
        """Frame numbers of the acting latents of one conditioning."""
        return tuple(self.frames[entry] for entry in self.entries)

    @property
    def repeats(self) -> int:
        """How often `acting_frames` repeats in the acting rows."""
        return self.tiles * len(self.chunks)

    @cached_property
    def indices(self) -> list[int]:
        """The acting rows of the whole batch, in the batch's order."""
        chunks = range(0, self.tiles * self.all_chunks, self.all_chunks)
        acting = [first + chunk for first in chunks for chunk in self.chunks]
        return [chunk * len(self.frames) + entry for chunk in acting for entry in self.entries]

    @property
    def selection(self) -> slice | list[int]:
        """`indices` for indexing a tensor.

        A slice where the rows are contiguous, which costs a GPU neither a copy nor a wait.
        """
        first, count = self.indices[0], len(self.indices)
        are_contiguous = self.indices == list(range(first, first + count))
        return slice(first, first + count) if are_contiguous else self.indices

    def asked(self, sources: Sequence[int]) -> Rows:
        """Return the rows to compute where chunk i gets what chunk `sources[i]` gets."""
        return replace(self, chunks=tuple(sorted({sources[chunk] for chunk in self.chunks})))

    def served_by(self, asked: Rows, sources: Sequence[int]) -> list[int]:
        """Return for each acting row which of the `asked` rows serves it, as its number there."""
        per_tile, count = len(asked.chunks), len(self.entries)
        chunks = [asked.chunks.index(sources[chunk]) for chunk in self.chunks]
        firsts = [tile * per_tile + chunk for tile in range(self.tiles) for chunk in chunks]
        return [first * count + entry for first in firsts for entry in range(count)]

    def select(self, value: Any) -> Any:
        """Return the acting rows of a tensor that has all rows; any other value unchanged."""
        if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == self.total:
            return value[self.selection]
        return value


def window_frames(window: Any) -> tuple[int, ...]:
    """Return the frames that ComfyUI puts into a context window, in their order.

    The frame before the window, where the node adds it (`causal_window_fix`), stands in front; the
    guide frames that belong to the window stand behind it, numbered after the clip's own frames.
    """
    anchor = getattr(window, "causal_anchor_index", None)
    before = (anchor,) if anchor is not None and anchor >= 0 else ()
    guides = getattr(window, "guide_frames_indices", None) or ()
    after = (window.total_frames + guide for guide in guides)
    return (*before, *window.index_list, *after)


def frames_of(
    entries: int, transformer_options: Mapping[str, Any], sub_idxs: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Return the frame numbers of a conditioning's latents.

    Those of ComfyUI's context window, if it runs over the batch's rows (dim 0; of video latents it
    runs over their frames), those of AnimateDiff-Evolved (`sub_idxs`, or as it writes them on the
    control), else counted from 0. Raises ValueError where a window has another length.
    """
    window = transformer_options.get("context_window")
    if "ad_params" in transformer_options:
        sub_idxs = transformer_options["ad_params"].get("sub_idxs")
    if getattr(window, "dim", None) == 0:
        frames = window_frames(window)
    elif sub_idxs is not None:
        frames = tuple(int(frame) for frame in sub_idxs)
    else:
        return tuple(range(entries))
    _refuse_other_length(frames, entries)
    return frames


def latent_window(
    count: int, transformer_options: Mapping[str, Any]
) -> tuple[tuple[int, ...], int] | None:
    """Return which latent frames of a clip ComfyUI's context window shows, and how many there are.

    `count`: the latent frames that came. None without a window over them (dim 2): they are all.
    Raises ValueError where the window has another length.
    """
    window = transformer_options.get("context_window")
    if getattr(window, "dim", None) != 2:
        return None
    frames = window_frames(window)
    _refuse_other_length(frames, count)
    return frames, max(getattr(window, "total_frames", 0), 1 + max(frames))


def _refuse_other_length(frames: Sequence[int], entries: int) -> None:
    if len(frames) != entries:
        raise ValueError(
            f"Control Stack: the context window has {len(frames)} frames, but {entries} latents"
            " came for it, so their hints cannot be told. Use ComfyUI's Context Windows node or"
            " AnimateDiff-Evolved's without other nodes that change a window's frames, or sample"
            " the clip without windows."
        )


def source_indices(frames: Sequence[int], available: int) -> list[int]:
    """Return each frame's entry in a batch of `available`, which repeats when it is shorter."""
    return [frame % available for frame in frames]
