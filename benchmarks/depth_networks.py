"""Depth, normal and segmentation networks against the references, which take one frame after the
other.

Both have the same random weights and give the same map, which is looked at first. The reference's
reload, which it does at every run of its node and we do once, is told apart.
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
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import nn

from . import timing
from .bare_opencv import SIDE_PX, photographs

Frame8 = np.ndarray


@dataclass(frozen=True)
class Reference:
    """A reference's network, its detector (one 8-bit frame (H,W,3) → the map in 0..255), and which
    of ours it is.
    """

    build: Callable[[], nn.Module]
    detect: Callable[[Any, int], Callable[[Frame8], np.ndarray]]
    key: str
    engine: str
    last: str = ""
    """The layer that random weights would leave dead."""
    multiple: int = 32
    """Of the sides of the pictures, so that neither pads or resizes them."""
    most_frames: int = 16


@contextmanager
def controlnet_aux() -> Iterator[None]:
    """The package without its own imports, and with the one part of torchvision that it uses;
    afterwards as before.
    """
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
        for name in [
            name
            for name in sys.modules
            if name.partition(".")[0] in ("controlnet_aux", "torchvision")
        ]:
            del sys.modules[name]
        sys.modules.update(
            {name: module for name, module in before.items() if name not in sys.modules}
        )


class _Normalize:
    def __init__(self, mean: list[float], std: list[float]) -> None:
        self.mean, self.std = (torch.tensor(three)[:, None, None] for three in (mean, std))

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        return (frames - self.mean) / self.std


def normalbae() -> nn.Module:
    with controlnet_aux():
        from controlnet_aux.normalbae import NNET

        return NNET(
            types.SimpleNamespace(architecture="BN", sampling_ratio=0.4, importance_ratio=0.7)
        )


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


def depth_anything_small() -> nn.Module:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        image_size=518,
        hidden_size=384,
        num_attention_heads=6,
        num_hidden_layers=12,
        out_indices=[3, 6, 9, 12],
        reshape_hidden_states=False,
    )
    return DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone,
            reassemble_hidden_size=384,
            neck_hidden_sizes=[48, 96, 192, 384],
            fusion_hidden_size=64,
        )
    )


def detect_by_transformers(net: Any, side_px: int) -> Callable[[Frame8], np.ndarray]:
    """As the documentation of transformers' depth estimation goes about it."""
    from transformers import DPTImageProcessor

    processor = DPTImageProcessor(
        do_resize=False, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )

    @torch.inference_mode()
    def detect(frame: Frame8) -> np.ndarray:
        made = net(**processor(frame, return_tensors="pt"))
        (found,) = processor.post_process_depth_estimation(made, target_sizes=[frame.shape[:2]])
        depth = found["predicted_depth"]
        levels = 255 * (depth - depth.min()) / (depth.max() - depth.min())
        return np.repeat(levels.numpy().astype(np.uint8)[..., None], 3, axis=2)

    return detect


def upernet() -> nn.Module:
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    small = {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 27, 3]}
    backbone = ConvNextConfig(**small, out_features=["stage1", "stage2", "stage3", "stage4"])
    net = UperNetForSemanticSegmentation(
        UperNetConfig(backbone_config=backbone, num_labels=150, auxiliary_in_channels=384)
    )
    for (
        layer
    ) in net.modules():  # random heads give every pixel about the same; spread, the classes differ
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=1.5 / layer.weight[0].numel() ** 0.5)
    return net


def detect_classes(net: Any, side_px: int) -> Callable[[Frame8], np.ndarray]:
    from transformers import SegformerImageProcessor

    from pack.preprocessors.palettes import ADE20K

    processor = SegformerImageProcessor(do_resize=False)

    @torch.inference_mode()
    def detect(frame: Frame8) -> np.ndarray:
        made = net(**processor(frame, return_tensors="pt"))
        (labels,) = processor.post_process_semantic_segmentation(
            made, target_sizes=[frame.shape[:2]]
        )
        return ADE20K.colours[labels.numpy()]

    return detect


