"""Time preprocessor nodes against plain OpenCV.

Ours takes a float tensor and returns a contiguous float tensor, measured twice: the whole node,
which also writes a preview, and the hint alone. The reference computes the same with OpenCV in the
fastest way that we know: a loop on one thread over 8-bit frames, one channel out for each frame.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

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
    difference = cv2.subtract(
        cv2.GaussianBlur(picture, (0, 0), 5.0), cv2.GaussianBlur(picture, (0, 0), 0.5)
    )
    return cv2.threshold(channel_minimum(difference), 16, 255, cv2.THRESH_BINARY)[1]


def bare_lineart(frame: np.ndarray) -> np.ndarray:
    picture = frame.astype(np.float32)
    darker = channel_minimum(cv2.subtract(cv2.GaussianBlur(picture, (0, 0), 6.0), picture)).clip(
        0, 255
    )
    return (darker / max(16, np.median(darker[darker > 8])) * 127).clip(0, 255)


def channel_minimum(picture: np.ndarray) -> np.ndarray:
    return np.minimum(np.minimum(picture[..., 0], picture[..., 1]), picture[..., 2])


BARE = {"canny": bare_canny, "scribble": bare_scribble, "xdog": bare_xdog, "lineart": bare_lineart}


def photographs(count: int) -> list[np.ndarray]:
    """Make `count` different photographs, (512,512,3) uint8 each."""
    from skimage import data

    photo = cv2.resize(data.astronaut(), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return [np.ascontiguousarray(np.roll(photo, 17 * index, axis=0)) for index in range(count)]


def whole_node(method: str) -> Callable[..., torch.Tensor]:
    """Return the method's node as a function of tensors; it also writes its preview."""
    from pack.nodes import preprocess
    from pack.preprocessors import catalogue

    node = preprocess.node_of(catalogue(method))
    return lambda image, **settings: node.execute(image=image, **settings).result[0]


def map_alone(method: str) -> Callable[..., torch.Tensor]:
    """Return the method's computation as a function of tensors, without the preview."""
    from pack.preprocessors import catalogue

    return catalogue(method)


FORMS = {"node": whole_node, "map": map_alone}


def drawing(picture: np.ndarray) -> np.ndarray:
    """Draw dark lines on white paper, as the scribble method expects."""
    return cv2.cvtColor(255 - cv2.Canny(picture, 100, 200), cv2.COLOR_GRAY2RGB)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit OpenCV to one thread, and start as many as before afterwards."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        cv2.Canny(np.zeros((256, 256), np.uint8), 100, 200)  # starts the threads again


def rivals(
    form: str, method: str, frames: int
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return ours (in that form) and plain OpenCV over the same frames.

    Checks first that both give the same hint, within one level of 255.
    """
    pictures = photographs(frames)
    if method == "scribble":
        pictures = [drawing(picture) for picture in pictures]
    image = torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)
    draw, draw_ours = BARE[method], FORMS[form](method)

    def ours() -> torch.Tensor:
        return draw_ours(image)

    def bare() -> list[np.ndarray]:
        return [draw(picture) for picture in pictures]

    hint = draw_ours(image)
    difference = hint[..., 0].numpy() * 255 - np.stack(bare())
    assert np.abs(difference).max() < 1, f"{method}: our hint differs from plain OpenCV's"
    return ours, bare


def run(args: argparse.Namespace) -> None:
    rows = []
    for frames, method, form in product((1, 16), BARE, FORMS):
        ours, bare = rivals(form, method, frames)
        times = timing.paired(
            ours, bare, repeats=7 if args.quick else 41, reference_under=one_thread
        )
        rows.append(
            (
                f"{method}, {frames} x {SIDE_PX}², {form}",
                times.ours_ms,
                times.reference_ms,
                times.ratio,
            )
        )
    print(
        timing.table(
            ("against plain OpenCV", "ours, ms", "OpenCV, one thread, ms", "ours / OpenCV"), rows
        )
    )
