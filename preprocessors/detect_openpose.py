"""Find people as OpenPose does: joints by heat, limbs by part affinities.

Joints are peaks of heat maps, limbs run where affinities lead from one to the other; hands and
faces are searched in crops around wrists and noses. Equals the decoding of the ControlNet tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage as _ndimage  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from .images import Frame8, opencv, side_by_side, tensor_of
from .keypoints import FACE, LEFT_HAND, LIMBS, RIGHT_HAND, Frame, People, nobody
from .spec import Networks, Progress, Weights

AFFINITIES = (
    *(
        (12, 13),
        (20, 21),
        (14, 15),
        (16, 17),
        (22, 23),
        (24, 25),
        (0, 1),
        (2, 3),
        (4, 5),
        (6, 7),
        (8, 9),
        (10, 11),
    ),
    *((28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27)),
)
"""The channels that hold x and y of each limb's affinity."""
CONFIRMING = 17
"""From this limb on, none begins a new person."""

DECODED_SIDE_PX = 512
"""Shorter side at which maps are decoded, at most: what the tools detect at. 57 maps of a larger
one fill memory.
"""
BODY_HEIGHT_PX, STRIDE_PX = 184, 8
BODY_WIDTH_PX = 8 * BODY_HEIGHT_PX
"""What the network sees is at most this wide: a long thin picture would grow without end."""
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
    """Hold a person while limbs are joined.

    `joints` are the peak of each joint (-1: none); `score` and `parts` decide in the end whether
    this is a person.
    """

    joints: NDArray[np.intp] = field(default_factory=lambda: np.full(18, -1))
    score: float = 0.0
    parts: int = 0


