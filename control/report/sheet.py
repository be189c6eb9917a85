"""Arrange pictures in a grid with a label under each."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

GROUND, INK, GAP_PX = (24, 24, 27), (235, 235, 238), 6
SIZES_PX = (10, 40)
"""Of the labels: a part of the pictures' height, within these limits."""


def sheet(images: torch.Tensor, labels: str = "", columns: int = 0) -> torch.Tensor:
    """Lay out (B,H,W,3) in [0,1] with a line of `labels` under each: → (1,h,w,3) in [0,1].

    Without labels the pictures are numbered from 0. `columns` 0 makes the grid about square.

    Raises ValueError if there are more labels than pictures.
    """
    count, height, width = images.shape[:3]
    words = _words(labels, count)
    across = min(columns or math.ceil(math.sqrt(count)), count)
    size = min(max(height // 16, SIZES_PX[0]), SIZES_PX[1])
    cell = (width + GAP_PX, height + GAP_PX + 2 * size)
    page = Image.new(
        "RGB", (across * cell[0] + GAP_PX, math.ceil(count / across) * cell[1]), GROUND
    )
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(size)
    levels = (images[..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    for at, (picture, label) in enumerate(zip(levels, words, strict=True)):
        left, top = GAP_PX + at % across * cell[0], GAP_PX + at // across * cell[1]
        page.paste(Image.fromarray(picture), (left, top))
        place = (left + width / 2, top + height + size)
        pen.text(place, _shortened(label, font, width), fill=INK, font=font, anchor="mm")
    return torch.from_numpy(np.asarray(page, np.float32) / 255)[None]  # pyright: ignore


def _words(labels: str, count: int) -> list[str]:
    lines = labels.strip("\n").split("\n") if labels.strip() else [str(at) for at in range(count)]
    if len(lines) > count:
        raise ValueError(
            f"expected one line of labels for each picture, found {len(lines)} lines for {count}"
            f" picture{'s' * (count > 1)}: remove lines, or connect more pictures"
        )
    return [line.strip() for line in lines] + [""] * (count - len(lines))


def _shortened(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cut a label that is wider than its picture."""
    if font.getlength(label) <= width:
        return label
    fitting = (label[:end] + "…" for end in range(len(label) - 1, 0, -1))
    return next((cut for cut in fitting if font.getlength(cut) <= width), "")
