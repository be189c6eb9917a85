"""Test top-down detection against transformers' own processing and hand-made answers."""

from __future__ import annotations

import importlib.util
import sys
import types

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from pack.preprocessors import detect_topdown, keypoints
from pack.preprocessors.build import InMemory
from pack.preprocessors.keypoints import BODY, FACE, LEFT_HAND, RIGHT_HAND
from pack.preprocessors.nets import dwpose, imagenet, vitpose
from pack.preprocessors.spec import Weights
from workbench import reference_nets

PHOTO = cv2.resize(data.astronaut(), (600, 400), interpolation=cv2.INTER_AREA)


def row(name: str) -> Weights:
    return Weights(name, "", torch.nn.Identity, "")


class Answer(torch.nn.Module):
    """Give a fixed answer, and record the inputs."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.shown = answer, []
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pixel_values):
        self.shown.append(pixel_values)
        return self.answer(len(pixel_values))


# RT-DETR and ViTPose


class Spread(torch.nn.Module):
    """A tiny RT-DETR with random weights, whose sixty answers are spread out at random.

    Without that, random weights give nearly one answer sixty times.
    """

    def __init__(self):
        super().__init__()
        from transformers import RTDetrForObjectDetection

        config = vitpose.detector_config()
        widths = ("d_model", "encoder_hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim")
        config.update(dict.fromkeys(widths, 32) | {"decoder_in_channels": [32, 32, 32]})
        config.update(dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4))
        config.update({"num_queries": 60, "decoder_layers": 1, "num_labels": 4})
        self.net, self.shown = RTDetrForObjectDetection(config).eval(), []

    def forward(self, pixel_values):
        self.shown.append(pixel_values)
        outputs, rng = self.net(pixel_values=pixel_values), torch.Generator().manual_seed(0)
        logits = outputs.logits + 5 + 2 * torch.randn(outputs.logits.shape[1:], generator=rng)
        random_boxes = torch.rand(outputs.pred_boxes.shape[1:], generator=rng)
        boxes = 0.1 * outputs.pred_boxes + 0.8 * random_boxes
        return types.SimpleNamespace(logits=logits, pred_boxes=boxes)


@torch.inference_mode()
def test_boxes_equal_those_of_transformers():
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    detector, processor = Spread(), RTDetrImageProcessorPil()
    square = cv2.resize(PHOTO, (640, 640), interpolation=cv2.INTER_AREA)
    inputs = processor(square, return_tensors="pt")
    outputs = detector(**inputs)
    ours = detect_topdown.detr_boxes([square, square], InMemory({"detr": detector}), row("detr"))
    torch.testing.assert_close(detector.shown[1][:1], inputs["pixel_values"])
    detections = processor.post_process_object_detection(
        outputs, threshold=detect_topdown.DETR_SCORE, target_sizes=[(640, 640)]
    )[0]
    expected = detections["boxes"][detections["labels"] == 0].numpy()
    assert 3 < len(expected) < 60
    for boxes in ours:
        np.testing.assert_allclose(boxes, expected, atol=0.05)


@pytest.fixture(scope="module")
def tiny_vit():
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    backbone = VitPoseBackboneConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, out_indices=[2]
    )
    torch.manual_seed(2)
    net = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, num_labels=17)).eval()
    net.head.conv.weight.data.normal_(0, 0.3)
    return net


BOXES = np.array(
    [[200.0, 30, 420, 390], [10, 300, 120, 380], [-20, -10, 90, 60], [300.5, 100.25, 580.5, 200.75]]
)


@torch.inference_mode()
def test_crops_and_points_equal_those_of_transformers(tiny_vit):
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    processor = VitPoseImageProcessorPil()
    coco = np.concatenate([BOXES[:, :2], BOXES[:, 2:] - BOXES[:, :2]], axis=1)
    inputs = processor(PHOTO, boxes=[coco.tolist()], return_tensors="pt")["pixel_values"]
    crops = [detect_topdown.Crop.around(box).cut(PHOTO, 256, 192, unbiased=True) for box in BOXES]
    ours = detect_topdown._network_input(detect_topdown._batch(crops).float())
    one_level = 1 / 255 / 0.225
    # Transformers rounds elsewhere, and is black already beyond the middle of the last pixel.
    assert ((ours - inputs).abs() < 1.01 * one_level).float().mean() > 0.985
    # From here on with the same crops, so that both have the same peaks.
    outputs = tiny_vit(pixel_values=ours)
    poses = processor.post_process_pose_estimation(outputs, boxes=[coco.tolist()])[0]
    networks = InMemory({"vit": tiny_vit})
    people = detect_topdown.vit_points([PHOTO], [BOXES], networks, row("vit"))[0]
    assert people.shape == (4, 17, 3)
    for person, expected in zip(people, poses, strict=True):
        np.testing.assert_allclose(person[:, 2], expected["scores"], rtol=1e-4)
        sure = (expected["scores"] > 0.01).numpy()
        assert sure.sum() > 8
        np.testing.assert_allclose(person[sure, :2], expected["keypoints"].numpy()[sure], atol=0.05)


def test_published_files_fill_the_networks(tmp_path, tiny_vit):
    """Files have the names of the published ones; the installed transformers may have others."""
    from safetensors.torch import load_file

    rename = vitpose.renamed_for(lambda: tiny_vit, lambda: tiny_vit.config)
    tiny_vit.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    renamed, expected = rename(state), tiny_vit.state_dict()
    assert renamed.keys() == expected.keys()
    assert all(torch.equal(renamed[name], tensor) for name, tensor in expected.items())
    del state[next(iter(state))]
    with pytest.raises(
        ValueError, match="does not hold a VitPoseForPoseEstimation of this size: 1 weights"
    ):
        rename(state)


# DWPose


class Instances(dict):
    """Named arrays as mmpose bundles them: read by attribute, tested with `in`."""


def test_the_order_of_points_equals_that_of_dwpose():
    """Run DWPose's code on random points, with stubs for both of its networks."""
    rng = np.random.default_rng(0)
    points, scores = rng.random((20, 133, 2)) * 500, rng.random((20, 133))
    with reference_nets.controlnet_aux("dwpose.wholebody") as (wholebody,):
        answer = Instances(keypoint_scores=scores)
        answer.keypoints, answer.keypoint_scores = points, scores
        wholebody.inference_topdown = lambda *_: None
        wholebody.merge_data_samples = lambda _: types.SimpleNamespace(pred_instances=answer)
        people = types.SimpleNamespace(
            bboxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0)
        )
        people.cpu = lambda: people
        people.numpy = lambda: people
        wholebody.inference_detector = lambda *_: types.SimpleNamespace(pred_instances=people)
        wholebody.nms = lambda boxes, _: np.arange(len(boxes))
        theirs = object.__new__(wholebody.Wholebody)
        theirs.detector = theirs.pose_estimator = None
        expected, sure = theirs(np.zeros((8, 8, 3), np.uint8))
    ours = keypoints.from_coco(np.concatenate([points, scores[..., None]], axis=2))
    seen = sure >= 0.3
    for part, source in (
        (BODY, slice(0, 18)),
        (keypoints.FEET, slice(18, 24)),
        (FACE, slice(24, 92)),
    ):
        count = source.stop - source.start
        assert np.array_equal(ours[:, part][:, :count, 2] > 0, seen[:, source])
        np.testing.assert_allclose(
            ours[:, part][:, :count, :2], expected[:, source] * seen[:, source, None]
        )
    for part, source in (LEFT_HAND, slice(92, 113)), (RIGHT_HAND, slice(113, 134)):
        np.testing.assert_allclose(ours[:, part, :2], expected[:, source] * seen[:, source, None])
    assert 0.2 < seen.mean() < 0.9


