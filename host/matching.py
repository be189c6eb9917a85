"""Compare the condition that a ControlNet was trained on with what a hint is.

`files/conditions.py` knows the nets, the catalogue's rows the hints, and
`preprocessors/hint_check.py` looks at pixels. Nothing here changes a hint or a choice: it answers
in sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from ..control.fits import over_white
from ..control.net_info import NetInfo, source_of
from ..control.unions import AUTO, words_of
from ..files import conditions
from ..preprocessors import CATALOGUE, Preprocessor, hint_check
from ..preprocessors.palettes import PALETTES
from ..preprocessors.spec import Value
from .progress import say

TAG = "controlstack_condition"
"""Attribute of a hint that a node of ours made: the key of its condition. It is lost when another
node changes the hint."""


def methods_for(condition: str) -> tuple[Preprocessor, ...]:
    """List the rows whose hints the ControlNets of a condition read, the usual one first."""
    rows = (row for row in CATALOGUE if condition in row.conditions)
    return tuple(sorted(rows, key=lambda row: not row.is_usual))


MAPS: Mapping[str, tuple[Preprocessor, ...]] = {
    row.key: methods_for(row.key) for row in conditions.CONDITIONS
}
"""The methods of every condition, the usual one first."""


def refuse_other_map(control_net: Any, row: Preprocessor, params: Mapping[str, Value]) -> None:
    """Raise ValueError, naming the right method, if the net reads other hints than the row makes.

    Silent if the net's file does not say, and for union nets, which read several.
    """
    source, offered = source_of(control_net), conditions.condition(row.condition(params))
    expected = conditions.expected(source)
    if source is None or expected is None or offered is None:
        return
    if conditions.accepts(expected, offered):
        return
    raise ValueError(
        f"ControlNet {source.name!r} was trained on {expected.title}, and {row.title} makes"
        f" {offered.title}: {_advice(expected.key)}, or disconnect control_net if you mean it"
    )


def _advice(condition: str) -> str:
    """Name the method for a condition, and the setting where one decides."""
    rows = MAPS.get(condition, ())
    if not rows:
        return "this pack has no method that makes them"
    by = rows[0].condition_by
    settings = {key: value for value, key in by.conditions.items()} if by else {}
    advice = f"choose method {rows[0].key!r}"
    if by is not None and condition in settings:
        advice += f" with {by.param} {settings[condition]!r}"
    return advice


def tag(hint: torch.Tensor, row: Preprocessor, params: Mapping[str, Value]) -> None:
    """Mark a hint with the condition that it belongs to."""
    if condition := row.condition(params):
        setattr(hint, TAG, condition)


def hint_condition(image: torch.Tensor) -> conditions.Condition | None:
    """Return the condition of a hint straight from a node of ours; None for every other picture."""
    return conditions.condition(getattr(image, TAG, ""))


def union_type(info: NetInfo, image: torch.Tensor, asked: str) -> tuple[str, str]:
    """Return the union type to use, and a remark or ''.

    'auto' is the type of the hint's condition. If the hint has none, or the net was not trained on
    it, it stays 'auto' (the net runs without a type) and the remark asks for one.
    """
    offered = info.union_types
    if asked != AUTO or not offered:
        return asked, ""
    condition = hint_condition(image)
    if condition is not None:
        words = words_of(offered)  # unions for Flux have types for Canny edges, none for all lines
        name = words.get(condition.union_type) or words.get(condition.key)
        if name is not None:
            return name, ""
    if condition is None:
        reason = "this hint does not come straight from a preprocessor, which would say its type"
    else:
        reason = f"this net has no type for this hint ({condition.title})"
    remark = (
        f"union_type is 'auto', but {reason}: choose one of {', '.join(offered)}, or the net runs"
        " without a type"
    )
    return AUTO, remark


def mismatch_warning(info: NetInfo, image: torch.Tensor) -> str:
    """Warn of a hint (B,H,W,C) of a kind that its net obviously does not read; '' otherwise."""
    source, condition = info.source, hint_condition(image)
    expected = conditions.expected(source)
    if source is None or expected is None:
        return ""
    if condition is None:
        colours = image.expand(-1, -1, -1, 3) if image.shape[3] == 1 else over_white(image)
        return hint_check.disagreement(colours.cpu(), expected.key, _palette())
    if conditions.accepts(expected, condition):
        return ""
    return (
        f"{source.name} was trained on {expected.title}, but this hint is of another kind:"
        f" {condition.title}"
    )


def as_remark(sentence: str, level: str = "remark") -> dict[str, tuple[str]] | None:
    """Return a node's ui that shows the sentence, and write it to the log; None for ''.

    `level`: "warning" where the picture will hardly be what was meant, else "remark".
    """
    if not sentence:
        return None
    say(sentence)
    return {"text": (sentence,), "level": (level,)}


@cache
def _palette() -> torch.Tensor:
    """Return the colours (N,3) in [0,1] of every palette, and black, which has no class."""
    return torch.cat([palette.paint.unique(dim=0) for palette in PALETTES.values()])
