"""Detect people bottom-up as OpenPose does: joints first, then limbs, hands and faces.

Joints are peaks of heatmaps, limbs follow the part affinity fields between two joints; hands and
faces are detected in crops around wrists and noses. Equals the ControlNet tools' decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage as _ndimage  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from .images import Frame8, opencv, side_by_side, tensor_of
from .keypoints import FACE, LEFT_HAND, LIMBS, RIGHT_HAND, Frame, People, empty_people
from .spec import Networks, Progress, Weights

AFFINITIES = (
    *((12, 13), (20, 21), (14, 15), (16, 17), (22, 23), (24, 25)),
    *((0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)),
    *((28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27)),
)
"""The channels with x and y of each limb's affinity, in the order of `LIMBS`."""
CONFIRMING = 17
"""This limb and later ones extend a person but do not begin one."""

DECODED_SIDE_PX = 512
"""Maximum of the shorter side at which maps are decoded, as in the tools: 57 maps of a larger
picture would fill memory.
"""
BODY_HEIGHT_PX, STRIDE_PX = 184, 8
BODY_WIDTH_PX = 8 * BODY_HEIGHT_PX
"""Maximum width of the network's input, so that a long thin picture does not grow without bound."""
PEAK, ALONG_LIMB, SIGMA_PX, STEPS = 0.1, 0.05, 3.0, 10
HAND_SIDES_PX, HAND_MAP_PX, HAND_PEAK = (184, 368, 552, 736), 128, 0.05
FACE_SIDE_PX, FACE_PEAK = 384, 0.05
SMALLEST_CROP_PX = 20

ndimage: Any = _ndimage
Map = NDArray[np.floating[Any]]
Square = tuple[int, int, int]
"""x, y and side in px."""


@dataclass
class _Person:
    """A person under assembly: the peak of each joint (-1 = none), and sums that rate it."""

    joints: NDArray[np.intp] = field(default_factory=lambda: np.full(18, -1))
    score: float = 0.0
    parts: int = 0

    @property
    def is_plausible(self) -> bool:
        """Tell whether enough joints and limbs are certain enough."""
        return self.parts >= 4 and self.score / self.parts >= 0.4


def detect(
    frames: Sequence[Frame8],
    networks: Networks,
    weights: tuple[Weights, Weights, Weights],
    *,
    hands: bool,
    face: bool,
    progress: Progress | None = None,
) -> list[Frame]:
    """Detect the people of RGB frames of one size; visible points have the score 1.

    `weights` are those of body, hand and face. Raises what `networks` raises.
    """
    cv2 = opencv()
    full = frames[0].shape[:2]
    shrink = min(1.0, DECODED_SIDE_PX / min(full))
    size = tuple(max(1, round(side * shrink)) for side in full)
    small = [
        frame if size == full else cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        for frame in frames
    ]
    bgr = [np.ascontiguousarray(frame[..., ::-1]) for frame in small]
    detected = [
        Frame(people, *size) for people in detect_bodies(bgr, networks, weights[0], progress)
    ]
    if hands:
        _add_hands(bgr, detected, networks, weights[1])
    if face:
        _add_faces(bgr, detected, networks, weights[2])
    scale = (full[1] / size[1], full[0] / size[0], 1.0)
    return [Frame(frame.people * scale, *full) for frame in detected]


def detect_bodies(
    frames: Sequence[Frame8], networks: Networks, weights: Weights, progress: Progress | None = None
) -> list[People]:
    """Detect the joints of the people of each BGR frame; the frames have one size."""
    height, width = frames[0].shape[:2]
    factor = min(BODY_HEIGHT_PX / height, BODY_WIDTH_PX / width)
    inputs = [_padded(resized_by(frame, factor), STRIDE_PX) for frame in frames]
    batch = _network_input([padded for padded, _ in inputs])
    outputs = networks.run(
        weights, batch, _forward, px_per_frame=batch.shape[2] * batch.shape[3], progress=progress
    )
    assert isinstance(outputs, tuple)
    affinities, heat = (np.ascontiguousarray(maps.movedim(1, 3).numpy()) for maps in outputs)
    people = [empty_people()] * len(frames)

    def decode(index: int) -> None:
        inner, size = inputs[index][1], (height, width)
        people[index] = decode_people(
            _enlarge(heat[index], inner, size), _enlarge(affinities[index], inner, size)
        )

    side_by_side(decode, len(frames), None)
    return people


