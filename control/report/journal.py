"""Notes of what a member of a chain does while it samples, read afterwards.

Noting waits for nothing: norms stay on their device, times are the device's own events, and only
`numbers.report` reads them. The size of the block that a residual is added to is seen through the
model's own patches: a UNet shows every skip and its middle, Qwen-Image its blocks; other
transformers show none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..residuals import PLACES, Residuals

BLOCKS = "controlstack_blocks"  # entry of transformer_options: the Blocks of this call of the model

CPU = torch.device("cpu")

Block = tuple[str, int]  # ("input" | "feature" | "middle" | "double" | "single", index)
Mark = Any  # a moment: an event of the GPU, or seconds


@dataclass
class Blocks:
    """Norms of the model's blocks in one call, (rows,) each.

    The model's patches fill it, after the chain has returned.
    """

    norms: dict[Block, Tensor] = field(default_factory=dict[Block, Tensor])
    added_to_middle: Tensor | None = None


@dataclass
class Call:
    """One call of a member: a step of sampling for one batch of conditionings.

    `computed`: the rows of the batch that the net ran for. `norms`: of each residual as it was
    added, (rows,), or (1,) where it is the same for every row.
    """

    sigma: float
    strength: float
    computed: tuple[int, ...]
    began: Mark
    ended: Mark = None
    norms: dict[Block, Tensor] = field(default_factory=dict[Block, Tensor])
    blocks: Blocks = field(default_factory=Blocks)


@dataclass
class Journal:
    """The last run of a member.

    Shared by all its copies, because tilers and multi-GPU sampling copy the control. `off`: sigmas
    of the steps outside its range or with strength 0. `encoded`: how many hints were prepared;
    every other call reused one.
    """

    runs: int = 0
    calls: list[Call] = field(default_factory=list[Call])
    off: list[float] = field(default_factory=list[float])
    encoded: int = 0

    def __deepcopy__(self, memo: Any) -> Journal:
        """Return itself: a node that copies conditionings deeply must report to the same run."""
        return self

    def start(self) -> None:
        """Begin a run; the host announces it once for each prompt, before the first step."""
        if self.calls or self.off or not self.runs:
            self.runs += 1
            self.calls, self.off, self.encoded = [], [], 0

    def begin(self, sigma: float, strength: float, x: Tensor, computed: Sequence[int]) -> Call:
        """Start the clock of a call."""
        return Call(sigma, strength, tuple(computed), now(x.device))

    def end(
        self, call: Call, own: Residuals | None, merged: Residuals | None, options: dict[str, Any]
    ) -> None:
        """Note the result of a call.

        `own` are the member's residuals, `merged` the sum with those of the members before it.
        """
        if own is None or merged is None:
            return
        first = next(_tensors(own), None)
        call.ended = now(CPU if first is None else first.device)
        call.norms = norms_of(own)
        call.blocks = watch_blocks(own, options)
        middle = (residual for residual in merged.get("middle", []) if residual is not None)
        call.blocks.added_to_middle = next(middle, None)
        self.calls.append(call)


def _tensors(residuals: Residuals) -> Iterator[Tensor]:
    for place in PLACES:
        yield from (tensor for tensor in residuals.get(place, []) if tensor is not None)


def now(device: torch.device) -> Mark:
    """Mark the present moment on `device`, without waiting for the device if it is CUDA.

    Others (MPS, XPU, NPU) are waited for, because their calls return before they are computed.
    """
    if device.type != "cuda":
        synchronize = getattr(getattr(torch, device.type, None), "synchronize", None)
        if synchronize is not None:
            synchronize()
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def milliseconds(began: Mark, ended: Mark) -> float:
    """Measure the time between two moments of one device; waits for the later one."""
    if isinstance(began, float):
        return 1000.0 * (ended - began)
    ended.synchronize()
    return began.elapsed_time(ended)


def norms_of(residuals: Residuals) -> dict[Block, Tensor]:
    """Compute the Euclidean norm of each residual's rows, by the block that it is added to.

    A tensor that stands in several places is measured once.
    """
    by_identity: dict[int, Tensor] = {}
    by_block: dict[Block, Tensor] = {}
    for place in PLACES:
        values = residuals.get(place, [])
        for i, residual in enumerate(values):
            if residual is None:
                continue
            if id(residual) not in by_identity:
                by_identity[id(residual)] = row_norms(residual)
            by_block[_block(place, i, len(values), residual.ndim)] = by_identity[id(residual)]
    return by_block


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


# -- the model's blocks ----------------------------------------------------------------------------


def watch_blocks(own: Residuals, options: dict[str, Any]) -> Blocks:
    """Return the Blocks of this call of the model; the first caller adds the patches that fill it.

    `options` are the call's transformer_options.
    """
    if (blocks := options.get(BLOCKS)) is not None:
        return blocks
    blocks = options[BLOCKS] = Blocks()
    patches: Mapping[str, list[Any]] = options.get("patches", {})
    # Last to see a skip, because other patches may still change it; first to see the middle.
    if any(tensor.ndim == 4 for tensor in _tensors(own)):
        ours = {
            "input_block_patch": [*patches.get("input_block_patch", []), record_skip],
            "output_block_patch": [record_middle, *patches.get("output_block_patch", [])],
        }
    else:
        ours = {"double_block": [*patches.get("double_block", []), record_double_block]}
    options["patches"] = {**patches, **ours}
    return blocks


def record_skip(h: Tensor, transformer_options: dict[str, Any]) -> Tensor:
    """Record what a skip connection carries, before control is added to it (a UNet's patch)."""
    if (blocks := transformer_options.get(BLOCKS)) is not None:
        blocks.norms[tuple(transformer_options["block"])] = row_norms(h)
    return h


def record_middle(
    h: Tensor, skip: Tensor, transformer_options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Record the middle block without its control (a UNet's patch).

    At the first output block `h` is the middle block's output with control already added.
    """
    blocks: Blocks | None = transformer_options.get(BLOCKS)
    if blocks is not None and tuple(transformer_options["block"]) == ("output", 0):
        added, blocks.added_to_middle = blocks.added_to_middle, None
        bare = h if added is None or added.shape != h.shape else h - added
        blocks.norms["middle", 0] = row_norms(bare)
    return h, skip


def record_double_block(args: dict[str, Any]) -> dict[str, Any]:
    """Record a block's tokens `img` before control is added to them (Qwen-Image's patch)."""
    if (blocks := args.get("transformer_options", {}).get(BLOCKS)) is not None:
        blocks.norms["double", args["block_index"]] = row_norms(args["img"])
    return args
