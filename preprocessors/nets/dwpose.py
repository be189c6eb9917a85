"""The two files of DWPose, which hold their own graphs: YOLOX-L finds people, RTMPose-L finds 133
points of each.

Yang et al.: "Effective Whole-body Pose Estimation with Two-stages Distillation", 2023; Ge et al.:
"YOLOX", 2021. Both Apache-2.0. As TorchScript they run on torch alone; as ONNX they need
onnxruntime, which nothing here installs.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ONNX_RUNTIME = "onnxruntime"
YOLOX_SIDE_PX, YOLOX_STRIDES = 640, (8, 16, 32)
POSE_HEIGHT_PX, POSE_WIDTH_PX, POSE_POINTS, POSE_BINS_PER_PX = 384, 288, 133, 2


class Graph(nn.Module):
    """A network of somebody else's making."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.run = run
        self.anchor = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, frames: Tensor) -> Any:
        return self.run(frames)


def torchscript(path: str) -> nn.Module:
    """Opens a TorchScript file. Its format holds torch's own operations and tensors, no Python."""
    try:
        jit: Any = torch.jit
        return Graph(jit.load(path, map_location="cpu").eval())
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise ValueError(
            f"{Path(path).name} is no TorchScript file, or is cut short ({said})"
        ) from error


def onnx(path: str) -> nn.Module:
    """Opens an ONNX file, on the CPU or whatever else the installed onnxruntime offers. Needs that
    package.
    """
    runtime: Any = importlib.import_module(ONNX_RUNTIME)
    try:
        session = runtime.InferenceSession(path, providers=runtime.get_available_providers())
    except Exception as error:  # its own kinds have nothing else in common
        raise ValueError(
            f"{Path(path).name} is no ONNX file that onnxruntime can run ({error})"
        ) from error
    name = session.get_inputs()[0].name
    takes = session.get_inputs()[0].shape[0]

    def run(frames: Tensor) -> tuple[Tensor, ...]:
        # The published files take one frame at a time, which their shape says.
        groups = torch.split(frames, takes if isinstance(takes, int) and takes > 0 else len(frames))
        parts = [session.run(None, {name: group.float().cpu().numpy()}) for group in groups]
        return tuple(
            torch.cat([torch.as_tensor(part) for part in column])
            for column in zip(*parts, strict=True)
        )

    return Graph(run)


class YoloxStandIn(nn.Module):
    """Input and output of the detector: (B,3,640,640) BGR in 0..255 → (B,8400,85), raw boxes,
    objectness, classes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.anchors = sum((YOLOX_SIDE_PX // stride) ** 2 for stride in YOLOX_STRIDES)
        self.values = nn.Linear(3, 85)

    def forward(self, frames: Tensor) -> Tensor:
        return self.values(frames.mean((2, 3)) / 255)[:, None].expand(-1, self.anchors, -1)


class PoseStandIn(nn.Module):
    """Input and output of the pose network: (B,3,384,288) normalised RGB → (B,133,576) and
    (B,133,768), how much each half pixel of the width and of the height speaks for each point.
    """

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Conv2d(3, POSE_POINTS, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        heat = self.points(frames)
        across, down = heat.amax(2), heat.amax(3)
        return across.repeat_interleave(POSE_BINS_PER_PX, 2), down.repeat_interleave(
            POSE_BINS_PER_PX, 2
        )
