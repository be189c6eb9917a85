"""Draw people as the pictures that pose ControlNets were trained on: skeletons on black."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .images import blank_hints, opencv, tensor_of
from .keypoints import (
    BODY,
    FACE,
    LEFT_HAND,
    LIMBS,
    RIGHT_HAND,
    SEEN_SCORE,
    Frame,
    KeypointError,
    People,
    encode,
    only,
    parse,
    scored,
)
from .spec import Progress
from .tracks import steady

STICK_WIDTHS = ("auto", "4", "xinsir")
MOST_PX = 8192
"""The longest side that Draw Pose offers for a hint."""

DRAWN_LIMBS = np.array(LIMBS[:17])
BONES = np.array([(0 if end % 4 == 1 else end - 1, end) for end in range(1, 21)])
"""(start, end) points of each bone of a hand: from the wrist up each finger."""

# Drawn as palette indices in one channel, which OpenCV does faster than in three. 0 is black.
_BODY_RGB = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)),
    *((0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)),
    *((0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
_LIMB_RGB = (np.array(_BODY_RGB) * 0.6).astype(int)
_BONE_RGB = 255 * np.array([colorsys.hsv_to_rgb(i / 20, 1, 1) for i in range(20)])
_ROWS = np.array([(0, 0, 0), *_BODY_RGB, *_LIMB_RGB, *_BONE_RGB, (0, 0, 255), (255, 255, 255)])
JOINT_COLOURS, LIMB_COLOURS, BONE_COLOURS = range(1, 19), range(19, 37), range(37, 57)
BLUE, WHITE = 57, 58
PALETTE = np.zeros((256, 3), np.float32)
"""Index → RGB in [0,1], each one of the 256 levels of 8-bit pictures."""
PALETTE[: len(_ROWS)] = np.rint(_ROWS).astype(np.float32) / np.float32(255)

_ANY_SCORE = 1e-9

Points = NDArray[np.int32]
Flags = NDArray[np.bool_]
Canvas = NDArray[np.uint8]
"""(H,W) palette indices."""


@dataclass(frozen=True)
class Brush:
    """Sizes in px: radii of limbs, joints and points; a width for the bones of hands."""

    limb_px: int = 4
    joint_px: int = 4
    bone_px: int = 2
    hand_px: int = 4
    face_px: int = 3

    @classmethod
    def for_canvas(cls, stick_width: str, height_px: int, width_px: int) -> Brush:
        """Choose the brush for a canvas of that size; raise ValueError for any other name.

        "4" is what ControlNet's own pose nets saw at 512. "xinsir" is what xinsir's SDXL nets saw:
        limbs and joints grow with the longer side. "auto" is 4 up to 512 and then grows with the
        shorter side, hands and faces too.
        """
        if stick_width == "4":
            return cls()
        if stick_width == "xinsir":
            longer = max(height_px, width_px)
            limb_px = 4 if longer < 500 else 4 * min(2 + longer // 1000, 7)
            return cls(limb_px=limb_px, joint_px=limb_px)
        if stick_width == "auto":
            unit = max(4, round(min(height_px, width_px) / 128))
            return cls(unit, unit, unit // 2, unit, unit * 3 // 4)
        raise ValueError(f"stick_width is {stick_width!r}: choose one of {', '.join(STICK_WIDTHS)}")


def draw_keypoints(
    pose_keypoint: object,
    *,
    width_px: int = 0,
    height_px: int = 0,
    score_threshold: float = SEEN_SCORE,
    people: int = 0,
    smooth_frames: float = 0.0,
    fill_frames: int = 0,
    body: bool = True,
    hands: bool = True,
    face: bool = True,
    stick_width: str = "auto",
    progress: Progress | None = None,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Draw POSE_KEYPOINT as hints (B,h,w,3) in [0,1], and return the people drawn.

    Points below `score_threshold` are dropped. A side of 0 px is that of the first frame's canvas.
    `people`, `smooth_frames` and `fill_frames` are those of `tracks.steady`. Raises KeypointError
    where the keypoints cannot be read.
    """
    frames = [
        Frame(scored(frame.people, score_threshold), frame.height_px, frame.width_px)
        for frame in parse(pose_keypoint)
    ]
    size = _size(frames[0], height_px, width_px)
    if people or smooth_frames or fill_frames:
        frames = steady(frames, people=people, smooth_frames=smooth_frames, fill_frames=fill_frames)
    frames = only(frames, body=body, hands=hands, face=face)
    hint = draw(frames, *size, stick_width=stick_width, seen_score=0.0, progress=progress)
    return hint, encode(frames)


