"""Provide photographs for tests, and turn 8-bit frames into pictures and back."""

from __future__ import annotations

import numpy as np
import torch
from skimage import data

PHOTOGRAPHS = {"astronaut": data.astronaut(), "chelsea": data.chelsea(), "coffee": data.coffee()}


def tensor(*frames: np.ndarray) -> torch.Tensor:
    """Convert 8-bit frames (H,W,C) to (B,H,W,C) in [0,1]."""
    return torch.from_numpy(np.stack(frames).astype(np.float32) / 255)


def levels(hint: torch.Tensor) -> np.ndarray:
    """Return the first hint as (H,W) in 0..255, float; its channels must be equal."""
    first = hint[0].numpy() * 255
    assert (first == first[..., :1]).all()
    return first[..., 0]
