"""Residuals: what a ControlNet adds to a model, `{"input" | "middle" | "output": [Tensor | None]}`.

For a UNet "output" holds one (rows, C, h, w) tensor for each input block, to be added to its skip
connection; "middle" one for the middle block; "input" is what T2I-Adapters add after input blocks,
the deepest first. A transformer gets (rows, tokens, C) for its blocks, in their order: "input" for
Flux's double blocks and Qwen-Image's, "output" for single blocks and those of SD3; one tensor often
stands in many places. The model pops from these lists, so every function returns new ones, and none
writes to a tensor that it did not make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

PLACES = ("input", "middle", "output")
Residuals = dict[str, list[torch.Tensor | None]]


def merge(previous: Residuals | None, own: Residuals) -> Residuals:
    """Add two nets' residuals, previous + own, place by place.

    A shorter list counts as if filled with None.
    """
    if previous is None:
        return {place: list(own.get(place, [])) for place in PLACES}
    return {place: _add(previous.get(place, []), own.get(place, [])) for place in PLACES}


Weights = Callable[[int, list[int]], Sequence[float]]
"""A number of blocks and the heights of their residuals, shallow to deep → a weight for each."""


def weigh(residuals: Residuals, weights: Weights) -> Residuals:
    """Multiply the residuals by the weights of the net's own blocks, shallow to deep.

    A tensor that stands in several places is weighed once and stays shared.
    """
    blocks = own_blocks(residuals)
    by_block = weights(len(blocks), [block.shape[-2] for block in blocks])
    pairs = zip(blocks, by_block, strict=True)
    weight_of = {id(block): weight for block, weight in pairs}

    def weighed(residual: torch.Tensor) -> torch.Tensor:
        weight = weight_of[id(residual)]
        return residual if weight == 1.0 else residual * weight

    return each(residuals, weighed)


def own_blocks(residuals: Residuals) -> list[torch.Tensor]:
    """List a net's different tensors, one for each of its own blocks, shallow to deep."""
    inputs = residuals.get("input", [])
    if any(residual is not None and residual.ndim == 4 for residual in inputs):
        inputs = inputs[::-1]
    ordered = [*inputs, *residuals.get("output", []), *residuals.get("middle", [])]
    return list({id(residual): residual for residual in ordered if residual is not None}.values())


def each(residuals: Residuals, change: Callable[[torch.Tensor], torch.Tensor]) -> Residuals:
    """Apply `change` to every tensor, and only once to one that several places share."""
    changed: dict[int, torch.Tensor] = {}

    def once(residual: torch.Tensor) -> torch.Tensor:
        if id(residual) not in changed:
            changed[id(residual)] = change(residual)
        return changed[id(residual)]

    def of_place(place: str) -> list[torch.Tensor | None]:
        return [None if r is None else once(r) for r in residuals.get(place, [])]

    return {place: of_place(place) for place in PLACES}


def spread_rows(residuals: Residuals, rows: slice | list[int], total: int) -> Residuals:
    """Put residuals of some `rows` into a batch of `total` rows, zero elsewhere: → (total, …)."""

    def spread(residual: torch.Tensor) -> torch.Tensor:
        batch = residual.new_zeros((total, *residual.shape[1:]))
        batch[rows] = residual  # a residual of one row is written to each
        return batch

    return each(residuals, spread)


def _add(
    previous: list[torch.Tensor | None], own: list[torch.Tensor | None]
) -> list[torch.Tensor | None]:
    # Nets for transformers put few tensors into many places: each pair is added once.
    sums: dict[tuple[int, int], torch.Tensor] = {}

    def add(p: torch.Tensor | None, o: torch.Tensor | None) -> torch.Tensor | None:
        if p is None or o is None:
            return p if o is None else o
        key = (id(p), id(o))
        if key not in sums:
            sums[key] = p + o
        return sums[key]

    longest = max(len(previous), len(own))
    pairs = zip(_padded(previous, longest), _padded(own, longest), strict=True)
    return [add(p, o) for p, o in pairs]


def _padded(residuals: list[torch.Tensor | None], length: int) -> list[torch.Tensor | None]:
    return residuals + [None] * (length - len(residuals))
