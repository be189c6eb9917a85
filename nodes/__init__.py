"""ComfyUI's nodes: a declaration and one call each.

Only the pack's entrypoint imports this folder.
"""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..host import routes, weights
from . import apply, drawing, grid, load, panel, poses, preprocess, report, train, video


class ControlStackExtension(ComfyExtension):
    """The pack, as ComfyUI asks for it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Register folders and routes, and list all nodes."""
        weights.folders()  # registers ours; ComfyUI before 0.9 does not call `on_load`
        routes.register()
        nodes = (load, apply, panel, report, grid, preprocess, poses, drawing, train, video)
        return [node for module in nodes for node in module.NODES]
