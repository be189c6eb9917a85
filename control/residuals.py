"""Residuals: what a ControlNet adds to a model, `{"input" | "middle" | "output": [Tensor | None]}`.

For a UNet "output" holds one (rows, C, h, w) tensor for each input block, to be added to its skip
connection; "middle" one for the middle block; "input" is what T2I-Adapters add after input blocks,
the deepest first. A transformer gets (rows, tokens, C) for its blocks, in their order: "input" for
Flux's double blocks and Qwen-Image's, "output" for single blocks and those of SD3; one tensor often
stands in many places. The model pops from these lists, so every function returns new ones, and none
writes to a tensor that it did not make.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

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


class Free(Residuals):
    """Residuals in tensors that nobody else has: the next member of a chain may add to them."""


def add_scaled(
    previous: Residuals | None, own: Residuals, strength: float, *, own_is_free: bool
) -> Residuals:
    """Compute previous + strength · own, place by place, in one pass and without a copy.

    Writes to the tensors of `previous` where they are `Free`, else to those of `own` where
    `own_is_free`. Rounds otherwise than scaling and then adding.
    """
    previous = previous or {}
    into_previous = isinstance(previous, Free) and _are_different(previous)
    into_own = own_is_free and _are_different(own)
    sums: dict[tuple[int, int], torch.Tensor] = {}

    def scaled(o: torch.Tensor) -> torch.Tensor:
        if strength == 1.0:
            return o
        return o.mul_(strength) if into_own and not o.requires_grad else o * strength

    def add(p: torch.Tensor | None, o: torch.Tensor | None) -> torch.Tensor | None:
        if o is None:
            return p
        if (id(p), id(o)) not in sums:
            sums[id(p), id(o)] = scaled(o) if p is None else total(p, o)
        return sums[id(p), id(o)]

    def total(p: torch.Tensor, o: torch.Tensor) -> torch.Tensor:
        into = p if into_previous else o if into_own else None
        if p.shape != o.shape or p.dtype != o.dtype or p.requires_grad or o.requires_grad:
            into = None
        return torch.add(p, o, alpha=strength, out=into)

    added = {
        place: [add(p, o) for p, o in _paired(previous.get(place, []), own.get(place, []))]
        for place in PLACES
    }
    is_new = own_is_free or strength != 1.0
    return Free(added) if is_new and (into_previous or not previous) else added


def _are_different(residuals: Residuals) -> bool:
    """Return whether no tensor stands in several places."""
    every = [residual for place in PLACES for residual in residuals.get(place, [])]
    ids = [id(residual) for residual in every if residual is not None]
    return len(set(ids)) == len(ids)


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


def pick_rows(residuals: Residuals, rows: list[int]) -> Residuals:
    """Return these rows of residuals, in this order; one row that serves all stays as it is."""
    return each(residuals, lambda residual: residual if len(residual) == 1 else residual[rows])


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

    return [add(p, o) for p, o in _paired(previous, own)]


def _paired(
    previous: list[torch.Tensor | None], own: list[torch.Tensor | None]
) -> Iterator[tuple[torch.Tensor | None, torch.Tensor | None]]:
    """Pair two lists place by place; the shorter counts as if filled with None."""
    return itertools.zip_longest(previous, own)
