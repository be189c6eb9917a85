"""Units and stacks: which net acts with which hint, how strongly, when, where and how deep.

Everything is frozen and nothing here computes: nets, hints and masks are only carried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .layers import SOFT_BASE, Layers
from .masks import EffectMask
from .net_info import NetInfo
from .schedule import Schedule
from .unions import UnionType


@dataclass(frozen=True)
class Mode:
    """What a mode does.

    `soft`: it has soft layers where a unit sets none. `positive_only`: it acts on the positive
    prompt only.
    """

    soft: bool = False
    positive_only: bool = False


MODES: Mapping[str, Mode] = {
    "balanced": Mode(),
    "prompt": Mode(soft=True),
    "control": Mode(soft=True, positive_only=True),
    "cond_only": Mode(positive_only=True),
}


@dataclass(frozen=True)
class Unit:
    """A net of a stack with its hint and settings.

    `net`: ComfyUI's control object; `hint`: (B,3,H,W); percents: fractions of sampling in [0,1].
    `frame_strength`: over the numbers of batch entries or frames. `inpaint_mask`: (B,H,W), 1 in the
    area to inpaint. `types`: the union types that the net is asked for, none for "auto".
    `node`: the id of the node that added it, "" where none did. `label`: what stands before
    sentences about it, "" for those that a node of their own shows.
    """

    net: Any
    net_info: NetInfo
    hint: torch.Tensor
    strength: float = 1.0
    start_percent: float = 0.0
    end_percent: float = 1.0
    mode: str = "balanced"
    fit: str = "crop"
    schedule: Schedule = field(default_factory=Schedule)
    layers: Layers = field(default_factory=Layers)
    frame_strength: Schedule = field(default_factory=Schedule)
    effect_mask: EffectMask | None = None
    inpaint_mask: torch.Tensor | None = None
    types: tuple[UnionType, ...] = ()
    node: str = ""
    label: str = ""

    @property
    def depth(self) -> Layers:
        """Its weights over depth: its own layers, else those of its mode."""
        if MODES[self.mode].soft and not self.layers.kind:
            return Layers("soft", (SOFT_BASE,))
        return self.layers

    @property
    def is_idle(self) -> bool:
        """Whether it can never change the image, so that its net need not be loaded."""
        return bool(self.idle_reason)

    @property
    def idle_reason(self) -> str:
        """The key of IDLE for why it can never change the image, "" where it may."""
        return next((key for key, (holds, _) in IDLE.items() if holds(self)), "")

    @property
    def is_instant(self) -> bool:
        """Whether its range is one instant: it acts only if a sampler step falls exactly there."""
        return self.start_percent == self.end_percent

    @property
    def on_positive_only(self) -> bool:
        """Whether it acts on the positive prompt only."""
        return MODES[self.mode].positive_only

    def acts_on(self, frame: int, _entry: int = 0) -> bool:
        """Return whether it can change this batch entry or frame."""
        masked_out = self.effect_mask is not None and not self.effect_mask.acts_on(frame)
        return not masked_out and self.frame_strength.at(frame) != 0.0


def _is_masked_out(unit: Unit) -> bool:
    return unit.effect_mask is not None and unit.effect_mask.is_zero


IDLE: Mapping[str, tuple[Callable[[Unit], bool], str]] = {
    "strength": (lambda unit: unit.strength == 0.0, "strength is 0"),
    "schedule": (lambda unit: unit.schedule.is_zero, "schedule is 0 throughout"),
    "frames": (lambda unit: unit.frame_strength.is_zero, "frame_strength is 0 throughout"),
    "mask": (_is_masked_out, "effect_mask is black"),
    "layers": (lambda unit: unit.layers.is_zero, "layers are 0 throughout"),
    "range": (lambda unit: unit.start_percent > unit.end_percent, "it ends before it starts"),
}
"""Why a unit can never change the image: the test, and the words for it."""


@dataclass(frozen=True)
class Stack:
    """Units, in the order in which their residuals are added."""

    units: tuple[Unit, ...] = ()

    def with_unit(self, unit: Unit) -> Stack:
        """Return this stack with one more unit at its end."""
        return Stack((*self.units, unit))
