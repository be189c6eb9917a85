"""The nodes: thin adapters between the host and the rooms below. Only the pack's entrypoint imports this folder."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import load, preprocess, report, stack, training, weights


class ControlStackExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        weights.folders()  # registers ours; here, because hosts before 0.9 do not call `on_load`
        return [*load.NODES, *stack.NODES, *report.NODES, *preprocess.NODES, *training.NODES]
