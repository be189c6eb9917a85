"""Standardize pictures by the mean and deviation of ImageNet, as many networks expect."""

from __future__ import annotations

from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def standardized(frames: Tensor) -> Tensor:
    """Shift and scale RGB frames (b,3,h,w) in [0,1] to mean 0 and deviation 1 over ImageNet."""
    mean, std = (frames.new_tensor(channels)[:, None, None] for channels in (MEAN, STD))
    return (frames - mean) / std
