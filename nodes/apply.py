"""Describe controls (Add) and put them on conditionings (Apply)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io

from ..control.adapter import attach, refuse_mismatch, source_of
from ..control.layers import EXAMPLES as LAYERS_EXAMPLES
from ..control.layers import parse as parse_layers
from ..control.masks import effect_mask as as_effect_mask
from ..control.masks import mask_values
from ..control.schedule import Schedule, from_points, parse_frames
from ..control.schedule import parse as parse_schedule
from ..control.stack import FITS, MODES, SPEEDS, Stack, Unit, refuse_not_built
from ..host.matching import as_remark, mismatch_warning
from ..host.matching import union_type as union_type_of
from .schema import ControlStack, schema

ForeignStack = io.Custom("CONTROL_NET_STACK")

SCHEDULE_TIP = (
    "Strength over time, multiplied with strength: '0:1, 0.35:0.8, 0.6:0' (fraction of"
    " sampling:factor), '6s:0.5' (sampler step:factor); then '| smooth' or '| step', else linear."
)
LAYERS_TIP = f"Strength over depth, input to middle block: {LAYERS_EXAMPLES}. Empty: all the same."
MODE_TIP = (
    "balanced: as ComfyUI's own nodes. prompt: the prompt is more important (soft layers). control:"
    " the control is (soft, on the positive prompt only). cond_only: on the positive prompt only."
    " The last two are faster."
)
FIT_TIP = (
    "A hint of another aspect than the picture: crop its edges, stretch it, or pad it with its"
    " border's colour. region: only the part under the area that the positive prompt carries."
)
UNION_TIP = (
    "For union nets: 'auto', a type such as 'depth', or several with weights: 'canny, depth:0.5'."
)
FRAMES_TIP = (
    "Strength over batch entries or frames, written as a schedule over their numbers: '0:1, 8:0.5,"
    " 16:0'."
)


class Add(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackAdd",
            display_name="Add Control",
            description=(
                "Adds one ControlNet with its hint to a stack: how strongly, when, where and how"
                " deep it acts."
            ),
            search_aliases=["controlnet stack", "multi controlnet", "controlnet stacker"],
            inputs=[
                io.ControlNet.Input("control_net"),
                io.Image.Input(
                    "image",
                    tooltip="The hint: what the net was trained to read, such as a Canny map.",
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
                    "stack", optional=True, tooltip="The stack to add to; none starts a new one."
                ),
                io.Mask.Input(
                    "effect_mask",
                    optional=True,
                    tooltip="Where the control acts (white), in the picture.",
                ),
                io.Mask.Input(
                    "inpaint_mask",
                    optional=True,
                    tooltip="For inpainting nets: what is painted anew (white).",
                ),
                io.String.Input("union_type", default="auto", optional=True, tooltip=UNION_TIP),
                io.String.Input("frame_strength", default="", optional=True, tooltip=FRAMES_TIP),
            ],
            outputs=[ControlStack.Output(display_name="stack")],
        )

    @classmethod
    def execute(
        cls,
        control_net: Any,
        image: torch.Tensor,
        strength: float,
        start_percent: float,
        end_percent: float,
        mode: str,
        fit: str,
        schedule: Any,
        layers: str,
        stack: Stack | None = None,
        effect_mask: torch.Tensor | None = None,
        inpaint_mask: torch.Tensor | None = None,
        union_type: str = "auto",
        frame_strength: str = "",
    ) -> io.NodeOutput:
        refuse_not_built("mode", mode)
        refuse_not_built("fit", fit)
        hint_type, asks = union_type_of(control_net, image, union_type.strip() or "auto")
        unit = unit_of(
            control_net,
            image,
            strength,
            start_percent,
            end_percent,
            mode=mode,
            fit=fit,
            schedule=schedule_of(schedule),
            layers=parse_layers(layers),
            frame_schedule=parse_frames(frame_strength),
            effect_mask=None if effect_mask is None else as_effect_mask(effect_mask),
            inpaint_mask=(
                None if inpaint_mask is None else mask_values("inpaint_mask", inpaint_mask)
            ),
            union_type=hint_type,
        )
        return io.NodeOutput(
            (stack or Stack()).with_unit(unit),
            ui=as_remark(mismatch_warning(control_net, image) or asks),
        )


class Apply(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackApply",
            display_name="Apply Control Stack",
            description=(
                "Puts a stack of ControlNets on the conditionings, after whatever controls they"
                " already carry."
            ),
            search_aliases=["apply controlnet", "controlnet apply", "use controlnet"],
            inputs=[
                io.Conditioning.Input("positive"),
                io.MultiType.Input("stack", types=[ControlStack, ForeignStack]),
                io.Conditioning.Input("negative", optional=True),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="When connected, nets that do not fit it are refused here.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="For nets that take their hint as latents (Flux, SD3, Qwen).",
                ),
                io.Combo.Input(
                    "speed",
                    options=list(SPEEDS),
                    default="exact",
                    optional=True,
                    tooltip="exact: the very image of ComfyUI's own nodes.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
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
    ) -> io.NodeOutput:
        refuse_not_built("speed", speed)
        stack = as_stack(stack)
        if model is not None:
            for unit in stack.units:
                refuse_mismatch(unit, model.model.model_config)
        out = attach(stack, [positive, negative or []], vae, with_negative=negative is not None)
        return io.NodeOutput(*out)


def unit_of(
    net: Any, image: torch.Tensor, strength: float, start: float, end: float, **shape: Any
) -> Unit:
    """A Unit from what comes over wires. Raises ValueError for anything that is no CONTROL_NET or
    no picture.
    """
    if not hasattr(net, "get_control") or not hasattr(net, "set_cond_hint"):
        raise ValueError(
            f"control_net: expected a CONTROL_NET from a loader, found {type(net).__name__}"
        )
    if not all(math.isfinite(value) for value in (strength, start, end)):
        raise ValueError(
            f"expected numbers for strength, start and end, found {strength}, {start}, {end}"
        )
    return Unit(net, hint_of(image), strength, start, end, source=source_of(net), **shape)


def hint_of(image: torch.Tensor) -> torch.Tensor:
    """An IMAGE (B,H,W,C) as the host's hint (B,3,H,W): values unchanged, grey repeated, alpha left
    out.

    Raises ValueError for an empty batch, a picture without pixels, or values that are not finite.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"image: expected (batch, height, width, 3), found {tuple(image.shape)}")
    if image.numel() == 0:
        raise ValueError(
            "image: expected at least one picture with at least one pixel, found"
            f" {tuple(image.shape)}"
        )
    if not bool(torch.isfinite(image).all()):
        raise ValueError(
            "image: expected finite values, found NaN or infinity; the node that made this hint"
            " failed"
        )
    colours = image.repeat(1, 1, 1, 3) if image.shape[-1] == 1 else image[..., :3]
    return (
        colours.float().contiguous().movedim(-1, 1)
    )  # laid out like any IMAGE, so that it rounds like one


