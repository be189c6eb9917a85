"""Time depth, normal and segmentation networks against the references.

The references take one frame at a time. Both sides have the same random weights; that they give
the same map is checked first. The reference loads its network again at every run of its node, ours
once; that time is printed separately.
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
    """A network of a reference and the engine of ours that it corresponds to.

    `detect(network, side_px)` returns a function: one 8-bit frame (H,W,3) → its map in 0..255.
    """

    build: Callable[[], nn.Module]
    detect: Callable[[Any, int], Callable[[Frame8], np.ndarray]]
    key: str
    engine: str
    last: str = ""
    """The last layer, whose output would be all zero with some random weights."""
    multiple: int = 32
    """What the pictures' sides must be a multiple of, so that neither side pads or resizes."""
    most_frames: int = 16


@contextmanager
def controlnet_aux() -> Iterator[None]:
    """Make controlnet_aux importable without what its `__init__` imports; undo it afterwards.

    torchvision is replaced by the one class of it that is used.
    """
    spec = find_spec("controlnet_aux")
    names = ("controlnet_aux", "torchvision", "torchvision.transforms")
    stand_ins = {name: types.ModuleType(name) for name in names}
    stand_ins["controlnet_aux"].__path__ = list((spec and spec.submodule_search_locations) or ())
    transforms = stand_ins["torchvision.transforms"]
    vars(transforms).update(Normalize=_Normalize, Compose=None)
    vars(stand_ins["torchvision"]).update(transforms=transforms)
    before = dict(sys.modules)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in list(sys.modules):
            if name.partition(".")[0] in ("controlnet_aux", "torchvision"):
                del sys.modules[name]
        for name, module in before.items():
            sys.modules.setdefault(name, module)


class _Normalize:
    """torchvision's Normalize for frames of three channels."""

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
    import timm  # noqa: F401  # needs the real torchvision, so before its replacement

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


def detect_by_transformers(net: Any, _side_px: int) -> Callable[[Frame8], np.ndarray]:
    """Return a detector that follows the documentation of transformers' depth estimation."""
    from transformers import DPTImageProcessor

    processor = DPTImageProcessor(
        do_resize=False, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )

    @torch.inference_mode()
    def detect(frame: Frame8) -> np.ndarray:
        outputs = net(**processor(frame, return_tensors="pt"))
        (result,) = processor.post_process_depth_estimation(outputs, target_sizes=[frame.shape[:2]])
        depth = result["predicted_depth"]
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
    # Default weights give every pixel about the same scores; larger ones make the classes differ.
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=1.5 / layer.weight[0].numel() ** 0.5)
    return net


def detect_classes(net: Any, _side_px: int) -> Callable[[Frame8], np.ndarray]:
    from transformers import SegformerImageProcessor

    from pack.preprocessors.palettes import ADE20K

    processor = SegformerImageProcessor(do_resize=False)

    @torch.inference_mode()
    def detect(frame: Frame8) -> np.ndarray:
        outputs = net(**processor(frame, return_tensors="pt"))
        (labels,) = processor.post_process_semantic_segmentation(
            outputs, target_sizes=[frame.shape[:2]]
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


def calibrated(net: nn.Module, last: str) -> nn.Module:
    """Give a random network outputs that vary, as training would.

    Sets the batch norms' statistics from two pictures, and the weights of layer `last` positive.
    """
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
    """Return ours, the reference, and how many ms the reference needs to load its network.

    Checks first that both give the same map: one value in a thousand may differ by over 2 of 255.
    """
    from pack.host import runtime
    from pack.preprocessors import catalogue
    from pack.preprocessors.build import InMemory, filled

    torch.manual_seed(0)
    net = calibrated(reference.build(), reference.last)
    detect = reference.detect(net, side_px)
    row = catalogue(reference.key)
    weights = row.weights[reference.engine]
    # As many frames at once as the nodes take on a CPU.
    at_once = max(1, runtime.CHUNK_PX["cpu"] // side_px**2)
    networks = InMemory({weights.file: filled(weights, file_state(net))}, chunk=at_once)
    pictures = [
        cv2.resize(p, (side_px, side_px), interpolation=cv2.INTER_AREA) for p in photographs(frames)
    ]
    image = torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)

    def ours() -> torch.Tensor:
        return row(image, engine=reference.engine, networks=networks)

    def theirs() -> list[np.ndarray]:
        return [detect(picture) for picture in pictures]

    difference = np.abs(ours().numpy() * 255 - np.stack(theirs()))
    assert (difference > 2).mean() < 1e-3, f"{weights.file}: our map differs from the reference's"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.pth"
        torch.save(net.state_dict(), path)
        reload_ms = timing.milliseconds(lambda: _load(reference, path))
    return ours, theirs, reload_ms


def file_state(net: Any) -> dict[str, torch.Tensor]:
    """Return the weights under the names that a published file has.

    transformers renames some when it saves a model, so its models are saved and read back.
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
        frames = reference.most_frames if many else 1
        fit_px = side_px // reference.multiple * reference.multiple
        ours, theirs, reload_ms = rivals(reference, frames, fit_px)
        times = timing.paired(ours, theirs, repeats=3 if many or args.quick else 9, warm_up=1)
        rows.append(
            (f"{name}, {frames} x {fit_px}²", times.ours_ms, times.reference_ms, times.ratio)
        )
        print(
            f"{name}: the reference loads its network in {reload_ms:.0f} ms at every run, ours only"
            " at the first",
            flush=True,
        )
    head = (
        "against controlnet_aux and transformers, loaded",
        "ours, ms",
        "reference, ms",
        "ours / reference",
    )
    print(timing.table(head, rows))
