"""DPT-hybrid of MiDaS 3.0: the depth behind the depth ControlNets of 1.0 and 1.1.

A ResNet-50 with standardised weights feeds a ViT-B/16. Paper: R. Ranftl, A. Bochkovskiy, V. Koltun,
"Vision Transformers for Dense Prediction", ICCV 2021, https://arxiv.org/abs/2103.13413. Upstream:
https://github.com/isl-org/MiDaS (MIT). Keys are those of its `dpt_hybrid-midas-501f0c75.pt`;
`renamed` also reads those of transformers' copy (Intel/dpt-hybrid-midas, Apache-2.0). The code is
ours. Input: RGB in [-1,1].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..spec import StateDict
from .dpt import Block, Scratch, add_positions, fusion_rules, rename_keys
from .padding import pad_same

MULTIPLE = 32
"""Input sides must be divisible by this."""


class Sizes(NamedTuple):
    """Dimensions of the network; the defaults are the published file's."""

    stem: int = 64
    stages: tuple[tuple[int, int], ...] = ((3, 256), (4, 512), (9, 1024))
    """Blocks and channels at 1/4, 1/8 and 1/16 of the picture."""
    groups: int = 32
    width: int = 768
    heads: int = 12
    blocks: int = 12
    tapped: tuple[int, int] = (8, 11)
    """Indices of the blocks whose output the head reads, beside the first two stages."""
    trained_px: int = 384
    fusion: int = 256
    head: int = 32


class DPTHybrid(nn.Module):
    """(B,3,H,W) RGB in [-1,1] → (B,1,H,W) inverse depth ≥ 0, unbounded, near is large."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.pretrained = _Backbone(sizes)
        self.scratch = _Head(
            (sizes.stages[0][1], sizes.stages[1][1], sizes.width, sizes.width), sizes
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Map (B,3,H,W) to (B,1,H,W)."""
        return self.scratch(self.pretrained(frames))


