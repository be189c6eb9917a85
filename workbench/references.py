"""Compare with other people's networks: import them alone, and fill them with lively weights."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from skimage import data
from torch import Tensor, nn


@contextmanager
def controlnet_aux() -> Iterator[None]:
    """Import the package without its own imports, with the one part of torchvision it uses.

    `sys.modules` is restored afterwards.
    """
    package = find_spec("controlnet_aux")
    if package is None:
        raise FileNotFoundError(
            "controlnet-aux is not installed: it is part of the test environment"
            " (workbench/environment.py)"
        )
    stand_ins = {
        name: types.ModuleType(name)
        for name in ("controlnet_aux", "torchvision", "torchvision.transforms")
    }
    stand_ins["controlnet_aux"].__path__ = list(package.submodule_search_locations or ())
    transforms = stand_ins["torchvision.transforms"]
    stand_ins["torchvision"].transforms = transforms  # type: ignore[attr-defined]
    vars(stand_ins["torchvision.transforms"]).update(Normalize=Normalize, Compose=None)
    before = dict(sys.modules)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        ours = [
            *stand_ins,
            *(name for name in sys.modules if name.partition(".")[0] == "controlnet_aux"),
        ]
        for name in dict.fromkeys(ours):
            sys.modules.pop(name)
            if name in before:
                sys.modules[name] = before[name]


class Normalize:
    def __init__(self, mean: list[float], std: list[float]) -> None:
        self.mean, self.std = (torch.tensor(three)[:, None, None] for three in (mean, std))

    def __call__(self, frames: Tensor) -> Tensor:
        return (frames - self.mean) / self.std


def lively(net: nn.Module, last: nn.Module | None = None, *, gain: float = 1.5) -> nn.Module:
    """Fill a net with random weights whose norms and biases matter.

    `gain` preserves the picture's contrast on its way through; `last` gets no negative weights, so
    that depth is not 0.
    """
    torch.manual_seed(0)
    for name, weight in net.named_parameters():
        if weight.ndim < 2:
            weight.data.add_(torch.randn_like(weight) * 0.1)
        elif "token" in name or "pos" in name:
            weight.data.normal_(0, 0.3)
        else:
            weight.data.mul_(gain)
    if last is not None:
        last.weight.data.abs_()  # type: ignore[operator, union-attr]
    return net.eval().requires_grad_(False)


@torch.no_grad()
def trained_once(net: nn.Module) -> nn.Module:
    """Set norms by one picture, as training would.

    A deep network's values would vanish or overflow otherwise.
    """
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.momentum = 1.0
    net.train()(picture(96, 128).movedim(3, 1) * 4 - 2)
    assert all(
        layer.running_var.isfinite().all() for layer in norms if layer.running_var is not None
    )
    return net.eval()


def picture(height: int, width: int, frames: int = 1) -> Tensor:
    """Return a photograph (B,H,W,3) in [0,1], each frame shifted down a little more."""
    small = cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)
    photo = small.astype(np.float32) / 255
    return torch.stack(
        [torch.from_numpy(np.roll(photo, 9 * index, axis=0)) for index in range(frames)]
    )


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, relative to the reference's range."""
    span = theirs.max() - theirs.min()
    assert span > 0.01 * theirs.abs().max(), "a constant output proves nothing"
    return float((ours - theirs).abs().max() / span)
