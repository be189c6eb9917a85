"""The training loop: a locked base, a trainable net, AdamW; stopped and resumed without a trace.

Everything random at a step is a function of the seed and the step (`objective.drawn`), so that a
checkpoint is the weights, the optimizer's moments and the number of steps done. A step that was
interrupted leaves no mark: weights change in the optimizer's step alone, after which the step is
counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
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


@dataclass(frozen=True)
class Settings:
    """`batch_size` rows a forward pass, `accumulation` passes a step. The paper's own values are
    the defaults.
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

    @property
    def compute(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


class NotANumberError(ValueError):
    """The loss is infinite or no number: the training has gone wrong."""


class Trainer:
    """A net in training. `base` and `net` are `nets.frozen_base` and `nets.trainable` on `device`.

    Use it under `torch.inference_mode(False)` and with gradients enabled; `close` ends its reading
    thread.
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
        self.named = {NET + key: value for key, value in net.named_parameters()}
        if settings.train_decoder:
            self.named |= {
                DECODER + key: value
                for key, value in base.named_parameters()
                if value.requires_grad
            }
        self.zeros = _pairs_of_zero_convolutions(net)
        self.optimizer = torch.optim.AdamW(
            list(self.named.values()),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True if device.type == "cuda" else None,
        )
        self.reader = ThreadPoolExecutor(1)
        self.ahead: tuple[int, Future[Any]] | None = None

    # -- a step ------------------------------------------------------------------------------------

    def advance(self) -> float:
        """One optimizer step; gives its loss. Raises NotANumberError, and nothing has changed then.

        What is raised in the middle (the stop button, memory) leaves weights, moments and step as
        they were.
        """
        parts = self.settings.accumulation
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for part in range(parts):
            loss = self.loss(*self.batch(self.step * parts + part))
            (loss / parts).backward()
            losses.append(loss.detach())
        total = float(torch.stack(losses).mean())
        if not math.isfinite(total):
            raise NotANumberError(
                f"the loss is {total} at step {self.step + 1}. Lower learning_rate, or choose"
                " precision fp32."
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.history.add(total, self.norms())
        return total

    def loss(self, draw: objective.Draw, hints: Tensor) -> Tensor:
        """Mean squared error between what the controlled base says and what would be right, for one
        batch.
        """
        latents = self.data.latents[draw.rows].to(self.device)
        text = self.data.prompts(draw.rows, draw.drops)
        sigmas = self.sigmas[draw.levels].to(self.device)
        x = objective.noised(self.sampling, latents, draw.noise.to(self.device), sigmas)
        right = objective.target(self.sampling, latents, x, sigmas)
        said = self.says(x, sigmas, hints.to(self.device), text.context, text.y)
        return torch.nn.functional.mse_loss(said.float(), right)

    def says(
        self, x: Tensor, sigmas: Tensor, hints: Tensor, context: Tensor, y: Tensor | None
    ) -> Tensor:
        """The controlled base's raw output for noised latents x (B,4,h,w) at sigmas (B,), hints
        (B,3,8h,8w).
        """
        seen, timesteps = (
            self.sampling.calculate_input(sigmas, x),
            self.sampling.timestep(sigmas).float(),
        )
        more = (timesteps, context.to(self.device), None if y is None else y.to(self.device))
        checkpointing = self.settings.gradient_checkpointing and torch.is_grad_enabled()
        compute = self.settings.compute
        with torch.autocast(self.device.type, dtype=compute, enabled=compute != torch.float32):
            control = forward.residuals(self.net, seen, hints, *more, checkpointing=checkpointing)
            return forward.prediction(self.base, seen, *more, control, checkpointing=checkpointing)

    def norms(self) -> list[float]:
        """√(|w|² + |b|²) of each zero convolution, the middle one last."""
        with torch.no_grad():
            return torch.stack(
                [torch.cat([w.flatten(), b.flatten()]).norm() for w, b in self.zeros]
            ).tolist()

    def batch(self, index: int) -> tuple[objective.Draw, Tensor]:
        """The batch of that number; the next one's pictures are read meanwhile."""
        ahead, self.ahead = self.ahead, None
        found = ahead[1].result() if ahead is not None and ahead[0] == index else self.read(index)
        self.ahead = (index + 1, self.reader.submit(self.read, index + 1))
        return found

    def read(self, index: int) -> tuple[objective.Draw, Tensor]:
        s, latents = self.settings, self.data.latents
        draw = objective.drawn(
            s.seed,
            index * s.batch_size,
            s.batch_size,
            len(latents),
            len(self.sigmas),
            latents.shape[1:],
            s.prompt_dropping,
        )
        return draw, self.data.hints(draw.rows)

    def close(self) -> None:
        self.reader.shutdown(wait=True, cancel_futures=True)

    # -- what is kept ------------------------------------------------------------------------------

    def net_weights(self) -> dict[str, Tensor]:
        return {
            key: value.detach().to("cpu", copy=True) for key, value in self.net.state_dict().items()
        }

    def decoder_weights(self) -> dict[str, Tensor]:
        """The base's trained decoder by its own keys; empty where it was locked."""
        chosen = {
            key.removeprefix(DECODER): value
            for key, value in self.named.items()
            if key.startswith(DECODER)
        }
        return {key: value.detach().to("cpu", copy=True) for key, value in chosen.items()}

    def state(self) -> dict[str, Tensor]:
        """All that a later run needs to go on as if it had not stopped."""
        moments: dict[str, Tensor] = {}
        for key, value in self.named.items():
            for name, moment in self.optimizer.state.get(value, {}).items():
                moments[f"adam.{name}.{key}"] = moment
        weights = {f"weights.{key}": value.detach() for key, value in self.named.items()}
        history = {f"history.{key}": value for key, value in self.history.tensors().items()}
        return {**weights, **moments, **history, "step": torch.tensor(self.step)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up a `state`. Raises ValueError where it is another net's."""
        wrong = [
            key
            for key, value in self.named.items()
            if f"weights.{key}" not in state or state[f"weights.{key}"].shape != value.shape
        ]
        if wrong:
            raise ValueError(
                f"the checkpoint belongs to another net: {len(wrong)} weights do not fit, as"
                f" {wrong[0]}"
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
        self.history = History.of(state["history.losses"], state["history.norms"])


def _moments(state: Mapping[str, Tensor], key: str) -> dict[str, Tensor]:
    names = ("step", "exp_avg", "exp_avg_sq")
    return {name: state[f"adam.{name}.{key}"] for name in names if f"adam.{name}.{key}" in state}


def _pairs_of_zero_convolutions(net: Any) -> list[tuple[Tensor, Tensor]]:
    named = {key: value for key, value in net.named_parameters() if is_zero_convolution(key)}
    return [
        (value, named[key.replace(".weight", ".bias")])
        for key, value in named.items()
        if key.endswith(".weight")
    ]


def run(trainer: Trainer, after: Callable[[float], None]) -> None:
    """Steps until `settings.steps` are done; `after(loss)` follows each, and what it raises ends
    the loop.
    """
    try:
        while trainer.step < trainer.settings.steps:
            after(trainer.advance())
    finally:
        trainer.close()