def detect(
    frames: Sequence[Frame8],
    networks: Networks,
    weights: tuple[Weights, Weights, Weights],
    *,
    hands: bool,
    face: bool,
    progress: Progress | None = None,
) -> list[Frame]:
    """Find the people of RGB frames of one size; every point that is there has the score 1.

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
    people = [Frame(points, *size) for points in bodies(bgr, networks, weights[0], progress)]
    if hands:
        _add_hands(bgr, people, networks, weights[1])
    if face:
        _add_faces(bgr, people, networks, weights[2])
    back = (full[1] / size[1], full[0] / size[0], 1.0)
    return [Frame(frame.people * back, *full) for frame in people]


def bodies(
    frames: Sequence[Frame8], networks: Networks, weights: Weights, progress: Progress | None = None
) -> list[People]:
    """Find the people of BGR frames of one size, with their body joints alone."""
    height, width = frames[0].shape[:2]
    factor = min(BODY_HEIGHT_PX / height, BODY_WIDTH_PX / width)
    inputs = [_padded(resized_by(frame, factor), STRIDE_PX) for frame in frames]
    batch = _network_input([padded for padded, _ in inputs])
    outputs = networks.run(
        weights, batch, _forward, px_per_frame=batch.shape[2] * batch.shape[3], progress=progress
    )
    assert isinstance(outputs, tuple)
    affinities, heat = (np.ascontiguousarray(maps.movedim(1, 3).numpy()) for maps in outputs)
    people = [nobody()] * len(frames)

    def decode(index: int) -> None:
        grown = [
            _grown(maps[index], inputs[index][1], (height, width)) for maps in (heat, affinities)
        ]
        people[index] = people_of(*grown)

    side_by_side(decode, len(frames), None)
    return people


def people_of(heat: Map, affinities: Map) -> People:
    """Decode heat (H,W,19) and affinities (H,W,38) into people (P,136,3)."""
    peaks = [peaks_of(heat[..., joint].astype(np.float64)) for joint in range(18)]
    first = np.cumsum([0, *(len(peak) for peak in peaks)])
    every = np.concatenate(peaks)
    everyone: list[_Person] = []
    for limb, (start, end) in enumerate(LIMBS):
        links = linked(peaks[start], peaks[end], affinities[..., AFFINITIES[limb]])
        for start_peak, end_peak, score in links:
            _join(
                everyone, limb, start_peak + first[start], end_peak + first[end], score, every[:, 2]
            )
    real = [
        person for person in everyone if person.parts >= 4 and person.score / person.parts >= 0.4
    ]
    people = nobody(len(real))
    for index, person in enumerate(real):
        seen = np.flatnonzero(person.joints >= 0)
        people[index, seen, :2] = every[person.joints[seen], :2]
        people[index, seen, 2] = 1
    return people


def peaks_of(heat: Map) -> NDArray[np.float64]:
    """Find peaks of heat (H,W): x, y and heat (n,3) of points that no neighbour exceeds.

    The heat is blurred first; neighbours are the four beside a point.
    """
    blurred = ndimage.gaussian_filter(heat, sigma=SIGMA_PX)
    around = np.pad(blurred, 1)
    neighbours = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    is_peak: NDArray[np.bool_] = np.all(
        [blurred > PEAK, *(blurred >= neighbour for neighbour in neighbours)], axis=0
    )
    y, x = np.nonzero(is_peak)
    return np.stack([x, y, heat[y, x]], axis=1).astype(np.float64)


def linked(
    starts: NDArray[np.float64], ends: NDArray[np.float64], affinity: Map
) -> list[tuple[int, int, float]]:
    """Link peaks (n,3) and (m,3) by an affinity (H,W,2): (start, end, score), best first.

    Each peak belongs to one limb at most.
    """
    if not len(starts) or not len(ends):
        return []
    way = ends[None, :, :2] - starts[:, None, :2]
    length = np.maximum(np.sqrt((way**2).sum(axis=-1)), 0.001)
    points = np.linspace(
        starts[:, None, :2] + 0 * way, starts[:, None, :2] + way, STEPS
    )  # (10,n,m,2), x first
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


def _join(
    everyone: list[_Person], limb: int, a: int, b: int, score: float, heat: NDArray[np.float64]
) -> None:
    """Add a limb to its person, merge two people that it joins, or begin a new person."""
    start, end = LIMBS[limb]
    owners = [
        person for person in everyone if person.joints[start] == a or person.joints[end] == b
    ][:2]
    if not owners:
        if limb < CONFIRMING:
            person = _Person(score=float(heat[a] + heat[b]) + score, parts=2)
            person.joints[[start, end]] = a, b
            everyone.append(person)
        return
    person = owners[0]
    if len(owners) == 2 and not ((person.joints >= 0) & (owners[1].joints >= 0)).any():
        person.joints = np.maximum(person.joints, owners[1].joints)
        person.score += owners[1].score + score
        person.parts += owners[1].parts
        everyone[:] = [other for other in everyone if other is not owners[1]]
    elif len(owners) == 2 or person.joints[end] != b:
        person.joints[end] = b
        person.parts += 1
        person.score += float(heat[b]) + score


# Hands and faces


def hand_squares(person: People, height_px: int, width_px: int) -> dict[str, Square]:
    """Locate the hands of a person (136,3): beyond the wrist, by a third of the forearm.

    Keys are "left" and "right".
    """
    squares: dict[str, Square] = {}
    for side, (shoulder, elbow, wrist) in {"left": (5, 6, 7), "right": (2, 3, 4)}.items():
        if not person[[shoulder, elbow, wrist], 2].all():
            continue
        forearm, upper_arm = (
            person[wrist, :2] - person[elbow, :2],
            person[elbow, :2] - person[shoulder, :2],
        )
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
    """Locate the face of a person (136,3): around the nose, as far as eyes and ears reach."""
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
    # As the tools do it: only a face whose half leaves the picture is cut.
    across = width_px - x if x + width > width_px else 2 * width
    down = height_px - y if y + width > height_px else 2 * width
    side = min(across, down)
    return (int(x), int(y), int(side)) if side >= SMALLEST_CROP_PX else None


def _length(vector: NDArray[np.float64]) -> float:
    return float((vector[0] ** 2 + vector[1] ** 2) ** 0.5)


def _add_hands(
    frames: Sequence[Frame8], results: Sequence[Frame], networks: Networks, weights: Weights
) -> None:
    cv2 = opencv()
    wanted = [
        (frame, person, part, square)
        for frame, result in enumerate(results)
        for person, points in enumerate(result.people)
        for part, square in hand_squares(points, result.height_px, result.width_px).items()
    ]
    if not wanted:
        return
    crops = [
        cv2.GaussianBlur(_crop(frames[frame], square), (0, 0), 0.8)
        for frame, _, _, square in wanted
    ]
    heat = sum(_hand_heat(crops, side, networks, weights) for side in HAND_SIDES_PX)
    assert not isinstance(heat, int)
    for (frame, person, part, square), maps in zip(wanted, heat, strict=True):
        results[frame].people[person, LEFT_HAND if part == "left" else RIGHT_HAND] = hand_points(
            maps, square
        )


def _hand_heat(crops: Sequence[Frame8], side_px: int, networks: Networks, weights: Weights) -> Map:
    """Compute (n,128,128,21): a quarter of the network's heat for the crops at that size."""
    batch = _network_input([resized(crop, side_px, side_px) for crop in crops])
    heat = networks.run(weights, batch, _forward, px_per_frame=side_px**2)
    assert isinstance(heat, Tensor)
    maps = heat[:, :21].movedim(1, 3).numpy()
    whole = (HAND_MAP_PX, HAND_MAP_PX)
    return np.stack(
        [
            _grown(one, (side_px, side_px), whole).astype(np.float64) / len(HAND_SIDES_PX)
            for one in maps
        ]
    )


