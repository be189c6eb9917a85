"""Convert people as points: one layout of arrays inside, POSE_KEYPOINT outside.

POSE_KEYPOINT, which ComfyUI and the ControlNet tools share, is a list of frames, each a dict as
OpenPose writes it, with the size of its canvas: flat lists of x, y and score for every point. The
tools write pixels or fractions of the canvas; both are read, pixels are written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .images import MAX_SIDE_PX

People = NDArray[np.float64]
"""(P,136,3): x and y in px of the canvas, and a score; (0,0,0) is a point that was not found."""

BODY, FACE, LEFT_HAND, RIGHT_HAND, FEET = (
    slice(a, b) for a, b in ((0, 18), (18, 88), (88, 109), (109, 130), (130, 136))
)
POINTS = 136
SEEN_SCORE = 0.3
"""Points below this score count as not found, as in DWPose and in the host's SDPose nodes."""

_FRACTIONS_UP_TO = 2.0
"""A frame without any coordinate above this is in fractions. People reach out of the picture, so 1
is not the limit.
"""
_CANVASES_AWAY = 16
"""A point further out than this many canvases is damage, not a person."""


class KeypointError(ValueError):
    """Report keypoints that cannot be read: where, and what was expected."""


@dataclass(frozen=True)
class Frame:
    """Hold the people of one picture, on a canvas of that size."""

    people: People
    height_px: int
    width_px: int


Placed = tuple[NDArray[np.intp], NDArray[np.intp]]


def _placed(source: Iterable[int], target: Iterable[int]) -> Placed:
    return np.array([*source], np.intp), np.array([*target], np.intp)


def _whole(part: slice) -> dict[int, Placed]:
    count = part.stop - part.start
    return {count: _placed(range(count), range(part.start, part.stop))}


LAYOUTS: Mapping[str, Mapping[int, Placed]] = {
    "pose_keypoints_2d": {
        **_whole(BODY),
        # OpenPose's BODY_25: the hips' middle comes in between, the feet at the end.
        25: _placed([*range(8), *range(9, 25)], [*range(18), *range(FEET.start, FEET.stop)]),
    },
    "face_keypoints_2d": {
        **_whole(FACE),
        68: _placed(range(68), range(FACE.start, FACE.start + 68)),
    },
    "hand_left_keypoints_2d": _whole(LEFT_HAND),
    "hand_right_keypoints_2d": _whole(RIGHT_HAND),
    "foot_keypoints_2d": _whole(FEET),
}
"""For each list of a person: how many points it may have, and which of ours they are."""

LIMBS = (
    *(
        (1, 2),
        (1, 5),
        (2, 3),
        (3, 4),
        (5, 6),
        (6, 7),
        (1, 8),
        (8, 9),
        (9, 10),
        (1, 11),
        (11, 12),
        (12, 13),
    ),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17)),
)
"""The joints that a limb leads from and to. The last two, shoulder to ear, are looked for and not
drawn.
"""

COCO_WHOLEBODY_TO_OPENPOSE = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""Which COCO point is each of OpenPose's 18; the neck is the middle of the shoulders."""
_COCO_PARTS = ((FEET, slice(17, 23)), (slice(FACE.start, FACE.start + 68), slice(23, 91)))
_COCO_HANDS = ((LEFT_HAND, slice(91, 112)), (RIGHT_HAND, slice(112, 133)))


def nobody(count: int = 0) -> People:
    """Make (count,136,3): people without any point."""
    return np.zeros((count, POINTS, 3))


def from_coco(points: NDArray[np.floating[Any]]) -> People:
    """Convert (P,17,3) or (P,133,3) in COCO's or COCO-WholeBody's order to (P,136,3).

    Points below SEEN_SCORE are dropped. The face's two pupils, which OpenPose has and COCO has not,
    are the body's eyes, as in the DWPose tools.
    """
    people = nobody(len(points))
    order = [
        (ours, coco) for ours, coco in enumerate(COCO_WHOLEBODY_TO_OPENPOSE) if coco is not None
    ]
    people[:, [ours for ours, _ in order]] = points[:, [coco for _, coco in order]]
    shoulders = points[:, 5:7]
    people[:, 1, :2] = shoulders[..., :2].mean(axis=1)
    people[:, 1, 2] = (shoulders[..., 2] > SEEN_SCORE).all(axis=1)
    if points.shape[1] > 17:
        for ours, coco in (*_COCO_PARTS, *_COCO_HANDS):
            people[:, ours] = points[:, coco]
        has_face = (people[:, FACE, 2] >= SEEN_SCORE).any(axis=1)
        people[has_face, 86:88] = people[has_face, 14:16]
    people[people[..., 2] < SEEN_SCORE] = 0
    return people


def loads(text: bytes | str) -> list[Frame]:
    """Read the frames of a JSON text: a list of them, or one. Raises KeypointError."""
    try:
        return parse(json.loads(text))
    except KeypointError:
        raise
    except RecursionError as error:
        raise KeypointError("this JSON is nested too deeply to be keypoints") from error
    except ValueError as error:  # broken JSON, broken UTF-8, a number of thousands of digits
        raise KeypointError(
            f"this is not JSON text ({error}): expected a list of frames with people in them"
        ) from error


def dumps(frames: Sequence[Frame]) -> str:
    """Write frames as JSON text in POSE_KEYPOINT's form, one frame per line."""
    return (
        "[\n" + ",\n".join(json.dumps(frame, allow_nan=False) for frame in encode(frames)) + "\n]\n"
    )


