"""Test the drawn world: the same seed is the same scene, its maps agree, and files are checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.world import canvas, drawn_hints, judge, model_files, plain_shapes, scenery

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
    with pytest.raises(ValueError, match=r"expected a hash of depth\.safetensors, found none"):
        model_files.check_sums(tmp_path, ["depth.safetensors"])
    with pytest.raises(ValueError, match="expected stored models"):
        model_files.check_sums(tmp_path / "nowhere")


def line(row: int, columns: slice = slice(None)) -> np.ndarray:
    drawn = np.zeros((32, 32), bool)
    drawn[row, columns] = True
    return drawn


def test_lines_are_compared_within_two_pixels():
    """F1 by hand: all of a line 2 px away is met, none 3 px away; half a line recalls half."""
    assert judge.f1(line(10), line(12)) == 1.0
    assert judge.f1(line(10), line(13)) == 0.0
    assert judge.f1(line(10), np.zeros((32, 32), bool)) == 0.0
    half = judge.f1(line(10), line(10, slice(0, 14)))  # 14 of 32, and 2 px beyond its end
    assert half == pytest.approx(2 * 0.5 / 1.5)
    left = np.broadcast_to(np.arange(32) < 14, (32, 32))
    assert judge.f1(line(10), line(10, slice(0, 14)), left) == 1.0
    assert judge.f1(line(10), line(10, slice(0, 14)), ~left) == 0.0


def test_drawn_pictures_are_judged_as_right():
    """Find the colour of each wall and crown in the drawing itself, and not in another's."""
    scenes = [scenery.landscape(f"judge {i}", 128) for i in range(8)]
    pictures = drawn_hints.pictures(scenes)
    assert set(judge.colours_right(scenes, pictures).values()) == {1.0}
    others = pictures.roll(1, 0)
    assert max(judge.colours_right(scenes, others).values()) < 0.7
    for net in ("edges", "scribble"):
        wanted = judge.strokes(net, pictures)
        assert judge.adherence(net, wanted, wanted) == 1.0
        assert judge.adherence(net, wanted, np.roll(wanted, 1, 0)) < 0.5
    depth = np.stack([scene.depth for scene in scenes])
    assert judge.adherence("depth", depth, 0.5 * depth**3) == pytest.approx(1.0)
    assert judge.adherence("depth", depth, -depth) == pytest.approx(-1.0)


def test_what_all_landscapes_share_does_not_count_beyond_the_layout():
    """By hand: sky fills three rows of four; of the boat's four pixels one is met."""
    wanted = np.zeros((1, 4, 4), np.uint8)
    wanted[0, 3] = 1
    given = np.zeros((1, 4, 4), np.uint8)
    given[0, 3, 0] = 1
    assert judge.adherence("segmentation", wanted, given) == 13 / 16
    assert judge.beyond_layout("segmentation", wanted, given, wanted) == (1 + 1 / 4) / 2
    slope = np.linspace(0, 1, 16).reshape(4, 4)
    bump = np.zeros((2, 4, 4))
    bump[0, 0, 0], bump[1, 3, 3] = 0.02, 0.02
    depths = slope + bump
    mean = depths.mean(0)
    for of, expected in ((depths, 1.0), (depths[::-1], -1.0)):
        measured = judge.beyond_layout("depth", of, depths, depths)
        assert measured == pytest.approx(expected)
    # Both deviate only at two pixels, by half a bump, in opposite directions.
    assert np.abs(depths - mean).max() == pytest.approx(0.01)
    assert judge.adherence("depth", depths[::-1], depths) > 0.9
    assert np.isnan(judge.beyond_layout("edges", wanted, given, wanted))


ABSENT = not (model_files.STORED / model_files.SUMS).exists()


