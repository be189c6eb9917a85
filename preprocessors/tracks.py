"""Follow people over a clip: who is who, who matters most, steady joints without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .keypoints import BODY, Frame, People, nobody

Track = NDArray[np.float64]
"""(T,136,3): one person in every frame, in fractions of the canvas; (0,0,0) where a point is not
seen.
"""

SAME_PERSON = 0.6
"""How far somebody may move from one sight to the next, as a part of their size, and still be the
same.
"""


def steady(
    frames: Sequence[Frame], *, people: int = 0, smooth_frames: float = 0.0, fill_frames: int = 0
) -> list[Frame]:
    """Put the people of a clip into one order, choose among them, and smooth them.

    `people` keeps that many, the largest and longest seen (0: all). Gaps of up to `fill_frames`
    frames, of a joint or of a whole person, are filled in a straight line. `smooth_frames` is the
    standard deviation of a Gaussian over time, in frames (0: none); it acts on seen joints alone
    and looks both ways, so nothing lags behind.
    """
    tracks: list[Track] = followed(frames)
    if people:
        chosen = sorted(
            np.argsort([-prominence(track) for track in tracks], kind="stable")[:people].tolist()
        )
        tracks = [tracks[index] for index in chosen]
    if fill_frames:
        tracks = [filled(track, fill_frames) for track in tracks]
    if smooth_frames:
        tracks = [smoothed(track, smooth_frames) for track in tracks]
    return [_frame(index, frame, tracks) for index, frame in enumerate(frames)]


def followed(frames: Sequence[Frame]) -> list[Track]:
    """Follow each person through the frames, matching the closest pairs first."""
    tracks, last = list[Track](), list[People]()
    for index, frame in enumerate(frames):
        seen = frame.people / (frame.width_px, frame.height_px, 1)
        matched = _matched(last, seen)
        for person, points in enumerate(seen):
            if not points[:, 2].any():
                continue
            if person not in matched:
                matched[person] = len(tracks)
                tracks.append(np.zeros((len(frames), *points.shape)))
                last.append(points)
            tracks[matched[person]][index] = last[matched[person]] = points
    return tracks


def _matched(last: Sequence[People], seen: People) -> dict[int, int]:
    """Match each person of a frame with an earlier track; each track is used once."""
    far = [
        (distance(earlier, points), person, track)
        for person, points in enumerate(seen)
        for track, earlier in enumerate(last)
        if points[:, 2].any()
    ]
    matched: dict[int, int] = {}
    for apart, person, track in sorted(far):
        if apart <= SAME_PERSON and person not in matched and track not in matched.values():
            matched[person] = track
    return matched


def distance(one: People, other: People) -> float:
    """Measure how far two sights of a person lie apart, as a part of the larger one's size.

    The mean over the joints that both show; infinite where they share none.
    """
    seen = (one[:, 2] > 0) & (other[:, 2] > 0)
    both = np.flatnonzero(seen[BODY]) if seen[BODY].any() else np.flatnonzero(seen)
    if not both.size:
        return np.inf
    away: NDArray[np.float64] = one[both, :2] - other[both, :2]
    apart = np.hypot(away[:, 0], away[:, 1]).mean()
    return float(apart / max(_size(one), _size(other), 1e-3))


def _size(person: People) -> float:
    """Measure the diagonal of a person's box."""
    seen = person[person[:, 2] > 0, :2]
    return float(np.hypot(*(seen.max(axis=0) - seen.min(axis=0)))) if len(seen) else 0.0


def prominence(track: Track) -> float:
    """Measure how much of the clip a person fills."""
    return sum(_size(sight) ** 2 for sight in track)


def filled(track: Track, fill_frames: int) -> Track:
    """Fill every joint's gaps of up to that many frames in a straight line.

    A filled joint is as sure as the weaker of the two sights beside it.
    """
    track = np.copy(track)
    for point in range(track.shape[1]):
        at = np.flatnonzero(track[:, point, 2] > 0)
        for before, after in pairwise(map(int, at)):
            if 1 < (steps := after - before) <= fill_frames + 1:
                part = np.arange(1, steps)[:, None] / steps
                ends = track[[before, after], point]
                track[before + 1 : after, point] = (1 - part) * ends[0] + part * ends[1]
                track[before + 1 : after, point, 2] = ends[:, 2].min()
    return track


def smoothed(track: Track, sigma_frames: float) -> Track:
    """Smooth joints to the Gaussian mean of their sights; unseen joints stay unseen."""
    frames, seen = np.arange(len(track)), track[..., 2] > 0
    nearness = np.exp(-0.5 * ((frames[:, None] - frames) / sigma_frames) ** 2)
    total = nearness @ seen
    smooth = np.copy(track)
    for axis in (0, 1):
        mean = nearness @ (track[..., axis] * seen) / np.maximum(total, 1e-12)
        smooth[..., axis] = np.where(seen, mean, track[..., axis])
    return smooth


def _frame(index: int, frame: Frame, tracks: Sequence[Track]) -> Frame:
    there = [track[index] for track in tracks if track[index, :, 2].any()]
    people = np.stack(there) * (frame.width_px, frame.height_px, 1) if there else nobody()
    return Frame(people, frame.height_px, frame.width_px)
