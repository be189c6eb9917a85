"""Run networks without ComfyUI: files found or downloaded as the nodes do, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ..files.header import FileError
from ..host.downloads import fetch
from ..host.weight_files import WeightsError, below, check_graph, tensors
from ..preprocessors.build import InMemory, filled
from ..preprocessors.spec import Forward, Outputs, Progress, Weights
from .job import ROOT, Job, StopError

FOLDER = "controlnet_preprocessors"


def folders(job: Job) -> list[Path]:
    """List where weights are looked for: the one given, ComfyUI's if this is its pack, our own."""
    comfyui = ROOT.parent.parent / "models" / FOLDER if ROOT.parent.name == "custom_nodes" else None
    own = Path.home() / ".cache" / "controlstack"
    return [Path(job.weights)] if job.weights else [*([comfyui] if comfyui else []), own]


def fetched(job: Job, say: Callable[[str], None]) -> None:
    """Find the weights of all methods, or download them, before any worker needs them.

    Raises StopError that names the file and the folder.
    """
    for method in job.methods:
        for weights in method.weights:
            try:
                if below(weights, folders(job)) is None:
                    fetch(weights, folders(job)[0], lambda *_: None, say)
            except (WeightsError, ImportError) as error:
                raise StopError(f"{method.key}: {error}") from error


@dataclass
class LocalNetworks:
    """Networks on one device, each loaded once. Implements spec.Networks."""

    folders: list[Path]
    device: torch.device
    warm: dict[Weights, Module] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job) -> LocalNetworks:
        """Return the networks of a job, on its device or a card."""
        usual = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(folders(job), torch.device(job.device or usual))

    def run(
        self,
        weights: Weights,
        frames: Tensor,
        forward: Forward,
        *,
        px_per_frame: int = 0,  # noqa: ARG002 - part of the protocol `Networks`
        progress: Progress | None = None,
    ) -> Outputs:
        """Run as `Networks.run` does, a frame at a time: sizes of a data set differ."""
        if weights not in self.warm:
            self.warm[weights] = self._loaded(weights)
        alone = InMemory({weights.file: self.warm[weights]}, chunk=1, device=self.device)
        return alone.run(weights, frames, forward, progress=progress)

    def _loaded(self, weights: Weights) -> Module:
        """Load a network. Raises WeightsError where its file cannot be used."""
        path = below(weights, self.folders)
        try:
            path = path or fetch(weights, self.folders[0], lambda *_: None, lambda _: None)
            net = _opened(weights, path)
        except (FileError, ValueError, OSError, ImportError) as error:
            place: Any = path or self.folders[0]
            raise WeightsError(f"{str(error).rstrip('.')}. The file is {place}.") from error
        half = weights.half and self.device.type == "cuda"
        return net.to(self.device, torch.float16 if half else torch.float32)


def _opened(weights: Weights, path: Path) -> Module:
    if weights.opened is None:
        return filled(weights, tensors(weights, path))
    check_graph(weights, path)
    return weights.opened(str(path)).eval()
