"""The preprocessing nodes on the real host: what they declare, what they give, what they show, when
they stop.
"""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from pack.preprocessors import CATALOGUE
from workbench import inprocess, random_weights

ROOT = Path(__file__).resolve().parents[2]

PINNED = json.loads((ROOT / "tests" / "node_surface.json").read_text(encoding="utf-8"))
NODE_IDS = (*(row.node_id for row in CATALOGUE), "ControlStackPreprocess")
WITHOUT_WEIGHTS = {
    "ControlStackMLSD": {"engine": "lsd"},
    "ControlStackLineartAnime": {"engine": "standard"},
    "ControlStackSegmentation": {"engine": "snap"},
    "ControlStackInpaintHint": {"mask": torch.ones(1, 64, 64).triu()},
    "ControlStackPreprocess": {"method": {"method": "canny"}},
}
"""What a node needs beside a picture to run without a network."""

every_node = pytest.mark.parametrize("node_id", NODE_IDS)
every_row = pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.key)


@pytest.fixture(scope="module")
def nodes() -> dict:
    from pack.nodes import preprocess

    return {node.__name__: node for node in preprocess.NODES}


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()[None].astype(np.float32) / 255)


@pytest.fixture(scope="module")
def random_modules() -> dict:
    return random_weights.Random(CATALOGUE)


@pytest.fixture(autouse=True)
def random_networks(random_modules, monkeypatch):
    """Networks with random weights: these tests look at the nodes. test_networks.py looks at what
    runs them.
    """
    from pack.nodes import preprocess
    from pack.preprocessors.build import InMemory

    monkeypatch.setattr(preprocess, "networks", InMemory(random_modules))


def execute(node, **inputs):
    """Run a node as the host's executor does: on a clone of its class."""
    return node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**inputs)


def inputs_of(node_id: str, image: torch.Tensor) -> dict:
    return {"image": image, "resolution": 128, **WITHOUT_WEIGHTS.get(node_id, {})}


def inputs_in_order(node_id: str) -> list[str]:
    return [declared["name"] for declared in PINNED[node_id]["inputs"]]


@every_node
def test_the_public_surface(nodes, node_id):
    assert node_id in PINNED, f"{node_id} is new: run python3 tests --accept"
    info = nodes[node_id].GET_NODE_INFO_V1()
    shown = [group for group in ("required", "optional") if group in info["input"]]
    named = [name for group in shown for name in info["input_order"][group]]
    assert named == inputs_in_order(node_id)
    assert info["name"] == node_id
    outputs = zip(info["output_name"], info["output"], strict=True)
    assert [list(output) for output in outputs] == PINNED[node_id]["outputs"]
    assert PINNED[node_id]["outputs"][0] == ["hint", "IMAGE"]
    assert info["category"] == "ControlStack/Preprocess"
    declared = [spec for group in shown for spec in info["input"][group].values()]
    assert all(options.get("tooltip") for _, options in declared)


@every_node
def test_the_help_page_names_every_input_and_its_pictures_are_small(node_id):
    file = ROOT / "js" / "docs" / f"{node_id}.md"
    assert file.exists(), f"{node_id} has no help page: write js/docs/{node_id}.md"
    page = file.read_text(encoding="utf-8")
    undocumented = [name for name in inputs_in_order(node_id) if f"| `{name}`" not in page]
    assert undocumented == [], f"add these inputs to the table of js/docs/{node_id}.md"
    for shown in re.findall(r"\]\(([^)]+)\)", page):
        assert (ROOT / "js" / "docs" / shown).stat().st_size <= 60_000


def test_the_methods_are_the_catalogue(nodes):
    _, options = nodes["ControlStackPreprocess"].GET_NODE_INFO_V1()["input"]["required"]["method"]
    assert [option["key"] for option in options["options"]] == [row.key for row in CATALOGUE]
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
    # What is below zero is shown black; the host truncates to 8 bits.
    assert np.abs(seen / 255 - hint[0].clamp(min=0).numpy()).max() < 1.01 / 255


