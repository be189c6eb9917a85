"""A report as a picture.

Sizes by step as lines, and for each net sizes by block and step as a heat map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .numbers import Cell, NetReport, Report
from .text import NO_CONTROL, NO_RUN, block_name, remarks, show, summary

WIDTH = 1024
OVERSAMPLING = 2  # drawn at twice the size and reduced, so that lines are smooth
INK, FAINT, GRID, OFF = (32, 33, 36), (110, 113, 118), (226, 228, 231), (238, 239, 241)
ALARM = (176, 0, 32)
# Okabe and Ito's colours, which colour-blind people can tell apart.
COLORS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (90, 90, 90),
)
SHOWN_NETS, SENTENCE = 8, 150  # nets, and characters of a remark, that fit the page

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom


def plot(report: Report) -> torch.Tensor:
    """Draw a report: (1,H,1024,3) in [0,1] on the CPU; H grows with the number of nets."""
    nets = [net for net in report.nets if net.sizes][:SHOWN_NETS]
    rows = -(-len(nets) // 2)
    page = Page(WIDTH, 430 + 250 * rows if nets else 120)
    _title(page, report)
    if nets:
        _lines(page, (76, 126, WIDTH - 40, 336), nets, len(report.sigmas))
        _legend(page, report, nets, 394)
        highest = max(_highest(net) for net in nets)
        for i, net in enumerate(nets):
            left, top = (76, 590)[i % 2], 460 + 250 * (i // 2)
            color = COLORS[i % len(COLORS)]
            _heat_map(page, (left, top, left + 330, top + 170), net, report, color, highest)
    return page.pixels()


# -- paper and pen ---------------------------------------------------------------------------------


class Page:
    """A white page; all methods take pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        size = (width * OVERSAMPLING, height * OVERSAMPLING)
        self.image = Image.new("RGB", size, "white")
        self.pen = ImageDraw.Draw(self.image)
        self.fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}

    def text(
        self, x: float, y: float, words: str, size: int = 14, color: Color = INK, anchor: str = "lm"
    ) -> None:
        """Write at (x, y); `anchor` is Pillow's, "lm" the middle of the text's left edge."""
        if size not in self.fonts:
            self.fonts[size] = ImageFont.load_default(size * OVERSAMPLING)
        at = (x * OVERSAMPLING, y * OVERSAMPLING)
        self.pen.text(at, words, fill=color, font=self.fonts[size], anchor=anchor)

    def line(self, points: Sequence[tuple[float, float]], color: Color, width: float = 1.0) -> None:
        """Draw a line through points."""
        scaled = [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]
        width_px = max(1, round(width * OVERSAMPLING))
        self.pen.line(scaled, fill=color, width=width_px, joint="curve")

    def box(self, box: Box, fill: Color) -> None:
        """Fill a rectangle."""
        left, top, right, bottom = (round(edge * OVERSAMPLING) for edge in box)
        self.pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=fill)

    def cross(self, box: Box, color: Color) -> None:
        """Cross a rectangle out."""
        left, top, right, bottom = box
        self.line([(left + 1, top + 1), (right - 1, bottom - 1)], color)
        self.line([(left + 1, bottom - 1), (right - 1, top + 1)], color)

    def dot(self, x: float, y: float, color: Color, radius: float = 3.0) -> None:
        """Fill a circle."""
        x, y, radius = x * OVERSAMPLING, y * OVERSAMPLING, radius * OVERSAMPLING
        self.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)

    def pixels(self) -> torch.Tensor:
        """Return the page as (1,H,W,3) in [0,1]."""
        size = (self.image.width // OVERSAMPLING, self.image.height // OVERSAMPLING)
        small = self.image.resize(size, Image.Resampling.LANCZOS)
        levels = np.asarray(small, dtype=np.float32) / 255.0
        return torch.from_numpy(levels).unsqueeze(0)  # pyright: ignore


# -- what is on the page ---------------------------------------------------------------------------


def _title(page: Page, report: Report) -> None:
    page.text(28, 32, "Control report", 24)
    if not report.nets:
        page.text(28, 74, _first_sentence(NO_CONTROL), 15, FAINT)
    elif not report.has_run:
        page.text(28, 74, _first_sentence(NO_RUN), 15, FAINT)
    else:
        page.text(28, 64, summary(report), 15, FAINT)
        first = "".join(remarks(report)[:1])
        page.text(28, 86, shortened(first, SENTENCE), 13, ALARM)


def _first_sentence(words: str) -> str:
    """Take the first sentence after the title, which stands above it."""
    first = words.partition(": ")[2].split(". ")[0].rstrip(".") + "."
    return first[0].upper() + first[1:]


def _lines(page: Page, box: Box, nets: Sequence[NetReport], steps: int) -> None:
    """Draw each net's size at each step, over all blocks."""
    left, top, right, bottom = box
    cells = (cell for net in nets for cell in net.by_step)
    highest = max((cell for cell in cells if _is_size(cell)), default=1.0)
    ticks = nice_ticks(highest)
    title = "size of each net's residuals, all blocks: "
    page.text(left, top - 16, title + unit(all(net.is_relative for net in nets)), 14, FAINT)
    for tick in ticks:
        y = bottom - (bottom - top) * tick / ticks[-1]
        page.line([(left, y), (right, y)], GRID)
        page.text(left - 8, y, f"{tick:g}", 13, FAINT, "rm")
    page.line([(left, bottom), (right, bottom)], INK)
    for step in picked(steps, 20):
        page.text(_across(left, right, step, steps), bottom + 14, str(step + 1), 13, FAINT, "mm")
    page.text((left + right) / 2, bottom + 32, "step", 13, FAINT, "mm")
    for i, net in enumerate(nets):
        for run in _runs(net.by_step):
            points = [
                (_across(left, right, step, steps), bottom - (bottom - top) * cell / ticks[-1])
                for step, cell in run
            ]
            _curve(page, points, COLORS[i % len(COLORS)])


def _curve(page: Page, points: Sequence[tuple[float, float]], color: Color) -> None:
    if len(points) > 1:
        page.line(points, color, 2.0)
    for x, y in points:
        page.dot(x, y, color)


def _legend(page: Page, report: Report, nets: Sequence[NetReport], y: float) -> None:
    x = 76.0
    for i, net in enumerate(nets):
        label = f"{report.nets.index(net) + 1} {shortened(net.member.name, 26)}, {net.ms:.0f} ms"
        page.box((x, y - 5, x + 16, y + 5), COLORS[i % len(COLORS)])
        page.text(x + 22, y, label, 14)
        x += 44 + 7.4 * len(label)
        if x > WIDTH - 240:
            x, y = 76.0, y + 20


def _heat_map(
    page: Page, box: Box, net: NetReport, report: Report, color: Color, highest: float
) -> None:
    """Draw a cell for each block and step, darker where the net adds more.

    All nets share one scale, from 0 to `highest`.
    """
    left, top, right, bottom = box
    blocks, steps = len(net.blocks), len(report.sigmas)
    wide, high = (right - left) / steps, (bottom - top) / blocks
    number, name = report.nets.index(net) + 1, shortened(net.member.name, 30)
    page.text(left, top - 14, f"{number} {name}, strength {net.member.strength:g}", 14, color)
    for row, cells in enumerate(net.sizes):
        y0, y1 = top + row * high, top + (row + 1) * high
        for step, cell in enumerate(cells):
            cell_box = (left + step * wide, y0, left + (step + 1) * wide, y1)
            page.box(cell_box, _cell_color(cell, color, highest))
            if cell is None and net.was_kept_out(net.blocks[row], step):
                page.cross(cell_box, FAINT)
    page.line([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], GRID)
    for row in picked(blocks, 13):
        page.text(left - 6, top + (row + 0.5) * high, block_name(net.blocks[row]), 12, FAINT, "rm")
    for step in picked(steps, 10):
        page.text(left + (step + 0.5) * wide, bottom + 12, str(step + 1), 12, FAINT, "mm")
    page.text((left + right) / 2, bottom + 28, _step_label(net), 12, FAINT, "mm")
    _scale(page, (right + 12, top, right + 24, bottom), color, highest)


def _step_label(net: NetReport) -> str:
    marks = ["grey: off"]
    if net.dropped or net.faults.left_out:
        marks.append("crossed: not added")
    if net.faults.left_out or net.faults.broken:
        marks.append("red: not finite")
    return f"step ({', '.join(marks)})"


def _is_size(cell: Cell) -> TypeGuard[float]:
    return cell is not None and math.isfinite(cell)


def _cell_color(cell: Cell, color: Color, highest: float) -> Color:
    if cell is None:
        return OFF
    if not math.isfinite(cell):
        return ALARM
    return shade(color, cell / highest if highest else 0.0)


def _scale(page: Page, box: Box, color: Color, highest: float) -> None:
    """Draw the colours from 0 to `highest`."""
    left, top, right, bottom = box
    for i in range(50):
        y = bottom - (bottom - top) * (i + 1) / 50
        page.box((left, y, right, y + (bottom - top) / 50 + 0.5), shade(color, i / 49))
    page.text(right + 6, top + 6, show(highest), 12, FAINT)
    page.text(right + 6, bottom - 6, "0", 12, FAINT)


# -- scales ----------------------------------------------------------------------------------------


def nice_ticks(highest: float) -> list[float]:
    """Divide 0 to at least `highest` into steps of 1, 2 or 5 times a power of ten."""
    if not highest > 0.0 or math.isinf(highest):
        return [0.0, 1.0]
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    stride = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    return [round(stride * i, 12) for i in range(math.ceil(highest / stride * 0.999) + 1)]


def picked(count: int, most: int) -> list[int]:
    """Choose at most `most` of 0 … count-1 at equal distances, from the first on."""
    return list(range(0, count, -(-count // most)))


def shade(color: Color, amount: float) -> Color:
    """Mix a colour: white at 0, `color` at 0.7, nearly black of the same hue at 1."""
    amount = min(max(amount, 0.0), 1.0)
    if amount <= 0.7:
        return _mixed((255, 255, 255), color, amount / 0.7)
    return _mixed(color, _mixed(color, (0, 0, 0), 0.65), (amount - 0.7) / 0.3)


def unit(relative: bool) -> str:
    """Name the unit of sizes."""
    return "|residual| / |block|" if relative else "|residual|"


def shortened(words: str, most: int) -> str:
    """Cut a text to at most `most` characters."""
    return words if len(words) <= most else words[: most - 3] + "..."


def _mixed(a: Color, b: Color, share: float) -> Color:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _across(left: float, right: float, step: int, steps: int) -> float:
    if steps == 1:
        return (left + right) / 2
    return left + 12 + (right - left - 24) * step / (steps - 1)


def _runs(cells: Sequence[Cell]) -> list[list[tuple[int, float]]]:
    """Split into stretches of steps without a gap."""
    runs: list[list[tuple[int, float]]] = [[]]
    for step, cell in enumerate(cells):
        if _is_size(cell):
            runs[-1].append((step, cell))
        else:
            runs.append([])
    return [run for run in runs if run]


def _highest(net: NetReport) -> float:
    return max((cell for row in net.sizes for cell in row if _is_size(cell)), default=0.0)
