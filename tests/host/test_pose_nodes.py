"""Test the pose nodes in the real ComfyUI: inputs, files, refusals, keypoints of its SDPose."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench import stand_ins

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = ["people", "smooth_frames", "fill_frames"]
SCORE, SIZE = "score_threshold", ["width", "height"]
PARTS = ["body", "hands", "face", "stick_width"]
INPUTS = {
    "ControlStackPose": [
        *("image", "engine", *PARTS, "resolution", "pose_keypoint"),
        *(*OPTIONAL, SCORE),
    ],
    "ControlStackDrawPose": [
        "pose_keypoint",
        *PARTS,
        "width",
        "height",
        "score_threshold",
        *OPTIONAL,
    ],
    "ControlStackSavePose": ["pose_keypoint", "filename_prefix"],
    "ControlStackLoadPose": ["file", *SIZE],
}
APPENDED = {*OPTIONAL, SCORE, *SIZE, "pose_keypoint"}
OUTPUTS = {
    "ControlStackPose": [("IMAGE", "hint"), ("POSE_KEYPOINT", "POSE_KEYPOINT")],
    "ControlStackDrawPose": [("IMAGE", "hint"), ("POSE_KEYPOINT", "POSE_KEYPOINT")],
    "ControlStackSavePose": [("STRING", "file")],
    "ControlStackLoadPose": [("POSE_KEYPOINT", "POSE_KEYPOINT")],
}
DRAWN = {
    "body": True,
    "hands": True,
    "face": True,
    "stick_width": "4",
    "width": 0,
    "height": 0,
    "score_threshold": 0.3,
}

every_node = pytest.mark.parametrize("node_id", INPUTS)


@pytest.fixture(scope="module")
def nodes() -> dict:
    from pack.nodes import poses, preprocess

    return {node.__name__: node for node in (*preprocess.NODES, *poses.NODES)}


@pytest.fixture
def folders(host, tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Give ComfyUI's input and output folders, empty for one test."""
    import folder_paths

    input_folder, output_folder = tmp_path / "input", tmp_path / "output"
    input_folder.mkdir()
    output_folder.mkdir()
    monkeypatch.setattr(folder_paths, "input_directory", str(input_folder))
    monkeypatch.setattr(folder_paths, "output_directory", str(output_folder))
    return input_folder, output_folder


def execute(node, **inputs):
    """Run a node as ComfyUI's executor does: on a clone of its class."""
    return node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**inputs)


def clip(count: int = 3) -> list[dict]:
    """Make keypoints of a person who walks, in pixels of 320 x 240, with every list."""
    rng = np.random.default_rng(0)
    lists = {"pose": 18, "face": 70, "hand_left": 21, "hand_right": 21}
    person = {
        f"{name}_keypoints_2d": rng.uniform(20, 200, (points, 3)) for name, points in lists.items()
    }
    for points in person.values():
        points[:, 2] = 1

    def moved(dx: int) -> dict:
        return {
            name: (points + np.array([dx, 0, 0])).reshape(-1).tolist()
            for name, points in person.items()
        }

    return [
        {"people": [moved(5 * index)], "canvas_height": 240, "canvas_width": 320}
        for index in range(count)
    ]


@every_node
def test_the_public_surface(nodes, node_id):
    info = nodes[node_id].GET_NODE_INFO_V1()
    named = [
        name
        for group, inputs in info["input_order"].items()
        if group != "hidden"
        for name in inputs
    ]
    assert named == INPUTS[node_id]
    assert [*zip(info["output"], info["output_name"], strict=True)] == OUTPUTS[node_id]
    assert set(info["input_order"].get("optional", [])) <= APPENDED
    declared = [
        spec
        for group, specs in info["input"].items()
        if group != "hidden"
        for spec in specs.values()
    ]
    assert all(options.get("tooltip") for _, options in declared)


@every_node
def test_the_help_page_names_every_input(node_id):
    page = (ROOT / "js" / "docs" / f"{node_id}.md").read_text(encoding="utf-8")
    assert [name for name in INPUTS[node_id] if f"| `{name}`" not in page] == []


