"""Soft edges: how surely each pixel lies on an edge, and the scribbles that are drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from .images import FloatFrame, Frame8, Map, each_frame, each_map, opencv, through, to_hint
from .nets import hed, pidinet, teed
from .scribble import xdog
from .spec import Networks, Progress, Weights

HED = Weights(
    file="ControlNetHED.pth",
    repo="lllyasviel/Annotators",
    module=hed.HED,
    licence=(
        "Apache-2.0 (header of the code that it was published with; the repository itself names"
        " none)"
    ),
    sha256="5ca93762ffd68a29fee1af9d495bf6aab80ae86f08905fb35472a083a4c7a8fa",
    size_bytes=29_444_406,
)
PIDINET = Weights(
    file="table5_pidinet.pth",
    repo="lllyasviel/Annotators",
    module=pidinet.PiDiNet,
    licence='"just for research purpose, commercial use should be contacted with authors first"',
    restricted=True,
    sha256="80860ac267258b5f27486e0ef152a211d0b08120f62aeb185a050acc30da486c",
    size_bytes=2_871_148,
    half=False,
    renamed=lambda state: {key.removeprefix("module."): tensor for key, tensor in state.items()},
)
TEED = Weights(
    file="teed.safetensors",
    repo="OzzyGT/teed",
    module=teed.TEED,
    licence="MIT",
    also=("7_model.pth",),
    half=False,
)

DOG_SIGMAS_PX, DOG_GAIN = (1.0, 2.0, 4.0), 4.0
SUPPRESSION_SIGMA_PX, SUPPRESSION_LEVEL, INK_LEVEL = 3.0, 127, 4
"""Of fake scribbles: the blur before and after thinning, what counts as an edge, what counts as
ink.
"""

_LINES: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((0, 0, 0), (1, 1, 1), (0, 0, 0)),
    ((0, 1, 0), (0, 1, 0), (0, 1, 0)),
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
)
"""The four directions in which a pixel's neighbours are looked at."""


@dataclass(frozen=True)
class Detector:
    """A network that finds edges: what it wants to see, and how its outputs become one map of
    logits.
    """

    weights: Weights
    multiple: int
    logits: Callable[[Module, Tensor], Tensor]
    """`logits(net, frames)`: RGB (b,3,h,w) in [0,1] → (b,1,h,w), float32."""


def _mean_of_sides(net: Module, frames: Tensor) -> Tensor:
    """The side outputs, brought to the size of the picture, averaged."""
    size = frames.shape[-2:]
    sides: list[Tensor] = net(frames * 255)
    grown = (
        F.interpolate(side.float(), size, mode="bilinear") if side.shape[-2:] != size else side
        for side in sides
    )
    return torch.stack([side.float() for side in grown]).mean(0)


def _fused_of_bgr(net: Module, frames: Tensor) -> Tensor:
    return net(frames.flip(1)).float()


DETECTORS = {
    "hed": Detector(HED, hed.MULTIPLE, _mean_of_sides),
    "teed": Detector(TEED, teed.MULTIPLE, _mean_of_sides),
    "pidinet": Detector(PIDINET, pidinet.MULTIPLE, _fused_of_bgr),
}
HED_ENGINES = ("hed", "dog")
SOFT_EDGE_ENGINES = ("teed", "pidinet", "hed", "dog")
SCRIBBLE_ENGINES = ("hed", "teed", "pidinet", "dog", "xdog")


def weights_of(engines: tuple[str, ...]) -> dict[str, Weights]:
    return {engine: DETECTORS[engine].weights for engine in engines if engine in DETECTORS}