class _Backbone(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.model = _ViT(sizes)
        width = sizes.width
        self.act_postprocess3 = nn.Sequential(
            _Readout(width), nn.Identity(), nn.Identity(), nn.Conv2d(width, width, 1)
        )
        self.act_postprocess4 = nn.Sequential(
            _Readout(width),
            nn.Identity(),
            nn.Identity(),
            nn.Conv2d(width, width, 1),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
        )

    def forward(self, frames: Tensor) -> list[Tensor]:
        quarter, eighth, middle, last = self.model(frames)
        grid = [side // 16 for side in frames.shape[-2:]]

        def unfold(readout: nn.Module, tokens: Tensor) -> Tensor:
            return readout(tokens).mT.unflatten(2, grid)

        third = self.act_postprocess3[1:](unfold(self.act_postprocess3[0], middle))
        fourth = self.act_postprocess4[1:](unfold(self.act_postprocess4[0], last))
        return [quarter, eighth, third, fourth]


class _Readout(nn.Module):
    """Mixes the class token into every other token, (B,1+N,C) → (B,N,C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(2 * width, width), nn.GELU())

    def forward(self, tokens: Tensor) -> Tensor:
        others = tokens[:, 1:]
        return self.project(torch.cat([others, tokens[:, :1].expand_as(others)], dim=-1))


class _ViT(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.tapped = sizes.tapped
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (sizes.trained_px // 16) ** 2 + 1, width))
        self.patch_embed = _PatchEmbed(sizes)
        self.blocks = nn.Sequential(*(Block(width, sizes.heads) for _ in range(sizes.blocks)))
        self.norm = nn.LayerNorm(width, eps=1e-6)  # in the file; depth is read before it

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Return features at 1/4 and 1/8 of the picture, and the tokens after two of the blocks."""
        quarter, eighth, patches = self.patch_embed(frames)
        tokens = torch.cat(
            [self.cls_token.expand(len(frames), -1, -1), patches.flatten(2).mT], dim=1
        )
        tokens = add_positions(
            tokens, self.pos_embed, (patches.shape[-2], patches.shape[-1]), mode="bilinear"
        )
        taps = [quarter, eighth]
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in self.tapped:
                taps.append(tokens)
        return taps


class _PatchEmbed(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.backbone = _ResNet(sizes)
        self.proj = nn.Conv2d(sizes.stages[-1][1], sizes.width, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quarter, eighth, sixteenth = self.backbone(frames)
        return quarter, eighth, self.proj(sixteenth)


class _ResNet(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.stem = _Stem(sizes)
        stages: list[nn.Module] = []
        channels_in = sizes.stem
        for index, (blocks, channels) in enumerate(sizes.stages):
            stride = 1 if index == 0 else 2
            stages.append(_Stage(channels_in, channels, blocks, stride=stride, groups=sizes.groups))
            channels_in = channels
        self.stages = nn.Sequential(*stages)

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = self.stem(frames)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class _Stem(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.conv = _Standardized(3, sizes.stem, 7, 2)
        self.norm = nn.GroupNorm(sizes.groups, sizes.stem)

    def forward(self, frames: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(frames)), inplace=True)
        return F.max_pool2d(pad_same(x, 3, 2, value=float("-inf")), 3, 2)


class _Standardized(nn.Conv2d):
    """A convolution whose kernels have mean 0 and deviation 1, padded as TensorFlow does."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            channels_in, channels_out, kernel, stride, bias=False
        )

    def forward(self, input: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) / (deviation.square() + 1e-8).sqrt()
        padded = pad_same(input, self.kernel_size[0], self.stride[0])
        return F.conv2d(padded, weight, stride=self.stride)


class _Stage(nn.Module):
    def __init__(
        self, channels_in: int, channels_out: int, blocks: int, *, stride: int, groups: int
    ) -> None:
        super().__init__()
        first = _Bottleneck(channels_in, channels_out, stride, groups, identity=False)
        others = (
            _Bottleneck(channels_out, channels_out, 1, groups, identity=True)
            for _ in range(blocks - 1)
        )
        self.blocks = nn.Sequential(first, *others)

    def forward(self, frames: Tensor) -> Tensor:
        return self.blocks(frames)


class _Bottleneck(nn.Module):
    def __init__(
        self, channels_in: int, channels_out: int, stride: int, groups: int, *, identity: bool
    ) -> None:
        super().__init__()
        middle = channels_out // 4
        self.downsample = (
            None if identity else _Downsample(channels_in, channels_out, stride, groups)
        )
        self.conv1 = _Standardized(channels_in, middle, 1)
        self.norm1 = nn.GroupNorm(groups, middle)
        self.conv2 = _Standardized(middle, middle, 3, stride)
        self.norm2 = nn.GroupNorm(groups, middle)
        self.conv3 = _Standardized(middle, channels_out, 1)
        self.norm3 = nn.GroupNorm(groups, channels_out)

    def forward(self, frames: Tensor) -> Tensor:
        shortcut = frames if self.downsample is None else self.downsample(frames)
        x = F.relu(self.norm1(self.conv1(frames)), inplace=True)
        x = F.relu(self.norm2(self.conv2(x)), inplace=True)
        return F.relu(self.norm3(self.conv3(x)) + shortcut, inplace=True)


class _Downsample(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = _Standardized(channels_in, channels_out, 1, stride)
        self.norm = nn.GroupNorm(groups, channels_out)

    def forward(self, frames: Tensor) -> Tensor:
        return self.norm(self.conv(frames))


class _Head(Scratch):
    def __init__(self, layers: tuple[int, int, int, int], sizes: Sizes) -> None:
        super().__init__(layers, sizes.fusion)
        half = sizes.fusion // 2
        self.output_conv = nn.Sequential(
            nn.Conv2d(sizes.fusion, half, 3, padding=1),
            nn.UpsamplingBilinear2d(scale_factor=2),  # with corners aligned
            nn.Conv2d(half, sizes.head, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(sizes.head, 1, 1),
            nn.ReLU(inplace=True),
        )

    def forward(self, layers: list[Tensor]) -> Tensor:
        return self.output_conv(self.fuse(layers))


_MODEL = "pretrained.model."
_BLOCK = rf"{_MODEL}blocks.\1."
_FROM_TRANSFORMERS = (
    (r"dpt\.embeddings\.cls_token", f"{_MODEL}cls_token"),
    (r"dpt\.embeddings\.position_embeddings", f"{_MODEL}pos_embed"),
    (r"dpt\.embeddings\.projection\.(.*)", rf"{_MODEL}patch_embed.proj.\1"),
    (
        r"dpt\.embeddings\.backbone\.bit\.embedder\.convolution\.(.*)",
        rf"{_MODEL}patch_embed.backbone.stem.conv.\1",
    ),
    (
        r"dpt\.embeddings\.backbone\.bit\.embedder\.norm\.(.*)",
        rf"{_MODEL}patch_embed.backbone.stem.norm.\1",
    ),
    (
        r"dpt\.embeddings\.backbone\.bit\.encoder\.stages\.(\d+)\.layers\.(\d+)\.(.*)",
        rf"{_MODEL}patch_embed.backbone.stages.\1.blocks.\2.\3",
    ),
    (r"dpt\.encoder\.layer\.(\d+)\.attention\.attention\.(\w+)\.(\w+)", rf"{_BLOCK}attn.\2.\3"),
    (r"dpt\.encoder\.layer\.(\d+)\.attention\.output\.dense\.(.*)", rf"{_BLOCK}attn.proj.\2"),
    (r"dpt\.encoder\.layer\.(\d+)\.intermediate\.dense\.(.*)", rf"{_BLOCK}mlp.fc1.\2"),
    (r"dpt\.encoder\.layer\.(\d+)\.output\.dense\.(.*)", rf"{_BLOCK}mlp.fc2.\2"),
    (r"dpt\.encoder\.layer\.(\d+)\.layernorm_before\.(.*)", rf"{_BLOCK}norm1.\2"),
    (r"dpt\.encoder\.layer\.(\d+)\.layernorm_after\.(.*)", rf"{_BLOCK}norm2.\2"),
    (r"dpt\.layernorm\.(.*)", rf"{_MODEL}norm.\1"),
    (
        r"neck\.reassemble_stage\.readout_projects\.2\.0\.(.*)",
        r"pretrained.act_postprocess3.0.project.0.\1",
    ),
    (
        r"neck\.reassemble_stage\.readout_projects\.3\.0\.(.*)",
        r"pretrained.act_postprocess4.0.project.0.\1",
    ),
    (r"neck\.reassemble_stage\.layers\.2\.projection\.(.*)", r"pretrained.act_postprocess3.3.\1"),
    (r"neck\.reassemble_stage\.layers\.3\.projection\.(.*)", r"pretrained.act_postprocess4.3.\1"),
    (r"neck\.reassemble_stage\.layers\.3\.resize\.(.*)", r"pretrained.act_postprocess4.4.\1"),
    *fusion_rules(r"neck\.", "scratch."),
    (r"head\.head\.(.*)", r"scratch.output_conv.\1"),
)


def renamed(state: StateDict) -> StateDict:
    """Rename transformers' keys to MiDaS's; drop the classifier that MiDaS's own file carries."""
    if any(key.startswith("dpt.") for key in state):
        return rename_keys(state, _FROM_TRANSFORMERS)
    return {
        key: tensor for key, tensor in state.items() if not key.startswith("pretrained.model.head.")
    }
