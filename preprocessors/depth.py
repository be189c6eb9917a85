"""Estimate depth: how near each pixel is. White is near.

Everything is float from the network to the hint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from .images import FloatFrame, each_index, only, run_network, size_of
from .nets import depth_anything, dpt_hybrid, imagenet
from .spec import (
    ANNOTATORS,
    ANNOTATORS_COMMIT,
    Networks,
    Param,
    Port,
    Preprocessor,
    Progress,
    Weights,
    refuse_unknown,
)

NORMALIZATIONS = ("frame", "clip", "percentile")
IMAGE_MODES = ("stretched", "unchanged", "inverted", "inverted_stretched")
"""Of engine "image": whether white is far, and whether values are kept or normalised."""
PERCENTILES = (2.0, 98.0)
"""Of a whole clip: what becomes black and what becomes white."""


@dataclass(frozen=True)
class Estimator:
    """Describe a network that estimates depth: its input and its size."""

    weights: Weights
    multiple: int
    most_px: int
    """The longest short side that it reads: it was trained near this size."""
    prepared: Callable[[Tensor], Tensor]
    """From RGB in [0,1]."""


def _to_both_sides_of_zero(frames: Tensor) -> Tensor:
    """Scale [0,1] to [-1,1]."""
    return frames * 2 - 1


def _depth_anything(
    size: str,
    sizes: depth_anything.Sizes,
    revision: str = "main",
    sha256: str = "",
    size_bytes: int = 0,
) -> Estimator:
    """Describe Depth Anything V2 in one of its sizes."""
    small = size == "Small"
    letter = size[0].lower()
    weights = Weights(
        file=f"depth_anything_v2_vit{letter}.safetensors",
        repo=f"depth-anything/Depth-Anything-V2-{size}-hf",
        revision=revision,
        remote="model.safetensors",
        also=(f"depth_anything_v2_vit{letter}.pth",),
        module=partial(depth_anything.DepthAnythingV2, sizes),
        licence="Apache-2.0" if small else "CC-BY-NC-4.0: not for commercial use",
        restricted=not small,
        sha256=sha256,
        size_bytes=size_bytes,
        half=False,  # half precision has 11 bits, bfloat16 8: a depth map of 16 bits needs more
        renamed=depth_anything.renamed,
    )
    return Estimator(weights, depth_anything.MULTIPLE, 518, imagenet.standardized)


ESTIMATORS = {
    "depth_anything_v2_small": _depth_anything(
        "Small",
        depth_anything.SMALL,
        "5426e4f0f36572d16453bbda7a8389317b1bef99",
        "3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70",
        99_173_660,
    ),
    "depth_anything_v2_base": _depth_anything("Base", depth_anything.BASE),
    "depth_anything_v2_large": _depth_anything(
        "Large",
        depth_anything.LARGE,
        "7581137eff8d4e94f6e796d3baea0e9fa79b22d2",
        "4e01e34ed5549b529b70b92d53226bc370f03041977b390d3dde45d47f516cf9",
        1_341_322_868,
    ),
    "midas": Estimator(
        Weights(
            file="dpt_hybrid-midas-501f0c75.pt",
            repo=ANNOTATORS,
            revision=ANNOTATORS_COMMIT,
            module=dpt_hybrid.DPTHybrid,
            licence="MIT (of MiDaS; the repository itself names none)",
            sha256="501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853",
            half=False,
            renamed=dpt_hybrid.renamed,
        ),
        dpt_hybrid.MULTIPLE,
        512,  # trained at 384; beyond 512 it follows details and misses the scene
        _to_both_sides_of_zero,
    ),
}
ENGINES = (*ESTIMATORS, "image")
WEIGHTS = {engine: estimator.weights for engine, estimator in ESTIMATORS.items()}


def depth(
    image: Tensor,
    *,
    engine: str = "depth_anything_v2_small",
    normalization: str = "frame",
    image_mode: str = "stretched",
    remove_near: float = 0.0,
    remove_background: float = 0.0,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> tuple[Tensor, Tensor]:
    """Estimate depth of (B,H,W,C) in [0,1]: hints (B,h,w,3) in [0,1] and the depth (B,h,w,3).

    In hints near is white. The depth is relative and inverse: larger is nearer, its unit and origin
    are the engine's own; its three channels share their memory. Engine "image" takes the picture
    itself as such a depth (its first channel); with an inverted `image_mode` white is far in it,
    and unless the mode is a stretched one, its values in [0,1] are kept. `normalization` is that of
    `normalized`. `remove_near` and `remove_background` are percentages of the range, nearest and
    farthest, that become white and black, as LeReS's tools do. Raises ValueError as `run_network`
    does, and for a name that does not exist.
    """
    inverse = inverse_of(
        image,
        engine=engine,
        image_mode=image_mode,
        resolution=resolution,
        progress=progress,
        networks=networks,
    )
    edges = (
        (inverse.new_zeros(()), inverse.new_ones(()))
        if keeps_values(engine, image_mode)
        else limits(inverse, normalization)
    )
    hint = drawn(inverse, edges, 1 - remove_near / 100, remove_background / 100, progress)
    return hint, inverse.movedim(1, 3).expand(-1, -1, -1, 3)


def keeps_values(engine: str, image_mode: str) -> bool:
    """Tell whether a picture's own values are the hint's, whatever the normalization."""
    return engine == "image" and not image_mode.endswith("stretched")


def inverse_of(
    image: Tensor,
    *,
    engine: str,
    image_mode: str,
    resolution: int,
    progress: Progress | None,
    networks: Networks | None,
) -> Tensor:
    """Estimate the depth (B,1,h,w) of `depth` before it is normalised; errors are those of it."""
    size = size_of(image, resolution)
    refuse_unknown("depth engine", engine, ENGINES)
    refuse_unknown("image mode", image_mode, IMAGE_MODES)
    if engine == "image":
        is_far_white = image_mode.startswith("inverted")
        return frame_by_frame(
            image, lambda frame: given(frame, size, is_far_white=is_far_white), progress=progress
        )
    inverse = estimated(
        ESTIMATORS[engine], image, resolution=resolution, progress=progress, networks=networks
    )
    return resampled(inverse, size)


def drawn(
    inverse: Tensor,
    edges: tuple[Tensor, Tensor],
    near: float,
    far: float,
    progress: Progress | None = None,
) -> Tensor:
    """Draw a depth (B,1,h,w) as hints (B,h,w,3): the first of `edges` is black, the second white.

    What then is at least `near` becomes 1, at most `far` 0.
    """
    low, high = (edge.expand(len(inverse), 1, 1, 1) for edge in edges)

    def draw(index: int) -> FloatFrame:
        at = slice(index, index + 1)
        levels = between(inverse[at], low[at], high[at])[0, 0]
        return levels.masked_fill_(levels >= near, 1).masked_fill_(levels <= far, 0).numpy()

    return each_index(draw, len(inverse), inverse.shape[-2:], progress)


def estimated(
    estimator: Estimator,
    image: Tensor,
    *,
    resolution: int,
    progress: Progress | None,
    networks: Networks | None,
) -> Tensor:
    """Estimate inverse depth (B,1,h,w), unbounded, at the size that the network reads."""

    def forward(net: Module, frames: Tensor) -> Tensor:
        return net(estimator.prepared(frames))

    if min(size_of(image, resolution)) > estimator.most_px:
        resolution = estimator.most_px
    inverse = run_network(
        image,
        networks,
        estimator.weights,
        forward,
        multiple=estimator.multiple,
        resolution=resolution,
        progress=progress,
    )
    return only(inverse)


def normalized(inverse: Tensor, normalization: str) -> Tensor:
    """Scale a depth (B,1,h,w), near is large, to [0,1], near is 1; a constant depth becomes 0.

    "frame" spreads each frame from its farthest to its nearest pixel, as the references do; "clip"
    does so for all frames together, so that what stays still keeps its brightness; "percentile"
    does as "clip", from the 2nd to the 98th percentile, so that a few outliers do not take the
    range.
    """
    return between(inverse, *limits(inverse, normalization))


def limits(inverse: Tensor, normalization: str) -> tuple[Tensor, Tensor]:
    """Return the depths of (B,1,h,w) that become 0 and 1: of each frame (B,1,1,1), or of all."""
    refuse_unknown("normalization", normalization, NORMALIZATIONS)
    if normalization == "frame":
        return inverse.amin((1, 2, 3), keepdim=True), inverse.amax((1, 2, 3), keepdim=True)
    if normalization == "clip":
        return inverse.amin(), inverse.amax()
    edges = np.percentile(inverse.cpu().numpy(), PERCENTILES)
    return inverse.new_tensor(float(edges[0])), inverse.new_tensor(float(edges[1]))


def between(inverse: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Scale a depth so that `low` becomes 0 and `high` 1, and clamp; 0 where they are equal."""
    span = high - low
    return ((inverse - low) / span.where(span > 0, 1)).clamp(0, 1) * (span > 0)


