"""Where control acts: a mask at each residual's own resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from .frames import taken
from .hints import Region, for_frames


@dataclass(frozen=True)
class EffectMask:
    """`values`: (B,H,W) in [0,1], 1 where control acts; entry b is for frame b, repeated when
    fewer.

    `acts` tells for each entry whether it is not all zero. It is asked at every step, so it is told
    once, when the mask comes in.
    """

    values: torch.Tensor
    acts: tuple[bool, ...]

    @property
    def is_zero(self) -> bool:
        return not any(self.acts)

    def acts_on(self, frame: int) -> bool:
        return self.acts[taken([frame], len(self.acts))[0]]

    def cut(self, region: Region) -> EffectMask:
        return _known(region.cut(self.values))

    def sized(
        self,
        frames: Sequence[int],
        chunks: int,
        size: tuple[int, int],
        picture: tuple[int, int],
        fit: str = "crop",
    ) -> torch.Tensor:
        """(chunks * len(frames), 1, *size): the frames' masks, the same for each of `chunks`
        conditionings.

        Fitted to the aspect of `picture`, the latent's (height, width), as the hint is, so that
        both stay aligned.
        """
        fitted = _FITTED[fit](for_frames(self.values, frames), *picture).unsqueeze(1)
        if fitted.shape[-2] >= size[0] and fitted.shape[-1] >= size[1]:
            fitted = functional.interpolate(fitted, size=size, mode="area")
        else:
            fitted = functional.interpolate(fitted, size=size, mode="bilinear", align_corners=False)
        return fitted.expand(len(frames), 1, *size).repeat(chunks, 1, 1, 1)


def effect_mask(mask: torch.Tensor) -> EffectMask | None:
    """A MASK, (B,H,W) or (H,W), as an EffectMask; None where it is 1 everywhere, because then it
    changes nothing.

    Raises ValueError for another shape, an empty mask or values that are not numbers.
    """
    values = mask_values("effect_mask", mask)
    return None if bool((values == 1.0).all()) else _known(values)


def mask_values(name: str, mask: torch.Tensor) -> torch.Tensor:
    """A MASK, (B,H,W) or (H,W), as (B,H,W) in [0,1]. Raises ValueError naming the input for
    anything else.
    """
    values = mask.float()
    if values.ndim == 4 and 1 in (values.shape[1], values.shape[-1]):
        values = values.squeeze(1) if values.shape[1] == 1 else values.squeeze(-1)
    if values.ndim == 2:
        values = values.unsqueeze(0)
    if values.ndim != 3 or values.numel() == 0:
        raise ValueError(
            f"{name}: expected a mask of (batch, height, width), found {tuple(mask.shape)}"
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name}: expected numbers from 0 to 1, found values that are not finite")
    return values.clamp(0.0, 1.0)


def _known(values: torch.Tensor) -> EffectMask:
    return EffectMask(values, tuple(bool(frame.any()) for frame in values))


def _centre_crop(values: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B,H,W) → its largest centred part with the aspect width : height, rounded to pixels as the
    host rounds.

    At least one pixel is left, also of a line that would be cut across.
    """
    h, w = values.shape[-2:]
    left = round((w - h * width / height) / 2) if w * height > h * width else 0
    top = round((h - w * height / width) / 2) if w * height < h * width else 0
    top, left = min(top, (h - 1) // 2), min(left, (w - 1) // 2)
    return values[:, top : h - top, left : w - left]


def _padded(values: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B,H,W) → the aspect width : height, with the edges' values around it: a mask of ones stays
    one.
    """
    h, w = values.shape[-2:]
    across = round((h * width / height - w) / 2) if w * height < h * width else 0
    along = round((w * height / width - h) / 2) if w * height > h * width else 0
    return functional.pad(values, (across, across, along, along), mode="replicate")


def _whole(values: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return values


_FITTED = {"crop": _centre_crop, "region": _centre_crop, "pad": _padded, "stretch": _whole}
