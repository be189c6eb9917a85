"""Check what ComfyUI tells its frontend about the pack."""

from __future__ import annotations

import importlib.util
import io
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PINNED = ROOT / "tests" / "node_surface.json"
EXAMPLES = sorted(file.stem for file in (ROOT / "example_workflows").glob("*.json"))

_spec = importlib.util.spec_from_file_location("surface", Path(__file__).with_name("surface.py"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
surface, broken = _module.surface, _module.broken


def test_surface_is_what_saved_workflows_rely_on(object_info):
    now, pinned = surface(object_info), json.loads(PINNED.read_text(encoding="utf-8"))
    assert broken(pinned, now) == [], "saved workflows would break: undo this"
    assert now == pinned, "run python3 tests --accept"


def test_every_node_has_a_help_page(running, object_info):
    for node in surface(object_info):
        file = ROOT / "js" / "docs" / f"{node}.md"
        assert file.exists(), f"{node} has no help page: write js/docs/{node}.md"
        page = running.ask(f"/extensions/controlstack/docs/{node}.md").decode()
        assert object_info[node]["display_name"] in page, f"{node}.md does not name its node"


def test_templates_are_offered(running):
    assert sorted(running.ask("/api/workflow_templates")["controlstack"]) == EXAMPLES


def test_files_of_the_pack_that_templates_read_are_in_their_lists(object_info):
    files = object_info["ControlStackLoadPose"]["input"]["required"]["file"][1]["options"]
    there = {
        f"{file.name} [controlstack]" for file in (ROOT / "example_workflows/inputs").iterdir()
    }
    assert there <= set(files)


@pytest.mark.parametrize("name", EXAMPLES)
def test_template_has_a_picture(running, name):
    shown = running.ask(f"/api/workflow_templates/controlstack/{quote(name)}.jpg")
    assert len(shown) <= 200_000
    assert min(Image.open(io.BytesIO(shown)).size) >= 400


@pytest.mark.parametrize("name", EXAMPLES)
def test_template_has_no_node_that_this_host_lacks(object_info, name):
    workflow = json.loads((ROOT / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    inside = workflow.get("definitions", {}).get("subgraphs", [])
    drawn_by_the_page = {"Note", "MarkdownNote", *(each["id"] for each in inside)}
    nodes = [*workflow["nodes"], *(node for each in inside for node in each["nodes"])]
    assert {node["type"] for node in nodes} - drawn_by_the_page <= object_info.keys()


FOLDERS = {
    "CheckpointLoaderSimple": "checkpoints",
    "ControlStackLoad": "controlnet",
    "UNETLoader": "diffusion_models",
    "CLIPLoader": "text_encoders",
    "VAELoader": "vae",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_template_says_where_its_models_are(name):
    """Every loader names an https address of a safetensors file, which the frontend offers."""
    workflow = json.loads((ROOT / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        if node["type"] in FOLDERS:
            (model,) = node["properties"]["models"]
            folder, _, name = node["widgets_values"][0].rpartition("/")
            assert model["name"] == name
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith(f"/{model['name']}")
            assert model["directory"] == (folder or FOLDERS[node["type"]])


@pytest.mark.parametrize(
    "page", sorted((ROOT / "js" / "docs").glob("*.md")), ids=lambda page: page.stem
)
def test_pictures_of_the_help_page_are_there(page):
    for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / name).stat().st_size <= 200_000
