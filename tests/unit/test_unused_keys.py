"""Keys of a file against those of the net that was built from it."""

from __future__ import annotations

import pytest

from pack.files.leftovers import Count, other_count, unused

NET = {f"blocks.{i}.weight" for i in range(19)} | {f"after.{i}.bias" for i in range(19)}


def test_names_that_loaders_change_are_the_nets():
    net = {"in.attn.in_proj.weight", "double_blocks.0.query_norm.weight", "zero_convs.0.0.weight"}
    file = ["in.attn.in_proj_weight", "double_blocks.0.query_norm.scale"]
    assert unused([*file, "control_model.zero_convs.0.0.weight"], net) == []


def test_what_is_not_a_weight_is_not_missed():
    marks = ("difference", "lora_controlnet", "scaled_fp8", "blocks.0.scale_weight")
    assert unused([*NET, *marks, "bn.num_batches_tracked"], NET) == []


def test_extra_weights_are_listed():
    assert unused([*NET, "b.weight", "a.weight"], NET) == ["b.weight", "a.weight"]


def test_a_table_that_was_renamed_in_a_copy_does_not_tell():
    assert unused(["down.0.weight", "down.1.weight"], NET) == []


@pytest.mark.parametrize("count", [1, 18, 25])
def test_blocks_are_counted_both_ways(count):
    file = {f"blocks.{i}.weight" for i in range(count)} | {f"after.{i}.bias" for i in range(19)}
    assert other_count(file, NET) == Count("blocks", count, 19)
    prefixed = {f"control_model.{key}" for key in file}
    assert other_count(prefixed, NET) == Count("blocks", count, 19)


def test_lists_of_other_names_are_not_compared():
    assert other_count({f"transformer_blocks.{i}.weight" for i in range(5)}, NET) is None
    assert other_count(NET, NET) is None
