"""The line drawing generator: a small encoder and decoder around three residual blocks.

Paper: C. Chan, F. Durand, P. Isola, "Learning to Generate Line Drawings that Convey Geometry and
Semantics", CVPR 2022. Upstream: carolineec/informative-drawings (MIT). Keys are those of its
`Generator(3, 1, 3)` in `sk_model.pth` (realistic) and `sk_model2.pth` (coarse); the instance norms
have no weights, so the files hold convolutions only. Input: RGB in [0,1].
"""

from __future__ import annotations

from torch import Tensor, nn

MULTIPLE = 8
"""Input sides must be divisible by this.

That is twice the product of its strides, because reflection padding needs two px in the middle.
"""


class LineartGenerator(nn.Module):
    """(B,3,H,W) RGB in [0,1] → (B,1,H,W) in [0,1]: dark lines on white."""

    def __init__(self) -> None:
        super().__init__()
        self.model0 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, 64, 7), *_normed(64))
        self.model1 = nn.Sequential(*_halved(64), *_halved(128))
        self.model2 = nn.Sequential(*(_Residual(256) for _ in range(3)))
        self.model3 = nn.Sequential(*_doubled(256), *_doubled(128))
        self.model4 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(64, 1, 7), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,3,H,W) to (B,1,H,W)."""
        return self.model4(self.model3(self.model2(self.model1(self.model0(x)))))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        first = nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), *_normed(channels)
        second = (
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )
        self.conv_block = nn.Sequential(*first, *second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def _normed(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(channels), nn.ReLU(inplace=True)


def _halved(channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), *_normed(2 * channels)


def _doubled(channels: int) -> tuple[nn.Module, ...]:
    wide = nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)
    return wide, *_normed(channels // 2)
