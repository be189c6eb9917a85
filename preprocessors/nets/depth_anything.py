"""Depth Anything V2: relative inverse depth from a DINOv2 with a dense prediction head.

Paper: L. Yang et al., "Depth Anything V2", NeurIPS 2024, https://arxiv.org/abs/2406.09414.
Upstream: https://github.com/DepthAnything/Depth-Anything-V2 (small: Apache-2.0; base and large:
CC-BY-NC-4.0). Keys are those of `depth_anything_v2_vit{s,b,l}.pth`; `renamed` also reads those of
transformers' copies. The code is ours, because transformers' class renames its parameters from
version to version and a file has to fill it on every host. Input: RGB with ImageNet's mean and
deviation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..spec import StateDict
from .dpt import Block, Scratch, add_positions, fusion_rules, rename_keys

MULTIPLE = PATCH = 14
"""Input sides must be divisible by this."""


class Sizes(NamedTuple):
    """Dimensions of the network; the published files are SMALL, BASE and LARGE."""

    width: int
    heads: int
    blocks: int
    tapped: tuple[int, int, int, int]
    """Indices of the blocks whose output the head reads."""
    layers: tuple[int, int, int, int]
    fusion: int
    trained_px: int = 518
    head: int = 32


SMALL = Sizes(384, 6, 12, (2, 5, 8, 11), (48, 96, 192, 384), 64)
BASE = Sizes(768, 12, 12, (2, 5, 8, 11), (96, 192, 384, 768), 128)
LARGE = Sizes(1024, 16, 24, (4, 11, 17, 23), (256, 512, 1024, 1024), 256)


class DepthAnythingV2(nn.Module):
    """(B,3,H,W) RGB, ImageNet-normalised → (B,1,H,W) inverse depth ≥ 0, near is large."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.pretrained = _DINOv2(sizes)
        self.depth_head = _Head(sizes)

    def forward(self, frames: Tensor) -> Tensor:
        """Map (B,3,H,W) to (B,1,H,W)."""
        grid = (frames.shape[-2] // PATCH, frames.shape[-1] // PATCH)
        return self.depth_head(self.pretrained(frames), grid)


class _DINOv2(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.tapped = sizes.tapped
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.pos_embed = nn.Parameter(
            torch.zeros(1, (sizes.trained_px // PATCH) ** 2 + 1, sizes.width)
        )
        self.mask_token = nn.Parameter(
            torch.zeros(1, sizes.width)
        )  # in the file, for training only
        self.patch_embed = _PatchEmbed(sizes.width)
        self.blocks = nn.Sequential(
            *(Block(sizes.width, sizes.heads, scaled=True) for _ in range(sizes.blocks))
        )
        self.norm = nn.LayerNorm(sizes.width, eps=1e-6)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Return the tokens (B,N,C) after each tapped block, without the class token."""
        patches = self.patch_embed.proj(frames)
        tokens = torch.cat(
            [self.cls_token.expand(len(frames), -1, -1), patches.flatten(2).mT], dim=1
        )
        tokens = add_positions(
            tokens, self.pos_embed, (patches.shape[-2], patches.shape[-1]), mode="bicubic"
        )
        taps: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in self.tapped:
                taps.append(self.norm(tokens)[:, 1:])
        return taps


class _PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)


class _Head(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        one, two, _, four = sizes.layers
        self.projects = nn.ModuleList(
            nn.Conv2d(sizes.width, channels, 1) for channels in sizes.layers
        )
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(one, one, 4, 4),
                nn.ConvTranspose2d(two, two, 2, 2),
                nn.Identity(),
                nn.Conv2d(four, four, 3, 2, 1),
            ]
        )
        self.scratch = _Scratch(sizes)

    def forward(self, taps: list[Tensor], grid: tuple[int, int]) -> Tensor:
        layers: list[Tensor] = []
        for tokens, project, resize in zip(taps, self.projects, self.resize_layers, strict=True):
            layers.append(resize(project(tokens.mT.unflatten(2, grid))))
        return self.scratch(layers, [PATCH * side for side in grid])


class _Scratch(Scratch):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes.layers, sizes.fusion)
        half = sizes.fusion // 2
        self.output_conv1 = nn.Conv2d(sizes.fusion, half, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(half, sizes.head, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(sizes.head, 1, 1),
            nn.ReLU(inplace=True),
        )

    def forward(self, layers: list[Tensor], size: list[int]) -> Tensor:
        x = self.output_conv1(self.fuse(layers))
        x = F.interpolate(x, size, mode="bilinear", align_corners=True)
        return self.output_conv2(x)


_BLOCK = r"pretrained.blocks.\1."
_FROM_TRANSFORMERS = (
    (r"backbone\.embeddings\.(cls_token|mask_token)", r"pretrained.\1"),
    (r"backbone\.embeddings\.position_embeddings", "pretrained.pos_embed"),
    (
        r"backbone\.embeddings\.patch_embeddings\.projection\.(.*)",
        r"pretrained.patch_embed.proj.\1",
    ),
    (
        r"backbone\.encoder\.layer\.(\d+)\.attention\.attention\.(\w+)\.(\w+)",
        rf"{_BLOCK}attn.\2.\3",
    ),
    (r"backbone\.encoder\.layer\.(\d+)\.attention\.output\.dense\.(.*)", rf"{_BLOCK}attn.proj.\2"),
    (r"backbone\.encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", rf"{_BLOCK}ls\2.gamma"),
    (r"backbone\.encoder\.layer\.(\d+)\.(norm[12]|mlp\.fc[12])\.(.*)", rf"{_BLOCK}\2.\3"),
    (r"backbone\.layernorm\.(.*)", r"pretrained.norm.\1"),
    (r"neck\.reassemble_stage\.layers\.(\d)\.projection\.(.*)", r"depth_head.projects.\1.\2"),
    (r"neck\.reassemble_stage\.layers\.(\d)\.resize\.(.*)", r"depth_head.resize_layers.\1.\2"),
    *fusion_rules(r"neck\.", "depth_head.scratch."),
    (r"head\.conv1\.(.*)", r"depth_head.scratch.output_conv1.\1"),
    (r"head\.conv2\.(.*)", r"depth_head.scratch.output_conv2.0.\1"),
    (r"head\.conv3\.(.*)", r"depth_head.scratch.output_conv2.2.\1"),
)


def renamed(state: StateDict) -> StateDict:
    """Rename transformers' keys to Depth Anything's own; leave its own keys as they are."""
    if any(key.startswith("backbone.") for key in state):
        return rename_keys(state, _FROM_TRANSFORMERS)
    return state