def decode_people(heat: Map, affinities: Map) -> People:
    """Assemble people (P,136,3) from heatmaps (H,W,19) and part affinity fields (H,W,38)."""
    by_joint = [find_peaks(heat[..., joint].astype(np.float64)) for joint in range(18)]
    first = np.cumsum([0, *(len(peaks) for peaks in by_joint)])
    peaks = np.concatenate(by_joint)
    persons: list[_Person] = []
    for limb, (start, end) in enumerate(LIMBS):
        limbs = find_limbs(by_joint[start], by_joint[end], affinities[..., AFFINITIES[limb]])
        for a, b, score in limbs:
            _add_limb(persons, limb, a + first[start], b + first[end], score, peaks[:, 2])
    persons = [person for person in persons if person.is_plausible]
    people = empty_people(len(persons))
    for index, person in enumerate(persons):
        seen = np.flatnonzero(person.joints >= 0)
        people[index, seen, :2] = peaks[person.joints[seen], :2]
        people[index, seen, 2] = 1
    return people


def find_peaks(heat: Map) -> NDArray[np.float64]:
    """Find the local maxima of the blurred map (H,W): x, y and unblurred heat of each, (n,3).

    A maximum is not smaller than its four neighbours.
    """
    blurred = ndimage.gaussian_filter(heat, sigma=SIGMA_PX)
    around = np.pad(blurred, 1)
    neighbours = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    is_peak: NDArray[np.bool_] = np.all(
        [blurred > PEAK, *(blurred >= neighbour for neighbour in neighbours)], axis=0
    )
    y, x = np.nonzero(is_peak)
    return np.stack([x, y, heat[y, x]], axis=1).astype(np.float64)


def find_limbs(
    starts: NDArray[np.float64], ends: NDArray[np.float64], affinity: Map
) -> list[tuple[int, int, float]]:
    """Match peaks (n,3) with peaks (m,3) along the field (H,W,2): (start, end, score), best first.

    Every peak is part of one limb at most.
    """
    if not len(starts) or not len(ends):
        return []
    way = ends[None, :, :2] - starts[:, None, :2]
    length = np.maximum(np.sqrt((way**2).sum(axis=-1)), 0.001)
    begin = starts[:, None, :2]
    points = np.linspace(begin + 0 * way, begin + way, STEPS)  # (10,n,m,2), x first
    pixels: NDArray[np.intp] = np.rint(points).astype(int)
    x, y = pixels[..., 0], pixels[..., 1]
    direction = way / length[..., None]
    along = affinity[y, x, 0] * direction[..., 0] + affinity[y, x, 1] * direction[..., 1]
    # Limbs longer than half of the picture are unlikely.
    score = along.sum(axis=0) / STEPS + np.minimum(0.5 * affinity.shape[0] / length - 1, 0)
    possible = ((along > ALONG_LIMB).sum(axis=0) > 0.8 * STEPS) & (score > 0)
    return _best_pairs(score, possible)


def _best_pairs(
    score: NDArray[np.float64], possible: NDArray[np.bool_]
) -> list[tuple[int, int, float]]:
    start, end = np.nonzero(possible)
    order = np.argsort(-score[start, end], kind="stable")
    free_start, free_end = [True] * score.shape[0], [True] * score.shape[1]
    pairs: list[tuple[int, int, float]] = []
    for a, b in zip(start[order].tolist(), end[order].tolist(), strict=True):
        if free_start[a] and free_end[b]:
            free_start[a] = free_end[b] = False
            pairs.append((a, b, float(score[a, b])))
    return pairs


def _add_limb(
    persons: list[_Person], limb: int, a: int, b: int, score: float, heat: NDArray[np.float64]
) -> None:
    """Add the limb between peaks `a` and `b` to the person who has one of them.

    Two persons who have one each are merged; where nobody has either, a new person begins.
    """
    start, end = LIMBS[limb]
    matches = (person for person in persons if person.joints[start] == a or person.joints[end] == b)
    owners = [*islice(matches, 2)]
    if not owners:
        if limb < CONFIRMING:
            person = _Person(score=float(heat[a] + heat[b]) + score, parts=2)
            person.joints[[start, end]] = a, b
            persons.append(person)
        return
    person = owners[0]
    if len(owners) == 2 and not ((person.joints >= 0) & (owners[1].joints >= 0)).any():
        person.joints = np.maximum(person.joints, owners[1].joints)
        person.score += owners[1].score + score
        person.parts += owners[1].parts
        persons[:] = [other for other in persons if other is not owners[1]]
    elif len(owners) == 2 or person.joints[end] != b:
        person.joints[end] = b
        person.parts += 1
        person.score += float(heat[b]) + score


