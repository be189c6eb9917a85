"""Find edges: the lines along which a picture changes sharply."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .images import Frame8, Map, each_frame, opencv
from .spec import Param, Preprocessor, Progress

Slope = NDArray[np.int16]
"""(H,W): Sobel's derivative of 8-bit levels, -1020 to 1020."""


def canny(
    image: Tensor,
    *,
    low_threshold: int = 100,
    high_threshold: int = 200,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Draw Canny edges: (B,H,W,C) in [0,1] → (B,h,w,3) in {0,1}, white lines one pixel wide.

    Equals `cv2.Canny` on the three channels of the 8-bit picture (J. Canny, 1986; aperture 3, L1
    gradient), which is what the canny ControlNets were trained on. Thresholds are gradient
    magnitudes, 0-255; their order does not matter.
    """
    cv2 = opencv()

    def draw(frame: Frame8) -> Map:
        return cv2.Canny(*steepest(frame), low_threshold, high_threshold)

    return each_frame(image, draw, resolution=resolution, progress=progress)


def steepest(frame: Frame8) -> tuple[Slope, Slope]:
    """Return the slopes across and down, (H,W) each, of each pixel's steepest channel in (H,W,3).

    The first channel wins ties. `cv2.Canny` begins with the same, but looks for that channel pixel
    by pixel, which takes three times as long.
    """
    cv2 = opencv()
    first, *others = cv2.split(frame)
    across, down = cv2.spatialGradient(first, ksize=3, borderType=cv2.BORDER_REPLICATE)
    most = np.abs(across)
    most += np.abs(down)
    dx = dy = None
    for channel in others:
        dx, dy = cv2.spatialGradient(channel, dx, dy, 3, cv2.BORDER_REPLICATE)
        slope = np.abs(dx)
        slope += np.abs(dy)
        steeper = cv2.compare(slope, most, cv2.CMP_GT)
        cv2.copyTo(dx, steeper, across)
        cv2.copyTo(dy, steeper, down)
        cv2.max(slope, most, dst=most)
    return across, down


ROWS = (
    Preprocessor(
        key="canny",
        node_id="ControlStackCanny",
        title="Canny Edge",
        summary=(
            "Thin white edges on black, for canny ControlNets. Equals OpenCV's Canny on the 8-bit"
            " RGB picture."
        ),
        run=canny,
        params=(
            Param("low_threshold", 100, "Edges weaker than this gradient (0-255) are dropped."),
            Param(
                "high_threshold",
                200,
                "Edges at least this strong (0-255) start a line; weaker ones continue it.",
            ),
        ),
        conditions=("canny",),
        aliases=("canny", "edge", "edges"),
    ),
)
