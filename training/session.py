"""Run one training from the node's inputs to its outputs.

ComfyUI's model, CLIP and VAE become modules and encoded data, the loop trains, the screen shows it,
and the checkpoint keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..host.memory import is_out_of_memory
from ..host.progress import progress, say
from . import bases, cache, checkpoint_files, history, nets, validation
from .dataset import Dataset
from .loop import NonFiniteLossError, Settings, Trainer
from .resume import Checkpoint, digest_of, steps_in
from .screen import Screen


@dataclass(frozen=True)
class Inputs:
    """What the node gets."""

    model: Any
    clip: Any
    vae: Any
    control_net: Any
    dataset: Dataset
    settings: Settings
    validate_every: int = 100
    checkpoint: Path | None = None
    checkpoint_every: int = 500
    guidance: float = validation.GUIDANCE


@dataclass(frozen=True)
class Trained:
    """What a training leaves when its modules are freed; weights are float32 on the CPU."""

    weights: dict[str, Tensor]
    decoder: dict[str, Tensor]
    """Of the base; empty where it was locked."""
    history: history.History
    steps: int
    record: dict[str, str]
    pictures: Sequence[Tensor]
    """(H,W,3): the hint, the target, and what the net makes of the hint; or none."""


@dataclass(frozen=True)
class Result:
    """What the node gives: CONTROL_NET, MODEL, and IMAGEs (1,H,W,3)."""

    net: Any
    model: Any
    """The base, with its decoder as trained."""
    curves: Tensor
    validation: Tensor
    """Hint, target, and what the net makes of the hint; the curves where none was sampled."""
    preview: Tensor
    """All of it, to be shown under the node."""


def train(inputs: Inputs) -> Result:
    """Train until the steps are done, or until an interrupt, which keeps what has been learned.

    Raises ValueError for inputs that do not belong together and for a loss that is not finite,
    RuntimeError out of memory; all say what to do.
    """
    trained = _train(inputs)
    with torch.inference_mode(False):
        net = nets.as_control(trained.weights, inputs.model, f"net of {trained.steps} steps")
    setattr(net, nets.RECORD, trained.record)
    curves = history.plot(trained.history)
    validation = preview = curves
    if trained.pictures:
        validation = history.contact_sheet(trained.pictures)
        preview = history.contact_sheet(trained.pictures, curves)
    images = map(history.as_image, (curves, validation, preview))
    return Result(net, nets.with_decoder(inputs.model, trained.decoder), *images)


def _train(inputs: Inputs) -> Trained:
    with torch.inference_mode(False), torch.enable_grad():  # ComfyUI's nodes run in inference mode
        weights = nets.copy_weights(inputs.control_net, inputs.model)
        checkpoint = Checkpoint(inputs.checkpoint, _origin(inputs, weights))
        state = checkpoint.read()
        _say_if_done(inputs, state)
        checkpoint.refuse_small_disk(weights)
        data = _encoded(inputs)
        comfy.model_management.unload_all_models()  # the copies below need the memory
        try:
            trainer = _trainer(inputs, weights, data)
            checkpoint.resume(trainer, state)
            return _run(inputs, trainer, checkpoint)
        except Exception as error:
            if is_out_of_memory(error):
                raise RuntimeError(_memory_sentence(inputs, error)) from error
            raise


def _encoded(inputs: Inputs) -> cache.Encoded:
    """Encode the data set. Raises RuntimeError out of memory."""
    try:
        return cache.encode(inputs.dataset, inputs.model, inputs.clip, inputs.vae, progress())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        size = f"{inputs.dataset.width}×{inputs.dataset.height}"
        raise RuntimeError(
            "Encoding the data set ran out of memory before the first step: make its pictures"
            f" smaller (now {size}), or free memory that other programs use."
            f" ({_first_line(error)})"
        ) from error


def _say_if_done(inputs: Inputs, state: Mapping[str, Tensor] | None) -> None:
    """Say that a checkpoint has more steps than are asked for: the net then has them too."""
    if state is not None and inputs.checkpoint and int(state["step"]) > inputs.settings.steps:
        say(
            f"{inputs.checkpoint.name} has {int(state['step'])} steps already, more than the"
            f" {inputs.settings.steps} asked for: the net is that of {int(state['step'])} steps."
        )


def _origin(inputs: Inputs, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Describe what a checkpoint must share with this run, by the keys of `resume.DIFFERENCES`."""
    return {
        "base": bases.base_name(inputs.model),
        "dataset": inputs.dataset.digest,
        "net": digest_of(weights),
        "train_decoder": str(inputs.settings.train_decoder),
    }


