"""A fixture, not part of the pack: placed in the custom_nodes of a demo's or test's own base
directory, it teaches the host's stock loaders a small model family and writes that family's files
where they are missing.
"""

WEB_DIRECTORY = None


async def comfy_entrypoint():
    # Only the host calls this, so workbench.tiny can read the shapes without teaching or writing
    # anything.
    import folder_paths
    from comfy_api.latest import ComfyExtension

    from . import family

    class NoNodes(ComfyExtension):
        async def get_node_list(self):
            return []

    family.teach_host()
    family.write_family(folder_paths.models_dir)
    return NoNodes()
