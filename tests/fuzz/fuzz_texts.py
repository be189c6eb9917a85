"""Fuzzers of what people type and tools write: schedules, layers, types, classes, keypoints."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from pack.control import layers, schedule, unions
from pack.control.grammar import TextError
from pack.preprocessors import keypoints, palettes, segmentation, skeleton

from .frame import Fuzzer, damaged, odd

NUMBERS = (
    *("0", "1", "0.5", ".5", "1.", "00", "1e3", "1e-9", "1e400", "9" * 400, "-1", "+1", "0x1"),
    *("1_0", "nan", "inf", "½", "١", "０", "0.5.5", "1e", "6s", "6.5s", "999999999s", "50%", "%"),
)
SIGNS = (
    *",;:|@. \t\n\r()[]'\"/\\",
    "..",
    "，",
    "：",
    "｜",
    "　",
    "\0",
    "\ud800",
    "\u202e",
    "é",
    "🎨",
)
WORDS = {
    "schedule": ("linear", "smooth", "step", "0:1", "0.5:0", "6s:0.5", "1@0.5", "| smooth", "s"),
    "layers": ("soft", "linear", "blocks", "resolution", "1..0", "soft 0.825", "1,1,0.5", "peak"),
    "union": ("auto", "canny", "depth", "canny/lineart", "openpose:0.5", "depth:2", "tile", "seg"),
    "class": (
        "sky",
        "person",
        "wall",
        "door-stuff",
        "0 0 1 0.4",
        "0.3 0.2 0.7 0.6",
        "149",
        "house",
    ),
}
TYPES = {
    "openpose": 0,
    "depth": 1,
    "hed/pidi/scribble/ted": 2,
    "canny/lineart/anime_lineart/mlsd": 3,
}


def text_of(kind: str):
    """Return a maker of texts that are nearly right, or not at all."""

    def case(rng: random.Random, _base: Path) -> str:
        pieces = (*NUMBERS, *SIGNS, *WORDS[kind] * 6)
        text = "".join(rng.choice(pieces) for _ in range(rng.choice((0, 1, 2, 3, 5, 9, 30))))
        if rng.random() < 0.03:
            text = text * rng.choice((1000, 20_000)) + rng.choice(pieces)
        return text[:1_000_000]

    return case


def read_schedule(text: str) -> None:
    """Read a schedule as Add ControlNet does; what it means is written and read again."""
    once = schedule.parse(text)
    assert schedule.parse(schedule.to_text(once)) == once


def read_frames(text: str) -> None:
    """Read a frame strength as Add ControlNet does."""
    schedule.parse_frames(text)


def read_layers(text: str) -> None:
    """Read a layers profile as Add ControlNet does; what it means is written and read again."""
    once = layers.parse(text)
    assert layers.parse(layers.to_text(once)) == once


def read_types(text: str) -> None:
    """Read a union type as Add ControlNet does."""
    unions.parse(text, TYPES)


def class_case(rng: random.Random, base: Path) -> tuple[str, str]:
    """Make a list of classes, with or without boxes, and choose a palette."""
    return text_of("class")(rng, base), rng.choice(tuple(palettes.PALETTES))


def read_classes(case: tuple[str, str]) -> None:
    """Read classes as Segmentation Map does, as `paint` and as `classes`."""
    text, palette = case
    table = palettes.PALETTES[palette]
    segmentation.strokes_of(text, table)
    table.index_of(text)


LISTS = {**dict.fromkeys(keypoints.PARTS, (54, 75, 51)), "face_keypoints_2d": (210, 204, 3, 1434)}


def keypoint_case(rng: random.Random, _base: Path) -> tuple[str | bytes, int]:
    """Make keypoints of a few people, often damaged, and the size of their picture or 0."""

    def points(count: int) -> list[Any]:
        scale = rng.choice((1.0, 1.0, 500.0, 500.0, 1e9))
        return [round(rng.uniform(-0.1, 1) * scale, 3) for _ in range(count)]

    def person() -> Any:
        if rng.random() < 0.1:
            return odd(rng)
        names = rng.sample(tuple(LISTS), rng.randrange(4))
        return {
            name: odd(rng) if rng.random() < 0.1 else points(rng.choice(LISTS[name]))
            for name in names
        }

    frame: dict[str, Any] = {"people": [person() for _ in range(rng.randrange(3))]}
    for side in ("canvas_width", "canvas_height"):
        if rng.random() < 0.9:
            frame[side] = rng.choice((1, 64, 512, 512, 16384)) if rng.random() < 0.9 else odd(rng)
    if rng.random() < 0.1:
        frame[rng.choice(("animals", "people", "version"))] = odd(rng)
    if rng.random() < 0.02:
        frame["people"] = [{}] * rng.choice((1001, 100_000))
    text = json.dumps([frame] * rng.choice((1, 1, 2, 5)))
    if rng.random() < 0.02:
        text = "[" * rng.choice((10, 100_000)) + text
    size = rng.choice((0, 0, 64))
    return damaged(rng, text.encode()) if rng.random() < 0.3 else text, size


def load_and_draw(case: tuple[str | bytes, int]) -> None:
    """Load keypoints as Load Pose does, and draw them as Draw Pose does."""
    text, size_px = case
    frames = keypoints.loads(text, width_px=size_px, height_px=size_px)
    skeleton.draw_keypoints(keypoints.encode(frames), width_px=64, height_px=48, people=2)


ROWS = (
    Fuzzer("schedules", text_of("schedule"), read_schedule, (TextError,)),
    Fuzzer("frame strengths", text_of("schedule"), read_frames, (TextError,)),
    Fuzzer("layers", text_of("layers"), read_layers, (TextError,)),
    Fuzzer("union types", text_of("union"), read_types, (TextError,)),
    Fuzzer("class names", class_case, read_classes, (ValueError,)),
    Fuzzer("keypoints", keypoint_case, load_and_draw, (keypoints.KeypointError,)),
)
