"""Fit a module step by step; everything random at a step follows from seed, stage and step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from plan import Stage
from torch import Tensor, nn

EMA = 0.997


def generator(*key: Any) -> torch.Generator:
    """Return a generator that is a function of `key`."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))


def rate_at(stage: Stage, step: int, steps: int) -> float:
    """Return the learning rate of a step: a rise, a plateau, and a fall to a twentieth."""
    rate = stage.rate * min(1.0, (step + 1) / min(stage.warm_up, max(1, steps // 4)))
    begin = steps * (1 - stage.fall)
    if step > begin:
        rate *= max(0.05, (steps - step) / (steps - begin))
    return rate


class Fit:
    """A module in training with AdamW, and the moving average of its weights, which is kept."""

    def __init__(self, module: nn.Module, stage: Stage, steps: int, seed: int) -> None:
        self.module, self.stage, self.steps, self.seed = module, stage, steps, seed
        self.step = 0
        self.named = {k: p for k, p in module.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            list(self.named.values()),
            lr=stage.rate,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            fused=True,
        )
        self.average = {key: value.detach().clone() for key, value in self.named.items()}

    def loss(self, random: torch.Generator) -> Tensor:
        """Compute the loss of one batch."""
        raise NotImplementedError

    def advance(self) -> float:
        """Take a step and return its loss. Raises ValueError where it is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.stage, self.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(generator(self.seed, self.stage.name, self.step))
        loss.backward()
        if not math.isfinite(loss.item()):
            raise ValueError(f"{self.stage.name}: the loss is {loss.item()} at step {self.step}")
        nn.utils.clip_grad_norm_(list(self.named.values()), 1.0)
        self.optimizer.step()
        self.step += 1
        if self.step % 4 == 0:
            self._follow()
        return loss.item()

    @torch.no_grad()
    def _follow(self) -> None:
        share = min(EMA, (1 + self.step) / (10 + self.step)) ** 4
        torch._foreach_lerp_(
            list(self.average.values()), [p.detach() for p in self.named.values()], 1 - share
        )

    def state(self) -> dict[str, Any]:
        """Return all that a later run needs to go on."""
        return {
            "step": self.step,
            "weights": {key: value.detach() for key, value in self.named.items()},
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.step = state["step"]
        with torch.no_grad():
            for key, value in self.named.items():
                value.copy_(state["weights"][key])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])

    def begin_with(self, weights: dict[str, Tensor]) -> Fit:
        """Begin with the result of another stage; return itself."""
        with torch.no_grad():
            for key, value in self.named.items():
                value.copy_(weights[key])
                self.average[key].copy_(weights[key])
        return self

    def result(self) -> dict[str, Tensor]:
        """Return the averaged weights."""
        return self.average


def pick(random: torch.Generator, count: int, size: int) -> Sequence[int]:
    """Draw `size` rows of `count`."""
    return torch.randint(count, (size,), generator=random).tolist()