def encode(frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """Convert frames to POSE_KEYPOINT in pixels.

    Every list is full, with zeros for missing points, as ComfyUI's nodes need it.
    """
    return [
        {
            "people": [_encoded(person) for person in frame.people],
            "canvas_height": frame.height_px,
            "canvas_width": frame.width_px,
        }
        for frame in frames
    ]


def _encoded(person: People) -> dict[str, list[float]]:
    parts = {"pose_keypoints_2d": BODY, "face_keypoints_2d": FACE}
    parts |= {
        "hand_left_keypoints_2d": LEFT_HAND,
        "hand_right_keypoints_2d": RIGHT_HAND,
        "foot_keypoints_2d": FEET,
    }
    return {name: np.reshape(person[part], -1).tolist() for name, part in parts.items()}


def parse(document: object) -> list[Frame]:
    """Read POSE_KEYPOINT as any tool writes it.

    Raises KeypointError that says which frame is wrong, and how.
    """
    if isinstance(document, dict):
        document = [cast(object, document)]
    if not isinstance(document, (list, tuple)):
        raise KeypointError(
            f"expected a list of frames, found {_kind(document)}: connect a POSE_KEYPOINT"
        )
    frames = cast(Sequence[object], document)
    if not frames:
        raise KeypointError("the list of frames is empty: expected at least one frame of keypoints")
    return [_frame(frame, f"frame {index}") for index, frame in enumerate(frames)]


def _frame(document: object, where: str) -> Frame:
    if not isinstance(document, Mapping):
        raise KeypointError(
            f"{where}: expected a dict with people and a canvas, found {_kind(document)}"
        )
    frame = cast(Mapping[str, object], document)
    height_px, width_px = (_side(frame, name, where) for name in ("canvas_height", "canvas_width"))
    listed = frame.get("people")
    if listed is None and "people" in frame:
        listed = []
    if not isinstance(listed, (list, tuple)):
        raise KeypointError(f"{where}: expected a list under 'people', found {_kind(listed)}")
    everyone = cast(Sequence[object], listed)
    people = nobody(len(everyone))
    for index, person in enumerate(everyone):
        _read_person(person, people[index], f"{where}, person {index}")
    people[people[..., 2] <= 0] = 0
    if np.abs(people[..., :2]).max(initial=0) <= _FRACTIONS_UP_TO:
        people[..., :2] *= (width_px, height_px)
    _refuse_far_away(people, height_px, width_px, where)
    return Frame(people, height_px, width_px)


def _side(frame: Mapping[str, object], name: str, where: str) -> int:
    side = frame.get(name)
    if (
        isinstance(side, bool)
        or not isinstance(side, (int, float))
        or not 1 <= side <= MAX_SIDE_PX
        or side != int(side)
    ):
        shown = _kind(side) if name in frame else "none"
        raise KeypointError(
            f"{where}: expected {name}, a whole number of pixels from 1 to {MAX_SIDE_PX}, found"
            f" {shown}"
        )
    return int(side)


def _read_person(document: object, person: People, where: str) -> None:
    """Fill (136,3) from the lists that are there; a list may be absent, null or empty."""
    if not isinstance(document, Mapping):
        raise KeypointError(f"{where}: expected a dict of keypoint lists, found {_kind(document)}")
    lists = cast(Mapping[str, object], document)
    for name, layouts in LAYOUTS.items():
        given = lists.get(name)
        if given is None or (isinstance(given, (list, tuple)) and not given):
            continue
        points = _numbers(cast(object, given), f"{where}, {name}")
        if len(points) not in layouts:
            lengths = " or ".join(str(3 * count) for count in layouts)
            raise KeypointError(
                f"{where}, {name}: expected {lengths} numbers (x, y, score), found {points.size}"
            )
        source, target = layouts[len(points)]
        person[target] = points[source]


def _numbers(given: object, where: str) -> NDArray[np.float64]:
    """Read a flat list of numbers as (n,3)."""
    if not isinstance(given, (list, tuple)):
        raise KeypointError(f"{where}: expected a list of numbers, found {_kind(given)}")
    numbers = cast(Sequence[object], given)
    if wrong := [
        value for value in numbers if isinstance(value, bool) or not isinstance(value, (int, float))
    ]:
        raise KeypointError(f"{where}: expected numbers only, found {_kind(wrong[0])}")
    if len(numbers) % 3:
        raise KeypointError(
            f"{where}: expected x, y and score for every point, found {len(numbers)} numbers"
        )
    try:
        points = np.reshape(np.array(numbers, np.float64), (-1, 3))
    except OverflowError as error:
        raise KeypointError(f"{where}: a number is too large to be a pixel") from error
    if not np.isfinite(points).all():
        raise KeypointError(f"{where}: found NaN or infinity where a number was expected")
    return points


def _refuse_far_away(people: People, height_px: int, width_px: int, where: str) -> None:
    far = np.abs(people[..., :2]) > (_CANVASES_AWAY * width_px, _CANVASES_AWAY * height_px)
    if far.any():
        person, point, _ = np.argwhere(far)[0]
        x, y, _ = people[person, point]
        canvas = f"the canvas of {width_px}x{height_px}"
        raise KeypointError(
            f"{where}, person {person}: a point at ({x:.4g}, {y:.4g}) lies too far off {canvas}"
        )


def _kind(value: object) -> str:
    """Describe a value in a few words, whatever its size."""
    if value is None or isinstance(value, (bool, float)):
        return {None: "null", True: "true", False: "false"}.get(cast(Any, value), f"{value!r}")
    if isinstance(value, int):
        return (
            str(value)
            if math.fabs(min(max(value, -(10**9)), 10**9)) < 10**9
            else "a very large number"
        )
    if isinstance(value, str):
        return f"the text {value[:20]!r}"
    return f"a {type(value).__name__}"
