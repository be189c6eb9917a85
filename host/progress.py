"""Talk to the node that runs: progress bar, interrupt, preview, and lines of text."""

from __future__ import annotations

import logging
import sys
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io, ui
from torch import Tensor

from ..preprocessors.spec import Progress

PREVIEW_FRAMES = 1
"""Frames of a batch that a node shows: writing a PNG takes longer than drawing a scribble."""


def progress() -> Progress:
    """Return `report(done, total)` for ComfyUI's progress bar.

    It raises ComfyUI's own InterruptProcessingException once Cancel has been pressed.
    """
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        check_interrupt()
        bar.update_absolute(done, total)

    return report


def check_interrupt(*_: int) -> None:
    """Raise ComfyUI's InterruptProcessingException once Cancel has been pressed."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def preview(hint: Tensor, cls: type[io.ComfyNode], *, grey: bool = False) -> ui.PreviewImage:
    """Show the first of the hints (B,H,W,3) under the node.

    `grey` writes one channel, in half the time.
    """
    shown = hint[:PREVIEW_FRAMES]
    return ui.PreviewImage(shown[..., 0] if grey else shown, cls=cls)


def warn(line: str) -> None:
    """Log a line as a warning, and show it under the node that runs."""
    say(line, logging.WARNING)


def say(line: str, level: int = logging.INFO) -> None:
    """Log a line, and show it under the node that runs."""
    logging.log(level, "[ControlStack] %s", line)
    from comfy_execution.utils import get_executing_context

    server, context = prompt_server(), get_executing_context()
    if server is not None and context is not None:
        server.send_progress_text(line, context.node_id, server.client_id)  # to who asked


def running_node() -> str:
    """Return the id of the node that runs; "" in tests and scripts."""
    from comfy_execution.utils import get_executing_context

    context = get_executing_context()
    return context.node_id if context is not None else ""


def prompt_server() -> Any | None:
    """Return ComfyUI's running server; None in tests and scripts, which have none.

    It is looked up, not imported: importing `server` would start to build one.
    """
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
