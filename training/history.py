"""Record how a training went, and plot it: the loss and the zero convolutions over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

WIDTH, HEIGHT = 960, 640
UPPER, LOWER = (80, 40, WIDTH - 30, 285), (80, 345, WIDTH - 30, HEIGHT - 55)
SUPERSAMPLING = 3  # lines are drawn larger, then shrunk: Pillow does not smooth them
TICKS = 4
PAPER, INK, GRID = (255, 255, 255), (40, 40, 48), (225, 225, 230)
LOSS, LOSS_FAINT = (200, 70, 40), (245, 205, 190)
SHALLOW, DEEP = (80, 190, 220), (90, 20, 120)
Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass
class History:
    """Loss and norms of every step.

    `norms[i]` holds √(|w|² + |b|²) of each zero convolution after step i, the middle block's last.
    """

    losses: list[float] = field(default_factory=list[float])
    norms: list[list[float]] = field(default_factory=list[list[float]])

    def add(self, loss: float, norms: Sequence[float]) -> None:
        """Record a step."""
        self.losses.append(loss)
        self.norms.append(list(norms))

    def tensors(self) -> dict[str, Tensor]:
        """Return losses (N,) and norms (N,K), to be stored in a checkpoint."""
        return {
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "norms": torch.tensor(self.norms, dtype=torch.float32).reshape(len(self.losses), -1),
        }

    @classmethod
    def from_tensors(cls, losses: Tensor, norms: Tensor) -> History:
        """Read what `tensors` gave."""
        return cls(losses.tolist(), norms.tolist())

    def smoothed(self) -> list[float]:
        """Return the loss as a mean over the last twentieth of the steps, at least ten.

        The loss depends on the noise level of each step, so single steps jump.
        """
        window = max(10, len(self.losses) // 20)
        sums = np.concatenate([[0.0], np.cumsum(self.losses)])
        ends = np.arange(1, len(sums))
        starts = np.maximum(ends - window, 0)
        return list((sums[ends] - sums[starts]) / (ends - starts))


# -- pictures --------------------------------------------------------------------------------------


def plot(history: History) -> Image.Image:
    """Plot the loss above and the norms of the zero convolutions below; WIDTH × HEIGHT."""
    loss, smooth = _subsample(history.losses), _subsample(history.smoothed())
    blocks = len(history.norms[0]) if history.norms else 0
    curves = [_subsample([norms[i] for norms in history.norms]) for i in range(blocks)]
    # Of the loss of single steps the highest fiftieth may be cut off.
    most_losses = sorted(loss)[: max(1, int(len(loss) * 0.98))]
    loss_top = _axis_top([*smooth, *most_losses])
    norm_top = _axis_top([value for curve in curves for value in curve])
    sheet = Image.new("RGB", (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING), PAPER)
    draw = ImageDraw.Draw(sheet)
    for box in (UPPER, LOWER):
        _draw_grid(draw, box)
    _draw_curve(draw, UPPER, loss, loss_top, LOSS_FAINT, 1.2)
    _draw_curve(draw, UPPER, smooth, loss_top, LOSS, 2.2)
    for index, curve in enumerate(curves):
        _draw_curve(draw, LOWER, curve, norm_top, _depth_colour(index, blocks), 1.8)
    sheet = sheet.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    _draw_labels(ImageDraw.Draw(sheet), (loss_top, norm_top), len(history.losses), blocks)
    return sheet


def as_image(picture: Image.Image) -> Tensor:
    """Convert a picture to an IMAGE (1,H,W,3) in [0,1]."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255)[None]


def contact_sheet(images: Sequence[Tensor], plot_picture: Image.Image | None = None) -> Image.Image:
    """Put pictures (H,W,3) of one height in a row, and below them the plot at its own width."""
    row = np.concatenate([image.clamp(0, 1).cpu().numpy() for image in images], axis=1)
    strip = Image.fromarray((row * 255).round().astype(np.uint8))
    if plot_picture is None:
        return strip
    strip = strip.resize(
        (WIDTH, max(1, round(strip.height * WIDTH / strip.width))), Image.Resampling.LANCZOS
    )
    sheet = Image.new("RGB", (WIDTH, strip.height + HEIGHT), PAPER)
    sheet.paste(strip, (0, 0))
    sheet.paste(plot_picture, (0, strip.height))
    return sheet


