"""Start one host for all HTTP tests: the newest one, or the one that COMFYUI_DIR names."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from workbench import hosts, server, workflow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def host() -> hosts.Host:
    installed = hosts.find()
    if not installed:
        pytest.skip("no ComfyUI was found: set COMFYUI_DIR")
    return installed[0]


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """Make the host's base directory, with what the templates read in it."""
    folder = tmp_path_factory.mktemp("base")
    runpy.run_path(str(ROOT / "demo" / "picture.py"))["draw"](folder / "input" / "example.png")
    (folder / "models" / "wide").mkdir(parents=True)  # unions and their model are written too
    return folder


@pytest.fixture(scope="session")
def running(host, base):
    with server.running(host, base) as running:
        yield running


@pytest.fixture(scope="session")
def object_info(running):
    return running.ask("/object_info")


@pytest.fixture
def example(object_info):
    """Return an example workflow in API form, made small: 256 x 256 and few steps."""

    def read(name: str, *, steps: int = 4) -> dict:
        file = ROOT / "example_workflows" / f"{name}.json"
        prompt = workflow.to_prompt(json.loads(file.read_text(encoding="utf-8")), object_info)
        for node in prompt.values():
            small = {"width": 256, "height": 256, "steps": steps}
            node["inputs"] |= {key: value for key, value in small.items() if key in node["inputs"]}
        return prompt

    return read
