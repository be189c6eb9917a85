"""What each net of a chain did in its last run, as numbers, read from the journals.

A net is reported by its own blocks. The size of a residual is |residual| / |block|: its Euclidean
norm over that of the block that it is added to, over the rows that it was computed for, and over
all blocks where it is added to several. Where a model does not show its blocks, it is |residual|
itself, per row and block. Residuals that never reached the model have no size: the host drops
those of another shape than the block's, and the engine leaves a net out where its values are not
finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from .faults import Faults, faults_of, steps_of
from .journal import Call, Journal, duration, milliseconds
from .model_blocks import Block, reaches
from .savings import Savings, savings_of

Cell = float | None  # a size, NaN where it is not finite; None where nothing was added
Norms = dict[int, list[float]]  # of a tensor's rows, by the tensor's identity
PLACE_ORDER = ("feature", "input", "middle", "double", "single", "block")
OF_UNETS = ("input", "middle")


@dataclass(frozen=True)
class Member:
    """A member of a chain as it is to be reported.

    `idle` is why it never acts, "" where it may.
    """

    name: str
    family: str
    strength: float
    journal: Journal
    idle: str = ""


@dataclass(frozen=True)
class NetReport:
    """One net's run.

    `blocks`: the net's own; of nets for UNets, the model's that each is added to.
    `sizes[block][step]`: the size of its residuals, None where it was off. `ms`: of one call.
    `rows`: computed in all steps. `ran`, `off`: calls of the net, and calls that were left out.
    `encoded`: how many hints were prepared. `dropped`: (block, step) where the model has another
    shape, so that the residual was not added. `faults`: steps with values that are not finite.
    `savings`: what its speed spared.
    """

    member: Member
    blocks: tuple[Block, ...]
    sizes: tuple[tuple[Cell, ...], ...]
    is_relative: bool
    ms: float
    rows: int
    ran: int
    off: int
    encoded: int
    dropped: frozenset[tuple[Block, int]] = frozenset()
    faults: Faults = field(default_factory=Faults)
    savings: Savings = field(default_factory=Savings)

    @property
    def by_step(self) -> tuple[Cell, ...]:
        """Root mean square over the blocks."""
        return tuple(_rms(column) for column in zip(*self.sizes, strict=True)) if self.sizes else ()

    @property
    def by_block(self) -> tuple[Cell, ...]:
        """Root mean square over the steps."""
        return tuple(_rms(row) for row in self.sizes)

    @property
    def overall(self) -> Cell:
        """Root mean square over blocks and steps."""
        return _rms(size for size, _, _ in self._cells())

    @property
    def peak(self) -> tuple[float, Block, int] | None:
        """The largest size, its block and its step."""
        finite = (cell for cell in self._cells() if math.isfinite(cell[0]))
        return max(finite, key=lambda cell: cell[0], default=None)

    def was_kept_out(self, block: Block, step: int) -> bool:
        """Return whether a residual was computed, but not added."""
        return (block, step) in self.dropped or step in self.faults.left_out

    @property
    def added(self) -> int:
        """How many residuals were added, over all steps."""
        return sum(math.isfinite(size) for size, _, _ in self._cells())

    def _cells(self) -> Iterator[tuple[float, Block, int]]:
        """Yield every size with its block and its step, where the net was on."""
        for block, row in zip(self.blocks, self.sizes, strict=True):
            for step, size in enumerate(row):
                if size is not None:
                    yield size, block, step


@dataclass(frozen=True)
class Report:
    """The last run of a chain.

    `sigmas`: of the steps, in order. `step_ms`: a whole step, 0 where there was only one.
    `foreign`: classes of the members that other nodes added.
    """

    nets: tuple[NetReport, ...] = ()
    sigmas: tuple[float, ...] = ()
    step_ms: float = 0.0
    runs: int = 0
    foreign: tuple[str, ...] = field(default_factory=tuple[str, ...])

    @property
    def has_run(self) -> bool:
        """Whether anything was sampled."""
        return bool(self.sigmas)

    def share(self, net: NetReport) -> float | None:
        """Return the part of a step that a net takes where it acts; None where it is not known."""
        steps = sum(size is not None for size in net.by_step)
        if not self.step_ms or not steps:
            return None
        return net.ms * net.ran / steps / self.step_ms


def report(members: Sequence[Member], foreign: Sequence[str] = ()) -> Report:
    """Read the last run of these members, first of the chain first.

    `foreign`: the members without a journal.
    """
    journals = [member.journal for member in members]
    sigmas = steps_of(journals)
    norms = _read(tensor for journal in journals for tensor in _tensors(journal))
    nets = tuple(_net_report(member, sigmas, norms) for member in members)
    runs = max((journal.runs for journal in journals), default=0)
    return Report(nets, sigmas, _step_ms(journals, len(sigmas)), runs, tuple(foreign))


# -- reading the journals --------------------------------------------------------------------------


def _tensors(journal: Journal) -> Iterator[Tensor]:
    for call in journal.calls:
        yield from call.norms.values()
        yield from call.beside.values()
        yield from call.blocks.norms.values()


def _read(tensors: Iterable[Tensor]) -> Norms:
    """Copy norms to the CPU: one transfer from each device."""
    by_device: dict[torch.device, dict[int, Tensor]] = {}
    for tensor in tensors:
        by_device.setdefault(tensor.device, {})[id(tensor)] = tensor
    norms: Norms = {}
    for together in by_device.values():
        values = cast("list[float]", torch.cat(list(together.values())).tolist())  # pyright: ignore
        start = 0
        for identity, tensor in together.items():
            norms[identity] = values[start : start + tensor.numel()]
            start += tensor.numel()
    return norms


def _net_report(member: Member, sigmas: tuple[float, ...], norms: Norms) -> NetReport:
    journal = member.journal
    calls = journal.calls
    columns, is_relative = _columns(calls)
    by_step = [[call for call in calls if call.sigma == sigma] for sigma in sigmas]
    faults = faults_of(journal, sigmas)
    sizes = [
        tuple(
            _size(step, places, is_relative, norms, was_added=i not in faults.left_out)
            for i, step in enumerate(by_step)
        )
        for places in columns.values()
    ]
    fresh = [call for call in calls if not call.is_reused]
    times = [took for call in fresh if (took := duration(call)) is not None]
    return NetReport(
        member,
        tuple(columns),
        tuple(sizes),
        is_relative,
        ms=sum(times) / len(times) if times else 0.0,
        rows=sum(len(call.computed) - call.shared for call in fresh),
        ran=len(fresh),
        off=len(journal.off),
        encoded=journal.encoded,
        dropped=_dropped(columns, by_step),
        faults=faults,
        savings=savings_of(journal, sigmas),
    )


Columns = dict[Block, tuple[Block, ...]]
"""A net's own blocks → the blocks of the model that each is added to."""


