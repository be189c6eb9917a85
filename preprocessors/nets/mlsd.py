"""M-LSD large: line segments as centre points and the offsets from each centre to its two ends.

Paper: G. Gu et al., "Towards Light-weight and Real-time Line Segment Detection", AAAI 2022.
Upstream: navervision/mlsd (Apache-2.0). Keys are those of `MobileV2_MLSD_Large`, the PyTorch port
behind `mlsd_large_512_fp32.pth`. The port convolves before it enlarges and enlarges with aligned
corners; the paper's own graph does the opposite. The published file is the port's. Input: RGB in
[-1,1] and a constant fourth channel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 16
"""Input sides must be divisible by this."""
_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
"""MobileNetV2's stages: expansion, channels, repeats, stride of the first block."""
_TAPS = (1, 3, 6, 10, 13)
"""The last block of each stage: the decoder reads its output."""


class MLSD(nn.Module):
    """(B,4,H,W), RGB and a constant channel in [-1,1] → (B,9,H/2,W/2).

    Channels: the centre's logit, (dx,dy) to the start and to the end, and four for training only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _Backbone()
        self.block15, self.block16 = _Join(64, 96, enlarges=False), _Refine()
        self.block17, self.block18 = _Join(32, 64), _Refine()
        self.block19, self.block20 = _Join(24, 64), _Refine()
        self.block21, self.block22 = _Join(16, 64), _Refine()
        self.block23 = _Head()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,4,H,W) to (B,9,H/2,W/2)."""
        half, quarter, eighth, sixteenth, deepest = self.backbone(x)
        x = self.block16(self.block15(sixteenth, deepest))
        x = self.block18(self.block17(eighth, x))
        x = self.block20(self.block19(quarter, x))
        x = self.block22(self.block21(half, x))
        return self.block23(x)[:, 7:]


class _Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(4, 32, stride=2)]
        channels = 32
        for expansion, wider, repeats, stride in _BLOCKS:
            for index in range(repeats):
                layers.append(_Bottleneck(channels, wider, 1 if index else stride, expansion))
                channels = wider
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        taps: list[Tensor] = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _TAPS:
                taps.append(x)
        return taps


class _Bottleneck(nn.Module):
    """MobileNetV2's inverted residual: expand, convolve each channel, project."""

    def __init__(self, channels: int, wider: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        expand = [_convolution(channels, hidden, kernel=1)] if expansion != 1 else []
        project = nn.Conv2d(hidden, wider, 1, bias=False)
        self.conv = nn.Sequential(
            *expand,
            _convolution(hidden, hidden, stride, groups=hidden),
            project,
            nn.BatchNorm2d(wider),
        )
        self.adds = stride == 1 and channels == wider

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class _Strided(nn.Conv2d):
    """A convolution of stride 2 as TensorFlow pads it: one row below, one column to the right."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, (0, 1, 0, 1)))


def _convolution(
    channels_in: int, channels_out: int, stride: int = 1, *, kernel: int = 3, groups: int = 1
) -> nn.Sequential:
    if stride == 2:
        layer = _Strided(channels_in, channels_out, kernel, 2, groups=groups, bias=False)
    else:
        layer = nn.Conv2d(
            channels_in, channels_out, kernel, 1, kernel // 2, groups=groups, bias=False
        )
    return nn.Sequential(layer, nn.BatchNorm2d(channels_out), nn.ReLU6(inplace=True))


class _Join(nn.Module):
    """Concatenates the decoder's features with the backbone's of the next size."""

    def __init__(self, features: int, below: int, *, enlarges: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(below, 64, 1), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(
            nn.Conv2d(features, 64, 1), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        )
        self.enlarges = enlarges

    def forward(self, features: Tensor, below: Tensor) -> Tensor:
        below = self.conv1(below)
        if self.enlarges:
            below = F.interpolate(below, scale_factor=2.0, mode="bilinear", align_corners=True)
        return torch.cat((self.conv2(features), below), dim=1)


class _Refine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU()
        )
        self.conv2 = nn.Sequential(nn.Conv2d(128, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x) + x)


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=5, dilation=5), nn.BatchNorm2d(64), nn.ReLU()
        )
        self.conv2 = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU())
        self.conv3 = nn.Conv2d(64, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x)))
