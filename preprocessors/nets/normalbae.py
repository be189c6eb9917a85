"""NNET: surface normals of one picture, the network behind the normalbae ControlNets.

Paper: G. Bae, I. Budvytis, R. Cipolla, "Estimating and Exploiting the Aleatoric Uncertainty in
Surface Normal Estimation", ICCV 2021, https://arxiv.org/abs/2109.13881. Its encoder is
EfficientNet-B5 (M. Tan, Q. Le, 2019, https://arxiv.org/abs/1905.11946) with TensorFlow's padding.
Upstream: https://github.com/baegwangbin/surface_normal_uncertainty (MIT). Keys are those of its
`scannet.pt`, trained on ScanNet; the code is ours. Input: RGB with ImageNet's mean and deviation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..spec import StateDict
from .padding import pad_same

MULTIPLE = 32
"""Input sides must be divisible by this."""


class Stage(NamedTuple):
    """One stage of EfficientNet: its blocks of inverted residuals."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


class Sizes(NamedTuple):
    """Dimensions of the network; the defaults are those of `scannet.pt`."""

    stem: int = 48
    stages: tuple[Stage, ...] = (
        Stage(3, 3, 1, 1, 24),
        Stage(5, 3, 2, 6, 40),
        Stage(5, 5, 2, 6, 64),
        Stage(7, 3, 2, 6, 128),
        Stage(7, 5, 1, 6, 176),
        Stage(9, 5, 2, 6, 304),
        Stage(3, 3, 1, 6, 512),
    )
    top: int = 2048
    decoder: tuple[int, int, int, int] = (1024, 512, 256, 128)
    hidden: int = 128


_SKIPS = (4, 2, 1, 0)
"""Stages with a skip connection to the decoder, deepest first: at 1/16, 1/8, 1/4, 1/2 size."""


class NNET(nn.Module):
    """(B,3,H,W) RGB, ImageNet-normalised → (B,4,H,W) float32: unit normals and certainty."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.encoder = _Encoder(sizes)
        self.decoder = _Decoder(sizes)

    def forward(self, frames: Tensor) -> Tensor:
        """Map (B,3,H,W) to (B,4,H,W)."""
        return self.decoder(*self.encoder(frames))


def renamed(state: StateDict) -> StateDict:
    """Drop the `module.` prefix that training on several devices left in the file's keys."""
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


