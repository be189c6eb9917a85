"""What each net of a chain did in its last run, as numbers and as a text: read from the journals
after sampling.

The size of a residual is told relative to the block that it is added to, |residual| / |block|,
Euclidean norms over the rows that it was computed for. Where a model does not show its blocks, it
is |residual| itself, a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from .journal import Block, Call, Journal, milliseconds

Cell = float | None
PLACE_ORDER = ("feature", "input", "middle", "double", "single")
MOST_COLUMNS, MOST_LINES = 13, 20  # SD1.5 has 13 blocks
PLACE_NAMES = {"feature": "feat", "input": "in", "middle": "mid", "double": "dbl", "single": "sgl"}


@dataclass(frozen=True)
class Member:
    """A member of a chain as it is to be reported: `idle` says why it never acts, "" where it may."""

    name: str
    family: str
    strength: float
    journal: Journal
    idle: str = ""


@dataclass(frozen=True)
class NetReport:
    """`sizes[block][step]`: how large its residuals were; None where it was off. `rows`: computed
    in all steps.
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
        return _rms(cell for row in self.sizes for cell in row)

    @property
    def peak(self) -> tuple[float, Block, int] | None:
        """The largest size, its block and its step."""
        cells = [
            (cell, block, step)
            for block, row in zip(self.blocks, self.sizes, strict=True)
            for step, cell in enumerate(row)
            if cell is not None
        ]
        return max(cells, key=lambda cell: cell[0]) if cells else None


@dataclass(frozen=True)
class Report:
    """`sigmas`: of the steps, in order. `step_ms`: a whole step, 0 where there was one alone."""

    nets: tuple[NetReport, ...] = ()
    sigmas: tuple[float, ...] = ()
    step_ms: float = 0.0
    runs: int = 0
    foreign: tuple[str, ...] = field(default_factory=tuple[str, ...])

    @property
    def has_run(self) -> bool:
        return bool(self.sigmas)


def report(members: Sequence[Member], foreign: Sequence[str] = ()) -> Report:
    """The last run of these members, first of the chain first; `foreign`: members that keep no
    journal.
    """
    journals = [member.journal for member in members]
    sigmas = _in_order(journals)
    norms = _read(
        tensor for journal in journals for call in journal.calls for tensor in _tensors(call)
    )
    nets = tuple(_net(member, sigmas, norms) for member in members)
    runs = max((journal.runs for journal in journals), default=0)
    return Report(nets, sigmas, _step_ms(journals, len(sigmas)), runs, tuple(foreign))


def block_name(block: Block) -> str:
    return "mid" if block[0] == "middle" else f"{PLACE_NAMES[block[0]]} {block[1]}"


# -- reading the journals --------------------------------------------------------------------------


def _in_order(journals: Sequence[Journal]) -> tuple[float, ...]:
    """Sigmas of all steps of the run. Sampling goes from noise to picture, so they fall."""
    seen = {
        sigma
        for journal in journals
        for sigma in (*journal.off, *(call.sigma for call in journal.calls))
    }
    return tuple(sorted(seen, reverse=True))


def _tensors(call: Call) -> list[Tensor]:
    return [*call.norms.values(), *call.blocks.norms.values()]


def _read(tensors: Iterable[Tensor]) -> dict[int, list[float]]:
    """Norms by the identity of their tensors: one transfer from each device."""
    by_device: dict[torch.device, dict[int, Tensor]] = {}
    for tensor in tensors:
        by_device.setdefault(tensor.device, {})[id(tensor)] = tensor
    found: dict[int, list[float]] = {}
    for together in by_device.values():
        values = cast("list[float]", torch.cat(list(together.values())).tolist())  # pyright: ignore
        start = 0
        for identity, tensor in together.items():
            found[identity] = values[start : start + tensor.numel()]
            start += tensor.numel()
    return found


def _net(member: Member, sigmas: tuple[float, ...], norms: dict[int, list[float]]) -> NetReport:
    calls = member.journal.calls
    blocks = sorted(
        {block for call in calls for block in call.norms},
        key=lambda b: (PLACE_ORDER.index(b[0]), b[1]),
    )
    shown = [block for block in blocks if any(_beside(call, block) is not None for call in calls)]
    is_relative = bool(shown)
    blocks = shown if is_relative else blocks
    sizes = tuple(
        tuple(
            _size([call for call in calls if call.sigma == sigma], block, is_relative, norms)
            for sigma in sigmas
        )
        for block in blocks
    )
    return NetReport(
        member,
        tuple(blocks),
        sizes,
        is_relative,
        ms=(
            sum(milliseconds(call.began, call.ended) for call in calls) / len(calls)
            if calls
            else 0.0
        ),
        rows=sum(len(call.computed) for call in calls),
        ran=len(calls),
        off=len(member.journal.off),
        encoded=member.journal.encoded,
    )


def _squares(norms: Sequence[float], rows: Sequence[int]) -> float:
    """Of some rows; one norm alone stands for all of them."""
    return sum(norms[row if len(norms) > 1 else 0] ** 2 for row in rows)


def _beside(call: Call, block: Block) -> Tensor | None:
    """The norm of the block that a residual is added to, counted from the last where a net has
    fewer residuals.
    """
    place, i = block
    seen = call.blocks.norms
    if place == "input":
        have = sum(1 for b in seen if b[0] == "input")
        mine = 1 + max(b[1] for b in call.norms if b[0] == "input")
        return seen.get((place, i + max(0, have - mine)))
    return seen.get(("input", i) if place == "feature" else block)


