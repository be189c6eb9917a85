"""Detect people top-down: a detector finds boxes, a pose network the keypoints in each box.

Every person of every frame is one crop, and the pose network sees each crop once.
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
from .keypoints import SEEN_SCORE, Frame, empty_people, from_coco
from .nets import imagenet
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
"""The index of COCO's class."""
DETR_SIDE_PX, DETR_SCORE = 640, 0.3
YOLOX_SCORE, YOLOX_OVERLAP, YOLOX_GREY = 0.3, 0.45, 114
VIT_HEIGHT_PX, VIT_WIDTH_PX = 256, 192
DARK_SIGMA_PX, DARK_RADIUS_PX = 0.8, 5
PADDING = 1.25
"""How much larger than its box a person's crop is."""


@dataclass(frozen=True)
class Crop:
    """The part of a picture that a pose network sees, by centre and size in px, x first."""

    centre: NDArray[np.float64]
    size: NDArray[np.float64]

    @classmethod
    def around(cls, box: NDArray[np.float64]) -> Crop:
        """Return the crop around a box, three by four in shape and a quarter larger."""
        width, height = box[2:] - box[:2]
        wide = max(width, 0.75 * height)
        return cls((box[:2] + box[2:]) / 2, PADDING * np.array([wide, wide / 0.75]))

    def at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert fractions of the crop (...,2) to px of the picture."""
        return places * self.size + self.centre - self.size / 2

    def cut(self, frame: Frame8, height_px: int, width_px: int, *, unbiased: bool) -> Frame8:
        """Resample the crop of (H,W,3) as (height_px,width_px,3), black outside of the picture.

        `unbiased` steps from the first pixel's middle to the last one's (J. Huang, "The Devil is in
        the Details", 2020), as ViTPose was trained; DWPose steps from border to border.
        """
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
    detectors: tuple[Detector, Estimator],
    progress: tuple[Progress | None, Progress | None] = (None, None),
    *,
    score_threshold: float = SEEN_SCORE,
) -> list[Frame]:
    """Detect the people of RGB frames of one size.

    `weights`, `detectors` and `progress` are a pair each: for boxes and for keypoints. Keypoints
    below `score_threshold` are dropped. Raises what `networks` raises.
    """
    boxes = detectors[0](frames, networks, weights[0], progress[0])
    points = detectors[1](frames, boxes, networks, weights[1], progress[1])
    people = (from_coco(rows, score_threshold) if len(rows) else empty_people() for rows in points)
    return [Frame(rows, *frame.shape[:2]) for frame, rows in zip(frames, people, strict=True)]


# Boxes


def detr_boxes(
    frames: Sequence[Frame8], networks: Networks, weights: Weights, progress: Progress | None = None
) -> list[Boxes]:
    """Detect the boxes of people by RT-DETR, the highest score first."""
    cv2 = opencv()
    side = (DETR_SIDE_PX, DETR_SIDE_PX)
    shrinks = frames[0].shape[0] * frames[0].shape[1] > DETR_SIDE_PX**2
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    batch = _batch([cv2.resize(frame, side, interpolation=interpolation) for frame in frames])

    def forward(net: torch.nn.Module, chunk: Tensor) -> Outputs:
        outputs = net(pixel_values=(chunk / 255).to(next(net.parameters()).dtype))
        return outputs.logits, outputs.pred_boxes

    outputs = networks.run(weights, batch, forward, px_per_frame=DETR_SIDE_PX**2, progress=progress)
    assert isinstance(outputs, tuple)
    return [
        decode_detr(logits.double().numpy(), boxes.double().numpy(), *frame.shape[:2])
        for logits, boxes, frame in zip(*outputs, frames, strict=True)
    ]


def decode_detr(logits: Floats, boxes: Floats, height_px: int, width_px: int) -> Boxes:
    """Decode logits (300,80) and boxes (300,4), centre and size in fractions, to boxes of people.

    Only the 300 highest of all scores count, as in transformers' own decoding.
    """
    scores = 1 / (1 + np.exp(-np.reshape(logits, -1)))
    best = np.argsort(-scores, kind="stable")[: len(logits)]
    query, kind = np.divmod(best, logits.shape[1])
    query = query[(kind == PERSON) & (scores[best] > DETR_SCORE)]
    centre, size = boxes[query, :2], boxes[query, 2:]
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    return corners * np.array([width_px, height_px, width_px, height_px], np.float64)


def yolox_boxes(
    frames: Sequence[Frame8], networks: Networks, weights: Weights, progress: Progress | None = None
) -> list[Boxes]:
    """Detect the boxes of people by YOLOX, the highest score first."""
    inputs = [letterbox(frame) for frame in frames]

    def forward(net: torch.nn.Module, chunk: Tensor) -> Outputs:
        outputs: Outputs = net(chunk.to(next(net.parameters()).dtype))
        return outputs[0] if isinstance(outputs, tuple) else outputs

    # YOLOX was trained on BGR, unlike the pose network.
    batch = _batch([square[..., ::-1] for square, _ in inputs])
    raw = networks.run(weights, batch, forward, px_per_frame=YOLOX_SIDE_PX**2, progress=progress)
    assert isinstance(raw, Tensor)
    return [
        decode_yolox(rows.double().numpy()) / ratio
        for rows, (_, ratio) in zip(raw, inputs, strict=True)
    ]


def letterbox(frame: Frame8) -> tuple[Frame8, float]:
    """Fit the frame into the top left of a grey square of 640 px; return it with the scale."""
    cv2 = opencv()
    height, width = frame.shape[:2]
    ratio = min(YOLOX_SIDE_PX / height, YOLOX_SIDE_PX / width)
    size = max(1, int(width * ratio)), max(1, int(height * ratio))
    square = np.full((YOLOX_SIDE_PX, YOLOX_SIDE_PX, 3), YOLOX_GREY, np.uint8)
    square[: size[1], : size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return square, ratio


def decode_yolox(raw: Floats) -> Boxes:
    """Decode the rows of all grid cells (8400,85) to boxes of people in px of the square."""
    cells, strides = yolox_grid()
    scores = raw[:, 4] * raw[:, 5 + PERSON]
    likely = np.flatnonzero(scores > YOLOX_SCORE)
    centre = (raw[likely, :2] + cells[likely]) * strides[likely]
    half = np.exp(raw[likely, 2:4]) * strides[likely] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return boxes[suppress_overlaps(boxes, scores[likely])]


def yolox_grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each cell's position on its grid (8400,2), x first, and its stride in px (8400,1)."""
    cells, strides = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for stride in YOLOX_STRIDES:
        count = YOLOX_SIDE_PX // stride
        rows, columns = np.divmod(np.arange(count**2), count)
        cells.append(np.stack([columns, rows], axis=1).astype(np.float64))
        strides.append(np.full((count**2, 1), float(stride)))
    return np.concatenate(cells), np.concatenate(strides)


def suppress_overlaps(boxes: Boxes, scores: Floats) -> list[int]:
    """Return the indices of boxes left by non-maximum suppression, the highest score first.

    A box removes those that it overlaps by more than YOLOX_OVERLAP. Sides count both of their
    border pixels, as in YOLOX's own code.
    """
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    areas = sides[:, 0] * sides[:, 1]
    order, remaining = np.argsort(-scores, kind="stable"), list[int]()
    while len(order):
        best, rest = order[0], order[1:]
        remaining.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.maximum(0, high - low + 1).prod(axis=1)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= YOLOX_OVERLAP]
    return remaining


