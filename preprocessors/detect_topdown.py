"""Find people from the top down: boxes by a detector, then points in each box.

Every person of every frame is one crop, and a crop gives the points of one person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage as _ndimage  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from .images import Frame8, opencv, tensor_of
from .keypoints import Frame, from_coco, nobody
from .nets.dwpose import (
    POSE_BINS_PER_PX,
    POSE_HEIGHT_PX,
    POSE_WIDTH_PX,
    YOLOX_SIDE_PX,
    YOLOX_STRIDES,
)
from .spec import Networks, Outputs, Progress, Weights

ndimage: Any = _ndimage
Floats = NDArray[np.floating[Any]]
Boxes = NDArray[np.float64]
"""(n,4): left, top, right, bottom in px."""

PERSON = 0
"""COCO's class."""
DETR_SIDE_PX, DETR_SCORE = 640, 0.3
YOLOX_SCORE, YOLOX_OVERLAP, YOLOX_GREY = 0.3, 0.45, 114
VIT_HEIGHT_PX, VIT_WIDTH_PX = 256, 192
DARK_SIGMA_PX, DARK_RADIUS_PX = 0.8, 5
PADDING = 1.25
"""How much larger than its box a person's crop is."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Crop:
    """Describe the part of a picture that a pose network sees.

    Pixel (i, j) of it lies at `origin + step * (i, j)`, x first. `unbiased` steps from the first
    pixel's middle to the last one's (Huang, "The Devil is in the Details", 2020), as ViTPose was
    trained; DWPose steps from border to border.
    """

    centre: NDArray[np.float64]
    size: NDArray[np.float64]

    @classmethod
    def around(cls, box: NDArray[np.float64]) -> Crop:
        """Make the crop of a box: a quarter larger, three by four in shape."""
        width, height = box[2:] - box[:2]
        wide = max(width, 0.75 * height)
        return cls((box[:2] + box[2:]) / 2, PADDING * np.array([wide, wide / 0.75]))

    def at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert fractions of the crop (…,2) to px of the picture."""
        return places * self.size + self.centre - self.size / 2

    def cut(self, frame: Frame8, height_px: int, width_px: int, *, unbiased: bool) -> Frame8:
        """Cut (height_px,width_px,3) out of a frame (H,W,3), black outside of the picture."""
        cv2 = opencv()
        step = self.size / (np.array([width_px, height_px]) - (1 if unbiased else 0))
        origin = self.centre - self.size / 2
        back = np.array([[step[0], 0, origin[0]], [0, step[1], origin[1]]])
        return cv2.warpAffine(
            frame, back, (width_px, height_px), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )


Detector = Callable[[Sequence[Frame8], Networks, Weights, "Progress | None"], list[Boxes]]
Estimator = Callable[
    [Sequence[Frame8], Sequence[Boxes], Networks, Weights, "Progress | None"],
    list[NDArray[np.float64]],
]


def detect(
    frames: Sequence[Frame8],
    networks: Networks,
    weights: tuple[Weights, Weights],
    finders: tuple[Detector, Estimator],
    progress: tuple[Progress | None, Progress | None] = (None, None),
) -> list[Frame]:
    """Find the people of RGB frames of one size.

    `weights` and `finders` are those of boxes and of points.
    """
    boxes = finders[0](frames, networks, weights[0], progress[0])
    points = finders[1](frames, boxes, networks, weights[1], progress[1])
    return [
        Frame(from_coco(person) if len(person) else nobody(), *frame.shape[:2])
        for frame, person in zip(frames, points, strict=True)
    ]


# Boxes


def detr_boxes(
    frames: Sequence[Frame8], networks: Networks, weights: Weights, progress: Progress | None = None
) -> list[Boxes]:
    """Find boxes of people by RT-DETR, the surest first."""
    cv2 = opencv()
    side = (DETR_SIDE_PX, DETR_SIDE_PX)
    shrinks = frames[0].shape[0] * frames[0].shape[1] > DETR_SIDE_PX**2
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    batch = _batch([cv2.resize(frame, side, interpolation=how) for frame in frames])

    def forward(net: torch.nn.Module, chunk: Tensor) -> Outputs:
        outputs = net(pixel_values=(chunk / 255).to(next(net.parameters()).dtype))
        return outputs.logits, outputs.pred_boxes

    outputs = networks.run(weights, batch, forward, px_per_frame=DETR_SIDE_PX**2, progress=progress)
    assert isinstance(outputs, tuple)
    return [
        people_of_detr(logits.double().numpy(), boxes.double().numpy(), *frame.shape[:2])
        for logits, boxes, frame in zip(*outputs, frames, strict=True)
    ]


def people_of_detr(logits: Floats, boxes: Floats, height_px: int, width_px: int) -> Boxes:
    """Decode logits (300,80) and boxes (300,4), centre and size in fractions.

    The 300 surest of all query and class pairs count.
    """
    scores = 1 / (1 + np.exp(-np.reshape(logits, -1)))
    surest = np.argsort(-scores, kind="stable")[: len(logits)]
    query, kind = np.divmod(surest, logits.shape[1])
    query = query[(kind == PERSON) & (scores[surest] > DETR_SCORE)]
    centre, size = boxes[query, :2], boxes[query, 2:]
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    return corners * np.array([width_px, height_px, width_px, height_px], np.float64)


