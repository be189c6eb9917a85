"""How the residuals of a net lie, by its class: a row of `LAYOUTS` for each class of ComfyUI's.

A net with a row can be weighed over depth, masked, and run in the soft modes. A net without one is
scaled as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from .layers import Layers
from .masks import EffectMask
from .residuals import Weights

MaskOver = Callable[[EffectMask, Sequence[int], int, torch.Tensor, torch.Tensor, str], torch.Tensor]
"""A mask, frames, the number of conditionings, a residual, the latent and a fit → a factor for each
of the residual's values, (rows, …)."""


def _block_weights(layers: Layers) -> Weights:
    return layers.weights


def _feature_weights(layers: Layers) -> Weights:
    return layers.feature_weights


def _spread_weights(layers: Layers) -> Weights:
    return layers.spread_weights


def _mask_over_map(
    mask: EffectMask,
    frames: Sequence[int],
    chunks: int,
    residual: torch.Tensor,
    x: torch.Tensor,
    fit: str,
) -> torch.Tensor:
    size, picture = (residual.shape[-2], residual.shape[-1]), (x.shape[-2], x.shape[-1])
    return mask.sized(frames, chunks, size, picture, fit)


def _mask_over_tokens(
    mask: EffectMask,
    frames: Sequence[int],
    chunks: int,
    residual: torch.Tensor,
    x: torch.Tensor,
    fit: str,
    patch: int = 2,
) -> torch.Tensor:
    """Return the mask over (rows, tokens, C). Raises ValueError where the tokens lie otherwise."""
    of_frame = mask.tokens(frames, chunks, (x.shape[-2], x.shape[-1]), fit, patch)
    factors = of_frame.repeat(1, x.shape[2] if x.ndim == 5 else 1, 1)
    if factors.shape[1] != residual.shape[1]:
        raise ValueError(
            f"effect_mask: expected {factors.shape[1]} tokens for a latent of"
            f" {x.shape[-2]}x{x.shape[-1]}, but the ControlNet gives {residual.shape[1]}. Leave"
            " effect_mask empty for this net."
        )
    return factors


@dataclass(frozen=True)
class Layout:
    """How residuals lie.

    `weights`: the function of a layers profile that weighs them. `mask`: how an effect mask meets
    them. `takes_inpaint_value`: whether a net of this kind can be given an area to inpaint.
    """

    weights: Callable[[Layers], Weights]
    mask: MaskOver = _mask_over_map
    takes_inpaint_value: bool = False


BLOCKS = Layout(_block_weights, takes_inpaint_value=True)
"""Feature maps of a UNet's blocks, one for each skip connection and one for the middle block."""
FEATURES = Layout(_feature_weights)
"""A T2I-Adapter's features, one for each level of the UNet."""
MAPS = Layout(_spread_weights)
"""Feature maps of any number of blocks, all of one size."""
TOKENS = Layout(_spread_weights, _mask_over_tokens)
"""Tokens of a transformer's blocks, 2 x 2 of the latent each."""
PIXEL_TOKENS = Layout(_spread_weights, partial(_mask_over_tokens, patch=1))
"""Tokens of a transformer's blocks, one for each place of the latent."""

LAYOUTS: Mapping[str, Layout] = {
    "comfy.cldm.cldm.ControlNet": BLOCKS,
    "comfy.controlnet.ControlLora": BLOCKS,  # its module is built only when a run starts
    "comfy.t2i_adapter.adapter.Adapter": FEATURES,
    "comfy.t2i_adapter.adapter.Adapter_light": FEATURES,
    "comfy.ldm.cascade.controlnet.ControlNet": MAPS,
    "comfy.cldm.mmdit.ControlNet": TOKENS,
    "comfy.cldm.dit_embedder.ControlNetEmbedder": TOKENS,
    "comfy.ldm.flux.controlnet.ControlNetFlux": TOKENS,
    "comfy.ldm.qwen_image.controlnet.QwenImageControlNetModel": TOKENS,
    "comfy.ldm.qwen_image.controlnet.QwenImageFunControlNetModel": TOKENS,
    "comfy.ldm.hydit.controlnet.HunYuanControlNet": TOKENS,
}


def class_names(instance: Any) -> list[str]:
    """List the qualified names of an object's class and of the classes that it extends."""
    return [f"{base.__module__}.{base.__qualname__}" for base in type(instance).__mro__]


def layout_of(*objects: Any) -> Layout | None:
    """Return the layout of the first object whose class has a row; None where none has."""
    for instance in objects:
        for name in class_names(instance):
            if name in LAYOUTS:
                return LAYOUTS[name]
    return None
