"""The extras: equal to the references where those are right, and right where those are not."""

from __future__ import annotations

import sys
import types
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from skimage import color as skimage_color
from skimage import data

from pack.preprocessors import color

PHOTO = cv2.resize(data.coffee(), (192, 128), interpolation=cv2.INTER_AREA)


def tensor(*frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(frames).astype(np.float32) / 255)


def levels(hint: torch.Tensor) -> np.ndarray:
    return hint[0].numpy() * 255


# Tile


def centre_of(hint: torch.Tensor) -> tuple[float, float]:
    """Where the light of a dark picture is, in px."""
    light = hint[0, ..., 0].double().numpy()
    rows, columns = np.indices(light.shape)
    return float((rows * light).sum() / light.sum()), float((columns * light).sum() / light.sum())


@pytest.mark.parametrize("size", [(128, 192), (131, 187)], ids=str)
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_tile_moves_nothing(size, steps):
    """A square of whole cells of the coarsest level, well inside: its light stays where it is."""
    picture = np.zeros((*size, 3), np.uint8)
    picture[48:80, 64:128] = 255
    assert centre_of(color.tile(tensor(picture), pyramid_steps=steps)) == pytest.approx(
        (63.5, 95.5), abs=0.01
    )


def test_the_references_tile_moves_by_three_and_a_half():
    """Why ours is not the reference: halved by area, doubled by pyramids."""
    picture = np.zeros((128, 192, 3), np.uint8)
    picture[48:80, 64:128] = 255
    reference = cv2.resize(picture, (24, 16), interpolation=cv2.INTER_AREA)
    for _ in range(3):
        reference = cv2.pyrUp(reference)
    assert centre_of(tensor(reference)) == pytest.approx((60, 92), abs=0.1)
    # Put back in its place, it is as blurred as ours.
    back = cv2.warpAffine(reference, np.float32([[1, 0, 3.5], [0, 1, 3.5]]), (192, 128))
    assert np.abs(levels(color.tile(tensor(picture))) - back).mean() < 2


def test_tile_keeps_what_has_no_detail_and_takes_what_has():
    flat = np.full((100, 90, 3), [30, 150, 220], np.uint8)
    assert np.abs(levels(color.tile(tensor(flat))) - flat).max() < 0.01
    checks = np.indices((128, 128)).sum(0) % 2 * 255
    grey = levels(color.tile(tensor(np.repeat(checks[..., None], 3, 2).astype(np.uint8))))
    assert np.abs(grey - 127.5).max() < 0.01


# Shuffle


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_shuffle_is_the_references_with_its_generator_seeded(seed):
    spec = find_spec("controlnet_aux")
    assert spec is not None
    before = {name for name in sys.modules if name.startswith("controlnet_aux")}
    hollow = types.ModuleType("controlnet_aux")
    hollow.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["controlnet_aux"] = hollow
    from controlnet_aux.shuffle import ContentShuffleDetector

    np.random.seed(seed)
    expected = ContentShuffleDetector()(
        PHOTO, detect_resolution=128, image_resolution=128, output_type="np"
    )
    for name in [
        name for name in sys.modules if name.startswith("controlnet_aux") and name not in before
    ]:
        del sys.modules[name]
    assert (levels(color.shuffle(tensor(PHOTO), seed=seed)).round() == expected).all()


def test_frames_shuffle_alike_and_seeds_do_not():
    hints = color.shuffle(tensor(PHOTO, PHOTO), seed=3, cell_px=64)
    assert hints[0].equal(hints[1])
    assert not hints[0].equal(color.shuffle(tensor(PHOTO), seed=4, cell_px=64)[0])


# Grid, tones, light and dark


def test_color_grid_is_the_mean_of_each_cell():
    expected = PHOTO.reshape(2, 64, 3, 64, 3).mean((1, 3)).repeat(64, 0).repeat(64, 1)
    assert (
        np.abs(levels(color.color_grid(tensor(PHOTO))) - expected).max() <= 0.51
    )  # it is rounded to a level


def test_luminance_is_cie_labs_lightness():
    expected = skimage_color.rgb2lab(PHOTO)[..., 0] * 2.55
    assert (
        np.abs(levels(color.recolor(tensor(PHOTO)))[..., 0] - expected).max() < 1.5
    )  # OpenCV's tables are 8-bit


def test_recolor_in_the_references_channel_order():
    reference = cv2.cvtColor(PHOTO, cv2.COLOR_BGR2LAB)[..., 0]
    hint = levels(color.recolor(tensor(PHOTO), channel_order="reference"))[..., 0]
    assert (hint.round() == reference).all()
    assert np.abs(hint - levels(color.recolor(tensor(PHOTO)))[..., 0]).max() > 10


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_intensity_is_the_greatest_channel(gamma):
    expected = (PHOTO.max(2) / 255.0) ** gamma * 255
    assert (
        np.abs(
            levels(color.recolor(tensor(PHOTO), tone="intensity", gamma=gamma))[..., 0] - expected
        ).max()
        < 0.01
    )


def test_light_and_dark():
    luma = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)
    otsu = cv2.threshold(luma, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]
    assert (
        levels(color.brightness(tensor(PHOTO), threshold=90))[..., 0] == np.where(luma > 90, 255, 0)
    ).all()
    assert (
        levels(color.brightness(tensor(PHOTO), level="otsu", threshold=3))[..., 0] == otsu
    ).all()
    assert (levels(color.brightness(tensor(PHOTO), level="grey"))[..., 0].round() == luma).all()


# Inpainting


@pytest.mark.parametrize("masked", ["-1", "0", "0.5", "1"])
def test_masked_pixels_are_marked_and_the_rest_is_untouched(masked):
    picture, mask = torch.rand(2, 20, 30, 3), torch.zeros(2, 20, 30)
    mask[0, 5:9, 4:12], mask[1, :, 20:], mask[1, 0, 0] = 1, 0.51, 0.5
    hint = color.inpaint_hint(picture, masked=masked, mask=mask)
    assert hint[mask > 0.5].unique().tolist() == [float(masked)]
    assert hint[mask <= 0.5].equal(picture[mask <= 0.5])


def test_one_mask_for_all_frames_at_another_size():
    mask = torch.zeros(10, 10)
    mask[:, 5:] = 1
    hint = color.inpaint_hint(torch.full((3, 40, 60, 3), 0.3), mask=mask, resolution=20)
    assert hint.shape == (3, 20, 30, 3)
    assert (hint[:, :, 15:] == -1).all()
    assert (hint[:, :, :15] - 0.3).abs().max() < 1e-6


def test_masks_that_are_not_as_many_are_refused():
    with pytest.raises(ValueError, match="mask has 2 frames and the picture 3"):
        color.inpaint_hint(torch.rand(3, 8, 8, 3), mask=torch.zeros(2, 8, 8))
