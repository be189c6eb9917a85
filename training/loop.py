"""Train a net on a locked base with AdamW; stopping and resuming leave no trace in the result.

Everything random at a step is a function of the seed and the step (`objective.draw_batch`), so a
checkpoint is the weights, the optimizer's moments and the number of steps done. An interrupted step
changes nothing: weights change in the optimizer's step alone, and then the step is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import forward, objective
from .cache import Encoded
from .history import History
from .nets import is_zero_convolution

PRECISIONS = ("bf16", "fp32")
NET, DECODER = "net.", "decoder."
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # AdamW's state of a weight


def precision(device_type: str, compute: torch.dtype) -> AbstractContextManager[Any]:
    """Return the context of a precision: none for float32, because not every device has autocast.

    DirectML's, for one, refuses even what is disabled.
    """
    return nullcontext() if compute == torch.float32 else torch.autocast(device_type, dtype=compute)


@dataclass(frozen=True)
class Settings:
    """`batch_size` rows per forward pass, `accumulation` passes per step.

    The defaults are those of the ControlNet paper.
    """

    steps: int = 1000
    batch_size: int = 4
    accumulation: int = 1
    learning_rate: float = 1e-5
    weight_decay: float = 0.01
    prompt_dropping: float = 0.5
    seed: int = 0
    precision: str = "bf16"
    gradient_checkpointing: bool = True
    train_decoder: bool = False
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm, all weights together; 0: never."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from zero."""

    @property
    def compute(self) -> torch.dtype:
        """The dtype of matrix products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup_steps))


class NonFiniteLossError(ValueError):
    """The loss or its gradient is infinite or NaN: the training has diverged."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence


