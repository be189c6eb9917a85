"""Segmentation networks: transformers' model classes with configurations made here, so that nothing
is fetched.

UPerNet (Xiao et al., 2018) over ConvNeXt-S (Liu et al., 2022): `openmmlab/upernet-convnext-small`,
MIT. OneFormer (Jain et al., 2023) over Swin-L (Liu et al., 2021):
`shi-labs/oneformer_{ade20k,coco}_swin_large`, MIT.

The names of weights inside these classes change between versions of transformers; the files keep
the first ones. So files are read by transformers' own loader (`*_weights` below), which knows the
old names of its classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

MULTIPLE = 32
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SEMANTIC = (49406, 518, 10549, 533, 29119, 1550, 49407, *[0] * 70)
"""CLIP's tokens for "the task is semantic", which is all that OneFormer needs of a tokenizer."""

_NOT_USED = re.compile(r"criterion\.|.*num_batches_tracked$")
"""Weights that only training reads."""

ADE_CLASSES, COCO_CLASSES = 150, 133


def upernet(
    *, widths: tuple[int, ...] = (96, 192, 384, 768), depths: tuple[int, ...] = (3, 3, 27, 3)
) -> nn.Module:
    """UPerNet over ConvNeXt for ADE20K, without the second head that only training reads;
    ConvNeXt-S unless told otherwise.
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
    return _oneformer(ADE_CLASSES, queries=250)


def oneformer_coco() -> nn.Module:
    return _oneformer(COCO_CLASSES, queries=150)


def _oneformer(classes: int, queries: int, **swin: Any) -> nn.Module:
    """OneFormer as it is used, without the text encoder that only training reads; over Swin-L
    unless told otherwise.
    """
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
    """The library, which types its classes only in part."""
    import transformers

    return transformers


def as_transformers_reads(net: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a file under the names that `net`, of this version of transformers, has for
    them.

    What only training reads is left out. Raises ValueError where weights are missing: the file is
    another network's.
    """
    net_class: Any = type(net)  # pyright: ignore[reportUnknownVariableType]
    loaded, told = net_class.from_pretrained(
        None,
        config=net.config,
        state_dict=dict(state),
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    wrong = [*told["missing_keys"], *(key for key, *_ in told["mismatched_keys"])]
    if wrong := sorted(str(key) for key in wrong if not _NOT_USED.match(key)):
        raise ValueError(
            f"the file does not hold a {net_class.__name__} of this size (first difference:"
            f" {wrong[0]})"
        )
    return loaded.state_dict()


def upernet_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return as_transformers_reads(
        upernet(),
        {key: tensor for key, tensor in state.items() if not key.startswith("auxiliary_head.")},
    )


def oneformer_ade20k_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return as_transformers_reads(oneformer_ade20k(), state)


def oneformer_coco_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return as_transformers_reads(oneformer_coco(), state)


def normalised(frames: Tensor) -> Tensor:
    """(B,3,H,W) in [0,1] → with ImageNet's mean taken off and its deviation divided out."""
    mean, std = (frames.new_tensor(each)[:, None, None] for each in (_MEAN, _STD))
    return (frames - mean) / std


def upernet_labels(net: Any, frames: Tensor) -> Tensor:
    """(B,3,H,W) in [0,1] → (B,1,H,W) class numbers."""
    return _best(net(normalised(frames)).logits.float(), frames)


def oneformer_labels(net: Any, frames: Tensor) -> Tensor:
    """(B,3,H,W) in [0,1] → (B,1,H,W) class numbers: the strongest of the queries' masks, weighted
    by their classes.
    """
    task = frames.new_tensor(_SEMANTIC).expand(len(frames), -1)
    made = net(normalised(frames), task_inputs=task)
    classes = made.class_queries_logits.float().softmax(-1)[..., :-1]  # the last is "no object"
    scores = torch.einsum("bqc,bqhw->bchw", classes, made.masks_queries_logits.float().sigmoid())
    return _best(scores, frames)


def _best(scores: Tensor, frames: Tensor) -> Tensor:
    """(B,C,h,w) → (B,1,H,W): enlarged first, then decided, so that borders are as fine as the
    picture.
    """
    size = frames.shape[-2:]
    if scores.shape[-2:] != size:
        scores = nn.functional.interpolate(scores, size, mode="bilinear", align_corners=False)
    return scores.argmax(1, keepdim=True).float()
