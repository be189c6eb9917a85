"""Report what a stack did while it sampled, as a text and a plot."""

from __future__ import annotations

import logging
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..control.adapter import members_of
from ..control.report.numbers import report
from ..control.report.plot import WIDTH, plot
from ..control.report.text import failed, text
from .schema import schema


class Report(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackReport",
            display_name="Control Report",
            description=(
                "Shows what each ControlNet of a stack did in the last run: how much it added,"
                " where, when, and how long it took."
            ),
            search_aliases=[
                "controlnet report",
                "controlnet debug",
                "residual norms",
                "control timing",
            ],
            is_output_node=True,
            inputs=[
                io.Conditioning.Input(
                    "positive", tooltip="The same positive conditioning that feeds the sampler."
                ),
                io.Latent.Input(
                    "latent",
                    tooltip="The sampler's output, so that the report waits for it.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent"),
                io.String.Output(display_name="text"),
                io.Image.Output(display_name="plot"),
            ],
        )

    @classmethod
    def execute(cls, positive: list[Any], latent: dict[str, Any]) -> io.NodeOutput:
        try:
            last_run = report(*members_of(positive))
            tables, picture = text(last_run), plot(last_run)
            shown = ui.PreviewImage(picture, cls=cls).as_dict()
        except Exception as error:  # whatever it is, the latent goes on
            logging.exception("[ControlStack] Control Report failed")
            tables, picture, shown = failed(error), torch.ones(1, 120, WIDTH, 3), {}
        return io.NodeOutput(latent, tables, picture, ui={**shown, "text": (tables,)})


NODES = [Report]
