"""Create, train and save a ControlNet in the graph."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import comfy.cldm.cldm
import folder_paths
import torch
from comfy_api.latest import io, ui

from ..control.net_info import TAG, source_of
from ..files.families import Source
from ..host.runtime import networks, progress, say
from ..preprocessors import CATALOGUE, catalogue
from ..training import checkpoint_files, history, nets, session
from ..training import dataset as data
from ..training.loop import PRECISIONS, Settings
from .preprocess import _input
from .schema import schema

ControlDataset = io.Custom("CONTROL_DATASET")
GIVEN = "given"
CHECKPOINTS = "controlstack"  # folder of the host's output folder
SAVED_AS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


class Create(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackCreate",
            category="Train",
            display_name="Create ControlNet",
            description=(
                "A new ControlNet for a base model: its encoder copied, its zero convolutions zero."
                " It does nothing yet; Train ControlNet teaches it."
            ),
            search_aliases=["new controlnet", "zero convolution", "train controlnet"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The base: SD1.5, SD2 or SDXL. LoRAs on it count as part of it.",
                ),
                io.ControlNet.Input(
                    "control_net",
                    optional=True,
                    tooltip=(
                        "Begin with this net's weights instead (another condition of the same"
                        " base)."
                    ),
                ),
            ],
            outputs=[io.ControlNet.Output(display_name="control_net")],
        )

    @classmethod
    def execute(cls, model: Any, control_net: Any = None) -> io.NodeOutput:
        with torch.inference_mode(False):
            weights = (
                nets.created(model) if control_net is None else nets.weights_of(control_net, model)
            )
            made = nets.as_control(weights, model, "new net")
        if recorded := getattr(control_net, session.RECORD, None):
            setattr(made, session.RECORD, recorded)
        return io.NodeOutput(made)


class Dataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        options = [io.DynamicCombo.Option(GIVEN, [])]
        options += [
            io.DynamicCombo.Option(row.key, [*map(_input, row.params)]) for row in CATALOGUE
        ]
        size: dict[str, Any] = {
            "default": 512,
            "min": data.MULTIPLE,
            "max": 4096,
            "step": data.MULTIPLE,
        }
        return schema(
            "ControlStackDataset",
            category="Train",
            display_name="ControlNet Data Set",
            description=(
                "Pairs of picture and hint to train a ControlNet on, checked before training"
                " starts."
            ),
            search_aliases=["training data", "fill50k", "controlnet dataset"],
            inputs=[
                io.String.Input(
                    "folder",
                    default="",
                    tooltip=(
                        "A folder in ComfyUI's input folder, with source/, target/ and prompt.json;"
                        " or, with a method, pictures (and captions as NAME.txt). Empty: target and"
                        " hint come from the graph."
                    ),
                ),
                io.DynamicCombo.Input(
                    "method",
                    options=options,
                    tooltip="given: the data set has hints. Else: how they are made.",
                ),
                io.Int.Input(
                    "width",
                    tooltip="Pixels. Pictures are scaled to cover this and cut in the middle.",
                    **size,
                ),
                io.Int.Input("height", tooltip="Pixels; 512 for SD1.5, 1024 for SDXL.", **size),
                io.Boolean.Input(
                    "leave_out",
                    default=False,
                    tooltip="Train without the pairs that cannot be used, instead of refusing.",
                ),
                io.Image.Input(
                    "target", optional=True, tooltip="Pictures from the graph, instead of a folder."
                ),
                io.Image.Input(
                    "hint",
                    optional=True,
                    tooltip="A hint for each target; none: the method makes them.",
                ),
                io.String.Input(
                    "prompts",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="For pictures from the graph: one line for all, or one for each.",
                ),
            ],
            outputs=[
                ControlDataset.Output(display_name="dataset"),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str = "", **_: Any) -> str:
        """Changes when a file of the folder does."""
        return _folder_state(folder) if folder.strip() else ""

    @classmethod
    def execute(
        cls,
        folder: str,
        method: dict[str, Any],
        width: int,
        height: int,
        leave_out: bool = False,
        target: Any = None,
        hint: Any = None,
        prompts: str = "",
    ) -> io.NodeOutput:
        params = {name: value for name, value in method.items() if name != "method"}
        row = None if method["method"] == GIVEN else catalogue(method["method"])
        with torch.inference_mode(False):
            rows, faults, examples = _rows(
                folder, target, hint, prompts, with_method=row is not None
            )
            made = data.checked(
                rows,
                width,
                height,
                method=None if row is None else partial(_hint, row, params),
                hint_method="" if row is None else row.key,
                hint_params=params,
                faults=faults,
                examples=examples,
                leave_out=leave_out,
                progress=progress(),
            )
        say(made.report)
        return io.NodeOutput(made, made.report, ui=ui.PreviewText(made.report))


def _hint(row: Any, params: dict[str, Any], picture: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():  # as in a node of its own
        return row(picture[None], networks=networks, **params)[0]


def _rows(folder: str, target: Any, hint: Any, prompts: str, *, with_method: bool) -> Any:
    """Rows, faults and their examples, from the folder or from the graph. Raises ValueError where
    it is not clear.
    """
    if folder.strip() and (target is not None or hint is not None):
        raise ValueError("folder and target are both given: empty one of them")
    if folder.strip():
        return data.from_folder(_folder(folder), with_method=with_method)
    if target is None:
        raise ValueError("no pictures: name a folder of ComfyUI's input folder, or connect target")
    if hint is None and not with_method:
        raise ValueError("no hints: connect hint, or choose a method that makes them")
    if hint is not None and with_method:
        raise ValueError(
            "hint is connected and a method is chosen: disconnect it, or choose the method 'given'"
        )
    return (
        data.from_batches(target.clone(), None if hint is None else hint.clone(), prompts),
        None,
        (),
    )


def _folder(name: str) -> Path:
    return data.folder(Path(folder_paths.get_input_directory()), name)


def _folder_state(name: str) -> str:
    """Names, sizes and times of all files, hashed; of a folder that is none, the sentence that says
    so.
    """
    try:
        path = _folder(name)
    except ValueError as error:
        return str(error)
    digest = hashlib.sha256()
    for found, folders, names in os.walk(path):
        folders.sort()
        for file in sorted(names):
            known = os.lstat(os.path.join(found, file))
            digest.update(f"{found}/{file} {known.st_size} {known.st_mtime_ns}".encode())
    return digest.hexdigest()


class Train(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackTrain",
            category="Train",
            display_name="Train ControlNet",
            description=(
                "Trains a ControlNet on a locked base. Stop ends it early and keeps what was"
                " learned."
            ),
            search_aliases=["controlnet training", "finetune controlnet", "zero convolution"],
            inputs=[
                io.Model.Input("model"),
                io.Clip.Input("clip"),
                io.Vae.Input("vae"),
                io.ControlNet.Input(
                    "control_net",
                    tooltip="From Create ControlNet, or any of the same base. It is copied.",
                ),
                ControlDataset.Input("dataset"),
                *_settings(),
                io.Int.Input(
                    "validate_every",
                    default=100,
                    min=0,
                    max=100_000,
                    tooltip="Steps between validation pictures; 0 makes none.",
                ),
                io.String.Input(
                    "checkpoint",
                    default="",
                    tooltip=(
                        "Name of a file in output/controlstack that keeps the training, so that it"
                        " goes on from there when queued again. Empty: nothing is kept."
                    ),
                ),
                io.Int.Input(
                    "checkpoint_every",
                    default=500,
                    min=0,
                    max=100_000,
                    tooltip="Steps between checkpoints; 0: only at the end and on stop.",
                ),
            ],
            outputs=[
                io.ControlNet.Output(display_name="control_net"),
                io.Model.Output(
                    display_name="model",
                    tooltip="The base; with its trained decoder if train_decoder is on.",
                ),
                io.Image.Output(
                    display_name="curves",
                    tooltip="The loss, and the norm of each zero convolution.",
                ),
                io.Image.Output(
                    display_name="validation",
                    tooltip="Hint, target, and what the net makes of the hint.",
                ),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def fingerprint_inputs(cls, steps: int = 0, checkpoint: str = "", **_: Any) -> str:
        """Changes while a checkpoint waits to be gone on with, so that a stopped training is not
        taken for done.
        """
        try:
            done = session.steps_in(_checkpoint(checkpoint)) if checkpoint.strip() else 0
        except ValueError:
            return ""
        return str(done) if 0 < done < steps else ""

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        control_net: Any,
        dataset: data.Dataset,
        validate_every: int = 100,
        checkpoint: str = "",
        checkpoint_every: int = 500,
        **settings: Any,
    ) -> io.NodeOutput:
        path = _checkpoint(checkpoint) if checkpoint.strip() else None
        chosen = (model, clip, vae, control_net, dataset, Settings(**settings))
        done = session.train(session.Inputs(*chosen, validate_every, path, checkpoint_every))
        with torch.inference_mode(False):
            net = nets.as_control(done.weights, model, f"net of {done.steps} steps")
        setattr(net, session.RECORD, done.record)
        curves = history.plot(done.history)
        shown = (
            history.as_image(history.beside(done.shown)) if done.shown else history.as_image(curves)
        )
        screen = history.as_image(history.beside(done.shown, curves)) if done.shown else shown
        return io.NodeOutput(
            net,
            _with_decoder(model, done.decoder),
            history.as_image(curves),
            shown,
            ui=ui.PreviewImage(screen, cls=cls),
        )


def _settings() -> list[io.Input]:
    return [
        io.Int.Input(
            "steps",
            default=1000,
            min=1,
            max=10_000_000,
            tooltip="In all, with those of the checkpoint.",
        ),
        io.Int.Input(
            "batch_size", default=4, min=1, max=256, tooltip="Pairs at once; costs memory."
        ),
        io.Int.Input(
            "accumulation",
            default=1,
            min=1,
            max=1024,
            tooltip="Batches a step; as a larger batch, costs time.",
        ),
        io.Float.Input("learning_rate", default=1e-5, min=1e-8, max=1.0, step=1e-6, round=False),
        io.Float.Input("weight_decay", default=0.01, min=0.0, max=1.0, step=0.001),
        io.Float.Input(
            "prompt_dropping",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip=(
                "Share of prompts replaced by the empty one, so that the net reads the hint instead"
                " of the prompt."
            ),
        ),
        io.Int.Input(
            "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=False
        ),
        io.Combo.Input(
            "precision",
            options=list(PRECISIONS),
            default="bf16",
            tooltip="bf16: half the memory; the weights stay fp32. fp32: for devices without bf16.",
        ),
        io.Boolean.Input(
            "gradient_checkpointing",
            default=True,
            tooltip="Much less memory, about a third more time a step.",
        ),
        io.Boolean.Input(
            "train_decoder",
            default=False,
            tooltip=(
                "Train the base's decoder too (sd_locked = False). For pictures far from what the"
                " base knows."
            ),
        ),
    ]


def _checkpoint(name: str) -> Path:
    return checkpoint_files.inside(
        Path(folder_paths.get_output_directory()) / CHECKPOINTS, name, "checkpoint"
    )


def _with_decoder(model: Any, decoder: dict[str, torch.Tensor]) -> Any:
    """The model itself, or one whose decoder has these weights: the host's own patches, as a
    LoRA's.
    """
    if not decoder:
        return model
    patched = model.clone()
    patched.add_patches(
        {f"diffusion_model.{key}": ("set", (value,)) for key, value in decoder.items()}
    )
    return patched


class Save(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackSave",
            category="Train",
            display_name="Save ControlNet",
            description="Writes a ControlNet into the controlnet folder, as every loader reads it.",
            search_aliases=["controlnet save", "export controlnet"],
            inputs=[
                io.ControlNet.Input("control_net"),
                io.String.Input(
                    "name",
                    default="my_controlnet",
                    tooltip="File name in models/controlnet; folders too.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(SAVED_AS),
                    default="fp16",
                    tooltip="fp32 to train on later.",
                ),
                io.Boolean.Input(
                    "overwrite", default=False, tooltip="Replace a file of that name."
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, control_net: Any, name: str, precision: str, overwrite: bool = False
    ) -> io.NodeOutput:
        folder = Path(folder_paths.get_folder_paths("controlnet")[0])
        path = checkpoint_files.inside(folder, name, "name")
        if path.exists() and not overwrite:
            raise ValueError(
                f"name: {path.name} is there already. Choose another name, or switch overwrite on."
            )
        weights = _savable(control_net, SAVED_AS[precision])
        checkpoint_files.save(weights, path, _metadata(control_net, precision))
        saved = path.relative_to(folder).as_posix()
        if (source := source_of(control_net)) is not None:
            setattr(control_net, TAG, Source(saved, dataclasses.replace(source.identity)))
        say(written := f"controlnet/{saved} ({path.stat().st_size / 1e6:,.1f} MB)")
        return io.NodeOutput(ui=ui.PreviewText(written))


def _savable(net: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The net's weights in the ldm layout. Raises ValueError for another kind of net, or where they
    overflow.
    """
    module = getattr(net, "control_model", None)
    if not isinstance(module, comfy.cldm.cldm.ControlNet):
        raise ValueError(
            f"control_net: expected a ControlNet of SD1.5, SD2 or SDXL, found {type(net).__name__}"
        )
    weights = {key: value.to("cpu", dtype) for key, value in nets.current_weights(net).items()}
    if broken := [key for key, value in weights.items() if not bool(value.isfinite().all())]:
        raise ValueError(
            f"control_net: {len(broken)} of its weights are no numbers in {dtype}, such as"
            f" {broken[0]}. Choose precision fp32; if that is refused too, the training went wrong:"
            " lower its learning_rate."
        )
    return weights


def _metadata(net: Any, precision: str) -> dict[str, str]:
    source = source_of(net)
    norms = {
        key: round(value, 6)
        for key, value in nets.zero_convolution_norms(nets.current_weights(net)).items()
    }
    known = {
        "controlstack.base": source.identity.base if source else "",
        "controlstack.precision": precision,
    }
    return checkpoint_files.as_text(
        {**known, **getattr(net, session.RECORD, {}), "controlstack.zero_convolution_norms": norms}
    )


NODES = [Create, Dataset, Train, Save]
