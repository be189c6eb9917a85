"""The preprocessing nodes on the real host: what they declare, what they give, what they show, when they stop."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from workbench import inprocess, weights

ROOT = Path(__file__).resolve().parents[2]

INPUTS = {
    "ControlStackCanny": ["image", "low_threshold", "high_threshold", "resolution"],
    "ControlStackScribble": ["image", "threshold", "invert", "resolution"],
    "ControlStackXDoG": ["image", "threshold", "resolution"],
    "ControlStackLineart": ["image", "engine", "gaussian_sigma", "intensity_threshold", "resolution"],
    "ControlStackHED": ["image", "engine", "safe", "resolution"],
    "ControlStackSoftEdge": ["image", "engine", "safe", "resolution"],
    "ControlStackFakeScribble": ["image", "engine", "safe", "resolution"],
    "ControlStackPreprocess": ["image", "resolution", "method", "control_net"],
}
METHODS = {"canny": "ControlStackCanny", "scribble": "ControlStackScribble", "xdog": "ControlStackXDoG"}
METHODS["lineart"] = "ControlStackLineart"
METHODS |= {"hed": "ControlStackHED", "softedge": "ControlStackSoftEdge", "fake_scribble": "ControlStackFakeScribble"}

every_node = pytest.mark.parametrize("node_id", INPUTS)
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def nodes() -> dict:
    from pack.nodes import preprocess

    return {node.__name__: node for node in preprocess.NODES}


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()[None].astype(np.float32) / 255)


@pytest.fixture(scope="module")
def random_modules() -> dict:
    from pack.preprocessors import CATALOGUE

    return weights.Random(CATALOGUE)


@pytest.fixture(autouse=True)
def random_networks(random_modules, monkeypatch):
    """Networks with random weights: these tests look at the nodes. test_networks.py looks at what runs them."""
    from pack.nodes import preprocess
    from pack.preprocessors.networks import InMemory

    monkeypatch.setattr(preprocess, "networks", InMemory(random_modules))


def execute(node, **inputs):
    """Run a node as the host's executor does: on a clone of its class."""
    return node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**inputs)


def inputs_of(node_id: str, image: torch.Tensor) -> dict:
    method = {"method": {"method": "canny"}} if node_id == "ControlStackPreprocess" else {}
    return {"image": image, "resolution": 128, **method}


@every_node
def test_the_public_surface(nodes, node_id):
    info = nodes[node_id].GET_NODE_INFO_V1()
    named = [name for group in info["input_order"].values() for name in group]
    assert named == INPUTS[node_id]
    assert info["name"] == node_id
    assert (info["output"], info["output_name"]) == (["IMAGE"], ["hint"])
    assert info["category"] == "ControlStack/Preprocess"
    declared = [spec for group in info["input"].values() for spec in group.values()]
    assert all(options.get("tooltip") for _, options in declared)


@every_node
def test_the_help_page_names_every_input_and_its_pictures_are_small(node_id):
    page = (ROOT / "js" / "docs" / f"{node_id}.md").read_text(encoding="utf-8")
    assert [name for name in INPUTS[node_id] if f"| `{name}`" not in page] == []
    for shown in re.findall(r"\]\(([^)]+)\)", page):
        assert (ROOT / "js" / "docs" / shown).stat().st_size <= 60_000


def test_the_methods_are_the_catalogue(nodes):
    _, options = nodes["ControlStackPreprocess"].GET_NODE_INFO_V1()["input"]["required"]["method"]
    assert [option["key"] for option in options["options"]] == list(METHODS)
    canny = options["options"][0]["inputs"]["required"]
    assert list(canny) == ["low_threshold", "high_threshold"]
    assert canny["high_threshold"][1]["default"] == 200


def test_any_whole_resolution_can_be_typed(nodes):
    _, bounds = nodes["ControlStackCanny"].GET_NODE_INFO_V1()["input"]["required"]["resolution"]
    assert (bounds["default"], bounds["min"], bounds["max"], bounds["step"]) == (0, 0, 8192, 1)