def _trainer(inputs: Inputs, weights: Mapping[str, Tensor], data: cache.Encoded) -> Trainer:
    settings, model = inputs.settings, inputs.model
    device = comfy.model_management.get_torch_device()
    base = nets.frozen_base(model, device, settings.compute, decoder_too=settings.train_decoder)
    net = nets.trainable_net(weights, model, device)
    return Trainer(base, net, model.get_model_object("model_sampling"), data, settings, device)


def _run(inputs: Inputs, trainer: Trainer, checkpoint: Checkpoint) -> Trained:
    shown = inputs.model, inputs.vae, inputs.validate_every, inputs.guidance
    screen = Screen(trainer, inputs.dataset, *shown)

    def after_step(_loss: float) -> None:
        screen.update()
        if inputs.checkpoint_every and trainer.step % inputs.checkpoint_every == 0:
            checkpoint.write(trainer)
        comfy.model_management.throw_exception_if_processing_interrupted()

    try:
        with trainer:
            trainer.run(after_step)
    except comfy.model_management.InterruptProcessingException:
        pass  # what has been learned is the result, and the nodes that follow run
    except NonFiniteLossError as error:
        # Nothing is written here: the weights that led to it are as useless as the loss.
        remedies = _remedies(inputs.settings)
        raise ValueError(f"{error} {remedies} {checkpoint.after_divergence(trainer)}") from error
    except Exception:
        trainer.optimizer.zero_grad(set_to_none=True)
        checkpoint.write(trainer)
        raise
    checkpoint.write(trainer)
    screen.finish()
    return Trained(
        trainer.net_weights(),
        trainer.decoder_weights(),
        trainer.history,
        trainer.step,
        _record(inputs, trainer, checkpoint.run),
        screen.pictures,
    )


def _remedies(settings: Settings) -> str:
    """Name the settings that keep a loss finite, those that are not chosen yet."""
    remedies = {
        f"Lower learning_rate (now {settings.learning_rate:g})": True,
        "choose precision fp32": settings.precision != "fp32",
        "set max_grad_norm to 1": settings.max_grad_norm == 0,
        "raise warmup_steps": settings.warmup_steps == 0,
    }
    return ", or ".join(remedy for remedy, is_open in remedies.items() if is_open) + "."


def _record(inputs: Inputs, trainer: Trainer, run: str) -> dict[str, str]:
    """Write the metadata of a file with this net; steps add up over trainings."""
    before = getattr(inputs.control_net, nets.RECORD, {})
    return checkpoint_files.as_text(
        {
            "controlstack.base": bases.base_name(inputs.model),
            "controlstack.hint": inputs.dataset.hint_method,
            "controlstack.hint_params": inputs.dataset.hint_params,
            "controlstack.steps": trainer.step + int(before.get("controlstack.steps", 0)),
            "controlstack.pairs": len(inputs.dataset.pairs),
            "controlstack.dataset_sha256": inputs.dataset.digest,
            "controlstack.run": run,
            "controlstack.settings": asdict(inputs.settings),
        }
    )


# -- memory ----------------------------------------------------------------------------------------


def _memory_sentence(inputs: Inputs, error: Exception) -> str:
    """Name the settings to change that have not been changed yet, the best first."""
    s, data = inputs.settings, inputs.dataset
    remedies = {
        f"lower batch_size (now {s.batch_size}) and raise accumulation by the same factor": (
            s.batch_size > 1
        ),
        "switch gradient_checkpointing on": not s.gradient_checkpointing,
        "choose precision bf16": s.precision != "bf16",
        "switch train_decoder off": s.train_decoder,
        f"make the data set's pictures smaller (now {data.width}×{data.height})": True,
    }
    steps = steps_in(inputs.checkpoint) if inputs.checkpoint else 0
    saved = f" {steps} steps are saved in the checkpoint." if steps else ""
    open_remedies = "; ".join(remedy for remedy, is_open in remedies.items() if is_open)
    return (
        f"Training ran out of memory. Try, in this order: {open_remedies}.{saved}"
        f" ({_first_line(error)})"
    )


def _first_line(error: Exception) -> str:
    """Return what an error says first; its class where it says nothing, as MemoryError does."""
    return next(iter(str(error).splitlines()), "")[:120] or type(error).__name__
