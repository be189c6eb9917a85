"""Resume a training from its checkpoint, and write that checkpoint."""

from __future__ import annotations

import hashlib
import logging
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from . import checkpoint_files
from .loop import Trainer

FOLDER = "controlstack"
OLDER = ".old"
BYTES_PER_WEIGHT = 12
"""The weight and AdamW's two moments, in float32."""
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


def run_in(path: Path | None) -> str:
    """Return which run a checkpoint belongs to; empty where there is none."""
    try:
        has_file = path is not None and path.exists()
        return checkpoint_files.read_metadata(path).get("run", "") if path and has_file else ""
    except ValueError:
        return ""


def unfinished_steps(output: Path, name: str, steps: int) -> int:
    """Return the steps done in a checkpoint of a run that was stopped before `steps`, else 0."""
    try:
        done = steps_in(checkpoint_path(output, name)) if name.strip() else 0
    except ValueError:
        return 0
    return done if done < steps else 0


def _non_finite(state: Mapping[str, Tensor]) -> str:
    """Return the key of a tensor with infinite or NaN entries; empty where all are finite."""
    for key, value in state.items():
        if not key.startswith("history.") and not bool(value.isfinite().all()):
            return key
    return ""


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """Hash weights on the CPU."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(weights[key].contiguous().numpy().tobytes())
    return digest.hexdigest()


def older_path(path: Path) -> Path:
    """Return where the checkpoint before the last one is kept, in case the last is broken."""
    return path.with_name(f"{path.stem}{OLDER}{path.suffix}")


class Checkpoint:
    """The checkpoint of one run: read once at its start, then written.

    `path` None: nothing is read or written. `origin` has a text for each key of DIFFERENCES. `run`
    names the run over all its stops.
    """

    def __init__(self, path: Path | None, origin: Mapping[str, str]) -> None:
        self.path, self.origin = path, origin
        self.saved_step = self.resumed_step = 0
        self.run = uuid.uuid4().hex

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
        self.run = metadata.get("run", self.run)
        return checkpoint_files.read(self.path)[0]

    def refuse_small_disk(self, weights: Mapping[str, Tensor]) -> None:
        """Raise OSError where the disk has less room than a checkpoint of these weights takes."""
        if self.path is None:
            return
        size = sum(value.numel() * BYTES_PER_WEIGHT for value in weights.values())
        folder = next(parent for parent in self.path.parents if parent.is_dir())
        free = shutil.disk_usage(folder).free
        if free < size:
            raise OSError(
                f"checkpoint: {self.path.name} needs {size / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are"
                f" free in {folder}. Free space, or leave checkpoint empty."
            )

    def resume(self, trainer: Trainer, state: Mapping[str, Tensor] | None) -> None:
        """Restore a state that `read` gave."""
        if state is not None:
            trainer.restore(state)
            self.saved_step = self.resumed_step = trainer.step

    def write(self, trainer: Trainer) -> None:
        """Write the trainer's whole state unless this step is saved already.

        The checkpoint before it stays, under the name of `older_path`. A disk that is full is
        logged: it must not end a training of hours. So are weights that are not finite: they
        replace no checkpoint.
        """
        if self.path is None or trainer.step == self.saved_step:
            return
        state = trainer.state()
        if broken := _non_finite(state):
            logging.warning(
                "[ControlStack] %s is not finite after step %d, so this checkpoint is not written;"
                " the last one is of step %d.",
                *(broken, trainer.step, self.saved_step),
            )
            return
        metadata = {**self.origin, "steps": str(trainer.step), "run": self.run}
        try:
            checkpoint_files.keep(self.path, older_path(self.path))
            checkpoint_files.save(state, self.path, metadata)
        except OSError as error:
            logging.warning("[ControlStack] %s Training continues without this checkpoint.", error)
            return
        self.saved_step = trainer.step

    def after_divergence(self, trainer: Trainer) -> str:
        """Say what to do after a loss that is not finite: nothing was written at that step."""
        if self.path is None:
            return "No checkpoint was asked for, so begin again."
        if not self.saved_step:
            return f"{self.path.name} was not written yet, so begin again."
        older = older_path(self.path)
        if trainer.step == self.resumed_step and not older.exists():
            return f"{self.path.name} itself has diverged: delete it and begin again."
        if trainer.step == self.resumed_step:
            return (
                f"{self.path.name} itself has diverged: delete it, and rename {older.name}"
                f" ({steps_in(older)} steps) to {self.path.name} to continue from there."
            )
        return (
            f"{self.path.name} is as it was after step {self.saved_step}: queue again to continue"
            " from there."
        )
