"""Queue whole graphs as the frontend does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from workbench import links, server, workflow

ROOT = Path(__file__).resolve().parents[2]


def node_of(prompt: dict, kind: str) -> str:
    return next(node for node, words in prompt.items() if words["class_type"] == kind)


def pixels(running, result, prompt, kind="SaveImage") -> np.ndarray:
    (record,) = result.images(node_of(prompt, kind))
    return np.asarray(running.image(record).convert("RGB"))


@pytest.mark.parametrize("name", ["01 One ControlNet", "02 Two ControlNets"])
def test_example_gives_an_image(running, example, name):
    prompt = example(name)
    image = pixels(running, running.run(prompt), prompt)
    assert image.shape == (256, 256, 3)
    assert image.std() > 1


TEMPLATES = sorted(file.stem for file in (ROOT / "example_workflows").glob("*.json"))
TRAINING = "18 Train a ControlNet"  # has a test of its own


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != TRAINING])
def test_every_template_runs_as_installed(running, example, name):
    """With nothing in the input folder but ComfyUI's own picture; small, with tiny models."""
    prompt = example(name, steps=2)
    file = ROOT / "example_workflows" / f"{name}.json"
    template = json.loads(file.read_text(encoding="utf-8"))
    if not links.can_run(template):
        pytest.skip("there are no tiny models of its base; the page opens it, and families run it")
    assert {path.name for path in (running.base / "input").glob("*.json")} == set()
    with links.named_models(running.base / "models", [template]):
        result = running.run(prompt)
    last = ("SaveImage", "SaveAnimatedWEBP", "PreviewImage")
    saved = [node for node, words in prompt.items() if words["class_type"] in last]
    assert saved
    assert all(result.images(node) for node in saved)


def hints_of(running, object_info, name: str) -> dict[str, np.ndarray]:
    """Return the hints of a template by the class of their nodes; only what they need is run."""
    file = ROOT / "example_workflows" / f"{name}.json"
    whole = workflow.to_prompt(json.loads(file.read_text(encoding="utf-8")), object_info)
    adds = [
        node["inputs"]["image"]
        for node in whole.values()
        if node["class_type"] == "ControlStackAdd"
    ]
    needed = [node for node, _ in adds]
    for node in needed:  # grows during the loop
        needed += [value[0] for value in whole[node]["inputs"].values() if isinstance(value, list)]
    shown = {
        f"{node}_hint": {"class_type": "PreviewImage", "inputs": {"images": [node, out]}}
        for node, out in adds
    }
    result = running.run({node: whole[node] for node in needed} | shown)
    return {
        whole[node]["class_type"]: np.asarray(
            running.image(result.images(f"{node}_hint")[0]).convert("RGB")
        )
        for node, _ in adds
    }


def test_staged_scene_has_depth_and_normals_without_weights(running, object_info):
    """Check the wall (far, facing us), the floor (nearing, facing up) and the box (one plane)."""
    hints = hints_of(running, object_info, "07 Depth and normals")
    depth, normals = (
        hints["ControlStackDepth"][..., 0].astype(int),
        hints["ControlStackNormal"].astype(int),
    )
    assert depth.shape == (512, 512)
    assert depth[:100].max() == 0
    assert depth[-1].min() == 255
    assert (np.diff(depth[300:, 20]) >= 0).all()
    assert np.ptp(depth[240:390, 80:210]) == 0
    for surface, facing in (
        (normals[20:90], (128, 128, 255)),
        (normals[250:380, 90:200], (128, 128, 255)),
    ):
        assert np.abs(surface - facing).max() <= 1
    red, green, blue = normals[450, 20]
    assert abs(red - 128) <= 1
    assert green > 200 > blue


def test_people_from_a_file_are_drawn_without_weights(running, object_info):
    (hint,) = hints_of(running, object_info, "08 People").values()
    assert hint.shape == (512, 768, 3)
    for person in (hint[:, :384], hint[:, 384:]):
        assert 0.01 < (person.max(axis=2) > 0).mean() < 0.2