def _subsample(values: Sequence[float], most: int = WIDTH) -> list[float]:
    """Return at most `most` of the values, evenly spaced, always with the last."""
    if len(values) <= most:
        return list(values)
    return [values[int(i)] for i in np.linspace(0, len(values) - 1, most)]


def _axis_top(values: Sequence[float]) -> float:
    """Return the least round number above all finite values.

    Round is four times 1, 1.5, 2, 2.5, 3, 4, 5 or 8 of a decimal place, so that ticks are short.
    """
    most = max((value for value in values if math.isfinite(value)), default=0.0) or 1e-6
    place = 10.0 ** math.floor(math.log10(most / TICKS))
    candidates = (TICKS * place * part for part in (1, 1.5, 2, 2.5, 3, 4, 5, 8, 10, 20))
    return next(top for top in candidates if top >= most)


def _draw_grid(draw: ImageDraw.ImageDraw, box: Box) -> None:
    left, top, right, bottom = (side * SUPERSAMPLING for side in box)
    for tick in range(TICKS + 1):
        y = bottom - (bottom - top) * tick / TICKS
        draw.line([(left, y), (right, y)], fill=GRID if tick else INK, width=SUPERSAMPLING)


def _draw_curve(
    draw: ImageDraw.ImageDraw,
    box: Box,
    values: Sequence[float],
    top: float,
    colour: Colour,
    width: float,
) -> None:
    left, above, right, bottom = (side * SUPERSAMPLING for side in box)
    steps = max(1, len(values) - 1)
    points = [
        (left + (right - left) * i / steps, bottom - (bottom - above) * min(value / top, 1.0))
        for i, value in enumerate(values)
    ]
    if len(points) > 1:
        draw.line(points, fill=colour, width=round(width * SUPERSAMPLING), joint="curve")


def _depth_colour(index: int, count: int) -> Colour:
    share = index / max(1, count - 1)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(SHALLOW, DEEP, strict=True))
    return red, green, blue


def _draw_labels(
    draw: ImageDraw.ImageDraw, tops: tuple[float, float], steps: int, blocks: int
) -> None:
    title, small = ImageFont.load_default(17), ImageFont.load_default(13)
    draw.text((UPPER[0], 10), "Loss (thin: per step, bold: moving average)", INK, title)
    draw.text((LOWER[0], LOWER[1] - 30), "Zero-convolution weight norms", INK, title)
    for box, top in zip((UPPER, LOWER), tops, strict=True):
        for tick in range(TICKS + 1):
            share = tick / TICKS
            y = box[3] - (box[3] - box[1]) * share
            draw.text((box[0] - 8, y), f"{top * share:.3g}", INK, small, anchor="rm")
            x = box[0] + (box[2] - box[0]) * share
            draw.text((x, box[3] + 6), f"{round(steps * share)}", INK, small, anchor="ma")
    draw.text(((LOWER[0] + LOWER[2]) / 2, LOWER[3] + 24), "step", INK, small, anchor="ma")
    if blocks:
        _draw_legend(draw, small, blocks)


def _draw_legend(draw: ImageDraw.ImageDraw, font: Font, blocks: int) -> None:
    y, right, width = LOWER[1] - 20, LOWER[2] - 50, 12
    left = right - blocks * width
    for index in range(blocks):
        draw.rectangle(
            (left + index * width, y - 5, left + (index + 1) * width - 2, y + 5),
            _depth_colour(index, blocks),
        )
    draw.text((left - 6, y), "first block", INK, font, anchor="rm")
    draw.text((right + 4, y), "middle", INK, font, anchor="lm")