def _dropped(columns: Columns, by_step: Sequence[Sequence[Call]]) -> frozenset[tuple[Block, int]]:
    every = (
        (column, step, call, block)
        for step, calls in enumerate(by_step)
        for call in calls
        for column, blocks in columns.items()
        for block in blocks
    )
    return frozenset(
        (column, step) for column, step, call, block in every if not _reaches(call, block)
    )


def _columns(calls: Sequence[Call]) -> tuple[Columns, bool]:
    """List the net's own blocks, shallow to deep, and whether the model shows where they are added.

    Where it shows some, these alone; else all that got residuals.
    """
    blocks = sorted({block for call in calls for block in call.norms}, key=_order)
    shown = [
        block for block in blocks if any(_base_norm(call, block) is not None for call in calls)
    ]
    columns: Columns = {}
    for block in shown or blocks:
        name = _own_block(calls, block)
        columns[name] = (*columns.get(name, ()), block)
    return dict(sorted(columns.items(), key=lambda column: _order(column[0]))), bool(shown)


def _own_block(calls: Sequence[Call], block: Block) -> Block:
    """Name the net's own block that is added to a block of the model."""
    number = next((call.own[block] for call in calls if block in call.own), None)
    is_unet = any(place in OF_UNETS for call in calls for place, _ in call.blocks.norms)
    is_adapter = any(place == "feature" for call in calls for place, _ in call.norms)
    if number is None or (is_unet and not is_adapter):
        return block
    return ("feature" if is_unet else "block", number)


