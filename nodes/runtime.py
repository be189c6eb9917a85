"""Where preprocessors meet the host: its progress bar, its stop button, its preview under the node."""

from __future__ import annotations

from collections.abc import Callable

import comfy.model_management
import comfy.utils
from comfy_api.latest import io, ui
from torch import Tensor

networks = None
"""What runs networks: none yet, so an engine that needs weights says so."""

PREVIEW_FRAMES = 1
"""Frames of a batch that a node shows. Writing a PNG takes longer than drawing a scribble, so not all of them."""


def progress() -> Callable[[int, int], None]:
    """`report(done, total)` for the host's progress bar; raises the host's own exception once stop has been pressed."""
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report


def preview(hint: Tensor, cls: type[io.ComfyNode], *, grey: bool = False) -> ui.PreviewImage:
    """The first of the hints (B,H,W,3) as the picture under the node; `grey` writes one channel, in half the time."""
    shown = hint[:PREVIEW_FRAMES]
    return ui.PreviewImage(shown[..., 0] if grey else shown, cls=cls)
