"""Read what comes over wires: a net, an image and settings as a Unit, several as a Stack."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch

from . import layers, masks, schedule, unions
from .fits import FITS, over_white
from .grammar import one_of
from .net_info import NetInfo, all_union_types, look_at
from .schedule import Schedule
from .stack import MODES, Stack, Unit

Reader = Callable[[str, Any], Any]
"""The name of an input and its value → the value of the Unit's field of that name."""


def unit_of(
    net: Any, info: NetInfo, image: torch.Tensor, union_type: str = unions.AUTO, **settings: Any
) -> Unit:
    """Build a Unit of a net, its `look_at`, an IMAGE and settings as they come (see `READERS`).

    Raises ValueError naming the input that cannot be used.
    """
    values = {name: READERS[name](name, value) for name, value in settings.items()}
    hint = hint_of(image)
    return Unit(net, info, hint, types=_types_of(union_type, info, hint), **values)


def refusals(texts: Mapping[str, Any]) -> list[str]:
    """List the sentences of the texts that do not parse, by the names of their inputs.

    What comes over a wire is not known yet (None) and passes.
    """
    sentences: list[str] = []
    for name, value in texts.items():
        try:
            if value is not None:
                TEXT_READERS[name](name, value)
        except ValueError as error:
            sentences.append(str(error))
    return sentences


def stack_of(stack: Any) -> Stack:
    """Read our Stack, or a CONTROL_NET_STACK: a list of (control_net, image, strength, start, end).

    Raises ValueError for anything else.
    """
    if stack is None or isinstance(stack, Stack):
        return stack or Stack()
    if not isinstance(stack, Sequence) or not all(map(_is_row, cast("Sequence[Any]", stack))):
        raise ValueError(
            "stack: expected a CONTROL_STACK, or a CONTROL_NET_STACK of (control_net, image,"
            f" strength, start, end), found {type(cast('Any', stack)).__name__}"
        )
    return Stack(tuple(_unit_of_row(*row) for row in cast("Sequence[Any]", stack)))


def _is_row(row: Any) -> bool:
    return isinstance(row, Sequence) and len(cast("Sequence[Any]", row)) == 5


def _unit_of_row(net: Any, image: torch.Tensor, strength: float, start: float, end: float) -> Unit:
    settings = {"strength": strength, "start_percent": start, "end_percent": end}
    return unit_of(net, look_at(net), image, unions.AUTO, **settings)


def hint_of(image: torch.Tensor) -> torch.Tensor:
    """Turn an IMAGE, (B,H,W,C), into a hint, (B,3,H,W): grey is repeated, alpha laid over white.

    Values of opaque pictures are unchanged. Raises ValueError for an empty batch, a picture without
    pixels, or values that are not finite.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"image: expected (batch, height, width, 3), found {tuple(image.shape)}")
    if image.numel() == 0:
        raise ValueError(
            "image: expected at least one picture with at least one pixel, found"
            f" {tuple(image.shape)}"
        )
    if not bool(torch.isfinite(image).all()):
        raise ValueError(
            "image: expected finite values, found NaN or infinity. Check the node that made this"
            " hint."
        )
    if image.shape[-1] == 3:
        # As ComfyUI's nodes pass it on: a convolution rounds by the layout in memory.
        return image.float().movedim(-1, 1)
    colours = image.repeat(1, 1, 1, 3) if image.shape[-1] == 1 else over_white(image)
    # In the memory layout of an IMAGE (channels last), so that convolutions round as for one.
    return colours.float().contiguous().movedim(-1, 1)


def schedule_of(value: Any) -> Schedule:
    """Read a schedule: its text, or ComfyUI's CURVE over sampling.

    A curve comes as an object, as {"points", "interpolation"}, or as (x, y) pairs.
    """
    if isinstance(value, str):
        return schedule.parse(value)
    if isinstance(value, Mapping):
        curve = cast("Mapping[str, Any]", value)
        points, interpolation = curve.get("points"), curve.get("interpolation")
    else:
        points, interpolation = getattr(value, "points", value), type(value).__name__
    is_linear = interpolation in ("linear", "LinearCurve")
    return schedule.from_points(points, "linear" if is_linear else "smooth")


def _types_of(text: str, info: NetInfo, hint: torch.Tensor) -> tuple[unions.UnionType, ...]:
    """Read union_type for a net and its hint. Raises ValueError for a type that the net lacks."""
    if text == unions.AUTO:
        return ()
    if not info.union_types:
        raise ValueError(
            f"{info} has no union types to choose from: leave union_type at 'auto'. It was trained"
            " on one kind of hint, or tells kinds apart by the picture alone."
        )
    own = info.union_types
    types = unions.parse(text, all_union_types(), own)
    for kind in types:
        if kind.name not in own:
            offered = ", ".join(own)
            raise ValueError(f"{info} has no type {kind.name!r}: choose 'auto' or one of {offered}")
    if len(types) > 1 and not info.fuses_types:
        raise ValueError(
            f"{info} takes one type at a time, found {text!r}: choose one, and add the net once"
            " more for each of the others"
        )
    unions.hints_by_type(hint, len(types) or 1)
    return types


# -- one reader for each setting -------------------------------------------------------------------


def _choice(choices: Iterable[str]) -> Reader:
    def read(name: str, value: str) -> str:
        if value not in choices:
            raise ValueError(f"{name}: expected {one_of(choices)}, found {value!r}")
        return value

    return read


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, found {value}")
    return value


def _text(parse: Callable[[Any], Any]) -> Reader:
    return lambda _name, value: parse(value)


def _optional(parse: Callable[[torch.Tensor], Any]) -> Reader:
    return lambda _name, value: None if value is None else parse(value)


TEXT_READERS: Mapping[str, Reader] = {
    "schedule": _text(schedule_of),
    "layers": _text(layers.parse),
    "frame_strength": _text(schedule.parse_frames),
    "union_type": _text(lambda text: unions.parse(text, all_union_types())),
}
"""How each text of Add ControlNet is read while nothing but the text is known."""

READERS: Mapping[str, Reader] = {
    "strength": _finite,
    "start_percent": _finite,
    "end_percent": _finite,
    "mode": _choice(MODES),
    "fit": _choice(FITS),
    "schedule": _text(schedule_of),
    "layers": _text(layers.parse),
    "frame_strength": _text(schedule.parse_frames),
    "effect_mask": _optional(masks.effect_mask),
    "inpaint_mask": _optional(masks.inpaint_mask),
}
"""How each setting of Add ControlNet is read; every one is a field of Unit."""