def yolox_boxes(
    frames: Sequence[Frame8], networks: Networks, weights: Weights, progress: Progress | None = None
) -> list[Boxes]:
    """Find boxes of people by YOLOX, the surest first."""
    inputs = [letterboxed(frame) for frame in frames]

    def forward(net: torch.nn.Module, chunk: Tensor) -> Outputs:
        outputs: Outputs = net(chunk.to(next(net.parameters()).dtype))
        return outputs[0] if isinstance(outputs, tuple) else outputs

    # It was trained on BGR, unlike the pose network.
    batch = _batch([padded[..., ::-1] for padded, _ in inputs])
    raw = networks.run(weights, batch, forward, px_per_frame=YOLOX_SIDE_PX**2, progress=progress)
    assert isinstance(raw, Tensor)
    return [
        people_of_yolox(one.double().numpy()) / ratio
        for one, (_, ratio) in zip(raw, inputs, strict=True)
    ]


def letterboxed(frame: Frame8) -> tuple[Frame8, float]:
    """Scale a frame into the corner of a grey square of 640 px; return the scale too."""
    cv2 = opencv()
    height, width = frame.shape[:2]
    ratio = min(YOLOX_SIDE_PX / height, YOLOX_SIDE_PX / width)
    size = max(1, int(width * ratio)), max(1, int(height * ratio))
    square = np.full((YOLOX_SIDE_PX, YOLOX_SIDE_PX, 3), YOLOX_GREY, np.uint8)
    square[: size[1], : size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return square, ratio


def people_of_yolox(raw: Floats) -> Boxes:
    """Decode (8400,85) into boxes in px of the square, without those that overlap a surer one."""
    cells, strides = yolox_grid()
    scores = raw[:, 4] * raw[:, 5 + PERSON]
    sure = np.flatnonzero(scores > YOLOX_SCORE)
    centre = (raw[sure, :2] + cells[sure]) * strides[sure]
    half = np.exp(raw[sure, 2:4]) * strides[sure] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return boxes[kept_boxes(boxes, scores[sure])]


def yolox_grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute each cell's place on its grid (8400,2), and its stride in px (8400,1)."""
    cells, strides = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for stride in YOLOX_STRIDES:
        count = YOLOX_SIDE_PX // stride
        rows, columns = np.divmod(np.arange(count**2), count)
        cells.append(np.stack([columns, rows], axis=1).astype(np.float64))
        strides.append(np.full((count**2, 1), float(stride)))
    return np.concatenate(cells), np.concatenate(strides)


def kept_boxes(boxes: Boxes, scores: Floats) -> list[int]:
    """Choose boxes, the surest first; each removes those that it overlaps by more than 45 %.

    Sides count both of their border pixels, as in YOLOX's own code.
    """
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    areas = sides[:, 0] * sides[:, 1]
    order, chosen = np.argsort(-scores, kind="stable"), list[int]()
    while len(order):
        best, rest = order[0], order[1:]
        chosen.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.maximum(0, high - low + 1).prod(axis=1)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= YOLOX_OVERLAP]
    return chosen


# Points


def vit_points(
    frames: Sequence[Frame8],
    boxes: Sequence[Boxes],
    networks: Networks,
    weights: Weights,
    progress: Progress | None = None,
) -> list[NDArray[np.float64]]:
    """Find points by ViTPose: (P,17,3) for each frame."""

    def forward(net: torch.nn.Module, chunk: Tensor) -> Outputs:
        return net(pixel_values=_normalised(chunk).to(next(net.parameters()).dtype)).heatmaps

    size = (VIT_HEIGHT_PX, VIT_WIDTH_PX)
    crops, outputs = _cropped(frames, boxes, size, True, networks, weights, forward, progress)
    if outputs is None:
        return [np.zeros((0, 17, 3)) for _ in frames]
    assert isinstance(outputs, Tensor)
    return _by_frame(
        [
            points_of_heat(heat.double().numpy(), crop)
            for heat, crop in zip(outputs, crops, strict=True)
        ],
        boxes,
    )


