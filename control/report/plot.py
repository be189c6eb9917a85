"""A report as a picture: sizes by step as lines, by block and step as one field of cells for each
net.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .numbers import NO_CONTROL, NO_RUN, Cell, NetReport, Report, block_name, show

WIDTH = 1024
FINE = 2  # drawn at twice the size and reduced, so that lines are smooth
INK, FAINT, GRID, OFF = (32, 33, 36), (110, 113, 118), (226, 228, 231), (238, 239, 241)
# Okabe and Ito's colours, told apart also by the colour-blind.
COLORS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (90, 90, 90),
)
SHOWN_NETS = 8

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom


def plot(found: Report) -> torch.Tensor:
    """(1,H,1024,3) in [0,1] on the CPU; H grows with the number of nets."""
    nets = [net for net in found.nets if net.sizes][:SHOWN_NETS]
    rows = -(-len(nets) // 2)
    page = Page(WIDTH, 430 + 250 * rows if nets else 120)
    _title(page, found)
    if nets:
        _lines(page, (76, 126, WIDTH - 40, 336), nets, len(found.sigmas))
        _legend(page, found, nets, 394)
        highest = max(_highest(net) for net in nets)
        for i, net in enumerate(nets):
            left, top = (76, 590)[i % 2], 460 + 250 * (i // 2)
            _field(page, (left, top, left + 330, top + 170), net, found, i, highest)
    return page.pixels()


# -- paper and pen ---------------------------------------------------------------------------------


class Page:
    """A white page that is drawn on in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * FINE, height * FINE), "white")
        self.pen = ImageDraw.Draw(self.image)
        self.fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}

    def text(
        self, x: float, y: float, words: str, size: int = 14, color: Color = INK, anchor: str = "lm"
    ) -> None:
        """`anchor`: Pillow's, "lm" puts the middle of the text's left edge at (x, y)."""
        if size not in self.fonts:
            self.fonts[size] = ImageFont.load_default(size * FINE)
        self.pen.text((x * FINE, y * FINE), words, fill=color, font=self.fonts[size], anchor=anchor)

    def line(self, points: Sequence[tuple[float, float]], color: Color, width: float = 1.0) -> None:
        scaled = [(x * FINE, y * FINE) for x, y in points]
        self.pen.line(scaled, fill=color, width=max(1, round(width * FINE)), joint="curve")

    def box(self, box: Box, fill: Color) -> None:
        left, top, right, bottom = (round(edge * FINE) for edge in box)
        self.pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=fill)

    def dot(self, x: float, y: float, color: Color, radius: float = 3.0) -> None:
        x, y, radius = x * FINE, y * FINE, radius * FINE
        self.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)

    def pixels(self) -> torch.Tensor:
        size = (self.image.width // FINE, self.image.height // FINE)
        small = self.image.resize(size, Image.Resampling.LANCZOS)
        return torch.from_numpy(np.asarray(small, dtype=np.float32) / 255.0).unsqueeze(0)  # pyright: ignore


# -- what stands on it -----------------------------------------------------------------------------


def _title(page: Page, found: Report) -> None:
    page.text(28, 32, "Control report", 24)
    if not found.nets:
        page.text(28, 74, NO_CONTROL, 15, FAINT)
    elif not found.has_run:
        page.text(28, 74, NO_RUN.split(". ")[0] + ".", 15, FAINT)
    else:
        whole = f", {found.step_ms:.0f} ms a step" if found.step_ms else ""
        page.text(28, 64, f"{len(found.nets)} nets, {len(found.sigmas)} steps{whole}", 15, FAINT)


def _lines(page: Page, box: Box, nets: Sequence[NetReport], steps: int) -> None:
    """Each net's size at each step, over all blocks."""
    left, top, right, bottom = box
    relative = all(net.is_relative for net in nets)
    highest = max((cell for net in nets for cell in net.by_step if cell is not None), default=1.0)
    ticks = nice_ticks(highest)
    page.text(left, top - 16, "size of what a net adds, all blocks: " + unit(relative), 14, FAINT)
    for tick in ticks:
        y = bottom - (bottom - top) * tick / ticks[-1]
        page.line([(left, y), (right, y)], GRID)
        page.text(left - 8, y, f"{tick:g}", 13, FAINT, "rm")
    page.line([(left, bottom), (right, bottom)], INK)
    for step in picked(steps, 20):
        page.text(_across(left, right, step, steps), bottom + 14, str(step + 1), 13, FAINT, "mm")
    page.text((left + right) / 2, bottom + 32, "step", 13, FAINT, "mm")
    for i, net in enumerate(nets):
        color = COLORS[i % len(COLORS)]
        for run in _runs(net.by_step):
            points = [
                (_across(left, right, step, steps), bottom - (bottom - top) * cell / ticks[-1])
                for step, cell in run
            ]
            if len(points) > 1:
                page.line(points, color, 2.0)
            for x, y in points:
                page.dot(x, y, color)


def _legend(page: Page, found: Report, nets: Sequence[NetReport], y: float) -> None:
    x = 76.0
    for i, net in enumerate(nets):
        label = f"{found.nets.index(net) + 1} {shortened(net.member.name, 26)}, {net.ms:.0f} ms"
        page.box((x, y - 5, x + 16, y + 5), COLORS[i % len(COLORS)])
        page.text(x + 22, y, label, 14)
        x += 44 + 7.4 * len(label)
        if x > WIDTH - 240:
            x, y = 76.0, y + 20


def _field(
    page: Page, box: Box, net: NetReport, found: Report, number: int, highest: float
) -> None:
    """A cell for each block and step, darker where the net adds more; all nets share one scale."""
    left, top, right, bottom = box
    color, blocks, steps = COLORS[number % len(COLORS)], len(net.blocks), len(found.sigmas)
    wide, high = (right - left) / steps, (bottom - top) / blocks
    name = (
        f"{found.nets.index(net) + 1} {shortened(net.member.name, 30)}, strength"
        f" {net.member.strength:g}"
    )
    page.text(left, top - 14, name, 14, color)
    for row, cells in enumerate(net.sizes):
        for step, cell in enumerate(cells):
            at = (
                left + step * wide,
                top + row * high,
                left + (step + 1) * wide,
                top + (row + 1) * high,
            )
            page.box(at, OFF if cell is None else shade(color, cell / highest if highest else 0.0))
    page.line([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], GRID)
    for row in picked(blocks, 13):
        page.text(left - 6, top + (row + 0.5) * high, block_name(net.blocks[row]), 12, FAINT, "rm")
    for step in picked(steps, 10):
        page.text(left + (step + 0.5) * wide, bottom + 12, str(step + 1), 12, FAINT, "mm")
    page.text((left + right) / 2, bottom + 28, "step (grey: off)", 12, FAINT, "mm")
    for i in range(50):
        y = bottom - (bottom - top) * (i + 1) / 50
        page.box((right + 12, y, right + 24, y + (bottom - top) / 50 + 0.5), shade(color, i / 49))
    page.text(right + 30, top + 6, show(highest), 12, FAINT)
    page.text(right + 30, bottom - 6, "0", 12, FAINT)


# -- scales ----------------------------------------------------------------------------------------


def nice_ticks(highest: float) -> list[float]:
    """From 0 to at least `highest` in three to six steps of 1, 2 or 5 times a power of ten."""
    if not highest > 0.0 or math.isinf(highest):
        return [0.0, 1.0]
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    stride = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    return [round(stride * i, 12) for i in range(math.ceil(highest / stride * 0.999) + 1)]


def picked(count: int, most: int) -> list[int]:
    """At most `most` of 0 … count-1 at equal distances, from the first on."""
    return list(range(0, count, -(-count // most)))


def shade(color: Color, amount: float) -> Color:
    """White at 0, `color` at 0.7, nearly black of the same hue at 1."""
    amount = min(max(amount, 0.0), 1.0)
    if amount <= 0.7:
        return _mixed((255, 255, 255), color, amount / 0.7)
    return _mixed(color, _mixed(color, (0, 0, 0), 0.65), (amount - 0.7) / 0.3)


def unit(relative: bool) -> str:
    return "|residual| / |block|" if relative else "|residual|"


def shortened(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 3] + "..."


def _mixed(a: Color, b: Color, share: float) -> Color:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _across(left: float, right: float, step: int, steps: int) -> float:
    return (
        (left + right) / 2 if steps == 1 else left + 12 + (right - left - 24) * step / (steps - 1)
    )


def _runs(cells: Sequence[Cell]) -> list[list[tuple[int, float]]]:
    """Stretches of steps without a gap."""
    runs: list[list[tuple[int, float]]] = [[]]
    for step, cell in enumerate(cells):
        if cell is None:
            runs.append([])
        else:
            runs[-1].append((step, cell))
    return [run for run in runs if run]


def _highest(net: NetReport) -> float:
    return max((cell for row in net.sizes for cell in row if cell is not None), default=0.0)