def test_labels_survive_the_hosts_own_save_and_load(nodes, host):
    """Mask to picture, saved as PNG, loaded as a mask: every class is what it was."""
    import folder_paths
    from comfy_extras.nodes_mask import MaskToImage

    import nodes as host_nodes

    labels = torch.arange(256.0).reshape(1, 16, 16)
    labels[labels >= 150] = 255
    label_map, blank = labels / 255, torch.zeros(1, 16, 16, 3)
    first = execute(nodes["ControlStackSegmentation"], image=blank, label_map=label_map).result
    convert = getattr(MaskToImage, "execute", None) or MaskToImage().mask_to_image
    produced = convert(first[1])
    picture = produced.result[0] if hasattr(produced, "result") else produced[0]
    saved = host_nodes.SaveImage().save_images(picture, "labels")["ui"]["images"][0]
    written = Path(folder_paths.get_output_directory()) / saved["subfolder"] / saved["filename"]
    written.rename(Path(folder_paths.get_input_directory()) / "labels.png")
    loader = host_nodes.LoadImageMask()
    loaded = getattr(loader, loader.FUNCTION)("labels.png", "red")[0]
    again = execute(nodes["ControlStackSegmentation"], image=blank, label_map=loaded).result
    assert again[1].equal(label_map)
    assert again[0].equal(first[0])


def test_a_hint_below_zero_reaches_the_control(nodes, picture):
    """The inpaint hint's -1 is in the node's output as it is, and the stack takes it."""
    from pack.control.units import hint_of

    mask = torch.zeros(1, 512, 512)
    mask[:, 100:200, 100:200] = 1
    shown = execute(nodes["ControlStackInpaintHint"], image=picture, mask=mask)
    hint = shown.result[0]
    assert (hint[mask > 0] == -1).all()
    assert hint[mask == 0].equal(picture[mask == 0])
    assert hint_of(hint).movedim(1, -1).equal(hint)


def test_canny_on_the_host_is_opencvs(nodes, picture):
    hint = execute(
        nodes["ControlStackCanny"], image=picture, low_threshold=60, high_threshold=120
    ).result[0]
    assert (hint[0, ..., 0].numpy() * 255 == cv2.Canny(data.astronaut(), 60, 120)).all()


def test_depth_reaches_a_16_bit_file_of_the_hosts(nodes, host):
    """65 536 depths in, as many levels in the PNG: neither the node nor its hint has 8 bits."""
    try:
        from comfy_extras.nodes_images import SaveImageAdvanced
    except ImportError:
        pytest.skip("this host cannot write 16-bit files yet: its SaveImageAdvanced came later")
    import folder_paths

    ramp = (torch.arange(65536.0).view(1, 256, 256, 1) * 3.7 + 12).expand(-1, -1, -1, 3)
    hint = execute(
        nodes["ControlStackDepth"], image=ramp, engine="image", normalization="clip"
    ).result[0]
    form = {"format": "png", "bit_depth": "16-bit", "input_color_space": "sRGB"}
    saved = execute(SaveImageAdvanced, images=hint, filename_prefix="depth16", format=form).ui[
        "images"
    ][0]
    written = cv2.imread(
        str(Path(folder_paths.get_output_directory()) / saved["filename"]), cv2.IMREAD_UNCHANGED
    )
    assert written.dtype == np.uint16
    assert (np.diff(written[..., 0].astype(int).ravel()) >= 0).all()
    assert np.abs(written[..., 0].astype(int).ravel() - np.arange(65536)).max() <= 1


@every_row
def test_one_node_for_all_gives_what_each_gives(nodes, row, picture):
    settings = WITHOUT_WEIGHTS.get(row.node_id, {})
    alone = execute(nodes[row.node_id], **inputs_of(row.node_id, picture)).result[0]
    params = {name: settings[name] for name in settings if name != "mask"}
    chosen = {"image": picture, "resolution": 128, "method": {"method": row.key, **params}}
    if "mask" in settings:  # Preprocessor (any) has no ports
        alone = execute(nodes[row.node_id], image=picture, resolution=128, mask=None).result[0]
    assert execute(nodes["ControlStackPreprocess"], **chosen).result[0].equal(alone)