def points_of_heat(heat: NDArray[np.float64], crop: Crop) -> NDArray[np.float64]:
    """Read points (17,3) in px from heat (17,h,w).

    Each is the heat's peak, moved to the top of the blurred heat's logarithm (Zhang, "DARK", 2020).
    Its score is the heat at the peak; without a peak the point is the crop's corner with a score of
    0 or less.
    """
    joints, height, width = heat.shape
    top = np.reshape(heat, (joints, -1)).argmax(axis=1)
    row, column = np.divmod(top, width)
    score = np.reshape(heat, (joints, -1)).max(axis=1)
    blurred: NDArray[np.float64] = heat
    for axis in (1, 2):
        blurred = ndimage.gaussian_filter1d(
            blurred, DARK_SIGMA_PX, axis=axis, radius=DARK_RADIUS_PX
        )
    log: NDArray[np.float64] = np.pad(
        np.log(blurred.clip(0.001, 50)), ((0, 0), (1, 1), (1, 1)), mode="edge"
    )
    joint = np.arange(len(heat))

    def at(down: int, across: int) -> NDArray[np.float64]:
        return log[joint, row + 1 + down, column + 1 + across]

    slope = np.stack([at(0, 1) - at(0, -1), at(1, 0) - at(-1, 0)], axis=1) / 2
    here = at(0, 0)
    xx, yy = at(0, 1) - 2 * here + at(0, -1), at(1, 0) - 2 * here + at(-1, 0)
    xy = (at(1, 1) - at(0, 1) - at(1, 0) + 2 * here - at(0, -1) - at(-1, 0) + at(-1, -1)) / 2
    bend = np.stack([np.stack([xx, xy], axis=1), np.stack([xy, yy], axis=1)], axis=1)
    ridge = float(np.finfo(np.float32).eps)
    move = np.linalg.solve(bend + ridge * np.eye(2), slope[..., None])[..., 0]
    places = (np.stack([column, row], axis=1) - move) / (width - 1, height - 1)
    return np.concatenate([crop.at(places), score[:, None]], axis=1)


def simcc_points(
    frames: Sequence[Frame8],
    boxes: Sequence[Boxes],
    networks: Networks,
    weights: Weights,
    progress: Progress | None = None,
) -> list[NDArray[np.float64]]:
    """Find points by DWPose's pose network: (P,133,3) for each frame."""

    def forward(net: torch.nn.Module, chunk: Tensor) -> Outputs:
        return _at_its_batch(net, _normalised(chunk).to(next(net.parameters()).dtype))

    size = (POSE_HEIGHT_PX, POSE_WIDTH_PX)
    crops, outputs = _cropped(frames, boxes, size, False, networks, weights, forward, progress)
    if outputs is None:
        return [np.zeros((0, 133, 3)) for _ in frames]
    assert isinstance(outputs, tuple)
    across, down = (bins.double().numpy() for bins in outputs)
    return _by_frame([points_of_bins(*one) for one in zip(across, down, crops, strict=True)], boxes)


def points_of_bins(
    across: NDArray[np.float64], down: NDArray[np.float64], crop: Crop
) -> NDArray[np.float64]:
    """Read points (133,3) in px from bins (133,2w) and (133,2h).

    Each is the strongest bin each way (Li, "SimCC", 2022); its score is the weaker of the two.
    """
    score = np.minimum(across.max(axis=1), down.max(axis=1))
    bins = np.stack([across.argmax(axis=1), down.argmax(axis=1)], axis=1)
    places = (
        bins
        / POSE_BINS_PER_PX
        / (across.shape[1] // POSE_BINS_PER_PX, down.shape[1] // POSE_BINS_PER_PX)
    )
    return np.concatenate([crop.at(places), score[:, None]], axis=1)


def _at_its_batch(net: torch.nn.Module, crops: Tensor) -> Outputs:
    """Run the crops as they are, or in fives where the graph takes nothing else.

    Some TorchScript files were traced for a batch of five.
    """
    try:
        return tuple(net(crops))
    except RuntimeError as error:
        if len(crops) % 5 == 0 or "memory" in str(error):
            raise
    fives = torch.cat([crops, crops[-1:].expand(-len(crops) % 5, -1, -1, -1)])
    parts = [tuple(net(five)) for five in torch.split(fives, 5)]
    return tuple(torch.cat(column)[: len(crops)] for column in zip(*parts, strict=True))


def _cropped(
    frames: Sequence[Frame8],
    boxes: Sequence[Boxes],
    size: tuple[int, int],
    unbiased: bool,
    networks: Networks,
    weights: Weights,
    forward: Callable[[torch.nn.Module, Tensor], Outputs],
    progress: Progress | None,
) -> tuple[list[Crop], Outputs | None]:
    """Run the network on every person's crop; None where there is nobody."""
    wanted = [
        (frame, Crop.around(box)) for frame, own in zip(frames, boxes, strict=True) for box in own
    ]
    crops = [crop for _, crop in wanted]
    if not wanted:
        return crops, None
    batch = _batch([crop.cut(frame, *size, unbiased=unbiased) for frame, crop in wanted])
    return crops, networks.run(
        weights, batch, forward, px_per_frame=size[0] * size[1], progress=progress
    )


def _by_frame(
    points: list[NDArray[np.float64]], boxes: Sequence[Boxes]
) -> list[NDArray[np.float64]]:
    """Return every person's points to their frames."""
    every, ends = np.stack(points), np.cumsum([len(own) for own in boxes])
    return [every[end - len(own) : end] for end, own in zip(ends, boxes, strict=True)]


def _batch(frames: Sequence[Frame8]) -> Tensor:
    """Stack frames (h,w,3) as (n,3,h,w), still 8 bits: the device makes floats."""
    return tensor_of(np.stack(frames)).movedim(3, 1)


def _normalised(crops: Tensor) -> Tensor:
    """Normalise (n,3,h,w) in 0..255 with ImageNet's mean and deviation."""
    mean, std = (crops.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return (crops / 255 - mean) / std