class _Encoder(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.original_model = _EfficientNet(sizes)

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.original_model(frames)


class _EfficientNet(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.conv_stem = _Conv(3, sizes.stem, 3, 2)
        self.bn1 = _norm(sizes.stem)
        stages: list[nn.Module] = []
        channels = sizes.stem
        for stage in sizes.stages:
            stages.append(_stage(channels, stage))
            channels = stage.channels
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _Conv(channels, sizes.top, 1)
        self.bn2 = _norm(sizes.top)  # in the file; the decoder reads its input

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the deepest features, and those of the stages in `_SKIPS`."""
        features: list[Tensor] = []
        x = F.silu(self.bn1(self.conv_stem(frames)), inplace=True)
        for stage in self.blocks:
            x = stage(x)
            features.append(x)
        return self.conv_head(x), [features[index] for index in _SKIPS]


class _Conv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow does."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False
        )

    def forward(self, input: Tensor) -> Tensor:
        if self.stride[0] > 1:
            input = pad_same(input, self.kernel_size[0], self.stride[0])
        return super().forward(input)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _stage(channels_in: int, stage: Stage) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for index in range(stage.blocks):
        stride = stage.stride if index == 0 else 1
        if stage.expansion == 1:
            blocks.append(_Separable(channels_in, stage.channels, stage.kernel))
        else:
            blocks.append(
                _Inverted(channels_in, stage.channels, stage.kernel, stride, stage.expansion)
            )
        channels_in = stage.channels
    return nn.Sequential(*blocks)


class _Separable(nn.Module):
    """A depthwise convolution and a pointwise one."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = _Conv(channels_in, channels_in, kernel, groups=channels_in)
        self.bn1 = _norm(channels_in)
        self.se = _SqueezeExcite(channels_in, channels_in // 4)
        self.conv_pw = _Conv(channels_in, channels_out, 1)
        self.bn2 = _norm(channels_out)
        self.residual = channels_in == channels_out

    def forward(self, frames: Tensor) -> Tensor:
        x = self.se(F.silu(self.bn1(self.conv_dw(frames)), inplace=True))
        x = self.bn2(self.conv_pw(x))
        return x + frames if self.residual else x


class _Inverted(nn.Module):
    """MobileNetV2's inverted residual: widen pointwise, convolve each channel, narrow pointwise."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.conv_pw = _Conv(channels_in, wide, 1)
        self.bn1 = _norm(wide)
        self.conv_dw = _Conv(wide, wide, kernel, stride, groups=wide)
        self.bn2 = _norm(wide)
        self.se = _SqueezeExcite(wide, channels_in // 4)
        self.conv_pwl = _Conv(wide, channels_out, 1)
        self.bn3 = _norm(channels_out)
        self.residual = channels_in == channels_out and stride == 1

    def forward(self, frames: Tensor) -> Tensor:
        x = F.silu(self.bn1(self.conv_pw(frames)), inplace=True)
        x = self.se(F.silu(self.bn2(self.conv_dw(x)), inplace=True))
        x = self.bn3(self.conv_pwl(x))
        return x + frames if self.residual else x


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, narrow, 1)
        self.conv_expand = nn.Conv2d(narrow, channels, 1)

    def forward(self, frames: Tensor) -> Tensor:
        gate = self.conv_reduce(frames.mean((2, 3), keepdim=True))
        return frames * self.conv_expand(F.silu(gate, inplace=True)).sigmoid()


class _Decoder(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        skips = [sizes.stages[index].channels for index in _SKIPS]
        first, second, third, fourth = sizes.decoder
        self.conv2 = nn.Conv2d(sizes.top, sizes.top, 1)
        self.up1 = _Up(sizes.top + skips[0], first)
        self.up2 = _Up(first + skips[1], second)
        self.up3 = _Up(second + skips[2], third)
        self.up4 = _Up(third + skips[3], fourth)
        self.out_conv_res8 = nn.Conv2d(second, 4, 3, padding=1)
        self.out_conv_res4 = _pixelwise(second + 4, sizes.hidden)
        self.out_conv_res2 = _pixelwise(third + 4, sizes.hidden)
        self.out_conv_res1 = _pixelwise(fourth + 4, sizes.hidden)

    def forward(self, deepest: Tensor, skips: list[Tensor]) -> Tensor:
        sixteenth = self.up1(self.conv2(deepest), skips[0])
        eighth = self.up2(sixteenth, skips[1])
        quarter = self.up3(eighth, skips[2])
        half = self.up4(quarter, skips[3])
        normals = _normalise(self.out_conv_res8(eighth))
        normals = _refine(self.out_conv_res4, eighth, normals)
        normals = _refine(self.out_conv_res2, quarter, normals)
        return _refine(self.out_conv_res1, half, normals)


class _Up(nn.Module):
    """Enlarges features to the size of a skip connection and merges both."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self._net = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.BatchNorm2d(channels_out),
            nn.LeakyReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.BatchNorm2d(channels_out),
            nn.LeakyReLU(inplace=True),
        )

    def forward(self, frames: Tensor, skip: Tensor) -> Tensor:
        larger = F.interpolate(frames, skip.shape[-2:], mode="bilinear", align_corners=True)
        return self._net(torch.cat([larger, skip], dim=1))


def _pixelwise(channels_in: int, hidden: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv1d(channels_in, hidden, 1), nn.ReLU(inplace=True)]
    layers += [
        nn.Conv1d(hidden, hidden, 1),
        nn.ReLU(inplace=True),
        nn.Conv1d(hidden, hidden, 1),
        nn.ReLU(inplace=True),
    ]
    return nn.Sequential(*layers, nn.Conv1d(hidden, 4, 1))


def _refine(pixelwise: nn.Sequential, features: Tensor, normals: Tensor) -> Tensor:
    """Refine normals (B,4,h,w) by features (B,C,h,w) at twice the size, (B,4,2h,2w).

    The first layer and the enlarging are both linear and change places here: a quarter of the work,
    and features of a few hundred channels are never held at the larger size.
    """
    batch, _, height, width = features.shape
    joined = torch.cat([features, normals.to(features.dtype)], dim=1).flatten(2)
    hidden = pixelwise[0](joined).unflatten(2, (height, width))
    hidden = F.interpolate(hidden, scale_factor=2, mode="bilinear", align_corners=True).flatten(2)
    return _normalise(pixelwise[1:](hidden).view(batch, 4, 2 * height, 2 * width))


def _normalise(x: Tensor) -> Tensor:
    """Scale normals to length one and make the certainty positive, (B,4,H,W) in float32.

    Squares and 1e-10 are out of half precision's range.
    """
    x = x.float()
    length = x[:, :3].square().sum(1, keepdim=True).sqrt() + 1e-10
    return torch.cat([x[:, :3] / length, F.elu(x[:, 3:]) + 1.01], dim=1)
