"""Load a ControlNet file."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.control_files import load_net
from ..host.net_files import list_nets
from ..host.panel_labels import named_row
from .schema import schema


class Load(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ControlStackLoad",
            display_name="Load ControlNet",
            description=(
                "Loads a ControlNet and tells what it is. Works with every node that takes a"
                " CONTROL_NET."
            ),
            search_aliases=[
                "controlnet",
                "control net",
                "controlnet loader",
                "load controlnet (stack)",
                "load advanced controlnet",
                "union controlnet",
                "control lora",
                "t2i adapter",
            ],
            inputs=[
                io.Combo.Input(
                    "control_net_name",
                    options=list_nets(),
                    tooltip="A file of the controlnet or model_patches folder.",
                )
            ],
            outputs=[io.ControlNet.Output(display_name="control_net")],
            hidden=[io.Hidden.dynprompt],
        )

    @classmethod
    def execute(cls, control_net_name: str) -> io.NodeOutput:
        with named_row(cls):
            return io.NodeOutput(load_net(control_net_name))


NODES = [Load]
