"""Line drawings."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .images import Frame8, Map, darkest_channel, each_frame, opencv
from .spec import Progress

ENGINES = ("standard",)


def lineart(
    image: Tensor,
    *,
    engine: str = "standard",
    gaussian_sigma: float = 6.0,
    intensity_threshold: int = 8,
    resolution: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """(B,H,W,C) in [0,1] → (B,h,w,3) in [0,1]: bright lines on black, soft where the picture's are.

    `engine` "standard" is the lineart_standard of the ControlNet tools: how much darker a pixel is than its
    surroundings, a Gaussian of `gaussian_sigma` px, scaled so that the median of what exceeds `intensity_threshold`
    levels becomes half white. The reference truncates the result to 8 bits; here it stays float.
    """
    if engine not in ENGINES:
        raise ValueError(f"there is no lineart engine {engine!r} yet: choose one of {', '.join(ENGINES)}")
    cv2 = opencv()

    def draw(frame: Frame8) -> Map:
        picture = frame.astype(np.float32)
        surroundings = cv2.GaussianBlur(picture, (0, 0), gaussian_sigma)
        darker = darkest_channel(cv2.subtract(surroundings, picture, dst=surroundings))
        lines = darker[darker > intensity_threshold]
        # The floor keeps a picture without lines from being amplified into noise.
        middle = max(16.0, float(np.median(lines))) if lines.size else 16.0
        return (darker * np.float32(127 / 255 / middle)).clip(0, 1)

    return each_frame(image, draw, resolution=resolution, progress=progress)