# Points


def vit_points(
    frames: Sequence[Frame8],
    boxes: Sequence[Boxes],
    networks: Networks,
    weights: Weights,
    progress: Progress | None = None,
) -> list[NDArray[np.float64]]:
    """Estimate (P,17,3) keypoints in px for each frame by ViTPose."""

    def forward(net: torch.nn.Module, chunk: Tensor) -> Outputs:
        return net(pixel_values=_network_input(chunk).to(next(net.parameters()).dtype)).heatmaps

    size = (VIT_HEIGHT_PX, VIT_WIDTH_PX)
    crops, batch = _crops(frames, boxes, *size, unbiased=True)
    if not crops:
        return [np.zeros((0, 17, 3)) for _ in frames]
    heat = networks.run(weights, batch, forward, px_per_frame=size[0] * size[1], progress=progress)
    assert isinstance(heat, Tensor)
    pairs = zip(heat, crops, strict=True)
    return _by_frame([decode_heatmaps(maps.double().numpy(), crop) for maps, crop in pairs], boxes)


def decode_heatmaps(heat: NDArray[np.float64], crop: Crop) -> NDArray[np.float64]:
    """Decode heatmaps (17,h,w) to keypoints (17,3) in px of the picture.

    Each peak is refined on the logarithm of the blurred map (F. Zhang, "Distribution-Aware
    Coordinate Representation", DARK, 2020). Scores are the heat at the peak; without a peak the
    point is the crop's corner and its score 0 or less.
    """
    joints, height, width = heat.shape
    peak = np.reshape(heat, (joints, -1)).argmax(axis=1)
    row, column = np.divmod(peak, width)
    score = np.reshape(heat, (joints, -1)).max(axis=1)
    offset = _dark_offset(heat, row, column)
    places = (np.stack([column, row], axis=1) - offset) / (width - 1, height - 1)
    return np.concatenate([crop.at(places), score[:, None]], axis=1)


