"""The whole job in one node: rows of ControlNets with their pictures, hints and settings."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..control.panel_rows import EMPTY, MOST_SOCKETS, read_panel
from ..host.panel_graph import Sockets, expand, refusal
from .schema import ControlStack, schema

ROWS_TIP = (
    "The rows as one text (JSON), which the panel edits: a ControlNet, the number of the picture's"
    " socket, the preprocessor and the settings of Add ControlNet in each."
)


def _sockets(name: str, socket: io.Input, prefix: str, least: int) -> io.Input:
    """Declare sockets of one kind that grow in number: NAME.PREFIX0, NAME.PREFIX1 and so on."""
    template = io.Autogrow.TemplatePrefix(socket, prefix=prefix, min=least, max=MOST_SOCKETS)
    return io.Autogrow.Input(name, template=template)


def _inputs() -> list[io.Input]:
    """Declare text, pictures, then what is optional: this order never changes.

    Links come as they are (`raw_link`), so that the nodes of the rows read from the same outputs.
    """
    image = io.Image.Input("image", tooltip="A picture for rows to choose.", raw_link=True)
    mask = io.Mask.Input("mask", tooltip="A mask for rows to choose.", raw_link=True)
    optional: dict[str, Any] = {"optional": True, "raw_link": True}
    return [
        io.String.Input("rows", default=EMPTY, multiline=True, tooltip=ROWS_TIP),
        _sockets("images", image, "image", least=1),
        io.Model.Input(
            "model",
            tooltip="When connected, a net that does not fit it is refused here.",
            **optional,
        ),
        io.Vae.Input(
            "vae",
            tooltip="For nets that encode their hint with the VAE (Flux, SD3, Qwen-Image).",
            **optional,
        ),
        io.Conditioning.Input(
            "positive",
            tooltip="When connected, the stack is applied to it here.",
            **optional,
        ),
        io.Conditioning.Input("negative", **optional),
        _sockets("masks", mask, "mask", least=0),
    ]


class Panel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackPanel",
            display_name="Control Stack Panel",
            description=(
                "Any number of ControlNets in one node: each row has its net, picture,"
                " preprocessor, strength and range. With a positive connected it applies them too."
            ),
            search_aliases=[
                "controlnet",
                "control net",
                "controlnet panel",
                "controlnet stack",
                "controlnet stacker",
                "all in one controlnet",
                "preprocessor",
            ],
            inputs=_inputs(),
            outputs=[
                ControlStack.Output(display_name="stack"),
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
            ],
            enable_expand=True,
        )

    @classmethod
    def validate_inputs(cls, rows=None, images=None, masks=None) -> bool | str:
        """Refuse, before anything runs, what the text and the connected sockets already tell."""
        # What comes over a wire is not known yet (None).
        return True if rows is None else refusal(rows, images or {}, masks or {}) or True

    @classmethod
    def execute(cls, rows: str, images=None, masks=None, **links: Any) -> io.NodeOutput:
        panel, sockets = read_panel(rows), Sockets.of(images or {}, masks or {}, links)
        graph, outputs = expand(panel, sockets)
        return io.NodeOutput(*outputs, expand=graph)


NODES = [Panel]
