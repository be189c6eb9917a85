"""The textbook loop that our training is measured against: the host's own forward of net and base,
nothing saved.

`inprocess.open_host` comes first.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")


class PlainLoop:
    """A locked base and a net of the host's classes, trained on the batches that `trainer` would
    draw.
    """

    def __init__(self, model: Any, weights: dict[str, torch.Tensor], trainer: Any) -> None:
        import comfy.cldm.cldm
        import comfy.ops

        config = {k: copy.copy(v) for k, v in model.model.model_config.unet_config.items()}
        left_out = ("out_channels", "transformer_depth_output", "dtype", "device")
        kept = {key: value for key, value in config.items() if key not in left_out}
        operations = comfy.ops.disable_weight_init
        self.net: Any = comfy.cldm.cldm.ControlNet(
            **kept, hint_channels=3, dtype=torch.float32, operations=operations
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
        from pack.training import objective

        sampling, data = self.trainer.sampling, self.trainer.data
        draw, hints = self.trainer.batch(self.step)
        text = data.prompts(draw.rows, draw.drops)
        latents, sigmas = data.latents[draw.rows], self.trainer.sigmas[draw.levels]
        x = objective.add_noise(sampling, latents, draw.noise, sigmas)
        seen, timesteps = sampling.calculate_input(sigmas, x), sampling.timestep(sigmas).float()
        control = self.net(x=seen, hint=hints, timesteps=timesteps, context=text.context)
        said = self.base(seen, timesteps, context=text.context, control=control)
        loss = torch.nn.functional.mse_loss(
            said.float(), objective.target(sampling, latents, x, sigmas)
        )
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss.detach())


def peak_mb(make: Callable[[], Any]) -> float:
    """Megabytes of RAM that training takes at most, beyond what the process had before the loop was
    made.

    One step makes the optimizer's moments, two are watched. Raises OSError where no Linux tells.
    """
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(
            0
        )  # the allocator keeps what was freed: a second loop would seem to take nothing
    before = _told_mb("VmRSS")
    loop = make()
    loop.advance()
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(2):
        loop.advance()
    return _told_mb("VmHWM") - before


def _told_mb(word: str) -> float:
    return int(re.findall(rf"{word}:\s+(\d+)", STATUS.read_text())[0]) / 1024
