"""Depth: how near each pixel is. White is near, and everything is float from the network to the
hint.
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

from .images import size_of, through, to_hint
from .nets import depth_anything, dpt_hybrid
from .spec import Networks, Progress, Weights

NORMALIZATIONS = ("frame", "clip", "percentile")
PERCENTILES = (2.0, 98.0)
"""Of a whole clip: what becomes black and what becomes white."""
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Estimator:
    """A network that tells depth: what it wants to see, and how large."""

    weights: Weights
    multiple: int
    most_px: int
    """The short side beyond which it sees less than the picture: it was trained near this size."""
    seen: Callable[[Tensor], Tensor]
    """From RGB in [0,1]."""


def imagenet(frames: Tensor) -> Tensor:
    """(b,3,h,w) RGB in [0,1] → mean 0 and deviation 1, as over ImageNet."""
    mean, deviation = (
        frames.new_tensor(three).view(3, 1, 1) for three in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return (frames - mean) / deviation


def _to_both_sides_of_zero(frames: Tensor) -> Tensor:
    return frames * 2 - 1


def _depth_anything(
    size: str, sizes: depth_anything.Sizes, sha256: str = "", size_bytes: int = 0
) -> Estimator:
    small = size == "Small"
    letter = size[0].lower()
    weights = Weights(
        file=f"depth_anything_v2_vit{letter}.safetensors",
        repo=f"depth-anything/Depth-Anything-V2-{size}-hf",
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
    return Estimator(weights, depth_anything.MULTIPLE, 518, imagenet)


ESTIMATORS = {
    "depth_anything_v2_small": _depth_anything(
        "Small",
        depth_anything.SMALL,
        "3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70",
        99_173_660,
    ),
    "depth_anything_v2_base": _depth_anything("Base", depth_anything.BASE),
    "depth_anything_v2_large": _depth_anything("Large", depth_anything.LARGE),
    "midas": Estimator(
        Weights(
            file="dpt_hybrid-midas-501f0c75.pt",
            repo="lllyasviel/Annotators",
            module=dpt_hybrid.DPTHybrid,
            licence="MIT (of MiDaS; the repository itself names none)",
            sha256="501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853",
            half=False,
            renamed=dpt_hybrid.renamed,
        ),
        dpt_hybrid.MULTIPLE,
        512,  # trained at 384; beyond 512 it loses the whole for the details
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
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> tuple[Tensor, Tensor]:
    """(B,H,W,C) in [0,1] → hints (B,h,w,3) in [0,1], near is white, and the depth (B,h,w,3) that
    they were made of.

    That depth is relative and inverse: larger is nearer, its unit and origin are the engine's own.
    Engine "image" takes the picture for such a depth (its first channel). `normalization` is as
    `normalized` says. Raises ValueError as `through`, and for an engine or normalization that does
    not exist.
    """
    size = size_of(image, resolution)
    if engine == "image":
        found = frame_by_frame(image, lambda frame: given(frame, size), progress)
    elif engine in ESTIMATORS:
        found = resampled(
            estimated(ESTIMATORS[engine], image, networks, resolution, progress), size
        )
    else:
        raise ValueError(f"there is no depth engine {engine!r}: choose one of {', '.join(ENGINES)}")
    return to_hint(normalized(found, normalization)), to_hint(found)


def estimated(
    estimator: Estimator,
    image: Tensor,
    networks: Networks | None,
    resolution: int,
    progress: Progress | None,
) -> Tensor:
    """(B,H,W,C) in [0,1] → inverse depth (B,1,h,w), unbounded, in the size that the network saw."""

    def forward(net: Module, frames: Tensor) -> Tensor:
        return net(estimator.seen(frames))

    if min(size_of(image, resolution)) > estimator.most_px:
        resolution = estimator.most_px
    made = through(
        image,
        networks,
        estimator.weights,
        forward,
        multiple=estimator.multiple,
        resolution=resolution,
        progress=progress,
    )
    assert isinstance(made, Tensor)
    return made


def normalized(found: Tensor, normalization: str) -> Tensor:
    """(B,1,h,w), near is large → [0,1], near is 1. What has one depth throughout becomes 0.

    "frame" spreads each frame from its farthest to its nearest pixel, as the references do; "clip"
    does so for all frames alike, so that what stays still keeps its brightness; "percentile" as
    "clip", from the 2nd to the 98th percentile, so that a few stray pixels do not take the range.
    """
    if normalization == "frame":
        low, high = found.amin((1, 2, 3), keepdim=True), found.amax((1, 2, 3), keepdim=True)
    elif normalization == "clip":
        low, high = found.amin(), found.amax()
    elif normalization == "percentile":
        low, high = (
            found.new_tensor(float(edge))
            for edge in np.percentile(found.cpu().numpy(), PERCENTILES)
        )
    else:
        raise ValueError(
            f"there is no normalization {normalization!r}: choose one of"
            f" {', '.join(NORMALIZATIONS)}"
        )
    span = high - low
    return ((found - low) / span.where(span > 0, 1)).clamp(0, 1) * (span > 0)


def given(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """A depth that came as picture, (B,H,W,C) in any range → (B,1,h,w) on the CPU.

    Its first channel counts; what is not finite becomes the farthest, what is transparent 1. Raises
    ValueError where it is no picture.
    """
    size_of(depth, 0)
    depth = depth.detach().to("cpu", torch.float32).movedim(3, 1)
    found = depth[:, :1]
    known = found.isfinite()
    if not known.all():
        least = found.where(known, float("inf")).amin((1, 2, 3), keepdim=True)
        found = found.where(known, least.where(least.isfinite(), 0))
    if depth.shape[1] == 4:
        found = found * depth[:, 3:] + (1 - depth[:, 3:])
    return resampled(found, size)


def frame_by_frame(
    frames: Tensor, work: Callable[[Tensor], Tensor], progress: Progress | None
) -> Tensor:
    """`work` on one frame (1,...) after the other, put together; `progress` is told of each and may
    end it.
    """
    done: list[Tensor] = []
    for index in range(len(frames)):
        if progress:
            progress(index, len(frames))
        done.append(work(frames[index : index + 1]))
    if progress:
        progress(len(frames), len(frames))
    return torch.cat(done)


def resampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(B,C,H,W) → (B,C,h,w): cubic when it grows, but within each frame's range; area when it
    shrinks.
    """
    if maps.shape[-2:] == size:
        return maps
    if size[0] * size[1] < maps.shape[-2] * maps.shape[-1]:
        return F.interpolate(maps, size, mode="area")
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return F.interpolate(maps, size, mode="bicubic").clamp(low, high)
