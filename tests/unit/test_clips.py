"""Chunks of a clip give the hints of the whole clip at once; the whole clip is the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pack.preprocessors import CATALOGUE, catalogue, clips, keypoints, pose, tracks
from pack.preprocessors.build import InMemory
from pack.preprocessors.keypoints import Frame
from workbench import random_weights

NEEDS = {"normal": "depth", "pose": "keypoints"}
"""Engines that read an input which a clip does not have."""
SECONDS_A_FRAME = (
    *("depth_anything_v2_base", "depth_anything_v2_large", "midas"),
    *("oneformer", "upernet", "anime2sketch"),
)
"""Engines whose networks are large; they run frame by frame as smaller ones do."""
NETWORKS = InMemory(random_weights.Random(CATALOGUE), chunk=1)


def moving(count: int, side: int = 64) -> torch.Tensor:
    """Draw a bright disc before soft noise that grows brighter: no two frames have one range."""
    torch.manual_seed(7)
    coarse = torch.rand(1, 3, 8, 8)
    ground = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    frames = []
    for index in range(count):
        disc = (rows - 20) ** 2 + (columns - (10 + 2 * index) % side) ** 2 < 100
        frame = ground[0] * (0.3 + 0.6 * index / count)
        frames.append(torch.where(disc, frame + 0.35, frame).clamp(0, 1).movedim(0, 2))
    return torch.stack(frames)


def in_chunks(row, image: torch.Tensor, size: int, **params) -> torch.Tensor:
    """Draw as the video node does, numbers through a file's form between any two chunks."""
    settled, means = row.settled(params), clips.Means(0, NETWORKS)
    survey = clips.survey_of(row, settled, means)
    chunks = list(enumerate(image.split(size)))
    if survey is None:
        return torch.cat([row(part, networks=NETWORKS, **params) for _, part in chunks])
    for _, part in chunks:
        survey = clips.survey_of(row, settled, means, survey.numbers()) or survey
        survey.look(part)
    survey = clips.survey_of(row, settled, means, survey.numbers())
    assert survey is not None
    pictures = [part if survey.reads_frames else None for _, part in chunks]
    return torch.cat(
        [
            survey.draw(shown, index * size, len(part))
            for (index, part), shown in zip(chunks, pictures, strict=True)
        ]
    )


CASES = [
    (row.key, engine)
    for row in CATALOGUE
    for engine in next((p.choices for p in row.params if p.name == "engine"), ("",))
    if NEEDS.get(row.key) != engine
    and row.key != "inpaint_hint"
    and "onnx" not in engine
    and engine not in SECONDS_A_FRAME
]


@pytest.mark.parametrize(("key", "engine"), CASES, ids=[" ".join(case).strip() for case in CASES])
def test_a_frame_does_not_depend_on_its_chunk(key, engine):
    """Every method: who begins to look at the whole batch needs a row in clips.WHOLE."""
    row, image = catalogue(key), moving(5)
    params = {"engine": engine} if engine else {}
    whole = row(image, networks=NETWORKS, **params)
    assert in_chunks(row, image, 2, **params).equal(whole)


@pytest.fixture(scope="module")
def lively():
    """Fresh weights end in a network that gives 0 everywhere: its last layer is turned round."""
    net = NETWORKS.modules["depth_anything_v2_vits.safetensors"]
    *_, weight, bias = net.parameters()
    weight.neg_()
    bias.neg_().add_(0.01)


@pytest.mark.usefixtures("lively")
@pytest.mark.parametrize("engine", ["image", "depth_anything_v2_small"])
def test_depth_by_clip_is_the_whole_batchs(engine):
    row, image = catalogue("depth"), moving(12)
    given = {"engine": engine, "normalization": "clip", "remove_background": 10.0}
    whole = row(image, networks=NETWORKS, **given)
    assert in_chunks(row, image, 4, **given).equal(whole)
    by_frame = row(image, networks=NETWORKS, **(given | {"normalization": "frame"}))
    assert not by_frame.equal(whole)


def test_depth_by_percentile_is_numpys_to_a_thousandth():
    row, image = catalogue("depth"), moving(12)
    given = {"engine": "image", "normalization": "percentile"}
    whole = row(image, **given)
    assert (in_chunks(row, image, 4, **given) - whole).abs().max() < 1e-3


