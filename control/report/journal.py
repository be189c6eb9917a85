"""What a member of a chain does, noted while it samples and read afterwards.

Noting waits for nothing: norms stay on their device, times are the device's own events, and only
`report` reads them. The size of the block that a residual is added to is seen through the model's
own patches: a UNet shows every skip and its middle, Qwen-Image its blocks; other transformers show
none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
    """Norms of the model's blocks in one call, (rows,) each: filled by the model, after the chain
    has returned.
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
    """The last run of a member and of all its copies, for tilers and other devices sample with
    copies.
    """

    runs: int = 0
    calls: list[Call] = field(default_factory=list[Call])
    off: list[float] = field(
        default_factory=list[float]
    )  # sigmas of the steps outside its range or with strength 0
    encoded: int = 0  # hints that were prepared; every other call took one that was kept

    def __deepcopy__(self, memo: Any) -> Journal:
        return self  # nodes that copy conditionings deeply still speak of the same run

    def start(self) -> None:
        """A run begins; the host says so once for each prompt, before the first step."""
        if self.calls or self.off or not self.runs:
            self.runs += 1
            self.calls, self.off, self.encoded = [], [], 0

    def begin(self, sigma: float, strength: float, x: Tensor, computed: Sequence[int]) -> Call:
        return Call(sigma, strength, tuple(computed), now(x.device))

    def end(
        self, call: Call, own: Residuals | None, merged: Residuals | None, options: dict[str, Any]
    ) -> None:
        """Note what a call gave: its own residuals, and the sum with those of the members before
        it.
        """
        if own is None or merged is None:
            return
        call.ended = now(
            next((r.device for place in PLACES for r in own.get(place, []) if r is not None), CPU)
        )
        call.norms = norms_of(own)
        call.blocks = watched(own, options)
        call.blocks.added_to_middle = next(
            (r for r in merged.get("middle", []) if r is not None), None
        )
        self.calls.append(call)


def now(device: torch.device) -> Mark:
    """This moment on `device`, which is not waited for."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def milliseconds(began: Mark, ended: Mark) -> float:
    """Between two moments of one device; waits for the later one."""
    if isinstance(began, float):
        return 1000.0 * (ended - began)
    ended.synchronize()
    return began.elapsed_time(ended)


def norms_of(residuals: Residuals) -> dict[Block, Tensor]:
    """Euclidean norm of each residual's rows, by the block that it is added to. Shared tensors are
    measured once.
    """
    known: dict[int, Tensor] = {}
    found: dict[Block, Tensor] = {}
    for place in PLACES:
        values = residuals.get(place, [])
        for i, residual in enumerate(values):
            if residual is not None:
                if id(residual) not in known:
                    known[id(residual)] = row_norms(residual)
                found[_block(place, i, len(values), residual.ndim)] = known[id(residual)]
    return found


def _block(place: str, i: int, count: int, ndim: int) -> Block:
    """Residuals for tokens stand in the order of the blocks; a T2I-Adapter's features stand last
    block first.
    """
    if ndim != 4:
        return ("double" if place == "input" else "single", i)
    if place == "input":
        return ("feature", count - 1 - i)
    return ("middle" if place == "middle" else "input", i)


def row_norms(values: Tensor) -> Tensor:
    """(rows, …) → (rows,), in float32 whatever the type, for a norm of many half floats overflows."""
    rows = values.detach().flatten(
        1
    )  # no copy of what lies in order, and twice as fast as over several axes
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32)  # pyright: ignore


# -- looking at the model's blocks -----------------------------------------------------------------


def watched(own: Residuals, options: dict[str, Any]) -> Blocks:
    """The Blocks of this call of the model; its first user asks the model to fill it, through its
    own patches.
    """
    if (blocks := options.get(BLOCKS)) is not None:
        return blocks
    blocks = options[BLOCKS] = Blocks()
    patches: Mapping[str, list[Any]] = options.get("patches", {})
    maps = any(r is not None and r.ndim == 4 for place in PLACES for r in own.get(place, []))
    # Last to see a skip, because other patches may still change it; first to see the middle.
    ours = (
        {
            "input_block_patch": [*patches.get("input_block_patch", []), see_skip],
            "output_block_patch": [see_middle, *patches.get("output_block_patch", [])],
        }
        if maps
        else {"double_block": [*patches.get("double_block", []), see_double]}
    )
    options["patches"] = {**patches, **ours}
    return blocks


def see_skip(h: Tensor, transformer_options: dict[str, Any]) -> Tensor:
    """A patch of the UNet: `h` is what a skip connection will carry, before control is added to it."""
    if (blocks := transformer_options.get(BLOCKS)) is not None:
        blocks.norms[tuple(transformer_options["block"])] = row_norms(h)
    return h


def see_middle(
    h: Tensor, skip: Tensor, transformer_options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """A patch of the UNet: at the first output block `h` is the middle block's output with control
    already added.
    """
    blocks = transformer_options.get(BLOCKS)
    if blocks is not None and tuple(transformer_options["block"]) == ("output", 0):
        added, blocks.added_to_middle = blocks.added_to_middle, None
        blocks.norms["middle", 0] = row_norms(
            h if added is None or added.shape != h.shape else h - added
        )
    return h, skip


def see_double(args: dict[str, Any]) -> dict[str, Any]:
    """A patch of Qwen-Image: `img` are a block's tokens before control is added to them."""
    if (blocks := args.get("transformer_options", {}).get(BLOCKS)) is not None:
        blocks.norms["double", args["block_index"]] = row_norms(args["img"])
    return args
