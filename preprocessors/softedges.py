"""Find soft edges, how surely each pixel lies on an edge, and draw scribbles from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from .images import (
    FloatFrame,
    Frame8,
    Map,
    each_frame,
    each_map,
    only,
    opencv,
    run_network,
    tensor_of,
    to_hint,
)
from .nets import hed, pidinet, teed
from .scribble import xdog
from .spec import (
    ANNOTATORS,
    ANNOTATORS_COMMIT,
    Networks,
    Param,
    Preprocessor,
    Progress,
    Weights,
    refuse_unknown,
)

HED = Weights(
    file="ControlNetHED.pth",
    repo=ANNOTATORS,
    revision=ANNOTATORS_COMMIT,
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
    repo=ANNOTATORS,
    revision=ANNOTATORS_COMMIT,
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
_DOG_HALO_PX, _STROKES_HALO_PX = 24, 32
"""More than the reach of OpenCV's kernels, four standard deviations of a float blur, one after the
other."""
SUPPRESSION_SIGMA_PX, SUPPRESSION_LEVEL, INK_LEVEL = 3.0, 127, 4
"""Of fake scribbles: the blur before and after thinning, the least level of an edge and of ink."""

_DIRECTIONS: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((0, 0, 0), (1, 1, 1), (0, 0, 0)),
    ((0, 1, 0), (0, 1, 0), (0, 1, 0)),
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
)
"""The four directions in which a pixel is compared with its neighbours."""


@dataclass(frozen=True)
class Detector:
    """Describe an edge network: its input, and how its outputs become one map of logits."""

    weights: Weights
    multiple: int
    logits: Callable[[Module, Tensor], Tensor]
    """`logits(net, frames)`: RGB (b,3,h,w) in [0,1] → (b,1,h,w), float32."""


def _mean_of_sides(net: Module, frames: Tensor) -> Tensor:
    """Resize the side outputs to the size of the picture and average them."""
    size = frames.shape[-2:]
    sides: list[Tensor] = net(frames * 255)
    grown = (
        F.interpolate(side.float(), size, mode="bilinear") if side.shape[-2:] != size else side
        for side in sides
    )
    return torch.stack([side.float() for side in grown]).mean(0)


def _fused_of_bgr(net: Module, frames: Tensor) -> Tensor:
    """Run a network that takes BGR and returns logits."""
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
    """Return the weights of those engines that are networks."""
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
    """Find soft edges: (B,H,W,C) in [0,1] → (B,h,w,3) in [0,1], brighter where an edge is surer.

    Engines "hed", "teed" and "pidinet" are networks (sources in `nets/`); "dog" needs no weights.
    `safe` leaves three levels, 0, ½ and 1, so that a picture cannot be hidden in the map. The
    references truncate maps to 8 bits; here they stay float.
    """
    refuse_unknown("soft edge engine", engine, SOFT_EDGE_ENGINES)
    if engine == "dog":
        return each_frame(
            image,
            partial(_gradients, safe=safe),
            halo_px=_DOG_HALO_PX,
            resolution=resolution,
            progress=progress,
        )
    maps = _maps(
        image,
        engine=engine,
        safe=safe,
        resolution=resolution,
        progress=progress,
        networks=networks,
    )
    return to_hint(maps)


def fake_scribble(
    image: Tensor,
    *,
    engine: str = "hed",
    safe: bool = False,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> Tensor:
    """Turn soft edges into broad white strokes: (B,H,W,C) in [0,1] → (B,h,w,3) in {0,1}.

    Thinned and blurred as ControlNet 1.0's fake scribble, on the 8-bit map as there. Engine "xdog"
    draws its strokes itself and ignores `safe`.
    """
    refuse_unknown("scribble engine", engine, SCRIBBLE_ENGINES)
    if engine == "xdog":
        return xdog(image, resolution=resolution, progress=progress)
    if engine == "dog":
        return each_frame(
            image,
            lambda frame: strokes(_gradients(frame, safe=safe)),
            halo_px=_DOG_HALO_PX + _STROKES_HALO_PX,
            resolution=resolution,
            progress=progress,
        )
    maps = _maps(
        image,
        engine=engine,
        safe=safe,
        resolution=resolution,
        progress=progress,
        networks=networks,
    )
    return each_map(maps, strokes, progress=progress)


def strokes(soft: NDArray[np.float32]) -> Map:
    """Turn a soft map (H,W) in [0,1] into strokes, 0 or 255."""
    cv2 = opencv()
    levels = (soft * np.float32(255)).astype(np.uint8)  # truncated, as the references do
    blurred = cv2.GaussianBlur(thinned(levels), (0, 0), SUPPRESSION_SIGMA_PX)
    return cv2.threshold(blurred, INK_LEVEL, 255, cv2.THRESH_BINARY)[1]


def thinned(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Suppress all but the ridges of the blurred map: (H,W) in 0..255 → 0 or 255.

    A ridge is a local maximum along any of four directions (non-maximum suppression).
    """
    cv2 = opencv()
    blurred = cv2.GaussianBlur(levels.astype(np.float32), (0, 0), SUPPRESSION_SIGMA_PX)
    ridge = np.zeros(levels.shape, bool)
    for line in _DIRECTIONS:
        ridge |= cv2.dilate(blurred, np.array(line, np.uint8)) == blurred
    return np.where(ridge & (blurred > SUPPRESSION_LEVEL), np.uint8(255), np.uint8(0))