@every_row
def test_a_node_class_is_named_by_its_id_and_pickles(nodes, row):
    node = nodes[row.node_id]
    assert pickle.loads(pickle.dumps(node)) is node
    assert node.__module__ == "pack.nodes.preprocess"


def test_settings_of_the_method_arrive(nodes, picture):
    method = {"method": "canny", "low_threshold": 10, "high_threshold": 20}
    hint = execute(
        nodes["ControlStackPreprocess"], image=picture, resolution=0, method=method
    ).result[0]
    assert (hint[0, ..., 0].numpy() * 255 == cv2.Canny(data.astronaut(), 10, 20)).all()


class Net:
    """A control object as Load tags it: only its file's name tells what it was trained on."""

    def __init__(self, name: str, **identity):
        from pack.control.net_info import TAG
        from pack.files.families import Identity, Source

        setattr(self, TAG, Source(name, Identity("ControlNet", "controlnet", "SD1.5", **identity)))

    def get_control(self): ...
    def set_cond_hint(self): ...


@pytest.mark.parametrize(
    ("name", "method", "words"),
    [
        (
            "control_v11f1p_sd15_depth.pth",
            "canny",
            "was trained on depth, and Canny Edge makes Canny edges: choose method 'depth'",
        ),
        ("control_v11p_sd15_seg.pth", "lineart", "choose method 'segmentation'"),
        ("control_sd15_normal.pth", "normal", "choose method 'normal' with convention 'cn1.0'"),
        ("control_v11p_sd15_canny.pth", "tile", "choose method 'canny', or disconnect control_net"),
        ("control_v11p_sd15_openpose.pth", "canny", "human poses"),
    ],
)
def test_a_net_of_other_maps_is_refused_with_the_method_to_choose(
    nodes, picture, name, method, words
):
    with pytest.raises(ValueError, match=re.escape(words)):
        execute(
            nodes["ControlStackPreprocess"],
            image=picture,
            resolution=64,
            method={"method": method},
            control_net=Net(name),
        )


@pytest.mark.parametrize(
    ("net", "method"),
    [
        (("control_v11p_sd15_canny.pth", {}), "canny"),
        (("t2iadapter_color_sd14v1.pth", {}), "color_grid"),
        (("my_net_7.safetensors", {}), "canny"),
        (("controlnet_union_promax.safetensors", {"union_types": 8}), "canny"),
        (("hand_made.safetensors", {"hint": "xdog"}), "xdog"),
    ],
)
def test_a_net_of_these_maps_or_of_unknown_ones_is_let_through(nodes, picture, net, method):
    name, identity = net
    hint = execute(
        nodes["ControlStackPreprocess"],
        image=picture,
        resolution=64,
        method={"method": method},
        control_net=Net(name, **identity),
    ).result[0]
    assert hint.shape == (1, 64, 64, 3)


USUAL = {
    **{"canny": "canny", "mlsd": "mlsd", "softedge": "softedge", "scribble": "fake_scribble"},
    **{"lineart": "lineart", "lineart_anime": "lineart_anime", "any_line": "lineart"},
    **{"depth": "depth", "normal": "normal", "normal_bae": "normal", "normal_cn10": "normal"},
    **{"pose": "pose", "segmentation": "segmentation", "inpaint": "inpaint_hint", "tile": "tile"},
    **{"shuffle": "shuffle", "recolor": "recolor", "colorgrid": "color_grid"},
    **{"brightness": "brightness"},
}
"""The method that is suggested for a ControlNet of each condition."""


