"""What kind of map a hint can be, judged by its pixels alone: only what is obvious, in shares and sentences.

A judgement is a suspicion. It never changes a hint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

SEEN_SIDE_PX = 256  # more pixels would not change a suspicion
LIGHT = 0.5
NEAR_PALETTE = 6 / 255  # rounding and compression move a flat colour by less than this
NEAR_GREY = 4 / 255


def light_ground(hint: Tensor) -> str:
    """A map of lines is bright on black: says so where most of it is light."""
    share = float((hint.max(-1).values > LIGHT).float().mean())
    if share <= 0.5:
        return ""
    return (
        f"{share:.0%} of this hint is light, but the net reads bright lines on black: "
        "invert the picture, or let a preprocessor draw the lines"
    )


def off_palette(hint: Tensor, palette: Tensor) -> str:
    """A segmentation map has only the palette's colours, (N,3) in [0,1]: says so where a third has others."""
    colours = hint.reshape(-1, 3)
    off = torch.cdist(colours, palette, p=float("inf")).min(1).values > NEAR_PALETTE
    share = float(off.float().mean())
    if share <= 1 / 3:
        return ""
    return (
        f"{share:.0%} of this hint has colours that are no class of ADE20K or COCO, but the net reads segmentation "
        "colours: use Semantic Segmentation, and resize such maps only with 'nearest-exact'"
    )


def inverted_depth(hint: Tensor) -> str:
    """Near is white, and what is below is mostly nearer: says so where the picture's foot is far darker than its top.

    A map in colour is no depth at all.
    """
    if float((hint.max(-1).values - hint.min(-1).values).mean()) > NEAR_GREY:
        return "this hint has colours, but the net reads grey depth, near being white"
    rows = hint.mean((0, 2, 3))
    third = max(1, len(rows) // 3)
    top, foot = float(rows[:third].mean()), float(rows[-third:].mean())
    if top - foot <= 0.25:
        return ""
    return (
        f"the top of this hint is nearer ({top:.2f}) than its foot ({foot:.2f}): if the scene is not so, its depth is "
        "inverted; the net reads near as white, so invert the map"
    )


def not_blue_ahead(hint: Tensor) -> str:
    """BAE, OpenGL and DirectX normals are blue where a surface faces the camera."""
    red, blue = (float(hint[..., channel].mean()) for channel in (0, 2))
    if blue >= red:
        return ""
    return (
        "this hint is red where surfaces face the camera (the convention of CN 1.0), but the net reads blue there: "
        "choose convention 'bae' in Normal Map"
    )


def not_red_ahead(hint: Tensor) -> str:
    """The first ControlNet's normals reach the net with their channels reversed: red where a surface faces it."""
    red, blue = (float(hint[..., channel].mean()) for channel in (0, 2))
    if red >= blue:
        return ""
    return (
        "this hint is blue where surfaces face the camera, but this net reads red there (the convention of CN 1.0): "
        "choose convention 'cn1.0' in Normal Map"
    )


_LINES = ("any_line", "canny", "mlsd", "lineart", "lineart_anime", "scribble", "softedge", "pose")
JUDGES: Mapping[str, Callable[[Tensor], str]] = {
    **dict.fromkeys(_LINES, light_ground),
    "depth": inverted_depth,
    "normal_bae": not_blue_ahead,
    "normal": not_blue_ahead,
    "normal_cn10": not_red_ahead,
}


def disagreement(hint: Tensor, condition: str, palette: Tensor | None = None) -> str:
    """The sentence for a hint (B,H,W,3) in [0,1] that obviously is no map of `condition`; '' where nothing is obvious.

    `palette`, (N,3) in [0,1], is what segmentation maps are judged by.
    """
    seen = _thinned(hint)
    if condition == "segmentation":
        return off_palette(seen, palette) if palette is not None else ""
    judge = JUDGES.get(condition)
    return judge(seen) if judge else ""


def _thinned(hint: Tensor) -> Tensor:
    """The first frame, by every n-th pixel: taken, not averaged, so that colours stay what they are."""
    step = max(1, min(hint.shape[1:3]) // SEEN_SIDE_PX)
    return hint[:1, ::step, ::step, :3].float().clamp(0, 1)
