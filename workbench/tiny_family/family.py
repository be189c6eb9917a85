"""Build a small SD1.5: the true topology at 32 channels, with random weights.

12 input blocks, the middle, 12 output blocks. ComfyUI decides what a checkpoint is by a few numbers
of its UNet, so one subclass of its SD15 with smaller ones lets CheckpointLoaderSimple,
ControlNetLoader, KSampler and VAEDecode run unchanged. CLIP has its 77 tokens and vocabulary.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.cldm.cldm
import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
import comfy.model_detection
import comfy.ops
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.taesd.taesd
import comfy.utils
import torch
from safetensors.torch import save_file

# The names in the example workflows, so that the same workflow runs on the tiny family.
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
CONTROLNETS = {
    "control_v11p_sd15_canny_fp16.safetensors": 10,
    "control_v11p_sd15_scribble_fp16.safetensors": 11,
    "control_v11f1p_sd15_depth_fp16.safetensors": 12,
}
# the original releases prefix their keys; the others are bare
PREFIXED = "control_v11p_sd15_canny_fp16.safetensors"
METADATA = {"controlstack": "tiny family with random weights, written for a demo or a test"}

Shape = Mapping[str, Any]
FULL: Shape = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "context_dim": 768,
    "legacy": False,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
}
# 32 is the least that GroupNorm(32) allows; no attention at full resolution, which would take most
# of the time.
TINY: Shape = {
    **FULL,
    "model_channels": 32,
    "transformer_depth": [0, 0, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "context_dim": 64,
}
# ComfyUI's union nets are 320 wide: one level of blocks keeps them small.
WIDE: Shape = {
    **TINY,
    "model_channels": 320,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1],
    "transformer_depth_output": [1, 1],
}
WIDE_CHECKPOINT = "wide_sd15.safetensors"
WIDE_NETS = {"wide_canny.safetensors": None, "wide_union.safetensors": 8}
"""File → how many types of a union the net has."""
UNET_ONLY = (
    "out_channels",
    "transformer_depth_output",
    "use_temporal_resblock",
    "use_temporal_attention",
)
HINT_CONVOLUTIONS = 14  # the number of the hint encoder's last module
TINY_HEADS = {"num_heads": 1, "num_head_channels": -1}
FULL_HEADS = {"num_heads": 8, "num_head_channels": -1}
CLIP = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "projection_dim": 64,
}


class TinyClip(comfy.sd1_clip.SD1ClipModel):
    def __init__(self, device="cpu", dtype=None, model_options=None, **kwargs):
        model_options = {**(model_options or {}), "clip_l_model_config": CLIP}
        super().__init__(device=device, dtype=dtype, model_options=model_options, **kwargs)


class TinyTokenizer(comfy.sd1_clip.SD1Tokenizer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.clip_l.embedding_size = CLIP["hidden_size"]


class TinySD15(comfy.supported_models.SD15):
    unet_config = {  # noqa: RUF012 (ComfyUI's own form)
        "context_dim": TINY["context_dim"],
        "model_channels": TINY["model_channels"],
        "use_linear_in_transformer": False,
        "adm_in_channels": None,
        "use_temporal_attention": False,
    }
    unet_extra_config = TINY_HEADS
    supported_inference_dtypes = [torch.float32]  # noqa: RUF012 (ComfyUI's own form)

    def clip_target(self, state_dict=None):  # noqa: ARG002 (ComfyUI's own signature)
        return comfy.supported_models_base.ClipTarget(TinyTokenizer, TinyClip)


class WideSD15(TinySD15):
    unet_config = {**TinySD15.unet_config, "model_channels": 320}  # noqa: RUF012 (as above)


def teach_host() -> None:
    """Let ComfyUI recognise the family's checkpoints; once is enough."""
    if TinySD15 in comfy.supported_models.models:
        return
    comfy.supported_models.models += [TinySD15, WideSD15]
    recognised = comfy.model_detection.unet_config_from_diffusers_unet

    def with_wide(state_dict, dtype=None):
        """Know the wide union too: ComfyUI takes unions in diffusers' form of few shapes."""
        weight = state_dict.get("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight")
        if weight is not None and weight.shape[1] == WIDE["context_dim"]:
            return {**WIDE, **TINY_HEADS, "dtype": dtype}
        return recognised(state_dict, dtype)

    comfy.model_detection.unet_config_from_diffusers_unet = with_wide


def write_family(models_dir: str | Path) -> None:
    """Write the checkpoint and ControlNets under their workflow names, unless they exist."""
    models = Path(models_dir)
    _write(models / "checkpoints" / CHECKPOINT, checkpoint)
    for name, seed in CONTROLNETS.items():
        prefix = "control_model." if name == PREFIXED else ""
        _write(
            models / "controlnet" / name,
            lambda seed=seed, prefix=prefix: _named(prefix, controlnet(seed)),
        )


