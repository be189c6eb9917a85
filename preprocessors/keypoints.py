"""Hold people as one array of keypoints, and read and write POSE_KEYPOINT.

POSE_KEYPOINT is the format of ComfyUI and of the ControlNet tools: a list of frames, each a dict as
OpenPose writes it with the size of its canvas, with flat lists of x, y and score. Tools write
pixels or fractions of the canvas, some of them both in one person; pixels are written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .images import MAX_SIDE_PX

People = NDArray[np.float64]
"""(P,136,3): x and y in px of the canvas, and a score; (0,0,0) is a point that is not visible."""

BODY, FACE = slice(0, 18), slice(18, 88)
LEFT_HAND, RIGHT_HAND, FEET = slice(88, 109), slice(109, 130), slice(130, 136)
POINTS = 136
SEEN_SCORE = 0.3
"""Points below this score count as not visible, as in DWPose and in ComfyUI's SDPose nodes."""

_FRACTIONS_UP_TO, _MOST = 2.0, 0.75
"""A list is in fractions if no coordinate exceeds 2, because people reach out of the canvas, or if
most of its visible points lie on the canvas as fractions.
"""
MAX_PEOPLE, MAX_PEOPLE_OF_CLIP = 1000, 50_000
"""More are damage: a person takes 3 kB in memory, and 3 bytes of text are enough to ask for one."""
_LEAST_SCORE = 1e-9
_MAX_CANVASES = 16
"""A point further out than this many canvases is damage, not a person."""


class KeypointError(ValueError):
    """Keypoints that cannot be read; the message says where, what was expected and found."""

    __module__ = "controlstack"  # ComfyUI shows it before the sentence


@dataclass(frozen=True)
class Frame:
    """Hold the people of one picture, on a canvas of that size."""

    people: People
    height_px: int
    width_px: int


PointMap = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Indices of points in a list, and their indices in `People`."""


def _point_map(source: Iterable[int], target: Iterable[int]) -> PointMap:
    return np.array([*source], np.intp), np.array([*target], np.intp)


def _in_order(part: slice) -> dict[int, PointMap]:
    count = part.stop - part.start
    return {count: _point_map(range(count), range(part.start, part.stop))}


PARTS: Mapping[str, slice] = {
    "pose_keypoints_2d": BODY,
    "face_keypoints_2d": FACE,
    "hand_left_keypoints_2d": LEFT_HAND,
    "hand_right_keypoints_2d": RIGHT_HAND,
    "foot_keypoints_2d": FEET,
}
"""A person's lists, and the points that each holds."""

LAYOUTS: Mapping[str, Mapping[int, PointMap]] = {
    **{name: _in_order(part) for name, part in PARTS.items()},
    "pose_keypoints_2d": {
        **_in_order(BODY),
        # OpenPose's BODY_25: the middle of the hips is point 8, the feet come last.
        25: _point_map([*range(8), *range(9, 25)], [*range(18), *range(FEET.start, FEET.stop)]),
    },
}
"""For each list of a person: the numbers of points it may have, and which of `People` they are.

Faces may have any number (`_layout`)."""

_ARMS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7))
_LEGS = ((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13))
_HEAD = ((1, 0), (0, 14), (14, 16), (0, 15), (15, 17))
_EARS = ((2, 16), (5, 17))
LIMBS = (*_ARMS, *_LEGS, *_HEAD, *_EARS)
"""(start, end) joints of each limb. The last two, shoulder to ear, are detected but not drawn."""

COCO_WHOLEBODY_TO_OPENPOSE = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""The COCO point of each of OpenPose's 18 joints; the neck, which COCO lacks, is computed."""
_COCO_PARTS = ((FEET, slice(17, 23)), (slice(FACE.start, FACE.start + 68), slice(23, 91)))
_COCO_HANDS = ((LEFT_HAND, slice(91, 112)), (RIGHT_HAND, slice(112, 133)))


