"""Units and stacks: frozen descriptions of which net acts with which hint, how strongly, when, where and how deep.

Nothing here computes: nets, hints and masks are only carried.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .families import Source
from .layers import Layers
from .masks import EffectMask
from .schedule import Schedule

# The public choices, and which of them are built.
MODES = ("balanced", "prompt", "control", "cond_only")
FITS = ("crop", "stretch", "pad", "region")
SPEEDS = ("exact", "fast", "approximate")
BUILT = {"mode": ("balanced", "cond_only"), "fit": ("crop",), "speed": ("exact",)}


@dataclass(frozen=True)
class Unit:
    """One net of a stack. `net`: the host's control object; `hint`: (B,C,H,W); percents in [0,1] of sampling."""

    net: Any
    hint: Any
    strength: float = 1.0
    start_percent: float = 0.0
    end_percent: float = 1.0
    mode: str = "balanced"
    schedule: Schedule = field(default_factory=Schedule)
    layers: Layers = field(default_factory=Layers)
    effect_mask: EffectMask | None = None
    union_type: str = "auto"
    source: Source | None = None

    @property
    def is_idle(self) -> bool:
        """Nothing of it can ever reach the image: its net need not be loaded."""
        zero = self.strength == 0.0 or self.schedule.is_zero or self.layers.is_zero
        masked_out = self.effect_mask is not None and self.effect_mask.is_zero
        return zero or masked_out or self.start_percent > self.end_percent

    @property
    def is_instant(self) -> bool:
        """Its range is one instant: it acts only if a sampler step falls exactly there."""
        return self.start_percent == self.end_percent

    @property
    def shapes_residuals(self) -> bool:
        """It asks for more than strength and time: single rows, depth or place."""
        return self.mode != "balanced" or self.layers.kind != "" or self.effect_mask is not None


@dataclass(frozen=True)
class Stack:
    """Units in the order in which they are added up."""

    units: tuple[Unit, ...] = ()

    def with_unit(self, unit: Unit) -> Stack:
        return Stack((*self.units, unit))


def refuse_not_built(name: str, value: str) -> None:
    """Raise ValueError for a choice that the public surface has but that is not built yet, or that it does not have."""
    if value not in BUILT[name]:
        built = " or ".join(repr(choice) for choice in BUILT[name])
        raise ValueError(f"{name} {value!r} is not built yet: choose {built}")