def _size(frame: Frame, height_px: int, width_px: int) -> tuple[int, int]:
    """Return the size of the hints; raise KeypointError for a canvas that is too large for one."""
    size = (height_px or frame.height_px, width_px or frame.width_px)
    if max(size) > MOST_PX:
        raise KeypointError(
            f"the keypoints' canvas has {frame.width_px}x{frame.height_px} pixels, and hints may"
            f" have up to {MOST_PX} on a side: set width and height, which people are fitted to"
        )
    return size


def draw(
    frames: Sequence[Frame],
    height_px: int,
    width_px: int,
    *,
    body: bool = True,
    hands: bool = True,
    face: bool = True,
    stick_width: str = "auto",
    seen_score: float = SEEN_SCORE,
    progress: Progress | None = None,
) -> Tensor:
    """Draw the people of each frame as (B,height_px,width_px,3) float32 in [0,1].

    People are stretched from their canvas to that size. Points below `seen_score` are left out.
    Stick width "4" gives the same pixels as the ControlNet tools' OpenPose drawing (Z. Cao et al.,
    "OpenPose", 2018, as L. Zhang's ControlNet draws it).
    """
    brush, parts = Brush.for_canvas(stick_width, height_px, width_px), (body, hands, face)
    hints = blank_hints(len(frames), height_px, width_px)

    # Frames are painted one after the other: these calls are so short that two threads would spend
    # their time on handing over the interpreter's lock. Writing a hint's colours takes nearly as
    # long and is one long call: that happens on another thread meanwhile.
    with ThreadPoolExecutor(1, thread_name_prefix="skeletons") as pool:
        pending: list[Future[Any]] = []
        for index, (frame, hint) in enumerate(zip(frames, hints, strict=True)):
            if progress:
                progress(index, len(frames))
            canvas = np.zeros((height_px, width_px), np.uint8)
            scale = (width_px / frame.width_px, height_px / frame.height_px)
            paint(canvas, frame.people * (*scale, 1.0), brush, parts, seen_score)
            pending.append(pool.submit(colour, canvas, hint))
    for written in pending:
        written.result()

    if progress:
        progress(len(frames), len(frames))
    return tensor_of(hints)


def colour(canvas: Canvas, hint: NDArray[np.float32]) -> None:
    """Write the colours of palette indices (H,W) into `hint`, (H,W,3) RGB in [0,1]."""
    cv2 = opencv()
    # numpy's `take` needs three times as long.
    cv2.LUT(cv2.cvtColor(canvas, cv2.COLOR_GRAY2RGB), PALETTE[None], dst=hint)


def paint(
    canvas: Canvas, people: People, brush: Brush, parts: tuple[bool, bool, bool], seen_score: float
) -> None:
    """Paint people (P,136,3), in px of the canvas (H,W), onto it.

    `parts` switches body, hands and face, which are painted in this order person by person, so
    that the last person lies on top.
    """
    seen = people[..., 2] >= max(seen_score, _ANY_SCORE)
    corners = people[..., :2].astype(np.int32)  # truncated towards zero, as the tools do
    # The tools leave out a point of a hand or a face in the first row or column.
    inside = seen & (corners > 0).all(axis=-1)
    body, hands, face = parts
    bodies = _bodies(people, corners, seen) if body else []
    sides = (LEFT_HAND, RIGHT_HAND) if hands else ()
    hands_of = [_hands(corners[:, side], inside[:, side]) for side in sides]
    for person, points in enumerate(corners):
        if body:
            _draw_body(canvas, *bodies[person], brush)
        for hand in hands_of:
            _draw_hand(canvas, *hand[person], brush)
        if face:
            _draw_points(canvas, points[FACE][inside[person, FACE]], WHITE, brush.face_px)


