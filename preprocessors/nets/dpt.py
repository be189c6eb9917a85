"""Parts shared by dense prediction transformers: block, fusion of layers, renaming of keys.

Paper: R. Ranftl, A. Bochkovskiy, V. Koltun, "Vision Transformers for Dense Prediction", ICCV 2021,
https://arxiv.org/abs/2103.13413. Upstream: isl-org/DPT (MIT). Keys are those of MiDaS and Depth
Anything; the code is ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..spec import StateDict

Rules = Iterable[tuple[str, str]]
"""(regular expression of a whole key, its replacement); the first match counts."""


class Block(nn.Module):
    """A vision transformer's layer, (B,N,C) → (B,N,C); `scaled` scales each branch by channel."""

    def __init__(self, width: int, heads: int, *, scaled: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.ls1 = _Scale(width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Feedforward(width)
        self.ls2 = _Scale(width) if scaled else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B,N,C) to (B,N,C)."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Feedforward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


def add_positions(tokens: Tensor, table: Tensor, grid: tuple[int, int], *, mode: str) -> Tensor:
    """Add the position table (1,1+n²,C) to (B,N,C).

    The table's square is interpolated by `mode` to a `grid` of N - 1 tokens.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return tokens + table
    square = table[:, 1:].mT.reshape(1, -1, side, side)
    square = F.interpolate(square, grid, mode=mode, align_corners=False)
    return tokens + torch.cat([table[:, :1], square.flatten(2).mT], dim=1)


class Residual(nn.Module):
    """Two convolutions beside an identity shortcut, (B,C,H,W) → (B,C,H,W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """Map (B,C,H,W) to (B,C,H,W)."""
        x = F.relu(self.conv1(F.relu(frames)), inplace=True)
        return self.conv2(x) + frames


class Fusion(nn.Module):
    """Merges coarse features with a finer layer, at `size` or at twice the coarse size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        self.resConfUnit1 = Residual(width)  # in the file also where there is no finer layer
        self.resConfUnit2 = Residual(width)

    def forward(self, coarse: Tensor, finer: Tensor | None, size: Iterable[int] | None) -> Tensor:
        """Map (B,C,h,w), and (B,C,h,w) of the finer layer if there is one, to (B,C,*size)."""
        joined = coarse if finer is None else coarse + self.resConfUnit1(finer)
        target = [2 * side for side in coarse.shape[-2:]] if size is None else list(size)
        # The last layer works on single pixels, so it may come before enlarging: a quarter of its
        # work.
        x = self.out_conv(self.resConfUnit2(joined))
        return F.interpolate(x, target, mode="bilinear", align_corners=True)


class Scratch(nn.Module):
    """Fuses four layers of features, finest first, to `width` channels at twice the finest size."""

    def __init__(self, layers: tuple[int, int, int, int], width: int) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            nn.Conv2d(channels, width, 3, padding=1, bias=False) for channels in layers
        )
        self.refinenet1, self.refinenet2, self.refinenet3, self.refinenet4 = (
            Fusion(width) for _ in layers
        )

    def fuse(self, layers: list[Tensor]) -> Tensor:
        """Merge four (B,Cᵢ,hᵢ,wᵢ), finest first, into (B,width,2h₁,2w₁)."""
        convolutions = (self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn)
        one, two, three, four = (
            conv(layer) for conv, layer in zip(convolutions, layers, strict=True)
        )
        x = self.refinenet4(four, None, three.shape[-2:])
        x = self.refinenet3(x, three, two.shape[-2:])
        x = self.refinenet2(x, two, one.shape[-2:])
        return self.refinenet1(x, one, None)


def rename_keys(state: StateDict, rules: Rules) -> StateDict:
    """Rename keys by `rules` and drop those that match none.

    A layer's query, key and value are joined to its `qkv`.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    renamed: dict[str, Tensor] = {}
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    for key, tensor in state.items():
        for pattern, replacement in compiled:
            if match := pattern.fullmatch(key):
                name = match.expand(replacement)
                if split := re.fullmatch(r"(.*)\.(query|key|value)\.(weight|bias)", name):
                    parts.setdefault(f"{split[1]}.qkv.{split[3]}", {})[split[2]] = tensor
                else:
                    renamed[name] = tensor
                break
    for name, thirds in parts.items():
        if len(thirds) == 3:  # else the key is missing, and filling the network reports it
            renamed[name] = torch.cat([thirds["query"], thirds["key"], thirds["value"]])
    return renamed


def fusion_rules(prefix: str, scratch: str) -> list[tuple[str, str]]:
    """Give the rules from transformers' fusion keys, coarsest first, to `scratch`, finest first."""
    units = [("projection", "out_conv")]
    for unit, conv in ((1, 1), (1, 2), (2, 1), (2, 2)):
        units.append((rf"residual_layer{unit}\.convolution{conv}", f"resConfUnit{unit}.conv{conv}"))
    rules = [
        (
            rf"{prefix}fusion_stage\.layers\.{3 - number}\.{theirs}\.(weight|bias)",
            rf"{scratch}refinenet{number + 1}.{ours}.\1",
        )
        for number in range(4)
        for theirs, ours in units
    ]
    layers = [
        (rf"{prefix}convs\.{number}\.weight", f"{scratch}layer{number + 1}_rn.weight")
        for number in range(4)
    ]
    return [*rules, *layers]