def empty_people(count: int = 0) -> People:
    """Return (count,136,3) zeros: people without a visible point."""
    return np.zeros((count, POINTS, 3))


def from_coco(points: NDArray[np.floating[Any]], score_threshold: float = SEEN_SCORE) -> People:
    """Reorder COCO's (P,17,3) or COCO-WholeBody's (P,133,3) points to (P,136,3).

    Points below `score_threshold` are dropped. The neck is the middle of the shoulders. The face's
    two pupils, which OpenPose has and COCO lacks, are the body's eyes, as in the DWPose tools.
    """
    people = empty_people(len(points))
    for ours, coco in enumerate(COCO_WHOLEBODY_TO_OPENPOSE):
        if coco is not None:
            people[:, ours] = points[:, coco]
    shoulders = points[:, 5:7]
    people[:, 1, :2] = shoulders[..., :2].mean(axis=1)
    people[:, 1, 2] = (shoulders[..., 2] > score_threshold).all(axis=1)
    if points.shape[1] > 17:
        for ours, coco in (*_COCO_PARTS, *_COCO_HANDS):
            people[:, ours] = points[:, coco]
        has_face = (people[:, FACE, 2] >= max(score_threshold, _LEAST_SCORE)).any(axis=1)
        people[has_face, 86:88] = people[has_face, 14:16]
    return scored(people, score_threshold)


def scored(people: People, score_threshold: float) -> People:
    """Return people (P,136,3) with (0,0,0) for points below `score_threshold`, or of none."""
    return np.where(people[..., 2:] >= max(score_threshold, _LEAST_SCORE), people, 0.0)


def only(frames: Sequence[Frame], *, body: bool, hands: bool, face: bool) -> list[Frame]:
    """Return the frames without the points of the parts that are switched off.

    Feet belong to the body. People stay in their places, even if nothing of them is left.
    """
    switches = (
        (BODY, body),
        (FEET, body),
        (FACE, face),
        (LEFT_HAND, hands),
        (RIGHT_HAND, hands),
    )
    off = [part for part, is_on in switches if not is_on]
    if not off:
        return list(frames)
    rest = [Frame(np.copy(frame.people), frame.height_px, frame.width_px) for frame in frames]
    for frame in rest:
        for part in off:
            frame.people[:, part] = 0
    return rest


def loads(text: bytes | str, *, width_px: int = 0, height_px: int = 0) -> list[Frame]:
    """Read frames from JSON text, a list of them or one; raise KeypointError for anything else.

    `width_px` and `height_px` are those of `parse`.
    """
    try:
        return parse(json.loads(text), width_px=width_px, height_px=height_px)
    except KeypointError:
        raise
    except RecursionError as error:
        raise KeypointError(
            "expected JSON with a list of frames, found JSON that is nested too deeply: save the"
            " keypoints again"
        ) from error
    except ValueError as error:  # broken JSON, broken UTF-8, a number of thousands of digits
        raise KeypointError(
            f"expected JSON with a list of frames, found text that is not JSON ({error}): save the"
            " keypoints again"
        ) from error