def as_stack(stack: Any) -> Stack:
    """Our Stack, or the stackers' list of (control_net, image, strength, start_percent,
    end_percent).
    """
    if isinstance(stack, Stack):
        return stack
    if stack is None:
        return Stack()
    if not isinstance(stack, Sequence) or not all(
        isinstance(row, Sequence) and len(row) == 5 for row in stack
    ):
        raise ValueError(
            "stack: expected a CONTROL_STACK, or a CONTROL_NET_STACK of (control_net, image,"
            f" strength, start, end), found {type(stack).__name__}"
        )
    return Stack(tuple(unit_of(*row) for row in stack))


def _or_curve(text: Any) -> Any:
    """A text input that takes a wire of the host's CURVE too, on hosts that have it (from 0.20)."""
    return io.MultiType.Input(text, types=[io.Curve]) if hasattr(io, "Curve") else text


def schedule_of(value: Any) -> Schedule:
    """A schedule's text, or the host's CURVE over sampling: an object, {"points", "interpolation"}
    or (x, y) pairs.
    """
    if isinstance(value, str):
        return parse_schedule(value)
    points = value.get("points") if isinstance(value, dict) else getattr(value, "points", value)
    told = value.get("interpolation") if isinstance(value, dict) else type(value).__name__
    return from_points(points, "linear" if told in ("linear", "LinearCurve") else "smooth")


NODES = [Add, Apply]
