"""What happens to a hint or a mask whose aspect differs from the picture's: a fit is a row.

A hint that comes out of its fit has the picture's size, so that ComfyUI, which always crops a hint
of another aspect around its centre, has nothing left to crop. A mask goes through the same geometry
as its hint, so that both stay aligned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

Resize = Callable[[torch.Tensor, int, int], torch.Tensor]
"""(B,C,H,W), height, width → (B,C,height,width): ComfyUI's own interpolation, without its crop."""


def stretch_hint(hint: torch.Tensor, height: int, width: int, resize: Resize) -> torch.Tensor:
    """Resize the whole hint, (B,C,H,W), whatever its aspect."""
    return resize(hint, height, width)


def pad_hint(hint: torch.Tensor, height: int, width: int, resize: Resize) -> torch.Tensor:
    """Centre the whole hint, (B,C,H,W), in its own aspect on the median colour of its border.

    As A1111's "Resize and Fill": the border of a line map is its background.
    """
    scale = min(height / hint.shape[-2], width / hint.shape[-1])
    h, w = max(1, round(hint.shape[-2] * scale)), max(1, round(hint.shape[-1] * scale))
    top, left = (height - h) // 2, (width - w) // 2
    # In the memory layout of an IMAGE (channels last), so that convolutions round as for one.
    canvas = border_colour(hint).movedim(1, -1).repeat(1, height, width, 1).movedim(-1, 1)
    canvas[:, :, top : top + h, left : left + w] = resize(hint, h, w)
    return canvas


def border_colour(hint: torch.Tensor) -> torch.Tensor:
    """Return the median of the outermost pixels of each picture: (B,C,H,W) → (B,C,1,1)."""
    edges = (hint[..., 0, :], hint[..., -1, :], hint[..., :, 0], hint[..., :, -1])
    return torch.cat(edges, dim=-1).float().quantile(0.5, dim=-1).to(hint)[..., None, None]


def crop_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Crop a mask, (B,H,W), around its centre to the aspect width : height.

    Rounds to pixels as ComfyUI does. At least one pixel is left, also of a line that would be cut
    across.
    """
    h, w = mask.shape[-2:]
    left = round((w - h * width / height) / 2) if w * height > h * width else 0
    top = round((h - w * height / width) / 2) if w * height < h * width else 0
    top, left = min(top, (h - 1) // 2), min(left, (w - 1) // 2)
    return mask[:, top : h - top, left : w - left]


def pad_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Extend a mask, (B,H,W), by its edge values to the aspect width : height."""
    h, w = mask.shape[-2:]
    across = round((h * width / height - w) / 2) if w * height < h * width else 0
    along = round((w * height / width - h) / 2) if w * height > h * width else 0
    return functional.pad(mask, (across, across, along, along), mode="replicate")


def stretch_mask(mask: torch.Tensor, _height: int, _width: int) -> torch.Tensor:
    """Return the whole mask, (B,H,W): it is stretched when it is resized."""
    return mask


@dataclass(frozen=True)
class Fit:
    """A way of fitting.

    `hint`: (B,C,H,W), height, width, resize → that size; None where ComfyUI's own crop does it.
    `mask`: (B,H,W), height, width → that aspect. `by_area`: only the part under the positive
    prompt's area is used.
    """

    hint: Callable[[torch.Tensor, int, int, Resize], torch.Tensor] | None
    mask: Callable[[torch.Tensor, int, int], torch.Tensor]
    by_area: bool = False


FITS: Mapping[str, Fit] = {
    "crop": Fit(None, crop_mask),
    "stretch": Fit(stretch_hint, stretch_mask),
    "pad": Fit(pad_hint, pad_mask),
    "region": Fit(None, crop_mask, by_area=True),
}


def over_white(image: torch.Tensor) -> torch.Tensor:
    """Return the colours of an IMAGE (B,H,W,3 or 4), transparent parts white as in every hint."""
    colours, alpha = image[..., :3], image[..., 3:]
    return colours * alpha + (1 - alpha) if alpha.shape[-1] else colours
