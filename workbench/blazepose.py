"""Run BlazePose as the package mediapipe ships it: a detector of people and a network for joints.

Bazarevsky et al.: "BlazePose: On-device Real-time Body Pose tracking", 2020, Apache-2.0. mediapipe
itself is not imported; its two tflite files are run by LiteRT. Everything around the networks
(anchors, the square around a person, the way back) is written here after mediapipe's own graphs, so
that none of our code is used to judge our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

# For each of COCO's seventeen joints, which of BlazePose's thirty-three it is.
OF_COCO = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
DETECTOR_SIDE_PX, LANDMARK_SIDE_PX = 224, 256
STRIDES_PX = (8, 16, 32, 32, 32)


@dataclass(frozen=True)
class Person:
    """Joints (17,2) in px in COCO's order, their visibility, and the upright square of the body."""

    joints: np.ndarray
    visible: np.ndarray
    centre: np.ndarray
    side: float


@cache
def _network(name: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    spec = find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "mediapipe is not installed: it is part of the test environment (environment.py)"
        )
    folder = Path(spec.submodule_search_locations[0]) / "modules"
    interpreter = Interpreter(str(folder / name), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _run(name: str, picture: np.ndarray) -> list[np.ndarray]:
    """Run a network on (H,W,3) float; return every output, in the file's order."""
    net = _network(name)
    net.set_tensor(net.get_input_details()[0]["index"], picture[None].astype(np.float32))
    net.invoke()
    return [net.get_tensor(output["index"])[0] for output in net.get_output_details()]


def find(picture: np.ndarray) -> Person | None:
    """Find the most certain person in (H,W,3) uint8 RGB; None where there is nobody."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = cv2.copyMakeBorder(
        picture,
        (side - height) // 2,
        (side - height + 1) // 2,
        (side - width) // 2,
        (side - width + 1) // 2,
        cv2.BORDER_CONSTANT,
    )
    small = cv2.resize(square, (DETECTOR_SIDE_PX, DETECTOR_SIDE_PX), interpolation=cv2.INTER_AREA)
    boxes, scores = _run("pose_detection/pose_detection.tflite", small / 127.5 - 1)
    best = int(scores[:, 0].argmax())
    if 1 / (1 + np.exp(-scores[best, 0])) < 0.5:
        return None
    shift = np.array([(side - width) // 2, (side - height) // 2])
    scale = side / DETECTOR_SIDE_PX
    places = boxes[best, 4:8].reshape(2, 2) + _anchors()[best] * DETECTOR_SIDE_PX
    hips, reach = places * scale - shift
    body_px = 1.25 * 2 * float(np.hypot(*(reach - hips)))
    joints, visible = landmarks(picture, hips, body_px, _upright(hips, reach))
    return Person(joints[list(OF_COCO)], visible[list(OF_COCO)], hips, body_px)


def _upright(hips: np.ndarray, reach: np.ndarray) -> float:
    """Return by how much, in radians, the person leans to the right."""
    return float(np.pi / 2 - np.arctan2(hips[1] - reach[1], reach[0] - hips[0]))


def landmarks(
    picture: np.ndarray, centre: np.ndarray, side: float, lean: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Find the joints of the person in a square of that side, turned by `lean` radians.

    Returns (33,2) in px and their visibility (33,).
    """
    cos, sin = np.cos(lean) * side / LANDMARK_SIDE_PX, np.sin(lean) * side / LANDMARK_SIDE_PX
    turn = np.array([[cos, -sin], [sin, cos]])
    origin = centre - turn @ np.full(2, LANDMARK_SIDE_PX / 2)
    back = np.concatenate([turn, origin[:, None]], axis=1)
    size = (LANDMARK_SIDE_PX, LANDMARK_SIDE_PX)
    crop = cv2.warpAffine(picture, back, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    points = _run("pose_landmark/pose_landmark_full.tflite", crop / 255.0)[0].reshape(39, 5)[:33]
    return points[:, :2] @ turn.T + origin, 1 / (1 + np.exp(-points[:, 3]))


def _anchors() -> np.ndarray:
    """Return anchors (2254,2) in fractions: two per cell; layers of one stride are together."""
    anchors, layer = [], 0
    while layer < len(STRIDES_PX):
        stride = STRIDES_PX[layer]
        layers = sum(other == stride for other in STRIDES_PX)
        cells = (np.arange(DETECTOR_SIDE_PX // stride) + 0.5) * stride / DETECTOR_SIDE_PX
        y, x = np.meshgrid(cells, cells, indexing="ij")
        anchors.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), 2 * layers, axis=0))
        layer += layers
    return np.concatenate(anchors)
