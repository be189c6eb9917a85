"""Where control acts: a mask at each residual's own resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from .fits import FITS
from .frames import source_indices
from .hints import Region, for_frames


@dataclass(frozen=True)
class EffectMask:
    """Where control acts, for each batch entry or frame.

    `values`: (B,H,W) in [0,1], 1 where control acts; entry b is for frame b, and the batch repeats
    when it is shorter. `acts`: whether each entry is not all zero. It is asked at every step and
    reading it waits for the GPU, so it is read once, when the mask comes in.
    """

    values: torch.Tensor
    acts: tuple[bool, ...]

    @property
    def is_zero(self) -> bool:
        """Whether control acts nowhere."""
        return not any(self.acts)

    def acts_on(self, frame: int) -> bool:
        """Return whether control acts anywhere in this frame."""
        return self.acts[source_indices([frame], len(self.acts))[0]]

    def cut(self, region: Region) -> EffectMask:
        """Return the part of the mask in a region."""
        return with_acts(region.cut(self.values))

    def sized(
        self,
        frames: Sequence[int],
        chunks: int,
        size: tuple[int, int],
        picture: tuple[int, int],
        fit: str = "crop",
    ) -> torch.Tensor:
        """Return the frames' masks for each of `chunks` conditionings.

        → (chunks * len(frames), 1, *size). Fitted to the aspect of `picture`, the latent's (height,
        width), as the hint is, so that both stay aligned.
        """
        fitted = FITS[fit].mask(for_frames(self.values, frames), *picture).unsqueeze(1)
        if fitted.shape[-2] >= size[0] and fitted.shape[-1] >= size[1]:
            fitted = functional.interpolate(fitted, size=size, mode="area")
        else:
            fitted = functional.interpolate(fitted, size=size, mode="bilinear", align_corners=False)
        return fitted.expand(len(frames), 1, *size).repeat(chunks, 1, 1, 1)

    def tokens(
        self,
        frames: Sequence[int],
        chunks: int,
        picture: tuple[int, int],
        fit: str = "crop",
        patch: int = 2,
    ) -> torch.Tensor:
        """Return the frames' masks as a transformer's tokens lie, row by row.

        → (chunks * len(frames), tokens, 1). A token is `patch` x `patch` of the latent; one of an
        odd size is padded to whole tokens, so the mask is averaged from the latent's size, not from
        its own.
        """
        of_latent = self.sized(frames, chunks, picture, picture, fit)
        height, width = picture
        padded = functional.pad(
            of_latent, (0, -width % patch, 0, -height % patch), mode="replicate"
        )
        return functional.avg_pool2d(padded, patch).flatten(2).transpose(1, 2)


def effect_mask(mask: torch.Tensor) -> EffectMask | None:
    """Read a MASK, (B,H,W) or (H,W); None where it is 1 everywhere and so changes nothing.

    Raises ValueError for another shape, an empty mask or values that are not finite.
    """
    values = mask_values("effect_mask", mask)
    return None if bool((values == 1.0).all()) else with_acts(values)


def inpaint_mask(mask: torch.Tensor) -> torch.Tensor:
    """Read a MASK, (B,H,W) or (H,W), as (B,H,W) in [0,1]: 1 in the area to inpaint."""
    return mask_values("inpaint_mask", mask)


def mask_values(name: str, mask: torch.Tensor) -> torch.Tensor:
    """Read a MASK, (B,H,W) or (H,W), as (B,H,W) in [0,1].

    Raises ValueError naming the input for another shape, an empty mask or values that are not
    finite.
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


def with_acts(values: torch.Tensor) -> EffectMask:
    """Make a mask of values, (B,H,W) in [0,1], and read which entries are not all zero."""
    return EffectMask(values, tuple(bool(frame.any()) for frame in values))
