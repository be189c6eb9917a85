"""OpenPose's networks for bodies, hands and faces: a VGG trunk and six stages of refinement.

Papers: Z. Cao et al., "OpenPose: Realtime Multi-Person 2D Pose Estimation using Part Affinity
Fields", 2018; T. Simon et al., "Hand Keypoint Detection in Single Images using Multiview
Bootstrapping", 2017. Upstream: CMU-Perceptual-Computing-Lab/openpose, whose licence allows
non-commercial research only. Keys are those of `body_pose_model.pth`, `hand_pose_model.pth` and
`facenet.pth` of lllyasviel/Annotators; the code is ours. Input: BGR in [-0.5,0.5).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_VGG = (
    (("conv1_1", 3, 64), ("conv1_2", 64, 64)),
    (("conv2_1", 64, 128), ("conv2_2", 128, 128)),
    (("conv3_1", 128, 256), ("conv3_2", 256, 256), ("conv3_3", 256, 256), ("conv3_4", 256, 256)),
)
"""(name, channels in, channels out) of 3x3 convolutions; each row ends with a halving."""
_BODY_TRUNK = (
    *_VGG,
    (
        ("conv4_1", 256, 512),
        ("conv4_2", 512, 512),
        ("conv4_3_CPM", 512, 256),
        ("conv4_4_CPM", 256, 128),
    ),
)
_FINE_TRUNK = (
    *_VGG,
    (
        *(
            ("conv4_1", 256, 512),
            ("conv4_2", 512, 512),
            ("conv4_3", 512, 512),
            ("conv4_4", 512, 512),
        ),
        *(("conv5_1", 512, 512), ("conv5_2", 512, 512), ("conv5_3_CPM", 512, 128)),
    ),
)
Layer = tuple[str, int, int]
STAGES = range(2, 7)


class _Convolutions(nn.Module):
    """Convolutions under the names that the files have."""

    def add(self, layers: Iterable[Layer], kernel: int) -> list[str]:
        names: list[str] = []
        for name, channels_in, channels_out in layers:
            self.add_module(name, nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2))
            names.append(name)
        return names

    def add_trunk(self, rows: tuple[tuple[Layer, ...], ...]) -> None:
        self.trunk = [self.add(row, 3) for row in rows]

    def features(self, x: Tensor) -> Tensor:
        """Map (B,3,H,W) to (B,128,H/8,W/8)."""
        for row in self.trunk[:-1]:
            x = F.max_pool2d(self.run(row, x), 2)
        return self.run(self.trunk[-1], x)

    def add_stage(self, stage: int, channels_out: int, suffix: str, channels_in: int) -> list[str]:
        names = [f"Mconv{layer}_stage{stage}{suffix}" for layer in range(1, 8)]
        wide = [(names[0], channels_in, 128), *((name, 128, 128) for name in names[1:5])]
        pointwise = [(names[5], 128, 128), (names[6], 128, channels_out)]
        return [*self.add(wide, 7), *self.add(pointwise, 1)]

    def run(self, names: list[str], x: Tensor, *, last: bool = True) -> Tensor:
        """Apply the layers, each followed by a ReLU; the last one only where `last` is set."""
        for name in names:
            x = self.get_submodule(name)(x)
            if last or name != names[-1]:
                x = x.relu_()
        return x


class BodyNet(_Convolutions):
    """(B,3,H,W) BGR in [-0.5,0.5) → affinities (B,38,H/8,W/8), heatmaps (B,19,H/8,W/8)."""

    def __init__(self) -> None:
        super().__init__()
        self.add_trunk(_BODY_TRUNK)
        self.branches = {"_L1": [self._first("_L1", 38)], "_L2": [self._first("_L2", 19)]}
        for stage in STAGES:
            self.branches["_L1"].append(self.add_stage(stage, 38, "_L1", 185))
            self.branches["_L2"].append(self.add_stage(stage, 19, "_L2", 185))

    def _first(self, suffix: str, channels_out: int) -> list[str]:
        names = [f"conv5_{layer}_CPM{suffix}" for layer in range(1, 6)]
        narrow = self.add([(name, 128, 128) for name in names[:3]], 3)
        return [*narrow, *self.add([(names[3], 128, 512), (names[4], 512, channels_out)], 1)]

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B,3,H,W) to (B,38,H/8,W/8) and (B,19,H/8,W/8)."""
        features = self.features(frames)
        x, affinities, heat = features, features, features
        for affinity_layers, heat_layers in zip(*self.branches.values(), strict=True):
            is_last = affinity_layers is self.branches["_L1"][-1]
            affinities = self.run(affinity_layers, x, last=False)
            # The weights were trained with a ReLU on the final heatmaps.
            heat = self.run(heat_layers, x, last=is_last)
            x = torch.cat([affinities, heat, features], 1)
        return affinities, heat


class _FineNet(_Convolutions):
    def __init__(self, points: int) -> None:
        super().__init__()
        self.add_trunk(_FINE_TRUNK)
        first = self.add([("conv6_1_CPM", 128, 512), ("conv6_2_CPM", 512, points)], 1)
        self.stages = [
            first,
            *(self.add_stage(stage, points, "", 128 + points) for stage in STAGES),
        ]

    def forward(self, frames: Tensor) -> Tensor:
        features = self.features(frames)
        heat = self.run(self.stages[0], features, last=False)
        for stage in self.stages[1:]:
            heat = self.run(stage, torch.cat([heat, features], 1), last=False)
        return heat


class HandNet(_FineNet):
    """(B,3,H,W) BGR in [-0.5,0.5) → heatmaps (B,22,H/8,W/8): 21 points and background."""

    def __init__(self) -> None:
        super().__init__(22)


class FaceNet(_FineNet):
    """(B,3,H,W) BGR in [-0.5,0.5) → heatmaps (B,71,H/8,W/8): 70 points and background."""

    def __init__(self) -> None:
        super().__init__(71)
