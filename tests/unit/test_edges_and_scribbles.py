"""Canny, scribbles and the classical lineart equal what their ControlNets were trained on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pack.preprocessors import edges, images, lines, scribble
from workbench.photographs import PHOTOGRAPHS, levels, tensor
from workbench.references import controlnet_aux

SIZES = [(64, 64), (37, 53), (1, 1), (1, 50), (50, 1), (2, 3)]

photograph = pytest.mark.parametrize("photo", PHOTOGRAPHS.values(), ids=PHOTOGRAPHS)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape)


@photograph
@pytest.mark.parametrize(
    "thresholds", [(100, 200), (0, 0), (0, 255), (255, 255), (50, 40), (1, 2)], ids=str
)
def test_canny_is_opencvs_byte_for_byte(photo, thresholds):
    low, high = thresholds
    hint = edges.canny(tensor(photo), low_threshold=low, high_threshold=high)
    assert (levels(hint) == cv2.Canny(photo, low, high)).all()


@pytest.mark.parametrize("size", [*SIZES, (90, 131)], ids=str)
def test_canny_finds_the_steepest_channel_as_opencv_does(size):
    """Noise has every order of channels and many ties; soft noise has lines that hang together."""
    levels_of_noise = (noise(1, *size, 3)[0].numpy() * 255).astype(np.uint8)
    for picture in (
        levels_of_noise,
        levels_of_noise // 64 * 64,
        cv2.GaussianBlur(levels_of_noise, (0, 0), 2),
    ):
        for low, high in ((100, 200), (20, 60)):
            hint = edges.canny(tensor(picture), low_threshold=low, high_threshold=high)
            assert (levels(hint) == cv2.Canny(picture, low, high)).all()


@photograph
@pytest.mark.parametrize("cores", [2, 5])
def test_a_frame_in_bands_is_the_frame(photo, cores, monkeypatch):
    def drawn() -> list[torch.Tensor]:
        sigmas = (lines.lineart(tensor(photo), gaussian_sigma=sigma) for sigma in (0.6, 6.0, 17.3))
        return [scribble.xdog(tensor(photo)), *sigmas]

    monkeypatch.setattr(images, "_cores", lambda: 1)
    whole = drawn()
    monkeypatch.setattr(images, "_cores", lambda: cores)
    assert all(one.equal(other) for one, other in zip(drawn(), whole, strict=True))


@photograph
@pytest.mark.parametrize(
    ("resolution", "interpolation"), [(200, cv2.INTER_AREA), (600, cv2.INTER_CUBIC)]
)
def test_canny_at_another_resolution(photo, resolution, interpolation):
    height, width = images.fitted(*photo.shape[:2], resolution)
    smaller = cv2.resize(photo, (width, height), interpolation=interpolation)
    assert (
        levels(edges.canny(tensor(photo), resolution=resolution)) == cv2.Canny(smaller, 100, 200)
    ).all()


@photograph
@pytest.mark.parametrize("threshold", [0, 1, 127, 255])
def test_scribble_is_controlnets(photo, threshold):
    reference = np.where(photo.min(axis=2) < threshold, 255, 0)
    assert (
        levels(scribble.scribble(tensor(photo), threshold=threshold, invert="off")) == reference
    ).all()
    inverted = np.where((255 - photo).min(axis=2) < threshold, 255, 0)
    assert (
        levels(scribble.scribble(tensor(photo), threshold=threshold, invert="on")) == inverted
    ).all()


@pytest.mark.parametrize("size", [*SIZES, (7, 5000)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_scribble_is_right_at_any_size(size, channels):
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, channels), dtype=np.uint8)
    reference = np.where(frames.min(axis=3, keepdims=True) < 127, 1.0, 0.0)
    hint = scribble.scribble(tensor(*frames), invert="off")
    assert (hint.numpy() == reference).all()


def page(paper: int, ink: int) -> np.ndarray:
    """Make a square drawn on a page that has a thin ruled frame of the ink's colour at its very
    edge.
    """
    drawn = np.full((128, 128, 3), paper, np.uint8)
    cv2.rectangle(drawn, (0, 0), (127, 127), (ink,) * 3, 1)
    cv2.rectangle(drawn, (40, 40), (80, 80), (ink,) * 3, 3)
    return drawn


def test_auto_draws_the_ink_in_white_for_each_frame():
    light, dark = page(paper=240, ink=10), page(paper=20, ink=250)
    hints = scribble.scribble(tensor(light, dark), invert="auto")
    assert hints[0].equal(hints[1])
    assert hints[0].equal(scribble.scribble(tensor(light), invert="off")[0])
    assert hints[0, 40, 60].tolist() == [1, 1, 1]
    assert hints[0, 60, 60].tolist() == [0, 0, 0]


def reference_xdog(photo: np.ndarray, threshold: float) -> np.ndarray:
    """Compute the ControlNet tools' formula in exact arithmetic, without 8-bit wrap-around."""
    picture = photo.astype(np.float32)
    difference = cv2.GaussianBlur(picture, (0, 0), 5.0) - cv2.GaussianBlur(picture, (0, 0), 0.5)
    return np.where(2 * np.maximum(0, difference.min(axis=2)) > threshold, 255, 0)


@photograph
@pytest.mark.parametrize("threshold", [1, 32, 33, 64])
def test_xdog_is_the_difference_of_gaussians(photo, threshold):
    assert (
        levels(scribble.xdog(tensor(photo), threshold=threshold))
        == reference_xdog(photo, threshold)
    ).all()


def test_xdog_keeps_the_strongest_edges():
    """A black line on white differs by more than 127 levels, which the references' 8 bits cannot
    double.
    """
    line = np.full((64, 64, 3), 255, np.uint8)
    line[:, 32] = 0
    assert levels(scribble.xdog(tensor(line)))[:, 32].min() == 255


@pytest.fixture(scope="module")
def lineart_reference():
    with controlnet_aux():
        from controlnet_aux.lineart_standard import LineartStandardDetector
    return LineartStandardDetector()


@photograph
@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning"
)  # the reference takes the median of nothing at threshold 255
@pytest.mark.parametrize(("sigma", "threshold"), [(6.0, 8), (2.0, 3), (6.0, 255)])
def test_standard_lineart_is_the_tools_within_a_level(lineart_reference, photo, sigma, threshold):
    square = cv2.resize(
        photo, (512, 512), interpolation=cv2.INTER_AREA
    )  # the reference's own resizing does nothing
    expected = lineart_reference(
        square, guassian_sigma=sigma, intensity_threshold=threshold, output_type="np"
    )
    hint = lines.lineart(tensor(square), gaussian_sigma=sigma, intensity_threshold=threshold)
    difference = levels(hint) - expected[..., 0].astype(np.float64)
    assert np.abs(difference).max() <= 1
    assert (
        np.floor(levels(hint) + 1e-4) == expected[..., 0]
    ).mean() > 0.999  # it truncates, ours is float


def test_an_unknown_lineart_engine_is_refused():
    with pytest.raises(ValueError, match="no lineart engine 'pencil'"):
        lines.lineart(noise(1, 8, 8, 3), engine="pencil")
