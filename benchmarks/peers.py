"""Time hints against the reference preprocessors (controlnet_aux), called frame by frame.

Both take a float tensor and return one. For the reference, as in the nodes around it, a frame is
converted to 8-bit, goes through its detector and is converted back; ours takes the batch. Networks
of both have the same random weights and are in memory. The reference's nodes also read the weights'
file at every run; that time has its own column.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from . import timing
from .bare_opencv import SIDE_PX, drawing, photographs

Detect = Callable[[np.ndarray], np.ndarray]
"""One 8-bit RGB frame → its map."""
SIZES = {"detect_resolution": SIDE_PX, "image_resolution": SIDE_PX, "output_type": "np"}


def aux(name: str) -> Any:
    """Import `module.Name` of controlnet_aux without its `__init__`, which needs mediapipe."""
    module, _, attribute = name.rpartition(".")
    if "controlnet_aux" not in sys.modules:
        spec = find_spec("controlnet_aux")
        assert spec is not None, (
            "controlnet-aux is not installed: it is part of the test environment"
            " (workbench/environment.py)"
        )
        package = types.ModuleType("controlnet_aux")
        package.__path__ = list(spec.submodule_search_locations or ())
        sys.modules["controlnet_aux"] = package
    return getattr(importlib.import_module(f"controlnet_aux.{module}"), attribute)


def canny() -> Detect:
    detector = aux("canny.CannyDetector")()
    return lambda frame: detector(frame, 100, 200, **SIZES)


def scribble() -> Detect:
    """Threshold a drawing as ControlNet's own tool does; controlnet_aux lacks this method."""

    def detect(frame: np.ndarray) -> np.ndarray:
        strokes = np.zeros_like(frame)
        strokes[np.min(frame, axis=2) < 127] = 255
        return strokes

    return detect


def xdog() -> Detect:
    """Compute XDoG by the formula of ControlNet's own tool; controlnet_aux lacks this method."""

    def detect(frame: np.ndarray) -> np.ndarray:
        fine, coarse = (
            cv2.GaussianBlur(frame.astype(np.float32), (0, 0), sigma) for sigma in (0.5, 5.0)
        )
        strokes = np.zeros_like(frame)
        strokes[2 * (255 - np.min(255 - (coarse - fine), axis=2)).clip(0, 255) > 32] = 255
        return strokes

    return detect


def standard_lineart() -> Detect:
    detector = aux("lineart_standard.LineartStandardDetector")()
    return lambda frame: detector(frame, detect_resolution=SIDE_PX, output_type="np")


