"""Test keypoints and skeletons: drawn as by controlnet_aux, read from any tool, steadied."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from pack.preprocessors import catalogue, detect_topdown, keypoints, skeleton, tracks
from pack.preprocessors.build import InMemory
from pack.preprocessors.keypoints import BODY, FACE, LEFT_HAND, RIGHT_HAND, Frame, KeypointError
from workbench import reference_nets

PARTS = {"body": BODY, "face": FACE, "left": LEFT_HAND, "right": RIGHT_HAND}


@pytest.fixture(scope="module")
def open_pose():
    with reference_nets.controlnet_aux("open_pose", "open_pose.body") as (module, _):
        yield module


def somebody(rng: np.random.Generator) -> np.ndarray:
    """Make a person (136,3) in fractions, partly out of the picture.

    Joints are missing at random, hands and faces also as a whole.
    """
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
    """Convert the person to controlnet_aux's classes.

    Missing joints are None; missing points of hands and faces lie at -1.
    """
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
    crowds = [
        people[first : first + count]
        for first, count in ((0, 1), (1, 1), *((n, 6) for n in range(2, 200, 6)))
    ]
    height, width = size
    for crowd in crowds:
        theirs = open_pose.draw_poses(
            [as_theirs(open_pose, person) for person in crowd], height, width
        )
        # In pixels, as the tools give them, so that both truncate the same numbers.
        frame = Frame(np.stack(crowd) * (width, height, 1), height, width)
        ours = skeleton.draw([frame], height, width, stick_width="4")[0].numpy() * 255
        assert np.array_equal(ours.round(), theirs)
        assert np.abs(ours - theirs).max() < 1e-4
    assert theirs.any()


@pytest.mark.parametrize(
    ("body", "hands", "face"), [(True, False, False), (False, True, False), (False, False, True)]
)
def test_parts_are_drawn_on_their_own(open_pose, body, hands, face):
    rng = np.random.default_rng(1)
    crowd = [somebody(rng) for _ in range(20)]
    theirs = open_pose.draw_poses(
        [as_theirs(open_pose, person) for person in crowd], 256, 320, body, hands, face
    )
    frame = Frame(np.stack(crowd) * (320, 256, 1), 256, 320)
    ours = skeleton.draw([frame], 256, 320, body=body, hands=hands, face=face, stick_width="4")
    assert np.array_equal((ours[0].numpy() * 255).round(), theirs)


def test_frames_without_visible_points_are_black():
    frames = [Frame(keypoints.empty_people(count), 64, 48) for count in (0, 2)]
    hints = skeleton.draw(frames, 32, 96)
    assert hints.shape == (2, 32, 96, 3)
    assert hints.max() == 0


def test_people_far_outside_of_the_canvas_are_drawn_without_error():
    person = np.ones((1, 136, 3))
    person[..., :2] = np.random.default_rng(0).uniform(-16, 16, (136, 2)) * 16384
    hint = skeleton.draw([Frame(person, 16384, 16384)], 300, 200)
    assert hint.isfinite().all()


@pytest.mark.parametrize(
    "size", [(400, 300), (768, 512), (1024, 1024), (1500, 2600), (300, 7200)], ids=str
)
def test_xinsirs_limbs_are_as_thick_as_its_model_card_says(size):
    """The ladder of the model card, which its nets were trained with."""
    longer = max(size)
    ladder = [(500, 1), (1000, 2), (2000, 3), (3000, 4), (4000, 5), (5000, 6)]
    ratio = next((ratio for limit, ratio in ladder if longer < limit), 7)
    brush = skeleton.Brush.for_canvas("xinsir", *size)
    assert (brush.limb_px, brush.joint_px) == (4 * ratio, 4 * ratio)


@pytest.mark.parametrize(
    ("size", "limb_px"), [((64, 64), 4), ((512, 900), 4), ((768, 512), 4), ((1024, 1024), 8)]
)
def test_auto_grows_with_the_shorter_side_from_what_nets_were_trained_on(size, limb_px):
    brush = skeleton.Brush.for_canvas("auto", *size)
    assert brush.limb_px == limb_px
    assert limb_px > 4 or brush == skeleton.Brush.for_canvas("4", *size)


def test_an_unknown_stick_width_is_refused():
    with pytest.raises(ValueError, match="stick_width is 'thick': choose one of auto, 4, xinsir"):
        skeleton.draw([], 8, 8, stick_width="thick")


# Reading and writing


def clip(rng: np.random.Generator, frames: int = 3) -> list[Frame]:
    crowd = [np.stack([somebody(rng) for _ in range(2)]) * (320, 240, 1) for _ in range(frames)]
    return [Frame(people, 240, 320) for people in crowd]


def test_what_is_written_is_read_back():
    frames = clip(np.random.default_rng(0))
    from_text = keypoints.loads(keypoints.dumps(frames))
    for copies in from_text, keypoints.parse(keypoints.encode(frames)):
        assert len(copies) == 3
        for frame, read in zip(frames, copies, strict=True):
            assert np.array_equal(frame.people, read.people)
            assert (read.height_px, read.width_px) == (240, 320)


def test_fractions_and_pixels_are_the_same_people(open_pose):
    """Fractions as controlnet_aux writes them, also of people who reach out of the picture."""
    frames = clip(np.random.default_rng(1))
    document = keypoints.encode(frames)
    for frame in document:
        for person in frame["people"]:
            for name, numbers in person.items():
                points = np.reshape(numbers, (-1, 3)) / (320, 240, 1)
                person[name] = points.reshape(-1).tolist()
    for frame, read in zip(frames, keypoints.parse(document), strict=True):
        np.testing.assert_allclose(read.people, frame.people, atol=1e-9)
    assert (frames[0].people[..., :2] > (320, 240)).any()


def test_lists_that_tools_leave_out_may_be_missing():
    body = [0.5, 0.25, 1.0] * 18
    for hand in ({}, {"hand_left_keypoints_2d": None}, {"hand_left_keypoints_2d": []}):
        document = {
            "canvas_height": 100,
            "canvas_width": 200.0,
            "people": [{"pose_keypoints_2d": body, **hand}],
        }
        (frame,) = keypoints.parse(document)  # one frame without a list around it
        assert frame.people[0, BODY].tolist() == [[100, 25, 1]] * 18
        assert not frame.people[0, 18:].any()


def test_body_25_is_read_joint_by_joint():
    """Numbered as OpenPose's documentation numbers them."""
    names = (
        "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip"
        " LKnee LAnkle REye LEye"
    )
    names_25 = [
        *names.split(),
        "REar",
        "LEar",
        "LBigToe",
        "LSmallToe",
        "LHeel",
        "RBigToe",
        "RSmallToe",
        "RHeel",
    ]
    names_18 = [name for name in names_25[:19] if name != "MidHip"]
    numbers = [value for index in range(25) for value in (10 + index, 50, 1)]
    document = {
        "canvas_height": 100,
        "canvas_width": 100,
        "people": [{"pose_keypoints_2d": numbers}],
    }
    person = keypoints.parse(document)[0].people[0]
    assert person[BODY, 0].tolist() == [10 + names_25.index(name) for name in names_18]
    assert person[keypoints.FEET, 0].tolist() == [29, 30, 31, 32, 33, 34]


