"""Measure the peak memory of every engine without weights: a clip of 300 frames, a huge picture.

The ratio is what a call takes above the start, its picture included, over what cannot be avoided:
the picture and the outputs. It is at most 1.1 unless a reason stands beside it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from pack.preprocessors import CATALOGUE, Preprocessor

SHAPES = {"300 x 512²": (300, 512), "1 x 8192²": (1, 8192)}
QUICK = {"30 x 512²": (30, 512), "1 x 2048²": (1, 2048)}
MOST = 1.1
POSE = {"people": [], "canvas_width": 512, "canvas_height": 512}
REASONS = {
    "canny": "a line may cross the whole picture: slopes of 16 bits and a map of all of it",
    "xdog": "two blurs in float, of a band of rows on every core",
    "fake_scribble xdog": "two blurs in float, of a band of rows on every core",
    "hed dog": "three blurs and their slopes in float, of a band of rows on every core",
    "softedge dog": "three blurs and their slopes in float, of a band of rows on every core",
    "fake_scribble dog": "three blurs and their slopes in float, of a band of rows on every core",
    "inpaint_hint": "the mask in the size of the picture",
    "scribble": "whether ink is dark is decided by the whole border, from all of it in 8 bits",
    "mlsd lsd": "OpenCV's detector keeps gradients and regions of the whole picture in float64",
    "normal depth": "a second picture, the depth, and the vectors of all of it",
    "normal image": "resampled and decoded as a whole",
    "shuffle": "where each pixel comes from: two floats, from noise in float64 as in the reference",
    "tile": "the picture in float: means are not rounded to 8 bits",
    "color_grid": "the picture in 8 bits, and its cells",
    "depth image": "the depth is scaled as a whole",
    "brightness": "Otsu's threshold is that of the whole picture",
    "segmentation snap": "a table of all 8-bit colours (16 MB), labels and masks",
    "segmentation blank": "labels and masks",
    "pose keypoints": "a canvas of 8 bits, and its colours",
}
"""Why an engine takes more of a huge picture, by its name in the table."""


class Engine(NamedTuple):
    """A row of the catalogue with one of its engines that need no weights."""

    row: Preprocessor
    engine: str

    @property
    def name(self) -> str:
        return f"{self.row.key} {self.engine}".strip()

    def __call__(self, image: torch.Tensor) -> tuple[Any, ...]:
        settings: dict[str, Any] = {"engine": self.engine} if self.engine else {}
        if self.name == "normal depth":
            settings["depth"] = image
        if self.name == "pose keypoints":
            settings["pose_keypoint"] = POSE
        return self.row.full(image, **settings)


def engines() -> Iterator[Engine]:
    """List every engine that needs no weights."""
    for row in CATALOGUE:
        choices = next((param.choices for param in row.params if param.name == "engine"), ("",))
        yield from (Engine(row, engine) for engine in choices if engine not in row.weights)


class Peak(NamedTuple):
    """Bytes: of the picture and the outputs, and the most that the call took above the start."""

    needed: int
    peak: int
    seconds: float

    @property
    def ratio(self) -> float:
        return self.peak / self.needed


def measure(engine: Engine, frames: int, side_px: int) -> Peak:
    """Run an engine once on a picture of soft noise."""
    start = settled()
    coarse = torch.rand(frames, 3, side_px // 16, side_px // 16)
    image = torch.empty(frames, side_px, side_px, 3)
    for at, frame in enumerate(coarse):
        for band, rows in enumerate(frame.split(16, dim=1)):
            fine = rows.repeat_interleave(16, 1).repeat_interleave(16, 2)
            image[at, band * 256 : band * 256 + fine.shape[1]] = fine.movedim(0, 2)
    reset_peak()
    began = time.perf_counter()
    outputs = engine(image)
    took = time.perf_counter() - began
    peak = resident(peak=True) - start
    storages = {
        storage.data_ptr(): storage.nbytes()
        for output in (image, *outputs)
        if isinstance(output, torch.Tensor)
        for storage in (output.untyped_storage(),)
    }
    return Peak(sum(storages.values()), peak, took)


def run(args: argparse.Namespace) -> None:
    """Print a table for each shape."""
    if not resident(peak=False):
        print("peak memory can be read on Linux only")
        return
    for title, (frames, side_px) in (QUICK if args.quick else SHAPES).items():
        print(f"{title:24} picture + outputs MB  peak MB  ratio       s  reason if above {MOST}")
        for engine in engines():
            engine(torch.rand(1, 64, 64, 3))  # what is imported or made once is not counted
            print(_row(engine, measure(engine, frames, side_px)), flush=True)


def _row(engine: Engine, peak: Peak) -> str:
    sizes = f"{peak.needed / 1e6:20.0f} {peak.peak / 1e6:8.0f} {peak.ratio:6.2f}"
    reason = "" if peak.ratio <= MOST else REASONS.get(engine.name, "?")
    return f"{engine.name:24} {sizes} {peak.seconds:7.1f}  {reason}".rstrip()


def reset_peak() -> None:
    """Begin to watch for the most again."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def settled() -> int:
    """Give what was freed back to the system, and return resident bytes.

    The allocator keeps it otherwise: what runs next would seem to take nothing.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return resident(peak=False)


def resident(*, peak: bool) -> int:
    """Return resident bytes now, or the most since `reset_peak`; 0 where nobody can tell."""
    word = "VmHWM:" if peak else "VmRSS:"
    with suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith(word):
                return 1024 * int(line.split()[1])
    return 0
