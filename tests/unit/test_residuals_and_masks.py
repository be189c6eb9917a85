"""Check residual arithmetic and masks against values worked out by hand."""

from __future__ import annotations

import random

import pytest
import torch

from pack.control import fits, frames, hints, residuals, reuse
from pack.control.masks import effect_mask


def tensors(*values):
    return [None if v is None else torch.full((2, 1, 1, 1), float(v)) for v in values]


def values(residual_list):
    return [None if r is None else r.flatten()[0].item() for r in residual_list]


def test_merge_adds_place_by_place():
    a = {"input": tensors(1), "middle": [], "output": tensors(1, None, 3)}
    b = {"middle": tensors(5), "output": tensors(10, 20)}
    out = residuals.merge(a, b)
    assert {place: values(out[place]) for place in out} == {
        "input": [1],
        "middle": [5],
        "output": [11, 20, 3],
    }


def test_adding_with_strength_is_scaling_and_adding():
    """One member after another, each into the memory of the sum before it."""
    nets = [{"output": tensors(1, None, 3), "middle": tensors(2)}, {"output": tensors(4, 5)}]
    total = residuals.add_scaled(None, nets[0], 0.5, own_is_free=True)
    places = [id(residual) for residual in total["output"] if residual is not None]
    total = residuals.add_scaled(total, nets[1], 2.0, own_is_free=True)
    assert {place: values(total[place]) for place in total} == {
        "input": [],
        "middle": [1.0],
        "output": [8.5, 10.0, 1.5],
    }
    assert [id(total["output"][0]), id(total["output"][2])] == places


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_adding_leaves_what_others_read(strength):
    """Stored residuals, another node's sum, and a tensor that stands in several places."""
    stored, other, shared = tensors(3)[0], tensors(4)[0], tensors(5)[0]
    total = residuals.add_scaled(None, {"output": [stored]}, strength, own_is_free=False)
    residuals.add_scaled(total, {"output": tensors(1)}, 0.5, own_is_free=True)
    residuals.add_scaled({"output": [other]}, {"output": [stored]}, strength, own_is_free=False)
    both = residuals.add_scaled(None, {"input": [shared] * 2}, strength, own_is_free=True)
    more = residuals.add_scaled(both, {"input": tensors(1, 2)}, 1.0, own_is_free=True)
    assert values([stored, other, shared]) == [3.0, 4.0, 5.0]
    assert values(more["input"]) == [5 * strength + 1, 5 * strength + 2]


def test_a_step_is_told_by_its_sigma():
    """All calls between two sigmas of the sampler are of the step that begins at the higher."""
    sigmas = (10.0, 5.0, 2.0, 0.0)
    given = [12.0, 10.0, 9.99995, 7.0, 5.00001, 5.0, 3.0, 2.0, 0.5]
    assert [reuse.step_of(sigma, sigmas) for sigma in given] == [0, 0, 0, 0, 1, 1, 1, 2, 2]


def test_rows_of_shared_prompts():
    """Two tiles of a negative and a positive with two latents; the first of them stays as it is."""
    rows = frames.Rows((0, 1), 2, (1,), (0, 1), tiles=2)
    asked = rows.asked((1, 1))
    assert (rows.indices, asked.indices) == ([1, 3, 5, 7], [3, 7])
    assert rows.served_by(asked, (1, 1)) == [0, 0, 1, 1]
    picked = residuals.pick_rows({"output": [torch.arange(2.0)[:, None]]}, [0, 0, 1, 1])
    assert picked["output"][0].flatten().tolist() == [0, 0, 1, 1]


def test_no_function_writes_to_its_input():
    a = {"middle": tensors(2), "output": tensors(1, 2)}
    before = {place: [r.clone() for r in a[place]] for place in a}
    out = residuals.merge(None, a)
    assert out["output"] is not a["output"]
    out["output"].pop()
    residuals.merge(a, a)
    residuals.weigh(a, lambda n, heights: [0.5] * n)
    residuals.each(a, lambda r: r * 2)
    assert all(x.equal(y) for place in a for x, y in zip(a[place], before[place], strict=True))


def test_weigh_runs_from_the_first_block_to_the_middle():
    a = {"input": [], "middle": tensors(1), "output": tensors(1, 1, 1)}
    out = residuals.weigh(a, lambda count, heights: [i + 1 for i in range(count)])
    assert values(out["output"]) == [1, 2, 3]
    assert values(out["middle"]) == [4]


def test_weigh_knows_that_features_come_deepest_first():
    """In ComfyUI the UNet pops the last of a T2I-Adapter's features first: it is the shallowest."""
    a = {"input": tensors(1, None, 1, None, 1, None, None), "middle": tensors(1)}
    out = residuals.weigh(a, lambda count, heights: [10 + i for i in range(count)])
    assert values(out["input"]) == [12, None, 11, None, 10, None, None]
    assert values(out["middle"]) == [13]


