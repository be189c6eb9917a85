"""The example workflows in the host's own page, in both of its renderers."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from workbench import environment, hosts, server, workflow

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "tests" / "output"
EXAMPLES = {
    file.stem: json.loads(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / "example_workflows").glob("*.json"))
}
STRANGER = {"nodes": [{"id": 1, "type": "NoSuchNode", "pos": [0, 0], "size": [200, 60]}], "links": [], "version": 0.4}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
PLAYWRIGHT = "playwright-core@1.65.1"


@pytest.fixture(scope="session")
def chromium() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not found:
        pytest.skip("no Chromium was found: install it (apt-get install chromium) or set CHROMIUM to its program")
    return found


@pytest.fixture(scope="session")
def playwright() -> Path:
    """The folder of playwright-core, which drives the browser; fetched once, beside the Python environment."""
    folder = environment.HOME / "browser"
    if not shutil.which("node"):
        pytest.skip("node was not found: install Node.js 20 or newer")
    if not (folder / "node_modules" / "playwright-core").exists():
        if not (npm := shutil.which("npm")):
            pytest.skip("npm was not found: install it to fetch playwright-core")
        folder.mkdir(parents=True, exist_ok=True)
        words = [npm, "install", "--silent", "--no-save", "--prefix", str(folder), PLAYWRIGHT]
        ended = subprocess.run(words, capture_output=True, text=True)
        if ended.returncode:
            pytest.skip(f"npm could not fetch {PLAYWRIGHT}: {ended.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    if not (found := hosts.find()):
        pytest.skip("no ComfyUI was found: set COMFYUI_DIR")
    base = tmp_path_factory.mktemp("base")
    draw = runpy.run_path(str(ROOT / "demo" / "picture.py"))["draw"]
    for name in ("example.png", "my_pictures/1.png"):
        draw(base / "input" / name)
    with server.running(found[0], base) as running:
        yield running


@pytest.fixture(scope="session", params=[False, True], ids=["classic", "nodes2"])
def seen(request, chromium, playwright, running, tmp_path_factory) -> dict:
    """What the page made of each example, and of the link that the demo opens."""
    PICTURES.mkdir(exist_ok=True)
    ask = {
        "playwright": str(playwright),
        "chromium": chromium,
        "address": running.address,
        "vue": request.param,
        "workflows": {**EXAMPLES, "stranger": STRANGER},
        "template": "two_control_stack",
        "pictures": str(PICTURES),
    }
    return {"asked": ask, **look(ask, tmp_path_factory.mktemp("ask"))}


def look(ask: dict, folder: Path) -> dict:
    (folder / "ask.json").write_text(json.dumps(ask), encoding="utf-8")
    words = ["node", str(Path(__file__).with_name("page.mjs")), str(folder / "ask.json")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_opens_whole(seen, name):
    assert seen[name]["vue"] == seen["asked"]["vue"], "the page did not take the renderer that was asked for"
    assert seen[name]["missing"] == []
    assert seen[name]["errors"] == []


def test_a_node_that_the_host_lacks_would_be_seen(seen):
    assert seen["stranger"]["missing"] == ["NoSuchNode"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_node_lies_on_another(seen, name):
    assert seen[name]["overlaps"] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_page_queues_the_prompt_that_the_demo_runs(seen, running, name):
    assert seen[name]["prompt"] == workflow.to_prompt(EXAMPLES[name], running.ask("/object_info"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_saving_keeps_every_value(seen, name):
    """What the page would save holds the values of the file, node by node."""
    kept = {node["id"]: node.get("widgets_values") or [] for node in seen[name]["saved"]["nodes"]}
    assert kept == {node["id"]: node.get("widgets_values") or [] for node in EXAMPLES[name]["nodes"]}


def test_link_of_the_demo_opens_the_example(seen):
    assert seen["template"]["prompt"] == seen["two_control_stack"]["prompt"]


def posed(example: dict) -> dict:
    """The example as it sits for its picture: a training is made short, and finds something to train on."""
    example = json.loads(json.dumps(example))
    for node in example["nodes"]:
        if node["type"] == "ControlStackDataset":
            node["widgets_values"][4:6] = 64, 64
        if node["type"] == "ControlStackTrain":
            node["widgets_values"] = [60, 4, 1, 1e-3, 0.01, 0.5, 0, "fp32", False, False, 30, "", 0]
    return example


def test_pictures_of_the_templates(chromium, playwright, running, tmp_path, pytestconfig):
    """With --write-pictures, takes the pictures that the template browser shows; else looks whether they are there."""
    if pytestconfig.getoption("--write-pictures", default=False):
        ask = {"playwright": str(playwright), "chromium": chromium, "address": running.address, "vue": False}
        posing = {name: posed(example) for name, example in EXAMPLES.items()}
        look({**ask, "workflows": posing, "pictures": str(tmp_path), "portrait": True}, tmp_path)
        for name in EXAMPLES:
            shot = Image.open(tmp_path / f"{name}-classic.png").convert("RGB")
            shot.thumbnail((1200, 1200), Image.Resampling.LANCZOS)
            shot.save(ROOT / "example_workflows" / f"{name}.jpg", quality=85, optimize=True)
    for name in EXAMPLES:
        assert Image.open(ROOT / "example_workflows" / f"{name}.jpg").width >= 800
