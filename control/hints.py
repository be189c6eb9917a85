"""Hints, made ready for a net before the host fits them: inpainting's mask, the region, the frames,
the aspect.

A hint is (B,C,H,W). What comes out has the picture's aspect or its very size, so that the host,
which always cuts the middle out of a hint of another aspect, has nothing left to cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .frames import taken

Resize = Callable[[torch.Tensor, int, int], torch.Tensor]
"""(B,C,H,W), height, width → (B,C,height,width): the host's own interpolation, without its crop."""

LATENT_PX = 8  # the host's area conditioning counts in eighths of the picture's pixels
REMOVED = {
    "inpaint": -1.0,
    "repaint": 0.0,
}  # how a net was taught what is painted anew: SD1.5's inpainting net, unions


@dataclass(frozen=True)
class Region:
    """A part of the picture, in fractions of its height and width."""

    top: float
    left: float
    height: float
    width: float

    def cut(self, picture: torch.Tensor) -> torch.Tensor:
        """(…,H,W) → its part, at least one pixel."""
        height, width = picture.shape[-2:]
        top, left = (
            min(round(self.top * height), height - 1),
            min(round(self.left * width), width - 1),
        )
        bottom = max(top + 1, min(round((self.top + self.height) * height), height))
        right = max(left + 1, min(round((self.left + self.width) * width), width))
        return picture[..., top:bottom, left:right]


def region_of(area: Sequence[float | str], hint: torch.Tensor) -> Region:
    """The region that the host's area conditioning names: ("percentage", h, w, y, x), or in eighths
    of pixels.

    Raises ValueError where an area in pixels reaches outside the hint: then the hint is not of the
    picture's size.
    """
    if area[0] == "percentage":
        height, width, top, left = (float(value) for value in area[1:5])
        return Region(top, left, height, width)
    height, width, top, left = (int(value) * LATENT_PX for value in area[:4])
    if top + height > hint.shape[-2] or left + width > hint.shape[-1]:
        raise ValueError(
            f"fit 'region': the prompt's area reaches to {left + width}x{top + height} pixels, the"
            f" hint is {hint.shape[-1]}x{hint.shape[-2]}. Give a hint of the picture's size, or set"
            " the area in percent."
        )
    return Region(
        top / hint.shape[-2], left / hint.shape[-1], height / hint.shape[-2], width / hint.shape[-1]
    )


def for_frames(hint: torch.Tensor, frames: Sequence[int]) -> torch.Tensor:
    """The entries of a hint or mask batch for these frames; the same tensor where one serves all."""
    if hint.shape[0] == 1 or list(frames) == list(range(hint.shape[0])):
        return hint
    # Picking copies: laid out as it was (a hint's colours side by side), it rounds in convolutions
    # as it did.
    return hint.movedim(1, -1)[taken(frames, hint.shape[0])].movedim(-1, 1)


def inpainted(
    hint: torch.Tensor, mask: torch.Tensor, removed: float, resize: Resize
) -> torch.Tensor:
    """The hint with `removed` for colour wherever `mask`, (B,H,W) in [0,1], is over one half."""
    fitted = resize(mask.unsqueeze(1), hint.shape[-2], hint.shape[-1]) > 0.5
    rows = max(hint.shape[0], fitted.shape[0])
    hint, fitted = for_frames(hint, range(rows)), for_frames(fitted, range(rows))
    return torch.where(fitted, hint.new_tensor(removed), hint)


def stretched(hint: torch.Tensor, height: int, width: int, resize: Resize) -> torch.Tensor:
    """The whole hint at this size, whatever its aspect."""
    return resize(hint, height, width)


def padded(hint: torch.Tensor, height: int, width: int, resize: Resize) -> torch.Tensor:
    """The whole hint in its own aspect in the middle; around it the median colour of its border.

    As A1111's "Resize and Fill": the border of a line map is its background.
    """
    scale = min(height / hint.shape[-2], width / hint.shape[-1])
    h, w = max(1, round(hint.shape[-2] * scale)), max(1, round(hint.shape[-1] * scale))
    top, left = (height - h) // 2, (width - w) // 2
    # Laid out like any IMAGE (colours side by side), so that convolutions round as they do for one.
    canvas = border_colour(hint).movedim(1, -1).repeat(1, height, width, 1).movedim(-1, 1)
    canvas[:, :, top : top + h, left : left + w] = resize(hint, h, w)
    return canvas


def border_colour(hint: torch.Tensor) -> torch.Tensor:
    """(B,C,H,W) → (B,C,1,1): the median over the outermost pixels, for each picture and channel."""
    edges = (hint[..., 0, :], hint[..., -1, :], hint[..., :, 0], hint[..., :, -1])
    return torch.cat(edges, dim=-1).float().quantile(0.5, dim=-1).to(hint)[..., None, None]


# What is done to a hint of another aspect than the picture's. Nothing for "crop", which is the
# host's own way, and for "region", whose hint has the aspect of its area already.
FITTED: dict[str, Callable[[torch.Tensor, int, int, Resize], torch.Tensor]] = {
    "stretch": stretched,
    "pad": padded,
}
