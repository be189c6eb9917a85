"""Edges: where a picture changes sharply."""

from __future__ import annotations

from torch import Tensor

from .images import Frame8, Map, each_frame, opencv
from .spec import Progress


def canny(
    image: Tensor,
    *,
    low_threshold: int = 100,
    high_threshold: int = 200,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """(B,H,W,C) in [0,1] → (B,h,w,3) in {0,1}: white lines one pixel wide on black.

    Equals `cv2.Canny` on the three channels of the 8-bit picture (J. Canny, 1986; aperture 3, L1 gradient), which is
    what the canny ControlNets were trained on. Thresholds are gradient magnitudes, 0-255; their order does not matter.
    """
    cv2 = opencv()

    def draw(frame: Frame8) -> Map:
        return cv2.Canny(frame, low_threshold, high_threshold)

    return each_frame(image, draw, resolution=resolution, progress=progress)
