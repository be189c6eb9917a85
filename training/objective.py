"""Define what is learned at a step: noise levels, noised latents, and the target. Pure torch.

`sampling` is the model's `model_sampling`. Its `calculate_denoised(sigma, out, x)` is a + b·out for
every kind of model (eps: x − σ·out; v and flow likewise), so the right output follows from it:
(latent − a) / b.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch


@dataclass(frozen=True)
class Draw:
    """Everything random about one forward pass of B rows."""

    rows: list[int]
    drops: list[bool]
    """Whether a row's prompt is replaced by the empty one."""
    levels: torch.Tensor
    """(B,) indices into the model's table of noise levels, uniform as in the original training."""
    noise: torch.Tensor
    """(B,C,h,w) standard normal, float32 on the CPU."""


def seeded_generator(*key: Any) -> torch.Generator:
    """Return a generator that is a function of `key`.

    A resumed run therefore needs no random state but the number of its step.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))


def draw_batch(
    seed: int,
    first: int,
    count: int,
    pairs: int,
    levels: int,
    shape: Sequence[int],
    dropping: float,
) -> Draw:
    """Draw examples `first` to `first + count` of a run.

    Each pair comes once before any comes again. `dropping` is the share of empty prompts.
    """
    random = seeded_generator(seed, "example", first)
    return Draw(
        rows=[_row(seed, position, pairs) for position in range(first, first + count)],
        drops=(torch.rand(count, generator=random) < dropping).tolist(),
        levels=torch.randint(levels, (count,), generator=random),
        noise=torch.randn((count, *shape), generator=random),
    )


def _row(seed: int, position: int, pairs: int) -> int:
    epoch, place = divmod(position, pairs)
    return int(_order(seed, epoch, pairs)[place])


@lru_cache(maxsize=2)  # a batch lies in one epoch, or at the border of two
def _order(seed: int, epoch: int, pairs: int) -> torch.Tensor:
    """Return the order in which an epoch goes through the pairs."""
    return torch.randperm(pairs, generator=seeded_generator(seed, "epoch", epoch))


def add_noise(
    sampling: Any, latents: torch.Tensor, noise: torch.Tensor, sigmas: torch.Tensor
) -> torch.Tensor:
    """Return latents (B,C,h,w) at noise levels sigmas (B,)."""
    return sampling.noise_scaling(sigmas, noise.clone(), latents, False)


def target(
    sampling: Any, latents: torch.Tensor, x: torch.Tensor, sigmas: torch.Tensor
) -> torch.Tensor:
    """Return the model output that would denoise `x` to `latents`, all (B,C,h,w).

    That is the noise, v or the velocity, as the model predicts it.
    """
    offset = sampling.calculate_denoised(sigmas, torch.zeros_like(x), x)
    slope = sampling.calculate_denoised(sigmas, torch.ones_like(x), torch.zeros_like(x))
    return (latents - offset) / slope