def raw_for(boxes, scores) -> torch.Tensor:
    """Encode boxes (left, top, right, bottom in px of the square) as YOLOX's output (8400,85)."""
    raw = torch.full((8400, 85), -4.0)
    raw[:, 4:] = 0.0
    cells, strides = detect_topdown.yolox_grid()
    for (left, top, right, bottom), (score, kind) in zip(boxes, scores, strict=True):
        centre, size = (
            np.array([left + right, top + bottom]) / 2,
            np.array([right - left, bottom - top]),
        )
        free = [index for index in np.flatnonzero(strides[:, 0] == 16) if raw[index, 4] == 0]
        cell = min(free, key=lambda index: np.hypot(*(cells[index] * 16 - centre)))
        raw[cell, :2] = torch.from_numpy(centre / 16 - cells[cell])
        raw[cell, 2:4] = torch.from_numpy(np.log(size / 16))
        raw[cell, 4], raw[cell, 5 + kind] = 1.0, score
    return raw


def test_people_are_decoded_from_yolox_in_px_of_the_picture():
    boxes = [
        (100, 50, 200, 350),
        (104, 52, 204, 352),
        (300, 100, 380, 300),
        (400, 10, 420, 60),
        (10, 10, 90, 90),
    ]
    scores = [(0.8, 0), (0.9, 0), (0.5, 0), (0.2, 0), (0.9, 7)]
    raw = raw_for(boxes, scores)
    net = Answer(lambda count: raw.expand(count, -1, -1))
    detected = detect_topdown.yolox_boxes([PHOTO], InMemory({"yolox": net}), row("yolox"))[0]
    # The second suppresses the first; the fourth scores too low; the fifth is not a person. The
    # rest is scaled back by 600/640.
    np.testing.assert_allclose(detected, np.array([boxes[1], boxes[2]]) * 600 / 640, atol=1e-3)
    shown = net.shown[0][0]
    assert shown[:, 500:].unique().tolist() == [114.0]  # grey below the picture
    expected = cv2.resize(PHOTO, (640, 426), interpolation=cv2.INTER_LINEAR)[..., ::-1]  # BGR
    assert np.array_equal(shown[:, :426].permute(1, 2, 0).numpy(), expected)


