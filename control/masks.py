"""Where control acts: a mask at each residual's own resolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class EffectMask:
    """`values`: (B,H,W) in [0,1], 1 where control acts; entry b is for batch entry b, repeated when fewer.

    `is_zero` is asked at every step, so it is told once, when the mask comes in.
    """

    values: torch.Tensor
    is_zero: bool

    def sized(self, rows: int, chunks: int, size: tuple[int, int], frame: tuple[int, int]) -> torch.Tensor:
        """(rows, 1, *size) for a batch of `chunks` conditionings with rows // chunks entries each.

        Cropped to the aspect of `frame`, the latent's (height, width), as the host crops the hint, so that hint and
        mask stay aligned.
        """
        cropped = _centre_crop(self.values, *frame).unsqueeze(1)  # (B, 1, h', w')
        if cropped.shape[-2] >= size[0] and cropped.shape[-1] >= size[1]:
            fitted = functional.interpolate(cropped, size=size, mode="area")
        else:
            fitted = functional.interpolate(cropped, size=size, mode="bilinear", align_corners=False)
        entries = rows // chunks
        repeats = -(-entries // fitted.shape[0])
        return fitted.repeat(repeats, 1, 1, 1)[:entries].repeat(chunks, 1, 1, 1)


def effect_mask(mask: torch.Tensor) -> EffectMask | None:
    """A MASK, (B,H,W) or (H,W), as an EffectMask; None where it is 1 everywhere, because then it changes nothing.

    Raises ValueError for another shape, an empty mask or values that are not numbers.
    """
    values = mask.float()
    if values.ndim == 4 and 1 in (values.shape[1], values.shape[-1]):
        values = values.squeeze(1) if values.shape[1] == 1 else values.squeeze(-1)
    if values.ndim == 2:
        values = values.unsqueeze(0)
    if values.ndim != 3 or values.numel() == 0:
        raise ValueError(f"effect_mask: expected a mask of (batch, height, width), found {tuple(mask.shape)}")
    if not bool(torch.isfinite(values).all()):
        raise ValueError("effect_mask: expected numbers from 0 to 1, found values that are not finite")
    values = values.clamp(0.0, 1.0)
    return None if bool((values == 1.0).all()) else EffectMask(values, is_zero=not bool(values.any()))


def _centre_crop(values: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B,H,W) → its largest centred part with the aspect width : height, rounded to pixels as the host rounds."""
    h, w = values.shape[-2:]
    left = round((w - h * width / height) / 2) if w * height > h * width else 0
    top = round((h - w * height / width) / 2) if w * height < h * width else 0
    return values[:, top : h - top, left : w - left]
