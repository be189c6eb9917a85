"""One training from its inputs to its result: what the host has is turned into modules, run, shown
and kept.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from PIL import Image
from torch import Tensor

from ..host.memory import is_out_of_memory
from . import cache, checkpoint_files, history, loop, nets, validation
from .dataset import Dataset
from .loop import Settings, Trainer

# attribute of a CONTROL_NET that was trained here: its metadata, for Save
RECORD = "controlstack_training"
SHOW_EVERY_S = 5.0  # between drawings of the curves; each takes a tenth of a second
SHOWN_ROW = 0  # the pair whose hint and prompt the validation picture is made for
PREVIEW_PX = 1024


@dataclass
class Inputs:
    """What the node was given."""

    model: Any
    clip: Any
    vae: Any
    control_net: Any
    dataset: Dataset
    settings: Settings
    validate_every: int = 100
    checkpoint: Path | None = None
    checkpoint_every: int = 500


@dataclass
class Result:
    """Weights on the CPU, float32; `decoder` is empty where it was locked."""

    weights: dict[str, Tensor]
    decoder: dict[str, Tensor]
    history: history.History
    steps: int
    record: dict[str, str]
    shown: list[Tensor] = field(default_factory=list[Tensor])
    """Pictures (H,W,3): the hint, the target, and what the net makes of it."""


def train(inputs: Inputs) -> Result:
    """Train until the steps are done or stop is pressed, which ends it early and keeps what was
    learned.

    Raises ValueError for inputs that do not belong together, RuntimeError out of memory; both say
    what to do.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
    ):  # the host runs its nodes under inference mode
        weights = nets.weights_of(inputs.control_net, inputs.model)
        origin = _origin(inputs, weights)
        state = _resumed(inputs, origin)
        bar = comfy.utils.ProgressBar(1)
        data = cache.encoded(inputs.dataset, inputs.model, inputs.clip, inputs.vae, _reporting(bar))
        comfy.model_management.unload_all_models()  # the twins below need the memory
        device = comfy.model_management.get_torch_device()
        try:
            trainer = _trainer(inputs, weights, data, device)
            if state is not None:
                trainer.restore(state)
            return _run(inputs, trainer, origin, state is not None)
        except Exception as error:
            if is_out_of_memory(error):
                raise RuntimeError(_memory_sentence(inputs, error)) from error
            raise


def _trainer(
    inputs: Inputs, weights: Mapping[str, Tensor], data: cache.Encoded, device: torch.device
) -> Trainer:
    settings = inputs.settings
    base = nets.frozen_base(
        inputs.model, device, settings.compute, decoder_too=settings.train_decoder
    )
    net = nets.trainable(weights, inputs.model, device)
    return Trainer(
        base, net, inputs.model.get_model_object("model_sampling"), data, settings, device
    )


