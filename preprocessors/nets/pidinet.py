"""PiDiNet, pixel difference networks for edge detection: the `carv4` configuration of 60 channels.

Paper: Z. Su et al., "Pixel Difference Networks for Efficient Edge Detection", ICCV 2021. Upstream:
`pidinet` of hellozhuo/pidinet, whose keys and layout these are; its licence asks to contact the
authors for commercial use. Weights: `table5_pidinet.pth` of lllyasviel/Annotators. Input: BGR in
[0,1].
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 8
"""Input sides must be divisible by this: three halvings."""
CHANNELS, DILATED_CHANNELS = 60, 24
_CLOCKWISE = (3, 0, 1, 6, 4, 2, 7, 8, 5)
"""For each weight of a 3x3 kernel in rows: the neighbour that it is the difference to."""
_OUTER, _INNER = (0, 2, 4, 10, 14, 20, 22, 24), (6, 7, 8, 11, 13, 16, 17, 18)
"""In a 5x5 kernel in rows: the outer end of each ray, and the pixel half way to it."""


def plain(kernel: Tensor) -> Tensor:
    """Return (O,I,3,3) as it is: a convolution of pixels, not of differences."""
    return kernel


def central(kernel: Tensor) -> Tensor:
    """Turn (O,I,3,3) on differences to the centre pixel into the plain kernel of the same sums."""
    centre = torch.zeros_like(kernel)
    centre[..., 1, 1] = kernel.sum((2, 3))
    return kernel - centre


def angular(kernel: Tensor) -> Tensor:
    """Turn (O,I,3,3) on differences to the next pixel around the centre into the plain kernel."""
    return kernel - kernel.flatten(2)[..., _CLOCKWISE].view_as(kernel)


def radial(kernel: Tensor) -> Tensor:
    """Turn (O,I,3,3) on differences of the outer ring to the inner into a kernel (O,I,5,5)."""
    rays = kernel.new_zeros(*kernel.shape[:2], 25)
    rays[..., _OUTER] = kernel.flatten(2)[..., 1:]
    rays[..., _INNER] = -kernel.flatten(2)[..., 1:]
    return rays.view(*kernel.shape[:2], 5, 5)


Difference = Callable[[Tensor], Tensor]
CARV4: tuple[Difference, ...] = (central, angular, radial, plain) * 4
"""The difference that each of the sixteen convolutions computes."""


class DifferenceConv(nn.Module):
    """A 3x3 convolution of pixel differences, without a bias."""

    def __init__(
        self, difference: Difference, channels_in: int, channels: int, groups: int = 1
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels_in // groups, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.difference, self.groups = difference, groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,channels_in,H,W) to (B,channels,H,W)."""
        kernel = self.difference(self.weight)
        return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=self.groups)


class Block(nn.Module):
    """Depthwise differences and a pointwise convolution beside a shortcut.

    `halves` halves the size first; the shortcut is then a convolution to the new channels.
    """

    def __init__(
        self, difference: Difference, channels_in: int, channels: int, *, halves: bool
    ) -> None:
        super().__init__()
        self.halves = halves
        if halves:
            self.shortcut = nn.Conv2d(channels_in, channels, 1)
        self.conv1 = DifferenceConv(difference, channels_in, channels_in, groups=channels_in)
        self.conv2 = nn.Conv2d(channels_in, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,channels_in,H,W) to (B,channels,H,W), or to half that size."""
        if self.halves:
            x = F.max_pool2d(x, 2)
        mixed = self.conv2(F.relu_(self.conv1(x)))
        return mixed + (self.shortcut(x) if self.halves else x)


class Dilations(nn.Module):
    """Compact dilation module: the sum of four convolutions of growing dilation."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, DILATED_CHANNELS, 1)
        self.conv2_1, self.conv2_2, self.conv2_3, self.conv2_4 = (
            nn.Conv2d(DILATED_CHANNELS, DILATED_CHANNELS, 3, dilation=gap, padding=gap, bias=False)
            for gap in (5, 7, 9, 11)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,channels_in,H,W) to (B,24,H,W)."""
        x = self.conv1(F.relu(x))
        return self.conv2_1(x) + self.conv2_2(x) + self.conv2_3(x) + self.conv2_4(x)


class Attention(nn.Module):
    """Compact spatial attention module: a weight for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(DILATED_CHANNELS, 4, 1)
        self.conv2 = nn.Conv2d(4, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,24,H,W) to (B,24,H,W)."""
        return x * torch.sigmoid(self.conv2(self.conv1(F.relu(x))))


class Reduction(nn.Module):
    """Reduces one scale's features to its edge map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(DILATED_CHANNELS, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,24,H,W) to logits (B,1,H,W)."""
        return self.conv(x)


class PiDiNet(nn.Module):
    """(B,3,H,W) BGR in [0,1] → logits (B,1,H,W) of the edge map, fused from four scales."""

    def __init__(self) -> None:
        super().__init__()
        self.init_block = DifferenceConv(CARV4[0], 3, CHANNELS)
        differences = iter(CARV4[1:])
        widths = (CHANNELS, 2 * CHANNELS, 4 * CHANNELS, 4 * CHANNELS)
        self.names = [
            f"block{scale}_{at}"
            for scale, at in product(range(1, 5), range(1, 5))
            if (scale, at) != (1, 4)
        ]
        channels = CHANNELS
        for name in self.names:
            scale, at = int(name[5]), int(name[7])
            halves = scale > 1 and at == 1
            self.add_module(
                name, Block(next(differences), channels, widths[scale - 1], halves=halves)
            )
            channels = widths[scale - 1]
        self.dilations = nn.ModuleList(Dilations(width) for width in widths)
        self.attentions = nn.ModuleList(Attention() for _ in widths)
        self.conv_reduces = nn.ModuleList(Reduction() for _ in widths)
        self.classifier = nn.Conv2d(4, 1, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Map (B,3,H,W) to (B,1,H,W)."""
        features, scales = self.init_block(picture), dict[str, Tensor]()
        for name in self.names:
            features = scales[name[5]] = self.get_submodule(name)(features)
        stages = zip(
            scales.values(), self.dilations, self.attentions, self.conv_reduces, strict=True
        )
        sides = [reduce(attend(dilate(x))) for x, dilate, attend, reduce in stages]
        size = picture.shape[-2:]
        enlarged = [F.interpolate(side, size, mode="bilinear") for side in sides]
        return self.classifier(torch.cat(enlarged, dim=1))
