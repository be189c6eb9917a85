"""Test what demo and tests share, as far as it needs no ComfyUI."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from workbench import hosts, server, workflow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make_host(tmp_path):
    def make(name: str, version: str) -> Path:
        folder = tmp_path / name
        (folder / "comfy").mkdir(parents=True)
        (folder / "comfy" / "controlnet.py").touch()
        (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
        return folder

    return make


def test_named_hosts_come_newest_first(make_host, monkeypatch):
    old, new = make_host("old one", "0.9.2"), make_host("new", "0.33.0")
    monkeypatch.setenv("COMFYUI_DIR", f"{old}{os.pathsep}{new}")
    assert [(host.path, host.version) for host in hosts.find()] == [(new, "0.33.0"), (old, "0.9.2")]


def test_a_named_folder_without_comfyui_is_refused(make_host, monkeypatch, tmp_path):
    monkeypatch.setenv(
        "COMFYUI_DIR", f"{make_host('new', '0.33.0')}{os.pathsep}{tmp_path / 'typo'}"
    )
    with pytest.raises(SystemExit, match=r"typo.*is not ComfyUI"):
        hosts.find()


def test_the_workspace_and_its_siblings_are_found(make_host, monkeypatch):
    workspace = make_host("ComfyUI", "0.33.0")
    make_host("ComfyUI-0.8.0", "0.8.0")
    make_host("other", "0.5.0")
    monkeypatch.delenv("COMFYUI_DIR", raising=False)
    monkeypatch.setattr(hosts, "default_workspace", lambda: workspace)
    assert [host.version for host in hosts.find()] == ["0.33.0", "0.8.0"]


OBJECT_INFO = {
    "Load": {
        "display_name": "Load it",
        "input": {"required": {"name": [["a", "b"], {"image_upload": True}], "seed": ["INT", {}]}},
    },
    "Use": {
        "display_name": "Use it",
        "input": {
            "required": {"thing": ["THING"], "how": ["COMBO", {"options": ["x"]}]},
            "optional": {
                "more": ["FLOAT", {"default": 1.0}],
                "mask": ["MASK"],
                "text": ["STRING", {"forceInput": True}],
            },
        },
    },
}


def node(number: int, kind: str, widgets: list, **links: int) -> dict:
    inputs = [{"name": name, "type": "THING", "link": link} for name, link in links.items()]
    return {"id": number, "type": kind, "inputs": inputs, "widgets_values": widgets}


def test_a_workflow_becomes_the_prompt_of_the_frontend():
    nodes = [
        node(1, "Load", ["b", "image", 7, "fixed"]),
        {**node(2, "Use", ["x", 0.5], thing=1), "title": "My use"},
        node(3, "Note", ["read me"]),
        {**node(4, "Use", ["x", 0.5], thing=1), "mode": workflow.MUTED},
    ]
    assert workflow.to_prompt(
        {"nodes": nodes, "links": [[1, 1, 0, 2, 0, "THING"]]}, OBJECT_INFO
    ) == {
        "1": {
            "class_type": "Load",
            "inputs": {"name": "b", "seed": 7},
            "_meta": {"title": "Load it"},
        },
        "2": {
            "class_type": "Use",
            "inputs": {"how": "x", "more": 0.5, "thing": ["1", 0]},
            "_meta": {"title": "My use"},
        },
    }


def test_a_pack_is_linked_under_its_own_name_and_linked_again(tmp_path):
    pack = tmp_path / "a pack.v1"
    pack.mkdir()
    for _ in range(2):
        link = server.place(pack, tmp_path / "custom_nodes", "controlstack")
        assert link.resolve() == pack


def test_a_pack_is_copied_where_links_are_not_allowed(tmp_path, monkeypatch):
    pack = tmp_path / "pack"
    for file in (
        "nodes/__init__.py",
        "__init__.py",
        ".venv/huge",
        "demo/base/custom_nodes/endless",
    ):
        (pack / file).parent.mkdir(parents=True, exist_ok=True)
        (pack / file).touch()

    def refuse(*_args, **_kwargs):
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    for _ in range(2):
        link = server.place(pack, tmp_path / "custom_nodes", "controlstack")
        copied = sorted(
            file.relative_to(link).as_posix() for file in link.rglob("*") if file.is_file()
        )
        assert copied == ["__init__.py", server.COPY_MARK, "nodes/__init__.py"]


def test_a_folder_that_is_not_ours_is_never_removed(tmp_path):
    theirs = tmp_path / "custom_nodes" / "controlstack" / "precious.txt"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    with pytest.raises(server.HostError, match="is in the way"):
        server.place(tmp_path, tmp_path / "custom_nodes", "controlstack")
    assert theirs.exists()


def test_messages_of_a_run_are_understood():
    result, reports = server.Result("mine"), []

    def note(kind: str, prompt_id: str = "mine", **data) -> bool:
        return server._note(
            {"type": kind, "data": {"prompt_id": prompt_id, **data}}, result, reports.append
        )

    assert not note("execution_success", prompt_id="another's")
    assert not note("execution_cached", nodes=["1"])
    states = {
        "2": {"state": "running", "value": 3, "max": 20},
        "3": {"state": "pending", "value": 0, "max": 1},
    }
    assert not note("progress_state", nodes=states)
    assert note("execution_interrupted")
    assert (result.cached, result.interrupted, reports) == (
        ["1"],
        True,
        [server.Progress("2", 3, 20)],
    )
    failure = {
        "node_id": "2",
        "node_type": "Use",
        "exception_message": "no such thing\n",
        "traceback": ["line 1\n"],
    }
    with pytest.raises(server.HostError, match=r"node 2 \(Use\) failed: no such thing"):
        note("execution_error", **failure)


@pytest.fixture(scope="module")
def runner():
    spec = importlib.util.spec_from_file_location("runner", ROOT / "tests" / "__main__.py")
    sys.modules["runner"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["runner"]


REPORT = """<testsuites><testsuite><testcase name="a"/>
<testcase classname="m" name="b"><failure>no</failure></testcase>
<testcase classname="m" name="c"><error>at setup</error></testcase>
<testcase name="d"><skipped message="no Chromium"/></testcase></testsuite></testsuites>"""


def test_the_runner_counts_errors_as_failures(runner, tmp_path):
    (tmp_path / "report.xml").write_text(REPORT)
    count = runner._read(tmp_path / "report.xml")
    assert str(count) == "1 passed, 2 failed, 1 skipped"
    assert count.reasons == ["no Chromium"]
    assert count.failures == ["m::b", "m::c"]


SHAKY = """
import pathlib, pytest
mark = pathlib.Path(__file__).with_name("mark")

