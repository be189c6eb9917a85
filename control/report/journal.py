"""Notes of what a member of a chain does while it samples, read afterwards.

Noting waits for nothing: norms stay on their device, times are the device's own events, and only
`numbers.report` reads them.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..residuals import Residuals, own_blocks
from .model_blocks import Block, Blocks, Size, by_block, norms_of, tensors_of, watch_blocks

CPU = torch.device("cpu")

Mark = Any  # a moment: an event of the GPU, or seconds


@dataclass
class Call:
    """One call of a member: a step of sampling for one batch of conditionings.

    `computed`: the rows of the batch that the net ran for. `norms`: of each residual as it was
    added, (rows,), or (1,) where it is the same for every row; `sizes`: their shapes; `own`: which
    of the net's own blocks each is of, shallow to deep. A net that acts inside the model has what
    it added by its own blocks, in `beside` what was there before, and in `spans` when it ran.
    `scale`: what the norms are to be multiplied with, where strength was added in later. `batch`:
    begin and end of a forward for several members, and their number. `is_reused`: the net did not
    run, `shared`: rows that got another prompt's residuals. `off_by`: squared norms, (2,), of fresh
    residuals' distance from those that were reused before, and of themselves.
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
    own: dict[Block, int] = field(default_factory=dict[Block, int])
    beside: dict[Block, Tensor] = field(default_factory=dict[Block, Tensor])
    spans: list[tuple[Mark, Mark]] = field(default_factory=list[tuple[Mark, Mark]])
    blocks: Blocks = field(default_factory=Blocks)
    scale: float = 1.0
    batch: tuple[Mark, Mark, int] | None = None
    is_reused: bool = False
    shared: int = 0
    off_by: Tensor | None = None
    latent_is_finite: Tensor | None = None
    is_finite: Tensor | None = None


@dataclass
class Journal:
    """The last run of a member.

    Shared by all its copies, because tilers and multi-GPU sampling copy the control. `off`: sigmas
    of the steps outside its range or with strength 0. `encoded`: how many hints were prepared;
    every other call reused one. `merged`: layers of a Control-LoRA that were merged.
    `is_reuse_told`: whether the user has been told how far off reuse was. `faults`: sentences about
    values that were not finite, once the run has ended. `failure`: why something could not be
    noted, "" where all was.
    """

    runs: int = 0
    calls: list[Call] = field(default_factory=list[Call])
    off: list[float] = field(default_factory=list[float])
    encoded: int = 0
    merged: int = 0
    is_reuse_told: bool = False
    faults: list[str] = field(default_factory=list[str])
    failure: str = ""

    def __deepcopy__(self, memo: Any) -> Journal:
        """Return itself: a node that copies conditionings deeply must report to the same run."""
        return self

    def start(self) -> None:
        """Begin a run; the host announces it once for each prompt, before the first step."""
        if self.calls or self.off or not self.runs:
            self.runs += 1
            self.calls, self.off, self.encoded, self.merged = [], [], 0, 0
            self.is_reuse_told = False
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
            first = next(tensors_of(own), None)
            call.ended = now(CPU if first is None else first.device)
            call.norms = norms or norms_of(own)
            placed = by_block(own)
            call.sizes = {block: tuple(residual.shape) for block, residual in placed.items()}
            numbers = {id(residual): number for number, residual in enumerate(own_blocks(own))}
            call.own = {block: numbers[id(residual)] for block, residual in placed.items()}
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


def duration(call: Call) -> float | None:
    """Measure a call in milliseconds; waits for its end. None where no end was noted."""
    if call.batch is not None:
        began, ended, members = call.batch
        return milliseconds(began, ended) / members
    if call.ended is not None:
        return milliseconds(call.began, call.ended)
    return sum(milliseconds(*span) for span in call.spans) if call.spans else None