@every_node
def test_a_hint_and_its_preview(nodes, node_id, picture, host):
    import folder_paths
    from PIL import Image

    shown = execute(nodes[node_id], **inputs_of(node_id, picture))
    hint = shown.result[0]
    assert hint.shape == (1, 128, 128, 3)
    (saved,) = shown.ui.as_dict()["images"]
    with Image.open(Path(folder_paths.get_temp_directory()) / saved["filename"]) as written:
        seen = np.asarray(written.convert("RGB"), np.float32)
    assert np.abs(seen / 255 - hint[0].numpy()).max() < 1.01 / 255  # the host truncates to 8 bits


def test_canny_on_the_host_is_opencvs(nodes, picture):
    hint = execute(nodes["ControlStackCanny"], image=picture, low_threshold=60, high_threshold=120).result[0]
    assert (hint[0, ..., 0].numpy() * 255 == cv2.Canny(data.astronaut(), 60, 120)).all()


@every_method
def test_one_node_for_all_gives_what_each_gives(nodes, method, picture):
    alone = execute(nodes[METHODS[method]], image=picture, resolution=128).result[0]
    chosen = {"image": picture, "resolution": 128, "method": {"method": method}}
    assert execute(nodes["ControlStackPreprocess"], **chosen).result[0].equal(alone)


def test_settings_of_the_method_arrive(nodes, picture):
    method = {"method": "canny", "low_threshold": 10, "high_threshold": 20}
    hint = execute(nodes["ControlStackPreprocess"], image=picture, resolution=0, method=method).result[0]
    assert (hint[0, ..., 0].numpy() * 255 == cv2.Canny(data.astronaut(), 10, 20)).all()


def test_a_connected_net_is_refused_until_it_can_be_used(nodes, picture):
    with pytest.raises(ValueError, match="disconnect control_net"):
        execute(nodes["ControlStackPreprocess"], **inputs_of("ControlStackPreprocess", picture), control_net=object())


@pytest.mark.parametrize("frames", [1, 16])
def test_progress_reaches_the_hosts_bar(nodes, picture, frames):
    import comfy.utils

    seen = []
    hook = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **_: seen.append((value, total)))
    try:
        execute(nodes["ControlStackXDoG"], image=picture.expand(frames, -1, -1, -1))
    finally:
        comfy.utils.set_progress_bar_global_hook(hook)
    assert seen[0] == (0, frames)
    assert seen[-1] == (frames, frames)


def test_stop_ends_the_batch_and_the_next_run_is_whole(nodes, picture):
    import comfy.model_management
    import comfy.utils

    seen = []

    def press_stop(value, total, preview, **_):
        seen.append(value)
        comfy.model_management.interrupt_current_processing(True)

    hook = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(press_stop)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            execute(nodes["ControlStackCanny"], image=picture.expand(64, -1, -1, -1))
    finally:
        comfy.utils.set_progress_bar_global_hook(hook)
    assert max(seen) < 64
    assert execute(nodes["ControlStackCanny"], image=picture.expand(3, -1, -1, -1)).result[0].shape[0] == 3


# The speed promise: tensor in, contiguous tensor out, against OpenCV alone on ready 8-bit frames and one thread

LIMITS = {
    ("canny", "node"): 2.0,
    ("xdog", "node"): 1.2,
    # The aim is 5 for the map. Fetching and filling 48 MB of fresh memory takes half of its time, and that varies with
    # the machine: 4.9 to 6.7 was measured. The preview's PNG alone takes longer than all 16 bare scribbles.
    ("scribble", "map"): 8.0,
    ("scribble", "node"): 12.0,
}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "form"), LIMITS)
def test_sixteen_frames_are_about_as_fast_as_opencv(host, method, form):
    inprocess.load_package(ROOT / "benchmarks", "benchmarks")
    from benchmarks import preprocess, timing

    limit = LIMITS[method, form]
    ours, bare = preprocess.rivals(form, method, frames=16)
    rounds: list[timing.Spread] = []
    for _ in range(5):  # other work takes a core from ours and leaves the bare loop its one, so it costs only us
        rounds.append(timing.paired(ours, bare, repeats=21, reference_under=preprocess.one_thread).ratio)
        if rounds[-1].median <= limit:
            return
    free = timing.free_cores(bare, 2)
    if free < 1.6:
        pytest.skip(f"the promise is for two cores, and other work leaves {free:.1f}: run this on an idle machine")
    pytest.fail(f"{', '.join(map(str, rounds))} times what OpenCV alone takes; at most {limit} is promised")
