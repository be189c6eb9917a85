"""Create, train and save a ControlNet in the graph."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io, ui

from ..host.progress import progress, say
from ..host.runtime import networks
from ..preprocessors import catalogue
from ..training import dataset as data
from ..training import export, nets, resume, session
from ..training.loop import PRECISIONS, Settings
from .preprocess import method_options
from .schema import schema

ControlDataset = io.Custom("CONTROL_DATASET")
GIVEN = "given"


class Create(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackCreate",
            category="Train",
            display_name="Create a New ControlNet",
            description=(
                "Makes a new ControlNet from a base model: a copy of its encoder, with zero"
                " convolutions. It has no effect yet; Train a New ControlNet trains it."
            ),
            search_aliases=["create controlnet", "zero convolution", "train controlnet"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The base: SD1.5, SD2 or SDXL. LoRAs on it count as part of it.",
                ),
                io.ControlNet.Input(
                    "control_net",
                    optional=True,
                    tooltip=(
                        "Start from this net's weights instead: a ControlNet for another condition"
                        " of the same base."
                    ),
                ),
            ],
            outputs=[io.ControlNet.Output(display_name="control_net")],
        )

    @classmethod
    def execute(cls, model: Any, control_net: Any = None) -> io.NodeOutput:
        return io.NodeOutput(nets.create(model, control_net))


def _graph_inputs() -> list[io.Input]:
    """Declare the pairs that come from the graph instead of a folder."""
    return [
        io.Image.Input(
            "target", optional=True, tooltip="Pictures from the graph, instead of a folder."
        ),
        io.Image.Input(
            "hint",
            optional=True,
            tooltip="A hint for each target. If not connected, the method makes them.",
        ),
        io.String.Input(
            "prompts",
            default="",
            multiline=True,
            optional=True,
            tooltip="For pictures from the graph: one line for all, or one for each.",
        ),
    ]


def _size_inputs() -> list[io.Input]:
    """Declare the size of the pictures."""
    size: dict[str, Any] = {
        "default": 512,
        "min": data.MULTIPLE,
        "max": 4096,
        "step": data.MULTIPLE,
    }
    return [
        io.Int.Input(
            "width",
            tooltip="Pixels. Pictures are scaled to cover this size, then center-cropped.",
            **size,
        ),
        io.Int.Input("height", tooltip="Pixels; 512 for SD1.5, 1024 for SDXL.", **size),
    ]


class Dataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        options = [io.DynamicCombo.Option(GIVEN, []), *method_options()]
        return schema(
            "ControlStackDataset",
            category="Train",
            display_name="Training Data Set",
            description=(
                "Pairs of picture and hint to train a ControlNet on, checked before training"
                " starts."
            ),
            search_aliases=[
                "training data",
                "fill50k",
                "controlnet data set",
                "controlnet dataset",
            ],
            inputs=[
                io.String.Input(
                    "folder",
                    default="",
                    tooltip=(
                        "A folder in ComfyUI's input folder, with source/, target/ and"
                        " prompt.json; or, with a method, pictures (and captions as NAME.txt)."
                        " Empty: target and hint come from the graph."
                    ),
                ),
                io.DynamicCombo.Input(
                    "method",
                    options=options,
                    tooltip=(
                        "given: the data set has hints. Otherwise the preprocessor that makes them."
                    ),
                ),
                *_size_inputs(),
                io.Boolean.Input(
                    "leave_out",
                    default=False,
                    tooltip="Train without the pairs that cannot be used, instead of refusing.",
                ),
                *_graph_inputs(),
            ],
            outputs=[
                ControlDataset.Output(display_name="dataset"),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str = "", **_: Any) -> str:
        """Change when a file of the folder changes."""
        return data.folder_state(_input_folder(), folder) if folder.strip() else ""

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
            source = data.from_inputs(
                _input_folder(), folder, target, hint, prompts, with_method=row is not None
            )
            dataset = data.build(
                source,
                width,
                height,
                method=None if row is None else partial(_hint, row, params),
                hint_method="" if row is None else row.key,
                hint_params=params,
                leave_out=leave_out,
                progress=progress(),
            )
        say(dataset.report)
        return io.NodeOutput(dataset, dataset.report, ui=_first_pair(dataset, cls))


def _first_pair(dataset: data.Dataset, cls: type[io.ComfyNode]) -> dict[str, Any]:
    """Show the report, and the first pair as it is trained: its hint, then its target."""
    with torch.inference_mode(False):
        pair = torch.cat([dataset.hint(0), dataset.target(0)], dim=1).clamp(0, 1)[None]
    return {
        **ui.PreviewText(dataset.report).as_dict(),
        **ui.PreviewImage(pair, cls=cls).as_dict(),
    }


def _hint(row: Any, params: dict[str, Any], picture: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():  # as in a node of its own
        return row(picture[None], networks=networks, **params)[0]


def _input_folder() -> Path:
    return Path(folder_paths.get_input_directory())


def _checkpoint_inputs() -> list[io.Input]:
    """Declare when the training shows and saves its state."""
    return [
        io.Int.Input(
            "validate_every",
            default=100,
            min=0,
            max=100_000,
            tooltip="Steps between validation pictures; 0 = off.",
        ),
        io.String.Input(
            "checkpoint",
            default="",
            tooltip=(
                "Name of a file in output/controlstack for the state of the training,"
                " which resumes from there when queued again. Empty = no checkpoint."
            ),
        ),
        io.Int.Input(
            "checkpoint_every",
            default=500,
            min=0,
            max=100_000,
            tooltip="Steps between checkpoints; 0 = only at the end and when cancelled.",
        ),
    ]


class Train(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackTrain",
            category="Train",
            display_name="Train a New ControlNet",
            description=(
                "Trains a ControlNet on a locked base. Cancelling ends it early and keeps what has"
                " been learned."
            ),
            search_aliases=[
                "train controlnet",
                "controlnet training",
                "finetune controlnet",
                "zero convolution",
            ],
            inputs=[
                io.Model.Input("model"),
                io.Clip.Input("clip"),
                io.Vae.Input("vae"),
                io.ControlNet.Input(
                    "control_net",
                    tooltip=(
                        "From Create a New ControlNet, or any ControlNet of the same base. It is"
                        " copied, not changed."
                    ),
                ),
                ControlDataset.Input("dataset"),
                *_settings(),
                *_checkpoint_inputs(),
                *_appended_inputs(),
            ],
            outputs=[
                io.ControlNet.Output(display_name="control_net"),
                io.Model.Output(
                    display_name="model",
                    tooltip="The base; with its trained decoder if train_decoder is on.",
                ),
                io.Image.Output(
                    display_name="curves",
                    tooltip="The loss, and the weight norm of each zero convolution.",
                ),
                io.Image.Output(
                    display_name="validation",
                    tooltip="Hint, target, and what the net makes of the hint.",
                ),
            ],
            has_intermediate_output=True,
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, steps: int = 0, checkpoint: str = "", **_: Any) -> str:
        """Change while an unfinished checkpoint exists.

        A stopped run is then not served from ComfyUI's cache.
        """
        return str(resume.unfinished_steps(_output_folder(), checkpoint, steps) or "")

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
        guidance: float = 7.0,
        **settings: Any,
    ) -> io.NodeOutput:
        path = resume.checkpoint_path(_output_folder(), checkpoint) if checkpoint.strip() else None
        for name in _names_saved_under(cls.hidden):
            export.refuse_taken(_nets_folder(), name, run=resume.run_in(path))
        required = (model, clip, vae, control_net, dataset, Settings(**settings))
        watched = validate_every, path, checkpoint_every, guidance
        result = session.train(session.Inputs(*required, *watched))
        return io.NodeOutput(
            result.net,
            result.model,
            result.curves,
            result.validation,
            ui=ui.PreviewImage(result.preview, cls=cls),
        )


def _names_saved_under(hidden: Any) -> list[str]:
    """Return the names that the graph's Save nodes give this node's net without overwriting."""
    prompt = getattr(hidden, "prompt", None) or {}
    source = [str(getattr(hidden, "unique_id", "")), 0]
    saves = (
        node["inputs"] for node in prompt.values() if node.get("class_type") == "ControlStackSave"
    )
    names = [
        inputs.get("name")
        for inputs in saves
        if inputs.get("control_net") == source and inputs.get("overwrite", False) is False
    ]
    return [name for name in names if isinstance(name, str)]


def _appended_inputs() -> list[io.Input]:
    """Declare what came after the first release: optional, at the end."""
    return [
        io.Float.Input(
            "max_grad_norm",
            default=1.0,
            min=0.0,
            max=1000.0,
            step=0.1,
            optional=True,
            tooltip="Gradients with a larger norm are scaled down to it; 0 = off.",
        ),
        io.Int.Input(
            "warmup_steps",
            default=0,
            min=0,
            max=100_000,
            optional=True,
            tooltip="Steps over which the learning rate rises from zero; 0 = constant.",
        ),
        io.Float.Input(
            "guidance",
            default=7.0,
            min=0.0,
            max=100.0,
            step=0.1,
            optional=True,
            tooltip="Guidance scale (cfg) of the validation picture.",
        ),
    ]


def _output_folder() -> Path:
    return Path(folder_paths.get_output_directory())


def _memory_inputs() -> list[io.Input]:
    """Declare what trades memory for time or precision, and what is trained."""
    return [
        io.Combo.Input(
            "precision",
            options=list(PRECISIONS),
            default="bf16",
            tooltip=(
                "bf16: about half the memory; trained weights stay fp32. fp32: for devices without"
                " bf16."
            ),
        ),
        io.Boolean.Input(
            "gradient_checkpointing",
            default=True,
            tooltip="Much less memory, about a third more time per step.",
        ),
        io.Boolean.Input(
            "train_decoder",
            default=False,
            tooltip=(
                "Train the base's decoder too (sd_locked = False): for pictures unlike anything"
                " the base was trained on."
            ),
        ),
    ]


def _settings() -> list[io.Input]:
    return [
        io.Int.Input(
            "steps",
            default=1000,
            min=1,
            max=10_000_000,
            tooltip="Optimizer steps in total, including those of the checkpoint.",
        ),
        io.Int.Input("batch_size", default=4, min=1, max=256, tooltip="Pairs per forward pass."),
        io.Int.Input(
            "accumulation",
            default=1,
            min=1,
            max=1024,
            tooltip=(
                "Gradient-accumulation steps: acts like a larger batch, costs time instead of"
                " memory."
            ),
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
                "Share of prompts that are replaced by the empty prompt, so that the net learns to"
                " read the hint instead of the prompt."
            ),
        ),
        io.Int.Input(
            "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=False
        ),
        *_memory_inputs(),
    ]


class Save(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackSave",
            category="Train",
            display_name="Save Trained ControlNet",
            description=(
                "Saves a ControlNet to the controlnet folder, as a file that every loader reads."
            ),
            search_aliases=["save controlnet", "controlnet save", "export controlnet"],
            inputs=[
                io.ControlNet.Input("control_net"),
                io.String.Input(
                    "name",
                    default="my_controlnet",
                    tooltip="File name in models/controlnet; may include subfolders.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(export.DTYPES),
                    default="fp16",
                    tooltip="Choose fp32 to continue training from the file later.",
                ),
                io.Boolean.Input(
                    "overwrite", default=False, tooltip="Replace an existing file of that name."
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name: str = "", overwrite: bool | None = None) -> bool | str:
        """Refuse a name that is taken when the graph is queued, not after hours of training."""
        try:
            if name.strip() and overwrite is False:
                export.refuse_taken(_nets_folder(), name)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, control_net: Any, name: str, precision: str, overwrite: bool = False
    ) -> io.NodeOutput:
        folder = _nets_folder()
        path = export.save(control_net, folder, name, precision, overwrite=overwrite)
        saved = path.relative_to(folder).as_posix()
        line = f"controlnet/{saved} ({path.stat().st_size / 1e6:,.1f} MB)"
        say(line)
        return io.NodeOutput(ui=ui.PreviewText(line))


def _nets_folder() -> Path:
    return Path(folder_paths.get_folder_paths("controlnet")[0])


NODES = [Create, Dataset, Train, Save]
