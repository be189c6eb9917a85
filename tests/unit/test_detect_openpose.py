"""Test OpenPose's networks and decoding against controlnet_aux, with the same random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pack.preprocessors import detect_openpose, keypoints
from pack.preprocessors.build import InMemory
from pack.preprocessors.keypoints import FACE, LEFT_HAND, RIGHT_HAND, Frame
from pack.preprocessors.nets import openpose as nets
from pack.preprocessors.spec import Weights
from workbench import reference_nets

pytestmark = pytest.mark.slow  # networks at their published size


@pytest.fixture(scope="module")
def theirs():
    with reference_nets.controlnet_aux("open_pose", "open_pose.model", "open_pose.face") as modules:
        yield modules[0]


def shared(ours: torch.nn.Module, reference: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Fill both networks with random weights that keep signals alive through thirty layers."""
    state = {}
    for name, tensor in ours.state_dict().items():
        scale = (2 / tensor[0].numel()) ** 0.5 if tensor.ndim == 4 else 0.01
        state[name] = torch.randn_like(tensor) * scale
    ours.load_state_dict(state)
    ours.eval()
    prefixed = {
        key: state[".".join(key.split(".")[1:])] if key.startswith("model") else state[key]
        for key in reference.state_dict()
    }
    reference.load_state_dict(prefixed)
    reference.eval()
    assert len(prefixed) == len(state)
    return state


@pytest.mark.parametrize(
    ("net", "module", "name"),
    [
        (nets.BodyNet, "model", "bodypose_model"),
        (nets.HandNet, "model", "handpose_model"),
        (nets.FaceNet, "face", "FaceNet"),
    ],
    ids=["body", "hand", "face"],
)
@torch.inference_mode()
def test_the_networks_equal_the_reference(theirs, net, module, name):
    ours, reference = net(), getattr(getattr(theirs, module), name)()
    shared(ours, reference)
    picture = torch.rand(2, 3, 48, 64) - 0.5
    expected, actual = reference(picture), ours(picture)
    if name == "FaceNet":
        expected = expected[-1]
    for theirs_map, our_map in zip(maps_of(expected), maps_of(actual), strict=True):
        assert theirs_map.std() > 1e-3
        torch.testing.assert_close(our_map, theirs_map, rtol=1e-5, atol=1e-6)


