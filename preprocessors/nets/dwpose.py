"""DWPose's two files, which hold their own graphs: YOLOX-L detects people, RTMPose-L 133 keypoints.

Papers: Z. Yang et al., "Effective Whole-body Pose Estimation with Two-stages Distillation", 2023;
Z. Ge et al., "YOLOX: Exceeding YOLO Series in 2021", 2021. Upstream: IDEA-Research/DWPose and
Megvii-BaseDetection/YOLOX (both Apache-2.0). As TorchScript the files need torch alone; as ONNX
they need onnxruntime, which this pack does not install. Input: BGR in 0..255 for YOLOX, RGB with
ImageNet's mean and deviation for RTMPose.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ONNX_RUNTIME = "onnxruntime"
YOLOX_SIDE_PX, YOLOX_STRIDES = 640, (8, 16, 32)
POSE_HEIGHT_PX, POSE_WIDTH_PX, POSE_POINTS, POSE_BINS_PER_PX = 384, 288, 133, 2


class Graph(nn.Module):
    """Wrap a published graph as a module with a parameter, so with a device and a dtype."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.run = run
        self.anchor = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, frames: Tensor) -> Any:
        """Map (B,3,H,W) to what the graph gives."""
        return self.run(frames)


def torchscript(path: str) -> nn.Module:
    """Open a TorchScript file, which must be one that is trusted: its graph runs as a program.

    Raises ValueError where it is damaged or another format.
    """
    try:
        jit: Any = torch.jit
        with open(path, "rb") as file:  # torch on Windows takes no path beyond ASCII
            return Graph(jit.load(file, map_location="cpu").eval())
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{Path(path).name} is not a TorchScript file, or is cut short ({reason})"
        ) from error


def onnx(path: str) -> nn.Module:
    """Open an ONNX file on the providers that the installed onnxruntime offers.

    Raises ValueError where onnxruntime cannot read it, ModuleNotFoundError without onnxruntime.
    """
    runtime: Any = importlib.import_module(ONNX_RUNTIME)
    try:
        # TensorRT compiles for minutes before its first frame, and needs libraries of its own.
        offered = [name for name in runtime.get_available_providers() if "Tensorrt" not in name]
        session = runtime.InferenceSession(path, providers=offered)
    except Exception as error:  # onnxruntime's own errors share no narrower base class
        raise ValueError(
            f"{Path(path).name} is not an ONNX file that onnxruntime can run ({error})"
        ) from error
    name = session.get_inputs()[0].name
    batch = session.get_inputs()[0].shape[0]

    def run(frames: Tensor) -> tuple[Tensor, ...]:
        # The published files run one frame at a time, as their input's shape states.
        groups = torch.split(frames, batch if isinstance(batch, int) and batch > 0 else len(frames))
        parts = [session.run(None, {name: group.float().cpu().numpy()}) for group in groups]
        return tuple(_joined(column) for column in zip(*parts, strict=True))

    return Graph(run)


def _joined(parts: Iterable[Any]) -> Tensor:
    return torch.cat([torch.as_tensor(part) for part in parts])


class YoloxStandIn(nn.Module):
    """The detector's signature: (B,3,640,640) BGR in 0..255 → (B,8400,85) raw boxes and scores.

    Each row holds 4 numbers of the box, the objectness and 80 class scores. Tests run it where the
    published file is absent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.anchors = sum((YOLOX_SIDE_PX // stride) ** 2 for stride in YOLOX_STRIDES)
        self.values = nn.Linear(3, 85)

    def forward(self, frames: Tensor) -> Tensor:
        """Map (B,3,640,640) to (B,8400,85)."""
        return self.values(frames.mean((2, 3)) / 255)[:, None].expand(-1, self.anchors, -1)


class PoseStandIn(nn.Module):
    """The pose network's signature: (B,3,384,288) normalised RGB → (B,133,576) and (B,133,768).

    The outputs score every half pixel of the width and of the height for each keypoint (SimCC).
    """

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Conv2d(3, POSE_POINTS, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B,3,384,288) to (B,133,576) and (B,133,768)."""
        heat = self.points(frames)
        x_bins = heat.amax(2).repeat_interleave(POSE_BINS_PER_PX, 2)
        return x_bins, heat.amax(3).repeat_interleave(POSE_BINS_PER_PX, 2)
