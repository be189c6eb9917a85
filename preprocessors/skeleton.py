"""People as the pictures that pose ControlNets were trained on: coloured limbs and joints, hands and faces on black."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .images import Frame8, opencv
from .keypoints import BODY, FACE, LEFT_HAND, RIGHT_HAND, SEEN_SCORE, Frame, People
from .spec import Progress

STICK_WIDTHS = ("auto", "4", "xinsir")

LIMBS = np.array(
    [(1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)]
    + [(1, 0), (0, 14), (14, 16), (0, 15), (15, 17)]
)
JOINT_COLOURS = (
    ((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85))
    + ((0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255))
    + ((255, 0, 255), (255, 0, 170), (255, 0, 85))
)
LIMB_COLOURS = tuple(tuple(int(level * 0.6) for level in colour) for colour in JOINT_COLOURS)
BONES = np.array([bone for root in range(1, 21, 4) for bone in ((0, root), *((root + i, root + i + 1) for i in range(3)))])
"""The bones of a hand: from the wrist up each finger."""
BONE_COLOURS = tuple(tuple(level * 255 for level in colorsys.hsv_to_rgb(bone / 20, 1.0, 1.0)) for bone in range(20))
BLUE, WHITE = (0, 0, 255), (255, 255, 255)

Points = NDArray[np.int32]


@dataclass(frozen=True)
class Brush:
    """Sizes in px. Limbs, joints and points are radii; a hand's bones are as wide as `bone_px`."""

    limb_px: int = 4
    joint_px: int = 4
    bone_px: int = 2
    hand_px: int = 4
    face_px: int = 3

    @classmethod
    def of(cls, stick_width: str, height_px: int, width_px: int) -> Brush:
        """The brush for a canvas of that size. Raises ValueError for a width that is no name of one.

        "4" is what ControlNet's own pose nets saw at 512. "xinsir" is what xinsir's SDXL nets saw: limbs and joints
        grow with the longer side. "auto" is 4 up to 512 and then grows with the shorter side, hands and faces too.
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
    """The people of each frame → (B,height_px,width_px,3) float32 in [0,1], drawn at that size whatever their canvas.

    The very pixels of the ControlNet tools' OpenPose drawing (Cao, "OpenPose", 2018, as Zhang's ControlNet draws it)
    for stick width "4". Points below `seen_score` are left out.
    """
    brush = Brush.of(stick_width, height_px, width_px)
    hints = np.zeros((len(frames), height_px, width_px, 3), np.float32)
    for index, frame in enumerate(frames):
        if progress:
            progress(index, len(frames))
        scale = (width_px / frame.width_px, height_px / frame.height_px)
        if len(frame.people):
            canvas = painted(_scaled(frame.people, scale), height_px, width_px, brush, (body, hands, face), seen_score)
            np.divide(canvas, np.float32(255), out=hints[index])
    if progress:
        progress(len(frames), len(frames))
    return torch.from_numpy(hints)  # pyright: ignore[reportUnknownMemberType]


def _scaled(people: People, scale: tuple[float, float]) -> People:
    return people if scale == (1.0, 1.0) else people * (*scale, 1.0)


def painted(
    people: People, height_px: int, width_px: int, brush: Brush, parts: tuple[bool, bool, bool], seen_score: float
) -> Frame8:
    """(P,136,3) in px of the canvas → (height_px,width_px,3) uint8. `parts` are body, hands and face, drawn so for each
    person before the next: who comes last lies on top."""
    canvas = np.zeros((height_px, width_px, 3), np.uint8)
    seen = people[..., 2] >= max(seen_score, 1e-9)
    corners = people[..., :2].astype(np.int32)  # truncated towards zero, as the tools do
    # The tools leave a hand's or a face's point out where it touches the first row or column.
    inside = seen & (corners > 0).all(axis=-1)
    body, hands, face = parts
    for person, points in enumerate(corners):
        if body:
            _limbs(canvas, people[person, BODY], seen[person], brush)
            _joints(canvas, points[BODY], seen[person], brush)
        if hands:
            _hand(canvas, points[LEFT_HAND], inside[person, LEFT_HAND], brush)
            _hand(canvas, points[RIGHT_HAND], inside[person, RIGHT_HAND], brush)
        if face:
            _dots(canvas, points[FACE][inside[person, FACE]], WHITE, brush.face_px)
    return canvas


def _limbs(canvas: Frame8, joints: People, seen: NDArray[np.bool_], brush: Brush) -> None:
    cv2 = opencv()
    there = np.flatnonzero(seen[LIMBS].all(axis=1))
    start, end = joints[LIMBS[there, 0], :2], joints[LIMBS[there, 1], :2]
    middles = ((start + end) / 2).astype(int).tolist()
    across = start - end
    halves = (((across[:, 1] ** 2 + across[:, 0] ** 2) ** 0.5) / 2).astype(int).tolist()
    for limb, middle, half_px, (dx, dy) in zip(there.tolist(), middles, halves, across.tolist(), strict=True):
        degrees = int(math.degrees(math.atan2(dy, dx)))
        outline = cv2.ellipse2Poly(middle, (half_px, brush.limb_px), degrees, 0, 360, 1)
        cv2.fillConvexPoly(canvas, outline, LIMB_COLOURS[limb])


def _joints(canvas: Frame8, points: Points, seen: NDArray[np.bool_], brush: Brush) -> None:
    cv2 = opencv()
    for point, colour, is_seen in zip(points.tolist(), JOINT_COLOURS, seen.tolist(), strict=False):
        if is_seen:
            cv2.circle(canvas, point, brush.joint_px, colour, -1)


def _hand(canvas: Frame8, points: Points, seen: NDArray[np.bool_], brush: Brush) -> None:
    if not seen.any():
        return
    cv2 = opencv()
    there = np.flatnonzero(seen[BONES].all(axis=1))
    for bone, (start, end) in zip(there.tolist(), points[BONES[there]].tolist(), strict=True):
        cv2.line(canvas, start, end, BONE_COLOURS[bone], brush.bone_px)
    _dots(canvas, points[seen], BLUE, brush.hand_px)


def _dots(canvas: Frame8, points: Points, colour: tuple[int, int, int], radius_px: int) -> None:
    """(n,2) as filled circles. A closed line of one point with round ends is OpenCV's circle of half its width, and one
    call draws them all."""
    if len(points):
        opencv().polylines(canvas, points.reshape(-1, 1, 1, 2), True, colour, 2 * radius_px)
