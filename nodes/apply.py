"""Describe controls (Add) and put them on conditionings (Apply)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from comfy_api.latest import io

from ..control.attach import attach
from ..control.fits import FITS
from ..control.grammar import plain
from ..control.layers import EXAMPLES as LAYERS_EXAMPLES
from ..control.net_info import look_at
from ..control.speed import LONGEST_REUSE, SPEEDS, speed_of
from ..control.stack import MODES, Stack
from ..control.unions import AUTO
from ..control.units import refusals, stack_of, unit_of
from ..host import results
from ..host.matching import as_remark, mismatch_warning
from ..host.matching import union_type as union_type_of
from ..host.panel_labels import label_of, named_row
from ..host.progress import running_node, warn
from .schema import ControlStack, schema

ForeignStack = io.Custom("CONTROL_NET_STACK")

SCHEDULE_TIP = (
    "Strength over sampling, multiplied with strength: '0:1, 0.35:0.8, 0.6:0' (fraction of"
    " sampling:factor) or '6s:0.5' (sampler step:factor). Add '| smooth' or '| step' at the end;"
    " otherwise linear."
)
LAYERS_TIP = (
    f"Strength over depth, from the first block to the middle block: {LAYERS_EXAMPLES}."
    " Empty = the same for all."
)
MODE_TIP = (
    "balanced: as ComfyUI's own nodes. prompt: the prompt matters more (soft layers). control: the"
    " ControlNet matters more (soft layers, on the positive prompt only). cond_only: acts on the"
    " positive prompt only. The last two are faster."
)
FIT_TIP = (
    "For a hint whose aspect differs from the picture's: crop its edges, stretch it, or pad it with"
    " the colour of its border. region: use only the part under the positive prompt's area."
)
UNION_TIP = (
    "For union ControlNets: 'auto', a type such as 'depth', or several with weights: 'canny,"
    " depth:0.5'."
)
SPEED_TIP = (
    "exact: the same image as ComfyUI's own nodes. fast: differs by rounding; a net that is used"
    " several times runs once for all its hints. approximate: also reuses what nets gave at the"
    " step before; Control Report tells how far that was off."
)
FRAMES_TIP = (
    "Strength over batch entries or frames, written like schedule with their numbers: '0:1, 8:0.5,"
    " 16:0'."
)


def _optional_inputs() -> list[io.Input]:
    """Declare where and for which frames control acts, all optional."""
    return [
        io.Mask.Input(
            "effect_mask",
            optional=True,
            tooltip="Where the ControlNet acts (white), in the picture.",
        ),
        io.Mask.Input(
            "inpaint_mask",
            optional=True,
            tooltip="For inpainting nets: the area to inpaint (white).",
        ),
        io.String.Input("union_type", default="auto", optional=True, tooltip=UNION_TIP),
        io.String.Input("frame_strength", default="", optional=True, tooltip=FRAMES_TIP),
    ]


class Add(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackAdd",
            display_name="Add ControlNet",
            description=(
                "Adds one ControlNet with its hint to a stack: how strongly, when, where and how"
                " deep it acts."
            ),
            search_aliases=[
                "controlnet",
                "control net",
                "add control",
                "controlnet stack",
                "controlnet stacker",
                "multi controlnet",
                "advanced controlnet",
                "union controlnet",
                "controlnet strength schedule",
            ],
            inputs=[
                io.ControlNet.Input("control_net"),
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The hint: a picture such as the net was trained on, like Canny edges."
                        " Transparent parts become white."
                    ),
                ),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.01),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Fraction of sampling (0 to 1).",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Fraction of sampling (0 to 1).",
                ),
                io.Combo.Input("mode", options=list(MODES), default="balanced", tooltip=MODE_TIP),
                io.Combo.Input("fit", options=list(FITS), default="crop", tooltip=FIT_TIP),
                _or_curve(io.String.Input("schedule", default="", tooltip=SCHEDULE_TIP)),
                io.String.Input("layers", default="", tooltip=LAYERS_TIP),
                ControlStack.Input(
                    "stack",
                    optional=True,
                    tooltip="The stack to add to. Not connected: a new one.",
                ),
                *_optional_inputs(),
            ],
            outputs=[ControlStack.Output(display_name="stack")],
            hidden=[io.Hidden.dynprompt],
            # ComfyUI then says its remark again when the node itself was cached
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(
        cls,
        schedule: Any = None,
        layers: str | None = None,
        frame_strength: str | None = None,
        union_type: str | None = None,
    ) -> bool | str:
        """Refuse texts that do not parse before anything is loaded."""
        texts = {"schedule": schedule, "layers": layers}
        texts |= {"frame_strength": frame_strength, "union_type": union_type}
        return " ".join(refusals(texts)) or True

    @classmethod
    def execute(
        cls,
        control_net: Any,
        image: torch.Tensor,
        stack: Stack | None = None,
        union_type: str = AUTO,
        **settings: Any,
    ) -> io.NodeOutput:
        with named_row(cls):
            info = look_at(control_net)
            union_type, question = union_type_of(info, image, plain(union_type).strip() or AUTO)
            unit = unit_of(control_net, info, image, union_type, **settings)
        stack = (stack or Stack()).with_unit(replace(unit, node=running_node()))
        if warning := mismatch_warning(info, image):
            return io.NodeOutput(stack, ui=as_remark(warning, "warning"))
        return io.NodeOutput(stack, ui=as_remark(question))


def _speed_inputs() -> list[io.Input]:
    """Declare how far the picture may differ to be faster, all optional."""
    return [
        io.Combo.Input(
            "speed", options=list(SPEEDS), default="exact", optional=True, tooltip=SPEED_TIP
        ),
        io.Int.Input(
            "reuse",
            default=2,
            min=1,
            max=LONGEST_REUSE,
            optional=True,
            tooltip=(
                "For speed 'approximate': how many steps one evaluation of a net serves, after the"
                " first fifth of sampling."
            ),
        ),
        io.Boolean.Input(
            "share_prompts",
            default=False,
            optional=True,
            tooltip=(
                "For speed 'approximate': nets run for the positive prompt only, and the negative"
                " gets the same control."
            ),
        ),
    ]


class Apply(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackApply",
            display_name="Apply ControlNet Stack",
            description=(
                "Puts a stack of ControlNets on the conditionings, after any controls that they"
                " already carry."
            ),
            search_aliases=[
                "controlnet",
                "control net",
                "apply controlnet",
                "apply advanced controlnet",
                "controlnet apply",
                "use controlnet",
            ],
            inputs=[
                io.Conditioning.Input("positive"),
                io.MultiType.Input("stack", types=[ControlStack, ForeignStack]),
                io.Conditioning.Input("negative", optional=True),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="When connected, a net that does not fit it is refused here.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="For nets that encode their hint with the VAE (Flux, SD3, Qwen-Image).",
                ),
                *_speed_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
            hidden=[io.Hidden.dynprompt],
        )

    @classmethod
    def execute(
        cls,
        positive: list[Any],
        stack: Any,
        negative: list[Any] | None = None,
        model: Any = None,
        vae: Any = None,
        speed: str = "exact",
        reuse: int = 2,
        share_prompts: bool = False,
    ) -> io.NodeOutput:
        both = [positive, negative or []]
        attached = attach(
            stack_of(stack),
            both,
            vae,
            model,
            speed=speed_of(speed, reuse, share_prompts),
            with_negative=negative is not None,
            say=warn,
            on_end=results.send,
            label_of=partial(label_of, cls),
        )
        return io.NodeOutput(*attached)


def _or_curve(text: Any) -> Any:
    """Return a text input that also takes ComfyUI's CURVE, where ComfyUI has it (from 0.20)."""
    return io.MultiType.Input(text, types=[io.Curve]) if hasattr(io, "Curve") else text


NODES = [Add, Apply]
