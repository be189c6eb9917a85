"""Build a tiny base model and net of each family that acts by ComfyUI's model patches.

All are ComfyUI's own classes with small numbers and random weights, as its Load Model Patch gives
them. `inprocess.open_host` comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .tiny_bases import LATENT, Base, base_of, filled, qwen

Z_IMAGE_SHAPE = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 256,  # the width of its embedding of time
    "n_layers": 30,  # its nets act after every 30/n-th layer
    "n_refiner_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 4,
    "axes_dims": [16, 24, 24],
    "axes_lens": [64, 64, 64],
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 0.25,
    "norm_eps": 1e-5,
    "qk_norm": True,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "cap_feat_dim": 48,
    "pad_tokens_multiple": 32,
}


def z_image() -> Base:
    latent = (1, 16, LATENT, LATENT)
    return base_of("ZImage", Z_IMAGE_SHAPE, latent, text=(6, 48), pooled_output=None)


def _patcher(module: Any, seed: int) -> Any:
    import comfy.model_management as management
    import comfy.model_patcher

    return comfy.model_patcher.ModelPatcher(
        filled(module, seed), management.get_torch_device(), management.unet_offload_device()
    )


def _plain() -> dict[str, Any]:
    import comfy.ops
    import torch

    operations = comfy.ops.disable_weight_init
    return {"dtype": torch.float32, "device": "cpu", "operations": operations}


def z_image_fun(seed: int = 40, *, layers: int = 6, more: int = 0) -> Any:
    """Build a Fun net: 6 layers are 1.0's, 3 lite's, 15 those of 2.x, which read a mask (17)."""
    import comfy.ldm.lumina.controlnet

    net = comfy.ldm.lumina.controlnet.ZImage_Control
    shape = {"dim": 256, "n_heads": 4, "n_kv_heads": 4, "n_control_layers": layers}
    shape["ffn_dim_multiplier"] = 0.25
    module = net(additional_in_dim=more, refiner_control=more > 0, **shape, **_plain())
    return _patcher(module, seed)


def qwen_diffsynth(seed: int = 41, *, more: int = 0) -> Any:
    """Build a DiffSynth net; inpainting nets read four channels more."""
    from comfy_extras.nodes_model_patch import QwenImageBlockWiseControlNet as Net

    shape = {"num_layers": 3, "in_dim": 64, "dim": 64}
    return _patcher(Net(additional_in_dim=more, **shape, **_plain()), seed)


BASES: dict[str, Callable[[], Base]] = {"z_image": z_image, "qwen": qwen}
# Family → the base that it acts on, and its net as a MODEL_PATCH.
PATCHES: dict[str, tuple[str, Callable[[], Any]]] = {
    "Z-Image Fun 1.0": ("z_image", z_image_fun),
    "Z-Image Fun lite": ("z_image", lambda: z_image_fun(layers=3, more=17)),
    "Z-Image Fun 2.1": ("z_image", lambda: z_image_fun(layers=15, more=17)),
    "Qwen DiffSynth": ("qwen", qwen_diffsynth),
    "Qwen DiffSynth inpaint": ("qwen", lambda: qwen_diffsynth(more=4)),
}
