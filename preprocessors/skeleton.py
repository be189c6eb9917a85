"""Draw people as pose ControlNets were trained to read them.

Coloured limbs and joints, hands and faces on black.
"""

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

from .images import opencv, tensor_of
from .keypoints import BODY, FACE, LEFT_HAND, LIMBS, RIGHT_HAND, SEEN_SCORE, Frame, People
from .spec import Progress

STICK_WIDTHS = ("auto", "4", "xinsir")

DRAWN_LIMBS = np.array(LIMBS[:17])
BONES = np.array(
    [
        bone
        for root in range(1, 21, 4)
        for bone in ((0, root), *((root + i, root + i + 1) for i in range(3)))
    ]
)
"""The bones of a hand: from the wrist up each finger."""

# Painted by number, in one channel: OpenCV does it faster than in three. A number is a row of the
# palette; 0 is black.
_BODY_RGB = (
    *(
        (255, 0, 0),
        (255, 85, 0),
        (255, 170, 0),
        (255, 255, 0),
        (170, 255, 0),
        (85, 255, 0),
        (0, 255, 0),
    ),
    *(
        (0, 255, 85),
        (0, 255, 170),
        (0, 255, 255),
        (0, 170, 255),
        (0, 85, 255),
        (0, 0, 255),
        (85, 0, 255),
    ),
    *((170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
_ROWS = (
    (0, 0, 0),
    *_BODY_RGB,
    *((int(red * 0.6), int(green * 0.6), int(blue * 0.6)) for red, green, blue in _BODY_RGB),
    *(
        (255 * red, 255 * green, 255 * blue)
        for red, green, blue in (colorsys.hsv_to_rgb(i / 20, 1, 1) for i in range(20))
    ),
    (0, 0, 255),
    (255, 255, 255),
)
JOINT_PAINTS, LIMB_PAINTS, BONE_PAINTS = range(1, 19), range(19, 37), range(37, 57)
BLUE, WHITE = 57, 58
PALETTE = np.zeros((256, 3), np.float32)
"""Number → RGB in [0,1], each of the 256 levels that 8-bit pictures have."""
PALETTE[: len(_ROWS)] = np.rint(_ROWS).astype(np.float32) / np.float32(255)

_ANY_SCORE = 1e-9

Points = NDArray[np.int32]
Flags = NDArray[np.bool_]
Canvas = NDArray[np.uint8]
"""(H,W) numbers of paints."""


@dataclass(frozen=True)
class Brush:
    """Hold sizes in px: radii of limbs, joints and points, and the width of a hand's bones."""

    limb_px: int = 4
    joint_px: int = 4
    bone_px: int = 2
    hand_px: int = 4
    face_px: int = 3

    @classmethod
    def of(cls, stick_width: str, height_px: int, width_px: int) -> Brush:
        """Choose the brush for a canvas of that size.

        "4" is what ControlNet's own pose nets saw at 512. "xinsir" is what xinsir's SDXL nets saw:
        limbs and joints grow with the longer side. "auto" is 4 up to 512 and then grows with the
        shorter side, hands and faces too. Raises ValueError for any other name.
        """
        if stick_width == "4":
            return cls()
        if stick_width == "xinsir":
            longer = max(height_px, width_px)
            thick = 4 if longer < 500 else 4 * min(2 + longer // 1000, 7)
            return cls(limb_px=thick, joint_px=thick)
        if stick_width == "auto":
            unit = max(4, round(min(height_px, width_px) / 128))
            return cls(unit, unit, unit // 2, unit, unit * 3 // 4)
        raise ValueError(f"stick_width is {stick_width!r}: choose one of {', '.join(STICK_WIDTHS)}")


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
    """Draw the people of each frame: (B,height_px,width_px,3) float32 in [0,1].

    They are drawn at that size whatever their canvas. With stick width "4" the pixels equal the
    ControlNet tools' OpenPose drawing (Cao, "OpenPose", 2018, as Zhang's ControlNet draws it).
    Points below `seen_score` are left out.
    """
    brush, parts = Brush.of(stick_width, height_px, width_px), (body, hands, face)
    hints = np.empty((len(frames), height_px, width_px, 3), np.float32)

    # Painted one after the other: these calls are so short that two threads would spend their time
    # on handing over the lock. A hint's memory and its colours take nearly as long and are one long
    # call: that happens beside the painting.
    with ThreadPoolExecutor(1, thread_name_prefix="hints of people") as beside:
        written: list[Future[Any]] = []
        for index, (frame, hint) in enumerate(zip(frames, hints, strict=True)):
            if progress:
                progress(index, len(frames))
            canvas = np.zeros((height_px, width_px), np.uint8)
            scale = (width_px / frame.width_px, height_px / frame.height_px)
            paint(canvas, frame.people * (*scale, 1.0), brush, parts, seen_score)
            written.append(beside.submit(colour, canvas, hint))
    for each in written:
        each.result()

    if progress:
        progress(len(frames), len(frames))
    return tensor_of(hints)


def colour(canvas: Canvas, hint: NDArray[np.float32]) -> None:
    """Write (H,W) numbers of paints into `hint` as (H,W,3) RGB in [0,1].

    numpy's `take` is three times as slow.
    """
    cv2 = opencv()
    cv2.LUT(cv2.cvtColor(canvas, cv2.COLOR_GRAY2RGB), PALETTE[None], dst=hint)


def paint(
    canvas: Canvas, people: People, brush: Brush, parts: tuple[bool, bool, bool], seen_score: float
) -> None:
    """Paint people (P,136,3), in px, onto a canvas (H,W).

    `parts` are body, hands and face, drawn for each person before the next: the last person lies on
    top.
    """
    seen = people[..., 2] >= max(seen_score, _ANY_SCORE)
    corners = people[..., :2].astype(np.int32)  # truncated towards zero, as the tools do
    # The tools leave a hand's or a face's point out where it touches the first row or column.
    inside = seen & (corners > 0).all(axis=-1)
    body, hands, face = parts
    bodies = _bodies(people, corners, seen) if body else []
    pairs = (
        [_hands(corners[:, hand], inside[:, hand]) for hand in (LEFT_HAND, RIGHT_HAND)]
        if hands
        else []
    )
    for person, points in enumerate(corners):
        if body:
            _draw_body(canvas, *bodies[person], brush)
        for hand in pairs:
            _draw_hand(canvas, *hand[person], brush)
        if face:
            _dots(canvas, points[FACE][inside[person, FACE]], WHITE, brush.face_px)


Pixel = Sequence[int]
Limb = tuple[Pixel, int, float, float, int]
"""Middle, half length in px, from its end to its start in px, paint."""
Joint = tuple[Pixel, int]
Bone = tuple[Pixel, Pixel, int]


def _bodies(people: People, corners: Points, seen: Flags) -> list[tuple[list[Limb], list[Joint]]]:
    """List each person's limbs and joints; OpenCV takes lists faster than arrays."""
    start, end = people[:, DRAWN_LIMBS[:, 0], :2], people[:, DRAWN_LIMBS[:, 1], :2]
    across = start - end
    dx, dy = across[..., 0], across[..., 1]
    middles, halves = ((start + end) / 2).astype(int), ((dy**2 + dx**2) ** 0.5 / 2).astype(int)
    drawn = seen[:, DRAWN_LIMBS[:, 0]] & seen[:, DRAWN_LIMBS[:, 1]]
    limbs = _where(drawn, middles, halves, dx, dy, paints=LIMB_PAINTS)
    return [*zip(limbs, _where(seen[:, BODY], corners[:, BODY], paints=JOINT_PAINTS), strict=True)]


def _hands(points: Points, seen: Flags) -> list[tuple[list[Bone], Points]]:
    """List each person's bones and points of a hand, from points (P,21,2) and flags (P,21)."""
    start, end = BONES[:, 0], BONES[:, 1]
    bones = _where(
        seen[:, start] & seen[:, end], points[:, start], points[:, end], paints=BONE_PAINTS
    )
    return [(lines, there[flags]) for lines, there, flags in zip(bones, points, seen, strict=True)]


def _where(there: Flags, *columns: NDArray[Any], paints: Sequence[int]) -> list[list[Any]]:
    """List each person's rows whose flag (P,n) is set, each with its paint at the end."""
    persons = zip(there.tolist(), *(column.tolist() for column in columns), strict=True)
    return [[*compress(zip(*rows, paints, strict=False), flags)] for flags, *rows in persons]


def _draw_body(canvas: Canvas, limbs: list[Limb], joints: list[Joint], brush: Brush) -> None:
    cv2 = opencv()
    outline_of, fill, circle = cv2.ellipse2Poly, cv2.fillConvexPoly, cv2.circle
    for middle, half_px, dx, dy, number in limbs:
        degrees = int(math.degrees(math.atan2(dy, dx)))
        fill(canvas, outline_of(middle, (half_px, brush.limb_px), degrees, 0, 360, 1), number)
    for point, number in joints:
        circle(canvas, point, brush.joint_px, number, -1)


def _draw_hand(canvas: Canvas, bones: list[Bone], points: Points, brush: Brush) -> None:
    line = opencv().line
    for start, end, number in bones:
        line(canvas, start, end, number, brush.bone_px)
    _dots(canvas, points, BLUE, brush.hand_px)


def _dots(canvas: Canvas, points: Points, number: int, radius_px: int) -> None:
    """Draw points (n,2) as filled circles.

    A closed line of one point with round ends is OpenCV's circle of half its width, and one call
    draws them all.
    """
    if len(points):
        opencv().polylines(canvas, np.reshape(points, (-1, 1, 1, 2)), True, number, 2 * radius_px)
