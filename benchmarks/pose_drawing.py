"""Time drawing skeletons, sixteen people on each of sixteen frames, against controlnet_aux.

Both end in a float tensor of hints. The reference is the function that users run, which takes the
colours of fingers from matplotlib.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from workbench import reference_nets

from . import timing

FRAMES, PEOPLE = 16, 16


def crowd(seed: int, side_px: int) -> np.ndarray:
    """Make keypoints of random people, (16,136,3) in px.

    They are an eighth to a half of the picture tall, with hands and faces to scale.
    """
    from pack.preprocessors import keypoints

    rng = np.random.default_rng(seed)
    people = np.ones((PEOPLE, 136, 3))
    size = rng.uniform(0.04, 0.15, (PEOPLE, 1, 1))
    spread = np.full((136, 1), 0.25)
    spread[keypoints.BODY] = 1
    people[..., :2] = rng.random((PEOPLE, 1, 2)) + rng.normal(size=(PEOPLE, 136, 2)) * size * spread
    return people * (side_px, side_px, 1)


def rivals(open_pose: Any, side_px: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return ours and theirs over the same people, after checking that both draw the same."""
    from pack.preprocessors import keypoints, skeleton

    frames = [keypoints.Frame(crowd(seed, side_px), side_px, side_px) for seed in range(FRAMES)]
    their_frames = [
        [as_theirs(open_pose, person, side_px) for person in frame.people] for frame in frames
    ]

    def ours() -> torch.Tensor:
        return skeleton.draw(frames, side_px, side_px, stick_width="4")

    def theirs() -> torch.Tensor:
        drawn = [open_pose.draw_poses(people, side_px, side_px) for people in their_frames]
        return torch.from_numpy(np.stack(drawn)).float() / 255

    assert torch.equal(ours(), theirs()), "our hint differs from controlnet_aux's"
    return ours, theirs


def as_theirs(open_pose: Any, person: np.ndarray, side_px: int) -> Any:
    from pack.preprocessors.keypoints import BODY, FACE, LEFT_HAND, RIGHT_HAND

    body = open_pose.body
    points = [body.Keypoint(x / side_px, y / side_px) for x, y, _ in person]
    return open_pose.PoseResult(
        body.BodyResult(points[BODY], 1.0, 18), points[LEFT_HAND], points[RIGHT_HAND], points[FACE]
    )


def run(args: argparse.Namespace) -> None:
    rows = []
    with reference_nets.controlnet_aux("open_pose", "open_pose.body") as (open_pose, _):
        for side_px in (512, 1024):
            ours, theirs = rivals(open_pose, side_px)
            times = timing.paired(ours, theirs, repeats=5 if args.quick else 21)
            name = f"{PEOPLE} people on {FRAMES} x {side_px}²"
            rows.append((name, times.ours_ms, times.reference_ms, f"{1 / times.ratio.median:.2f}"))
    print(
        timing.table(("drawing skeletons", "ours, ms", "controlnet_aux, ms", "times as fast"), rows)
    )
