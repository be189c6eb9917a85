"""A person detector and ViTPose, both transformers' own model classes; their configurations are
written out here.

Zhao et al.: "DETRs Beat YOLOs on Real-time Object Detection", 2023 (PekingU/rtdetr_r18vd,
Apache-2.0); Xu et al.: "ViTPose", 2022 (usyd-community/vitpose-base-simple, Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import Module

from ..spec import StateDict


def detector_config() -> Any:
    """RT-DETR with an 18-layer ResNet, for COCO's 80 classes."""
    import transformers

    known: Any = transformers

    backbone = known.RTDetrResNetConfig(
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        out_indices=[2, 3, 4],
    )
    return known.RTDetrConfig(
        backbone_config=backbone,
        num_labels=80,
        encoder_in_channels=[128, 256, 512],
        hidden_expansion=0.5,
        decoder_layers=3,
    )


def pose_config() -> Any:
    """ViTPose-B with the simple decoder, for COCO's 17 joints."""
    import transformers

    known: Any = transformers

    return known.VitPoseConfig(
        backbone_config=known.VitPoseBackboneConfig(out_indices=[12]), num_labels=17
    )


def detector() -> Module:
    from transformers import RTDetrForObjectDetection

    return RTDetrForObjectDetection(detector_config())


def pose() -> Module:
    from transformers import VitPoseForPoseEstimation

    return VitPoseForPoseEstimation(pose_config())


def renamed_for(
    net: Callable[[], Module], config: Callable[[], Any]
) -> Callable[[StateDict], StateDict]:
    """From the keys that the hub's files have to those of the installed transformers, which renames
    them over time.

    The class itself knows how. What this returns raises ValueError where the file lacks weights or
    has other shapes.
    """

    def renamed(state: StateDict) -> dict[str, Tensor]:
        kind: Any = type(net())
        loaded, told = kind.from_pretrained(
            None,
            config=config(),
            state_dict=dict(state),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        if lacking := sorted(map(str, [*told["missing_keys"], *told["mismatched_keys"]])):
            found = f"{len(lacking)} weights are missing or of another shape (first: {lacking[0]})"
            raise ValueError(f"the file does not hold a {kind.__name__} of this size: {found}")
        return dict(loaded.state_dict())

    return renamed