def tile() -> Detect:
    """Blur with the pyramid of ControlNet's own tool; controlnet_aux lacks this method.

    Its hint is shifted by 3.5 px, ours is not.
    """

    def detect(frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        reduced = cv2.resize(frame, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
        for _ in range(3):
            reduced = cv2.pyrUp(reduced)
        return reduced

    return detect


def shuffle() -> Detect:
    detector = aux("shuffle.ContentShuffleDetector")()
    return lambda frame: detector(frame, **SIZES)


def recolor() -> Detect:
    """Take the luminance as ControlNet's own tool does; controlnet_aux lacks this method."""

    def detect(frame: np.ndarray) -> np.ndarray:
        light = cv2.cvtColor(frame, cv2.COLOR_BGR2LAB)[..., 0].astype(np.float32) / 255
        return np.repeat((light**1.0 * 255).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)

    return detect


def color_grid() -> Detect:
    """Average cells of 64 px as T2I-Adapter's own tool does; controlnet_aux lacks this method."""

    def detect(frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        coarse = cv2.resize(frame, (width // 64, height // 64), interpolation=cv2.INTER_AREA)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)

    return detect


@dataclass(frozen=True)
class Peer:
    """A network of the reference: its class, its detector, and the detector's arguments.

    `sizes` names those of SIZES that the detector takes; `settings` are (name, value) of others.
    """

    network: Callable[[], torch.nn.Module]
    detector: Callable[[torch.nn.Module], Callable[..., np.ndarray]]
    sizes: tuple[str, ...] = tuple(SIZES)
    settings: tuple[tuple[str, Any], ...] = ()

    def load(self, path: Path) -> Detect:
        """Build the network and read its file, as the reference does at every run of a node."""
        network = self.network()
        network.load_state_dict(torch.load(path, weights_only=True))
        detector = self.detector(network.eval().to(self.device))
        arguments = {name: SIZES[name] for name in self.sizes} | dict(self.settings)
        return lambda frame: detector(frame, **arguments)

    @property
    def device(self) -> torch.device:
        """The device that ComfyUI runs models on."""
        import comfy.model_management

        return comfy.model_management.get_torch_device()


def hed(**settings: Any) -> Peer:
    return Peer(
        aux("hed.ControlNetHED_Apache2"),
        aux("hed.HEDdetector"),
        settings=tuple(settings.items()),
    )


def teed() -> Peer:
    sizes = ("detect_resolution", "output_type")
    return Peer(aux("teed.ted.TED"), aux("teed.TEEDdetector"), sizes, (("safe_steps", 0),))


def pidinet() -> Peer:
    return Peer(aux("pidi.model.pidinet"), aux("pidi.PidiNetDetector"))


def mlsd() -> Peer:
    return Peer(aux("mlsd.MobileV2_MLSD_Large"), aux("mlsd.MLSDdetector"))


def lineart() -> Peer:
    generator, detector = aux("lineart.Generator"), aux("lineart.LineartDetector")
    return Peer(lambda: generator(3, 1, 3), lambda network: detector(network, network))


def anime() -> Peer:
    generator = aux("lineart_anime.UnetGenerator")

    def network() -> torch.nn.Module:
        return generator(3, 1, 8, 64, norm_layer=partial(torch.nn.InstanceNorm2d, affine=False))

    return Peer(network, aux("lineart_anime.LineartAnimeDetector"))


WEIGHTLESS: dict[tuple[str, str], tuple[float, Callable[[], Detect]]] = {
    ("canny", ""): (1.5, canny),
    ("scribble", ""): (3.0, scribble),
    ("xdog", ""): (3.0, xdog),
    ("lineart", "standard"): (3.0, standard_lineart),
    ("tile", ""): (1.0, tile),
    ("shuffle", ""): (1.0, shuffle),
    ("recolor", ""): (1.0, recolor),
    ("color_grid", ""): (1.0, color_grid),
}
"""By (method, engine): how many times faster ours should be at least, and the reference."""
NETWORKS: dict[tuple[str, str], Callable[[], Peer]] = {
    ("hed", "hed"): hed,
    ("softedge", "teed"): teed,
    ("softedge", "pidinet"): pidinet,
    ("fake_scribble", "hed"): lambda: hed(scribble=True),
    ("mlsd", "mlsd"): mlsd,
    ("lineart", "realistic"): lineart,
    ("lineart_anime", "anime2sketch"): anime,
}
"""By (method, engine): once loaded, ours should never be slower. Depth has its own section."""


def run(args: argparse.Namespace) -> None:
    head = (
        "against controlnet_aux, frame by frame",
        "ours, ms",
        "reference, ms",
        "ours / reference",
        "target",
    )
    print(timing.table(head, weightless(args)), flush=True)
    print(timing.table((*head, "our loading, ms", "reference's loading, ms"), networks(args)))


def weightless(args: argparse.Namespace) -> list[tuple[object, ...]]:
    rows = []
    for frames, ((method, engine), (times, reference)) in product((1, 16), WEIGHTLESS.items()):
        image, ours = batch(method, frames), ours_of(method, engine)
        measured = _measured(ours, reference(), image, 5 if args.quick else 21, warm_up=2)
        rows.append(_row(method, engine, frames, measured, 1 / times))
    return rows


def networks(args: argparse.Namespace) -> list[tuple[object, ...]]:
    import folder_paths

    rows = []
    for (method, engine), make in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            folder_paths.add_model_folder_path("controlnet_preprocessors", folder, is_default=True)
            rows += _network(method, engine, make(), Path(folder), args)
            folder_paths.folder_names_and_paths["controlnet_preprocessors"][0].remove(folder)
    return rows


def _network(
    method: str, engine: str, peer: Peer, folder: Path, args: argparse.Namespace
) -> list[tuple[object, ...]]:
    """Make a row for one frame and, unless `--quick`, one for sixteen."""
    from pack.host import runtime

    _write_weights(method, engine, peer, folder)
    runtime.networks.warm.clear()
    ours, rows, reads = ours_of(method, engine), [], []
    read, runtime.read = runtime.read, lambda *given: reads.append(given) or read(*given)
    first_ms = timing.milliseconds(lambda: ours(batch(method, 1)))
    again_ms = timing.milliseconds(lambda: ours(batch(method, 1)))
    load = partial(peer.load, folder / "reference.pth")
    reload_ms = min(timing.milliseconds(load) for _ in range(3))
    detect = load()
    for frames in (1,) if args.quick else (1, 16):
        image = batch(method, frames)
        repeats = 2 if args.quick else {1: 7, 16: 3}[frames]
        measured = _measured(ours, detect, image, repeats, warm_up=1)
        first = f"{'0' if len(reads) == 1 else '?'} (first {max(0.0, first_ms - again_ms):.0f})"
        rows.append((*_row(method, engine, frames, measured, 1.0), first, f"{reload_ms:.0f}"))
    runtime.read = read
    return rows


def _write_weights(method: str, engine: str, peer: Peer, folder: Path) -> None:
    """Write the same random weights as a file for us and one for the reference."""
    from safetensors.torch import save_file

    from pack.preprocessors import catalogue

    torch.manual_seed(0)
    state = {key: tensor.contiguous() for key, tensor in peer.network().state_dict().items()}
    weights = catalogue(method).weights[engine]
    save_file(state, folder / Path(weights.file).with_suffix(".safetensors"))
    torch.save(state, folder / "reference.pth")


def _measured(
    ours: Callable[[torch.Tensor], torch.Tensor],
    detect: Detect,
    image: torch.Tensor,
    repeats: int,
    warm_up: int,
) -> timing.Paired:
    return timing.paired(
        lambda: ours(image), lambda: one_by_one(detect, image), repeats, warm_up=warm_up
    )


def _row(
    method: str, engine: str, frames: int, measured: timing.Paired, at_most: float
) -> tuple[object, ...]:
    name = " ".join(filter(None, (method, engine)))
    verdict = "met" if measured.ratio.median <= at_most else "MISSED"
    return (
        f"{name}, {frames} x {SIDE_PX}²",
        measured.ours_ms,
        measured.reference_ms,
        measured.ratio,
        f"<= {at_most:.2f} {verdict}",
    )


def batch(method: str, frames: int) -> torch.Tensor:
    pictures = photographs(frames)
    if method == "scribble":
        pictures = [drawing(picture) for picture in pictures]
    return torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)


def ours_of(method: str, engine: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what the node computes, without its preview."""
    from pack.host import runtime
    from pack.preprocessors import catalogue

    row, chosen = catalogue(method), {"engine": engine} if engine else {}
    return lambda image: row(image, networks=runtime.networks, **chosen)


def one_by_one(detect: Detect, image: torch.Tensor) -> torch.Tensor:
    """Run the reference as nodes do: IMAGE (B,H,W,3) in [0,1] → its hints, float."""
    maps = [detect((frame.numpy() * 255).astype(np.uint8)) for frame in image]
    return torch.stack([torch.from_numpy(drawn.astype(np.float32) / 255) for drawn in maps])
