"""Union ControlNets: one net that was taught many types of hint, several of them at once.

Q. Xin: ControlNet++ (ControlNetPlus), https://github.com/xinsir6/ControlNetPlus; weights for each
type as diffusers' ControlNetUnionModel has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .grammar import WHITE, TextError, number, split

AUTO = "auto"


@dataclass(frozen=True)
class UnionType:
    """`number`: the row of the net's task embedding."""

    name: str
    number: int
    weight: float = 1.0


def parse(text: str, known: Mapping[str, int]) -> tuple[UnionType, ...]:
    """`canny, depth:0.5` → types; none for "auto". A known name "a/b/c" is also meant by each of
    its parts.

    Raises TextError for a name that is not known, a weight outside 0 to 10, or a single type with a
    weight.
    """
    if text.strip(WHITE) in ("", AUTO):
        return ()
    by_word = {
        word: (name, row) for name, row in known.items() for word in (name, *name.split("/"))
    }
    types: list[UnionType] = []
    for word, at in split(text, ","):
        name, colon, weight = word.partition(":")
        if name.strip(WHITE) not in by_word:
            raise TextError(
                "union_type", text, at, f"'auto' or one of {', '.join(sorted(by_word))}"
            )
        weighs = number("union_type", weight, text, at + len(name) + 1, 0.0, 10.0) if colon else 1.0
        types.append(UnionType(*by_word[name.strip(WHITE)], weighs))
    if len(types) == 1 and types[0].weight != 1.0:
        raise TextError(
            "union_type", text, 0, "several types where there are weights (one alone has strength)"
        )
    return tuple(types)


def hints_by_type(hint: torch.Tensor, types: int) -> tuple[torch.Tensor, ...]:
    """A hint batch as one part for each type, in their order; a single picture is every type's
    hint.

    Raises ValueError where the pictures cannot be dealt out evenly.
    """
    if hint.shape[0] == 1 or types == 1:
        return (hint,) * types
    if hint.shape[0] % types:
        raise ValueError(
            f"union_type names {types} types, so the hint needs as many pictures for each of them:"
            f" all of the first type, then all of the next. Found {hint.shape[0]}."
        )
    return hint.chunk(types)


def fused(
    net: Any, sample: torch.Tensor, features: Sequence[torch.Tensor], types: Sequence[UnionType]
) -> torch.Tensor:
    """What several hints together add to `sample`, the net's first layer's output: (B,C,h,w).

    Each hint's feature (B or 1,C,h,w) is told its type and averaged to one token; a transformer
    lets these tokens and that of the sample see each other; what becomes of a token shifts its
    feature's channels.
    """
    tokens: list[torch.Tensor] = []
    for feature, kind in zip(features, types, strict=True):
        token = feature.mean(dim=(2, 3)) + net.task_embedding[kind.number].to(feature)
        tokens.append((token * kind.weight).expand(sample.shape[0], -1))
    seen = net.transformer_layes(torch.stack([*tokens, sample.mean(dim=(2, 3))], dim=1))
    total = torch.zeros_like(sample)
    for i, (feature, kind) in enumerate(zip(features, types, strict=True)):
        shift = net.spatial_ch_projs(seen[:, i])[..., None, None]
        total = total + feature * kind.weight + shift * kind.weight
    return total