def test_hints_are_shown_in_their_nodes(running, example):
    prompt = example("02 Two ControlNets")
    # Other values than elsewhere: a cached node does not show its hint again.
    prompt[node_of(prompt, "ControlStackCanny")]["inputs"]["high_threshold"] = 150
    prompt[node_of(prompt, "ControlStackXDoG")]["inputs"]["threshold"] = 40
    result = running.run(prompt)
    for kind in ("ControlStackCanny", "ControlStackXDoG"):
        hint = pixels(running, result, prompt, kind)
        assert hint.shape == (512, 512, 3)
        assert set(np.unique(hint)) == {0, 255}


def test_hints_are_shown_again_when_their_nodes_are_cached(running, example):
    """Run again, as after a reload of the page, or in a second workflow with equal settings."""
    if (
        "has_intermediate_output"
        not in running.ask("/object_info/ControlStackCanny")["ControlStackCanny"]
    ):
        pytest.skip("this host shows nothing of cached nodes (before 0.19)")
    prompt = example("02 Two ControlNets")
    canny = node_of(prompt, "ControlStackCanny")
    running.run(prompt)
    prompt[node_of(prompt, "KSampler")]["inputs"]["seed"] = 103
    again = running.run(prompt)
    assert canny in again.cached
    assert len(again.images(canny)) == 1


def test_a_remark_is_said_again_when_its_node_is_cached_and_to_who_asked_alone(running, example):
    """The hint is a picture with much light; another page hears nothing of it."""
    prompt = example("01 One ControlNet", steps=1)
    add = node_of(prompt, "ControlStackAdd")
    prompt[add]["inputs"]["image"] = [node_of(prompt, "LoadImage"), 0]
    with overheard(running) as heard:
        first = running.run(prompt)
    assert "the net reads bright lines on black" in first.outputs[add]["text"][0]
    assert b"the net reads" not in b"".join(heard)
    if "has_intermediate_output" in running.ask("/object_info/ControlStackAdd")["ControlStackAdd"]:
        prompt[node_of(prompt, "KSampler")]["inputs"]["seed"] = 104
        again = running.run(prompt)
        assert add in again.cached
        assert again.outputs[add] == first.outputs[add]


@contextlib.contextmanager
def overheard(running):
    """Collect what ComfyUI sends to a page that asked for nothing."""
    heard, ready, end = [], threading.Event(), threading.Event()

    async def listen() -> None:
        async with (
            aiohttp.ClientSession(running.address) as session,
            session.ws_connect("/ws?clientId=another_page", max_msg_size=0) as socket,
        ):
            ready.set()
            while not end.is_set():
                with contextlib.suppress(asyncio.TimeoutError):
                    data = (await socket.receive(timeout=0.2)).data
                    heard.append(data.encode() if isinstance(data, str) else data)

    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(asyncio.run, listen())
        assert ready.wait(20)
        yield heard
        end.set()
        listening.result()


def test_each_control_acts(running, example):
    images = []
    for strengths in ((0.8, 0.6), (0.0, 0.6), (0.8, 0.0)):
        prompt = example("02 Two ControlNets")
        adds = [node for node in prompt.values() if node["class_type"] == "ControlStackAdd"]
        for add, strength in zip(adds, strengths, strict=True):
            add["inputs"]["strength"] = strength
        images.append(pixels(running, running.run(prompt), prompt).astype(float))
    assert np.abs(images[0] - images[1]).mean() > 1
    assert np.abs(images[0] - images[2]).mean() > 1


def test_equal_graph_is_cached(running, example):
    prompt = example("02 Two ControlNets")
    running.run(prompt)
    again = running.run(prompt)
    assert set(again.cached) >= set(prompt) - {node_of(prompt, "SaveImage")}


def test_progress_counts_the_sampler_steps(running, example):
    prompt = example("01 One ControlNet", steps=5)
    prompt[node_of(prompt, "KSampler")]["inputs"]["seed"] = 101
    steps = []
    running.run(
        prompt,
        lambda p: p.node == node_of(prompt, "KSampler") and steps.append((p.value, p.maximum)),
    )
    assert (5, 5) in steps


