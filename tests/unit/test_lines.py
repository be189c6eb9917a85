"""Line networks: the same random weights in the reference and in ours give the same; real M-LSD
finds real lines.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from pack.preprocessors import catalogue, images, lines
from pack.preprocessors.build import InMemory, filled
from workbench.photographs import PHOTOGRAPHS
from workbench.references import controlnet_aux

pytestmark = pytest.mark.slow  # networks at their published size

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "tests" / "output"
REAL_MLSD = ROOT.parent / "shared" / "weights" / "mlsd_large_512_fp16.safetensors"


def random_weights(net: nn.Module) -> nn.Module:
    """With norms that do something, so that a layer in the wrong place shows."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            layer.weight.data.uniform_(0.8, 1.2)
            layer.bias.data.normal_(0, 0.1)
    return net.eval()


@torch.inference_mode()
def spread(mlsd: nn.Module) -> None:
    """Random centres are all alike: here their logits get a spread of 2 around 0, and the ways one
    of 10 px.
    """
    head = mlsd.block23.conv3
    output = mlsd(torch.rand(1, 4, 256, 256) * 2 - 1)[0]
    for channel, (wanted, row) in enumerate(
        zip([2, 10, 10, 10, 10], output[:5], strict=True), start=7
    ):
        head.weight[channel] *= wanted / row.std()
        head.bias[channel] = (head.bias[channel] - row.mean()) * wanted / row.std()


@pytest.fixture(scope="module")
def aux() -> Iterator[dict]:
    with controlnet_aux():
        from controlnet_aux.lineart import Generator, LineartDetector
        from controlnet_aux.lineart_anime import LineartAnimeDetector, UnetGenerator
        from controlnet_aux.mlsd import MLSDdetector, MobileV2_MLSD_Large
        from controlnet_aux.mlsd.utils import pred_lines

        torch.manual_seed(0)
        norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
        mlsd = random_weights(MobileV2_MLSD_Large())
        spread(mlsd)
        realistic, coarse = Generator(3, 1, 3).eval(), Generator(3, 1, 3).eval()
        anime = UnetGenerator(3, 1, 8, 64, norm_layer=norm).eval()
        yield {
            "mlsd": (MLSDdetector(mlsd), mlsd),
            "pred_lines": pred_lines,
            "lineart": (LineartDetector(realistic, coarse), realistic, coarse),
            "anime": (LineartAnimeDetector(anime), anime),
        }


def ours(weights: lines.Weights, reference: nn.Module) -> InMemory:
    """Our network with the reference's weights, through the strict door that files come in by."""
    return InMemory({weights.file: filled(weights, reference.state_dict())})


def tensor(*frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(frames).astype(np.float32) / 255)


def levels(hint: torch.Tensor) -> np.ndarray:
    first = hint[0].numpy() * 255
    assert (first == first[..., :1]).all()
    return first[..., 0]


def photograph(width: int, height: int) -> np.ndarray:
    return cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)


def segments_of(
    image: torch.Tensor, networks: InMemory, score: float, distance: float, limit: int
) -> np.ndarray:
    output = images.run_network(
        image,
        networks,
        lines.MLSD,
        functools.partial(lines._centres, limit=limit),
        multiple=lines.mlsd.MULTIPLE,
    )
    return lines.mlsd_segments(images.only(output)[0], score, distance)


# M-LSD


@pytest.mark.parametrize("size", [(256, 192), (320, 512)], ids=str)
@pytest.mark.parametrize(("score", "distance"), [(0.1, 0.1), (0.6, 3.0)])
def test_mlsd_finds_the_references_lines(aux, size, score, distance):
    photo = photograph(*size)
    reference = aux["pred_lines"](photo, aux["mlsd"][1], list(photo.shape[:2]), score, distance)
    actual = segments_of(
        tensor(photo), ours(lines.MLSD, aux["mlsd"][1]), score, distance, limit=200
    )
    assert len(reference) > 20
    assert (actual == np.asarray(reference)).all()


def test_mlsd_draws_the_references_map(aux):
    photo = photograph(512, 512)
    detector, net = aux["mlsd"]
    expected = detector(photo, detect_resolution=512, image_resolution=512, output_type="np")
    hint = lines.straight_lines(tensor(photo), max_lines=200, networks=ours(lines.MLSD, net))
    assert expected.any()
    assert (levels(hint) == expected[..., 0]).all()


def test_without_a_limit_mlsd_keeps_every_local_maximum(aux):
    photo, net = photograph(512, 512), aux["mlsd"][1]
    actual = segments_of(tensor(photo), ours(lines.MLSD, net), 0.1, 0.1, limit=0)
    best = segments_of(tensor(photo), ours(lines.MLSD, net), 0.1, 0.1, limit=200)
    fed = np.concatenate([photo, np.ones((512, 512, 1))], axis=2).astype(np.float32) / 127.5 - 1
    with torch.inference_mode():
        heat = net(torch.from_numpy(fed).movedim(2, 0)[None])[0, 0].sigmoid().numpy()
    peaks = (cv2.dilate(heat, np.ones((3, 3), np.uint8)) == heat) & (heat > 0.1)
    assert len(best) <= 200 < len(actual)
    # Lines shorter than 0.1 px are dropped, and equal neighbours count or not by a last bit.
    assert abs(int(peaks.sum()) - len(actual)) < 0.01 * len(actual)


