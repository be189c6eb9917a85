"""Check by pixels alone whether a hint can be a map of a condition: only obvious mismatches.

A mismatch is a warning. It never changes a hint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

CHECKED_SIDE_PX = 256  # more pixels would not change a warning
COUNTED_PX = 10_000  # enough for a share to a hundredth
LIGHT = 0.5
NEAR_PALETTE = 6 / 255  # rounding and compression move a flat colour by less than this
NEAR_GREY = 4 / 255
STROKE_PX = 15  # of some 256: the strokes of a fake scribble are not broader
SIDEWAYS = 0.45  # a unit vector's part below this in [0,1] points away


def light_ground(hint: Tensor) -> str:
    """Warn if a map of lines is light: it should be bright lines on black.

    Compares areas, not the share of light pixels: broad strokes around small things cover more than
    half of a picture.
    """
    light = hint.max(-1).values > LIGHT
    if _areas(light) <= 0.1 or _areas(light) <= 3 * _areas(~light):
        return ""
    return (
        f"{float(light.float().mean()):.0%} of this hint is light, but the net reads bright lines"
        " on black: invert the picture, or let a preprocessor draw the lines"
    )


def _areas(mask: Tensor) -> float:
    """Return the share of (B,H,W) that lies in an area rather than a line.

    There the mask is true all around, as far as a stroke is wide.
    """
    side = min(STROKE_PX, *mask.shape[1:])
    return 1.0 - float(F.max_pool2d((~mask).float()[:, None], side, 1).mean())


def off_palette(hint: Tensor, palette: Tensor) -> str:
    """Warn if half of a segmentation map has colours that the palette (N,3) in [0,1] lacks.

    A map that was saved as JPEG or enlarged smoothly has such colours along every edge: two fifths,
    if it is cluttered.
    """
    colours = hint.reshape(-1, 3)
    colours = colours[:: max(1, len(colours) // COUNTED_PX)]  # each is compared with hundreds
    off = torch.cdist(colours, palette, p=float("inf")).min(1).values > NEAR_PALETTE
    share = float(off.float().mean())
    if share <= 0.5:
        return ""
    return (
        f"{share:.0%} of this hint has colours that no class of ADE20K or COCO has, but the net"
        " reads segmentation colours: use Segmentation Map, and resize such maps only with"
        " 'nearest-exact'"
    )


def inverted_depth(hint: Tensor) -> str:
    """Warn if a depth map is coloured, or if its whole top is light and its foot far darker.

    Only an inverted sky looks like that: a ceiling or a tree overhead is near too, but slants away
    or leaves a gap.
    """
    if float((hint.max(-1).values - hint.min(-1).values).mean()) > NEAR_GREY:
        return "this hint is coloured, but the net reads grey depth maps, near is white: use Depth"
    depth = hint.mean((0, 3))
    third = max(1, len(depth) // 3)
    top, foot = depth[:third], depth[-third:]
    if float(torch.quantile(top, 0.1)) <= 0.6 or float(top.mean() - foot.mean()) <= 0.25:
        return ""
    return (
        f"the top of this hint is nearer ({float(top.mean()):.2f}) than its foot"
        f" ({float(foot.mean()):.2f}): if the scene is not like that, its depth is inverted. The"
        " net reads near as white: invert the map (Depth with engine image, image_mode inverted)"
    )


def not_blue_ahead(hint: Tensor) -> str:
    """Warn unless surfaces that face the camera are blue, as in BAE, OpenGL and DirectX."""
    if not _ahead(hint[..., 0], hint[..., 2]):
        return ""
    return (
        "this hint is red where surfaces face the camera (the convention of CN 1.0), but the net"
        " reads blue there: choose convention 'bae' in Normal Map (engine image converts a finished"
        " map)"
    )


def not_red_ahead(hint: Tensor) -> str:
    """Warn unless surfaces that face the camera are red, as the first ControlNet reads them.

    Its normals reach the net with their channels reversed.
    """
    if not _ahead(hint[..., 2], hint[..., 0]):
        return ""
    return (
        "this hint is blue where surfaces face the camera, but this net reads red there (the"
        " convention of CN 1.0): choose convention 'cn1.0' in Normal Map (engine image"
        " converts a finished map)"
    )


def _ahead(channel: Tensor, other: Tensor) -> bool:
    """Tell whether `channel` is what faces the camera and `other` what faces a side.

    Every visible surface faces the camera, so the one is never dark and mostly light. A wall at an
    angle lights both, and darkens neither: then only a far lighter channel counts.
    """
    lighter = float(channel.mean() - other.mean())
    darker = float((other < SIDEWAYS).float().mean() - (channel < SIDEWAYS).float().mean())
    return lighter > 0.3 or (lighter > 0.1 and darker > 0)


_LINES = ("any_line", "canny", "mlsd", "lineart", "lineart_anime", "scribble", "softedge", "pose")
CHECKS: Mapping[str, Callable[[Tensor], str]] = {
    **dict.fromkeys(_LINES, light_ground),
    "depth": inverted_depth,
    "normal_bae": not_blue_ahead,
    "normal": not_blue_ahead,
    "normal_cn10": not_red_ahead,
}


def disagreement(hint: Tensor, condition: str, palette: Tensor | None = None) -> str:
    """Say why a hint (B,H,W,3) in [0,1] is obviously not a map of `condition`; '' if it may be one.

    `palette`, (N,3) in [0,1], is what segmentation maps are compared with.
    """
    sample = _thinned(hint)
    if condition == "segmentation":
        return off_palette(sample, palette) if palette is not None else ""
    check = CHECKS.get(condition)
    return check(sample) if check else ""


def _thinned(hint: Tensor) -> Tensor:
    """Return the first frame, every n-th pixel of it.

    Pixels are picked, not averaged, so that colours stay unchanged.
    """
    step = max(1, min(hint.shape[1:3]) // CHECKED_SIDE_PX)
    return hint[:1, ::step, ::step, :3].float().clamp(0, 1)