def _write(file: Path, weights) -> None:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        save_file(weights(), unfinished, metadata=METADATA)
        unfinished.replace(file)


def write_wide(models_dir: str | Path) -> None:
    """Write a checkpoint of the width of ComfyUI's unions, a plain net and a union for it."""
    models = Path(models_dir)
    _write(models / "checkpoints" / WIDE_CHECKPOINT, lambda: checkpoint(WIDE))
    for seed, (name, types) in enumerate(WIDE_NETS.items(), 20):
        weights = _wide_net if types is None else _wide_union
        _write(models / "controlnet" / name, lambda seed=seed, weights=weights: weights(seed))


def _wide_net(seed: int) -> dict[str, torch.Tensor]:
    return _named("", controlnet(seed, WIDE))


def _wide_union(seed: int) -> dict[str, torch.Tensor]:
    """Return a union's weights under diffusers' names, the only ones that ComfyUI reads."""
    config = {**net_shape(WIDE), **TINY_HEADS, **_empty()}
    types = WIDE_NETS["wide_union.safetensors"]
    net = comfy.cldm.cldm.ControlNet(
        **config, hint_channels=3, union_controlnet_num_control_type=types
    )
    names = {ours: theirs for theirs, ours in comfy.utils.unet_to_diffusers(dict(WIDE)).items()}
    renamed = dict[str, torch.Tensor]()
    for key, value in _named("", fill(net, seed)).items():
        renamed[names.get(key) or _diffusers_name(key)] = value
    return renamed


def _diffusers_name(key: str) -> str:
    """Return diffusers' name of a weight that a UNet has not."""
    block, _, rest = key.partition(".")
    number, _, last = rest.partition(".")
    if block == "zero_convs":
        return f"controlnet_down_blocks.{number}.{last.removeprefix('0.')}"
    if block == "middle_block_out":
        return f"controlnet_mid_block.{last}"
    if block == "input_hint_block":
        ends = {"0": "conv_in", str(HINT_CONVOLUTIONS): "conv_out"}
        inner = ends.get(number) or f"blocks.{int(number) // 2 - 1}"
        return f"controlnet_cond_embedding.{inner}.{last}"
    return key.replace(".attn.in_proj.", ".attn.in_proj_")


def checkpoint(shape: Shape = TINY) -> dict[str, torch.Tensor]:
    clip = fill(TinyClip(dtype=torch.float32), 2).clip_l.transformer
    taesd = fill(comfy.taesd.taesd.TAESD(latent_channels=4), 3)
    return {
        **_named("model.diffusion_model.", unet(1, shape)),
        **_named("cond_stage_model.transformer.", clip),
        **_named("first_stage_model.", taesd),
    }


def unet(seed: int, shape: Shape = TINY, heads: Shape = TINY_HEADS) -> torch.nn.Module:
    return fill(openaimodel.UNetModel(**shape, **heads, **_empty()), seed)


def controlnet(seed: int, shape: Shape = TINY, heads: Shape = TINY_HEADS) -> torch.nn.Module:
    config = {**net_shape(shape), **heads, **_empty()}
    return fill(comfy.cldm.cldm.ControlNet(**config, hint_channels=3), seed)


def net_shape(shape: Shape) -> dict[str, Any]:
    """Leave out what describes a UNet's decoder, and what ComfyUI's ControlNet does not take."""
    return {key: value for key, value in shape.items() if key not in UNET_ONLY}


def _empty() -> dict[str, Any]:
    """Allocate modules without initialising their weights: `fill` writes them all."""
    return {"dtype": torch.float32, "device": "cpu", "operations": comfy.ops.disable_weight_init}


def _named(prefix: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        prefix + key: value.contiguous()
        for key, value in module.state_dict().items()
        if value.is_floating_point()
    }


@torch.no_grad()
def fill(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Write random weights by `seed` and key, independent of ComfyUI's version and module order.

    Zero convolutions get a deviation of 0.02 instead of 0: control acts, and does not drown the
    model.
    """
    for key, weight in module.state_dict().items():
        if weight.dim() == 0 or not weight.is_floating_point():
            continue  # TAESD's vae_scale and CLIP's logit_scale mean something as they are
        if weight.dim() == 1:
            weight.fill_(1.0 if key.endswith("weight") else 0.0)
            continue
        deviation = (
            0.02
            if key.startswith(("zero_convs", "middle_block_out"))
            else 1 / math.sqrt(weight[0].numel())
        )
        key_seed = zlib.crc32(f"{seed} {key}".encode())  # a generator reads 32 bits, no more
        generator = torch.Generator().manual_seed(key_seed)
        weight.normal_(0.0, deviation, generator=generator)
    return module.eval().requires_grad_(False)
