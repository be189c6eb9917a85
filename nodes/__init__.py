"""The nodes: thin adapters between the host and the rooms below. Only the pack's entrypoint imports
this folder.
"""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..host import routes, weights
from . import apply, load, poses, preprocess, report, train


class ControlStackExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        weights.folders()  # registers ours; here, because hosts before 0.9 do not call `on_load`
        routes.register()
        nodes = (load, apply, report, preprocess, poses, train)
        return [node for module in nodes for node in module.NODES]