def test_people_are_detected_saved_loaded_and_drawn_again(nodes, folders, monkeypatch):
    from pack.nodes import preprocess
    from pack.preprocessors.build import InMemory

    monkeypatch.setattr(preprocess, "networks", InMemory(stand_ins.by_file()))
    settings = {
        "engine": "vitpose",
        "body": True,
        "hands": True,
        "face": True,
        "stick_width": "4",
        "resolution": 0,
    }
    image = torch.rand(2, 120, 160, 3)
    hint, people = execute(nodes["ControlStackPose"], image=image, **settings).result
    assert hint.shape == (2, 120, 160, 3)
    assert hint.max() == 1
    saved = execute(
        nodes["ControlStackSavePose"], pose_keypoint=people, filename_prefix="pose/walk"
    )
    assert saved.result == ("pose/walk_00001.json [output]",)
    loaded = execute(nodes["ControlStackLoadPose"], file=saved.result[0]).result[0]
    assert loaded == people
    again = execute(nodes["ControlStackDrawPose"], pose_keypoint=loaded, **DRAWN).result[0]
    assert again.equal(hint)


def test_files_are_numbered_listed_and_never_replaced(nodes, folders):
    input_folder, output_folder = folders
    (input_folder / "poses").mkdir()
    (input_folder / "poses" / "editor.json").write_text(json.dumps(clip(1)[0]), encoding="utf-8")
    (input_folder / "picture.png").write_bytes(b"")
    for number in (1, 2):
        saved = execute(nodes["ControlStackSavePose"], pose_keypoint=clip(), filename_prefix="walk")
        assert saved.result == (f"walk_0000{number}.json [output]",)
    names = sorted(path.name for path in output_folder.iterdir())
    assert names == ["walk_00001.json", "walk_00002.json"]  # and no temporary file
    options = nodes["ControlStackLoadPose"].GET_NODE_INFO_V1()["input"]["required"]["file"]
    listed = options[1].get("options") or options[0]
    own = [name for name in listed if not name.endswith("[controlstack]")]  # the templates' files
    assert own == ["poses/editor.json", "walk_00001.json [output]", "walk_00002.json [output]"]
    assert len(execute(nodes["ControlStackLoadPose"], file="poses/editor.json").result[0]) == 1


@pytest.mark.parametrize("prefix", ["../out", "/tmp/out", "a/../../out", "..", "link/out"])
def test_nothing_is_written_outside_of_the_output_folder(nodes, folders, tmp_path, prefix):
    os.symlink(tmp_path, folders[1] / "link")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="leads out of ComfyUI's folders"):
        execute(nodes["ControlStackSavePose"], pose_keypoint=clip(), filename_prefix=prefix)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["../secret.json", "/etc/passwd", "a/../../secret.json [output]", "link/secret.json"]
)
def test_nothing_is_read_outside_of_the_folders(nodes, folders, tmp_path, name):
    (tmp_path / "secret.json").write_text(json.dumps(clip(1)), encoding="utf-8")
    os.symlink(tmp_path, folders[0] / "link")
    with pytest.raises(ValueError, match="leads out of ComfyUI's folders"):
        execute(nodes["ControlStackLoadPose"], file=name)
    assert "leads out" in nodes["ControlStackLoadPose"].validate_inputs(name)


@pytest.mark.parametrize(
    ("name", "words"), [("gone.json", "there is no file 'gone.json'"), ("a\0.json", "cannot be")]
)
def test_missing_files_are_named(nodes, folders, name, words):
    assert words in nodes["ControlStackLoadPose"].validate_inputs(name)


def test_a_damaged_file_is_named_with_its_fault(nodes, folders):
    document = clip()
    document[1]["people"][0]["face_keypoints_2d"].pop()
    (folders[0] / "cut.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(
        ValueError,
        match=r"^cut\.json: frame 1, person 0, face_keypoints_2d: expected x, y and score",
    ):
        execute(nodes["ControlStackLoadPose"], file="cut.json")


PART_OF_LIST = {
    "pose_keypoints_2d": "body",
    "foot_keypoints_2d": "body",
    "hand_left_keypoints_2d": "hands",
    "hand_right_keypoints_2d": "hands",
    "face_keypoints_2d": "face",
}


