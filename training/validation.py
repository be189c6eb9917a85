"""A picture of what a net has learned so far, sampled with the modules that are in training."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from . import objective
from .cache import together
from .loop import Trainer

STEPS, GUIDANCE = 20, 7.0


def sample(trainer: Trainer, row: int, *, steps: int = STEPS, guidance: float = GUIDANCE) -> Tensor:
    """Latents (1,C,h,w) for the hint and prompt of a pair, by Euler's method; the noise is always
    the same.

    Raises the host's own exception once stop has been pressed.
    """
    data, sampling = trainer.data, trainer.sampling
    sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", steps).float().to(trainer.device)
    noise = torch.randn(
        (1, *data.latents.shape[1:]),
        generator=objective.generator(trainer.settings.seed, "validation"),
    )
    text = together([data.texts[data.text_of[row]], data.empty])
    hints = data.hints([row]).to(trainer.device).repeat(2, 1, 1, 1)
    with torch.no_grad():
        x = sampling.noise_scaling(
            sigmas[:1], noise.to(trainer.device), torch.zeros_like(noise, device=trainer.device)
        )
        for now, then in pairwise(sigmas):
            level = now.repeat(2)
            said = trainer.says(x.repeat(2, 1, 1, 1), level, hints, text.context, text.y).float()
            clean = sampling.calculate_denoised(level, said, x.repeat(2, 1, 1, 1))
            prompt, empty = clean.chunk(2)
            denoised = empty + guidance * (prompt - empty)
            x = x + (x - denoised) / now * (then - now)
    return x


def picture(trainer: Trainer, row: int, model: Any, vae: Any) -> Tensor:
    """The same as a picture (H,W,3) in [0,1]."""
    latents = sample(trainer, row)
    with torch.inference_mode():
        shown = vae.decode(model.model.process_latent_out(latents.float().cpu()))
    return shown.reshape(-1, *shown.shape[-3:])[0].float().cpu().clone()
