"""Union ControlNets: one net that was trained on many types of hint, several of them at once.

Q. Xin: ControlNet++ (ControlNetPlus), https://github.com/xinsir6/ControlNetPlus; weights for each
type as diffusers' ControlNetUnionModel has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .grammar import WHITE, TextError, number, plain, split

AUTO = "auto"
REPAINT = "repaint"  # the type of a union net that reads an inpaint mask


@dataclass(frozen=True)
class UnionType:
    """A type that a union net is asked for. `number`: the row of the net's task embedding."""

    name: str
    number: int
    weight: float = 1.0


def parse(text: str, numbers: Mapping[str, int]) -> tuple[UnionType, ...]:
    """Read `canny, depth:0.5` as types; none for "auto". `numbers`: the number of each name.

    A name "a/b/c" can be given by each of its parts. Raises TextError for a name that is not among
    them, a weight outside 0 to 10, or a single type with a weight.
    """
    text = plain(text)
    if text.strip(WHITE) in ("", AUTO):
        return ()
    by_word = {
        word: (name, row) for name, row in numbers.items() for word in (name, *name.split("/"))
    }
    types: list[UnionType] = []
    for word, at in split(text):
        name, colon, written = word.partition(":")
        if name.strip(WHITE) not in by_word:
            expected = f"'auto' or one of {', '.join(sorted(by_word))}"
            raise TextError("union_type", text, at, expected)
        weight_at = at + len(name) + 1
        weight = number("union_type", written, text, weight_at, 0.0, 10.0) if colon else 1.0
        types.append(UnionType(*by_word[name.strip(WHITE)], weight))
    if len(types) == 1 and types[0].weight != 1.0:
        raise TextError("union_type", text, 0, "a single type without a weight (use strength)")
    return tuple(types)


def hints_by_type(hint: torch.Tensor, types: int) -> tuple[torch.Tensor, ...]:
    """Split a hint batch into one part for each type, in their order.

    A single picture is every type's hint. Raises ValueError where the batch cannot be split evenly.
    """
    if hint.shape[0] == 1 or types == 1:
        return (hint,) * types
    if hint.shape[0] % types:
        raise ValueError(
            f"union_type names {types} types, so image needs as many hints for each of them: all of"
            f" the first type, then all of the next. Found {hint.shape[0]} hints: give a multiple"
            f" of {types}, or one for all types."
        )
    return hint.chunk(types)


def fuse_hints(
    net: Any, sample: torch.Tensor, features: Sequence[torch.Tensor], types: Sequence[UnionType]
) -> torch.Tensor:
    """Compute what several hints together add to `sample`, the output of the net's first layer.

    `sample`: (B,C,h,w); `features`: each hint's, (B or 1,C,h,w). A feature is averaged to one
    token, and its type's embedding is added. A transformer runs over these tokens and that of the
    sample. Each output token is projected to a shift of its feature's channels.
    """
    tokens: list[torch.Tensor] = []
    for feature, kind in zip(features, types, strict=True):
        token = feature.mean(dim=(2, 3)) + net.task_embedding[kind.number].to(feature)
        tokens.append((token * kind.weight).expand(sample.shape[0], -1))
    outputs = net.transformer_layes(torch.stack([*tokens, sample.mean(dim=(2, 3))], dim=1))
    total = torch.zeros_like(sample)
    for i, (feature, kind) in enumerate(zip(features, types, strict=True)):
        shift = net.spatial_ch_projs(outputs[:, i])[..., None, None]
        total = total + feature * kind.weight + shift * kind.weight
    return total