def dumps(frames: Sequence[Frame]) -> str:
    """Write frames as JSON text in POSE_KEYPOINT's format, one frame per line."""
    lines = [json.dumps(frame, allow_nan=False) for frame in encode(frames)]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def encode(frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """Write frames as POSE_KEYPOINT in pixels.

    Every list is full, with zeros for points that are not visible, as ComfyUI's nodes expect.
    """
    return [
        {
            "people": [_encode_person(person) for person in frame.people],
            "canvas_height": frame.height_px,
            "canvas_width": frame.width_px,
        }
        for frame in frames
    ]


def _encode_person(person: People) -> dict[str, list[float]]:
    return {name: np.reshape(person[part], -1).tolist() for name, part in PARTS.items()}


def parse(document: object, *, width_px: int = 0, height_px: int = 0) -> list[Frame]:
    """Read POSE_KEYPOINT, as any tool writes it, into frames.

    `width_px` and `height_px` are the canvas of frames that state none, as OpenPose's own do; 0
    refuses such frames. Raises KeypointError that names the frame and person, what was expected and
    what was found.
    """
    if isinstance(document, dict):
        document = [cast(object, document)]
    if not isinstance(document, (list, tuple)):
        raise KeypointError(
            f"expected a list of frames, found {_describe(document)}: connect a POSE_KEYPOINT"
        )
    frames = cast(Sequence[object], document)
    if not frames:
        raise KeypointError(
            "the list of frames is empty: expected at least one frame, connect keypoints that have"
            " one"
        )
    canvas = {"canvas_height": height_px, "canvas_width": width_px}
    parsed, people = list[Frame](), 0
    for index, frame in enumerate(frames):
        parsed.append(_parse_frame(frame, f"frame {index}", canvas))
        people += len(parsed[-1].people)
        if people > MAX_PEOPLE_OF_CLIP:
            expected = f"at most {MAX_PEOPLE_OF_CLIP:,} people in all frames together"
            raise _mismatch(f"frame {index}", expected, f"{people:,} up to here")
    return parsed


def _mismatch(where: str, expected: str, actual: str) -> KeypointError:
    """Make the error for keypoints that are not as expected at `where`."""
    return KeypointError(
        f"{where}: expected {expected}, found {actual}: check the file or the node that these"
        " keypoints come from"
    )


def _parse_frame(value: object, where: str, canvas: Mapping[str, int]) -> Frame:
    if not isinstance(value, Mapping):
        raise _mismatch(where, "a dict with people and a canvas", _describe(value))
    frame = cast(Mapping[str, object], value)
    _refuse_animals(frame, where)
    height_px, width_px = (_side(frame, name, where, canvas[name]) for name in canvas)
    persons = frame.get("people")
    if persons is None and "people" in frame:
        persons = []
    if not isinstance(persons, (list, tuple)):
        raise _mismatch(where, "a list under 'people'", _describe(persons))
    persons = cast(Sequence[object], persons)
    if len(persons) > MAX_PEOPLE:
        raise _mismatch(where, f"at most {MAX_PEOPLE:,} people", f"{len(persons):,}")
    people = empty_people(len(persons))
    for index, person in enumerate(persons):
        _parse_person(person, people[index], f"{where}, person {index}", (width_px, height_px))
    people = scored(people, 0.0)
    _refuse_far_points(people, height_px, width_px, where)
    return Frame(people, height_px, width_px)


def _refuse_animals(frame: Mapping[str, object], where: str) -> None:
    """Raise KeypointError for a frame of animals alone, as AnimalPose nodes write it."""
    if (
        "animals" in frame
        and not frame.get("people")
        and ("people" not in frame or frame["animals"])
    ):
        raise KeypointError(
            f"{where}: expected keypoints of people, found those of animals: their joints are other"
            " ones, and the pose ControlNets that these skeletons are for know people only, so"
            " connect the picture that the animals' own node draws"
        )


def _side(frame: Mapping[str, object], name: str, where: str, given_px: int) -> int:
    """Read a side of the canvas; `given_px` stands for one that is not stated."""
    side = frame.get(name)
    if side is None and given_px:
        return given_px
    if side is None and name not in frame:
        raise KeypointError(
            f"{where}: expected {name}, a whole number of pixels from 1 to {MAX_SIDE_PX}, found"
            " none: OpenPose's own files do not state the size of the picture, so load them with"
            " Load Pose and set its width and height to that size"
        )
    if (
        isinstance(side, bool)
        or not isinstance(side, (int, float))
        or not 1 <= side <= MAX_SIDE_PX
        or side != int(side)
    ):
        expected = f"{name}, a whole number of pixels from 1 to {MAX_SIDE_PX}"
        raise _mismatch(where, expected, _describe(side))
    return int(side)


def _parse_person(value: object, person: People, where: str, canvas_px: tuple[int, int]) -> None:
    """Fill `person` (136,3) from the lists of `value`; a list may be absent, null or empty.

    `canvas_px` is its width and height: whether a list is in pixels or in fractions of them is
    decided for each list.
    """
    if not isinstance(value, Mapping):
        raise _mismatch(where, "a dict of keypoint lists", _describe(value))
    lists = cast(Mapping[str, object], value)
    for name in PARTS:
        numbers = lists.get(name)
        if numbers is None or (isinstance(numbers, (list, tuple)) and not numbers):
            continue
        points = _parse_points(cast(object, numbers), f"{where}, {name}")
        source, target = _layout(name, len(points), where)
        if _is_in_fractions(points):
            with np.errstate(over="ignore"):  # what is too far away is refused later
                points[:, :2] *= canvas_px
        person[target] = points[source]


def _layout(name: str, count: int, where: str) -> PointMap:
    """Return which points of a list of `count` are which of `People`.

    Nothing joins the points of a face, so it may have any number: the first 70 places are filled,
    of more points 70 are taken at even distances.
    """
    if name == "face_keypoints_2d":
        places = FACE.stop - FACE.start
        if count <= places:
            return _point_map(range(count), range(FACE.start, FACE.start + count))
        even = (place * (count - 1) // (places - 1) for place in range(places))
        return _point_map(even, range(FACE.start, FACE.stop))
    layouts = LAYOUTS[name]
    if count in layouts:
        return layouts[count]
    counts = " or ".join(str(3 * count) for count in layouts)
    animal = " (17 points, as of COCO or of animals)" if count == 17 else ""
    expected = f"{counts} numbers (x, y, score)"
    raise _mismatch(f"{where}, {name}", expected, f"{3 * count}{animal}")


def _is_in_fractions(points: NDArray[np.float64]) -> bool:
    """Tell whether visible points (n,3) are in fractions of the canvas rather than in pixels."""
    places = points[points[:, 2] > 0, :2]
    places = places[places.any(axis=1)]  # (0, 0) is how tools write that a point is missing
    if not len(places):
        return False
    inside = ((places >= 0) & (places <= 1)).all(axis=1)
    return bool(np.abs(places).max() <= _FRACTIONS_UP_TO or inside.mean() >= _MOST)


def _parse_points(value: object, where: str) -> NDArray[np.float64]:
    """Turn a flat list of numbers into points (n,3)."""
    if not isinstance(value, (list, tuple)):
        raise _mismatch(where, "a list of numbers", _describe(value))
    numbers = cast(Sequence[object], value)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise _mismatch(where, "numbers only", _describe(number))
    if len(numbers) % 3:
        raise _mismatch(where, "x, y and score for every point", f"{len(numbers)} numbers")
    try:
        points = np.reshape(np.array(numbers, np.float64), (-1, 3))
    except OverflowError as error:
        raise _mismatch(where, "pixels", "a number that is too large to be a pixel") from error
    if not np.isfinite(points).all():
        raise _mismatch(where, "finite numbers", "NaN or infinity")
    return points


def _refuse_far_points(people: People, height_px: int, width_px: int, where: str) -> None:
    far = np.abs(people[..., :2]) > (_MAX_CANVASES * width_px, _MAX_CANVASES * height_px)
    if far.any():
        person, point, _ = np.argwhere(far)[0]
        x, y, _ = people[person, point]
        raise _mismatch(
            f"{where}, person {person}",
            f"points near the canvas of {width_px}x{height_px}",
            f"one at ({x:.4g}, {y:.4g})",
        )


def _describe(value: object) -> str:
    """Describe a value for a sentence, in a few words whatever its size."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 10**9:
        return "a very large number"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return f"the text {value[:20]!r}"
    return f"a {type(value).__name__}"
