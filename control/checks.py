"""Refuse before sampling what a net cannot do, in a sentence that says what to do instead."""

# ComfyUI has no types, so strict checking would only list its names.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..files import base_models
from .net_info import NetInfo, weights_of
from .stack import MODES, Unit
from .unions import REPAINT

# The one inpainting net for UNets. It reads -1 in its hint, and only its name tells it apart.
_READS_MINUS_ONE = re.compile(r"control_v11p_sd15_inpaint")


@contextmanager
def named(unit: Unit) -> Iterator[None]:
    """Put the unit's label before the sentence of an error that is raised within."""
    try:
        yield
    except ValueError as error:
        if not unit.label:
            raise
        raise ValueError(f"{unit.label}{error}") from error


def refuse_mismatch(info: NetInfo, model_config: Any) -> None:
    """Raise ValueError where a net does not fit the model of ComfyUI's `model_config`."""
    if info.source is None:
        return
    classes = tuple(base.__name__ for base in type(model_config).__mro__)
    model = base_models.model_of(classes, model_config.unet_config)
    if sentence := base_models.mismatch(info.source.name, info.source.identity, model):
        raise ValueError(sentence)


def refuse_unfit(unit: Unit, vae: Any) -> None:
    """Raise ValueError for a unit that its net cannot serve, or that lacks what its net needs."""
    info = unit.net_info
    if info.needs_vae and vae is None:
        raise ValueError(
            f"{info} encodes its hint with the VAE: connect the model's VAE to Apply ControlNet"
            " Stack"
        )
    if info.layout is None and (unit.depth.kind or unit.effect_mask is not None):
        raise ValueError(
            f"{info}: modes {_quoted(soft=True)}, layers and effect_mask need to know how a net's"
            " residuals lie, and this pack does not know nets of this class. Use mode"
            f" {_quoted(soft=False)} and leave layers and effect_mask empty."
        )
    if unit.inpaint_mask is None:
        _refuse_missing_mask(unit)
    elif not info.takes_mask:
        _refuse_unused_mask(unit)


def first_broken_weight(net: Any) -> str:
    """Name a weight of a net that is NaN or infinite; "" where all are finite."""
    for name, weight in weights_of(net).items():
        with suppress(RuntimeError, NotImplementedError, TypeError):  # quantized, or not a tensor
            if weight.is_floating_point() and not bool(weight.float().isfinite().all()):
                return name
    return ""


def _refuse_missing_mask(unit: Unit) -> None:
    info = unit.net_info
    reads_minus_one = info.source is not None and _READS_MINUS_ONE.search(info.source.name)
    # A negative value is there where a preprocessor has put the mask into the hint already.
    if info.takes_mask or (reads_minus_one and float(unit.hint.min()) >= 0.0):
        raise ValueError(
            f"{info} is an inpainting net: connect inpaint_mask of Add ControlNet (white = the area"
            " to inpaint)"
        )


def _refuse_unused_mask(unit: Unit) -> None:
    info = unit.net_info
    if info.layout is None or not info.layout.takes_inpaint_value:
        raise ValueError(
            f"{info} does not use an inpaint_mask: leave it empty. To choose where control acts,"
            " connect effect_mask."
        )
    if info.union_types and REPAINT not in {kind.name for kind in unit.types}:
        raise ValueError(
            f"{info} uses an inpaint_mask for its type {REPAINT!r} only: add it to union_type"
        )


def _quoted(*, soft: bool) -> str:
    names: Iterable[str] = (repr(name) for name, mode in MODES.items() if mode.soft is soft)
    return (" and " if soft else " or ").join(names)
