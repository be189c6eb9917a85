"""Describe the base models that a ControlNet can be trained for, as ComfyUI's MODEL holds them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..files.base_models import unet_from_config

TRAINABLE = "SD1.5, SD2 or SDXL"
LATENT_CHANNELS = 4
HINT_CHANNELS = 3

LOADER_KEYS = ("disable_unet_model_creation", "dtype", "device")
"""Keys of ComfyUI's `unet_config` that say how to load a UNet, not what it is."""
DECODER_KEYS = ("out_channels", "transformer_depth_output")
"""Keys that describe a UNet's decoder, which a ControlNet does not have."""


def refuse_base(model: Any) -> None:
    """Raise ValueError where no ControlNet can be trained for `model` (ComfyUI's MODEL)."""
    config = model.model.model_config
    if unet_from_config(config.unet_config) is None:
        raise ValueError(
            f"model: a ControlNet can be trained for {TRAINABLE}; this model is"
            f" {type(config).__name__}, which is not a text-conditioned UNet. Load a"
            " checkpoint of one of those."
        )
    if (channels := config.unet_config.get("in_channels")) != LATENT_CHANNELS:
        raise ValueError(
            f"model: expected a base with {LATENT_CHANNELS} latent channels, found {channels}, as"
            " inpainting and editing models have. Use the plain model that it was made from: the"
            " trained net then works on both."
        )


def base_name(model: Any) -> str:
    """Return `SD1.5`, `SDXL`, ... as the families table names it."""
    config = model.model.model_config
    unet = unet_from_config(config.unet_config)
    return unet.base if unet is not None else type(config).__name__


def unet_config(model: Any) -> dict[str, Any]:
    """Return what ComfyUI's UNetModel needs to build this base's UNet."""
    return _without(model.model.model_config.unet_config, LOADER_KEYS)


def net_config(model: Any) -> dict[str, Any]:
    """Return what ComfyUI's cldm ControlNet needs to build a net for this base."""
    config = _without(model.model.model_config.unet_config, (*LOADER_KEYS, *DECODER_KEYS))
    return {**config, "hint_channels": HINT_CHANNELS}


def _without(config: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    # Copies, because a constructor may change the lists that it is given.
    return {key: copy.copy(value) for key, value in config.items() if key not in keys}
