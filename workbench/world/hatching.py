"""Draw hatchings of the world's pictures: a condition of one's own, and a folder to train it on.

A hatching is what a pen makes of a picture: outlines, and strokes in more directions the darker a
place is. Here they are white on black, as in other hints of lines.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import scenery

PERIOD_PX = 5
LAYERS = ((0.68, 1, 1), (0.5, 1, -1), (0.34, 1, 0), (0.2, 0, 1))
"""Light below which a layer of strokes is drawn, and its direction: steps per row and column."""
LOW, HIGH = 60, 120
"""Thresholds of the outlines, those of Canny."""
SIZE, PAIRS = 128, 512


def hatching(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Hatch a picture (H,W,3): white strokes on black, (H,W,3)."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    light = cv2.GaussianBlur(grey, (0, 0), 1.0).astype(np.float32) / 255
    row, column = np.indices(light.shape)
    strokes = cv2.Canny(picture, LOW, HIGH) > 0
    for below, down, across in LAYERS:
        strokes |= (light < below) & ((down * row + across * column) % PERIOD_PX == 0)
    return np.repeat(np.where(strokes, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


def write_pairs(folder: Path, count: int = PAIRS, size: int = SIZE, seed: int = 0) -> None:
    """Write pairs in the form of ControlNet's own tutorial: source/, target/, prompt.json.

    Files that are there stay. prompt.json is written last: a folder that has it is whole.
    """
    for part in ("source", "target"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        scene = scenery.landscape(f"{seed} hatching {index}", size)
        name = f"{index:04}.png"
        if not (folder / "source" / name).exists():
            _save(scene.picture, folder / "target" / name)
            _save(hatching(scene.picture), folder / "source" / name)
        line = {"source": f"source/{name}", "target": f"target/{name}", "prompt": scene.prompt}
        lines.append(json.dumps(line))
    part = folder / "prompt.json.part"
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(folder / "prompt.json")


def write_captioned(folder: Path, count: int = PAIRS, size: int = SIZE, seed: int = 0) -> None:
    """Write pictures with captions beside them, NAME.png and NAME.txt, to train with a method."""
    for index in range(count):
        scene = scenery.landscape(f"{seed} hatching {index}", size)
        _save(scene.picture, folder / f"{index:04}.png")
        (folder / f"{index:04}.txt").write_text(scene.prompt, encoding="utf-8")


def write_unseen(file: Path, seed: str = "0 held out 2", size: int = SIZE) -> str:
    """Write the hatching of a scene that is in no folder; return the scene's words."""
    scene = scenery.landscape(seed, size)
    _save(hatching(scene.picture), file)
    return scene.prompt


def _save(picture: NDArray[np.uint8], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    Image.fromarray(picture).save(part, format="PNG")
    part.replace(file)


def sheet(scenes: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put pictures over their hatchings, for the eye."""
    return np.concatenate(
        [np.concatenate(scenes, 1), np.concatenate([hatching(s) for s in scenes], 1)]
    )
