"""People as keypoints and as pictures: drawn as controlnet_aux draws them, read as any tool writes them."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from pack.preprocessors import keypoints, skeleton
from pack.preprocessors.keypoints import BODY, FACE, LEFT_HAND, RIGHT_HAND, Frame, KeypointError
from workbench import references

PARTS = {"body": BODY, "face": FACE, "left": LEFT_HAND, "right": RIGHT_HAND}


@pytest.fixture(scope="module")
def open_pose():
    with references.controlnet_aux("open_pose", "open_pose.body") as (module, _):
        yield module


def somebody(rng: np.random.Generator) -> np.ndarray:
    """(136,3) in fractions: joints missing at random, hands and faces missing as a whole too, some out of the picture."""
    person = np.zeros((136, 3))
    middle, size = rng.random(2), rng.uniform(0.01, 0.3)
    for part, spread in (BODY, 1), (FACE, 0.3), (LEFT_HAND, 0.3), (RIGHT_HAND, 0.3):
        if part == BODY or rng.random() < 0.7:
            shape = person[part].shape[:1]
            person[part, :2] = middle + rng.normal(size=(*shape, 2)) * size * spread
            person[part, 2] = rng.random(shape) > rng.choice([0, 0.2, 0.6])
    person[person[:, 2] == 0] = 0
    return person


def as_theirs(open_pose, person: np.ndarray):
    """The person in controlnet_aux's classes: None for what the body lacks, -1 for what hands and faces lack."""
    body = open_pose.body

    def points(part, lacking):
        seen = [body.Keypoint(x, y) if score else lacking for x, y, score in person[part]]
        return seen if person[part, 2].any() else None

    joints = [body.Keypoint(x, y) if score else None for x, y, score in person[BODY]]
    away = body.Keypoint(-1, -1)
    rest = points(LEFT_HAND, away), points(RIGHT_HAND, away), points(FACE, away)
    return open_pose.PoseResult(body.BodyResult(joints, 1, 18), *rest)


# Drawing


@pytest.mark.parametrize("size", [(512, 512), (1024, 1024), (384, 640)], ids=str)
def test_two_hundred_people_are_drawn_as_the_tools_draw_them(open_pose, size):
    rng = np.random.default_rng(sum(size))
    people = [somebody(rng) for _ in range(200)]
    crowds = [people[first : first + count] for first, count in ((0, 1), (1, 1), *((n, 6) for n in range(2, 200, 6)))]
    height, width = size
    for crowd in crowds:
        theirs = open_pose.draw_poses([as_theirs(open_pose, person) for person in crowd], height, width)
        # In pixels as the tools find them, so that both truncate the very same numbers.
        frame = Frame(np.stack(crowd) * (width, height, 1), height, width)
        ours = skeleton.draw([frame], height, width, stick_width="4")[0].numpy() * 255
        assert np.array_equal(ours.round(), theirs)
        assert np.abs(ours - theirs).max() < 1e-4
    assert theirs.any()


@pytest.mark.parametrize(("body", "hands", "face"), [(True, False, False), (False, True, False), (False, False, True)])
def test_parts_are_drawn_on_their_own(open_pose, body, hands, face):
    rng = np.random.default_rng(1)
    crowd = [somebody(rng) for _ in range(20)]
    theirs = open_pose.draw_poses([as_theirs(open_pose, person) for person in crowd], 256, 320, body, hands, face)
    frame = Frame(np.stack(crowd) * (320, 256, 1), 256, 320)
    ours = skeleton.draw([frame], 256, 320, body=body, hands=hands, face=face, stick_width="4")
    assert np.array_equal((ours[0].numpy() * 255).round(), theirs)
