"""The example workflows in the page that the host pins, in both of its renderers: on every host
that the tests find.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import pytest
from PIL import Image

from workbench import links, workflow

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {
    file.stem: json.loads(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / "example_workflows").glob("*.json"))
}
NETS = {
    model["name"]
    for example in EXAMPLES.values()
    for node in example["nodes"]
    for model in node["properties"].get("models", [])
    if model["directory"] == "controlnet"
}
NODES2_AS_TALL_AS_CLASSIC = (0, 33)  # seen there; on 0.20 and before it is not so
STRANGER = {
    "nodes": [{"id": 1, "type": "NoSuchNode", "pos": [0, 0], "size": [200, 60]}],
    "links": [],
    "version": 0.4,
}


@pytest.fixture(scope="session", params=[False, True], ids=["classic", "nodes2"])
def seen(request, drive, running) -> dict:
    """Open each example and the link that the demo opens; every net that one names exists."""
    ask = {
        "address": running.address,
        "vue": request.param,
        "workflows": {**EXAMPLES, "stranger": STRANGER},
        "template": links.query(ROOT / "example_workflows" / "02 Two ControlNets.json"),
        "pictured": ["07 Depth and normals", "08 People"],
    }
    with named_nets(running.base / "models" / "controlnet"):
        return {"asked": ask, **drive("page.mjs", ask)}


@contextmanager
def named_nets(folder: Path):
    """Every net that an example names, as a link to a tiny one, while this lasts."""
    tiny = folder / "control_v11p_sd15_canny_fp16.safetensors"
    given = [file for file in map(folder.joinpath, sorted(NETS)) if not file.exists()]
    for file in given:
        os.link(tiny, file)
    try:
        yield
    finally:
        for file in given:
            file.unlink()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_opens_whole(seen, name):
    assert seen[name]["vue"] == seen["asked"]["vue"], (
        "the page did not take the renderer that was asked for"
    )
    assert seen[name]["missing"] == []
    assert seen[name]["red"] == []
    assert seen[name]["errors"] == []


def test_a_node_that_the_host_lacks_would_be_seen(seen):
    assert seen["stranger"]["missing"] == ["NoSuchNode"]
    assert len(seen["stranger"]["red"]) == 1


def test_no_node_lies_on_another(seen, host):
    if seen["asked"]["vue"] and host.order < NODES2_AS_TALL_AS_CLASSIC:
        pytest.skip(
            "this host's Nodes 2.0, off by default, draws nodes taller than the templates are laid"
            " out for"
        )
    assert {name: seen[name]["overlaps"] for name in EXAMPLES if seen[name]["overlaps"]} == {}


@pytest.mark.parametrize("name", EXAMPLES)
def test_page_queues_the_prompt_that_the_demo_runs(seen, running, name):
    assert seen[name]["prompt"] == workflow.to_prompt(EXAMPLES[name], running.ask("/object_info"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_saving_keeps_every_value(seen, name):
    """What the page would save holds the values of the file, node by node."""
    remaining = {
        node["id"]: node.get("widgets_values") or [] for node in seen[name]["saved"]["nodes"]
    }
    assert remaining == {
        node["id"]: node.get("widgets_values") or [] for node in EXAMPLES[name]["nodes"]
    }


def test_link_of_the_demo_opens_the_example(seen):
    assert seen["template"]["prompt"] == seen["02 Two ControlNets"]["prompt"]


def posed(example: dict) -> dict:
    """Return the example for its picture: a training is short and has something to train on."""
    example = json.loads(json.dumps(example))
    for node in example["nodes"]:
        if node["type"] == "ControlStackDataset":
            node["widgets_values"][4:6] = 64, 64
        if node["type"] == "ControlStackTrain":
            node["widgets_values"] = [60, 4, 1, 1e-3, 0.01, 0.5, 0, "fp32", False, False, 30, "", 0]
    return example


def test_pictures_of_the_templates(drive, running, tmp_path, pytestconfig):
    """With --write-pictures, takes the pictures that the template browser shows; else looks whether
    they are there.
    """
    if wanted := pytestconfig.getoption("--write-pictures", default=None):
        ask = {
            "address": running.address,
            "vue": False,
            "workflows": {
                name: posed(example) for name, example in EXAMPLES.items() if fnmatch(name, wanted)
            },
            "portrait": True,
        }
        with named_nets(running.base / "models" / "controlnet"):
            drive("page.mjs", {**ask, "pictures": str(tmp_path)})
        for name in ask["workflows"]:
            shot = Image.open(tmp_path / f"{name}-classic.png").convert("RGB")
            shot.thumbnail((1200, 1200), Image.Resampling.LANCZOS)
            shot.save(ROOT / "example_workflows" / f"{name}.jpg", quality=85, optimize=True)
    for name in EXAMPLES:
        assert Image.open(ROOT / "example_workflows" / f"{name}.jpg").width >= 800