def test_mlsd_frames_are_independent(aux):
    networks = ours(lines.MLSD, aux["mlsd"][1])
    batch = tensor(
        photograph(200, 150),
        photograph(200, 150)[::-1].copy(),
        photograph(200, 150)[:, ::-1].copy(),
    )
    together = lines.straight_lines(batch, networks=networks)
    assert together.equal(
        torch.cat([lines.straight_lines(frame[None], networks=networks) for frame in batch])
    )


def test_ends_far_outside_and_no_lines_at_all_are_drawn():
    wild = np.array([[-1e30, 5.9, 1e30, 5.2], [3.9, -7.0, 3.2, 400.0]])
    canvas = lines.drawn(wild, 20, 30)
    assert (canvas[5] == 255).all()
    assert (canvas[:, 3] == 255).all()
    assert canvas.sum() == 255 * (20 + 30 - 1)
    assert not lines.drawn(np.zeros((0, 4)), 20, 30).any()


@pytest.mark.quick
def test_lsd_draws_opencvs_segments():
    photo = photograph(300, 200)
    expected = np.zeros((200, 300), np.uint8)
    actual = (
        cv2.createLineSegmentDetector()
        .detect(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))[0]
        .reshape(-1, 4)
    )
    for x0, y0, x1, y1 in actual:
        if np.hypot(x1 - x0, y1 - y0) > 20:
            cv2.line(expected, (int(x0), int(y0)), (int(x1), int(y1)), 255, 1)
    hint = lines.straight_lines(tensor(photo), engine="lsd", distance_threshold=10)
    assert expected.any()
    assert (levels(hint) == expected).all()
    longest = levels(lines.straight_lines(tensor(photo), engine="lsd", max_lines=1))
    assert (
        0
        < longest.astype(bool).sum()
        <= max(np.hypot(x1 - x0, y1 - y0) for x0, y0, x1, y1 in actual) + 2
    )


# M-LSD with its real weights


def street() -> np.ndarray:
    """Make a picture of straight edges: fronts with rows of windows, in perspective, seeded."""
    rng, page = np.random.default_rng(3), np.full((512, 768, 3), (200, 214, 230), np.uint8)
    for left in range(0, 768, 128):
        shade = int(rng.integers(70, 200))
        roof = int(rng.integers(30, 120))
        cv2.rectangle(page, (left, roof), (left + 122, 470), (shade, shade - 20, shade - 40), -1)
        for x in range(left + 14, left + 100, 36):
            for y in range(roof + 20, 420, 56):
                cv2.rectangle(
                    page,
                    (x, y),
                    (x + 22, y + 34),
                    (235, 235, 225) if shade < 130 else (40, 50, 70),
                    -1,
                )
    cv2.fillConvexPoly(page, np.array([[0, 512], [768, 512], [768, 470], [0, 470]]), (90, 90, 96))
    return page


def share_beside(segment: np.ndarray, others: np.ndarray, reach_px: float) -> float:
    """How much of a segment lies within `reach_px` of some other."""
    points = segment[:2] + np.linspace(0, 1, 64)[:, None] * (segment[2:] - segment[:2])
    start, way = others[:, None, :2], others[:, None, 2:] - others[:, None, :2]
    along = ((points[None] - start) * way).sum(-1) / np.maximum((way**2).sum(-1), 1e-9)
    nearest = start + along.clip(0, 1)[..., None] * way
    return float((np.hypot(*np.moveaxis(points[None] - nearest, -1, 0)).min(0) <= reach_px).mean())


@pytest.fixture(scope="module")
def real_mlsd() -> InMemory:
    if not REAL_MLSD.is_file():
        pytest.skip(f"M-LSD's real weights are not here: {REAL_MLSD} is absent")
    from safetensors.torch import load_file

    return InMemory({lines.MLSD.file: filled(lines.MLSD, load_file(REAL_MLSD)).float()})


def test_real_mlsd_finds_the_edges_of_a_street(real_mlsd):
    """Its surest lines are all edges; of all lines at its usual threshold, a few are not."""
    picture = street()
    lsd = lines.lsd_segments(picture, 0)
    sure, all_found = (
        segments_of(tensor(picture), real_mlsd, score, 0.1, limit=0) for score in (0.3, 0.1)
    )
    assert len(sure) >= 40
    assert min(share_beside(segment, lsd, 3.0) for segment in sure) >= 0.7
    strays = sum(share_beside(segment, lsd, 3.0) < 0.7 for segment in all_found)
    assert strays <= 0.03 * len(all_found)