GOOD = {"canvas_height": 100, "canvas_width": 200, "people": [{"pose_keypoints_2d": [0.0] * 54}]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("no list", "expected a list of frames, found the text 'no list'"),
        ([], "the list of frames is empty"),
        ([GOOD, 7], "frame 1: expected a dict with people and a canvas, found 7"),
        (
            {**GOOD, "canvas_height": 0},
            "frame 0: expected canvas_height, a whole number of pixels from 1 to 16384, found 0",
        ),
        ({**GOOD, "canvas_width": "640"}, "found the text '640'"),
        ({"people": []}, "canvas_height, a whole number of pixels from 1 to 16384, found none"),
        ({**GOOD, "people": 1}, "expected a list under 'people', found 1"),
        (
            {**GOOD, "people": [[]]},
            "frame 0, person 0: expected a dict of keypoint lists, found a list",
        ),
        (
            {**GOOD, "people": [{"pose_keypoints_2d": [1.0] * 51}]},
            r"expected 54 or 75 numbers \(x, y, score\), found 51",
        ),
        (
            {**GOOD, "people": [{"face_keypoints_2d": [1.0] * 4}]},
            "expected x, y and score for every point, found 4 numbers",
        ),
        (
            {**GOOD, "people": [{"face_keypoints_2d": "x"}]},
            "face_keypoints_2d: expected a list of numbers, found the text",
        ),
        (
            {**GOOD, "people": [{"pose_keypoints_2d": [True] * 54}]},
            "expected numbers only, found true",
        ),
        ({**GOOD, "people": [{"pose_keypoints_2d": [float("nan")] * 54}]}, "found NaN or infinity"),
        ({**GOOD, "people": [{"pose_keypoints_2d": [10**400] * 54}]}, "too large to be a pixel"),
        (
            {**GOOD, "people": [{"pose_keypoints_2d": [1e9] * 54}]},
            r"points near the canvas of 200x100, found one at \(1e\+09, 1e\+09\): check the file",
        ),
    ],
)
def test_unreadable_keypoints_raise_a_sentence(document, words):
    with pytest.raises(KeypointError, match=words):
        keypoints.parse(document)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 10_000, b'"people"', b"null", b"[NaN]"],
    ids=range(8),
)
def test_texts_without_keypoints_are_refused(text):
    with pytest.raises(KeypointError):
        keypoints.loads(text)