def hand_points(heat: Map, square: Square) -> People:
    """Read (21,3) in px from heat (128,128,21): each map's hottest point of its hottest island."""
    x, y, side = square
    points = np.zeros((21, 3))
    for point in range(21):
        islands, count = ndimage.label(
            ndimage.gaussian_filter(heat[..., point], sigma=SIGMA_PX) > HAND_PEAK, np.ones((3, 3))
        )
        if not count:
            continue
        hottest = 1 + int(
            np.argmax(ndimage.sum_labels(heat[..., point], islands, range(1, count + 1)))
        )
        row, column = np.unravel_index(
            np.argmax(np.where(islands == hottest, heat[..., point], 0)), islands.shape
        )
        down, across = int(float(row) * side / HAND_MAP_PX), int(float(column) * side / HAND_MAP_PX)
        if (
            down and across
        ):  # the tools cannot tell the first row and column from a point that is not there
            points[point] = x + across, y + down, 1
    return points


def _add_faces(
    frames: Sequence[Frame8], results: Sequence[Frame], networks: Networks, weights: Weights
) -> None:
    wanted = [
        (frame, person, square)
        for frame, result in enumerate(results)
        for person, points in enumerate(result.people)
        if (square := face_square(points, result.height_px, result.width_px))
    ]
    if not wanted:
        return
    crops = [_crop(frames[frame], square) for frame, _, square in wanted]
    batch = _network_input([resized(crop, FACE_SIDE_PX, FACE_SIDE_PX) for crop in crops])
    heat = networks.run(weights, batch, _forward, px_per_frame=FACE_SIDE_PX**2)
    assert isinstance(heat, Tensor)
    for (frame, person, (x, y, _)), crop, maps in zip(wanted, crops, heat, strict=True):
        results[frame].people[person, FACE] = face_points(maps, x, y, crop.shape[:2])


def face_points(heat: Tensor, x: int, y: int, size: tuple[int, int]) -> People:
    """Read (70,3) in px from heat (71,h,w): each map's hottest point.

    The crop has that `size` and lies at (x, y). The background's map, which the tools draw too, is
    left out.
    """
    maps = (
        F.interpolate(heat[None, :70], size, mode="bilinear", align_corners=True)[0]
        .flatten(1)
        .numpy()
    )
    hottest = maps.argmax(axis=1)
    down, across = np.divmod(hottest, size[1])
    seen = (maps.max(axis=1) > FACE_PEAK) & (across > 0) & (down > 0)
    return np.stack([x + across, y + down, np.ones(70)], axis=1) * seen[:, None]


# Sizes, as the tools have them


def resized(frame: NDArray[Any], height_px: int, width_px: int) -> NDArray[Any]:
    """Resize (H,W,C) to (height_px,width_px,C).

    Lanczos where the sum of the sides grows, area where it shrinks. More than four channels go one
    by one.
    """
    cv2 = opencv()
    shrinks = height_px + width_px < frame.shape[0] + frame.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    if frame.shape[2] <= 4:
        return cv2.resize(frame, (width_px, height_px), interpolation=how)
    channels = (frame[..., channel] for channel in range(frame.shape[2]))
    return np.stack(
        [cv2.resize(one, (width_px, height_px), interpolation=how) for one in channels], axis=2
    )


def resized_by(frame: NDArray[Any], factor: float) -> NDArray[Any]:
    """Scale both sides of (H,W,C) by `factor`, truncated; the method is chosen before that."""
    cv2 = opencv()
    height, width = frame.shape[0] * factor, frame.shape[1] * factor
    how = cv2.INTER_AREA if (height + width) / sum(frame.shape[:2]) < 1 else cv2.INTER_LANCZOS4
    return cv2.resize(frame, (max(1, int(width)), max(1, int(height))), interpolation=how)


def _padded(frame: Frame8, multiple: int) -> tuple[Frame8, tuple[int, int]]:
    """Pad a frame with grey at the right and below, and return its own size too."""
    height, width = frame.shape[:2]
    grown = np.full(
        (-(-height // multiple) * multiple, -(-width // multiple) * multiple, 3), 128, np.uint8
    )
    grown[:height, :width] = frame
    return grown, (height, width)


def _grown(maps: Map, inner: tuple[int, int], size: tuple[int, int]) -> Map:
    """Enlarge maps (h,w,C) of an eighth of the padded frame to the picture's (H,W,C)."""
    eightfold = resized(maps, maps.shape[0] * STRIDE_PX, maps.shape[1] * STRIDE_PX)
    return resized(np.ascontiguousarray(eightfold[: inner[0], : inner[1]]), *size)


def _crop(frame: Frame8, square: Square) -> Frame8:
    x, y, side = square
    return np.ascontiguousarray(frame[y : y + side, x : x + side])


def _network_input(frames: Sequence[Frame8]) -> Tensor:
    """Stack frames (h,w,3) as (n,3,h,w) in [-0.5,0.5)."""
    return tensor_of(np.stack(frames)).movedim(3, 1).float() / 256 - 0.5


def _forward(net: torch.nn.Module, frames: Tensor) -> Tensor | tuple[Tensor, ...]:
    return net(frames.to(next(net.parameters()).dtype))