def test_real_mlsd_on_photographs(real_mlsd):
    OUTPUT.mkdir(exist_ok=True)
    pictures = [
        street(),
        data.astronaut(),
        data.coffee(),
        data.stereo_motorcycle()[0],
        data.rocket(),
    ]
    rows = []
    for picture in pictures:
        mlsd = lines.straight_lines(tensor(picture), resolution=512, networks=real_mlsd)
        lsd = lines.straight_lines(
            tensor(picture), resolution=512, engine="lsd", distance_threshold=10
        )
        shown = [cv2.resize(picture, (512, 384), interpolation=cv2.INTER_AREA)]
        for hint in (mlsd, lsd):
            grey = cv2.resize(
                (hint[0].numpy() * 255).astype(np.uint8), (512, 384), interpolation=cv2.INTER_AREA
            )
            shown.append(cv2.convertScaleAbs(grey, alpha=2))
        rows.append(np.hstack(shown))
        assert 0.001 < mlsd.mean() < 0.2
    cv2.imwrite(str(OUTPUT / "mlsd.png"), np.vstack(rows)[..., ::-1])


# Drawings


@pytest.mark.parametrize("engine", ["realistic", "coarse"])
def test_lineart_is_the_references_within_a_level(aux, engine):
    detector, *nets = aux["lineart"]
    weights = catalogue("lineart").weights[engine]
    photo = photograph(192, 128)
    expected = detector(
        photo, engine == "coarse", detect_resolution=128, image_resolution=128, output_type="np"
    )
    hint = lines.lineart(
        tensor(photo), engine=engine, networks=ours(weights, nets[engine == "coarse"])
    )
    assert expected.std() > 5
    assert (
        np.abs(levels(hint) - expected[..., 0]).max() <= 1.001
    )  # it truncates to 8 bits, ours is float


def test_anime_lines_are_the_references_within_a_level(aux):
    detector, net = aux["anime"]
    photo = photograph(256, 256)
    expected = detector(photo, detect_resolution=256, image_resolution=256, output_type="np")
    for sizing in lines.SIZINGS:  # where nothing needs to be resized, both are the reference
        hint = lines.lineart_anime(tensor(photo), sizing=sizing, networks=ours(lines.ANIME, net))
        assert (
            np.abs(levels(hint) - expected[..., 0]).max() <= 1.001
        )  # it truncates to 8 bits, ours is float
    assert expected.std() > 5


def test_anime_lines_stretched_as_the_reference(aux):
    detector, net = aux["anime"]
    photo = photograph(320, 192)
    expected = detector(photo, detect_resolution=192, image_resolution=192, output_type="np")
    hint = lines.lineart_anime(tensor(photo), sizing="stretched", networks=ours(lines.ANIME, net))
    assert (
        np.abs(levels(hint) - expected[..., 0]).max() <= 1.001
    )  # it truncates to 8 bits, ours is float


def test_anime_weights_of_several_devices_fill_the_same_net(aux):
    state = {f"module.{key}": value for key, value in aux["anime"][1].state_dict().items()}
    assert filled(lines.ANIME, state).state_dict().keys() == aux["anime"][1].state_dict().keys()


@pytest.mark.quick
def test_anime_without_a_network_is_standard_lineart():
    photo = tensor(photograph(90, 60))
    assert lines.lineart_anime(photo, engine="standard").equal(lines.lineart(photo))


@pytest.mark.parametrize(
    ("key", "engine"), [("mlsd", "mlsd"), ("lineart", "coarse"), ("lineart_anime", "anime2sketch")]
)
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 53)], ids=str)
def test_any_size_goes_through_each_net(key, engine, size):
    row = catalogue(key)
    weights = row.weights[engine]
    networks = InMemory({weights.file: random_weights(weights.module())})
    hint = row(torch.rand(2, *size, 3), engine=engine, networks=networks)
    assert hint.shape == (2, *size, 3)
    assert 0 <= hint.min() <= hint.max() <= 1


def test_the_median_of_a_large_frame_is_numpys():
    values = np.random.default_rng(0).normal(0, 20, (1500, 1000)).astype(np.float32)
    for threshold in (0, 8, 60):
        for frame in (values, values[:-1], values[:, :-1]):
            expected = float(np.median(frame[frame > threshold]))
            assert lines._median_above(frame, threshold) == expected
    assert lines._median_above(-np.abs(values), 0) == 0


@pytest.mark.parametrize("cut", [0, 1, 12, 60, 255])
def test_faint_lines_are_cut(cut):
    """As InvokeAI cuts them, on the 8 bits that the references truncate to."""
    picture = tensor(PHOTOGRAPHS["coffee"])
    whole, ours = (catalogue("lineart")(picture, cut_below=below) for below in (0, cut))
    levels = np.floor(whole.numpy() * np.float32(255))
    assert np.array_equal(ours.numpy(), np.where(levels < cut, 0, whole.numpy()))
    assert (ours == 0).float().mean() > (whole == 0).float().mean() or cut < 2