# Hands and faces


def hand_squares(person: People, height_px: int, width_px: int) -> dict[str, Square]:
    """Return where a person (136,3) must have the "left" and the "right" hand.

    A hand is expected a third of the forearm beyond the wrist; squares under SMALLEST_CROP_PX are
    left out.
    """
    squares: dict[str, Square] = {}
    for side, (shoulder, elbow, wrist) in {"left": (5, 6, 7), "right": (2, 3, 4)}.items():
        if not person[[shoulder, elbow, wrist], 2].all():
            continue
        forearm = person[wrist, :2] - person[elbow, :2]
        upper_arm = person[elbow, :2] - person[shoulder, :2]
        width = 1.5 * max(_length(forearm), 0.9 * _length(upper_arm))
        x, y = (person[wrist, :2] + 0.33 * forearm - width / 2).clip(0).tolist()
        width = min(
            width,
            width_px - x if x + width > width_px else width,
            height_px - y if y + width > height_px else width,
        )
        if width >= SMALLEST_CROP_PX:
            squares[side] = int(x), int(y), int(width)
    return squares


def face_square(person: People, height_px: int, width_px: int) -> Square | None:
    """Return where a person (136,3) must have the face: around the nose, sized by eyes and ears."""
    nose = person[0]
    reach = [
        float(np.abs(person[joint, :2] - nose[:2]).max()) * times
        for joint, times in ((14, 3.0), (15, 3.0), (16, 1.5), (17, 1.5))
        if person[joint, 2]
    ]
    if not nose[2] or not reach:
        return None
    width = max(reach)
    x, y = (nose[:2] - width).clip(0).tolist()
    # As in the tools: only a face of which half leaves the picture is cut.
    across = width_px - x if x + width > width_px else 2 * width
    down = height_px - y if y + width > height_px else 2 * width
    side = min(across, down)
    return (int(x), int(y), int(side)) if side >= SMALLEST_CROP_PX else None


def _length(vector: NDArray[np.float64]) -> float:
    return float((vector[0] ** 2 + vector[1] ** 2) ** 0.5)


def _add_hands(
    frames: Sequence[Frame8], detected: Sequence[Frame], networks: Networks, weights: Weights
) -> None:
    """Detect the hands of all people and write them into `detected`."""
    cv2 = opencv()
    places = [
        (index, person, hand, square)
        for index, frame in enumerate(detected)
        for person, points in enumerate(frame.people)
        for hand, square in hand_squares(points, frame.height_px, frame.width_px).items()
    ]
    if not places:
        return
    cut = (_crop(frames[index], square) for index, _, _, square in places)
    crops = [cv2.GaussianBlur(crop, (0, 0), 0.8) for crop in cut]
    heat = sum(_hand_heat(crops, side, networks, weights) for side in HAND_SIDES_PX)
    assert not isinstance(heat, int)
    for (index, person, hand, square), maps in zip(places, heat, strict=True):
        part = LEFT_HAND if hand == "left" else RIGHT_HAND
        detected[index].people[person, part] = decode_hand(maps, square)


def _hand_heat(crops: Sequence[Frame8], side_px: int, networks: Networks, weights: Weights) -> Map:
    """Return heatmaps of the crops at that size, (n,128,128,21), as one term of the mean."""
    batch = _network_input([resized(crop, side_px, side_px) for crop in crops])
    heat = networks.run(weights, batch, _forward, px_per_frame=side_px**2)
    assert isinstance(heat, Tensor)
    maps = heat[:, :21].movedim(1, 3).numpy()
    inner, size = (side_px, side_px), (HAND_MAP_PX, HAND_MAP_PX)
    enlarged = (_enlarge(each, inner, size).astype(np.float64) for each in maps)
    return np.stack([each / len(HAND_SIDES_PX) for each in enlarged])


def decode_hand(heat: Map, square: Square) -> People:
    """Decode heatmaps (128,128,21) to points (21,3) in px of the picture.

    A point is the maximum of its map within the connected region of the largest sum.
    """
    x, y, side = square
    points = np.zeros((21, 3))
    for point in range(21):
        of_point = heat[..., point]
        blurred = ndimage.gaussian_filter(of_point, sigma=SIGMA_PX)
        regions, count = ndimage.label(blurred > HAND_PEAK, np.ones((3, 3)))
        if not count:
            continue
        sums = ndimage.sum_labels(of_point, regions, range(1, count + 1))
        inside = np.where(regions == 1 + int(np.argmax(sums)), of_point, 0)
        row, column = np.unravel_index(np.argmax(inside), regions.shape)
        down, across = int(float(row) * side / HAND_MAP_PX), int(float(column) * side / HAND_MAP_PX)
        # The tools cannot tell the first row and column from a point that is not visible.
        if down and across:
            points[point] = x + across, y + down, 1
    return points