def test_every_condition_that_nets_have_has_a_method():
    from pack.files.conditions import CONDITIONS
    from pack.host.matching import MAPS

    conditions = {condition.key for condition in CONDITIONS}
    for row in CATALOGUE:
        unknown = {*row.conditions} - conditions
        assert not unknown, f"{row.key}: files/conditions.py has no condition {unknown}"
    without = [key for key in conditions if not MAPS[key]]
    assert without == [], "no row names these conditions: add them to a row's `conditions`"
    assert {key: MAPS[key][0].key for key in USUAL} == USUAL


def test_a_row_without_a_condition_matches_every_net():
    from dataclasses import replace

    from pack.host.matching import refuse_other_map, tag

    row = replace(CATALOGUE[0], conditions=())
    hint = torch.zeros(1, 8, 8, 3)
    tag(hint, row, {})
    assert not hasattr(hint, "controlstack_condition")
    refuse_other_map(Net("control_v11f1p_sd15_depth.pth"), row, {})


@pytest.mark.parametrize(
    ("name", "hint", "words"),
    [
        ("control_v11p_sd15_canny.pth", "light", "light"),
        ("control_v11p_sd15_seg.pth", "photograph", "colours"),
        ("control_v11p_sd15_canny.pth", "dark", ""),
        ("control_v11p_sd15_seg.pth", "labels", ""),
        ("my_net_7.safetensors", "light", ""),
    ],
)
def test_add_says_when_a_hint_is_obviously_another_map_and_changes_nothing(
    nodes, picture, name, hint, words
):
    from pack.nodes.apply import Add

    produced = {
        "light": 1 - execute(nodes["ControlStackCanny"], image=picture).result[0],
        "dark": execute(nodes["ControlStackCanny"], image=picture).result[0],
        "photograph": picture,
        "labels": (
            execute(
                nodes["ControlStackSegmentation"], image=picture, engine="snap", palette="coco"
            ).result[0]
        ),
    }[hint]
    given = {
        "control_net": Net(name),
        "image": produced,
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    out = Add.execute(**given, mode="balanced", fit="crop", schedule="", layers="")
    (unit,) = out.result[0].units
    assert unit.hint.movedim(1, -1).equal(produced)
    assert (words in out.ui["text"][0]) if words else out.ui is None


@pytest.mark.parametrize("frames", [1, 16])
def test_progress_reaches_the_hosts_bar(nodes, picture, frames):
    import comfy.utils

    seen = []
    hook = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(
        lambda value, total, preview, **_: seen.append((value, total))
    )
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
    assert (
        execute(nodes["ControlStackCanny"], image=picture.expand(3, -1, -1, -1)).result[0].shape[0]
        == 3
    )


# The speed promise: tensor in, contiguous tensor out, against OpenCV alone on ready 8-bit frames
# and one thread

LIMITS = {
    ("canny", "node"): 2.0,
    ("xdog", "node"): 1.2,
    # The aim is 5 for the map. Fetching and filling 48 MB of fresh memory takes half of its time,
    # and that varies with the machine: 4.9 to 6.7 was measured. The preview's PNG alone takes
    # longer than all 16 bare scribbles.
    ("scribble", "map"): 8.0,
    ("scribble", "node"): 12.0,
}


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize(("method", "form"), LIMITS)
def test_sixteen_frames_are_about_as_fast_as_opencv(host, method, form):
    inprocess.load_package(ROOT / "benchmarks", "benchmarks")
    from benchmarks import bare_opencv, timing

    limit = LIMITS[method, form]
    ours, bare = bare_opencv.rivals(form, method, frames=16)
    rounds: list[timing.Spread] = []
    for _ in range(
        5
    ):  # other work takes a core from ours and leaves the bare loop its one, so it costs only us
        rounds.append(
            timing.paired(ours, bare, repeats=21, reference_under=bare_opencv.one_thread).ratio
        )
        if rounds[-1].median <= limit:
            return
    free = timing.free_cores(bare, 2)
    if free < 1.6:
        pytest.skip(
            f"the promise is for two cores, and other work leaves {free:.1f}: run this on an idle"
            " machine"
        )
    pytest.fail(
        f"{', '.join(map(str, rounds))} times what OpenCV alone takes; at most {limit} is promised"
    )