def _order(block: Block) -> tuple[int, int]:
    return PLACE_ORDER.index(block[0]), block[1]


def _base_norm(call: Call, block: Block) -> Tensor | None:
    """Return the norm of the block that a residual is added to, where the model shows it."""
    if block in call.beside:
        return call.beside[block]
    place, i = _target(call, block)
    return call.blocks.norms.get(("input", i) if place == "feature" else (place, i))


def _reaches(call: Call, block: Block) -> bool:
    """Return whether the model adds a residual; yes where the model does not show the block."""
    residual, target = call.sizes.get(block), call.blocks.sizes.get(_target(call, block))
    return residual is None or target is None or reaches(residual, target)


def _target(call: Call, block: Block) -> Block:
    """Return the model's block that a residual is added to.

    A UNet takes them from the end of the list, so fewer than it has blocks belong to the last. A
    transformer without single blocks adds theirs to its only kind.
    """
    place, i = block
    if place == "single" and block not in call.blocks.norms:
        return "double", i
    if place != "input":
        return block
    blocks = sum(1 for b in call.blocks.norms if b[0] == "input")
    residuals = 1 + max(b[1] for b in call.norms if b[0] == "input")
    return place, i + max(0, blocks - residuals)


def _size(
    calls: Sequence[Call],
    places: Sequence[Block],
    is_relative: bool,
    norms: Norms,
    *,
    was_added: bool,
) -> Cell:
    """Compute |residual| / |block| over the computed rows of all calls of a step.

    `places`: the model's blocks that one of the net's own is added to. Where the model does not
    show its blocks, |residual| per row. NaN where either is not finite; None where a net was off,
    or left out because of another residual.
    """
    own = base = 0.0
    rows = 0
    for call, block in ((call, block) for call in calls for block in places):
        residual, beside = call.norms.get(block), _base_norm(call, block)
        if residual is None or (is_relative and beside is None) or not _reaches(call, block):
            continue
        own += call.scale**2 * _squares(norms[id(residual)], call.computed)
        base += _squares(norms[id(beside)], call.computed) if beside is not None else 0.0
        rows += len(call.computed)
    if not rows:
        return None
    if not math.isfinite(own) or not math.isfinite(base):
        return math.nan
    if not was_added or (is_relative and base == 0.0):
        return None
    return math.sqrt(own / base) if is_relative else math.sqrt(own / rows)


def _squares(norms: Sequence[float], rows: Sequence[int]) -> float:
    """Sum the squared norms of some rows; a single norm holds for all of them."""
    return sum(norms[row if len(norms) > 1 else 0] ** 2 for row in rows)


def _step_ms(journals: Sequence[Journal], steps: int) -> float:
    """Measure a whole step: from the first step's begin to the last's, over the steps between.

    By the member that ran most often; 0 where there are not two steps to measure between.
    """
    calls = max((journal.calls for journal in journals), key=len, default=list[Call]())
    ran = len({call.sigma for call in calls})
    if steps < 2 or ran < 2 or calls[-1].began is None:
        return 0.0
    return milliseconds(calls[0].began, calls[-1].began) / (len(calls) - 1) * len(calls) / ran


def _rms(cells: Iterable[Cell]) -> Cell:
    sizes = [cell for cell in cells if cell is not None]
    finite = [size for size in sizes if math.isfinite(size)]
    if not finite:
        return math.nan if sizes else None
    return math.sqrt(sum(size**2 for size in finite) / len(finite))