def _dark_offset(
    heat: NDArray[np.float64], row: NDArray[np.intp], column: NDArray[np.intp]
) -> Floats:
    """Return how far each peak lies beyond the maximum of its blurred map, (17,2) in px, x first.

    That is one Newton step on the map's logarithm: the inverse Hessian times the gradient.
    """
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

    gradient = np.stack([at(0, 1) - at(0, -1), at(1, 0) - at(-1, 0)], axis=1) / 2
    here = at(0, 0)
    xx, yy = at(0, 1) - 2 * here + at(0, -1), at(1, 0) - 2 * here + at(-1, 0)
    xy = (at(1, 1) - at(0, 1) - at(1, 0) + 2 * here - at(0, -1) - at(-1, 0) + at(-1, -1)) / 2
    hessian = np.stack([np.stack([xx, xy], axis=1), np.stack([xy, yy], axis=1)], axis=1)
    ridge = float(np.finfo(np.float32).eps)  # as in ViTPose's code, for maps without curvature
    return np.linalg.solve(hessian + ridge * np.eye(2), gradient[..., None])[..., 0]


def simcc_points(
    frames: Sequence[Frame8],
    boxes: Sequence[Boxes],
    networks: Networks,
    weights: Weights,
    progress: Progress | None = None,
) -> list[NDArray[np.float64]]:
    """Estimate (P,133,3) keypoints in px for each frame by DWPose's pose network."""

    def forward(net: torch.nn.Module, chunk: Tensor) -> Outputs:
        return _run_or_in_fives(net, _network_input(chunk).to(next(net.parameters()).dtype))

    size = (POSE_HEIGHT_PX, POSE_WIDTH_PX)
    crops, batch = _crops(frames, boxes, *size, unbiased=False)
    if not crops:
        return [np.zeros((0, 133, 3)) for _ in frames]
    bins = networks.run(weights, batch, forward, px_per_frame=size[0] * size[1], progress=progress)
    assert isinstance(bins, tuple)
    x_bins, y_bins = (axis.double().numpy() for axis in bins)
    triples = zip(x_bins, y_bins, crops, strict=True)
    return _by_frame([decode_simcc(x, y, crop) for x, y, crop in triples], boxes)


def decode_simcc(
    x_bins: NDArray[np.float64], y_bins: NDArray[np.float64], crop: Crop
) -> NDArray[np.float64]:
    """Decode scores of bins (133,2w) and (133,2h) to keypoints (133,3) in px of the picture.

    A keypoint lies at the best bin of each axis (Y. Li, "SimCC", 2022); its score is the lower one.
    """
    score = np.minimum(x_bins.max(axis=1), y_bins.max(axis=1))
    bins = np.stack([x_bins.argmax(axis=1), y_bins.argmax(axis=1)], axis=1)
    size_px = (x_bins.shape[1] // POSE_BINS_PER_PX, y_bins.shape[1] // POSE_BINS_PER_PX)
    places = bins / POSE_BINS_PER_PX / size_px
    return np.concatenate([crop.at(places), score[:, None]], axis=1)


def _run_or_in_fives(net: torch.nn.Module, crops: Tensor) -> Outputs:
    """Run a graph on all crops, or on five at a time where it was traced for just that number."""
    try:
        return tuple(net(crops))
    except RuntimeError as error:
        if len(crops) % 5 == 0 or "memory" in str(error):
            raise
    fives = torch.cat([crops, crops[-1:].expand(-len(crops) % 5, -1, -1, -1)])
    parts = [tuple(net(group)) for group in torch.split(fives, 5)]
    return tuple(torch.cat(column)[: len(crops)] for column in zip(*parts, strict=True))


def _crops(
    frames: Sequence[Frame8],
    boxes: Sequence[Boxes],
    height_px: int,
    width_px: int,
    *,
    unbiased: bool,
) -> tuple[list[Crop], Tensor]:
    """Return every person's crop, and their pictures (n,3,height_px,width_px) in 8 bits."""
    crops, pictures = list[Crop](), list[Frame8]()
    for frame, frame_boxes in zip(frames, boxes, strict=True):
        for box in frame_boxes:
            crop = Crop.around(box)
            crops.append(crop)
            pictures.append(crop.cut(frame, height_px, width_px, unbiased=unbiased))
    return crops, _batch(pictures) if pictures else torch.empty(0, 3, height_px, width_px)


def _by_frame(
    points: list[NDArray[np.float64]], boxes: Sequence[Boxes]
) -> list[NDArray[np.float64]]:
    """Split the keypoints of all people into those of each frame."""
    people, counts = np.stack(points), [len(frame_boxes) for frame_boxes in boxes]
    ends = np.cumsum(counts)
    return [people[end - count : end] for end, count in zip(ends, counts, strict=True)]


def _batch(frames: Sequence[Frame8]) -> Tensor:
    """Stack frames (h,w,3) to (n,3,h,w) in 8 bits; they become floats on the network's device."""
    return tensor_of(np.stack(frames)).movedim(3, 1)


def _network_input(crops: Tensor) -> Tensor:
    """Standardise (n,3,h,w) in 0..255 by ImageNet's mean and deviation."""
    return imagenet.standardized(crops / 255)