@pytest.mark.parametrize(
    "engine", ["vitpose", "dwpose", "dwpose_onnx", "openpose", "keypoints", "Draw Pose"]
)
@pytest.mark.parametrize("part", ["body", "hands", "face"])
def test_a_part_that_is_off_is_in_neither_output(nodes, engine, part, monkeypatch):
    """Every engine finds whole people, whatever the switches."""
    from pack.nodes import preprocess
    from pack.preprocessors import keypoints, pose
    from pack.preprocessors.build import InMemory

    def detect(frames, *_, **__):
        return keypoints.parse(people[: len(frames)])

    monkeypatch.setattr(preprocess, "networks", InMemory(stand_ins.by_file()))
    if engine != "vitpose":
        monkeypatch.setattr(pose, "detect_bottom_up", detect)
        monkeypatch.setattr(pose, "detect_top_down", detect)
    settings, people = {**DRAWN, "score_threshold": 0.0}, clip(2)
    for frame in people:
        frame["people"][0]["foot_keypoints_2d"] = [50.0, 60.0, 1.0] * 6

    def run(**switches):
        if engine == "Draw Pose":
            inputs = {**settings, **switches, "pose_keypoint": people}
            return execute(nodes["ControlStackDrawPose"], **inputs).result
        torch.manual_seed(0)
        inputs = {name: settings[name] for name in (*PARTS, SCORE)} | switches
        inputs |= {"image": torch.rand(2, 240, 320, 3), "engine": engine, "resolution": 0}
        given = people if engine == "keypoints" else None
        return execute(nodes["ControlStackPose"], **inputs, pose_keypoint=given).result

    (whole, everything), (hint, rest) = run(), run(**{part: False})
    for before, after in zip(everything, rest, strict=True):
        for one, other in zip(before["people"], after["people"], strict=True):
            for name, numbers in one.items():
                expected = [0] * len(numbers) if PART_OF_LIST[name] == part else numbers
                assert other[name] == expected
    assert any(
        any(person["pose_keypoints_2d"]) for frame in everything for person in frame["people"]
    )
    again = execute(
        nodes["ControlStackDrawPose"], pose_keypoint=rest, **{**settings, "width": 0}
    ).result[0]
    assert again.equal(hint)
    assert not whole.equal(hint) or engine not in ("keypoints", "Draw Pose")


def test_openposes_own_file_needs_the_size_of_its_picture(nodes, folders):
    """As its program writes it: BODY_25, no canvas, empty 3D lists."""
    body = [value for index in range(25) for value in (10.0 + index, 20.0 + index, 0.9)]
    lists = {"pose_keypoints_2d": body, "face_keypoints_2d": [], "pose_keypoints_3d": []}
    document = {"version": 1.3, "people": [{"person_id": [-1], **lists}]}
    (folders[0] / "out_keypoints.json").write_text(json.dumps(document), encoding="utf-8")
    load = nodes["ControlStackLoadPose"]
    with pytest.raises(ValueError, match=r"do not state the size of the picture.*width and height"):
        execute(load, file="out_keypoints.json")
    (frame,) = execute(load, file="out_keypoints.json", width=320, height=240).result[0]
    assert (frame["canvas_width"], frame["canvas_height"]) == (320, 240)
    assert frame["people"][0]["pose_keypoints_2d"][:3] == [10.0, 20.0, 0.9]
    assert load.fingerprint_inputs(file="out_keypoints.json", width=320, height=240)


def test_the_files_own_canvas_wins(nodes, folders):
    (folders[0] / "ours.json").write_text(json.dumps(clip(1)), encoding="utf-8")
    (frame,) = execute(nodes["ControlStackLoadPose"], file="ours.json", width=9, height=9).result[0]
    assert (frame["canvas_width"], frame["canvas_height"]) == (320, 240)


def test_bad_keypoints_write_nothing(nodes, folders):
    with pytest.raises(ValueError, match="expected a list of frames"):
        execute(nodes["ControlStackSavePose"], pose_keypoint="no keypoints", filename_prefix="walk")
    assert not [*folders[1].iterdir()]


def sdpose():
    """Give ComfyUI's own pose nodes, which 0.8 does not have yet."""
    if importlib.util.find_spec("comfy_extras.nodes_sdpose") is None:
        pytest.skip("this ComfyUI has no SDPose nodes yet")
    from comfy_extras import nodes_sdpose

    return nodes_sdpose


