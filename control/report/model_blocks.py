"""What the model shows of the blocks that residuals are added to, seen by its own patches.

A UNet shows every skip and its middle. A transformer shows what its blocks give to whoever replaces
them: a recorder runs the block as it is and notes the norm of its tokens, of those that the
residual is added to. Stable Cascade shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..residuals import PLACES, Residuals

BLOCKS = "controlstack_blocks"  # entry of transformer_options: the Blocks of this call of the model
Args = dict[str, Any]

Block = tuple[str, int]
"""A block of the model, ("input" | "feature" | "middle" | "double" | "single", its number), or of a
net, ("block", its number, shallow to deep)."""
Size = tuple[int, ...]  # a shape, (rows, …)


@dataclass
class Blocks:
    """Norms of the model's blocks in one call, (rows,) each, and their shapes.

    `sizes` is where residuals are added; a T2I-Adapter's "feature" before other patches change it.
    The model's patches fill both, after the chain has returned. `watched`: the transformer's blocks
    that are recorded; `text_tokens`: how many tokens of the prompt stand before the picture's in
    single blocks.
    """

    norms: dict[Block, Tensor] = field(default_factory=dict[Block, Tensor])
    sizes: dict[Block, Size] = field(default_factory=dict[Block, Size])
    added_to_middle: Tensor | None = None
    watched: set[Block] = field(default_factory=set[Block])
    text_tokens: int | None = None


# -- residuals -------------------------------------------------------------------------------------


def tensors_of(residuals: Residuals) -> Iterator[Tensor]:
    """Go through all residuals that are not None."""
    for place in PLACES:
        yield from (tensor for tensor in residuals.get(place, []) if tensor is not None)


def norms_of(residuals: Residuals) -> dict[Block, Tensor]:
    """Compute the Euclidean norm of each residual's rows, by the block that it is added to.

    A tensor that stands in several places is measured once.
    """
    by_identity: dict[int, Tensor] = {}
    norms: dict[Block, Tensor] = {}
    for block, residual in by_block(residuals).items():
        if id(residual) not in by_identity:
            by_identity[id(residual)] = row_norms(residual)
        norms[block] = by_identity[id(residual)]
    return norms


def by_block(residuals: Residuals) -> dict[Block, Tensor]:
    """Return the residuals that are not None, by the block that each is added to."""
    blocks: dict[Block, Tensor] = {}
    for place in PLACES:
        values = residuals.get(place, [])
        for i, residual in enumerate(values):
            if residual is not None:
                blocks[_block(place, i, len(values), residual.ndim)] = residual
    return blocks


def _block(place: str, i: int, count: int, ndim: int) -> Block:
    """Name the block that residual i of `count` at a place is added to.

    Residuals for tokens are in the order of the blocks; a T2I-Adapter's features begin with the
    last block.
    """
    if ndim != 4:
        return ("double" if place == "input" else "single", i)
    if place == "input":
        return ("feature", count - 1 - i)
    return ("middle" if place == "middle" else "input", i)


def row_norms(values: Tensor) -> Tensor:
    """(rows, …) → (rows,), in float32 whatever the type: a sum over many half floats overflows."""
    # Flattening copies nothing of a contiguous tensor, and one axis is twice as fast as several.
    rows = values.detach().flatten(1)
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32)  # pyright: ignore


# -- the patches -----------------------------------------------------------------------------------


def watch_blocks(own: Residuals, options: Args) -> Blocks:
    """Return the Blocks of this call of the model, and add the patches that fill it.

    `options` are the call's transformer_options. The first caller adds what records a UNet.
    """
    is_first = BLOCKS not in options
    blocks: Blocks = options.setdefault(BLOCKS, Blocks())
    patches: Mapping[str, list[Any]] = options.get("patches", {})
    tokens = {block: residual for block, residual in by_block(own).items() if residual.ndim == 3}
    ours: dict[str, list[Any]] = {}
    if is_first and tokens:
        ours = {"double_block": [*patches.get("double_block", []), record_double_block]}
    elif is_first:
        # A feature is added before other patches, so its block is seen first. Last to see a skip,
        # because they may still change it; first to see the middle.
        others = patches.get("input_block_patch", [])
        ours = {
            "input_block_patch": [record_feature, *others, record_skip],
            "output_block_patch": [record_middle, *patches.get("output_block_patch", [])],
        }
    options["patches"] = {**patches, **ours}
    if tokens:
        _watch_transformer(tokens, blocks, options)
    return blocks


def _watch_transformer(tokens: Mapping[Block, Tensor], blocks: Blocks, options: Args) -> None:
    """Record the blocks that tokens are added to.

    Residuals in "output" are for single blocks where the model has some, else for its blocks.
    """
    new: dict[Block, int] = {}
    for (place, i), residual in tokens.items():
        for name in ("double",) if place == "double" else ("double", "single"):
            new.setdefault((name, i), residual.shape[1])
    replace: Mapping[str, Any] = options.get("patches_replace", {})
    others: Mapping[Any, Any] = replace.get("dit", {})
    ours = {
        (f"{name}_block", i): Recorder(blocks, (name, i), count, others.get((f"{name}_block", i)))
        for (name, i), count in new.items()
        if (name, i) not in blocks.watched
    }
    blocks.watched.update(new)
    options["patches_replace"] = {**replace, "dit": {**others, **ours}}


class Recorder:
    """Stand in for a transformer's block: run it as it is, and note the norm of what it gives.

    `count`: how many tokens a residual is added to; those of other pictures follow them. `other`:
    what another node has put in the block's place.
    """

    def __init__(self, blocks: Blocks, block: Block, count: int, other: Any) -> None:
        self.blocks, self.block, self.count, self.other = blocks, block, count, other

    def __call__(self, args: Args, extra: Args) -> Args:
        """Return what the block gives."""
        run = extra["original_block"]
        out = run(args) if self.other is None else self.other(args, extra)
        with suppress(Exception):  # whatever it is: a report is not worth a picture
            if self.block[0] == "double":
                self.blocks.text_tokens = args["txt"].shape[1]
                self.note(out["img"])
            elif self.blocks.text_tokens is not None:
                self.note(out["img"][:, self.blocks.text_tokens :])
        return out

    def note(self, tokens: Tensor) -> None:
        """Note the norm of the tokens that residuals are added to."""
        self.blocks.norms[self.block] = row_norms(tokens[:, : self.count])


def record_feature(h: Tensor, transformer_options: dict[str, Any]) -> Tensor:
    """Record the shape of the block that a T2I-Adapter's feature was added to (a UNet's patch)."""
    with suppress(Exception):  # whatever it is: a report is not worth a picture
        blocks, i = _blocks_of(transformer_options)
        blocks.sizes["feature", i] = tuple(h.shape)
    return h


def record_skip(h: Tensor, transformer_options: dict[str, Any]) -> Tensor:
    """Record what a skip connection carries, before control is added to it (a UNet's patch)."""
    with suppress(Exception):  # whatever it is: a report is not worth a picture
        blocks, i = _blocks_of(transformer_options)
        blocks.norms["input", i], blocks.sizes["input", i] = row_norms(h), tuple(h.shape)
    return h


def record_middle(
    h: Tensor, skip: Tensor, transformer_options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Record the middle block without its control (a UNet's patch).

    At the first output block `h` is the middle block's output with control already added.
    """
    with suppress(Exception):  # whatever it is: a report is not worth a picture
        blocks, i = _blocks_of(transformer_options)
        if i == 0:
            added, blocks.added_to_middle = blocks.added_to_middle, None
            if added is not None and not reaches(tuple(added.shape), tuple(h.shape)):
                added = None
            blocks.norms["middle", 0] = row_norms(h if added is None else h - added)
            blocks.sizes["middle", 0] = tuple(h.shape)
    return h, skip


def reaches(residual: Size, block: Size) -> bool:
    """Return whether a residual of one shape is added to a block of another; else it is dropped."""
    fits = all(r in (1, b) for r, b in zip(residual[::-1], block[::-1], strict=False))
    return len(residual) <= len(block) and fits


def _blocks_of(transformer_options: dict[str, Any]) -> tuple[Blocks, int]:
    """Return the Blocks of this call and the number of the model's block."""
    return transformer_options[BLOCKS], transformer_options["block"][1]


def record_double_block(args: Args) -> Args:
    """Record a block's tokens `img` after other patches have changed them (Qwen-Image's patch)."""
    with suppress(Exception):  # whatever it is: a report is not worth a picture
        replaced: Mapping[Any, Any] = args["transformer_options"]["patches_replace"]["dit"]
        if recorder := replaced.get(("double_block", args["block_index"])):
            recorder.note(args["img"])
    return args
