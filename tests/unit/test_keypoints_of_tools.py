"""Test keypoints as other tools write them: units of each list, faces, scores, animals, sizes."""

from __future__ import annotations

import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pack.preprocessors import catalogue, images, keypoints, skeleton
from pack.preprocessors.build import InMemory
from pack.preprocessors.keypoints import BODY, FACE, LEFT_HAND, KeypointError
from workbench import stand_ins

CANVAS = {"canvas_width": 512, "canvas_height": 256}
RNG = np.random.default_rng(0)
SPREAD = {"pose": 18, "hand_left": 21, "hand_right": 21, "face": 70}


def lists(units: dict[str, str]) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Make a person whose lists are each in pixels or in fractions, and their places in pixels."""
    written, places = {}, {}
    for name, unit in units.items():
        points = np.ones((SPREAD[name], 3))
        points[:, :2] = RNG.uniform(0.05, 0.95, (SPREAD[name], 2)) * (512, 256)
        places[name] = np.copy(points)
        if unit == "fractions":
            points[:, :2] /= (512, 256)
        written[f"{name}_keypoints_2d"] = points.reshape(-1).tolist()
    return written, places


@pytest.mark.parametrize("body", ["pixels", "fractions"])
@pytest.mark.parametrize("hand", ["pixels", "fractions"])
@pytest.mark.parametrize("face", ["pixels", "fractions"])
def test_every_list_of_every_person_has_a_unit_of_its_own(body, hand, face):
    first, places = lists({"pose": body, "hand_left": hand, "face": face})
    second, others = lists({"pose": face, "hand_left": body, "face": hand})
    (frame,) = keypoints.parse({**CANVAS, "people": [first, second]})
    for person, expected in zip(frame.people, (places, others), strict=True):
        for name, part in (("pose", BODY), ("hand_left", LEFT_HAND), ("face", FACE)):
            np.testing.assert_allclose(person[part], expected[name], rtol=1e-9)


def test_people_who_reach_far_out_of_the_picture_stay_in_fractions():
    """A close-up: the head is in the picture, the estimated legs are far below."""
    points = np.ones((18, 3))
    points[:, :2] = RNG.uniform(0.2, 0.8, (18, 2))
    points[[10, 13], 1] = 3.4, 3.9
    body = points.reshape(-1).tolist()
    (frame,) = keypoints.parse({**CANVAS, "people": [{"pose_keypoints_2d": body}]})
    np.testing.assert_allclose(frame.people[0, BODY], points * (512, 256, 1))


def test_pixels_with_missing_points_at_zero_stay_pixels():
    points = np.ones((18, 3))
    points[:, :2] = 0, 0  # some tools leave the score of a missing point at 1
    points[:4, :2] = (100, 50), (120, 60), (140, 60), (150, 90)
    body = points.reshape(-1).tolist()
    (frame,) = keypoints.parse({**CANVAS, "people": [{"pose_keypoints_2d": body}]})
    assert frame.people[0, :4, :2].tolist() == points[:4, :2].tolist()


@pytest.mark.parametrize("count", [1, 5, 51, 56, 68, 69, 70, 98, 106, 468, 478])
def test_a_face_may_have_any_number_of_points(count):
    points = np.ones((count, 3))
    points[:, :2] = RNG.uniform(20, 250, (count, 2))
    face = {"face_keypoints_2d": points.reshape(-1).tolist()}
    hint, people = skeleton.draw_keypoints([{**CANVAS, "people": [{}, face]}], stick_width="4")
    read = np.reshape(people[0]["people"][1]["face_keypoints_2d"], (70, 3))
    here = read[read[:, 2] > 0]
    assert len(here) == min(count, 70)
    assert {tuple(point) for point in here[:, :2]} <= {tuple(point) for point in points[:, :2]}
    assert here[0, :2].tolist() == points[0, :2].tolist()
    if count <= 70:
        assert np.array_equal(here, points)
    else:
        assert here[-1, :2].tolist() == points[-1, :2].tolist()
    for x, y in here[:, :2].astype(int):
        assert hint[0, y, x].tolist() == [1, 1, 1]


def test_the_other_lists_keep_their_counts():
    for name, count in (("pose", 20), ("hand_left", 20), ("hand_right", 22)):
        document = {**CANVAS, "people": [{f"{name}_keypoints_2d": [1.0] * 3 * count}]}
        with pytest.raises(
            KeypointError, match=rf"{name}_keypoints_2d: expected .* found {3 * count}"
        ):
            keypoints.parse(document)


ANIMAL = [[[10.0, 20.0, 1.0]] * 17]


@pytest.mark.parametrize(
    "frame",
    [
        {"version": "ap10k", "animals": ANIMAL, **CANVAS},
        {"version": "ap10k", "animals": [], **CANVAS},
        {"people": [], "animals": ANIMAL, **CANVAS},
        {"animals": ANIMAL},
    ],
)
def test_keypoints_of_animals_are_called_that(frame):
    with pytest.raises(KeypointError, match=r"frame 1: expected keypoints of people.*animals"):
        keypoints.parse([{**CANVAS, "people": []}, frame])


def test_people_beside_animals_are_read():
    body = [50.0, 60.0, 1.0] * 18
    frame = {**CANVAS, "people": [{"pose_keypoints_2d": body}], "animals": ANIMAL}
    assert keypoints.parse(frame)[0].people[0, 0].tolist() == [50, 60, 1]
    assert keypoints.parse({**CANVAS, "people": [], "animals": []})[0].people.shape == (0, 136, 3)
    with pytest.raises(KeypointError, match=r"found 51 \(17 points, as of COCO or of animals\)"):
        keypoints.parse({**CANVAS, "people": [{"pose_keypoints_2d": [1.0] * 51}]})


# Scores


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.2, 0.3, 0.5])
def test_a_threshold_below_the_usual_one_finds_more(threshold):
    """COCO's 17 points with scores from 0 to 0.64: every joint is there from its own score on."""
    points = np.ones((1, 17, 3))
    points[0, :, :2] = RNG.uniform(10, 200, (17, 2))
    points[0, :, 2] = np.arange(17) * 0.04
    ours = keypoints.from_coco(points, threshold)[0]
    for joint, coco in enumerate(keypoints.COCO_WHOLEBODY_TO_OPENPOSE):
        score = min(points[0, 5:7, 2]) if coco is None else points[0, coco, 2]
        is_there = score > threshold if coco is None else score >= threshold and score > 0
        assert ours[joint].any() == is_there