def test_good(): pass

@pytest.mark.parametrize("case", ["a b", "[c]"])
def test_passes_the_second_time(case):
    mine = mark.with_name(f"{case} was here")
    was_here = mine.exists()
    mine.touch()
    assert was_here

def test_bad(): assert False
"""


def test_what_fails_once_is_named_and_what_fails_twice_has_failed(runner, tmp_path, capfd):
    file = tmp_path / "test_shaky.py"
    file.write_text(SHAKY)
    words = (sys.executable, "-m", "pytest", str(file), "-q", f"--rootdir={tmp_path}")
    count = runner._tests(runner.Group("shaky", words, "pytest"), os.environ)
    assert str(count) == "3 passed, 1 failed, 0 skipped"
    names = [name.split("::")[1] for name in count.unsteady]
    assert names == ["test_passes_the_second_time[a b]", "test_passes_the_second_time[[c]]"]
    runner.summary([runner.Group("shaky", words, "pytest")], [count], [], 1.0)
    assert capfd.readouterr().out.count("!!! UNSTEADY") == 2


def test_a_second_run_that_breaks_off_cures_nothing(runner):
    first = runner.Count(5, 1, failures=["m::b"])
    for again in (runner.Count(), runner.Count(failed=1), runner.Count(1, 1)):
        assert str(runner._steadied(first, again)) == "5 passed, 1 failed, 0 skipped"


def test_the_runner_counts_a_bad_exit_status_as_a_failure(runner):
    assert (
        str(runner._honest(runner.Count(passed=3), returncode=2)) == "3 passed, 1 failed, 0 skipped"
    )
    assert str(runner._honest(runner.Count(), returncode=5)) == "0 passed, 1 failed, 0 skipped"


def test_the_last_line_is_the_count(runner, capsys):
    group = runner.Group("unit tests", ("pytest",), "pytest")
    runner.summary([group], [runner.Count(2, 0, 2, ["no Chromium", "no Chromium"])], [], 1.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 passed, 0 failed, 2 skipped"
    assert "!!! SKIPPED 2: no Chromium" in lines
    assert any(line.startswith("!!! NO ComfyUI WAS FOUND") for line in lines)


def test_the_example_workflows_are_ascii_and_name_their_models():
    for file in (ROOT / "example_workflows").glob("*.json"):
        graph = json.loads(file.read_text(encoding="ascii"))
        loaders = [
            n for n in graph["nodes"] if n["type"] in ("CheckpointLoaderSimple", "ControlStackLoad")
        ]
        assert loaders or file.stem == "11 Preprocessor (any)"
        for loader in loaders:
            (model,) = loader["properties"]["models"]
            is_patch = model["directory"] == "model_patches"
            chosen = f"model_patches/{model['name']}" if is_patch else model["name"]
            assert chosen == loader["widgets_values"][0]
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith(model["name"])
