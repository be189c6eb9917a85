"""Draw scribbles: few white strokes on black, from ink on paper or from a photograph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .images import Frame8, Map, darkest_channel, each_frame, opencv
from .spec import Param, Preprocessor, Progress

INVERT = ("auto", "on", "off")
XDOG_SIGMAS = (0.5, 5.0)
"""Standard deviations of the two blurs, in px."""
_XDOG_HALO_PX = 24
"""More than the reach of OpenCV's kernels, four standard deviations."""


def scribble(
    image: Tensor,
    *,
    threshold: int = 127,
    invert: str = "auto",
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Turn a drawing (B,H,W,C) in [0,1] into strokes (B,h,w,3) in {0,1}, white where it has ink.

    Ink is where the least of R, G and B lies below `threshold` (0-255), as in ControlNet 1.0's
    scribble. `invert` says whether the picture is inverted first: "off" for dark strokes on light
    paper (the reference), "on" for light strokes on a dark ground, "auto" to decide for each frame
    by its border.
    """
    cv2 = opencv()

    def draw(frame: Frame8) -> Map:
        least = least_channel(cv2.bitwise_not(frame) if invert == "on" else frame)
        if invert == "auto" and has_dark_border(least):
            least = least_channel(cv2.bitwise_not(frame))
        return cv2.threshold(least, threshold - 1, 255, cv2.THRESH_BINARY_INV)[1]

    return each_frame(image, draw, resolution=resolution, progress=progress)


def least_channel(frame: Frame8) -> NDArray[np.uint8]:
    """Return the least of the three channels, (H,W,3) → (H,W): the reference's brightness."""
    cv2 = opencv()
    red, green, blue = cv2.split(frame)
    return cv2.min(cv2.min(red, green), blue)


def has_dark_border(brightness: NDArray[np.uint8]) -> bool:
    """Tell whether the median brightness of the border is in the darker half.

    The border is a thirty-second of the short side wide, so that a ruled frame around a page is not
    taken for its paper. Every other row and column of it is sampled.
    """
    width_px = max(1, min(brightness.shape) // 32)
    brightness = brightness[::2, ::2]
    width = (width_px + 1) // 2
    top, bottom, between = brightness[:width], brightness[-width:], brightness[width:-width]
    strips = (top, bottom, between[:, :width], between[:, -width:])
    dark = sum(int(np.count_nonzero(strip < 128)) for strip in strips)
    return 2 * dark > sum(strip.size for strip in strips)


def xdog(
    image: Tensor, *, threshold: int = 32, resolution: int = 0, progress: Progress | None = None
) -> Tensor:
    """Draw a photograph (B,H,W,C) in [0,1] as strokes (B,h,w,3) in {0,1}.

    White along dark lines and edges: the difference of two Gaussians (Winnemöller, "XDoG", 2011) as
    the scribble ControlNets' tools use it, white where 2·max(0, min over RGB of blur(σ 5) − blur(σ
    0.5)) exceeds `threshold` (1-64).
    """
    cv2 = opencv()

    def draw(frame: Frame8) -> Map:
        picture = frame.astype(np.float32)
        fine, coarse = (cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in XDOG_SIGMAS)
        darker = darkest_channel(cv2.subtract(coarse, fine, dst=coarse))
        # In float: the references double this in 8 bits, so that the strongest edges overflow and
        # turn black.
        return cv2.threshold(darker, threshold / 2, 1, cv2.THRESH_BINARY)[1]

    return each_frame(image, draw, halo_px=_XDOG_HALO_PX, resolution=resolution, progress=progress)


ROWS = (
    Preprocessor(
        key="scribble",
        node_id="ControlStackScribble",
        title="User Scribble",
        summary="A drawing as white strokes on black, for scribble ControlNets.",
        run=scribble,
        params=(
            Param(
                "threshold",
                127,
                "Ink is where the darkest of R, G and B is below this level (0-255).",
            ),
            Param(
                "invert",
                "auto",
                "off: dark strokes on light paper. on: light strokes on a dark ground. auto:"
                " decided for each frame by the brightness of its border.",
                choices=INVERT,
            ),
        ),
        conditions=("scribble",),
        aliases=("scribble", "sketch", "threshold"),
        plain_is_black=False,
    ),
    Preprocessor(
        key="xdog",
        node_id="ControlStackXDoG",
        title="XDoG Scribble",
        summary=(
            "A photograph as white strokes on black, for scribble ControlNets (difference of"
            " Gaussians)."
        ),
        run=xdog,
        params=(
            Param(
                "threshold",
                32,
                "Contrast that makes a stroke, in half levels (1-64); lower draws more.",
                1,
                64,
            ),
        ),
        conditions=("scribble",),
        aliases=("xdog", "scribble", "difference of gaussians"),
    ),
)
