"""How a training went, as numbers and as a picture: the loss, and the norm of every zero
convolution over the steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

WIDTH, HEIGHT = 960, 640
SHARPER = 3  # lines are drawn that much larger, then shrunk: Pillow draws them without smoothing
PAPER, INK, GRID = (255, 255, 255), (40, 40, 48), (225, 225, 230)
LOSS, LOSS_FAINT = (200, 70, 40), (245, 205, 190)
SHALLOW, DEEP = (80, 190, 220), (90, 20, 120)
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass
class History:
    """One entry a step. `norms[i]` holds √(|w|² + |b|²) of each zero convolution after step i, the
    middle one last.
    """

    losses: list[float] = field(default_factory=list[float])
    norms: list[list[float]] = field(default_factory=list[list[float]])

    def add(self, loss: float, norms: Sequence[float]) -> None:
        self.losses.append(loss)
        self.norms.append(list(norms))

    def tensors(self) -> dict[str, Tensor]:
        return {
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "norms": torch.tensor(self.norms, dtype=torch.float32).reshape(len(self.losses), -1),
        }

    @classmethod
    def of(cls, losses: Tensor, norms: Tensor) -> History:
        return cls(losses.tolist(), norms.tolist())

    def smoothed(self) -> list[float]:
        """The loss as a mean over the last twentieth of the steps (at least ten): noise levels make
        it jump.
        """
        window = max(10, len(self.losses) // 20)
        sums = np.concatenate([[0.0], np.cumsum(self.losses)])
        ends = np.arange(1, len(sums))
        starts = np.maximum(ends - window, 0)
        return list((sums[ends] - sums[starts]) / (ends - starts))


def plot(history: History) -> Image.Image:
    """Loss above, norms of the zero convolutions below, over the steps; WIDTH × HEIGHT."""
    sheet = Image.new("RGB", (WIDTH * SHARPER, HEIGHT * SHARPER), PAPER)
    upper, lower = (80, 40, WIDTH - 30, 285), (80, 345, WIDTH - 30, HEIGHT - 55)
    loss, smooth = _thinned(history.losses), _thinned(history.smoothed())
    curves = [
        _thinned([row[i] for row in history.norms])
        for i in range(len(history.norms[0]) if history.norms else 0)
    ]
    draw = ImageDraw.Draw(sheet)
    tops = (
        _top([*smooth, *sorted(loss)[: max(1, int(len(loss) * 0.98))]]),
        _top([v for c in curves for v in c]),
    )
    for box in (upper, lower):
        _grid(draw, box)
    _curve(draw, upper, loss, tops[0], LOSS_FAINT, 1.2)
    _curve(draw, upper, smooth, tops[0], LOSS, 2.2)
    for index, curve in enumerate(curves):
        _curve(draw, lower, curve, tops[1], _depth_colour(index, len(curves)), 1.8)
    sheet = sheet.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    _words(ImageDraw.Draw(sheet), upper, lower, tops, len(history.losses), len(curves))
    return sheet


def as_image(picture: Image.Image) -> Tensor:
    """(1,H,W,3) in [0,1]."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255)[None]


def beside(images: Sequence[Tensor], plot_picture: Image.Image | None = None) -> Image.Image:
    """Pictures (H,W,3) of one height in a row, and the plot below: what the node shows while it
    works.
    """
    row = np.concatenate([image.clamp(0, 1).cpu().numpy() for image in images], axis=1)
    shown = Image.fromarray((row * 255).round().astype(np.uint8))
    if plot_picture is None:
        return shown
    shown = shown.resize(
        (WIDTH, max(1, round(shown.height * WIDTH / shown.width))), Image.Resampling.LANCZOS
    )
    sheet = Image.new("RGB", (WIDTH, shown.height + HEIGHT), PAPER)
    sheet.paste(shown, (0, 0))
    sheet.paste(plot_picture, (0, shown.height))
    return sheet


Box = tuple[int, int, int, int]


def _thinned(values: Sequence[float], most: int = WIDTH) -> list[float]:
    """At most `most` of the values, evenly, the last always among them."""
    if len(values) <= most:
        return list(values)
    return [values[int(i)] for i in np.linspace(0, len(values) - 1, most)]


def _top(values: Sequence[float]) -> float:
    """The least round number above them all: four times 1, 1.5, 2, 2.5, 3, 4, 5 or 8 of a decimal
    place.
    """
    most = max((value for value in values if math.isfinite(value)), default=0.0) or 1e-6
    place = 10.0 ** math.floor(math.log10(most / 4))
    return next(
        4 * place * part
        for part in (1, 1.5, 2, 2.5, 3, 4, 5, 8, 10, 20)
        if 4 * place * part >= most
    )


def _grid(draw: ImageDraw.ImageDraw, box: Box) -> None:
    left, top, right, bottom = (side * SHARPER for side in box)
    for part in range(5):
        y = bottom - (bottom - top) * part / 4
        draw.line([(left, y), (right, y)], fill=GRID if part else INK, width=SHARPER)


def _curve(
    draw: ImageDraw.ImageDraw,
    box: Box,
    values: Sequence[float],
    top: float,
    colour: Colour,
    width: float,
) -> None:
    left, above, right, bottom = (side * SHARPER for side in box)
    steps = max(1, len(values) - 1)
    points = [
        (left + (right - left) * i / steps, bottom - (bottom - above) * min(value / top, 1.0))
        for i, value in enumerate(values)
    ]
    if len(points) > 1:
        draw.line(points, fill=colour, width=round(width * SHARPER), joint="curve")


def _depth_colour(index: int, count: int) -> Colour:
    share = index / max(1, count - 1)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(SHALLOW, DEEP, strict=True))
    return red, green, blue


def _words(
    draw: ImageDraw.ImageDraw,
    upper: Box,
    lower: Box,
    tops: Sequence[float],
    steps: int,
    curves: int,
) -> None:
    title, small = ImageFont.load_default(17), ImageFont.load_default(13)
    draw.text((upper[0], 10), "Loss (thin: each step, bold: mean)", INK, title)
    draw.text(
        (lower[0], lower[1] - 30), "Norm of each zero convolution: control being born", INK, title
    )
    for box, top in ((upper, tops[0]), (lower, tops[1])):
        for part in range(5):
            y = box[3] - (box[3] - box[1]) * part / 4
            draw.text((box[0] - 8, y), f"{top * part / 4:.3g}", INK, small, anchor="rm")
        for part in range(5):
            x = box[0] + (box[2] - box[0]) * part / 4
            draw.text((x, box[3] + 6), f"{round(steps * part / 4)}", INK, small, anchor="ma")
    draw.text(((lower[0] + lower[2]) / 2, lower[3] + 24), "step", INK, small, anchor="ma")
    if curves:
        _legend(draw, lower, small, curves)


def _legend(draw: ImageDraw.ImageDraw, lower: Box, font: Font, curves: int) -> None:
    y, right, each = lower[1] - 20, lower[2] - 50, 12
    left = right - curves * each
    for index in range(curves):
        draw.rectangle(
            (left + index * each, y - 5, left + (index + 1) * each - 2, y + 5),
            _depth_colour(index, curves),
        )
    draw.text((left - 6, y), "first block", INK, font, anchor="rm")
    draw.text((right + 4, y), "middle", INK, font, anchor="lm")
