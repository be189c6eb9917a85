"""Replace large networks by small ones with the same input and output.

Each finds something in every picture.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

# Positions of a standing person's seventeen joints in a box: nose, eyes, ears, then pairs down to
# the ankles.
HEAD = ((0.5, 0.08), (0.54, 0.06), (0.46, 0.06), (0.58, 0.08), (0.42, 0.08))
ARMS = ((0.65, 0.22), (0.35, 0.22), (0.75, 0.38), (0.25, 0.38), (0.8, 0.5), (0.2, 0.5))
LEGS = ((0.6, 0.52), (0.4, 0.52), (0.62, 0.74), (0.38, 0.74), (0.63, 0.95), (0.37, 0.95))
STANDING = torch.tensor([*HEAD, *ARMS, *LEGS])


class StandIn(nn.Module):
    """A module with one parameter, so that it has a device and a dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))


class Detector(StandIn):
    """As RT-DETR: one person wherever a picture has more than one colour.

    The box follows the colours.
    """

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        means, spread = pixel_values.mean((2, 3)), pixel_values.std((1, 2, 3))
        logits = pixel_values.new_full((len(means), 300, 80), -9.0)
        logits[:, 0, 0] = torch.where(spread > 1e-3, 3.0, -9.0)
        boxes = pixel_values.new_full((len(means), 300, 4), 0.5)
        boxes[:, 0] = torch.stack(
            [
                0.4 + 0.2 * means[:, 0],
                0.4 + 0.2 * means[:, 1],
                *means.new_tensor([[0.5], [0.9]]).expand(2, len(means)),
            ],
            dim=1,
        )
        return SimpleNamespace(logits=logits, pred_boxes=boxes)


class Pose(StandIn):
    """As ViTPose: heatmaps of a standing person's joints, whatever the crop."""

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
        at = (0.1 + 0.8 * STANDING) * torch.tensor([48, 64])
        heat = torch.exp(
            -((columns - at[:, 0, None, None]) ** 2 + (rows - at[:, 1, None, None]) ** 2) / 8
        )
        return SimpleNamespace(heatmaps=heat.to(pixel_values).expand(len(pixel_values), -1, -1, -1))


class BodyMaps(StandIn):
    """As OpenPose's body network: heat where the picture is bright, no limbs."""

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        small = nn.functional.avg_pool2d(frames.mean(1, keepdim=True), 8)
        return small.expand(-1, 38, -1, -1) * 0, small.expand(-1, 19, -1, -1) + 0.5


def by_file() -> dict[str, nn.Module]:
    """Return stand-ins by the name of the file that they replace."""
    return {
        "rtdetr_r18vd.safetensors": Detector(),
        "vitpose-base-simple.safetensors": Pose(),
        "body_pose_model.pth": BodyMaps(),
    }