def test_a_tensor_that_stands_in_several_places_is_one_block():
    """A transformer's tokens come in the order of its blocks, double before single."""
    a, b, c = (torch.full((1, 4, 2), value) for value in (1.0, 2.0, 3.0))
    shared = {"input": [a, None, a, b, b], "output": [c, c, a]}
    assert [block[0, 0, 0] for block in residuals.own_blocks(shared)] == [1, 2, 3]
    out = residuals.weigh(shared, lambda count, heights: [10, 1, 0.5][:count])
    assert [r if r is None else r[0, 0, 0] for r in out["input"]] == [10, None, 10, 2, 2]
    assert [r[0, 0, 0] for r in out["output"]] == [1.5, 1.5, 10]
    assert len({id(r) for place in out.values() for r in place if r is not None}) == 3
    assert out["input"][3] is b  # a weight of 1 changes nothing


def test_tokens_are_two_by_two_of_the_latent():
    """A 3 x 5 latent has 2 x 3 tokens: its last row and column stand twice in the last ones."""
    mask = effect_mask(torch.arange(15.0).reshape(1, 3, 5) / 16)
    tokens = mask.tokens([0, 0], 2, (3, 5)) * 16
    assert tokens.shape == (4, 6, 1)
    assert tokens[3].flatten().tolist() == [3, 5, 6.5, 10.5, 12.5, 14]


def test_weights_depend_on_the_heights():
    a = {"output": [torch.ones(1, 1, h, 2) for h in (8, 4, 2)], "middle": [torch.ones(1, 1, 2, 2)]}
    assert residuals.weigh(a, lambda count, heights: heights)["output"][1].flatten()[0] == 4


def test_spread_rows():
    a = {"output": [torch.arange(2.0).reshape(2, 1) + 1]}
    assert residuals.spread_rows(a, [1, 3], 4)["output"][0].flatten().tolist() == [0, 1, 0, 2]
    assert residuals.spread_rows(a, slice(2, 4), 4)["output"][0].flatten().tolist() == [0, 0, 1, 2]
    one = {"input": [torch.full((1, 1), 5.0)]}
    assert residuals.spread_rows(one, [0, 2], 3)["input"][0].flatten().tolist() == [5, 0, 5]


def test_rows_of_a_batch():
    """Two prompts of three latents: only the second prompt acts, without its middle latent."""
    some = frames.Rows((1,), 2, (0, 2), (0, 1, 2))
    assert (some.total, some.indices, some.selection, some.are_all) == (6, [3, 5], [3, 5], False)
    windowed = frames.Rows(
        (0, 1), 2, (0, 1), frames.frames_of(2, {"ad_params": {"sub_idxs": [6, 7]}})
    )
    assert (windowed.acting_frames, windowed.selection, windowed.are_all) == (
        (6, 7),
        slice(0, 4),
        True,
    )
    assert frames.source_indices([0, 1, 2, 3, 4], 2) == [0, 1, 0, 1, 0]


def test_a_mask_of_ones_is_none_and_a_zero_mask_is_recognised():
    assert effect_mask(torch.ones(1, 4, 4)) is None
    assert effect_mask(torch.full((4, 4), 7.0)) is None
    assert effect_mask(torch.zeros(4, 4)).is_zero
    assert not effect_mask(torch.eye(4)).is_zero


def test_a_mask_without_a_batch_is_a_batch_of_one():
    assert effect_mask(torch.zeros(3, 5)).values.shape == (1, 3, 5)
    assert effect_mask(torch.zeros(2, 3, 5)).values.shape == (2, 3, 5)
    assert effect_mask(torch.zeros(2, 1, 3, 5)).values.shape == (2, 3, 5)
    assert effect_mask(torch.zeros(2, 3, 5, 1)).values.shape == (2, 3, 5)


