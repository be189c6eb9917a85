"""Units and stacks: frozen descriptions of which net acts with which hint, how strongly, when,
where and how deep.

Nothing here computes: nets, hints and masks are only carried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ..files.families import Source
from .layers import SOFT_BASE, Layers
from .masks import EffectMask
from .schedule import Schedule

# The public choices, and which of them are built.
MODES = ("balanced", "prompt", "control", "cond_only")
FITS = ("crop", "stretch", "pad", "region")
SPEEDS = ("exact", "fast", "approximate")
CHOICES = {"mode": MODES, "fit": FITS, "speed": SPEEDS}
BUILT = {**CHOICES, "speed": ("exact",)}
# What a mode means: soft over depth (where `layers` says nothing itself), and on the positive
# prompt only.
SOFT = ("prompt", "control")
ON_POSITIVE = ("control", "cond_only")


@dataclass(frozen=True)
class Unit:
    """One net of a stack. `net`: the host's control object; `hint`: (B,C,H,W); percents in [0,1] of
    sampling.

    `frame_schedule` is over the numbers of batch entries or frames; `inpaint_mask`, (B,H,W), is 1
    where the picture is painted anew.
    """

    net: Any
    hint: torch.Tensor
    strength: float = 1.0
    start_percent: float = 0.0
    end_percent: float = 1.0
    mode: str = "balanced"
    fit: str = "crop"
    schedule: Schedule = field(default_factory=Schedule)
    layers: Layers = field(default_factory=Layers)
    frame_schedule: Schedule = field(default_factory=Schedule)
    effect_mask: EffectMask | None = None
    inpaint_mask: torch.Tensor | None = None
    union_type: str = "auto"
    source: Source | None = None

    @property
    def depth(self) -> Layers:
        """Its weighting over depth: what `layers` says, else its mode's own."""
        return (
            Layers("soft", (SOFT_BASE,))
            if self.mode in SOFT and not self.layers.kind
            else self.layers
        )

    @property
    def is_idle(self) -> bool:
        """Nothing of it can ever reach the image: its net need not be loaded."""
        schedules = self.schedule.is_zero or self.frame_schedule.is_zero
        masked_out = self.effect_mask is not None and self.effect_mask.is_zero
        zero = self.strength == 0.0 or schedules or masked_out or self.layers.is_zero
        return zero or self.start_percent > self.end_percent

    @property
    def is_instant(self) -> bool:
        """Its range is one instant: it acts only if a sampler step falls exactly there."""
        return self.start_percent == self.end_percent

    @property
    def on_positive_only(self) -> bool:
        return self.mode in ON_POSITIVE

    def acts_on(self, frame: int) -> bool:
        """Whether anything of it reaches this batch entry or frame."""
        masked_out = self.effect_mask is not None and not self.effect_mask.acts_on(frame)
        return not masked_out and self.frame_schedule.at(frame) != 0.0


@dataclass(frozen=True)
class Stack:
    """Units in the order in which they are added up."""

    units: tuple[Unit, ...] = ()

    def with_unit(self, unit: Unit) -> Stack:
        return Stack((*self.units, unit))


def refuse_not_built(name: str, value: str) -> None:
    """Raise ValueError for a choice that the public surface has but that is not built yet, or that
    it does not have.
    """
    if value not in BUILT[name]:
        built = " or ".join(repr(choice) for choice in BUILT[name])
        what = "not built yet" if value in CHOICES[name] else f"no {name} at all"
        raise ValueError(f"{name} {value!r} is {what}: choose {built}")