def given(depth: Tensor, size: tuple[int, int], *, is_far_white: bool = False) -> Tensor:
    """Read a depth that came as a picture: (B,H,W,C) in any range → (B,1,h,w) on the CPU.

    Its first channel counts, or, if `is_far_white`, 1 minus it. Values that are not finite become
    the farthest, transparent ones white. Raises ValueError for a tensor that is not a picture.
    """
    size_of(depth, 0)
    depth = depth.detach().to("cpu", torch.float32).movedim(3, 1)
    inverse = 1 - depth[:, :1] if is_far_white else depth[:, :1]
    finite = inverse.isfinite()
    if not finite.all():
        least = inverse.where(finite, float("inf")).amin((1, 2, 3), keepdim=True)
        inverse = inverse.where(finite, least.where(least.isfinite(), 0))
    if depth.shape[1] == 4:
        white = 0.0 if is_far_white else 1.0
        inverse = inverse * depth[:, 3:] + white * (1 - depth[:, 3:])
    return resampled(inverse, size)


def frame_by_frame(
    frames: Tensor, work: Callable[[Tensor], Tensor], *, progress: Progress | None
) -> Tensor:
    """Call `work` on one frame (1,...) after the other and join the results.

    `progress` is called before each and may end it.
    """
    joined = torch.empty(0)
    for index in range(len(frames)):
        if progress:
            progress(index, len(frames))
        frame = work(frames[index : index + 1])
        if index == 0:
            joined = frame.new_empty((len(frames), *frame.shape[1:]))
        joined[index] = frame[0]
    if progress:
        progress(len(frames), len(frames))
    return joined


def resampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B,C,H,W) to (B,C,h,w): area to shrink, cubic to enlarge.

    Cubic values are clamped to each frame's range.
    """
    if maps.shape[-2:] == size:
        return maps
    if size[0] * size[1] < maps.shape[-2] * maps.shape[-1]:
        return F.interpolate(maps, size, mode="area")
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return F.interpolate(maps, size, mode="bicubic").clamp(low, high)


ROWS = (
    Preprocessor(
        key="depth",
        node_id="ControlStackDepth",
        title="Depth",
        summary=(
            "How near each pixel is, near is white, for depth ControlNets. Float throughout:"
            " precise enough for 16 bits."
        ),
        run=depth,
        params=(
            Param(
                "engine",
                "depth_anything_v2_small",
                "depth_anything_v2: sharp and steady; small is free, base and large are not for"
                " commercial use. midas: what the depth ControlNets of 1.0 and 1.1 were trained"
                " with. image: the picture is a depth map already (see image_mode).",
                choices=ENGINES,
            ),
            Param(
                "normalization",
                "frame",
                "frame: each frame from its farthest to its nearest pixel. clip: all frames"
                " together, so that a video does not flicker. percentile: as clip, from the 2nd to"
                " the 98th percentile.",
                choices=NORMALIZATIONS,
            ),
            Param(
                "image_mode",
                "stretched",
                "Engine image: what the picture holds. stretched: near is white, and normalization"
                " spreads its values. unchanged: near is white, and its values stay. inverted,"
                " inverted_stretched: the same for maps in which far is white, as of Blender.",
                choices=IMAGE_MODES,
                is_appended=True,
            ),
            Param(
                "remove_near",
                0.0,
                "Percentage of the range, the nearest, that becomes white throughout. 0 = off.",
                0,
                100,
                0.1,
                is_appended=True,
            ),
            Param(
                "remove_background",
                0.0,
                "Percentage of the range, the farthest, that becomes black throughout. 0 = off.",
                0,
                100,
                0.1,
                is_appended=True,
            ),
        ),
        conditions=("depth",),
        aliases=("depth", "midas", "zoe", "depth anything", "dpt", "depth map"),
        weights=WEIGHTS,
        outputs=(
            Port(
                "depth",
                "IMAGE",
                "The depth before it was normalised: larger is nearer, in the engine's own unit, in"
                " all three channels. For Normal Map and for further work; as a picture it may"
                " look all white.",
            ),
        ),
    ),
)
