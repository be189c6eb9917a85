"""Read what is where in a picture of the world: its classes and its depth.

A judge for pictures that were sampled: those have no maps of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .canvas import CLASSES

WIDTHS = (16, 32, 48, 64, 64)


class Reader(nn.Module):
    """A small U-Net: pictures (B,3,H,W) in [0,1] → class logits (B,K,H,W), depth (B,H,W).

    Height and width are multiples of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        before = (3, *WIDTHS)
        self.down = nn.ModuleList(_layers(a, b) for a, b in zip(before, WIDTHS, strict=False))
        pairs = list(zip(WIDTHS[::-1], WIDTHS[-2::-1], strict=False))
        self.up = nn.ModuleList(_layers(low + high, high) for low, high in pairs)
        self.head = nn.Conv2d(WIDTHS[0], len(CLASSES) + 1, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        h, skips = pictures, []
        for level, layers in enumerate(self.down):
            h = layers(nn.functional.avg_pool2d(h, 2) if level else h)
            skips.append(h)
        skips.pop()
        for layers in self.up:
            skip = skips.pop()
            h = layers(torch.cat([nn.functional.interpolate(h, scale_factor=2.0), skip], 1))
        output = self.head(h)
        return output[:, :-1], output[:, -1].sigmoid()


def _layers(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, padding=1),
        nn.GroupNorm(8, width_out),
        nn.SiLU(),
        nn.Conv2d(width_out, width_out, 3, padding=1),
        nn.SiLU(),
    )