def soft_edge(
    image: Tensor,
    *,
    engine: str = "hed",
    safe: bool = False,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> Tensor:
    """(B,H,W,C) in [0,1] → (B,h,w,3) in [0,1]: white where an edge is sure, grey where it may be.

    Engines "hed", "teed" and "pidinet" are networks (sources in `nets/`); "dog" needs no weights.
    `safe` leaves three levels, 0, ½ and 1, so that a picture cannot be hidden in the map. The
    references truncate maps to 8 bits; here they stay float.
    """
    return to_hint(_maps(image, engine, safe, resolution, progress, networks))


def fake_scribble(
    image: Tensor,
    *,
    engine: str = "hed",
    safe: bool = False,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> Tensor:
    """(B,H,W,C) in [0,1] → (B,h,w,3) in {0,1}: soft edges as white strokes, as if drawn with a
    broad pen.

    Thinned and blurred as ControlNet 1.0's fake scribble, on the 8-bit map as there. Engine "xdog"
    draws its strokes itself, and `safe` means nothing to it.
    """
    if engine == "xdog":
        return xdog(image, resolution=resolution, progress=progress)
    maps = _maps(image, engine, safe, resolution, progress, networks)
    return each_map(maps, strokes, progress=progress)


def strokes(soft: NDArray[np.float32]) -> Map:
    """A soft map (H,W) in [0,1] → its strokes, 0 or 255."""
    cv2 = opencv()
    levels = (soft * np.float32(255)).astype(np.uint8)  # truncated, as the references do
    blurred = cv2.GaussianBlur(thinned(levels), (0, 0), SUPPRESSION_SIGMA_PX)
    return cv2.threshold(blurred, INK_LEVEL, 255, cv2.THRESH_BINARY)[1]


def thinned(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Non-maximum suppression (H,W) in 0..255 → 0 or 255: ridges of the blurred map along any of
    four directions.
    """
    cv2 = opencv()
    blurred = cv2.GaussianBlur(levels.astype(np.float32), (0, 0), SUPPRESSION_SIGMA_PX)
    ridge = np.zeros(levels.shape, bool)
    for line in _LINES:
        ridge |= cv2.dilate(blurred, np.array(line, np.uint8)) == blurred
    return np.where(ridge & (blurred > SUPPRESSION_LEVEL), np.uint8(255), np.uint8(0))


def _maps(
    image: Tensor,
    engine: str,
    safe: bool,
    resolution: int,
    progress: Progress | None,
    networks: Any,
) -> Tensor:
    """(B,H,W,C) → (B,1,h,w) in [0,1]."""
    if engine == "dog":
        drawn = each_frame(image, _gradients, resolution=resolution, progress=progress)
        return _stepped(drawn[..., :1].movedim(3, 1), safe)
    detector = DETECTORS[engine]

    def forward(net: Module, frames: Tensor) -> Tensor:
        return _stepped(torch.sigmoid(detector.logits(net, frames)), safe)

    made = through(
        image,
        networks,
        detector.weights,
        forward,
        multiple=detector.multiple,
        resolution=resolution,
        progress=progress,
    )
    assert isinstance(made, Tensor)
    return made


def _stepped(maps: Tensor, safe: bool) -> Tensor:
    """In three levels where `safe`: the references' safe_step of two steps, without its overflow at
    exactly 1.
    """
    return ((maps * 3).floor() / 2).clamp(max=1) if safe else maps


def _gradients(frame: Frame8) -> FloatFrame:
    """Derivatives of Gaussians: how steep the picture is at three scales together, from 0 towards
    1.
    """
    picture = np.divide(frame, np.float32(255), dtype=np.float32)
    fine, middle, coarse = (_steepness(picture, sigma) for sigma in DOG_SIGMAS_PX)
    return 1 - np.exp(np.multiply(fine + middle + coarse, -DOG_GAIN, dtype=np.float32))


def _steepness(picture: FloatFrame, sigma: float) -> FloatFrame:
    """(H,W,3) in [0,1] → (H,W): the gradient of the steepest channel after a blur of `sigma` px,
    times `sigma`.
    """
    cv2 = opencv()
    blurred = cv2.GaussianBlur(picture, (0, 0), sigma)
    across, down = (
        cv2.Sobel(blurred, cv2.CV_32F, *axes, scale=sigma / 8) for axes in ((1, 0), (0, 1))
    )
    return np.sqrt((across * across + down * down).reshape(picture.shape).max(axis=2))
