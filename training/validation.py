"""Sample a picture of what a net has learned so far, with the modules that are in training."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from . import objective
from .cache import batch_texts
from .loop import Trainer

STEPS, GUIDANCE = 20, 7.0


def sample(trainer: Trainer, row: int, *, steps: int = STEPS, guidance: float = GUIDANCE) -> Tensor:
    """Sample latents (1,C,h,w) for the hint and prompt of a pair, by Euler's method.

    The noise is always the same. Raises ComfyUI's own exception once Cancel has been pressed.
    """
    data, sampling = trainer.data, trainer.sampling
    sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", steps).float().to(trainer.device)
    noise = torch.randn(
        (1, *data.latents.shape[1:]),
        generator=objective.seeded_generator(trainer.settings.seed, "validation"),
    )
    text = batch_texts([data.texts[data.text_of[row]], data.empty])
    hints = data.hints([row]).to(trainer.device).repeat(2, 1, 1, 1)
    with torch.no_grad():
        x = sampling.noise_scaling(
            sigmas[:1], noise.to(trainer.device), torch.zeros_like(noise, device=trainer.device)
        )
        for sigma, next_sigma in pairwise(sigmas):
            level, both = sigma.repeat(2), x.repeat(2, 1, 1, 1)
            output = trainer.predict(both, level, hints, text.context, text.y).float()
            prompt, empty = sampling.calculate_denoised(level, output, both).chunk(2)
            denoised = empty + guidance * (prompt - empty)
            x = x + (x - denoised) / sigma * (next_sigma - sigma)
    return x


def picture(trainer: Trainer, row: int, model: Any, vae: Any, guidance: float = GUIDANCE) -> Tensor:
    """Sample for a pair as `sample` does and decode to a picture (H,W,3) in [0,1]."""
    latents = sample(trainer, row, guidance=guidance)
    with torch.inference_mode():
        decoded = vae.decode(model.model.process_latent_out(latents.float().cpu()))
    return decoded.reshape(-1, *decoded.shape[-3:])[0].float().cpu().clone()
