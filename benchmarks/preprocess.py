"""Preprocessing nodes against OpenCV alone.

Ours is the whole node: float tensor in, contiguous float tensor out, preview written. Bare is what it computes, written
with OpenCV in the fastest way we know: a loop on one thread over ready 8-bit frames that gives one channel a frame.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import cv2
import numpy as np
import torch

from . import timing

SIDE_PX = 512


def bare_canny(frame: np.ndarray) -> np.ndarray:
    return cv2.Canny(frame, 100, 200)


def bare_scribble(frame: np.ndarray) -> np.ndarray:
    red, green, blue = cv2.split(frame)
    return cv2.threshold(cv2.min(cv2.min(red, green), blue), 126, 255, cv2.THRESH_BINARY_INV)[1]


def bare_xdog(frame: np.ndarray) -> np.ndarray:
    picture = frame.astype(np.float32)
    difference = cv2.subtract(cv2.GaussianBlur(picture, (0, 0), 5.0), cv2.GaussianBlur(picture, (0, 0), 0.5))
    return cv2.threshold(darkest(difference), 16, 255, cv2.THRESH_BINARY)[1]


def bare_lineart(frame: np.ndarray) -> np.ndarray:
    picture = frame.astype(np.float32)
    darker = darkest(cv2.subtract(cv2.GaussianBlur(picture, (0, 0), 6.0), picture)).clip(0, 255)
    return (darker / max(16, np.median(darker[darker > 8])) * 127).clip(0, 255)


def darkest(picture: np.ndarray) -> np.ndarray:
    return np.minimum(np.minimum(picture[..., 0], picture[..., 1]), picture[..., 2])


BARE = {"canny": bare_canny, "scribble": bare_scribble, "xdog": bare_xdog, "lineart": bare_lineart}
BARE_SETTINGS = {"scribble": {"invert": "off"}}
"""Where bare is less than the node does by default: it looks at no border. The node is timed with its defaults."""


def photographs(count: int) -> list[np.ndarray]:
    """(512,512,3) uint8 each, all different."""
    from skimage import data

    photo = cv2.resize(data.astronaut(), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return [np.ascontiguousarray(np.roll(photo, 17 * index, axis=0)) for index in range(count)]


def rivals(node: type, method: str, frames: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """The node and bare OpenCV over the same frames, after a look that both give the same map."""
    pictures = photographs(frames)
    image = torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)
    draw = BARE[method]

    def ours() -> torch.Tensor:
        return node.execute(image=image).result[0]

    def bare() -> list[np.ndarray]:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            return [draw(picture) for picture in pictures]
        finally:
            cv2.setNumThreads(threads)

    same = node.execute(image=image, **BARE_SETTINGS.get(method, {})).result[0]
    difference = same[..., 0].numpy() * 255 - np.stack(bare())
    assert np.abs(difference).max() < 1, f"{method} is not what bare OpenCV computes"
    return ours, bare


def run(args: argparse.Namespace) -> None:
    from pack.nodes import preprocess

    nodes = {node.key: node for node in preprocess.NODES if hasattr(node, "key")}
    rows = []
    for frames in (1, 16):
        for method in BARE:
            ours, bare = rivals(nodes[method], method, frames)
            told = timing.paired(ours, bare, repeats=7 if args.quick else 41)
            rows.append((f"{method}, {frames} x {SIDE_PX}²", told.ours_ms, told.reference_ms, told.ratio))
    print(timing.table(("node against bare OpenCV", "node, ms", "bare, one thread, ms", "node / bare"), rows))
