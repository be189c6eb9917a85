"""Residual arithmetic and masks, against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from pack.control import residuals
from pack.control.masks import effect_mask


def tensors(*values):
    return [None if v is None else torch.full((2, 1, 1, 1), float(v)) for v in values]


def values(residual_list):
    return [None if r is None else r.flatten()[0].item() for r in residual_list]


def test_merge_adds_place_by_place():
    a = {"input": tensors(1), "middle": [], "output": tensors(1, None, 3)}
    b = {"middle": tensors(5), "output": tensors(10, 20)}
    out = residuals.merge(a, b)
    assert {place: values(out[place]) for place in out} == {"input": [1], "middle": [5], "output": [11, 20, 3]}


def test_nothing_writes_to_what_it_was_given():
    a = {"middle": tensors(2), "output": tensors(1, 2)}
    kept = {place: [r.clone() for r in a[place]] for place in a}
    out = residuals.merge(None, a)
    assert out["output"] is not a["output"]
    out["output"].pop()
    residuals.merge(a, a)
    residuals.weigh(a, lambda n: [0.5] * n)
    residuals.each(a, lambda r: r * 2)
    assert all(x.equal(y) for place in a for x, y in zip(a[place], kept[place], strict=True))


def test_weigh_runs_from_the_first_block_to_the_middle():
    a = {"input": tensors(7), "middle": tensors(1), "output": tensors(1, 1, None)}
    out = residuals.weigh(a, lambda count: [i + 1 for i in range(count)])
    assert values(out["output"]) == [1, 2, None]
    assert values(out["middle"]) == [4]
    assert values(out["input"]) == [7]


def test_spread_rows():
    a = {"output": [torch.arange(2.0).reshape(2, 1) + 1]}
    assert residuals.spread_rows(a, [1, 3], 4)["output"][0].flatten().tolist() == [0, 1, 0, 2]


def test_a_mask_of_ones_is_none_and_zeros_are_known():
    assert effect_mask(torch.ones(1, 4, 4)) is None
    assert effect_mask(torch.full((4, 4), 7.0)) is None
    assert effect_mask(torch.zeros(4, 4)).is_zero
    assert not effect_mask(torch.eye(4)).is_zero


def test_masks_shrink_by_averaging():
    mask = effect_mask(torch.tensor([[[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]]))
    assert mask.sized(1, 1, (2, 2), (4, 4)).flatten().tolist() == [1.0, 0.0, 0.25, 0.0]


def test_masks_are_cropped_like_the_hosts_hints():
    """A wide mask on a square latent: the host cuts the hint's sides away, so the mask's too."""
    wide = torch.zeros(1, 4, 8)
    wide[:, :, :2] = 1.0
    wide[:, :, 4:] = 1.0
    sized = effect_mask(wide).sized(1, 1, (4, 4), (64, 64))
    assert sized[0, 0, 0].tolist() == [0, 0, 1, 1]


def test_masks_go_to_batch_entries_and_repeat_for_each_prompt():
    masks = torch.stack([torch.full((2, 2), v) for v in (0.1, 0.2)])
    sized = effect_mask(masks).sized(6, 2, (1, 1), (2, 2))
    assert sized.flatten().tolist() == pytest.approx([0.1, 0.2, 0.1] * 2)


@pytest.mark.parametrize("bad", [torch.ones(0, 4, 4), torch.ones(2, 3, 4, 4), torch.full((2, 2), float("inf"))])
def test_bad_masks_get_a_sentence(bad):
    with pytest.raises(ValueError, match="effect_mask: expected"):
        effect_mask(bad)
