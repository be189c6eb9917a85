"""HED, holistically-nested edge detection, as ControlNet retrained it.

Paper: S. Xie, Z. Tu, "Holistically-Nested Edge Detection", ICCV 2015. Upstream:
`ControlNetHED_Apache2` of lllyasviel/ControlNet (Apache-2.0), whose keys and layout these are.
Weights: lllyasviel/Annotators. Input: RGB in 0..255.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))
"""(channels in, channels out, convolutions) of each block: VGG16 without its head."""
MULTIPLE = 16
"""Input sides must be divisible by this: four halvings."""


class Block(nn.Module):
    """Convolutions of one scale, and their projection to an edge map."""

    def __init__(self, channels_in: int, channels: int, count: int) -> None:
        super().__init__()
        widths = [channels_in, *[channels] * count]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.projection = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B,channels_in,H,W) to features (B,channels,H,W) and logits (B,1,H,W)."""
        for conv in self.convs:
            features = F.relu_(conv(features))
        return features, self.projection(features)


class HED(nn.Module):
    """(B,3,H,W) RGB in 0..255 → logits of five edge maps (B,1,H/2ⁿ,W/2ⁿ), from fine to coarse."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.block1, self.block2, self.block3, self.block4, self.block5 = (
            Block(*widths) for widths in WIDTHS
        )

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Map (B,3,H,W) to five maps (B,1,H/2ⁿ,W/2ⁿ), n from 0 to 4."""
        features, sides = picture - self.norm, list[Tensor]()
        for block in (self.block1, self.block2, self.block3, self.block4, self.block5):
            features, side = block(F.max_pool2d(features, 2) if sides else features)
            sides.append(side)
        return sides
