"""ControlNet-LLLite for SD1.5 and SDXL: small nets before the projections of a UNet's attentions.

ComfyUI has no class for them. A file has a module for each projection (q, k, v) that it changes;
the module's name tells where that is. A module embeds the hint by convolutions and adds to what the
projection reads. Source: kohya-ss, ControlNet-LLLite (sd-scripts, `control_net_lllite`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from .patch_hooks import Change

_NAME = re.compile(
    r"lllite_unet_(?:(input|output)_blocks_(\d{1,3})_1|middle_block_1)"
    r"_transformer_blocks_(\d{1,3})_(attn[12])_to_([qkv])"
)
OTHER_SIZE = (
    "ControlNet-LLLite: the model's block {block} has {found} tokens, and the hint was made for"
    " {expected}. Another node changes the size of the picture inside the model (a deep shrink,"
    " merged tokens): remove it, or this ControlNet."
)
Place = tuple[tuple[str, int], int, str]
"""A block of the UNet as ComfyUI names it, its transformer block, and the attention in it."""


def _weights_of(name: str, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = f"{name}."
    own = (key for key in weights if key.startswith(prefix))
    return {key.removeprefix(prefix): weights[key] for key in own}


class LLLiteModule(nn.Module):
    """One module: what it adds to the tokens that a projection reads. `operations`: its layers."""

    def __init__(self, weights: Mapping[str, torch.Tensor], operations: Any, **how: Any) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.strides: list[int] = []
        while (key := f"conditioning1.{len(layers)}.weight") in weights:
            channels, cin, side, _ = weights[key].shape
            self.strides.append(side)
            layers += [operations.Conv2d(cin, channels, side, stride=side, **how), nn.ReLU()]
        self.conditioning1 = nn.Sequential(*layers[:-1])

        def linear(name: str) -> Any:
            cout, cin = weights[f"{name}.0.weight"].shape
            return operations.Linear(cin, cout, **how)

        self.down = nn.Sequential(linear("down"), nn.ReLU())
        self.mid = nn.Sequential(linear("mid"), nn.ReLU())
        self.up = nn.Sequential(linear("up"))

    def embed(self, hint: torch.Tensor) -> torch.Tensor:
        """Embed a hint, (B,3,H,W) in [-1,1] → (B,tokens,E).

        One of an odd size is continued to whole tokens, as a UNet rounds up.
        """
        whole = math.prod(self.strides)
        more = [-side % whole for side in hint.shape[-2:]]
        if any(more):
            hint = functional.pad(hint, (0, more[1], 0, more[0]), mode="replicate")
        return self.conditioning1(hint).flatten(2).transpose(1, 2)

    def forward(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """Return what is added to tokens: x (B,tokens,C), embedded (B,tokens,E) → like x."""
        return self.up(self.mid(torch.cat([embedded, self.down(x)], 2)))


class LLLite(nn.ModuleDict):
    """The modules of a file by their names, which are the keys of its weights.

    Raises ValueError for a module that stands before something else than an attention.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], operations: Any, **how: Any) -> None:
        names = self.names = list(dict.fromkeys(key.partition(".")[0] for key in weights))
        if others := [name for name in names if not _NAME.fullmatch(name)]:
            raise ValueError(
                f"{len(others)} of its {len(names)} modules do not stand before an attention of a"
                f" UNet (first: {others[0]}), and this pack knows no others"
            )
        parts = {name: _weights_of(name, weights) for name in names}
        super().__init__({n: LLLiteModule(part, operations, **how) for n, part in parts.items()})
        places = [_place(name) for name in names]
        self.at = {
            (place, letter): name for (place, letter), name in zip(places, names, strict=True)
        }
        blocks = {place[0] for place, _ in places}
        self.blocks = sorted(blocks, key=lambda block: (_SIDES.index(block[0]), block[1]))

    @property
    def heights(self) -> list[int]:
        """Heights of the tokens in each of `blocks`, of a picture of 1024 pixels."""
        names = {place[0]: name for (place, _), name in self.at.items()}
        return [1024 // math.prod(self.module(names[block]).strides) for block in self.blocks]

    def module(self, name: str) -> LLLiteModule:
        """Return a module by its name."""
        return cast("LLLiteModule", self[name])

    def block_of(self, where: Mapping[str, Any]) -> int:
        """Return which of `blocks` a hook is called in."""
        return self.blocks.index(tuple(where["block"]))


_SIDES = ("input", "middle", "output")


def _place(name: str) -> tuple[Place, str]:
    match = _NAME.fullmatch(name)
    assert match is not None
    side, number, transformer, attention, letter = match.groups()
    block = (side, int(number)) if side else ("middle", 0)
    return (block, int(transformer), attention), letter


class LLLitePatch:
    """A net with a hint, (B,3,H,W) in [0,1], embedded for each of its modules.

    `strength`: a number, or by number of tokens (rows, tokens, 1).
    """

    def __init__(self, net: LLLite, hint: torch.Tensor) -> None:
        self.net = net
        self.strength: float | Mapping[int, torch.Tensor] = 1.0
        signed = hint * 2.0 - 1.0
        self.embedded = {name: net.module(name).embed(signed) for name in net.names}

    def hooks(self, change: Change) -> dict[str, list[Any]]:
        """Return what is called before the projections of self-attentions and cross-attentions."""
        return {f"{name}_patch": [_Before(self, change, name)] for name in ("attn1", "attn2")}


class _Before:
    """Changes what q, k and v of an attention read, for the acting rows."""

    def __init__(self, patch: LLLitePatch, change: Change, attention: str) -> None:
        self.patch, self.change, self.attention = patch, change, attention

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, where: Mapping[str, Any]
    ) -> tuple[torch.Tensor, ...]:
        """Return q, k and v, each (rows, tokens, C)."""
        place = (tuple(where["block"]), where["block_index"], self.attention)
        names = (self.patch.net.at.get((place, letter)) for letter in "qkv")
        return tuple(
            x if name is None else self._changed(x, name, where)
            for x, name in zip((q, k, v), names, strict=True)
        )

    def _changed(self, x: torch.Tensor, name: str, where: Mapping[str, Any]) -> torch.Tensor:
        rows, embedded = self.change.rows, self.patch.embedded[name]
        mine = x if rows.are_all else x[rows.selection]
        if mine.shape[1] != embedded.shape[1]:
            sizes = {"found": mine.shape[1], "expected": embedded.shape[1]}
            raise ValueError(OTHER_SIZE.format(block=" ".join(map(str, where["block"])), **sizes))
        embedded = embedded.repeat(mine.shape[0] // embedded.shape[0], 1, 1)
        strength = self.patch.strength
        if not isinstance(strength, float | int):
            strength = strength[mine.shape[1]]
        if (weights := self.change.weights) is not None:
            strength = strength * weights[self.change.block_of(dict(where))]
        added = self.patch.net.module(name)(mine, embedded) * strength
        if rows.are_all:
            return x + added
        out = x.clone()
        out[rows.selection] = mine + added
        return out