REFERENCES = {
    "NormalBAE": Reference(normalbae, detect_normals, "normal", "bae"),
    "MiDaS DPT-hybrid": Reference(
        midas, detect_depth, "depth", "midas", last="scratch.output_conv.4"
    ),
    "Depth Anything V2 small": Reference(
        depth_anything_small,
        detect_by_transformers,
        "depth",
        "depth_anything_v2_small",
        last="head.conv3",
        multiple=14,
    ),
    "UPerNet": Reference(upernet, detect_classes, "segmentation", "upernet", most_frames=4),
}


def lively(net: nn.Module, last: str) -> nn.Module:
    """Norms set by two pictures, as by training; a last layer that is not dead."""
    frames = torch.from_numpy(np.stack(photographs(2))[:, ::2, ::2]).movedim(3, 1) / 63.75 - 2
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        net.train()(frames)
        if last:
            cast(nn.Conv2d, net.get_submodule(last)).weight.abs_()
    return net.eval().requires_grad_(False)


def rivals(
    reference: Reference, frames: int, side_px: int
) -> tuple[Callable[[], object], Callable[[], object], float]:
    """Ours, the reference, and how long the reference's reload takes, after a look that both give
    the same map.
    """
    from pack.host import runtime
    from pack.preprocessors import catalogue
    from pack.preprocessors.build import InMemory, filled

    torch.manual_seed(0)
    net = lively(reference.build(), reference.last)
    detect = reference.detect(net, side_px)
    row = catalogue(reference.key)
    weights = row.weights[reference.engine]
    # As many frames at once as the nodes take of that size on a processor.
    at_once = max(1, runtime.CHUNK_PX["cpu"] // side_px**2)
    networks = InMemory({weights.file: filled(weights, in_a_file(net))}, chunk=at_once)
    pictures = [
        cv2.resize(p, (side_px, side_px), interpolation=cv2.INTER_AREA) for p in photographs(frames)
    ]
    image = torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)

    def ours() -> torch.Tensor:
        return row(image, engine=reference.engine, networks=networks)

    def theirs() -> list[np.ndarray]:
        return [detect(picture) for picture in pictures]

    difference = np.abs(ours().numpy() * 255 - np.stack(theirs()))
    assert (difference > 2).mean() < 1e-3, (
        f"{weights.file}: ours is not what the reference computes"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.pth"
        torch.save(net.state_dict(), path)
        reload_ms = timing.milliseconds(lambda: _load(reference, path))
    return ours, theirs, reload_ms


def in_a_file(net: Any) -> dict[str, torch.Tensor]:
    """The weights under the names that a file has; those that transformers' classes have inside
    change.
    """
    from safetensors.torch import load_file

    if not hasattr(net, "save_pretrained"):
        return net.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        net.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def _load(reference: Reference, path: Path) -> None:
    reference.build().load_state_dict(torch.load(path, weights_only=True))


def run(args: argparse.Namespace) -> None:
    side_px = SIDE_PX // 2 if args.quick else SIDE_PX
    rows = []
    for (name, reference), many in product(
        REFERENCES.items(), (False,) if args.quick else (False, True)
    ):
        frames, fit_px = (
            reference.most_frames if many else 1,
            side_px // reference.multiple * reference.multiple,
        )
        ours, theirs, reload_ms = rivals(reference, frames, fit_px)
        told = timing.paired(ours, theirs, repeats=3 if many or args.quick else 9, warm_up=1)
        rows.append((f"{name}, {frames} x {fit_px}²", told.ours_ms, told.reference_ms, told.ratio))
        print(
            f"{name}: the reference's reload takes {reload_ms:.0f} ms a run, ours 0 once it is"
            " warm",
            flush=True,
        )
    head = (
        "against controlnet-aux and transformers, warm",
        "ours, ms",
        "reference, ms",
        "ours / reference",
    )
    print(timing.table(head, rows))
