"""Train with a textbook loop over ComfyUI's own forward of net and base, as a rival to ours.

`inprocess.open_host` comes first.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")


class PlainLoop:
    """A locked base and a net of ComfyUI's classes, trained on the batches that `trainer` draws."""

    def __init__(self, model: Any, weights: dict[str, torch.Tensor], trainer: Any) -> None:
        import comfy.cldm.cldm
        import comfy.ops

        from pack.training import bases

        self.net: Any = comfy.cldm.cldm.ControlNet(
            **bases.net_config(model),
            dtype=torch.float32,
            operations=comfy.ops.disable_weight_init,
        )
        self.net.load_state_dict(weights)
        self.net.requires_grad_(True)
        self.base = model.model.diffusion_model.requires_grad_(False)
        self.trainer, self.step = trainer, 0
        settings = trainer.settings
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def advance(self) -> float:
        """Take one optimizer step and return its loss."""
        from pack.training import objective

        sampling, data = self.trainer.sampling, self.trainer.data
        draw, hints = self.trainer.batch(self.step)
        text = data.prompts(draw.rows, draw.drops)
        latents, sigmas = data.latents[draw.rows], self.trainer.sigmas[draw.levels]
        x = objective.add_noise(sampling, latents, draw.noise, sigmas)
        scaled, timesteps = sampling.calculate_input(sigmas, x), sampling.timestep(sigmas).float()
        control = self.net(x=scaled, hint=hints, timesteps=timesteps, context=text.context)
        output = self.base(scaled, timesteps, context=text.context, control=control)
        target = objective.target(sampling, latents, x, sigmas)
        loss = torch.nn.functional.mse_loss(output.float(), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.trainer.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss.detach())


def peak_mb(make: Callable[[], Any]) -> float:
    """Return the megabytes of RAM that training takes at most, beyond those before it was made.

    One step makes the optimizer's moments, two are watched. Raises OSError where there is no Linux
    /proc.
    """
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        # The allocator keeps what was freed: a second loop would seem to take nothing.
        libc.malloc_trim(0)
    before = _status_mb("VmRSS")
    loop = make()
    loop.advance()
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(2):
        loop.advance()
    return _status_mb("VmHWM") - before


def _status_mb(word: str) -> float:
    return int(re.findall(rf"{word}:\s+(\d+)", STATUS.read_text())[0]) / 1024
