"""Segmentation networks: transformers' classes, configured here so that nothing is fetched.

Papers: T. Xiao et al., "Unified Perceptual Parsing for Scene Understanding" (UPerNet), 2018, over
Z. Liu et al., "A ConvNet for the 2020s" (ConvNeXt), 2022; J. Jain et al., "OneFormer", 2023, over
Z. Liu et al., "Swin Transformer", 2021. Upstream: transformers (Apache-2.0). Weights:
`openmmlab/upernet-convnext-small` and `shi-labs/oneformer_{ade20k,coco}_swin_large` (both MIT).
Input: RGB in [0,1], normalised here.

Names of weights inside these classes change between versions of transformers; the files keep the
first ones. So files are read by transformers' own loader (`*_weights` below), which maps old names
to those of the installed version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .imagenet import standardized

MULTIPLE = 32
"""Input sides must be divisible by this."""
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_SEMANTIC = (49406, 518, 10549, 533, 29119, 1550, 49407, *[0] * 70)
"""CLIP's tokens of "the task is semantic", the only text OneFormer reads here."""

_NOT_USED = re.compile(r"criterion\.|.*num_batches_tracked$")
"""Keys of weights that only training reads."""

ADE_CLASSES, COCO_CLASSES = 150, 133


def upernet(
    *, widths: tuple[int, ...] = (96, 192, 384, 768), depths: tuple[int, ...] = (3, 3, 27, 3)
) -> nn.Module:
    """Build UPerNet over ConvNeXt for ADE20K's 150 classes, ConvNeXt-S by default.

    The auxiliary head, which only training reads, is left out.
    """
    library = _transformers()
    backbone = library.ConvNextConfig(
        hidden_sizes=list(widths), depths=list(depths), out_features=_STAGES
    )
    config = library.UperNetConfig(
        backbone_config=backbone, num_labels=ADE_CLASSES, use_auxiliary_head=False
    )
    return library.UperNetForSemanticSegmentation(config)


def oneformer_ade20k() -> nn.Module:
    """Build OneFormer for ADE20K's 150 classes."""
    return _oneformer(ADE_CLASSES, queries=250)


def oneformer_coco() -> nn.Module:
    """Build OneFormer for COCO's 133 classes."""
    return _oneformer(COCO_CLASSES, queries=150)


def _oneformer(classes: int, queries: int, **swin: Any) -> nn.Module:
    """Build OneFormer without the text encoder that only training reads, over Swin-L by default."""
    library = _transformers()
    large = {
        "embed_dim": 192,
        "depths": [2, 2, 18, 2],
        "num_heads": [6, 12, 24, 48],
        "window_size": 12,
    }
    backbone = library.SwinConfig(image_size=384, out_features=_STAGES, **{**large, **swin})
    config = library.OneFormerConfig(
        backbone_config=backbone, num_labels=classes, num_queries=queries
    )
    return library.OneFormerForUniversalSegmentation(config)


def _transformers() -> Any:
    """Import transformers as Any: it types its classes only in part."""
    import transformers

    return transformers


def as_transformers_reads(net: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a file's weights to the names that the installed transformers has in `net`.

    Weights that only training reads are left out. Raises ValueError where weights are missing or
    have another shape: the file is another network's.
    """
    net_class: Any = type(net)  # pyright: ignore[reportUnknownVariableType]
    loaded, report = net_class.from_pretrained(
        None,
        config=net.config,
        state_dict=dict(state),
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    differing = [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]
    if differing := sorted(str(key) for key in differing if not _NOT_USED.match(key)):
        raise ValueError(
            f"the file does not hold a {net_class.__name__} of this size (first difference:"
            f" {differing[0]})"
        )
    return loaded.state_dict()


def upernet_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the file of `upernet`, without its auxiliary head."""
    used = {key: tensor for key, tensor in state.items() if not key.startswith("auxiliary_head.")}
    return as_transformers_reads(upernet(), used)


def oneformer_ade20k_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the file of `oneformer_ade20k`."""
    return as_transformers_reads(oneformer_ade20k(), state)


def oneformer_coco_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the file of `oneformer_coco`."""
    return as_transformers_reads(oneformer_coco(), state)


def upernet_labels(net: Any, frames: Tensor) -> Tensor:
    """Map (B,3,H,W) in [0,1] to class numbers (B,1,H,W) by UPerNet."""
    return _argmax(net(standardized(frames)).logits.float(), frames)


def oneformer_labels(net: Any, frames: Tensor) -> Tensor:
    """Map (B,3,H,W) in [0,1] to class numbers (B,1,H,W) by OneFormer.

    Each pixel gets the class with the largest sum of the queries' masks, weighted by their classes.
    """
    task = frames.new_tensor(_SEMANTIC).expand(len(frames), -1)
    outputs = net(standardized(frames), task_inputs=task)
    classes = outputs.class_queries_logits.float().softmax(-1)[..., :-1]  # the last is "no object"
    masks = outputs.masks_queries_logits.float().sigmoid()
    scores = torch.einsum("bqc,bqhw->bchw", classes, masks)
    return _argmax(scores, frames)


def _argmax(scores: Tensor, frames: Tensor) -> Tensor:
    """Pick each pixel's best class, (B,C,h,w) → (B,1,H,W).

    Scores are enlarged before the choice, so that borders are as fine as the picture.
    """
    size = frames.shape[-2:]
    if scores.shape[-2:] != size:
        scores = nn.functional.interpolate(scores, size, mode="bilinear", align_corners=False)
    return scores.argmax(1, keepdim=True).float()
