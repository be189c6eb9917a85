"""What the search of the page finds first, by typing into it; and the ready-made subgraphs.

`python -m pytest tests/browser/test_search.py -s` prints the ranks as a table. The page ranks by
titles, and ComfyUI's own nodes of equal rank come first: a word that is the title of one of them
cannot lead to ours.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WANTED = {
    "controlnet": "ControlNet",
    "control net": "Add ControlNet",
    "apply controlnet": "Apply ControlNet Stack",
    "stack": "Add ControlNet",
    "controlnet stack": "Apply ControlNet Stack",
    "multi controlnet": "Add ControlNet",
    "load controlnet": "Load ControlNet",
    "advanced controlnet": "Add ControlNet",
    "union": "Union ControlNet with Three Hints",
    "aux": "Preprocessor (any)",
    "aio": "Preprocessor (any)",
    "preprocessor": "Preprocessor (any)",
    "canny": "Canny Edge",
    "depth": "Depth",
    "openpose": "Human Pose (OpenPose)",
    "dwpose": "Human Pose (OpenPose)",
    "softedge": "Soft Edge",
    "scribble": "User Scribble",
    "lineart": "Lineart",
    "segmentation": "Segmentation Map",
}
FIRST_AT_LEAST = 16
MEASURED_ON = (0, 33)
CELLS = ("pinned-classic", "pinned-nodes2")
MAIN = ("Load ControlNet", "Add ControlNet", "Apply ControlNet Stack")
TRAINING = (
    "Create a New ControlNet",
    "Training Data Set",
    "Train a New ControlNet",
    "Save Trained ControlNet",
)
BLUEPRINTS = {
    file.stem: json.loads(file.read_text(encoding="ascii"))
    for file in sorted((ROOT / "subgraphs").glob("*.json"))
}


def scenes(stage):
    asked = {"words": [*WANTED], "pictured": "controlnet", "blueprints": BLUEPRINTS}
    for cell in CELLS if stage.host.order >= MEASURED_ON else ():
        yield "search_scenes.mjs", stage.cell(cell, **asked)


@pytest.fixture(scope="module", params=CELLS)
def seen(request, played, host) -> dict:
    if host.order < MEASURED_ON:
        pytest.skip("measured in the page that the newest ComfyUI pins")
    return {"renderer": request.param, **played("search_scenes.mjs", request.param)}


def rank(titles: list[str], title: str) -> int | None:
    return titles.index(title) + 1 if title in titles else None


def test_the_wanted_node_comes_first(seen):
    ranks = {word: rank(seen["ranks"][word], title) for word, title in WANTED.items()}
    print(f"\n{seen['renderer']}: rank of the wanted node")
    for word, title in WANTED.items():
        print(f"  {word:20} {ranks[word] or '-':>3}  {title} (first: {seen['ranks'][word][:1]})")
    assert None not in ranks.values()
    assert list(ranks.values()).count(1) >= FIRST_AT_LEAST
    assert seen["errors"] == []


@pytest.mark.parametrize("word", ["controlnet", "control net", "stack"])
def test_the_nodes_for_training_do_not_come_before_the_main_ones(seen, word):
    titles = seen["ranks"][word]
    places = [rank(titles, title) or len(titles) + 1 for title in TRAINING]
    main = [rank(titles, title) for title in MAIN]
    assert max(filter(None, main[: 2 if word == "stack" else 3])) < min(places)


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_ready_made_subgraph_is_whole(seen, name):
    """Its nodes exist, and what it shows outside is what its nodes run with inside."""
    opened = seen["blueprints"][name]
    assert opened["missing"] == []
    (outer,) = BLUEPRINTS[name]["nodes"]
    (inside,) = BLUEPRINTS[name]["definitions"]["subgraphs"]
    assert opened["inputs"] == [entry["name"] for entry in outer["inputs"]]
    shown = [name for _, name in outer["properties"]["proxyWidgets"]]
    assert opened["widgets"] == dict(zip(shown, outer["widgets_values"], strict=True))
    assert len(opened["prompt"]) == len(inside["nodes"])
    links = {link["id"]: link for link in inside["links"]}
    for entry in (entry for entry in inside["inputs"] if entry["name"] in shown):
        link = links[entry["linkIds"][0]]
        node = next(node for node in inside["nodes"] if node["id"] == link["target_id"])
        inner = node["inputs"][link["target_slot"]]["name"]
        queued = opened["prompt"][f"{outer['id']}:{node['id']}"]["inputs"][inner]
        assert queued == opened["widgets"][entry["name"]]


def test_they_are_offered(running):
    offered = running.ask("/global_subgraphs").values()
    ours = {each["name"] for each in offered if each["info"]["node_pack"].endswith("controlstack")}
    assert ours == set(BLUEPRINTS)
