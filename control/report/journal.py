"""Notes of what a member of a chain does while it samples, read afterwards.

Noting waits for nothing: norms stay on their device, times are the device's own events, and only
`numbers.report` reads them. The size of the block that a residual is added to is seen through the
model's own patches: a UNet shows every skip and its middle, Qwen-Image its blocks; other
transformers show none.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..residuals import PLACES, Residuals

BLOCKS = "controlstack_blocks"  # entry of transformer_options: the Blocks of this call of the model

CPU = torch.device("cpu")

Block = tuple[str, int]  # ("input" | "feature" | "middle" | "double" | "single", index)
Size = tuple[int, ...]  # a shape, (rows, …)
Mark = Any  # a moment: an event of the GPU, or seconds


@dataclass
class Blocks:
    """Norms of the model's blocks in one call, (rows,) each, and their shapes.

    `sizes` is where residuals are added; a T2I-Adapter's "feature" before other patches change it.
    The model's patches fill both, after the chain has returned.
    """

    norms: dict[Block, Tensor] = field(default_factory=dict[Block, Tensor])
    sizes: dict[Block, Size] = field(default_factory=dict[Block, Size])
    added_to_middle: Tensor | None = None


@dataclass
class Call:
    """One call of a member: a step of sampling for one batch of conditionings.

    `computed`: the rows of the batch that the net ran for. `norms`: of each residual as it was
    added, (rows,), or (1,) where it is the same for every row; `sizes`: their shapes.
    `latent_is_finite`, `is_finite`: truth values on their devices, of the latent that came and of
    the residuals; residuals that are not finite were left out.
    """

    sigma: float
    strength: float
    computed: tuple[int, ...]
    began: Mark = None
    ended: Mark = None
    norms: dict[Block, Tensor] = field(default_factory=dict[Block, Tensor])
    sizes: dict[Block, Size] = field(default_factory=dict[Block, Size])
    blocks: Blocks = field(default_factory=Blocks)
    latent_is_finite: Tensor | None = None
    is_finite: Tensor | None = None


@dataclass
class Journal:
    """The last run of a member.

    Shared by all its copies, because tilers and multi-GPU sampling copy the control. `off`: sigmas
    of the steps outside its range or with strength 0. `encoded`: how many hints were prepared;
    every other call reused one. `faults`: sentences about values that were not finite, once the run
    has ended. `failure`: why something could not be noted, "" where all was.
    """

    runs: int = 0
    calls: list[Call] = field(default_factory=list[Call])
    off: list[float] = field(default_factory=list[float])
    encoded: int = 0
    faults: list[str] = field(default_factory=list[str])
    failure: str = ""

    def __deepcopy__(self, memo: Any) -> Journal:
        """Return itself: a node that copies conditionings deeply must report to the same run."""
        return self

    def start(self) -> None:
        """Begin a run; the host announces it once for each prompt, before the first step."""
        if self.calls or self.off or not self.runs:
            self.runs += 1
            self.calls, self.off, self.encoded = [], [], 0
            self.faults, self.failure = [], ""

    def begin(self, sigma: float, strength: float, x: Tensor, computed: Sequence[int]) -> Call:
        """Start the clock of a call."""
        call = Call(sigma, strength, tuple(computed))
        with self.noting():
            call.began = now(x.device)
        return call

    def measured(self, own: Residuals) -> dict[Block, Tensor]:
        """Return the norms of residuals; empty where they cannot be measured."""
        with self.noting():
            return norms_of(own)
        return {}

    def end(
        self,
        call: Call,
        own: Residuals | None,
        merged: Residuals | None,
        options: dict[str, Any],
        norms: dict[Block, Tensor] | None = None,
        latent_is_finite: Tensor | None = None,
        is_finite: Tensor | None = None,
    ) -> None:
        """Note the result of a call. Sampling goes on where that fails: see `failure`.

        `own` are the member's residuals, `merged` the sum with those of the members before it;
        `norms` those of `own` as the net made them.
        """
        if own is None or merged is None:
            return
        call.latent_is_finite, call.is_finite = latent_is_finite, is_finite
        self.calls.append(call)
        with self.noting():
            first = next(_tensors(own), None)
            call.ended = now(CPU if first is None else first.device)
            call.norms = norms or norms_of(own)
            call.sizes = {block: tuple(residual.shape) for block, residual in by_block(own).items()}
            call.blocks = watch_blocks(own, options)
            middle = (residual for residual in merged.get("middle", []) if residual is not None)
            call.blocks.added_to_middle = next(middle, None)

    @contextmanager
    def noting(self) -> Generator[None]:
        """Let sampling go on where a note fails: a report is not worth a picture."""
        try:
            yield
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"


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


# -- the model's blocks ----------------------------------------------------------------------------


def watch_blocks(own: Residuals, options: dict[str, Any]) -> Blocks:
    """Return the Blocks of this call of the model; the first caller adds the patches that fill it.

    `options` are the call's transformer_options.
    """
    if (blocks := options.get(BLOCKS)) is not None:
        return blocks
    blocks = options[BLOCKS] = Blocks()
    patches: Mapping[str, list[Any]] = options.get("patches", {})
    # A feature is added before other patches, so its block is seen first. Last to see a skip,
    # because they may still change it; first to see the middle.
    if any(tensor.ndim == 4 for tensor in _tensors(own)):
        others = patches.get("input_block_patch", [])
        ours = {
            "input_block_patch": [record_feature, *others, record_skip],
            "output_block_patch": [record_middle, *patches.get("output_block_patch", [])],
        }
    else:
        ours = {"double_block": [*patches.get("double_block", []), record_double_block]}
    options["patches"] = {**patches, **ours}
    return blocks


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


def record_double_block(args: dict[str, Any]) -> dict[str, Any]:
    """Record a block's tokens `img` before control is added to them (Qwen-Image's patch)."""
    with suppress(Exception):  # whatever it is: a report is not worth a picture
        blocks: Blocks = args["transformer_options"][BLOCKS]
        blocks.norms["double", args["block_index"]] = row_norms(args["img"])
    return args