@pytest.mark.parametrize("scale", [1.0, -3.0, 1e-4, 5e6])
def test_percentiles_of_a_stream(scale):
    values = (torch.randn(40, 500) + 0.5) * scale
    levels = clips.Levels({})
    for part in values.split(7):
        levels.add(part)
        levels = clips.Levels(levels.numbers())
    expected = np.percentile(values.numpy(), (2, 98))
    np.testing.assert_allclose(levels.at((2, 98)), expected, rtol=1e-3)


@pytest.fixture
def blobs(monkeypatch):
    """Find people where frames have bright discs; their order alternates."""

    def detect(frames, *_args, **_more):
        people = []
        for index, frame in enumerate(frames):
            columns = np.flatnonzero((frame > 200).all(axis=2).any(axis=0))
            person = np.zeros((1, 136, 3))
            if len(columns):
                person[0, :18, 0] = columns.mean() + np.linspace(-8, 8, 18)
                person[0, :18, 1] = 20 + np.arange(18) * 2
                person[0, :18, 2] = 1
            other = person + (0, 15, 0) * (person[..., 2:] > 0)
            pair = [person, other][:: -1 if index % 2 else 1]
            people.append(Frame(np.concatenate(pair), *frame.shape[:2]))
        return people

    monkeypatch.setattr(pose, "detect_top_down", detect)


def discs(count: int) -> torch.Tensor:
    image = torch.zeros(count, 64, 64, 3)
    for index in range(count):
        if index % 7 != 3:  # a gap to fill
            image[index, 10:30, (5 + 2 * index) % 44 : (5 + 2 * index) % 44 + 12] = 1
    return image


@pytest.mark.parametrize(
    "params",
    [{}, {"people": 1}, {"smooth_frames": 2.5, "fill_frames": 2}, {"smooth_frames": 1.0}],
    ids=str,
)
def test_people_are_followed_over_the_whole_clip(blobs, params):
    row, image = catalogue("pose"), discs(30)
    whole = row(image, networks=NETWORKS, **params)
    assert whole.any()
    assert in_chunks(row, image, 8, **params).equal(whole)


def test_smoothing_in_blocks_is_the_plain_formula():
    """Longer than a block, with hidden points: every frame against the sum over all frames."""
    generator = np.random.default_rng(3)
    track = generator.normal(size=(2 * tracks.BLOCK + 9, 5, 3))
    track[..., 2] = generator.random(track.shape[:2]) > 0.3
    sigma = 7.5
    smooth = tracks.smooth(track, sigma)
    at = np.arange(len(track))
    for frame in (0, 100, tracks.BLOCK, len(track) - 1):
        weights = np.exp(-0.5 * ((frame - at) / sigma) ** 2)[:, None] * (track[..., 2] > 0)
        mean = (weights[..., None] * track[..., :2]).sum(axis=0) / weights.sum(axis=0)[:, None]
        expected = np.where(track[frame, :, 2:] > 0, mean, track[frame, :, :2])
        np.testing.assert_allclose(smooth[frame, :, :2], expected, atol=1e-9)


def test_a_person_takes_memory_for_what_is_seen_of_them():
    """Passers-by, and somebody who comes back to the same place much later."""
    person = np.zeros((1, 136, 3))
    person[0, :18] = np.stack([np.arange(18) + 5, np.arange(18) * 2, np.ones(18)], axis=1)
    times = (10, 11, 13, 20_000, 20_001)
    nobody = Frame(keypoints.empty_people(), 64, 64)
    frames = [nobody] * 20_002
    for index in times:
        frames[index] = Frame(person, 64, 64)
    (seen,) = tracks.follow(frames)
    assert tuple(seen) == times
    lengths = [(track.first, len(track.points)) for track in tracks.tracks_of(seen, 2)]
    assert lengths == [(10, 4), (20_000, 2)]
    steadied = tracks.steady(frames, smooth_frames=0.2, fill_frames=1)
    shown = [index for index, frame in enumerate(steadied) if len(frame.people)]
    assert shown == [10, 11, 12, 13, 20_000, 20_001]


def test_levels_are_rounded_and_grey_ones_are_one_channel():
    hint = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 3, 1).expand(1, 1, 3, 3)
    assert clips.hint_levels(hint, grey=True).tolist() == [[[[0], [128], [255]]]]
    assert clips.hint_levels(hint, grey=False).shape == (1, 1, 3, 3)