WILD = [
    None,
    True,
    -1,
    0,
    2,
    1e308,
    -1e-320,
    float("inf"),
    float("nan"),
    10**40,
    "",
    "x",
    [],
    {},
    [[]],
    {"people": 1},
]


def damaged(rng: random.Random, text: str) -> bytes:
    """Damage a keypoint file: replace values, drop or double parts, change bytes."""
    document = json.loads(text)
    for _ in range(rng.randrange(1, 4)):
        at, key = document, None
        while isinstance(at, (dict, list)) and at and rng.random() < 0.8:
            above, key = at, rng.choice([*at]) if isinstance(at, dict) else rng.randrange(len(at))
            at = above[key]
        if key is not None:
            change = rng.randrange(4)
            if change == 0:
                above[key] = rng.choice(WILD)
            elif change == 1:
                del above[key]
            elif change == 2 and isinstance(above, list):
                above.insert(key, at)
            elif isinstance(at, (int, float)):
                above[key] = at * rng.choice([-1, 0.001, 1e3, 1e6])
    raw = bytearray(json.dumps(document).encode())
    if rng.random() < 0.3:
        for _ in range(rng.randrange(1, 5)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw[: rng.randrange(len(raw))] if rng.random() < 0.1 else raw)


def test_ten_thousand_damaged_files_are_read_or_raise_a_sentence():
    person = np.round(somebody(np.random.default_rng(2)) * (320, 240, 1))
    lists = {"pose_keypoints_2d": person[BODY], "hand_left_keypoints_2d": person[LEFT_HAND]}
    people = [{name: points.reshape(-1).tolist() for name, points in lists.items()}] * 2
    whole = json.dumps([{"people": people, "canvas_height": 240, "canvas_width": 320}])
    rng, sentences, read = random.Random(0), list[str](), 0
    for index in range(10_000):
        try:
            frames = keypoints.loads(damaged(rng, whole))
        except KeypointError as error:
            sentences.append(str(error))
        else:
            read += 1
            if index % 20 == 0:
                assert skeleton.draw(frames, 40, 30).isfinite().all()
    assert len(sentences) > 2000
    assert all(20 < len(sentence) < 400 for sentence in sentences)
    assert read > 1000


# Over time