Pixel = Sequence[int]
Limb = tuple[Pixel, int, float, float, int]
"""Middle, half the length in px, x and y from its end to its start in px, palette index."""
Joint = tuple[Pixel, int]
Bone = tuple[Pixel, Pixel, int]


def _bodies(people: People, corners: Points, seen: Flags) -> list[tuple[list[Limb], list[Joint]]]:
    """List the visible limbs and joints of each person.

    OpenCV takes lists of numbers faster than arrays.
    """
    start, end = people[:, DRAWN_LIMBS[:, 0], :2], people[:, DRAWN_LIMBS[:, 1], :2]
    across = start - end
    dx, dy = across[..., 0], across[..., 1]
    middles, halves = ((start + end) / 2).astype(int), ((dy**2 + dx**2) ** 0.5 / 2).astype(int)
    is_drawn = seen[:, DRAWN_LIMBS[:, 0]] & seen[:, DRAWN_LIMBS[:, 1]]
    limbs = _visible(is_drawn, middles, halves, dx, dy, colours=LIMB_COLOURS)
    joints = _visible(seen[:, BODY], corners[:, BODY], colours=JOINT_COLOURS)
    return [*zip(limbs, joints, strict=True)]


def _hands(points: Points, seen: Flags) -> list[tuple[list[Bone], Points]]:
    """List the visible bones and points of each person's hand from (P,21,2) and (P,21)."""
    start, end = BONES[:, 0], BONES[:, 1]
    bones = _visible(
        seen[:, start] & seen[:, end], points[:, start], points[:, end], colours=BONE_COLOURS
    )
    return [(lines, hand[flags]) for lines, hand, flags in zip(bones, points, seen, strict=True)]


def _visible(flags: Flags, *columns: NDArray[Any], colours: Sequence[int]) -> list[list[Any]]:
    """List, for each person, the rows of `columns` (P,n,...) whose flag (P,n) is set.

    Each row ends with its palette index.
    """
    people = zip(flags.tolist(), *(column.tolist() for column in columns), strict=True)
    return [[*compress(zip(*rows, colours, strict=False), seen)] for seen, *rows in people]


def _draw_body(canvas: Canvas, limbs: list[Limb], joints: list[Joint], brush: Brush) -> None:
    cv2 = opencv()
    outline_of, fill, circle = cv2.ellipse2Poly, cv2.fillConvexPoly, cv2.circle
    for middle, half_px, dx, dy, index in limbs:
        degrees = int(math.degrees(math.atan2(dy, dx)))
        fill(canvas, outline_of(middle, (half_px, brush.limb_px), degrees, 0, 360, 1), index)
    for point, index in joints:
        circle(canvas, point, brush.joint_px, index, -1)


def _draw_hand(canvas: Canvas, bones: list[Bone], points: Points, brush: Brush) -> None:
    line = opencv().line
    for start, end, index in bones:
        line(canvas, start, end, index, brush.bone_px)
    _draw_points(canvas, points, BLUE, brush.hand_px)


def _draw_points(canvas: Canvas, points: Points, index: int, radius_px: int) -> None:
    """Draw (n,2) as filled circles.

    A closed line of one point with round ends is OpenCV's circle of half its width, and one call
    draws all of them.
    """
    if len(points):
        opencv().polylines(canvas, np.reshape(points, (-1, 1, 1, 2)), True, index, 2 * radius_px)
