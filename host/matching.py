"""Which map a net expects (`files/conditions.py`) and what a hint is
(`preprocessors/hint_check.py`), brought together.

Nothing here changes a hint or a choice: it answers in sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from ..control.net_info import NetInfo, source_of
from ..control.unions import AUTO
from ..files import conditions
from ..preprocessors import catalogue, hint_check
from ..preprocessors.palettes import PALETTES
from ..preprocessors.spec import Value
from .runtime import say

MAPS: Mapping[str, tuple[str, ...]] = {
    "canny": ("canny",),
    "mlsd": ("mlsd",),
    "softedge": ("softedge", "hed"),
    "scribble": ("fake_scribble", "scribble", "xdog"),
    "lineart": ("lineart",),
    "lineart_anime": ("lineart_anime",),
    "any_line": ("lineart",),
    "depth": ("depth",),
    "normal_bae": ("normal",),
    "normal_cn10": ("normal",),
    "normal": ("normal",),
    "pose": ("pose",),
    "segmentation": ("segmentation",),
    "inpaint": ("inpaint_hint",),
    "tile": ("tile",),
    "shuffle": ("shuffle",),
    "recolor": ("recolor",),
    "colorgrid": ("color_grid",),
    "brightness": ("brightness",),
}
"""The methods that make the maps of a condition, the usual one first."""
TAG = "controlstack_condition"
"""Attribute of a hint that a node of ours made: the key of its condition. It is lost where another
node works on it.
"""
CONVENTIONS = {"bae": "normal_bae", "cn1.0": "normal_cn10"}
"""Conditions of normal maps; the other conventions are no ControlNet's."""


def made_by(method: str, params: Mapping[str, Value]) -> conditions.Condition | None:
    """The condition whose maps a method makes; None where no net is known to read them."""
    if method == "normal":
        return conditions.condition(CONVENTIONS.get(str(params.get("convention", "bae")), ""))
    return next(
        (conditions.condition(key) for key, methods in MAPS.items() if method in methods), None
    )


def refuse_other_map(control_net: Any, method: str, params: Mapping[str, Value]) -> None:
    """Raise ValueError where the net is known to read another map than the method makes, naming the
    method that does.

    Silent where a net's file tells nothing, and for union nets, which read several.
    """
    source = source_of(control_net)
    expected, made = conditions.expected(source), made_by(method, params)
    if source is None or expected is None or made is None or conditions.accepts(expected, made):
        return
    known = MAPS.get(expected.key, ())
    convention = next((name for name, key in CONVENTIONS.items() if key == expected.key), "")
    choose = f"choose method {known[0]!r}" if known else "no method here makes them"
    choose += f" with convention {convention!r}" if convention else ""
    raise ValueError(
        f"ControlNet {source.name!r} was trained on {expected.title}, and {catalogue(method).title}"
        f" makes {made.title}: {choose}, or disconnect control_net if you mean it"
    )


def tag(hint: torch.Tensor, method: str, params: Mapping[str, Value]) -> None:
    """Have a hint carry what it is."""
    if made := made_by(method, params):
        setattr(hint, TAG, made.key)


def carried(image: torch.Tensor) -> conditions.Condition | None:
    """What a hint that came straight from a node of ours is; None for every other picture."""
    return conditions.condition(getattr(image, TAG, ""))


def union_type(info: NetInfo, image: torch.Tensor, asked: str) -> tuple[str, str]:
    """The union type to use, and a remark or ''.

    'auto' is the type of what the hint carries; where it carries nothing, or what the net was not
    taught, it stays 'auto' (the net is told no type) and the remark asks for one.
    """
    offered = info.union_types
    if asked != AUTO or not offered:
        return asked, ""
    is_a = carried(image)
    if is_a is not None and is_a.union_type in offered:
        return is_a.union_type, ""
    found = (
        f"this hint ({is_a.title}) is none of its types"
        if is_a
        else "this hint does not tell what it is"
    )
    return (
        AUTO,
        (
            f"union_type is 'auto', but {found}: name one of {', '.join(offered)}, or the net is"
            " told none"
        ),
    )


def suspicion(info: NetInfo, image: torch.Tensor) -> str:
    """The sentence for a hint (B,H,W,C) that is obviously no map of the kind its net reads; ''
    where nothing is.
    """
    source, is_a = info.source, carried(image)
    expected = conditions.expected(source)
    if source is None or expected is None:
        return ""
    if is_a is not None:  # of what we made we know what it is; its pixels need no judge
        other = (
            f"{source.name} was trained on {expected.title}, but this hint is a map of another"
            f" kind: {is_a.title}"
        )
        return "" if conditions.accepts(expected, is_a) else other
    colours = image.expand(-1, -1, -1, 3) if image.shape[3] == 1 else image[..., :3]
    return hint_check.disagreement(colours.cpu(), expected.key, _palette())


def said(sentence: str) -> dict[str, tuple[str]] | None:
    """The node's ui for a sentence, which is also put on the node at once and into the log; None
    for ''.
    """
    if not sentence:
        return None
    say(sentence)
    return {"text": (sentence,)}


@cache
def _palette() -> torch.Tensor:
    """(N,3) in [0,1]: the colours of every palette, and black, which is no class."""
    return torch.cat([palette.paint.unique(dim=0) for palette in PALETTES.values()])
