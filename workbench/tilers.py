"""Cut a chain of controls into tiles, as the tilers of other packs do.

One crops copies before sampling (as Ultimate SD Upscale does), one fits hints and stacks tiles
while sampling (as Tiled Diffusion does).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Box = tuple[int, int, int, int]
"""Top, left, height and width of a tile, in latent pixels."""


def crop(picture: Any, box: Box, ratio: int = 8) -> Any:
    """Cut a picture, (…,H,W), to a box in latent pixels."""
    top, left, height, width = (ratio * value for value in box)
    return picture[..., top : top + height, left : left + width]


def cropped(control: Any, boxes: Sequence[Box]) -> Any:
    """Copy a chain, each member with its parts of the hint in one batch."""
    import torch

    if control is None:
        return None
    twin = control.copy()
    hint = control.cond_hint_original
    twin.cond_hint_original = torch.cat([crop(hint, box) for box in boxes])
    twin.set_previous_controlnet(cropped(control.previous_controlnet, boxes))
    return twin


def stacked(member: Any, boxes: Sequence[Box], rows: int, size: tuple[int, int]) -> None:
    """Write fitted parts of the hint into each member, one for each row of each tile."""
    import comfy.utils
    import torch

    while member is not None:
        scale, ratio = (8, 8) if member.vae is None else (member.vae.downscale_ratio, 1)
        how = (size[1] * scale, size[0] * scale, member.upscale_algorithm, "center")
        fitted = comfy.utils.common_upscale(member.cond_hint_original, *how)
        fitted = member.preprocess_image(fitted)
        if member.vae is not None:
            fitted = member.vae.encode(fitted.movedim(1, -1))
            fitted = member.latent_format.process_in(fitted)
        how = (fitted.shape[3], fitted.shape[2], member.upscale_algorithm, "center")
        masks = [comfy.utils.common_upscale(m, *how) for m in member.extra_concat_orig]
        entries = fitted.shape[0]
        masks = [m.repeat(-(-entries // m.shape[0]), 1, 1, 1)[:entries] for m in masks]
        fitted = torch.cat([fitted, *masks], dim=1)
        fitted = fitted.repeat(-(-rows // entries), 1, 1, 1)[:rows]
        member.cond_hint = torch.cat([crop(fitted, box, ratio) for box in boxes])
        member = member.previous_controlnet