class Unsure(stand_ins.Pose):
    """Finds the joints of a standing person with scores from 0.05 to 0.85, in COCO's order."""

    def forward(self, pixel_values):
        heat = super().forward(pixel_values).heatmaps
        scores = 0.05 * torch.arange(1, 18) / heat.amax((0, 2, 3))
        return SimpleNamespace(heatmaps=heat * scores[:, None, None])


@pytest.mark.parametrize(("threshold", "joints"), [(0.0, 17), (0.12, 15), (0.3, 12), (1.0, 0)])
def test_human_pose_leaves_out_what_is_below_its_threshold(threshold, joints):
    networks = InMemory({**stand_ins.by_file(), "vitpose-base-simple.safetensors": Unsure()})
    settings = {} if threshold == 0.3 else {"score_threshold": threshold}
    _, frames = catalogue("pose").full(
        torch.rand(1, 120, 160, 3), engine="vitpose", networks=networks, **settings
    )
    scores = np.array(frames[0]["people"][0]["pose_keypoints_2d"][2::3])
    scores[1] = 0  # the neck, whose score is 1 if both shoulders are there
    assert np.count_nonzero(scores) == joints


# Sizes


@pytest.mark.parametrize(
    "document",
    [
        pytest.param([{**CANVAS, "people": [{}] * 300_000}], id="one frame"),
        pytest.param(
            [{**CANVAS, "people": [{"face_keypoints_2d": [1, 1, 1]}] * 900}] * 200,
            id="many frames",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_small_text_never_asks_for_gigabytes(document):
    text = json.dumps(document)
    tracemalloc.start()
    try:
        with pytest.raises(KeypointError, match=r"expected at most [\d,]+ people"):
            keypoints.loads(text)
        assert tracemalloc.get_traced_memory()[1] < 400e6
    finally:
        tracemalloc.stop()


def test_a_canvas_beyond_what_can_be_drawn_asks_for_a_size():
    frames = [{"canvas_width": 16384, "canvas_height": 16384, "people": []}] * 200
    with pytest.raises(KeypointError, match=r"16384x16384 pixels.*set width and height"):
        skeleton.draw_keypoints(frames)
    hint, _ = skeleton.draw_keypoints(frames[:2], width_px=64, height_px=32)
    assert hint.shape == (2, 32, 64, 3)


def test_hints_beyond_the_free_memory_are_refused_before_they_are_drawn(monkeypatch):
    frames = [{"canvas_width": 8192, "canvas_height": 8192, "people": []}] * 2000
    with pytest.raises(ValueError, match=r"2000 hints of 8192x8192 pixels take 1610\.6 GB"):
        skeleton.draw_keypoints(frames)
    monkeypatch.setattr(images, "available_bytes", lambda: 10**6)
    for engine in ("canny", "xdog", "tile"):
        with pytest.raises(ValueError, match=r"take 0\.2 GB of memory, and 0\.0 GB are free"):
            catalogue(engine)(torch.rand(1, 64, 64, 3), resolution=4096)