def _maps(
    image: Tensor,
    *,
    engine: str,
    safe: bool,
    resolution: int,
    progress: Progress | None,
    networks: Networks | None,
) -> Tensor:
    """Find soft edges: (B,H,W,C) → (B,1,h,w) in [0,1]."""
    detector = DETECTORS[engine]

    def forward(net: Module, frames: Tensor) -> Tensor:
        return _stepped(torch.sigmoid(detector.logits(net, frames)), safe)

    maps = run_network(
        image,
        networks,
        detector.weights,
        forward,
        multiple=detector.multiple,
        resolution=resolution,
        progress=progress,
    )
    return only(maps)


def _stepped(maps: Tensor, safe: bool) -> Tensor:
    """Round down to three levels if `safe`.

    The references' safe_step of two steps, without its overflow at exactly 1.
    """
    return ((maps * 3).floor() / 2).clamp(max=1) if safe else maps


def _gradients(frame: Frame8, *, safe: bool) -> FloatFrame:
    """Measure how steep the picture is at three scales together, from 0 towards 1.

    By derivatives of Gaussians; stepped if `safe`.
    """
    picture = np.divide(frame, np.float32(255), dtype=np.float32)
    fine, middle, coarse = (_steepness(picture, sigma) for sigma in DOG_SIGMAS_PX)
    soft = 1 - np.exp(np.multiply(fine + middle + coarse, -DOG_GAIN, dtype=np.float32))
    return _stepped(tensor_of(soft), safe).numpy()


def _steepness(picture: FloatFrame, sigma: float) -> FloatFrame:
    """Return the gradient (H,W) of the steepest channel of (H,W,3) after a blur of `sigma` px.

    Times `sigma`, so that scales compare.
    """
    cv2 = opencv()
    blurred = cv2.GaussianBlur(picture, (0, 0), sigma)
    across, down = (
        cv2.Sobel(blurred, cv2.CV_32F, *axes, scale=sigma / 8) for axes in ((1, 0), (0, 1))
    )
    return np.sqrt((across * across + down * down).reshape(picture.shape).max(axis=2))


_SAFE = Param("safe", False, "Keep three levels only: a picture cannot be hidden in the map.")

ROWS = (
    Preprocessor(
        key="hed",
        node_id="ControlStackHED",
        title="HED Boundary",
        summary="Soft white edges on black, for hed and softedge ControlNets.",
        run=soft_edge,
        params=(
            Param(
                "engine",
                "hed",
                "hed: the network that the ControlNets were trained with. dog: gradients, needs no"
                " weights.",
                choices=HED_ENGINES,
            ),
            _SAFE,
        ),
        conditions=("softedge",),
        aliases=("hed", "softedge", "soft edge", "boundary"),
        weights=weights_of(HED_ENGINES),
    ),
    Preprocessor(
        key="softedge",
        node_id="ControlStackSoftEdge",
        title="Soft Edge",
        summary="Soft white edges on black, for softedge ControlNets.",
        run=soft_edge,
        params=(
            Param(
                "engine",
                "teed",
                "teed: tiny and free. pidinet: for research only. hed: the original one. dog:"
                " gradients, needs no weights.",
                choices=SOFT_EDGE_ENGINES,
            ),
            _SAFE,
        ),
        conditions=("softedge",),
        is_usual=True,
        aliases=("softedge", "soft edge", "teed", "anyline", "pidinet", "pidi", "hed"),
        weights=weights_of(SOFT_EDGE_ENGINES),
    ),
    Preprocessor(
        key="fake_scribble",
        node_id="ControlStackFakeScribble",
        title="Fake Scribble",
        summary="A photograph as broad white strokes on black, for scribble ControlNets.",
        run=fake_scribble,
        params=(
            Param(
                "engine",
                "hed",
                "How edges are found. hed, teed, pidinet: networks (pidinet for research only)."
                " dog: gradients, xdog: ink strokes; neither needs weights.",
                choices=SCRIBBLE_ENGINES,
            ),
            _SAFE,
        ),
        conditions=("scribble",),
        is_usual=True,
        aliases=("fake scribble", "scribble", "scribble_hed", "scribble_pidinet"),
        weights=weights_of(SCRIBBLE_ENGINES),
    ),
)
