"""A canvas to draw a hint in the node."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from comfy_api.latest import io

from ..host.drawing_files import content_of, drawing_of
from ..host.progress import progress, warn
from ..preprocessors.stroke_raster import render
from ..preprocessors.strokes import LEAST_SIDE, MOST_SIDE, DrawingError
from .schema import schema

SIDE_PX = 512
"""Of a canvas whose size nothing else tells."""


def _side(name: str) -> io.Input:
    return io.Int.Input(
        name,
        default=SIDE_PX,
        min=0,
        max=MOST_SIDE,
        step=8,
        tooltip=(
            f"The hint's {name} in pixels, {LEAST_SIDE} to {MOST_SIDE}. 0 = that of the connected"
            f" picture, else {SIDE_PX}."
        ),
    )


def _wrong_sides(**sides: Any) -> list[str]:
    return [
        f"{name}: expected 0, or {LEAST_SIDE} to {MOST_SIDE} pixels, found {side}."
        for name, side in sides.items()
        if side is not None and side != 0 and not LEAST_SIDE <= side <= MOST_SIDE
    ]


def _size_px(width: int, height: int, image: torch.Tensor | None) -> tuple[int, int]:
    """Return width and height of the hint. Raises DrawingError for a picture that is too large."""
    if wrong := _wrong_sides(width=width, height=height):
        raise DrawingError(wrong[0])
    shape = (SIDE_PX, SIDE_PX) if image is None else (image.shape[2], image.shape[1])
    size = (width or int(shape[0]), height or int(shape[1]))
    if max(size) > MOST_SIDE:
        raise DrawingError(
            f"the picture has {shape[0]}x{shape[1]} pixels: expected at most {MOST_SIDE} on each"
            " side. Set width and height, or scale it down."
        )
    return size


class ControlStackScribbleCanvas(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls.__name__,
            display_name="Draw Scribble",
            description=(
                "Draws a hint by hand in the node, for scribble, line and sketch ControlNets: with"
                " mouse, pen or finger, over a picture if wanted, at any size."
            ),
            search_aliases=[
                *("scribble canvas", "draw", "paint", "sketch", "canvas", "doodle", "painter"),
                *("draw mask", "hand drawn", "brush"),
            ],
            inputs=[
                io.String.Input(
                    "drawing",
                    default="",
                    tooltip=(
                        "What is drawn: the name of a drawing in controlstack/drawings of the input"
                        " folder, or its JSON. Empty = nothing."
                    ),
                ),
                *(_side(name) for name in ("width", "height")),
                io.Boolean.Input(
                    "invert",
                    default=False,
                    tooltip=(
                        "Black lines on white. Off = white on black, as scribble ControlNets were"
                        " trained. The mask stays the same."
                    ),
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip=(
                        "A picture to draw over, not part of the hint. It gives the size where"
                        " width or height is 0."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output("hint", display_name="hint", tooltip="The hint for a ControlNet."),
                io.Mask.Output("mask", display_name="mask", tooltip="What is drawn (white)."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, drawing: str | None = None, width: int | None = None, height: int | None = None
    ) -> bool | str:
        """Refuse a drawing that is gone or damaged, and sizes that cannot be, before a run."""
        wrong = _wrong_sides(width=width, height=height)
        try:
            drawing_of(drawing or "")
        except DrawingError as error:
            wrong.insert(0, f"drawing: {error}")
        return " ".join(wrong) or True

    @classmethod
    def fingerprint_inputs(cls, drawing: str = "", **_others: Any) -> str:
        try:
            return hashlib.sha256(content_of(drawing or "").encode("utf-8", "replace")).hexdigest()
        except DrawingError:  # validation or the run says so
            return ""

    @classmethod
    def execute(
        cls,
        drawing: str,
        width: int,
        height: int,
        invert: bool,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        width_px, height_px = _size_px(width, height, image)
        strokes = drawing_of(drawing)
        if strokes is None or not strokes.strokes:
            warn("Nothing is drawn on the canvas: the hint is empty. Draw in the node.")
            mask = torch.zeros(1, height_px, width_px)
        else:
            levels = render(strokes, width_px, height_px, progress())
            mask = torch.from_numpy(levels).float().div_(255)[None]
        lines = 1 - mask if invert else mask
        hint = lines[..., None].expand(-1, -1, -1, 3).contiguous()
        return io.NodeOutput(hint, mask)


NODES = [ControlStackScribbleCanvas]