def walk(frames: int = 12) -> list[Frame]:
    """Make two people who walk past each other; one is absent for two frames.

    Their order in the list changes from frame to frame.
    """
    rng = np.random.default_rng(3)
    shapes = rng.normal(size=(2, 136, 2)) * (10, 30)
    clip_frames = []
    for index in range(frames):
        middles = np.array([[60 + 15 * index, 100], [260 - 15 * index, 180]])
        people = np.concatenate([middles[:, None] + shapes, np.ones((2, 136, 1))], axis=2)
        people = people[[1, 0]] if index % 3 == 1 else people
        here = people[[0]] if 5 <= index < 7 and index % 3 != 1 else people
        clip_frames.append(Frame(here, 240, 320))
    return clip_frames


def test_people_keep_their_order_over_a_clip():
    rows = [frame.people[:, BODY, 1].mean(axis=1) for frame in tracks.steady(walk())]
    assert all(list(row) == sorted(row) for row in rows)


def test_a_short_absence_is_filled_by_linear_interpolation():
    frames = walk()
    assert sorted({len(frame.people) for frame in frames}) == [1, 2]
    whole = tracks.steady(frames, fill_frames=3)
    assert {len(frame.people) for frame in whole} == {2}
    middles = np.array([frame.people[:, BODY, 0].mean(axis=1) for frame in whole])
    np.testing.assert_allclose(np.diff(middles, axis=0), [[15, -15]] * 11, atol=1e-9)
    too_short = tracks.steady(frames, fill_frames=1)
    assert {len(frame.people) for frame in too_short} == {1, 2}


def test_smoothing_reduces_noise_without_lag():
    rng = np.random.default_rng(4)
    calm = [
        Frame(frame.people[:1] if index % 3 != 1 else frame.people[1:], 240, 320)
        for index, frame in enumerate(walk(40))
    ]
    noisy = [
        Frame(frame.people + rng.normal(size=(1, 136, 3)) * (2, 2, 0), 240, 320) for frame in calm
    ]
    smooth = tracks.steady(noisy, smooth_frames=2)

    def differences(frames: list[Frame]) -> np.ndarray:
        pairs = zip(frames[6:-6], calm[6:-6], strict=True)
        return np.stack([frame.people - steady.people for frame, steady in pairs])

    assert np.abs(differences(smooth)).mean() < 0.5 * np.abs(differences(noisy)).mean()
    assert abs(differences(smooth)[..., 0].mean()) < 0.2  # the walk is 15 px per frame
    np.testing.assert_allclose(tracks.smooth(np.ones((5, 136, 3)), 1.0), 1)


def test_smoothing_ignores_points_that_are_not_visible():
    track = np.ones((9, 136, 3))
    track[4, 7] = 0
    track[:4, 7, 0] = 5
    smooth = tracks.smooth(track, 2.0)
    assert not smooth[4, 7].any()
    assert (smooth[:4, 7, 0] > 3).all()  # the zeros of the hidden point do not count


def test_the_largest_and_longest_visible_people_remain():
    frames = walk()
    small = np.concatenate([np.full((1, 136, 2), 20.0), np.ones((1, 136, 1))], axis=2)
    small[..., :2] += np.random.default_rng(5).normal(size=(136, 2))
    crowd = [Frame(np.concatenate([small, frame.people]), 240, 320) for frame in frames]
    assert max(len(frame.people) for frame in tracks.steady(crowd)) == 3
    chosen = tracks.steady(crowd, people=2)
    assert max(len(frame.people) for frame in chosen) == 2
    assert all(frame.people[:, BODY, 0].min() > 30 for frame in chosen)


# The row of the catalogue


def raw_for(boxes, scores) -> torch.Tensor:
    """Encode boxes (left, top, right, bottom in px of the square) as YOLOX's output (8400,85)."""
    raw = torch.full((8400, 85), -4.0)
    raw[:, 4:] = 0.0
    cells, strides = detect_topdown.yolox_grid()
    for (left, top, right, bottom), (score, kind) in zip(boxes, scores, strict=True):
        centre, size = (
            np.array([left + right, top + bottom]) / 2,
            np.array([right - left, bottom - top]),
        )
        free = [index for index in np.flatnonzero(strides[:, 0] == 16) if raw[index, 4] == 0]
        cell = min(free, key=lambda index: np.hypot(*(cells[index] * 16 - centre)))
        raw[cell, :2] = torch.from_numpy(centre / 16 - cells[cell])
        raw[cell, 2:4] = torch.from_numpy(np.log(size / 16))
        raw[cell, 4], raw[cell, 5 + kind] = 1.0, score
    return raw


