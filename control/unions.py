"""Union ControlNets: one net that was trained on many types of hint.

For UNets, several types at once: Q. Xin: ControlNet++ (ControlNetPlus),
https://github.com/xinsir6/ControlNetPlus; weights for each type as diffusers' ControlNetUnionModel
has them. For Flux, one type: InstantX/FLUX.1-dev-Controlnet-Union and
Shakker-Labs/FLUX.1-dev-ControlNet-Union-Pro, whose model cards list the types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .grammar import WHITE, TextError, number, plain, split

AUTO = "auto"
REPAINT = "repaint"  # the type of a union net that reads an inpaint mask
FLUX_TYPES: Mapping[str, int] = {
    "canny": 0,
    "tile": 1,
    "depth": 2,
    "blur": 3,
    "pose/openpose": 4,
    "gray/grey": 5,
    "lq": 6,  # pictures of low quality
}
"""The types of Flux's union nets, whose embedding has ten rows: the last three were never trained.
ComfyUI's own node gives these nets the numbers of the nets for UNets."""
ALIASES: Mapping[str, str] = {"pose": "openpose"}
"""Names of one table's types by which people call another's."""


@dataclass(frozen=True)
class UnionType:
    """A type that a union net is asked for. `number`: the row of the net's task embedding."""

    name: str
    number: int
    weight: float = 1.0


def words_of(numbers: Mapping[str, int]) -> dict[str, str]:
    """Return every word by which a type can be named → its name; "a/b" can be given by each part.

    Of a word that several names have, the last name counts.
    """
    words = {word: name for name in numbers for word in (name, *name.split("/"))}
    return {alias: words[word] for alias, word in ALIASES.items() if word in words} | words


def parse(
    text: str, numbers: Mapping[str, int], own: Mapping[str, int] | None = None
) -> tuple[UnionType, ...]:
    """Read `canny, depth:0.5` as types; none for "auto". `numbers`: the number of each name.

    `own`: those of the net that is asked; its words count where other nets use them too.

    Raises TextError for a name that is not among them, a weight outside 0 to 10, or a single type
    with a weight.
    """
    text = plain(text)
    if text.strip(WHITE) in ("", AUTO):
        return ()
    own = own or {}
    names, numbers = words_of(numbers) | words_of(own), {**numbers, **own}
    types: list[UnionType] = []
    for word, at in split(text):
        name, colon, written = word.partition(":")
        if name.strip(WHITE) not in names:
            expected = f"'auto' or one of {', '.join(sorted(names))}"
            raise TextError("union_type", text, at, expected)
        weight_at = at + len(name) + 1
        weight = number("union_type", written, text, weight_at, 0.0, 10.0) if colon else 1.0
        name = names[name.strip(WHITE)]
        types.append(UnionType(name, numbers[name], weight))
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