class Trainer:
    """A net in training, with a thread that reads the next batch ahead.

    `base` and `net` are `nets.frozen_base` and `nets.trainable_net` on `device`. Use it under
    `torch.inference_mode(False)` with gradients enabled, and close it, or use it as a context.
    """

    def __init__(
        self,
        base: Any,
        net: Any,
        sampling: Any,
        data: Encoded,
        settings: Settings,
        device: torch.device,
    ) -> None:
        self.base, self.net, self.sampling, self.data = base, net, sampling, data
        self.settings, self.device = settings, device
        self.sigmas = sampling.sigmas.detach().clone().float().cpu()
        self.step, self.history = 0, History()
        self.named = _named_parameters(net, base if settings.train_decoder else None)
        self.zeros = _zero_convolutions(net)
        self.optimizer = torch.optim.AdamW(
            list(self.named.values()),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True if device.type == "cuda" else None,
        )
        self.reader = ThreadPoolExecutor(1)
        self.ahead: tuple[int, Future[tuple[objective.Draw, Tensor]]] | None = None

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the reading thread."""
        self.reader.shutdown(wait=True, cancel_futures=True)

    # -- steps -------------------------------------------------------------------------------------

    def run(self, after_step: Callable[[float], None]) -> None:
        """Take steps until `settings.steps` are done, calling `after_step(loss)` after each."""
        while self.step < self.settings.steps:
            after_step(self.advance())

    def advance(self) -> float:
        """Take one optimizer step and return its loss.

        Raises NonFiniteLossError before anything has changed, also for a finite loss whose gradient
        is not. Whatever else is raised in the middle (an interrupt, out of memory) leaves weights,
        moments and step as they were, too.
        """
        parts = self.settings.accumulation
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for part in range(parts):
            loss = self.loss(*self.batch(self.step * parts + part))
            (loss / parts).backward()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        self._refuse_non_finite("loss", mean)
        self._refuse_non_finite("gradient", self._clip())
        self._set_rate()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.history.add(mean, self.norms())
        return mean

    def _refuse_non_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            self.optimizer.zero_grad(set_to_none=True)
            raise NonFiniteLossError(f"the {what} is {value} at step {self.step + 1}.")

    def _clip(self) -> float:
        """Scale the gradients down to `max_grad_norm`; return the norm that they had."""
        gradients = [value.grad for value in self.named.values() if value.grad is not None]
        norm = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
        if 0 < self.settings.max_grad_norm < norm < math.inf:
            for gradient in gradients:
                gradient.mul_(self.settings.max_grad_norm / norm)
        return norm

    def _set_rate(self) -> None:
        """Set the step's learning rate where it still rises."""
        if self.settings.warmup_steps:
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.rate_at(self.step)

    def loss(self, draw: objective.Draw, hints: Tensor) -> Tensor:
        """Compute the mean squared error of the controlled base's output for one batch."""
        latents = self.data.latents[draw.rows].to(self.device)
        text = self.data.prompts(draw.rows, draw.drops)
        sigmas = self.sigmas[draw.levels].to(self.device)
        x = objective.add_noise(self.sampling, latents, draw.noise.to(self.device), sigmas)
        target = objective.target(self.sampling, latents, x, sigmas)
        output = self.predict(x, sigmas, hints.to(self.device), text.context, text.y)
        return torch.nn.functional.mse_loss(output.float(), target)

    def predict(
        self, x: Tensor, sigmas: Tensor, hints: Tensor, context: Tensor, y: Tensor | None
    ) -> Tensor:
        """Compute the controlled base's raw output.

        x (B,4,h,w) noised latents, sigmas (B,), hints (B,3,8h,8w), context (B,T,C), y (B,D).
        """
        scaled = self.sampling.calculate_input(sigmas, x)
        timesteps = self.sampling.timestep(sigmas).float()
        conditions = (
            timesteps,
            context.to(self.device),
            None if y is None else y.to(self.device),
        )
        checkpointing = self.settings.gradient_checkpointing and torch.is_grad_enabled()
        compute = self.settings.compute
        with precision(self.device.type, compute):
            control = forward.residuals(
                self.net, scaled, hints, *conditions, checkpointing=checkpointing
            )
            return forward.prediction(
                self.base, scaled, *conditions, control, checkpointing=checkpointing
            )

    def norms(self) -> list[float]:
        """Return √(|w|² + |b|²) of each zero convolution, the middle block's last."""
        with torch.no_grad():
            return torch.stack(
                [torch.cat([w.flatten(), b.flatten()]).norm() for w, b in self.zeros]
            ).tolist()

    def batch(self, index: int) -> tuple[objective.Draw, Tensor]:
        """Return batch number `index`; the next one's pictures are read meanwhile."""
        ahead, self.ahead = self.ahead, None
        batch = ahead[1].result() if ahead is not None and ahead[0] == index else self.read(index)
        self.ahead = (index + 1, self.reader.submit(self.read, index + 1))
        return batch

    def read(self, index: int) -> tuple[objective.Draw, Tensor]:
        """Draw batch number `index` and read its hints (B,3,height,width)."""
        s, latents = self.settings, self.data.latents
        draw = objective.draw_batch(
            s.seed,
            index * s.batch_size,
            s.batch_size,
            len(latents),
            len(self.sigmas),
            latents.shape[1:],
            s.prompt_dropping,
        )
        return draw, self.data.hints(draw.rows)

    # -- state -------------------------------------------------------------------------------------

    def net_weights(self) -> dict[str, Tensor]:
        """Return a copy of the net's weights on the CPU."""
        return {
            key: value.detach().to("cpu", copy=True) for key, value in self.net.state_dict().items()
        }

    def decoder_weights(self) -> dict[str, Tensor]:
        """Return a copy of the base's trained decoder by its own keys; empty where it is locked."""
        return {
            key.removeprefix(DECODER): value.detach().to("cpu", copy=True)
            for key, value in self.named.items()
            if key.startswith(DECODER)
        }

    def state(self) -> dict[str, Tensor]:
        """Return all that a later run needs to continue as if there had been no stop."""
        moments: dict[str, Tensor] = {}
        for key, value in self.named.items():
            for name, moment in self.optimizer.state.get(value, {}).items():
                moments[f"adam.{name}.{key}"] = moment
        weights = {f"weights.{key}": value.detach() for key, value in self.named.items()}
        history = {f"history.{key}": value for key, value in self.history.tensors().items()}
        return {**weights, **moments, **history, "step": torch.tensor(self.step)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a `state`. Raises ValueError where it belongs to another net."""
        unfit = [
            key
            for key, value in self.named.items()
            if f"weights.{key}" not in state or state[f"weights.{key}"].shape != value.shape
        ]
        if unfit:
            raise ValueError(
                f"the checkpoint belongs to another net: {len(unfit)} weights do not fit, such as"
                f" {unfit[0]}"
            )
        with torch.no_grad():
            for key, value in self.named.items():
                value.copy_(state[f"weights.{key}"])
        groups = self.optimizer.state_dict()["param_groups"]
        moments = {i: _moments(state, key) for i, key in enumerate(self.named)}
        self.optimizer.load_state_dict(
            {"state": {i: m for i, m in moments.items() if m}, "param_groups": groups}
        )
        self.step = int(state["step"])
        self.history = History.from_tensors(state["history.losses"], state["history.norms"])


def _named_parameters(net: Any, base: Any | None) -> dict[str, Tensor]:
    """Return what is trained, by its keys in a checkpoint: the net, and the decoder of `base`."""
    named = {NET + key: value for key, value in net.named_parameters()}
    if base is not None:
        named |= {
            DECODER + key: value for key, value in base.named_parameters() if value.requires_grad
        }
    return named


def _zero_convolutions(net: Any) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of each zero convolution."""
    named = {key: value for key, value in net.named_parameters() if is_zero_convolution(key)}
    return [
        (value, named[key.replace(".weight", ".bias")])
        for key, value in named.items()
        if key.endswith(".weight")
    ]


def _moments(state: Mapping[str, Tensor], key: str) -> dict[str, Tensor]:
    names = {name: f"adam.{name}.{key}" for name in MOMENTS}
    return {name: state[entry] for name, entry in names.items() if entry in state}
