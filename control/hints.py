"""Hints, made ready before ComfyUI fits them: the inpaint mask, the region and the frames.

A hint is (B,C,H,W).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .fits import Resize
from .frames import source_indices

LATENT_PX = 8  # ComfyUI's area conditioning counts in eighths of the picture's pixels
INPAINT_VALUE = {"inpaint": -1.0, "repaint": 0.0}
"""The hint's value in the area to inpaint, as SD1.5's inpainting net and as unions were trained."""


@dataclass(frozen=True)
class Region:
    """A part of the picture, in fractions of its height and width."""

    top: float
    left: float
    height: float
    width: float

    def cut(self, picture: torch.Tensor) -> torch.Tensor:
        """Return this part of a picture, (…,H,W): at least one pixel."""
        height, width = picture.shape[-2:]
        top = min(round(self.top * height), height - 1)
        left = min(round(self.left * width), width - 1)
        bottom = max(top + 1, min(round((self.top + self.height) * height), height))
        right = max(left + 1, min(round((self.left + self.width) * width), width))
        return picture[..., top:bottom, left:right]


def region_of(area: Sequence[float | str], hint: torch.Tensor) -> Region:
    """Read the area of ComfyUI's conditioning: ("percentage", h, w, y, x), or eighths of pixels.

    Raises ValueError where an area in pixels reaches outside the hint: then the hint does not have
    the picture's size.
    """
    if area[0] == "percentage":
        height, width, top, left = (float(value) for value in area[1:5])
        return Region(top, left, height, width)
    height, width, top, left = (int(value) * LATENT_PX for value in area[:4])
    if top + height > hint.shape[-2] or left + width > hint.shape[-1]:
        raise ValueError(
            f"fit 'region': the prompt's area reaches to {left + width}x{top + height} pixels, the"
            f" hint is {hint.shape[-1]}x{hint.shape[-2]}. Use a hint of the picture's size, or set"
            " the area in percent."
        )
    return Region(
        top / hint.shape[-2], left / hint.shape[-1], height / hint.shape[-2], width / hint.shape[-1]
    )


def for_frames(hint: torch.Tensor, frames: Sequence[int]) -> torch.Tensor:
    """Pick the entries of a hint or mask batch for these frames.

    Returns the same tensor where it has a single entry or exactly these.
    """
    if hint.shape[0] == 1 or list(frames) == list(range(hint.shape[0])):
        return hint
    # Indexing copies. The copy keeps the memory layout (a hint is channels last), so that
    # convolutions round as they do for the original.
    return hint.movedim(1, -1)[source_indices(frames, hint.shape[0])].movedim(-1, 1)


def fill_inpaint_area(
    hint: torch.Tensor, mask: torch.Tensor, value: float, resize: Resize
) -> torch.Tensor:
    """Set the hint to `value` wherever `mask`, (B,H,W) in [0,1], is over one half."""
    fitted = resize(mask.unsqueeze(1), hint.shape[-2], hint.shape[-1]) > 0.5
    rows = max(hint.shape[0], fitted.shape[0])
    hint, fitted = for_frames(hint, range(rows)), for_frames(fitted, range(rows))
    return torch.where(fitted, hint.new_tensor(value), hint)
