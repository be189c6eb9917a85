"""RT-DETR, which detects people, and ViTPose: transformers' classes, configured here.

Papers: Y. Zhao et al., "DETRs Beat YOLOs on Real-time Object Detection" (RT-DETR), 2023; Y. Xu et
al., "ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation", 2022. Upstream:
transformers (Apache-2.0). Weights: PekingU/rtdetr_r18vd and usyd-community/vitpose-base-simple
(both Apache-2.0). Input: RGB in [0,1] for RT-DETR, with ImageNet's mean and deviation for ViTPose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import Module

from ..spec import StateDict


def detector_config() -> Any:
    """Configure RT-DETR with an 18-layer ResNet for COCO's 80 classes."""
    library = _transformers()
    backbone = library.RTDetrResNetConfig(
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        out_indices=[2, 3, 4],
    )
    return library.RTDetrConfig(
        backbone_config=backbone,
        num_labels=80,
        encoder_in_channels=[128, 256, 512],
        hidden_expansion=0.5,
        decoder_layers=3,
    )


def pose_config() -> Any:
    """Configure ViTPose-B with the simple decoder for COCO's 17 joints."""
    library = _transformers()
    backbone = library.VitPoseBackboneConfig(out_indices=[12])
    return library.VitPoseConfig(backbone_config=backbone, num_labels=17)


def _transformers() -> Any:
    """Import transformers as Any: it types its classes only in part."""
    import transformers

    return transformers


def detector() -> Module:
    """Build RT-DETR with random weights."""
    from transformers import RTDetrForObjectDetection

    return RTDetrForObjectDetection(detector_config())


def pose() -> Module:
    """Build ViTPose with random weights."""
    from transformers import VitPoseForPoseEstimation

    return VitPoseForPoseEstimation(pose_config())


def renamed_for(
    net: Callable[[], Module], config: Callable[[], Any]
) -> Callable[[StateDict], StateDict]:
    """Return a function that renames a published file's keys to the installed transformers' keys.

    The class itself holds the mapping, which changes from version to version. The returned function
    raises ValueError where the file lacks weights or has other shapes.
    """

    def renamed(state: StateDict) -> dict[str, Tensor]:
        net_class: Any = type(net())
        loaded, report = net_class.from_pretrained(
            None,
            config=config(),
            state_dict=dict(state),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        if differing := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
            raise ValueError(
                f"the file does not hold a {net_class.__name__} of this size: {len(differing)}"
                f" weights are missing or of another shape (first: {differing[0]})"
            )
        return dict(loaded.state_dict())

    return renamed
