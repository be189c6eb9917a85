"""Resume a training from its checkpoint, and write that checkpoint."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from . import checkpoint_files
from .loop import Trainer

FOLDER = "controlstack"
"""Folder of checkpoints in ComfyUI's output folder."""
DIFFERENCES = {
    "base": "another base model",
    "dataset": "another data set",
    "net": "another net to begin with",
    "train_decoder": "another choice of train_decoder",
}
"""What a checkpoint must share with the run that resumes it, and how errors call a difference."""


def checkpoint_path(output: Path, name: str) -> Path:
    """Return the checkpoint's file in ComfyUI's output folder.

    Raises ValueError for a name that is not one of a file in our folder there.
    """
    return checkpoint_files.inside(output / FOLDER, name, "checkpoint")


def steps_in(path: Path) -> int:
    """Return the steps done in a checkpoint; 0 where there is none, or none that can be read."""
    try:
        return int(checkpoint_files.read_metadata(path).get("steps", 0)) if path.exists() else 0
    except ValueError:
        return 0


def unfinished_steps(output: Path, name: str, steps: int) -> int:
    """Return the steps done in a checkpoint of a run that was stopped before `steps`, else 0."""
    try:
        done = steps_in(checkpoint_path(output, name)) if name.strip() else 0
    except ValueError:
        return 0
    return done if done < steps else 0


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """Hash weights on the CPU."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(weights[key].contiguous().numpy().tobytes())
    return digest.hexdigest()


class Checkpoint:
    """The checkpoint of one run: read once at its start, then written.

    `path` None: nothing is read or written. `origin` has a text for each key of DIFFERENCES.
    """

    def __init__(self, path: Path | None, origin: Mapping[str, str]) -> None:
        self.path, self.origin = path, origin
        self.saved_step = 0

    def read(self) -> dict[str, Tensor] | None:
        """Return the state to resume, None where there is none.

        Raises ValueError where the file is damaged, or belongs to another training.
        """
        if self.path is None or not self.path.exists():
            return None
        metadata = checkpoint_files.read_metadata(self.path)
        differences = [
            text for key, text in DIFFERENCES.items() if metadata.get(key) != self.origin[key]
        ]
        if differences:
            raise ValueError(
                f"checkpoint: {self.path.name} comes from {', '.join(differences)}, so it cannot be"
                " resumed here. Choose another name, or delete the file to start over."
            )
        return checkpoint_files.read(self.path)[0]

    def resume(self, trainer: Trainer, state: Mapping[str, Tensor] | None) -> None:
        """Restore a state that `read` gave."""
        if state is not None:
            trainer.restore(state)
            self.saved_step = trainer.step

    def write(self, trainer: Trainer) -> str:
        """Write the trainer's whole state unless this step is saved already.

        Returns a sentence on what was saved, empty where nothing was. A disk that is full is
        logged: it must not end a training of hours.
        """
        if self.path is None or trainer.step == self.saved_step:
            return ""
        metadata = {**self.origin, "steps": str(trainer.step)}
        try:
            checkpoint_files.save(trainer.state(), self.path, metadata)
        except OSError as error:
            logging.warning("[ControlStack] %s Training continues without this checkpoint.", error)
            return ""
        self.saved_step = trainer.step
        return (
            f" What was learned in {trainer.step} steps is saved in {self.path.name}: queue again"
            " to continue."
        )
