"""Show a training under its node: progress, the curves, and a validation picture."""

from __future__ import annotations

import logging
import time
from typing import Any

import comfy.model_management
import comfy.utils
from PIL import Image
from torch import Tensor

from . import history, validation
from .dataset import Dataset
from .loop import Trainer

REDRAW_S = 5.0  # between drawings of the curves; each takes a tenth of a second
SHOWN_PAIR = 0  # whose hint and prompt the validation picture is made for
PREVIEW_PX = 1024


class Screen:
    """What the node shows while it works.

    `validate_every` 0: no validation picture; `guidance` is its classifier-free guidance scale.
    """

    def __init__(
        self,
        trainer: Trainer,
        dataset: Dataset,
        model: Any,
        vae: Any,
        validate_every: int,
        guidance: float = validation.GUIDANCE,
    ) -> None:
        self.trainer, self.dataset = trainer, dataset
        self.model, self.vae, self.validate_every = model, vae, validate_every
        self.guidance = guidance
        self.bar = comfy.utils.ProgressBar(trainer.settings.steps)
        self.pictures: list[Tensor] = []
        """Pictures (H,W,3): the hint, the target, and what the net makes of the hint."""
        self.validated_step, self.drawn_at = -1, time.monotonic()

    def update(self) -> None:
        """Show the step that is done, with a new drawing where one is due."""
        step = self.trainer.step
        is_due = bool(self.validate_every) and step % self.validate_every == 0
        if is_due:
            self.validate()
        preview = None
        if is_due or time.monotonic() - self.drawn_at > REDRAW_S:
            preview = ("JPEG", self.drawing(), PREVIEW_PX)
            self.drawn_at = time.monotonic()
        self.bar.update_absolute(step, self.trainer.settings.steps, preview)

    def validate(self) -> None:
        """Sample a picture, unless none is wanted or this step has one."""
        if not self.validate_every or self.validated_step == self.trainer.step:
            return
        picture = validation.picture(self.trainer, SHOWN_PAIR, self.model, self.vae, self.guidance)
        hint, target = self.dataset.hint(SHOWN_PAIR), self.dataset.target(SHOWN_PAIR)
        self.pictures = [hint, target, picture]
        self.validated_step = self.trainer.step

    def finish(self) -> None:
        """Sample a last picture; where that fails the trained net is not lost."""
        try:
            self.validate()
        except comfy.model_management.InterruptProcessingException:
            pass  # interrupted again: no picture
        except (RuntimeError, MemoryError) as error:
            logging.warning(
                "[ControlStack] the net is trained, but its validation picture failed: %s", error
            )

    def curves(self) -> Image.Image:
        """Plot the training up to now."""
        return history.plot(self.trainer.history)

    def drawing(self) -> Image.Image:
        """Draw the pictures, if there are any, above the curves."""
        curves = self.curves()
        return history.contact_sheet(self.pictures, curves) if self.pictures else curves
