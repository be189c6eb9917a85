"""Padding as TensorFlow's "SAME", which networks ported from there were trained with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pad_same(frames: Tensor, kernel: int, stride: int, *, value: float = 0.0) -> Tensor:
    """Pad (B,C,H,W) so that a window of `kernel` px gives ceil(side / stride) outputs.

    Where the total is odd, the right and the bottom get one px more.
    """
    sides: list[int] = []
    for side in (frames.shape[-1], frames.shape[-2]):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        sides += [total // 2, total - total // 2]
    return F.pad(frames, sides, value=value) if any(sides) else frames