def test_people_of_sdpose_are_read_with_their_scores(nodes):
    """Its extractor writes 133 points, some of them with low scores."""
    rng = np.random.default_rng(1)
    points, scores = rng.uniform(10, 200, (133, 2)), rng.uniform(0, 1, 133)
    written = sdpose()._to_openpose_frames([[points]], [[scores]], 240, 320)
    hint, people = execute(nodes["ControlStackDrawPose"], pose_keypoint=written, **DRAWN).result
    assert hint.shape == (1, 240, 320, 3)
    joints = np.reshape(people[0]["people"][0]["pose_keypoints_2d"], (18, 3))
    expected = np.reshape(written[0]["people"][0]["pose_keypoints_2d"], (18, 3))
    seen = expected[:, 2] >= 0.3
    np.testing.assert_allclose(joints[seen], expected[seen], rtol=1e-6)
    assert not joints[~seen].any()
    assert 3 < seen.sum() < 18


def test_nodes_of_comfyui_draw_our_people(nodes):
    """Their brush differs, the places are the same."""
    drawing = sdpose().SDPoseDrawKeypoints
    _, people = execute(nodes["ControlStackDrawPose"], pose_keypoint=clip(2), **DRAWN).result
    settings = {
        "draw_body": True,
        "draw_hands": True,
        "draw_face": True,
        "draw_feet": True,
        "stick_width": 4,
    }
    settings |= {"face_point_size": 3, "score_threshold": 0.3}
    inputs = [spec.id for spec in drawing.define_schema().inputs]
    settings |= {"draw_head": True} if "draw_head" in inputs else {}
    theirs = drawing.execute(people, **settings).result[0].float()
    ours = execute(nodes["ControlStackDrawPose"], pose_keypoint=people, **DRAWN).result[0]
    assert theirs.shape == ours.shape
    our_pixels, their_pixels = (hint.amax(-1) > 0.05 for hint in (ours, theirs))
    assert (our_pixels & their_pixels).sum() / (our_pixels | their_pixels).sum() > 0.8


def test_torchscript_files_run_under_comfyuis_memory_management(host, tmp_path, monkeypatch):
    import folder_paths

    from pack.host import runtime, weight_files, weights
    from pack.preprocessors import catalogue
    from pack.preprocessors.nets import dwpose

    net, crops = dwpose.PoseStandIn().eval(), torch.rand(2, 3, 384, 288)
    torch.jit.trace(net, crops[:1]).save(str(tmp_path / "pose.torchscript.pt"))
    row = dataclasses.replace(
        catalogue("pose").weights["dwpose"],
        file="pose.torchscript.pt",
        sha256=weight_files.sha256_of(tmp_path / "pose.torchscript.pt"),
    )
    registered = {**folder_paths.folder_names_and_paths, weights.FOLDER: ([str(tmp_path)], set())}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", registered)
    networks = runtime.HostNetworks()
    outputs = networks.run(row, crops, lambda net, chunk: tuple(net(chunk)))
    for ours, expected in zip(outputs, net(crops), strict=True):
        torch.testing.assert_close(ours, expected)
    assert [weights.file for weights in networks.warm] == [row.file]
    (tmp_path / row.file).write_bytes(b"not a graph")
    with pytest.raises(
        weights.WeightsError,
        match=r"pose\.torchscript\.pt .* is not the file that .* publishes.*delete or replace it",
    ):
        networks.run(row, crops, lambda net, chunk: tuple(net(chunk)))


def test_a_missing_package_is_named_before_anything_is_fetched(host, monkeypatch):
    from pack.host import runtime, weights
    from pack.preprocessors import catalogue

    row = dataclasses.replace(catalogue("pose").weights["dwpose_onnx"], package="no_such_package")
    monkeypatch.setattr(runtime, "fetch", lambda *_: pytest.fail("fetched without the package"))
    with pytest.raises(
        weights.WeightsError, match=r"choose another engine, or run `pip install no_such_package`"
    ):
        runtime.HostNetworks().run(row, torch.rand(1, 3, 384, 288), lambda net, chunk: net(chunk))
