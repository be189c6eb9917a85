"""Test the drawn world: the same seed is the same scene, its maps agree, and files are checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.world import canvas, model_files, plain_shapes, scenery

SEEDS = [f"test {i}" for i in range(12)]


@pytest.mark.parametrize("draw", [scenery.landscape, plain_shapes.shape])
def test_a_seed_is_a_scene_at_every_size(draw):
    for seed in SEEDS[:4]:
        small, large = draw(seed, 64), draw(seed, 256)
        assert (draw(seed, 64).picture == small.picture).all()
        assert small.prompt == large.prompt
        halved = large.picture.reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(halved - small.picture).mean() < 3
    assert len({draw(seed, 64).prompt for seed in SEEDS}) > 6


@pytest.mark.parametrize("seed", SEEDS)
def test_maps_belong_to_the_picture(seed):
    """Walls have their word's colour where the class map has a house, and the sky is farthest."""
    scene = scenery.landscape(seed, 128)
    light = scenery.LIGHTS[scene.prompt.rpartition(", ")[2]]
    for thing in ("house", "tree", "boat"):
        if thing in scene.colours:
            area = scene.classes == canvas.CLASSES.index(thing)
            colour = scenery.tinted(scene.colours[thing], light)
            assert (np.abs(scene.picture[area].astype(int) - colour).sum(-1) < 6).mean() > 0.1
            assert scene.colours[thing] in scene.prompt
    sky = scene.classes == canvas.CLASSES.index("sky")
    assert scene.depth[sky].max() < scene.depth[~sky].mean()
    assert scene.depth[-1].min() > 0.8
    changes = scene.classes[:, :-1] != scene.classes[:, 1:]
    assert scene.outline[:, :-1][changes].all()


def test_stored_models_are_small_and_close(tmp_path):
    """Keep int8 within half a level of each row's largest weight, and vectors within fp16."""
    tensors = {"a": torch.randn(8, 4, 3, 3) * torch.logspace(-3, 2, 8)[:, None, None, None]}
    tensors |= {"b": torch.randn(7), "c": torch.zeros(2, 3)}
    small = model_files.shrink(tensors)
    assert small["a"].dtype == torch.int8
    grown = model_files.grow(small)
    assert grown.keys() == tensors.keys()
    most = tensors["a"].abs().amax((1, 2, 3), keepdim=True)
    assert bool(((grown["a"] - tensors["a"]).abs() <= 0.52 * most / 127).all())
    assert torch.allclose(grown["b"], tensors["b"], rtol=1e-3)
    assert bool((grown["c"] == 0).all())


def test_a_damaged_model_is_named(tmp_path):
    for name in ("base", "edges"):
        model_files.save({"a": torch.ones(2)}, tmp_path / f"{name}.safetensors")
    model_files.write_sums(tmp_path, "made by a test")
    model_files.check_sums(tmp_path)
    (tmp_path / "edges.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"edges.safetensors: expected the file of SHA256SUMS"):
        model_files.check_sums(tmp_path)
    (tmp_path / "edges.safetensors").unlink()
    with pytest.raises(ValueError, match="found none"):
        model_files.check_sums(tmp_path)
