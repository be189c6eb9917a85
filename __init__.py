"""ControlStack, a node pack for ControlNet.

Importing it does no work: ComfyUI asks for the nodes later.
"""

WEB_DIRECTORY = "./js"


async def comfy_entrypoint():
    """Give ComfyUI the extension with all nodes."""
    from .nodes import ControlStackExtension  # deferred: the pack imports without the host

    return ControlStackExtension()
