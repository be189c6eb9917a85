"""A report as text: tables of fixed width, with a legend in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import savings
from .faults import latent_sentence, net_sentence
from .model_blocks import Block
from .numbers import Cell, NetReport, Report

MOST_COLUMNS, MOST_LINES = 13, 20  # SD1.5 has 13 blocks
PLACE_NAMES = {
    "feature": "feat",
    "input": "in",
    "middle": "mid",
    "double": "dbl",
    "single": "sgl",
    "block": "blk",
}
COUNTED_FROM_1 = ("feature", "block")

NO_CONTROL = "Control report: this positive has no ControlNets from Apply ControlNet Stack."
NO_RUN = (
    "Control report: nothing has been sampled with this stack yet. Connect the same positive that"
    " feeds the sampler, and the latent that comes out of the sampler."
)
LEGEND = (
    "size: norm of the net's residual over the norm of the block that it is added to, in the rows"
    " that the net computed.",
    "all: root mean square. feat: a T2I-Adapter's feature, over the block with the feature added.",
    "blk: a block of the net, counted from 1 as in layers, over all blocks of the model where it"
    " acts.",
    "ran, off: calls of the net, and calls left out by range, schedule or mode. rows: batch rows"
    " computed, of both prompts.",
    "hints: prepared = fitted and encoded, reused = taken from the cache. ms: of one call.",
)
KEPT_OUT = "x"
KEPT_OUT_LEGEND = (
    "x: computed, but not added, because the model has another size there (Deep Shrink changes"
    " sizes) or the net was left out of that step. nan: not a finite value."
)
HEADINGS = (
    "",
    "net",
    "strength",
    "ran",
    "off",
    "hints",
    "rows",
    "ms",
    "of step",
    "size",
    "largest",
)


def text(report: Report) -> str:
    """Write a report: a line for each net, then for each net a line per step and column per block.

    Long runs and deep nets are thinned out evenly.
    """
    if not report.nets:
        return NO_CONTROL
    if not report.has_run and not all(net.member.idle for net in report.nets):
        return NO_RUN
    parts = [f"Control report: {summary(report)} (run {report.runs} of this stack)"]
    parts += remarks(report)
    parts.append(_overview(report))
    for number, net in enumerate(report.nets, 1):
        if net.sizes:
            parts.append(_heading(net, number) + "\n" + _matrix(report, net))
    parts.append("\n".join(_legend(report)))
    return "\n\n".join(parts)


def failed(error: Exception) -> str:
    """Say that a report could not be written."""
    return (
        f"Control report: it could not be written ({type(error).__name__}: {error}). The latent and"
        " the picture are not affected. ComfyUI's log has the details."
    )


def summary(report: Report) -> str:
    """Count nets and steps, and give the time of a step where it is known."""
    nets, steps = len(report.nets), len(report.sigmas)
    parts = [
        "1 ControlNet" if nets == 1 else f"{nets} ControlNets",
        "1 step" if steps == 1 else f"{steps} steps",
    ]
    if report.step_ms:
        parts.append(f"{report.step_ms:.0f} ms per step")
    return ", ".join(parts)


def remarks(report: Report) -> list[str]:
    """Say what did not reach the picture, was not measured or was spared; each sentence once."""
    faults, others, spared = list[str](), list[str](), list[str]()
    for net in report.nets:
        name, journal, count = net.member.name, net.member.journal, len(net.dropped)
        sentences = (net_sentence(name, net.faults, None), latent_sentence(net.faults))
        faults += journal.faults or sentences
        if count:
            others.append(
                f"{name}: {count} of {net.added + count} residuals were not added, because the"
                " model has other sizes there. Model patches such as Deep Shrink change sizes."
            )
        spared += (*savings.lines(name, net.savings), savings.warning(name, net.savings))
        if journal.failure:
            others.append(
                f"{name} could not be measured ({journal.failure}). The picture is not affected."
            )
    return list(dict.fromkeys(filter(None, faults + others + spared)))


def block_name(block: Block) -> str:
    """Name a block as in the legend: "in 0" as in ComfyUI's UNets, "blk 1" for a net's own."""
    place, number = block
    if place == "middle":
        return "mid"
    return f"{PLACE_NAMES[place]} {number + (place in COUNTED_FROM_1)}"


def show(size: Cell) -> str:
    """Write three digits; "-" where a net was off."""
    if size is None:
        return "-"
    return f"{size:.3f}" if size < 10 else f"{size:.4g}"


def spread(count: int, most: int) -> list[int]:
    """Choose at most `most` of 0 … count-1, evenly, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


# -- the tables ------------------------------------------------------------------------------------


def _overview(report: Report) -> str:
    rows: list[tuple[str, ...]] = [HEADINGS]
    for number, net in enumerate(report.nets, 1):
        share = report.share(net)
        rows.append(
            (
                str(number),
                net.member.name,
                f"{net.member.strength:g}",
                str(net.ran),
                str(net.off),
                _hints(net),
                str(net.rows),
                f"{net.ms:.1f}" if net.ran else "-",
                "-" if share is None else f"{100 * share:.0f} %",
                _overall(net),
                _largest(net),
            )
        )
    return _aligned(rows, str.ljust)


def _hints(net: NetReport) -> str:
    if not net.ran:
        return "-"
    return f"{net.encoded} prepared, {max(0, net.ran - net.encoded)} reused"


def _overall(net: NetReport) -> str:
    if not net.ran:
        return net.member.idle or "never in range"
    return show(net.overall) if net.sizes else "not measured"


def _largest(net: NetReport) -> str:
    if net.peak is None:
        return "-"
    size, block, step = net.peak
    return f"{show(size)} at {block_name(block)}, step {step + 1}"


def _heading(net: NetReport, number: int) -> str:
    blocks = "|residual| / |block|"
    unit = blocks if net.is_relative else "|residual| (this model does not show its blocks)"
    return f"{number} {net.member.name}, {net.member.family}: {unit}"


def _matrix(report: Report, net: NetReport) -> str:
    """Write a line for each step and a column for each block."""
    columns = spread(len(net.blocks), MOST_COLUMNS)
    by_step, by_block = net.by_step, net.by_block
    lines = [("step", "sigma", *(block_name(net.blocks[c]) for c in columns), "all")]
    for step in spread(len(report.sigmas), MOST_LINES):
        sizes = (_cell(net, c, step) for c in columns)
        sigma = f"{report.sigmas[step]:.3g}"
        lines.append((str(step + 1), sigma, *sizes, show(by_step[step])))
    lines.append(("all", "", *(show(by_block[c]) for c in columns), show(net.overall)))
    return _aligned(lines, str.rjust)


def _cell(net: NetReport, column: int, step: int) -> str:
    size = net.sizes[column][step]
    is_out = size is None and net.was_kept_out(net.blocks[column], step)
    return KEPT_OUT if is_out else show(size)


def _aligned(rows: Sequence[Sequence[str]], justify: Callable[[str, int], str]) -> str:
    """Pad every column to its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [map(justify, row, widths) for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _legend(report: Report) -> Sequence[str]:
    legend: list[str] = [*LEGEND]
    if any(net.dropped or net.faults.left_out or net.faults.broken for net in report.nets):
        legend.append(KEPT_OUT_LEGEND)
    if report.foreign:
        legend.append("Not measured (added by other nodes): " + ", ".join(report.foreign))
    return legend
