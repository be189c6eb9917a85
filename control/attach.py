"""Put a stack on conditionings: its units as a chain of controls, each with its hint set."""

# ComfyUI has no types, so strict checking would only list its names.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from . import checks, hints, unions
from .adapter import StackedControl
from .fits import FITS
from .hint_cache import resize
from .patches import PatchNet
from .prompts import Side, marked
from .speed import EXACT, Speed
from .stack import Stack, Unit
from .unions import REPAINT


def attach(
    stack: Stack,
    conditionings: Sequence[list[Any]],
    vae: Any = None,
    model: Any = None,
    *,
    speed: Speed = EXACT,
    with_negative: bool,
    say: Callable[[str], None] = logging.warning,
    on_end: Callable[[StackedControl], None] | None = None,
    label_of: Callable[[str], str] = lambda _node: "",
) -> list[list[Any]]:
    """Return the conditionings with the stack's nets at the end of each entry's chain.

    Entries with the same chain share the same objects, on positive and negative alike: only then
    does ComfyUI run both in one batch. Without a negative, ComfyUI is told to apply the positive's
    control to it. `speed`: what may be rounded or reused. `say` tells the user a sentence while
    sampling; `on_end` is called with the last member at the end of each run; `label_of` gives the
    label of what a node added. Raises ValueError for a unit that cannot be served, or does not fit
    the `model`.
    """
    stack = Stack(tuple(replace(unit, label=label_of(unit.node)) for unit in stack.units))
    has_area = any("area" in options for _, options in conditionings[0])
    for unit in stack.units:
        with checks.named(unit):
            _refuse(unit, vae, model, has_area=has_area)
    is_regional = any(FITS[unit.fit].by_area for unit in stack.units)
    chains: dict[Any, Any] = {}
    attached: list[list[Any]] = []
    # The positive comes first; a caller may leave the negative out.
    for conditioning, side in zip(conditionings, (Side(True), Side(False)), strict=False):
        entries: list[Any] = []
        for text, options in conditioning:
            previous = options.get("control")
            area = tuple(options.get("area", ())) if is_regional else ()
            if (previous, area) not in chains:
                last = chains[previous, area] = _chain(
                    stack, previous, vae, area, partial(StackedControl, say=say, speed=speed)
                )
                if last is not previous:
                    last.on_end = on_end
            control = chains[previous, area]
            changed = {**options, "control": control, "control_apply_to_uncond": not with_negative}
            if _is_for_positive(control):
                changed = marked(changed, side if with_negative else None)
            entries.append([text, options if control is previous else changed])
        attached.append(entries)
    return attached


def _refuse(unit: Unit, vae: Any, model: Any, *, has_area: bool) -> None:
    """Raise ValueError for a unit that cannot be served, or does not fit the model."""
    if model is not None:
        checks.refuse_mismatch(unit.net_info, model.model.model_config)
    checks.refuse_unfit(unit, vae)
    if FITS[unit.fit].by_area and not has_area:
        raise ValueError(
            "fit 'region': the positive prompt has no area. Set one with ComfyUI's Conditioning"
            " (Set Area) before Apply ControlNet Stack, or choose another fit."
        )


def _is_for_positive(control: Any) -> bool:
    """Return whether some unit of a chain treats the positive prompt otherwise."""
    while control is not None:
        if isinstance(control, StackedControl) and control.tells_prompts_apart:
            return True
        control = getattr(control, "previous_controlnet", None)
    return False


def _chain(
    stack: Stack,
    previous: Any,
    vae: Any,
    area: tuple[Any, ...],
    member_of: Callable[[Unit, Any], StackedControl],
) -> Any:
    """Return the last of the stack's members, linked after `previous`.

    A unit by area is left out where there is no area. A negative needs none: ComfyUI gives each
    area of the positive a negative of its own, with the positive's control.
    """
    for unit in stack.units:
        if FITS[unit.fit].by_area:
            if not area:
                continue
            unit = _in_region(unit, hints.region_of(area, unit.hint))
        member = member_of(unit, _net_with_hint(unit, vae))
        member.set_previous_controlnet(previous)
        previous = member
    return previous


def _in_region(unit: Unit, region: hints.Region) -> Unit:
    return replace(
        unit,
        hint=region.cut(unit.hint),
        effect_mask=None if unit.effect_mask is None else unit.effect_mask.cut(region),
        inpaint_mask=None if unit.inpaint_mask is None else region.cut(unit.inpaint_mask),
    )


def _net_with_hint(unit: Unit, vae: Any) -> Any:
    """Copy the unit's net and set its hint, the area to inpaint marked as the net was trained."""
    net, hint, concat = unit.net.copy(), unit.hint, []
    if isinstance(net, PatchNet) and unit.inpaint_mask is not None:
        concat = [unit.inpaint_mask.unsqueeze(1)]
    elif unit.inpaint_mask is not None:
        bilinear = partial(resize, method="bilinear", crop="center")
        value = getattr(net, "inpaint_value", 0.0 if unit.net_info.takes_mask else None)
        if value is not None:
            hint = hints.fill_inpaint_area(hint, unit.inpaint_mask, value, bilinear)
            concat = [1.0 - unit.inpaint_mask.unsqueeze(1)]
        else:
            hint = _with_inpaint_value(unit, unit.inpaint_mask, bilinear)
    interval = (unit.start_percent, unit.end_percent)
    net.set_cond_hint(hint, unit.strength, interval, vae=vae, extra_concat=concat)
    if unit.types:
        net.set_extra_arg("control_type", [kind.number for kind in unit.types])
    return net


def _with_inpaint_value(unit: Unit, mask: torch.Tensor, bilinear: Any) -> torch.Tensor:
    """Mark the area to inpaint in the unit's hint; of a union's hints only in that for repaint."""
    if not unit.types:
        return hints.fill_inpaint_area(unit.hint, mask, hints.INPAINT_VALUE["inpaint"], bilinear)
    parts = list(unions.hints_by_type(unit.hint, len(unit.types)))
    for i, kind in enumerate(unit.types):
        if kind.name == REPAINT:
            value = hints.INPAINT_VALUE[REPAINT]
            parts[i] = hints.fill_inpaint_area(parts[i], mask, value, bilinear)
    rows = max(part.shape[0] for part in parts)
    return torch.cat([hints.for_frames(part, range(rows)) for part in parts])
