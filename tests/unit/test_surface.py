"""Only what is appended to the nodes' public surface is accepted."""

from __future__ import annotations

import copy
import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINNED = json.loads((ROOT / "tests" / "node_surface.json").read_text(encoding="utf-8"))
broken = runpy.run_path(str(ROOT / "tests" / "http" / "surface.py"))["broken"]
CANNY, ANY = "ControlStackCanny", "ControlStackPreprocess"


@pytest.fixture
def now() -> dict:
    return copy.deepcopy(PINNED)


def choices(surface: dict) -> list:
    (method,) = (one for one in surface[ANY]["inputs"] if one["name"] == "method")
    return method["choices"]


def test_what_is_pinned_is_accepted(now):
    assert broken(PINNED, now) == []


def test_what_is_appended_is_accepted(now):
    now["ControlStackNew"] = now[CANNY]
    now[CANNY]["inputs"].append({"name": "new", "needed": False, "type": "INT", "default": 0})
    now[CANNY]["outputs"].append(["mask", "MASK"])
    choices(now).insert(3, {"choice": "new", "inputs": [{"name": "a", "needed": True}]})
    choices(now)[0]["inputs"].append({"name": "new", "needed": False, "type": "INT"})
    assert broken(PINNED, now) == []


def remove_node(surface):
    del surface[CANNY]


def rename_node(surface):
    surface[CANNY]["shown_as"] = "Edges"


def move_inputs(surface):
    surface[CANNY]["inputs"].reverse()


def insert_input(surface):
    surface[CANNY]["inputs"].insert(1, {"name": "new", "needed": False, "type": "INT"})


def require_input(surface):
    surface[CANNY]["inputs"].append({"name": "new", "needed": True, "type": "INT"})


def change_default(surface):
    surface[CANNY]["inputs"][1]["default"] = 50


def change_type(surface):
    surface[CANNY]["inputs"][1]["type"] = "FLOAT"


def rename_output(surface):
    surface[CANNY]["outputs"][0][0] = "map"


def remove_choice(surface):
    choices(surface).pop()


def move_first_choice(surface):
    choices(surface).append(choices(surface).pop(0))


def change_setting_of_a_choice(surface):
    choices(surface)[0]["inputs"][0]["default"] = 50


@pytest.mark.parametrize(
    "change",
    [
        remove_node,
        rename_node,
        move_inputs,
        insert_input,
        require_input,
        change_default,
        change_type,
        rename_output,
        remove_choice,
        move_first_choice,
        change_setting_of_a_choice,
    ],
    ids=lambda change: change.__name__,
)
def test_what_breaks_saved_workflows_is_refused(now, change):
    change(now)
    assert len(broken(PINNED, now)) == 1
