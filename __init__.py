"""ControlStack: a node pack for ControlNet. Importing it does no work: the host asks for the nodes
later.
"""

WEB_DIRECTORY = "./js"


async def comfy_entrypoint():
    from .nodes import ControlStackExtension  # deferred: the pack imports without the host

    return ControlStackExtension()
