"""Depth and normal networks against the reference implementations, which take one frame after the other.

Both have the same random weights and give the same map, which is looked at first. The reference's reload, which it does
at every run of its node and we do once, is told apart.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from . import timing
from .preprocess import SIDE_PX, photographs

Frame8 = np.ndarray


@dataclass(frozen=True)
class Reference:
    """A reference's network, its detector (one 8-bit frame (H,W,3) → the map in 0..255), and which of ours it is."""

    build: Callable[[], nn.Module]
    detect: Callable[[nn.Module, int], Callable[[Frame8], np.ndarray]]
    key: str
    engine: str


@contextmanager
def controlnet_aux() -> Iterator[None]:
    """The package without its own imports, and with the one part of torchvision that it uses; afterwards as before."""
    found = find_spec("controlnet_aux")
    names = ("controlnet_aux", "torchvision", "torchvision.transforms")
    stand_ins = {name: types.ModuleType(name) for name in names}
    stand_ins["controlnet_aux"].__path__ = list((found and found.submodule_search_locations) or ())
    stand_ins["torchvision"].transforms = stand_ins["torchvision.transforms"]  # type: ignore[attr-defined]
    vars(stand_ins["torchvision.transforms"]).update(Normalize=_Normalize, Compose=None)
    before = dict(sys.modules)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("controlnet_aux", "torchvision")]:
            del sys.modules[name]
        sys.modules.update({name: module for name, module in before.items() if name not in sys.modules})


class _Normalize:
    def __init__(self, mean: list[float], std: list[float]) -> None:
        self.mean, self.std = (torch.tensor(three)[:, None, None] for three in (mean, std))

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        return (frames - self.mean) / self.std


def normalbae() -> nn.Module:
    with controlnet_aux():
        from controlnet_aux.normalbae import NNET

        return NNET(types.SimpleNamespace(architecture="BN", sampling_ratio=0.4, importance_ratio=0.7))


def detect_normals(net: nn.Module, side_px: int) -> Callable[[Frame8], np.ndarray]:
    with controlnet_aux():
        from controlnet_aux.normalbae import NormalBaeDetector

        detector = NormalBaeDetector(net)
    return lambda frame: detector(frame, side_px, side_px, output_type="np")


def midas() -> nn.Module:
    import timm  # noqa: F401  # with the real torchvision, before its stand-in

    with controlnet_aux():
        from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

        return DPTDepthModel(backbone="vitb_rn50_384")


def detect_depth(net: nn.Module, side_px: int) -> Callable[[Frame8], np.ndarray]:
    with controlnet_aux():
        from controlnet_aux.midas import MidasDetector

        detector = MidasDetector(net)
    return lambda frame: detector(frame, detect_resolution=side_px, image_resolution=side_px)


REFERENCES = {
    "NormalBAE": Reference(normalbae, detect_normals, "normal", "bae"),
    "MiDaS DPT-hybrid": Reference(midas, detect_depth, "depth", "midas"),
}


def lively(net: nn.Module) -> nn.Module:
    """Norms set by one picture, as by training; a last layer that is not dead."""
    frames = torch.from_numpy(photographs(1)[0][::2, ::2].copy()).movedim(2, 0)[None] / 63.75 - 2
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        net.train()(frames)
        head = getattr(net, "scratch", None)
        if head is not None:
            head.output_conv[4].weight.abs_()
    return net.eval().requires_grad_(False)


def rivals(reference: Reference, frames: int, side_px: int) -> tuple[Callable[[], object], Callable[[], object], float]:
    """Ours, the reference, and how long the reference's reload takes, after a look that both give the same map."""
    from pack.preprocessors import catalogue
    from pack.preprocessors.networks import InMemory, filled

    torch.manual_seed(0)
    net = lively(reference.build())
    detect = reference.detect(net, side_px)
    row = catalogue(reference.key)
    weights = row.weights[reference.engine]
    networks = InMemory({weights.file: filled(weights, net.state_dict())})
    pictures = [cv2.resize(p, (side_px, side_px), interpolation=cv2.INTER_AREA) for p in photographs(frames)]
    image = torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)

    def ours() -> torch.Tensor:
        return row(image, engine=reference.engine, networks=networks)

    def theirs() -> list[np.ndarray]:
        return [detect(picture) for picture in pictures]

    difference = np.abs(ours().numpy() * 255 - np.stack(theirs()))
    assert (difference > 2).mean() < 1e-3, f"{weights.file}: ours is not what the reference computes"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / weights.file
        torch.save(net.state_dict(), path)
        reload_ms = timing.milliseconds(lambda: _load(reference, path))
    return ours, theirs, reload_ms


def _load(reference: Reference, path: Path) -> None:
    reference.build().load_state_dict(torch.load(path, weights_only=True))


def run(args: argparse.Namespace) -> None:
    side_px = SIDE_PX // 2 if args.quick else SIDE_PX
    rows = []
    for (name, reference), frames in product(REFERENCES.items(), (1,) if args.quick else (1, 16)):
        ours, theirs, reload_ms = rivals(reference, frames, side_px)
        told = timing.paired(ours, theirs, repeats=3 if args.quick else 9, warm_up=1)
        rows.append((f"{name}, {frames} x {side_px}²", told.ours_ms, told.reference_ms, told.ratio))
        print(f"{name}: the reference's reload takes {reload_ms:.0f} ms a run, ours 0 once it is warm", flush=True)
    print(timing.table(("against controlnet-aux, warm", "ours, ms", "reference, ms", "ours / reference"), rows))
