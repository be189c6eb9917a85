"""The nodes: thin adapters between the host and the rooms below. Only the pack's entrypoint imports this folder."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import load, pose, preprocess, report, routes, stack, training, weights


class ControlStackExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        weights.folders()  # registers ours; here, because hosts before 0.9 do not call `on_load`
        routes.register()
        nodes = (load, stack, report, preprocess, pose, training)
        return [node for module in nodes for node in module.NODES]