def _add_faces(
    frames: Sequence[Frame8], detected: Sequence[Frame], networks: Networks, weights: Weights
) -> None:
    """Detect the faces of all people and write them into `detected`."""
    places = [
        (index, person, square)
        for index, frame in enumerate(detected)
        for person, points in enumerate(frame.people)
        if (square := face_square(points, frame.height_px, frame.width_px))
    ]
    if not places:
        return
    crops = [_crop(frames[index], square) for index, _, square in places]
    batch = _network_input([resized(crop, FACE_SIDE_PX, FACE_SIDE_PX) for crop in crops])
    heat = networks.run(weights, batch, _forward, px_per_frame=FACE_SIDE_PX**2)
    assert isinstance(heat, Tensor)
    for (index, person, (x, y, _)), crop, maps in zip(places, crops, heat, strict=True):
        detected[index].people[person, FACE] = decode_face(maps, x, y, crop.shape[:2])


def decode_face(heat: Tensor, x: int, y: int, size: tuple[int, int]) -> People:
    """Decode heatmaps (71,h,w) of a crop of `size` at (x, y) to points (70,3) in px of the picture.

    A point is the maximum of its map. The map of the background, which the tools draw too, is left
    out.
    """
    enlarged = F.interpolate(heat[None, :70], size, mode="bilinear", align_corners=True)
    maps = enlarged[0].flatten(1).numpy()
    down, across = np.divmod(maps.argmax(axis=1), size[1])
    seen = (maps.max(axis=1) > FACE_PEAK) & (across > 0) & (down > 0)
    return np.stack([x + across, y + down, np.ones(70)], axis=1) * seen[:, None]


# Sizes, as the tools have them


def resized(frame: NDArray[Any], height_px: int, width_px: int) -> NDArray[Any]:
    """Resize (H,W,C) to (height_px,width_px,C), any C.

    By Lanczos where the sum of the sides grows, by area where it shrinks.
    """
    cv2 = opencv()
    shrinks = height_px + width_px < frame.shape[0] + frame.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    size = (width_px, height_px)
    if frame.shape[2] <= 4:  # OpenCV's limit
        return cv2.resize(frame, size, interpolation=interpolation)
    channels = (frame[..., channel] for channel in range(frame.shape[2]))
    return np.stack([cv2.resize(each, size, interpolation=interpolation) for each in channels], 2)


def resized_by(frame: NDArray[Any], factor: float) -> NDArray[Any]:
    """Resize both sides of (H,W,C) by `factor`, truncated; the filter is chosen before that."""
    cv2 = opencv()
    height, width = frame.shape[0] * factor, frame.shape[1] * factor
    shrinks = (height + width) / sum(frame.shape[:2]) < 1
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    return cv2.resize(frame, (max(1, int(width)), max(1, int(height))), interpolation=interpolation)


def _padded(frame: Frame8, multiple: int) -> tuple[Frame8, tuple[int, int]]:
    """Pad the frame with grey at the right and the bottom; return it with its own size."""
    height, width = frame.shape[:2]
    size = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
    padded = np.full((*size, 3), 128, np.uint8)
    padded[:height, :width] = frame
    return padded, (height, width)


def _enlarge(maps: Map, inner: tuple[int, int], size: tuple[int, int]) -> Map:
    """Enlarge maps (h,w,C) at an eighth of the padded frame, crop to `inner`, resize to `size`."""
    eightfold = resized(maps, maps.shape[0] * STRIDE_PX, maps.shape[1] * STRIDE_PX)
    return resized(np.ascontiguousarray(eightfold[: inner[0], : inner[1]]), *size)


def _crop(frame: Frame8, square: Square) -> Frame8:
    x, y, side = square
    return np.ascontiguousarray(frame[y : y + side, x : x + side])


def _network_input(frames: Sequence[Frame8]) -> Tensor:
    """Stack frames (h,w,3) in 0..255 to (n,3,h,w) in [-0.5,0.5)."""
    return tensor_of(np.stack(frames)).movedim(3, 1).float() / 256 - 0.5


def _forward(net: torch.nn.Module, frames: Tensor) -> Tensor | tuple[Tensor, ...]:
    return net(frames.to(next(net.parameters()).dtype))
