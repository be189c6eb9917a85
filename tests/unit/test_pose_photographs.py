"""Test the way from a photograph to a skeleton, with trained weights.

No package registry has ViTPose's own weights. So BlazePose stands in for both networks between our
crops and our decoding, and is compared with BlazePose as it runs on its own: a square crop, turned
upright, without heatmaps.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from pack.preprocessors import catalogue, detect_topdown
from pack.preprocessors.build import InMemory
from pack.preprocessors.keypoints import COCO_WHOLEBODY_TO_OPENPOSE
from pack.preprocessors.nets import imagenet
from workbench import blazepose, stand_ins

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="mediapipe 0.10.21, the reference, has no wheel for this Python",
)
PHOTOGRAPHS = {
    "astronaut": data.astronaut(),
    "cameraman": np.repeat(data.camera()[..., None], 3, axis=2),
}
VISIBLE = 0.8
HEAD_TO_WRISTS = range(11)


class Boxes(stand_ins.StandIn):
    """Answer like RT-DETR with a box around the whole body, from BlazePose's hips and head.

    The box may leave the picture: the network behind it was trained on bodies in the middle.
    """

    def __init__(self, height, width):
        super().__init__()
        self.height, self.width = height, width

    def forward(self, pixel_values):
        outputs = stand_ins.Detector()(pixel_values)
        for index, square in enumerate(pixel_values.permute(0, 2, 3, 1).numpy()):
            frame = cv2.resize((square * 255).round().astype(np.uint8), (self.width, self.height))
            person, size = blazepose.find(frame), np.array([self.width, self.height])
            box = np.array([0.75, 1]) * person.side / detect_topdown.PADDING
            outputs.pred_boxes[index, 0] = torch.from_numpy(
                np.concatenate([person.centre / size, box / size])
            )
        return outputs


class Joints(stand_ins.StandIn):
    """Answer like ViTPose with heatmaps (17,64,48) that peak at BlazePose's joints in the crop."""

    def forward(self, pixel_values):
        heat = torch.zeros(len(pixel_values), 17, 64, 48)
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
        for index, crop in enumerate(pixel_values.permute(0, 2, 3, 1).numpy()):
            levels = (crop * imagenet.STD + imagenet.MEAN) * 255
            picture = levels.round().clip(0, 255).astype(np.uint8)
            points, visible = blazepose.landmarks(picture, np.array([95.5, 127.5]), 256.0)
            for joint, source in enumerate(blazepose.OF_COCO):
                x, y = points[source] * (47 / 191, 63 / 255)
                peak = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
                heat[index, joint] = peak * float(visible[source])
        return SimpleNamespace(heatmaps=heat)


FRAMINGS = [("astronaut", 512, 512), ("astronaut", 700, 1000), ("cameraman", 512, 512)]


@pytest.mark.parametrize(("name", "height", "width"), FRAMINGS, ids=str)
def test_joints_agree_with_blazepose_where_both_see_them(name, height, width):
    """Compare from head to wrists: both photographs end at the hips; below, BlazePose guesses."""
    picture, photo = np.zeros((height, width, 3), np.uint8), PHOTOGRAPHS[name]
    picture[-512:, -512:] = photo
    reference = blazepose.find(photo)
    expected = reference.joints + np.array([width - 512, height - 512])
    weights = catalogue("pose").weights["vitpose"]
    networks = InMemory({weights.file: Joints(), weights.beside[0].file: Boxes(height, width)})
    image = torch.from_numpy(picture[None].astype(np.float32) / 255)
    hint, people = catalogue("pose").full(image, engine="vitpose", networks=networks)
    (person,) = people[0]["people"]
    joints = np.reshape(person["pose_keypoints_2d"], (18, 3))
    tall = np.ptp(expected[:, 1])
    compared = 0
    for ours, coco in enumerate(COCO_WHOLEBODY_TO_OPENPOSE):
        if (
            coco in HEAD_TO_WRISTS
            and reference.visible[coco] > VISIBLE
            and joints[ours, 2] > VISIBLE
        ):
            apart = np.hypot(*(joints[ours, :2] - expected[coco]))
            assert apart < 0.1 * tall, f"joint {ours}: {apart:.0f} px of {tall:.0f}"
            compared += 1
    assert compared >= 7
    # The nose, the first joint, is drawn in red where it was detected.
    x, y = joints[0, :2].astype(int)
    assert hint[0, y, x].tolist() == [1, 0, 0]


def test_blazepose_detects_nobody_on_bricks():
    assert blazepose.find(cv2.cvtColor(data.brick(), cv2.COLOR_GRAY2RGB)) is None