def test_interrupted_run_leaves_nothing_behind(running, example):
    prompt = example("02 Two ControlNets", steps=30)
    sampler = node_of(prompt, "KSampler")
    prompt[sampler]["inputs"]["seed"] = 102
    fresh = pixels(running, running.run(prompt), prompt)
    running.free()
    stops = iter([running.interrupt])

    def stop_in_the_middle(progress: server.Progress) -> None:
        if progress.node == sampler and progress.maximum == 30 and progress.value >= 5:
            next(stops, lambda: None)()

    stopped = running.run(prompt, stop_in_the_middle)
    assert stopped.interrupted
    again = running.run(prompt)
    assert sampler not in again.cached
    assert np.array_equal(pixels(running, again, prompt), fresh)


def test_unknown_file_is_refused_at_its_node(running, example):
    prompt = example("01 One ControlNet")
    loader = node_of(prompt, "ControlStackLoad")
    prompt[loader]["inputs"]["control_net_name"] = "../secrets.safetensors"
    with pytest.raises(server.RefusedError) as refused:
        running.run(prompt)
    assert set(refused.value.node_errors) == {loader}


TEXTS = {
    "schedule": ("0:1, tomorrow:2", "expected a number from 0 to 1 at character 6"),
    "layers": ("softly", "expected 'soft', 'linear', 'blocks' or 'resolution' at character 1"),
    "frame_strength": ("0.5:1", "expected a whole number from 0 to 1000000 at character 1"),
    "union_type": ("cany", "expected 'auto' or one of anime_lineart, blur,"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_does_not_parse_is_refused_before_anything_runs(running, example, name):
    """With the input, what was expected and what would be right."""
    text, expected = TEXTS[name]
    prompt = example("01 One ControlNet")
    add = node_of(prompt, "ControlStackAdd")
    prompt[add]["inputs"][name] = text
    with pytest.raises(server.RefusedError) as refused:
        running.run(prompt)
    assert set(refused.value.node_errors) == {add}
    (sentence,) = {
        error["details"].partition(" - ")[2] for error in refused.value.node_errors[add]["errors"]
    }
    assert sentence.startswith(f"{name}: {expected}")
    assert f"found '{text[5:] if name == 'schedule' else text}'. Write for example" in sentence


def test_texts_over_wires_are_read_when_they_come(running, example):
    """Nothing is known of them when the prompt is queued; those of other keyboards parse too."""
    prompt = example("01 One ControlNet")
    add = node_of(prompt, "ControlStackAdd")
    prompt["text"] = {"class_type": "PrimitiveString", "inputs": {"value": "0：1；60％：0"}}
    prompt[add]["inputs"] |= {"schedule": ["text", 0], "layers": "1 1 0.5"}
    assert not running.run(prompt).interrupted
    prompt["text"]["inputs"]["value"] = "tomorrow"
    with pytest.raises(
        server.HostError, match=rf"(?s)node {add} \(ControlStackAdd\) failed: .*tomorrow"
    ):
        running.run(prompt)


def resources(running) -> tuple[int, int, int]:
    """Return resident memory in bytes, threads and open files of ComfyUI."""
    place = f"/proc/{running.process.pid}"
    with open(f"{place}/status") as file:
        words = dict(line.split(":", 1) for line in file)
    memory = int(words["VmRSS"].split()[0]) * 1024
    return memory, int(words["Threads"]), len(os.listdir(f"{place}/fd"))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="this system has no /proc")
def test_queued_runs_leave_memory_threads_and_files_as_they_were(running):
    """Sixty of them, none taken from the cache; at length, 500 grew by 1.3 MB."""

    def queue(count: int, high: int) -> None:
        for low in range(count):
            inputs = {"image": ["1", 0], "resolution": 64, "low_threshold": low}
            canny = {"class_type": "ControlStackCanny", "inputs": inputs | {"high_threshold": high}}
            load = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
            show = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
            running.ask("/prompt", {"prompt": {"1": load, "2": canny, "3": show}})
        while running.ask("/prompt")["exec_info"]["queue_remaining"]:
            time.sleep(0.05)

    queue(10, 201)
    memory, threads, files = resources(running)
    queue(60, 203)
    after = resources(running)
    assert after[0] - memory < 20_000_000
    assert after[1] <= threads + 1
    assert after[2] <= files + 2
    assert list(running.base.rglob("*.part")) == []
