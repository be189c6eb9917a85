"""Train a ControlNet of the world by the pack's own loop, the one of ControlStackTrain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import comfy.sd
import drawn_pictures
import torch
from learning import rate_at
from plan import Stage
from torch import Tensor

from pack.training import loop, nets
from pack.training.cache import Encoded, Text

DROPPING = 0.3
PER_CALL = 64


class NetFit:
    """A net in training: one trainer for each size of pictures, over one net and one optimizer."""

    def __init__(
        self,
        stage: Stage,
        steps: int,
        seed: int,
        checkpoint: Path,
        begin: dict[str, Tensor] | None,
        data: Mapping[int, drawn_pictures.Pictures],
    ) -> None:
        self.stage, self.steps = stage, steps
        with torch.inference_mode():
            model, clip = comfy.sd.load_checkpoint_guess_config(
                str(checkpoint), output_vae=False, output_clip=True
            )[:2]
            texts = {size: _encoded(pictures, clip) for size, pictures in data.items()}
        weights = begin or nets.create_weights(model)
        cpu = torch.device("cpu")
        base = nets.frozen_base(model, cpu, torch.float32)
        net = nets.trainable_net(weights, model, cpu)
        sampling = model.get_model_object("model_sampling")
        self.trainers = [
            loop.Trainer(base, net, sampling, texts[size], _settings(stage, rows, seed), cpu)
            for size, rows in stage.batches.items()
        ]
        for trainer in self.trainers[1:]:
            trainer.optimizer = self.trainers[0].optimizer

    @property
    def step(self) -> int:
        """Steps of all trainers together."""
        return sum(trainer.step for trainer in self.trainers)

    def advance(self) -> float:
        """Take a step of the trainer whose turn it is, and return its loss."""
        trainer = self.trainers[self.step % len(self.trainers)]
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate_at(self.stage, self.step, self.steps)
        return trainer.advance()

    def state(self) -> dict[str, Any]:
        """Return all that a later run needs to go on."""
        steps = [trainer.step for trainer in self.trainers]
        return {"trainer": self.trainers[0].state(), "steps": steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.trainers[0].restore(state["trainer"])
        for trainer, step in zip(self.trainers, state["steps"], strict=True):
            trainer.step = step

    def result(self) -> dict[str, Tensor]:
        """Return the net's weights."""
        for trainer in self.trainers:
            trainer.close()
        return self.trainers[0].net_weights()


def _settings(stage: Stage, rows: int, seed: int) -> loop.Settings:
    return loop.Settings(
        batch_size=rows,
        learning_rate=stage.rate,
        prompt_dropping=DROPPING,
        seed=seed,
        precision="bf16",
        gradient_checkpointing=False,
    )


class Texts(Sequence[Text]):
    """Encoded prompts in half precision, given as the loop wants them."""

    def __init__(self, contexts: Tensor) -> None:
        self.contexts = contexts

    def __len__(self) -> int:
        return len(self.contexts)

    def __getitem__(self, index: Any) -> Any:
        return Text(self.contexts[index][None].float())


def _encoded(pictures: drawn_pictures.Pictures, clip: Any) -> Encoded:
    """Encode each distinct prompt once, with ComfyUI's CLIP."""
    distinct = list(dict.fromkeys(["", *pictures.prompts]))
    contexts = torch.cat(
        [clip.encode_from_tokens(clip.tokenize(prompt)).cpu().half() for prompt in distinct]
    )
    index = {prompt: i for i, prompt in enumerate(distinct)}
    texts: Any = Texts(nets.detach_from_inference(contexts).clone())
    text_of = tuple(index[prompt] for prompt in pictures.prompts)
    return Encoded(pictures.latents, texts, text_of, texts[0], pictures.hint)