def test_overlaps_are_suppressed_as_by_opencv():
    rng = np.random.default_rng(3)
    for _ in range(50):
        corners = rng.integers(0, 200, (30, 2)).astype(float)
        boxes = np.concatenate([corners, corners + rng.integers(200, 300, (30, 2))], axis=1)
        scores = rng.random(30)
        pixels = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2] + 1], axis=1)
        expected = cv2.dnn.NMSBoxes(
            pixels.tolist(), scores.tolist(), 0.0, detect_topdown.YOLOX_OVERLAP
        )
        assert detect_topdown.suppress_overlaps(boxes, scores) == [
            *map(int, np.reshape(expected, -1))
        ]


def simcc_for(points: np.ndarray, score: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode points (133,2) in px of the crop as SimCC's bins."""
    across, down = torch.zeros(133, 576), torch.zeros(133, 768)
    for index, (x, y) in enumerate(points):
        across[index, round(2 * x)] = score
        down[index, round(2 * y)] = score + 0.1
    return across, down


def test_simcc_points_lie_in_px_of_the_picture():
    rng = np.random.default_rng(4)
    inside = rng.uniform(1, 280, (133, 2)).round(1)
    across, down = simcc_for(inside, 0.7)
    net = Answer(lambda count: (across.expand(count, -1, -1), down.expand(count, -1, -1)))
    people = detect_topdown.simcc_points(
        [PHOTO, PHOTO], [BOXES[:1], BOXES[1:2]], InMemory({"pose": net}), row("pose")
    )
    for points, box in zip(people, BOXES, strict=False):
        crop = detect_topdown.Crop.around(box)
        left_top = crop.centre - crop.size / 2
        expected = left_top + (2 * inside).round() / 2 * crop.size / (288, 384)
        np.testing.assert_allclose(points[0, :, :2], expected, atol=1e-3)
        np.testing.assert_allclose(points[0, :, 2], 0.7, atol=1e-6)
    # The input is what OpenCV cuts, three by four in shape and a quarter larger than the box.
    width, height = BOXES[0, 2:] - BOXES[0, :2]
    wide = max(width, height * 0.75) * 1.25
    centre = (BOXES[0, :2] + BOXES[0, 2:]) / 2
    corners = np.float32([centre, centre - (wide / 2, 0), centre - (0, wide / 0.75 / 2)])
    there = cv2.getAffineTransform(corners, np.float32([(144, 192), (0, 192), (144, 0)]))
    cut = cv2.warpAffine(PHOTO, there, (288, 384), flags=cv2.INTER_LINEAR)
    shown = (net.shown[0][0].permute(1, 2, 0).numpy() * imagenet.STD + imagenet.MEAN) * 255
    assert np.abs(shown - cut).max() < 1.01


def test_the_network_sees_one_crop_per_person():
    across, down = simcc_for(np.full((133, 2), 50.0), 0.9)
    net = Answer(lambda count: (across.expand(count, -1, -1), down.expand(count, -1, -1)))
    detect_topdown.simcc_points([PHOTO], [BOXES[:1]], InMemory({"pose": net}), row("pose"))
    assert [len(crops) for crops in net.shown] == [1]
    net.shown.clear()
    detect_topdown.simcc_points([PHOTO], [BOXES[:0]], InMemory({"pose": net}), row("pose"))
    assert net.shown == []


def test_a_graph_traced_for_five_crops_gets_five():
    across, down = simcc_for(np.full((133, 2), 50.0), 0.9)

    def answer(count):
        if count != 5:
            raise RuntimeError("shape '[5, 133, 256]' is invalid for input of size 34048")
        return across.expand(count, -1, -1), down.expand(count, -1, -1)

    net = Answer(answer)
    networks = InMemory({"pose": net}, chunk=7)
    people = detect_topdown.simcc_points([PHOTO], [BOXES], networks, row("pose"))[0]
    assert people.shape == (4, 133, 3)


# Files that hold their own graphs


def test_torchscript_files_run_as_the_networks_in_them(tmp_path):
    net = dwpose.PoseStandIn().eval()
    crops = torch.rand(2, 3, 384, 288)
    torch.jit.trace(net, crops[:1]).save(str(tmp_path / "pose.pt"))
    opened = dwpose.torchscript(str(tmp_path / "pose.pt"))
    for ours, expected in zip(opened(crops), net(crops), strict=True):
        torch.testing.assert_close(ours, expected)
    assert next(opened.parameters()).dtype == torch.float32
    (tmp_path / "cut.pt").write_bytes((tmp_path / "pose.pt").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cut\.pt is not a TorchScript file, or is cut short"):
        dwpose.torchscript(str(tmp_path / "cut.pt"))


def test_onnx_graphs_get_batches_of_their_size(monkeypatch):
    """A stub of onnxruntime records the batches; the answers come back in order."""
    shapes = []

    class Session:
        def __init__(self, path, providers):
            assert (path, providers) == ("pose.onnx", ["CPUExecutionProvider"])

        def get_inputs(self):
            return [types.SimpleNamespace(name="input", shape=[1, 3, 384, 288])]

        def run(self, names, given):
            shapes.append(given["input"].shape)
            return [given["input"].sum((1, 2)), given["input"].sum((1, 3))]

    runtime = types.ModuleType("onnxruntime", "")
    runtime.__spec__ = importlib.util.spec_from_loader("onnxruntime", None)
    runtime.InferenceSession, runtime.get_available_providers = (
        Session,
        lambda: ["CPUExecutionProvider"],
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    frames = torch.rand(3, 3, 384, 288)
    across, down = dwpose.onnx("pose.onnx")(frames)
    assert shapes == [(1, 3, 384, 288)] * 3
    torch.testing.assert_close(across, frames.sum((1, 2)), rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(down, frames.sum((1, 3)), rtol=1e-5, atol=1e-3)
