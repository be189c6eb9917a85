"""Residuals: what a ControlNet adds to a UNet, `{"input" | "middle" | "output": [Tensor | None]}`.

"output" holds one (rows, C, h, w) tensor for each input block, to be added to its skip connection;
"middle" one for the middle block; "input" is what T2I-Adapters add after input blocks, the deepest
first. The UNet pops from these lists, so every function returns new ones, and none writes to a
tensor that it did not make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

PLACES = ("input", "middle", "output")
Residuals = dict[str, list[torch.Tensor | None]]


def merge(previous: Residuals | None, own: Residuals) -> Residuals:
    """The sum of two nets' residuals, previous + own, place by place. Shorter lists count as if
    filled with None.
    """
    if previous is None:
        return {place: list(own.get(place, [])) for place in PLACES}
    return {place: _added(previous.get(place, []), own.get(place, [])) for place in PLACES}


Weights = Callable[[int, list[int]], Sequence[float]]
"""A number of residuals and their heights, from shallow to deep → a weight for each."""


def weigh(residuals: Residuals, weights: Weights) -> Residuals:
    """Multiply each residual by its weight; those of a ControlNet run from the first input block to
    the middle.
    """
    weighed: Residuals = {place: list(residuals.get(place, [])) for place in PLACES}
    found = by_depth(weighed)
    by_block = weights(len(found), [residual.shape[-2] for _, _, residual in found])
    for (place, i, residual), weight in zip(found, by_block, strict=True):
        weighed[place][i] = residual if weight == 1.0 else residual * weight
    return weighed


def by_depth(residuals: Residuals) -> list[tuple[str, int, torch.Tensor]]:
    """The residuals that there are, from the shallowest to the deepest, each with its place and
    index.
    """
    features = [("input", i) for i in reversed(range(len(residuals.get("input", []))))]
    blocks = [
        (place, i) for place in ("output", "middle") for i in range(len(residuals.get(place, [])))
    ]
    return [
        (place, i, found)
        for place, i in features + blocks
        if (found := residuals[place][i]) is not None
    ]


def each(residuals: Residuals, change: Callable[[torch.Tensor], torch.Tensor]) -> Residuals:
    """Apply `change` to every tensor, once to one that stands in several places, as a transformer's
    residuals do.
    """
    changed: dict[int, torch.Tensor] = {}

    def once(residual: torch.Tensor) -> torch.Tensor:
        if id(residual) not in changed:
            changed[id(residual)] = change(residual)
        return changed[id(residual)]

    return {
        place: [None if r is None else once(r) for r in residuals.get(place, [])]
        for place in PLACES
    }


def spread_rows(residuals: Residuals, rows: slice | list[int], total: int) -> Residuals:
    """Residuals computed for some `rows` of a batch of `total`, zero for all others: → (total, …)."""

    def spread(residual: torch.Tensor) -> torch.Tensor:
        whole = residual.new_zeros((total, *residual.shape[1:]))
        whole[rows] = residual  # one for all is written to each
        return whole

    return each(residuals, spread)


def _added(
    previous: list[torch.Tensor | None], own: list[torch.Tensor | None]
) -> list[torch.Tensor | None]:
    longest = max(len(previous), len(own))
    sums: dict[
        tuple[int, int], torch.Tensor
    ] = {}  # two nets for transformers give few tensors in many places

    def added(p: torch.Tensor | None, o: torch.Tensor | None) -> torch.Tensor | None:
        if p is None or o is None:
            return p if o is None else o
        key = (id(p), id(o))
        if key not in sums:
            sums[key] = p + o
        return sums[key]

    return [
        added(p, o) for p, o in zip(_filled(previous, longest), _filled(own, longest), strict=True)
    ]


def _filled(residuals: list[torch.Tensor | None], length: int) -> list[torch.Tensor | None]:
    return residuals + [None] * (length - len(residuals))
