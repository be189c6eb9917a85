"""Follow people over a clip: keep their order, choose the most prominent, smooth, fill gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .keypoints import BODY, Frame, People, empty_people

Points = NDArray[np.float64]
"""(T,136,3): one person in successive frames, in fractions of the canvas; (0,0,0) where a point is
not visible.
"""

Sightings = Mapping[int, People]
"""One person, (136,3) in fractions of the canvas, by the number of each frame that has them."""


class Track(NamedTuple):
    """One person in successive frames, from number `first` on."""

    first: int
    points: Points


SAME_PERSON = 0.6
"""How far a person may move between two detections, in multiples of their size."""


def steady(
    frames: Sequence[Frame], *, people: int = 0, smooth_frames: float = 0.0, fill_frames: int = 0
) -> list[Frame]:
    """List the people of a clip in one order throughout, and steady them on request.

    `people` keeps that many, the largest and longest visible (0 = all). Gaps of up to `fill_frames`
    frames, of a joint or of a whole person, are filled by linear interpolation. `smooth_frames` is
    the standard deviation of a Gaussian over time, in frames (0 = off); it acts on visible joints
    only and in both directions, so that nothing lags behind.
    """
    followed: list[Sightings] = follow(frames)
    if people:
        order = np.argsort([-prominence(seen) for seen in followed], kind="stable")
        chosen: list[int] = sorted(order[:people].tolist())
        followed = [followed[index] for index in chosen]
    apart = max(fill_frames + 1, _reach(smooth_frames))
    listed: list[list[People]] = [[] for _ in frames]
    for track in (track for seen in followed for track in tracks_of(seen, apart)):
        points = fill_gaps(track.points, fill_frames) if fill_frames else track.points
        points = smooth(points, smooth_frames) if smooth_frames else points
        for index, person in enumerate(points, track.first):
            if person[:, 2].any():
                listed[index].append(person.copy())  # a view would keep the whole track
    return [_frame(frame, persons) for frame, persons in zip(frames, listed, strict=True)]


def follow(frames: Sequence[Frame]) -> list[Sightings]:
    """Assign the people of every frame to tracks, the closest pair of track and person first."""
    sightings, latest = list[dict[int, People]](), list[People]()
    for index, frame in enumerate(frames):
        people = frame.people / (frame.width_px, frame.height_px, 1)
        track_of = _match(latest, people)
        for person, points in enumerate(people):
            if not points[:, 2].any():
                continue
            if person not in track_of:
                track_of[person] = len(sightings)
                sightings.append({})
                latest.append(points)
            sightings[track_of[person]][index] = latest[track_of[person]] = points
    return list[Sightings](sightings)


def tracks_of(seen: Sightings, apart: int) -> Iterator[Track]:
    """Split what was seen of a person where sightings are more than `apart` frames apart.

    So somebody who comes back an hour later takes memory for the frames that have them.
    """
    indices = sorted(seen)
    ends = [at for at, (one, next_) in enumerate(pairwise(indices), 1) if next_ - one > apart]
    for start, end in pairwise((0, *ends, len(indices))):
        first, last = indices[start], indices[end - 1]
        points = np.zeros((last - first + 1, *seen[first].shape))
        for index in indices[start:end]:
            points[index - first] = seen[index]
        yield Track(first, points)


def _match(latest: Sequence[People], people: People) -> dict[int, int]:
    """Map persons to tracks, one person to one track, by distance to each track's latest points."""
    pairs = [
        (distance(points, candidate), person, track)
        for person, candidate in enumerate(people)
        for track, points in enumerate(latest)
        if candidate[:, 2].any()
    ]
    track_of: dict[int, int] = {}
    for apart, person, track in sorted(pairs):
        if apart <= SAME_PERSON and person not in track_of and track not in track_of.values():
            track_of[person] = track
    return track_of


def distance(one: People, other: People) -> float:
    """Return the mean distance of the joints visible in both (136,3), in the larger one's size.

    It is infinite where no point is visible in both.
    """
    seen = (one[:, 2] > 0) & (other[:, 2] > 0)
    both = np.flatnonzero(seen[BODY]) if seen[BODY].any() else np.flatnonzero(seen)
    if not both.size:
        return np.inf
    away: NDArray[np.float64] = one[both, :2] - other[both, :2]
    apart = np.hypot(away[:, 0], away[:, 1]).mean()
    return float(apart / max(_size(one), _size(other), 1e-3))


def _size(person: People) -> float:
    """Return the diagonal of a person's bounding box, 0 where no point is visible."""
    seen = person[person[:, 2] > 0, :2]
    return float(np.hypot(*(seen.max(axis=0) - seen.min(axis=0)))) if len(seen) else 0.0


def prominence(seen: Sightings) -> float:
    """Return the sum of a person's squared sizes over the clip."""
    return sum(_size(person) ** 2 for person in seen.values())


def fill_gaps(track: Points, fill_frames: int) -> Points:
    """Fill each joint's gaps of up to that many frames by linear interpolation.

    The score of a filled point is the lower one of both ends.
    """
    track = np.copy(track)
    for point in range(track.shape[1]):
        visible = np.flatnonzero(track[:, point, 2] > 0)
        for before, after in pairwise(map(int, visible)):
            if 1 < (steps := after - before) <= fill_frames + 1:
                part = np.arange(1, steps)[:, None] / steps
                ends = track[[before, after], point]
                track[before + 1 : after, point] = (1 - part) * ends[0] + part * ends[1]
                track[before + 1 : after, point, 2] = ends[:, 2].min()
    return track


REACH = 9
"""Of a Gaussian, in standard deviations: what is beyond weighs less than rounding does."""
BLOCK = 256
"""Frames that are smoothed together: their weights are a table of BLOCK x (BLOCK + twice REACH)."""


def smooth(track: Points, sigma_frames: float) -> Points:
    """Average visible joints over time with Gaussian weights; leave the others as they are."""
    frames, seen = np.arange(len(track)), track[..., 2] > 0
    smoothed, reach = np.copy(track), _reach(sigma_frames)
    for first in range(0, len(track), BLOCK):
        at, near = slice(first, first + BLOCK), slice(max(0, first - reach), first + BLOCK + reach)
        weights = np.exp(-0.5 * ((frames[at, None] - frames[near]) / sigma_frames) ** 2)
        total = np.maximum(weights @ seen[near], 1e-12)
        for axis in (0, 1):
            mean = weights @ (track[near, :, axis] * seen[near]) / total
            smoothed[at, :, axis] = np.where(seen[at], mean, track[at, :, axis])
    return smoothed


def _reach(sigma_frames: float) -> int:
    return int(np.ceil(REACH * sigma_frames))


def _frame(frame: Frame, persons: Sequence[People]) -> Frame:
    scale = (frame.width_px, frame.height_px, 1)
    people = np.stack(persons) * scale if persons else empty_people()
    return Frame(people, frame.height_px, frame.width_px)