def simcc_for(points: np.ndarray, score: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode points (133,2) in px of the crop as SimCC's bins."""
    across, down = torch.zeros(133, 576), torch.zeros(133, 768)
    for index, (x, y) in enumerate(points):
        across[index, round(2 * x)] = score
        down[index, round(2 * y)] = score + 0.1
    return across, down


def test_keypoints_are_drawn_and_returned_at_the_size_of_the_hint():
    frames = clip(np.random.default_rng(6), 2)
    images = torch.rand(2, 120, 160, 3)
    hint, people = catalogue("pose").full(
        images,
        engine="keypoints",
        pose_keypoint=keypoints.encode(frames),
        resolution=480,
        stick_width="4",
    )
    assert hint.shape == (2, 480, 640, 3)
    assert hint.equal(skeleton.draw(frames, 480, 640, stick_width="4"))
    assert (people[0]["canvas_height"], people[0]["canvas_width"]) == (480, 640)
    again, _ = catalogue("pose").full(
        torch.rand(2, 480, 640, 3), engine="keypoints", pose_keypoint=people, stick_width="4"
    )
    assert again.equal(hint)


def test_one_frame_of_keypoints_serves_all_pictures_other_counts_are_refused():
    frames, row = keypoints.encode(clip(np.random.default_rng(7), 3)), catalogue("pose")
    hint = row(torch.rand(4, 60, 80, 3), engine="keypoints", pose_keypoint=frames[:1])
    assert all(frame.equal(hint[0]) for frame in hint)
    with pytest.raises(ValueError, match="pose_keypoint has 3 frames and image has 4"):
        row(torch.rand(4, 60, 80, 3), engine="keypoints", pose_keypoint=frames)
    with pytest.raises(ValueError, match="connect one, or choose another engine"):
        row(torch.rand(4, 60, 80, 3), engine="keypoints")


def test_engines_without_networks_name_the_file_that_they_need():
    for engine, weights in catalogue("pose").weights.items():
        with pytest.raises(ValueError, match=f"needs the weights {weights.file}"):
            catalogue("pose")(torch.rand(1, 8, 8, 3), engine=engine)


def test_people_are_detected_and_drawn_by_dwpose():
    """Stand-ins for its networks: the detector gives one box, the pose network a grid of points."""
    weights = catalogue("pose").weights["dwpose"]
    box, grid = (
        (100, 40, 300, 440),
        np.stack(np.divmod(np.arange(133), 12), axis=1)[:, ::-1] * (22, 30) + (10, 10),
    )
    raw, (across, down) = raw_for([box], [(0.9, 0)]), simcc_for(grid, 0.9)

    class Pose(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.anchor = torch.nn.Parameter(torch.zeros(1))

        def forward(self, crops):
            return across.expand(len(crops), -1, -1), down.expand(len(crops), -1, -1)

    class Boxes(Pose):
        def forward(self, crops):
            return raw.expand(len(crops), -1, -1)

    networks = InMemory({weights.file: Pose(), weights.beside[0].file: Boxes()})
    seen = []
    hint, people = catalogue("pose").full(
        torch.rand(3, 640, 640, 3),
        engine="dwpose",
        networks=networks,
        progress=lambda *report: seen.append(report),
    )
    assert [len(frame["people"]) for frame in people] == [1, 1, 1]
    assert hint.amax((1, 2, 3)).tolist() == [1, 1, 1]
    # A person of 200 by 400 lies in a crop of 375 by 500; the nose is the first point of the grid.
    nose = people[0]["people"][0]["pose_keypoints_2d"][:2]
    np.testing.assert_allclose(
        nose, [200 - 187.5 + 10 * 375 / 288, 240 - 250 + 10 * 500 / 384], atol=0.01
    )
    assert seen[0] == (0, 3)
    assert seen[-1] == (3, 3)
    assert seen == sorted(seen)
