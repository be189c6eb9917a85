"""Teach ComfyUI's stock loaders a small model family, and write that family's files.

A fixture, not part of the pack: it is placed in the custom_nodes of a demo's or test's own base
directory.
"""

WEB_DIRECTORY = None


async def comfy_entrypoint():
    """Return an extension without nodes."""
    # Only ComfyUI calls this, so workbench.tiny can read the shapes without teaching or writing
    # anything.
    from pathlib import Path

    import folder_paths
    from comfy_api.latest import ComfyExtension

    from . import family, world

    class NoNodes(ComfyExtension):
        async def get_node_list(self):
            return []

    family.teach_host()
    world.teach_host()
    family.write_family(folder_paths.models_dir)
    if (Path(folder_paths.models_dir) / "wide").is_dir():  # some 150 MB, where a test asks for it
        family.write_wide(folder_paths.models_dir)
    return NoNodes()