def _reporting(bar: Any) -> Callable[[int, int], None]:
    def report_progress(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report_progress


def _run(inputs: Inputs, trainer: Trainer, origin: dict[str, str], resumed: bool) -> Result:
    screen = Screen(inputs, trainer)
    kept_at = trainer.step if resumed else 0

    def keep() -> str:
        nonlocal kept_at
        if inputs.checkpoint is None or trainer.step == kept_at:
            return ""
        try:
            write_checkpoint(inputs.checkpoint, trainer, origin)
        except OSError as error:  # a full disk shall not end what hours have learned
            logging.warning("[ControlStack] %s Training goes on without this checkpoint.", error)
            return ""
        kept_at = trainer.step
        return (
            f" What was learned in {trainer.step} steps is kept in {inputs.checkpoint.name}: queue"
            " again to go on."
        )

    def after(loss: float) -> None:
        screen.show(loss)
        if inputs.checkpoint_every and trainer.step % inputs.checkpoint_every == 0:
            keep()
        comfy.model_management.throw_exception_if_processing_interrupted()

    try:
        loop.run(trainer, after)
    except comfy.model_management.InterruptProcessingException:
        pass  # what was learned until now is the result; the nodes that follow run
    except loop.NotANumberError as error:
        raise ValueError(f"{error}{keep()}") from error
    except Exception:
        trainer.optimizer.zero_grad(set_to_none=True)
        keep()
        raise
    keep()
    return _result(inputs, trainer, screen)


def _result(inputs: Inputs, trainer: Trainer, screen: Screen) -> Result:
    try:
        screen.validate()
    except comfy.model_management.InterruptProcessingException:
        pass  # no picture then; the net is there
    except (RuntimeError, MemoryError) as error:
        logging.warning(
            "[ControlStack] the net is trained, but its validation picture failed: %s", error
        )
    return Result(
        trainer.net_weights(),
        trainer.decoder_weights(),
        trainer.history,
        trainer.step,
        record(inputs, trainer),
        screen.pictures,
    )


def record(inputs: Inputs, trainer: Trainer) -> dict[str, str]:
    """The metadata of a file with this net."""
    before = getattr(inputs.control_net, RECORD, {})
    return checkpoint_files.as_text(
        {
            "controlstack.base": nets.base_name(inputs.model),
            "controlstack.hint": inputs.dataset.hint_method,
            "controlstack.hint_params": inputs.dataset.hint_params,
            "controlstack.steps": trainer.step + int(before.get("controlstack.steps", 0)),
            "controlstack.pairs": len(inputs.dataset.pairs),
            "controlstack.dataset_sha256": inputs.dataset.digest,
            "controlstack.settings": asdict(inputs.settings),
        }
    )


# -- checkpoints -----------------------------------------------------------------------------------


def _origin(inputs: Inputs, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """What a checkpoint must share with a run that takes it up."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(weights[key].contiguous().numpy().tobytes())
    return {
        "base": nets.base_name(inputs.model),
        "dataset": inputs.dataset.digest,
        "net": digest.hexdigest(),
        "train_decoder": str(inputs.settings.train_decoder),
    }


_SAID = {
    "base": "another base model",
    "dataset": "another data set",
    "net": "another net to begin with",
    "train_decoder": "another choice of train_decoder",
}


def _resumed(inputs: Inputs, origin: Mapping[str, str]) -> dict[str, Tensor] | None:
    """The state to take up; None where there is none. Raises ValueError where it is another
    training's.
    """
    path = inputs.checkpoint
    if path is None or not path.exists():
        return None
    found = checkpoint_files.read_metadata(path)
    other = [said for key, said in _SAID.items() if found.get(key) != origin[key]]
    if other:
        raise ValueError(
            f"checkpoint: {path.name} comes from {', '.join(other)}, so it cannot be resumed here. "
            "Choose another name, or delete the file to begin anew."
        )
    return checkpoint_files.read(path)[0]


def write_checkpoint(path: Path, trainer: Trainer, origin: Mapping[str, str]) -> None:
    """The trainer's whole state, with what it belongs to. Raises OSError; the older file stays
    whole.
    """
    checkpoint_files.save(trainer.state(), path, {**origin, "steps": str(trainer.step)})


def steps_in(path: Path) -> int:
    """Steps done in a checkpoint; 0 where there is none, or none that reads."""
    try:
        return int(checkpoint_files.read_metadata(path).get("steps", 0)) if path.exists() else 0
    except ValueError:
        return 0


# -- memory ----------------------------------------------------------------------------------------


def _memory_sentence(inputs: Inputs, error: Exception) -> str:
    """Which knob to turn: those that are not turned already."""
    s = inputs.settings
    knobs = {
        f"lower batch_size (now {s.batch_size}) and raise accumulation by the same factor": (
            s.batch_size > 1
        ),
        "switch gradient_checkpointing on": not s.gradient_checkpointing,
        "choose precision bf16": s.precision != "bf16",
        "switch train_decoder off": s.train_decoder,
        f"make the data set's pictures smaller (now {inputs.dataset.width}×{inputs.dataset.height})": (
            True
        ),
    }
    tips = "; ".join(tip for tip, is_open in knobs.items() if is_open)
    done = steps_in(inputs.checkpoint) if inputs.checkpoint else 0
    kept = f" {done} steps are kept in the checkpoint." if done else ""
    return (
        f"Training ran out of memory. In this order: {tips}.{kept}"
        f" ({str(error).splitlines()[0][:120]})"
    )


# -- what is seen ----------------------------------------------------------------------------------


class Screen:
    """The node while it works: progress, the curves, and a validation picture beside its hint and
    target.
    """

    def __init__(self, inputs: Inputs, trainer: Trainer) -> None:
        self.inputs, self.trainer = inputs, trainer
        self.bar = comfy.utils.ProgressBar(trainer.settings.steps)
        self.pictures: list[Tensor] = []
        self.validated_at, self.drawn_at = -1, time.monotonic()

    def show(self, loss: float) -> None:
        step, every = self.trainer.step, self.inputs.validate_every
        is_due = bool(every) and step % every == 0
        if is_due:
            self.validate()
        preview = None
        if is_due or time.monotonic() - self.drawn_at > SHOW_EVERY_S:
            preview = ("JPEG", self.drawing(), PREVIEW_PX)
            self.drawn_at = time.monotonic()
        self.bar.update_absolute(step, self.trainer.settings.steps, preview)

    def validate(self) -> None:
        """Sample a picture, unless the node asks for none or this step has one."""
        if not self.inputs.validate_every or self.validated_at == self.trainer.step:
            return
        data = self.inputs.dataset
        made = validation.picture(self.trainer, SHOWN_ROW, self.inputs.model, self.inputs.vae)
        self.pictures = [data.hint(SHOWN_ROW), data.target(SHOWN_ROW), made]
        self.validated_at = self.trainer.step

    def drawing(self) -> Image.Image:
        curves = history.plot(self.trainer.history)
        return history.beside(self.pictures, curves) if self.pictures else curves