def _size(
    calls: Sequence[Call], block: Block, is_relative: bool, norms: dict[int, list[float]]
) -> Cell:
    """|residual| / |block| over the computed rows of all calls of a step; without blocks the
    residual's |…| a row.
    """
    own = base = 0.0
    rows = 0
    for call in calls:
        residual, beside = call.norms.get(block), _beside(call, block)
        if residual is None or (is_relative and beside is None):
            continue
        own += _squares(norms[id(residual)], call.computed)
        base += _squares(norms[id(beside)], call.computed) if beside is not None else 0.0
        rows += len(call.computed)
    if not rows:
        return None
    return (
        math.sqrt(own / rows) if not is_relative else math.sqrt(own / base) if base > 0.0 else None
    )


def _step_ms(journals: Sequence[Journal], steps: int) -> float:
    """From the first step's begin to the last's, divided by the steps between: by the member that
    ran most often.
    """
    calls = max((journal.calls for journal in journals), key=len, default=list[Call]())
    ran = len({call.sigma for call in calls})
    if steps < 2 or ran < 2:
        return 0.0
    return milliseconds(calls[0].began, calls[-1].began) / (len(calls) - 1) * len(calls) / ran


def _rms(cells: Iterable[Cell]) -> Cell:
    known = [cell for cell in cells if cell is not None]
    return math.sqrt(sum(cell**2 for cell in known) / len(known)) if known else None


# -- the text --------------------------------------------------------------------------------------

NO_CONTROL = "Control report: this positive carries no control of Apply Control Stack."
NO_RUN = (
    "Control report: nothing has been sampled with this stack yet. Connect the positive that goes"
    " into the sampler, and the latent that comes out of it."
)


def text(found: Report) -> str:
    """The report as a table of fixed width, with a legend in words."""
    if not found.nets:
        return NO_CONTROL
    if not found.has_run and not all(net.member.idle for net in found.nets):
        return NO_RUN
    parts = [_headline(found), _table(found)]
    parts += [_matrix(found, net, number) for number, net in enumerate(found.nets, 1) if net.sizes]
    return "\n\n".join([*parts, "\n".join(_legend(found))])


def _headline(found: Report) -> str:
    steps = len(found.sigmas)
    whole = f", {found.step_ms:.0f} ms a step" if found.step_ms else ""
    return (
        f"Control report: {len(found.nets)} nets, {steps} steps{whole} (run {found.runs} of this"
        " stack)"
    )


def _table(found: Report) -> str:
    rows = [
        ("", "net", "strength", "ran", "off", "hints", "rows", "ms", "of step", "size", "largest")
    ]
    for number, net in enumerate(found.nets, 1):
        peak = net.peak
        share = f"{100 * net.ms / found.step_ms:.0f} %" if found.step_ms and net.ran else "-"
        rows.append(
            (
                str(number),
                net.member.name,
                f"{net.member.strength:g}",
                str(net.ran),
                str(net.off),
                f"{net.encoded} made, {max(0, net.ran - net.encoded)} kept" if net.ran else "-",
                str(net.rows),
                f"{net.ms:.1f}" if net.ran else "-",
                share,
                show(net.overall) if net.ran else net.member.idle or "never in range",
                f"{show(peak[0])} at {block_name(peak[1])}, step {peak[2] + 1}" if peak else "-",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _matrix(found: Report, net: NetReport, number: int) -> str:
    """Sizes of one net: a line for each step, a column for each block, evenly chosen where there
    are too many.
    """
    columns, rows = spread(len(net.blocks), MOST_COLUMNS), spread(len(found.sigmas), MOST_LINES)
    head = ["step", "sigma", *(block_name(net.blocks[c]) for c in columns), "all"]
    lines = [head]
    for step in rows:
        cells = [show(net.sizes[c][step]) for c in columns]
        lines.append([str(step + 1), f"{found.sigmas[step]:.3g}", *cells, show(net.by_step[step])])
    lines.append(["all", "", *(show(net.by_block[c]) for c in columns), show(net.overall)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    body = "\n".join(
        "  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines
    )
    return f"{number} {net.member.name}, {net.member.family}: {_unit(net)}\n{body}"


def _unit(net: NetReport) -> str:
    return (
        "|residual| / |block|"
        if net.is_relative
        else "|residual| (this model does not show its blocks)"
    )


def _legend(found: Report) -> list[str]:
    lines = [
        (
            "size: norm of what a net adds over the norm of the block that it is added to, in the"
            " rows that it computed."
        ),
        "all: root mean square. (feat: of a T2I-Adapter, over the block with it added.)",
        (
            "ran, off: calls of the net, and calls that range, schedule or mode left out. rows:"
            " pictures of both prompts."
        ),
        "hints: made is fitted and encoded, kept is taken from before. ms: of one call.",
    ]
    if found.foreign:
        lines.append("Not measured, since other nodes put them on: " + ", ".join(found.foreign))
    return lines


def spread(count: int, most: int) -> list[int]:
    """At most `most` of 0 … count-1, evenly, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def show(size: Cell) -> str:
    """Three digits; "-" where a net was off."""
    return "-" if size is None else f"{size:.3f}" if size < 10 else f"{size:.4g}"