def test_masks_shrink_by_averaging():
    mask = effect_mask(torch.tensor([[[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]]))
    assert mask.sized([0], 1, (2, 2), (4, 4)).flatten().tolist() == [1.0, 0.0, 0.25, 0.0]


def test_masks_are_cropped_like_the_hosts_hints():
    """On a square latent ComfyUI crops the sides of a wide hint, so a wide mask is cropped too."""
    wide = torch.zeros(1, 4, 8)
    wide[:, :, :2] = 1.0
    wide[:, :, 4:] = 1.0
    sized = effect_mask(wide).sized([0], 1, (4, 4), (64, 64))
    assert sized[0, 0, 0].tolist() == [0, 0, 1, 1]


def test_masks_go_to_batch_entries_and_repeat_for_each_prompt():
    masks = torch.stack([torch.full((2, 2), v) for v in (0.1, 0.2)])
    sized = effect_mask(masks).sized([0, 1, 2], 2, (1, 1), (2, 2))
    assert sized.flatten().tolist() == pytest.approx([0.1, 0.2, 0.1] * 2)


def test_masks_follow_frames():
    mask = effect_mask(torch.stack([torch.full((2, 2), v) for v in (0.0, 0.5, 1.0)]))
    assert mask.sized([2, 4], 1, (1, 1), (2, 2)).flatten().tolist() == [1.0, 0.5]
    assert [mask.acts_on(frame) for frame in (0, 1, 3, 5)] == [False, True, False, True]


@pytest.mark.parametrize(
    ("fit", "row"),
    [("crop", [0, 1, 1, 0]), ("stretch", [0.5, 0.5, 0.5, 0.5]), ("pad", [0.5, 0.5, 0.5, 0.5])],
)
def test_masks_fit_as_their_hints_do(fit, row):
    """A wide mask, black with a white middle, on a square picture."""
    wide = torch.zeros(1, 4, 8)
    wide[:, :, 3:5] = 1.0
    wide[:, :2, :2] = wide[:, :2, 6:] = 1.0
    sized = effect_mask(wide).sized([0], 1, (4, 4), (64, 64), fit)
    assert sized.shape == (1, 1, 4, 4)
    if fit == "crop":
        assert sized[0, 0, 3].tolist() == row
    if fit == "stretch":
        assert sized[0, 0, 3].tolist() == [0, 0.5, 0.5, 0]
        assert sized[0, 0, 0].tolist() == [1, 0.5, 0.5, 1]
    if fit == "pad":  # edges go on above and below, so nothing darkens at the border
        assert sized[0, 0, 0].tolist() == sized[0, 0, 1].tolist() == [1, 0.5, 0.5, 1]
        assert sized[0, 0, 3].tolist() == [0, 0.5, 0.5, 0]


def nearest(picture, height, width):
    return torch.nn.functional.interpolate(picture, size=(height, width), mode="nearest-exact")


def test_padding_is_the_borders_median():
    hint = torch.zeros(1, 3, 4, 8)
    hint[:, 0] = 0.25
    hint[:, :, 1:3, 1:7] = 1.0
    out = fits.pad_hint(hint, 8, 8, nearest)
    assert out.shape == (1, 3, 8, 8)
    assert out[0, :, 0, 0].tolist() == [0.25, 0, 0]
    assert out[:, :, 2:6].equal(hint)
    assert fits.pad_hint(hint, 4, 8, nearest).equal(hint)


def test_regions_are_cut_in_percent_or_eighths_of_pixels():
    picture = torch.arange(64 * 32.0).reshape(1, 1, 64, 32)
    assert (
        hints.region_of(("percentage", 0.5, 0.25, 0.5, 0.75), picture)
        .cut(picture)
        .equal(picture[:, :, 32:, 24:])
    )
    assert hints.region_of((2, 1, 4, 3), picture).cut(picture).equal(picture[:, :, 32:48, 24:32])
    assert hints.Region(0.99, 0.99, 0.001, 0.001).cut(picture).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match="reaches to 40x64 pixels, the hint is 32x64"):
        hints.region_of((8, 5, 0, 0), picture)


def test_inpainting_removes_what_is_white():
    hint, mask = torch.full((1, 3, 4, 4), 0.7), torch.zeros(1, 2, 2)
    mask[0, 0, 1] = 1.0
    out = hints.fill_inpaint_area(hint, mask, -1.0, nearest)
    assert (out[:, :, :2, 2:] == -1).all()
    assert (out == -1).sum() == 3 * 4
    assert hints.fill_inpaint_area(hint, mask.repeat(3, 1, 1), 0.0, nearest).shape[0] == 3


def test_thousands_of_random_masks_fail_only_with_a_sentence():
    generator, rng = torch.Generator().manual_seed(5), random.Random(5)
    sentences = []
    for _ in range(4000):
        shape = [
            rng.choice((0, 1, 1, 2, 3, 5, 9)) for _ in range(rng.choice((1, 2, 2, 3, 3, 3, 4, 5)))
        ]
        values = torch.randn(shape, generator=generator) * rng.choice(
            (0.5, 1.0, 1e30, float("inf"))
        )
        try:
            mask = effect_mask(values.to(rng.choice((torch.float32, torch.float16, torch.float64))))
        except ValueError as error:
            sentences.append(str(error))
            continue
        if mask is not None:
            size, picture = [(rng.randrange(1, 12), rng.randrange(1, 12)) for _ in range(2)]
            fit = rng.choice(("crop", "stretch", "pad", "region"))
            sized = mask.sized([0, 3], 2, size, picture, fit)
            assert sized.shape == (4, 1, *size)
            assert bool(((sized >= 0) & (sized <= 1 + 1e-6)).all())
    assert 500 < len(sentences) < 3500
    assert all(sentence.startswith("effect_mask: expected") for sentence in sentences)


@pytest.mark.parametrize(
    "bad", [torch.ones(0, 4, 4), torch.ones(2, 3, 4, 4), torch.full((2, 2), float("inf"))]
)
def test_bad_masks_get_a_sentence(bad):
    with pytest.raises(ValueError, match="effect_mask: expected"):
        effect_mask(bad)
