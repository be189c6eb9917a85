"""Fill a network with the weights of a file, and run networks without ComfyUI.

ComfyUI's side is `host/runtime.py`; `InMemory` does the same for modules that are loaded already.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import Module

from .spec import Forward, Outputs, Progress, StateDict, Weights


@dataclass
class InMemory:
    """Run networks whose modules are loaded already, by the name of their weights' file."""

    modules: dict[str, Module]
    chunk: int = 4
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def run(
        self,
        weights: Weights,
        frames: Tensor,
        forward: Forward,
        *,
        px_per_frame: int = 0,  # noqa: ARG002 - part of the protocol `Networks`
        progress: Progress | None = None,
    ) -> Outputs:
        """Run as `Networks.run` does, in chunks of `chunk` frames."""
        net, parts = self.modules[weights.file], list[Outputs]()
        for first in range(0, len(frames), self.chunk):
            if progress:
                progress(first, len(frames))
            with torch.inference_mode():
                parts.append(
                    forward(net, frames[first : first + self.chunk].to(self.device, torch.float32))
                )
        if progress:
            progress(len(frames), len(frames))
        return joined(parts)


def joined(parts: list[Outputs]) -> Outputs:
    """Join the outputs of all chunks: (b,...) each → (B,...) float32 on the CPU."""
    several = [part if isinstance(part, tuple) else (part,) for part in parts]
    whole = tuple(
        torch.cat([tensor.cpu().float() for tensor in column])
        for column in zip(*several, strict=True)
    )
    return whole if isinstance(parts[0], tuple) else whole[0]


def filled(weights: Weights, state: StateDict) -> Module:
    """Load a file's tensors into the network of `weights`, in eval mode and without gradients.

    The counters of batch norms, which only training reads, may be missing. Raises ValueError that
    names the file and the first key that is missing, unknown or of another shape.
    """
    state = weights.renamed(state) if weights.renamed else state
    net = weights.module()
    own = net.state_dict()
    missing = sorted(
        key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked")
    )
    unknown = sorted(state.keys() - own.keys())
    wrong = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
    if missing or unknown or wrong:
        faults = (
            f"{len(missing)} weights missing, {len(unknown)} unknown, {len(wrong)} of another shape"
        )
        first = [*missing, *unknown, *wrong][0]
        raise ValueError(
            f"{weights.file} does not hold the network that this engine needs: {faults} (first:"
            f" {first}). Delete the file to download it again"
        )
    net.load_state_dict(dict(state), strict=False)
    return net.eval().requires_grad_(False)