def maps_of(outputs) -> tuple[torch.Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


# Decoding. The maps come from stand-ins for the networks, so that there are people in them.


class Stub(torch.nn.Module):
    """Give the maps of `maps(height, width)`, at an eighth of the picture, whatever it shows."""

    def __init__(self, maps):
        super().__init__()
        self.maps, self.anchor = maps, torch.nn.Parameter(torch.zeros(1))

    def forward(self, frames):
        maps = self.maps(frames.shape[2] // 8, frames.shape[3] // 8)
        return maps if isinstance(maps, (tuple, list)) else maps.expand(len(frames), -1, -1, -1)


def crowd_maps(
    rng: np.random.Generator, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make affinities (1,38,h,w) and heatmaps (1,19,h,w) of two to four people.

    Some joints are hidden, some limbs cross.
    """
    heat, affinity = np.zeros((19, height, width)), np.zeros((38, height, width))
    rows, columns = np.mgrid[:height, :width]
    neck_and_arms = (0, -9), (0, -6), (-3, -6), (-5, -3), (-6, 0), (3, -6), (5, -3), (6, 0)
    legs = (-2, 0), (-2, 4), (-2, 8), (2, 0), (2, 4), (2, 8)
    eyes_and_ears = (-1, -10), (1, -10), (-2, -9.5), (2, -9.5)
    joints_of_one = np.array([*neck_and_arms, *legs, *eyes_and_ears])
    for _ in range(rng.integers(2, 5)):
        middle = rng.uniform((5, 10), (width - 5, height - 9))
        joints = middle + joints_of_one * rng.uniform(0.7, 1.1) + rng.normal(size=(18, 2)) * 0.4
        there = rng.random(18) > 0.12
        for joint, (x, y) in enumerate(joints):
            if there[joint]:
                bump = rng.uniform(0.5, 1) * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 1.5)
                heat[joint] = np.maximum(heat[joint], bump)
        for limb, (a, b) in enumerate(keypoints.LIMBS):
            way = joints[b] - joints[a]
            length = np.hypot(*way)
            along = ((columns - joints[a, 0]) * way[0] + (rows - joints[a, 1]) * way[1]) / length
            aside = (
                np.abs((columns - joints[a, 0]) * way[1] - (rows - joints[a, 1]) * way[0]) / length
            )
            on = (along > -1) & (along < length + 1) & (aside < 1.2)
            for channel, part in zip(detect_openpose.AFFINITIES[limb], way / length, strict=True):
                affinity[channel][on] = part * rng.uniform(0.6, 1)
    heat += rng.random(heat.shape) * 0.03
    affinity += rng.normal(size=affinity.shape) * 0.02
    return torch.from_numpy(affinity[None]).float(), torch.from_numpy(heat[None]).float()


class ABSENT:
    x = y = -1.0


def row(name: str) -> Weights:
    return Weights(name, "", torch.nn.Identity, "")


def their_body(theirs, stub):
    body = object.__new__(theirs.Body)
    body.model = stub
    return body


@pytest.mark.parametrize("seed", range(20))
def test_decoded_people_equal_the_reference(theirs, seed):
    rng = np.random.default_rng(seed)
    size = [(368, 496), (256, 420), (512, 400), (200, 300)][seed % 4]
    picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    maps = crowd_maps(rng, 23, -(-int(size[1] * 184 / size[0]) // 8))
    stub = Stub(lambda height, width: maps)
    reference = their_body(theirs, stub)
    expected = reference.format_body_result(*reference(picture))
    people = detect_openpose.detect_bodies([picture], InMemory({"body": stub}), row("body"))[0]
    assert len(people) == len(expected) > 0
    for person, their_person in zip(people, expected, strict=True):
        joints = [(point.x, point.y, 1) if point else (0, 0, 0) for point in their_person.keypoints]
        assert np.array_equal(person[:18], joints)


def person_at(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    person = np.zeros((136, 3))
    middle = rng.uniform((0.2, 0.2), (0.8, 0.8)) * (width, height)
    person[:18, :2] = (middle + rng.normal(size=(18, 2)) * 0.12 * height).round()
    person[:18, 2] = rng.random(18) > 0.1
    person[person[:, 2] == 0] = 0
    return person


def as_theirs(theirs, person):
    return theirs.body.BodyResult(
        [theirs.body.Keypoint(x, y) if seen else None for x, y, seen in person[:18]], 1, 18
    )


@pytest.mark.quick
def test_hands_and_faces_are_searched_where_the_reference_searches(theirs):
    rng = np.random.default_rng(0)
    counts = {"left": 0, "right": 0, "face": 0}
    for _ in range(300):
        person = person_at(rng, 400, 500)
        picture = np.zeros((400, 500, 3), np.uint8)
        ours = detect_openpose.hand_squares(person, 400, 500)
        expected = theirs.util.handDetect(as_theirs(theirs, person), picture)
        assert [(*square, side == "left") for side, square in ours.items()] == expected
        face = detect_openpose.face_square(person, 400, 500)
        assert face == theirs.util.faceDetect(as_theirs(theirs, person), picture)
        for name in [*ours, *(["face"] if face else [])]:
            counts[name] += 1
    assert min(counts.values()) > 50


def has_hands_and_face(person: np.ndarray) -> bool:
    return (
        len(detect_openpose.hand_squares(person, 300, 360)) == 2
        and detect_openpose.face_square(person, 300, 360) is not None
    )


def smooth_maps(count: int, seed: int, gain: float):
    coarse = torch.rand(1, count, 5, 5, generator=torch.Generator().manual_seed(seed)) ** 4 * gain
    return lambda height, width: torch.nn.functional.interpolate(
        coarse, (height, width), mode="bicubic"
    )


@pytest.mark.parametrize("seed", range(4))
def test_hands_and_faces_equal_the_reference(theirs, seed):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (300, 360, 3), dtype=np.uint8)
    hand, face = Stub(smooth_maps(22, seed, 0.3)), Stub(smooth_maps(71, seed, 0.3))
    detector = theirs.OpenposeDetector(
        None, object.__new__(theirs.hand.Hand), object.__new__(theirs.face.Face)
    )
    detector.hand_estimation.model = hand
    detector.face_estimation.model = lambda frames: [face(frames)]
    detector.face_estimation.model.parameters = face.parameters
    networks = InMemory({"hand": hand, "face": face})
    person = next(
        person for _ in range(999) if has_hands_and_face(person := person_at(rng, 300, 360))
    )
    frame = Frame(person[None], 300, 360)
    detect_openpose._add_hands([picture], [frame], networks, row("hand"))
    detect_openpose._add_faces([picture], [frame], networks, row("face"))
    body = as_theirs(theirs, frame.people[0])
    left, right = detector.detect_hands(body, picture)
    expected = (
        (LEFT_HAND, left),
        (RIGHT_HAND, right),
        (FACE, detector.detect_face(body, picture)[:70]),
    )
    for part, points in expected:
        theirs_px = np.array(
            [
                (p.x * 360, p.y * 300) if p.x > 0 and p.y > 0 else (0, 0)
                for p in points or [ABSENT] * 21
            ]
        )
        np.testing.assert_allclose(frame.people[0, part, :2], theirs_px, atol=1e-3)
        assert part != FACE or (frame.people[0, part, 2] > 0).sum() > 40
