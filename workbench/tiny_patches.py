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


ANIMA_SHAPE = {
    "image_model": "anima",
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "concat_padding_mask": True,
    "model_channels": 64,
    "num_blocks": 3,
    "num_heads": 2,
    "crossattn_emb_channels": 48,
    "pos_emb_cls": "rope3d",
    "pos_emb_learnable": True,
    "min_fps": 1,
    "max_fps": 30,
    "use_adaln_lora": True,
    "adaln_lora_dim": 16,
    "extra_per_block_abs_pos_emb": False,
    "rope_h_extrapolation_ratio": 4.0,
    "rope_w_extrapolation_ratio": 4.0,
    "rope_t_extrapolation_ratio": 1.0,
}


def has_anima_lllite() -> bool:
    """Return whether this ComfyUI has the class of these nets."""
    import importlib

    try:
        importlib.import_module("comfy.ldm.anima.lllite")
    except ImportError:
        return False
    return True


def anima() -> Base:
    """Build Anima without its adapter for prompts of a language model, which has one size only."""
    import comfy.ldm.anima.model as anima_model
    import torch

    adapter = anima_model.LLMAdapter
    anima_model.LLMAdapter = lambda **_: torch.nn.Identity()
    try:
        latent = (1, 16, 1, LATENT, LATENT)
        return base_of("Anima", ANIMA_SHAPE, latent, text=(6, 48), pooled_output=None)
    finally:
        anima_model.LLMAdapter = adapter


def anima_lllite_weights(channels: int = 3) -> dict[str, Any]:
    """Return the weights of a LLLite of three blocks; inpainting nets read four channels."""
    import torch

    generator = torch.Generator().manual_seed(42)

    def noise(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator) * 0.3

    first = "lllite_conditioning1."
    weights = {}
    for name, (cin, cout, side) in {
        "conv1": (channels, 8, 4),
        "conv2": (8, 8, 3),
        "conv3": (8, 16, 4),
        "proj": (16, 16, 1),
    }.items():
        weights[f"{first}{name}.weight"] = noise(cout, cin, side, side)
        weights[f"{first}{name}.bias"] = noise(cout)
    for name, width in {"norm1": 8, "norm2": 8, "norm3": 16, "out_norm": 16}.items():
        weights[f"{first}{name}.weight"] = torch.ones(width)
        weights[f"{first}{name}.bias"] = torch.zeros(width)
    attentions = ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "cross_attn_q_proj")
    layers = {"down": (64, 8), "mid": (24, 8), "cond_to_film": (16, 16), "up": (8, 64)}
    for block in range(3):
        for target in (*attentions, "mlp_layer1"):
            key = f"lllite_dit_blocks_{block}_{target}."
            for name, (cin, cout) in layers.items():
                weights[f"{key}{name}.weight"], weights[f"{key}{name}.bias"] = (
                    noise(cout, cin),
                    noise(cout),
                )
            weights[f"{key}depth_embed"] = noise(16)
    return weights


def anima_lllite(channels: int = 3) -> Any:
    import comfy.ldm.anima.lllite
    import comfy.model_management as management
    import comfy.model_patcher

    weights = anima_lllite_weights(channels)
    module = comfy.ldm.anima.lllite.AnimaLLLite(weights, {"lllite.version": "2"}, **_plain())
    module.load_state_dict(weights)
    return comfy.model_patcher.ModelPatcher(
        module, management.get_torch_device(), management.unet_offload_device()
    )


BASES: dict[str, Callable[[], Base]] = {"z_image": z_image, "qwen": qwen, "anima": anima}
# Family → the base that it acts on, and its net as a MODEL_PATCH.
PATCHES: dict[str, tuple[str, Callable[[], Any]]] = {
    "Z-Image Fun 1.0": ("z_image", z_image_fun),
    "Z-Image Fun lite": ("z_image", lambda: z_image_fun(layers=3, more=17)),
    "Z-Image Fun 2.1": ("z_image", lambda: z_image_fun(layers=15, more=17)),
    "Qwen DiffSynth": ("qwen", qwen_diffsynth),
    "Qwen DiffSynth inpaint": ("qwen", lambda: qwen_diffsynth(more=4)),
    "Anima LLLite": ("anima", anima_lllite),
    "Anima LLLite inpaint": ("anima", lambda: anima_lllite(4)),
}
