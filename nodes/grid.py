"""Put pictures side by side, with labels."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..control.report.sheet import sheet
from .schema import schema


class Grid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackGrid",
            display_name="Labelled Grid",
            description=(
                "Puts the pictures of a batch into one, each with its label: to compare strengths,"
                " methods or settings."
            ),
            search_aliases=["image grid", "contact sheet", "xy plot", "compare", "strength sweep"],
            inputs=[
                io.Image.Input("images", tooltip="A batch of pictures of one size."),
                io.String.Input(
                    "labels",
                    default="",
                    multiline=True,
                    tooltip="One line for each picture. Empty = their numbers.",
                ),
                io.Int.Input(
                    "columns",
                    default=0,
                    min=0,
                    max=64,
                    tooltip="Pictures side by side; 0 = about as many as below each other.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, images: torch.Tensor, labels: str, columns: int) -> io.NodeOutput:
        return io.NodeOutput(sheet(images, labels, columns))


NODES = [Grid]
