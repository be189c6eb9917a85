"""Anime2Sketch: a U-Net of eight levels from an anime picture to its line drawing.

Paper: X. Xiang et al., "Anime2Sketch: A Sketch Extractor for Anime Arts with Deep Networks", 2021.
Upstream: Mukosame/Anime2Sketch (MIT). Keys are those of its `UnetGenerator(3, 1, 8, 64)` with
instance norms without weights, as in `netG.pth` without the `module.` prefix. Input: RGB in [-1,1].
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

MULTIPLE = 256
"""Input sides must be divisible by this: eight halvings."""
_CHANNELS = (64, 128, 256, 512, 512, 512, 512, 512)
"""Channels of each level, outermost first."""


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the `module.` prefix that training on several devices left in the file's keys."""
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


class Anime2Sketch(nn.Module):
    """(B,3,H,W) RGB in [-1,1] → (B,1,H,W) in [-1,1]: dark lines on white."""

    def __init__(self) -> None:
        super().__init__()
        levels = list(pairwise(_CHANNELS))
        level: nn.Module = _Level(_down(*levels[-1], norm=False), _up(_CHANNELS[-1], levels[-1][0]))
        for outer, inner in reversed(levels[:-1]):
            level = _Level(_down(outer, inner), [level, *_up(2 * inner, outer)])
        grow = nn.ReLU(True), nn.ConvTranspose2d(2 * _CHANNELS[0], 1, 4, 2, 1), nn.Tanh()
        self.model = _Level([_halving(3, _CHANNELS[0])], [level, *grow], skips=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,3,H,W) to (B,1,H,W)."""
        return self.model(x)


class _Level(nn.Module):
    """Down, the level below, up; all but the outermost concatenate their input to their output."""

    def __init__(self, down: list[nn.Module], rest: list[nn.Module], *, skips: bool = True) -> None:
        super().__init__()
        self.model = nn.Sequential(*down, *rest)
        self.skips = skips

    def forward(self, x: Tensor) -> Tensor:
        # The level's first activation works in place, so the skip connection carries the activated
        # x, as in the reference.
        return torch.cat([x, self.model(x)], 1) if self.skips else self.model(x)


def _halving(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)


def _down(channels_in: int, channels_out: int, *, norm: bool = True) -> list[nn.Module]:
    norms = [nn.InstanceNorm2d(channels_out)] if norm else []
    return [nn.LeakyReLU(0.2, True), _halving(channels_in, channels_out), *norms]


def _up(channels_in: int, channels_out: int) -> list[nn.Module]:
    enlarge = nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1)
    return [nn.ReLU(True), enlarge, nn.InstanceNorm2d(channels_out)]
