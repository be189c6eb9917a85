"""What a net that acts inside the model changes there, seen by patches before and after its own.

Its own patch stays as it is. Of each block of the net, the norm of what it added is noted, and the
norm of what was there before: tokens after a block, or what goes into an attention and an MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor

from .journal import Call, Mark, now
from .model_blocks import Args, Block, row_norms

Hooks = dict[str, list[Any]]
TIMED = ("cpu", "cuda")  # on others, asking for the time at every block would slow the model
Before = tuple[list[Tensor], Mark]


class Inside:
    """Notes of one call of the model.

    `block_of`: which of the net's own blocks acts, by what a patch is called with; None where none
    does. `tokens`: how many the picture has.
    """

    def __init__(self, call: Call, block_of: Callable[[Args], int | None], tokens: int) -> None:
        self.call, self.block_of, self.tokens = call, block_of, tokens
        self.before: Before | None = None

    def around(self, hooks: Mapping[str, list[Any]]) -> Hooks:
        """Put a patch before the net's in each place that can be seen, and one after them."""
        return {
            place: [pair[0](self), *ours, pair[1](self)]
            if (pair := SEEN.get(place)) is not None
            else list(ours)
            for place, ours in hooks.items()
        }

    def enter(self, where: Args, values: list[Tensor], *, in_place: bool) -> None:
        """Note what is there before the net acts."""
        self.before = None
        with suppress(Exception):  # whatever it is: a report is not worth a picture
            if self.block_of(where) is not None:
                values = [value.clone() if in_place else value for value in values]
                self.before = (values, _mark(values[0]))

    def leave(self, where: Args, values: list[Tensor], tokens: int | None = None) -> None:
        """Note what the net has changed, and how long it took.

        `tokens`: how many are the picture's, the first of `values`; None for all.
        """
        with suppress(Exception):
            block = self.block_of(where)
            if self.before is None or block is None:
                return
            (originals, began), self.before = self.before, None
            if began is not None:
                self.call.spans.append((began, _mark(values[0])))
            # What the net left as it was (k and v of a cross-attention) is none of its places.
            pairs = zip(originals, values, strict=True)
            changed = [(original, value) for original, value in pairs if value is not original]
            for original, value in changed:
                _add(self.call.norms, ("block", block), row_norms(value - original))
                _add(self.call.beside, ("block", block), row_norms(original[:, :tokens]))
                self.call.own["block", block] = block


def _mark(values: Tensor) -> Mark | None:
    return now(values.device) if values.device.type in TIMED else None


def _add(norms: dict[Block, Tensor], block: Block, norm: Tensor) -> None:
    """Add to a norm that of other values of the same block."""
    norms[block] = norm if block not in norms else (norms[block] ** 2 + norm**2).sqrt()


# -- the patches, as each place calls them ---------------------------------------------------------


def _before_tokens(notes: Inside) -> Callable[[Args], Args]:
    def patch(args: Args) -> Args:
        notes.enter(args, [args["img"]], in_place=True)
        return args

    return patch


def _after_tokens(notes: Inside) -> Callable[[Args], Args]:
    def patch(args: Args) -> Args:
        notes.leave(args, [args["img"]], notes.tokens)
        return args

    return patch


def _before_attention(notes: Inside) -> Callable[..., Any]:
    def patch(q: Tensor, k: Tensor, v: Tensor, *unet: Args, **rest: Any) -> Any:
        notes.enter(_where(unet, rest), [q, k, v], in_place=False)
        return (q, k, v) if unet else {"q": q, "k": k, "v": v}

    return patch


def _after_attention(notes: Inside) -> Callable[..., Any]:
    def patch(q: Tensor, k: Tensor, v: Tensor, *unet: Args, **rest: Any) -> Any:
        notes.leave(_where(unet, rest), [q, k, v])
        return (q, k, v) if unet else {"q": q, "k": k, "v": v}

    return patch


def _where(unet: tuple[Args, ...], rest: Args) -> Args:
    """Return what tells the block: a UNet gives it as the fourth argument, Anima by its name."""
    return unet[0] if unet else rest.get("extra_options") or {}


def _before_mlp(notes: Inside) -> Callable[[Args], Args]:
    def patch(args: Args) -> Args:
        notes.enter(args["transformer_options"], [args["x"]], in_place=False)
        return args

    return patch


def _after_mlp(notes: Inside) -> Callable[[Args], Args]:
    def patch(args: Args) -> Args:
        notes.leave(args["transformer_options"], [args["x"]])
        return args

    return patch


Pair = tuple[Callable[[Inside], Any], Callable[[Inside], Any]]
SEEN: Mapping[str, Pair] = {
    "double_block": (_before_tokens, _after_tokens),
    "noise_refiner": (_before_tokens, _after_tokens),
    "attn1_patch": (_before_attention, _after_attention),
    "attn2_patch": (_before_attention, _after_attention),
    "mlp_patch": (_before_mlp, _after_mlp),
}
