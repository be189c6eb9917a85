"""TEED, a tiny and efficient edge detector of 58 thousand parameters.

Paper: X. Soria et al., "Tiny and Efficient Model for the Edge Detection Generalization", ICCV
workshops 2023; the activation is from X. Wang et al., "Smish", Electronics 11(4), 2022. Upstream:
`TED` of xavysp/TEED (MIT), whose keys and layout these are. Weights: OzzyGT/teed (MIT). Input: RGB
in 0..255.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 4
"""Input sides must be divisible by this: two halvings, undone by transposed convolutions."""
_UPSAMPLING = {1: (2, 0), 2: (4, 1)}
"""Number of doublings → (kernel, padding) of each transposed convolution."""


def smish(x: Tensor) -> Tensor:
    """Return x·tanh(ln(1 + sigmoid(x))), elementwise."""
    return x * torch.tanh(torch.log1p(torch.sigmoid(x)))


class Smish(nn.Module):
    """`smish` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x to a tensor of the same shape."""
        return smish(x)


class DoubleConv(nn.Module):
    """Two 3x3 convolutions; `last_active` puts an activation behind the second one too."""

    def __init__(
        self, channels_in: int, channels: int, stride: int = 1, *, last_active: bool = True
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, stride=stride)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.last_active = last_active

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,channels_in,H,W) to (B,channels,H/stride,W/stride)."""
        x = self.conv2(smish(self.conv1(x)))
        return smish(x) if self.last_active else x


class Pointwise(nn.Module):
    """A 1x1 convolution."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,channels_in,H,W) to (B,channels,H/stride,W/stride)."""
        return self.conv(x)


class DenseLayer(nn.Module):
    """Two convolutions, averaged with a projection of their input."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=2)
        self.conv2 = nn.Conv2d(channels, channels, 3)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """Map (B,channels_in,H,W) and (B,channels,H,W) to (B,channels,H,W)."""
        return 0.5 * (self.conv2(smish(self.conv1(smish(x)))) + shortcut)


class Dense(nn.Module):
    """A block of one dense layer."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.denselayer1 = DenseLayer(channels_in, channels)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """Map (B,channels_in,H,W) and (B,channels,H,W) to (B,channels,H,W)."""
        return self.denselayer1(x, shortcut)


class Upsampling(nn.Module):
    """Reduces features to one channel and doubles their size `doublings` times."""

    def __init__(self, channels_in: int, doublings: int) -> None:
        super().__init__()
        kernel, padding = _UPSAMPLING[doublings]
        layers = list[nn.Module]()
        for remaining in range(doublings, 0, -1):
            channels = 16 if remaining > 1 else 1
            layers += [nn.Conv2d(channels_in, channels, 1), Smish()]
            layers += [nn.ConvTranspose2d(channels, channels, kernel, stride=2, padding=padding)]
            channels_in = channels
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,channels_in,H,W) to (B,1,H·2ⁿ,W·2ⁿ)."""
        return self.features(x)


class DoubleFusion(nn.Module):
    """Fuses the three scales' maps by depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.DWconv1 = nn.Conv2d(3, 24, 3, padding=1, groups=3)
        self.DWconv2 = nn.Conv2d(24, 24, 3, padding=1, groups=24)

    def forward(self, sides: Tensor) -> Tensor:
        """Map (B,3,H,W) to (B,1,H,W)."""
        first = self.DWconv1(smish(sides))
        return smish((self.DWconv2(smish(first)) + first).sum(1, keepdim=True))


class TEED(nn.Module):
    """(B,3,H,W) RGB in 0..255 → logits (B,1,H,W) of three edge maps and of the fused one."""

    def __init__(self) -> None:
        super().__init__()
        self.block_1 = DoubleConv(3, 16, stride=2)
        self.block_2 = DoubleConv(16, 32, last_active=False)
        self.dblock_3 = Dense(32, 48)
        self.side_1 = Pointwise(16, 32, stride=2)
        self.pre_dense_3 = Pointwise(32, 48, stride=1)
        self.up_block_1, self.up_block_2, self.up_block_3 = (
            Upsampling(16, 1),
            Upsampling(32, 1),
            Upsampling(48, 2),
        )
        self.block_cat = DoubleFusion()

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Map (B,3,H,W) to four maps (B,1,H,W), the fused one last."""
        first = self.block_1(picture)
        second = self.block_2(first)
        below = F.max_pool2d(second, 3, stride=2, padding=1)
        third = self.dblock_3(below + self.side_1(first), self.pre_dense_3(below))
        sides = [self.up_block_1(first), self.up_block_2(second), self.up_block_3(third)]
        return [*sides, self.block_cat(torch.cat(sides, dim=1))]
