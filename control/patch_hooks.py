"""Let ComfyUI's own model patches act on some rows of a batch, and with a weight for each block.

A patch is called after a block of the model and changes the tokens `img` in place, or is called in
an attention with q, k and v. What it adds is multiplied by its `strength`, a number or a tensor
(rows, tokens, 1). Nothing is wrapped where all rows act with equal weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .frames import Rows

Args = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """How a patch acts in one call of the model.

    `kinds`: which prompt each acting conditioning is, as in ComfyUI's `cond_or_uncond`. `weights`:
    of the net's own blocks, shallow to deep; None for equal ones. `block_of`: which of them acts
    after a block of the model. `reads_img`: whether the patch reads the tokens that it changes.
    """

    rows: Rows
    kinds: Sequence[int]
    weights: Sequence[float] | None
    block_of: Callable[[Args], int]
    reads_img: bool

    @property
    def is_plain(self) -> bool:
        """Whether the patch can act as it is."""
        return self.rows.are_all and self.weights is None


class AfterBlocks:
    """A patch that changes the tokens after a block, for the acting rows only."""

    def __init__(self, patch: Any, change: Change) -> None:
        self.patch, self.change, self.strength = patch, change, patch.strength

    def __call__(self, args: Args) -> Args:
        """Run the patch; returns the arguments, because tokens are changed in place."""
        weights, rows = self.change.weights, self.change.rows
        if weights is not None:
            block = min(self.change.block_of(args), len(weights) - 1)
            self.patch.strength = self.strength * weights[block]
        if rows.are_all:
            return self.patch(args)
        tokens, options = args["img"], args.get("transformer_options", {})
        picked = {key: rows.select(value) for key, value in args.items()}
        picked["transformer_options"] = {**options, "cond_or_uncond": list(self.change.kinds)}
        # Where the patch only adds, it adds to zeros: exact in half precision too.
        before = tokens[rows.selection]
        mine = before.clone() if self.change.reads_img else torch.zeros_like(before)
        picked["img"] = mine
        self.patch(picked)
        tokens[rows.selection] = mine if self.change.reads_img else before + mine
        return args


class InAttention:
    """A patch of q, k and v, for the acting rows only."""

    def __init__(self, patch: Any, owner: Any, change: Change) -> None:
        self.patch, self.owner, self.change = patch, owner, change
        self.strength = owner.strength

    def __call__(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **rest: Any
    ) -> dict[str, Any]:
        """Return the changed q, k and v, and the rest as the patch gives it."""
        _weigh(self, rest.get("extra_options") or {})
        rows, values = self.change.rows, {"q": q, "k": k, "v": v}
        picked = {name: value[rows.selection] for name, value in values.items()}
        out = self.patch(*picked.values(), **rest)
        changed = (name for name in values if out[name] is not picked[name])
        return {**out, **values} | {n: _with_rows(values[n], out[n], rows) for n in changed}


class InMlp:
    """A patch of what goes into a block's MLP, for the acting rows only."""

    def __init__(self, patch: Any, owner: Any, change: Change) -> None:
        self.patch, self.owner, self.change = patch, owner, change
        self.strength = owner.strength

    def __call__(self, args: Args) -> Args:
        """Return the arguments with `x` changed."""
        _weigh(self, args["transformer_options"])
        rows, x = self.change.rows, args["x"]
        out = self.patch({**args, "x": x[rows.selection]})
        return {**args, "x": _with_rows(x, out["x"], rows)}


def _weigh(hook: InAttention | InMlp, where: Args) -> None:
    if (weights := hook.change.weights) is not None:
        block = min(hook.change.block_of(where), len(weights) - 1)
        hook.owner.strength = hook.strength * weights[block]


def _with_rows(values: torch.Tensor, changed: torch.Tensor, rows: Rows) -> torch.Tensor:
    if rows.are_all:
        return changed
    out = values.clone()
    out[rows.selection] = changed
    return out
