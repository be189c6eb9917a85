"""Residuals of a net that serve several steps: where, when and for how long.

What a step is follows from its sigma alone, so samplers that call the model several times a step
stay in step: all calls within a step are computed, or none. A batch is known by all that its
residuals depend on: prompts, hint, size, frames, window, and which of several equal calls at one
sigma it is (tiles that a tiler computes one after the other, say).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .report.model_blocks import Block
from .residuals import Residuals, own_blocks

FRESH_UNTIL = 0.2
"""The fraction of sampling in which every step is computed: residuals change fast there."""
MOST = 8  # batches whose residuals are stored: prompts, areas and windows of one net
NEAR = 1e-5  # sigmas that differ by less are of one step


@dataclass(frozen=True)
class Moment:
    """Where in a run a call is.

    `step`: of the sampler, from 0. `percent`: the fraction of sampling that has passed. `is_edge`:
    whether control goes on or off at a neighbouring step.
    """

    sigma: float
    step: int
    percent: float
    is_edge: bool


@dataclass
class Stored:
    """What a net gave for a batch, before its strength of the step where that is added later.

    `sources`: what the key has the `id()` of, which must not be used again. `served`: how many
    calls got it instead of an evaluation.
    """

    moment: Moment
    strength: float
    own: Residuals
    norms: dict[Block, torch.Tensor]
    is_finite: torch.Tensor | None
    sources: Any = None
    served: int = 0


@dataclass
class Reuse:
    """The residuals that one member of a chain has stored, for one run.

    `steps`: how many each serves. Keys end in the number of the call among equal ones at one sigma.
    """

    steps: int = 1
    stored: dict[Hashable, Stored] = field(default_factory=dict[Hashable, Stored])
    calls: dict[Hashable, int] = field(default_factory=dict[Hashable, int])
    sigma: float | None = None

    def number(self, batch: Hashable, sigma: float) -> int:
        """Return how many calls of the same batch came before this one at the same sigma."""
        return self.calls.get(batch, 0) if sigma == self.sigma else 0

    def count(self, batch: Hashable, sigma: float) -> None:
        """Count a call of a batch."""
        if sigma != self.sigma:
            self.calls.clear()
            self.sigma = sigma
        self.calls[batch] = self.calls.get(batch, 0) + 1

    def usable(self, batch: Hashable, moment: Moment) -> Stored | None:
        """Return what serves this call too; None where the net has to run."""
        stored = self.before(batch, moment)
        if stored is None or moment.is_edge or moment.percent < FRESH_UNTIL:
            return None
        age = moment.step - stored.moment.step
        return stored if 0 < age < self.steps else None

    def before(self, batch: Hashable, moment: Moment) -> Stored | None:
        """Return what was computed for this batch at an earlier sigma."""
        stored = self.stored.get((batch, self.number(batch, moment.sigma)))
        return stored if stored is not None and moment.sigma < stored.moment.sigma else None

    def store(self, batch: Hashable, stored: Stored) -> bool:
        """Store what a net gave; return whether there was room."""
        key, step = (batch, self.number(batch, stored.moment.sigma)), stored.moment.step
        for old in [k for k, v in self.stored.items() if step - v.moment.step > self.steps]:
            del self.stored[old]
        if key not in self.stored and len(self.stored) >= MOST:
            return False
        self.stored[key] = stored
        return True

    def forget(self) -> None:
        """Forget everything: control was off for a step."""
        self.stored.clear()


def step_of(sigma: float, sigmas: Sequence[float]) -> int:
    """Return the number of the step that a sigma belongs to: the last that begins at or above it.

    `sigmas`: those of the run, which fall; calls between two of them belong to the higher.
    """
    return max(0, sum(each * (1.0 + NEAR) >= sigma for each in sigmas) - 1)


def moment_of(
    sigma: float, sigmas: Sequence[float], percent: float, strength: Callable[[float], float]
) -> Moment:
    """Describe a call. `strength`: at a sigma; `sigmas` has one entry more than there are steps."""
    step = step_of(sigma, sigmas)
    beside = [sigmas[i] for i in (step - 1, step + 1) if 0 <= i < len(sigmas) - 1]
    is_edge = any(strength(each) == 0.0 for each in beside)
    return Moment(sigma, step, percent, is_edge)


def difference(fresh: Residuals, stored: Residuals, scale: float = 1.0) -> torch.Tensor:
    """Compute squared norms, of fresh - scale · stored and of fresh: → (2,), on their device."""
    pairs = zip(own_blocks(fresh), own_blocks(stored), strict=True)
    norms = [(_norm(torch.sub(new, old, alpha=scale)), _norm(new)) for new, old in pairs]
    return torch.stack([torch.stack(both) for both in norms]).square().sum(0)


def _norm(values: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(values.detach(), dtype=torch.float32)  # pyright: ignore