@pytest.mark.skipif(ABSENT, reason="demo/weights is absent: whether control acts is NOT tested")
def test_the_stored_models_are_small_and_those_of_their_hashes():
    files = list(model_files.STORED.glob("*"))
    assert sum(file.stat().st_size for file in files) <= 32e6
    names = [f"{name}.safetensors" for name in ("base", "codec", "reader", *drawn_hints.NETS)]
    assert sorted(file.name for file in files) == sorted([*names, model_files.SUMS])
    model_files.check_sums(model_files.STORED, names)
    text = (model_files.STORED / model_files.SUMS).read_text(encoding="utf-8")
    assert "python3 demo/world --seed" in text.splitlines()[0]
    ignored = (Path(__file__).resolve().parents[2] / ".comfyignore").read_text(encoding="utf-8")
    assert "/demo/" in ignored.splitlines()


def test_a_page_shows_a_picture_once_it_is_there(tmp_path):
    """Exchange only the mark of this picture; `instead` takes the next picture away."""
    from workbench import world_pictures

    page = tmp_path / "README.md"
    page.write_text(
        "<!-- picture docs/a.jpg instead: New -->\n![old](old.jpg)\n\n"
        "<!-- picture docs/b.jpg: Other -->\n![stays](stays.jpg)\n",
        encoding="utf-8",
    )
    world_pictures.reveal(tmp_path / "docs" / "a.jpg", tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("![New](docs/a.jpg)\n\n<!-- picture docs/b.jpg: Other -->\n![stays]")
    world_pictures.reveal(tmp_path / "docs" / "b.jpg", tmp_path)
    assert "![Other](docs/b.jpg)\n![stays](stays.jpg)\n" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["Drawn world", "Train hatching"])
def test_the_demos_workflows_name_the_worlds_files(name):
    text = (Path(__file__).resolve().parents[2] / "demo" / f"{name}.json").read_text("utf-8")
    assert '"drawn_world_fp16.safetensors"' in text
    assert '"drawn_world_edges_fp16.safetensors"' in text


def test_a_template_runs_on_the_worlds_models():
    """Exchange models, words and sizes; a net that the world lacks is told."""
    from workbench import template_results

    def prompt(net: str) -> dict:
        kinds = {
            "1": ("CheckpointLoaderSimple", {"ckpt_name": "v1-5.safetensors"}),
            "2": ("CLIPTextEncode", {"text": "a house", "clip": ["1", 1]}),
            "3": ("CLIPTextEncode", {"text": "blurry", "clip": ["1", 1]}),
            "4": ("ControlStackCreate", {"model": ["1", 0]}),
            "5": ("ControlStackTrain", {"model": ["1", 0], "control_net": ["4", 0]}),
            "6": ("ControlStackLoad", {"control_net_name": net}),
            "7": ("KSampler", {"model": ["5", 1], "cfg": 7.0, "steps": 20}),
            "8": ("ControlStackAdd", {"control_net": ["5", 0]}),
        }
        return {key: {"class_type": kind, "inputs": of} for key, (kind, of) in kinds.items()}

    changed = template_results.with_a_trained_net(prompt("control_v11p_sd15_seg_fp16.safetensors"))
    assert template_results.on_world(changed, "18 Train a ControlNet")
    inputs = {key: node["inputs"] for key, node in changed.items()}
    assert "4" not in inputs
    assert inputs["7"] == {"model": ["1", 0], "cfg": 2.0, "steps": 20}
    assert inputs["8"] == {"control_net": ["5", 0]}
    names = [inputs[key]["control_net_name"] for key in ("5", "6")]
    assert names == [f"drawn_world_{net}_fp16.safetensors" for net in ("edges", "segmentation")]
    assert inputs["2"]["text"] in template_results.HOUSES
    assert inputs["3"]["text"] == ""
    assert not template_results.on_world(
        prompt("control_v11p_sd15_openpose_fp16.safetensors"), "08"
    )
    tile = prompt("control_v11f1e_sd15_tile_fp16.safetensors")
    assert template_results.on_world(tile, "10 Tile and shuffle", ("tile",))
    assert tile["6"]["inputs"]["control_net_name"] == "drawn_world_tile_fp16.safetensors"
