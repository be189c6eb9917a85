"""What a model file is, from its keys and shapes, as a table; and which base models a ControlNet fits.

Rules are read from top to bottom, specific before general; a rule names every key it relies on. `Shapes` maps key →
shape, as a safetensors header has them, so that nothing needs to be loaded to tell files apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Unet:
    """The numbers by which a ControlNet copies a UNet: both sides must agree on all of them."""

    context: int
    skips: tuple[int, ...]  # channels of each skip connection, input to middle

    @property
    def base(self) -> str:
        return CONTEXT_BASES.get(self.context, f"a UNet with text width {self.context}")


@dataclass(frozen=True)
class Identity:
    """What a file is. `folder`: where the host looks for it; `base`: the base model it was made for."""

    family: str
    folder: str
    base: str = ""
    unet: Unet | None = None
    union_types: int = 0
    hint: str = ""
    needs: str = ""

    @property
    def is_control(self) -> bool:
        return self.folder == "controlnet"

    def __str__(self) -> str:
        return f"{self.family} for {self.base}" if self.base else self.family


@dataclass(frozen=True)
class Source:
    """Where a control object came from: the file's name (or the object's class), and what it is."""

    name: str
    identity: Identity


@dataclass(frozen=True)
class Rule:
    """A family and the keys that tell it: all of `has`, and some key that matches the pattern `like`."""

    family: str
    folder: str
    has: tuple[str, ...] = ()
    like: str = ""
    base: str | Callable[[Shapes], str] = ""
    needs: str = ""

    def matches(self, shapes: Shapes) -> bool:
        if not all(key in shapes for key in self.has):
            return False
        return not self.like or any(re.search(self.like, key) for key in shapes)


CONTEXT_BASES = {768: "SD1.5", 1024: "SD2", 2048: "SDXL", 1280: "SDXL refiner"}


def _control_lora_base(shapes: Shapes) -> str:
    widths = {shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.down") and len(shape) > 1}
    return CONTEXT_BASES.get(next(iter(widths)), "") if len(widths) == 1 else ""


# Order is meaning: a wrapped or special form stands above the plain one that its keys also match.
RULES: tuple[Rule, ...] = (
    # ControlNets of other packs and model patches, which other nodes of the host serve.
    Rule("Anima LLLite", "model_patches", ("lllite_conditioning1.conv1.weight",), base="Anima"),
    Rule("ControlNet-LLLite", "another pack's folder", like=r"^lllite_(unet|mid)", base="SD1.5 or SDXL"),
    Rule("Qwen-Image DiffSynth patch", "model_patches", ("controlnet_blocks.0.y_rms.weight",), base="Qwen-Image"),
    Rule("Z-Image Fun patch", "model_patches", ("control_all_x_embedder.2-1.weight",), base="Z-Image"),
    Rule("Wan Uni3C patch", "model_patches", ("controlnet_patch_embedding.weight",), base="Wan"),
    Rule("SUPIR patch", "model_patches", ("model.control_model.input_hint_block.0.weight",), base="SDXL"),
    Rule(
        "AnimateDiff SparseCtrl", "another pack's folder", like=r"controlnet.*motion_modules|input_hint_block.*conv_in"
    ),
    # What the host's loader builds.
    Rule("Control-LoRA", "controlnet", ("lora_controlnet",), base=_control_lora_base),
    Rule("HunyuanDiT ControlNet", "controlnet", ("after_proj_list.18.bias",), base="HunyuanDiT", needs="vae"),
    Rule("union ControlNet", "controlnet", ("control_add_embedding.linear_1.bias", "task_embedding")),
    Rule("ControlNet (diffusers)", "controlnet", ("controlnet_cond_embedding.conv_in.weight",)),
    Rule("ControlNet (difference)", "controlnet", ("control_model.zero_convs.0.0.weight", "difference")),
    Rule("ControlNet", "controlnet", ("control_model.zero_convs.0.0.weight",)),
    Rule("ControlNet", "controlnet", ("zero_convs.0.0.weight", "input_hint_block.0.weight")),
    Rule(
        "XLabs ControlNet",
        "controlnet",
        ("controlnet_blocks.0.weight", "double_blocks.0.img_attn.norm.key_norm.scale"),
        base="Flux",
    ),
    Rule("MistoLine ControlNet", "controlnet", ("controlnet_blocks.0.linear.weight",), base="Flux"),
    Rule(
        "SD3.5 ControlNet",
        "controlnet",
        (
            "controlnet_blocks.0.weight",
            "pos_embed_input.proj.weight",
            "transformer_blocks.0.adaLN_modulation.1.bias",
        ),
        base="SD3",
        needs="vae",
    ),
    Rule(
        "SD3 ControlNet",
        "controlnet",
        ("controlnet_blocks.0.weight", "pos_embed_input.proj.weight"),
        base="SD3",
        needs="vae",
    ),
    Rule(
        "Qwen-Image ControlNet",
        "controlnet",
        ("controlnet_blocks.0.weight", "transformer_blocks.0.img_mlp.net.0.proj.weight"),
        base="Qwen-Image",
        needs="vae",
    ),
    Rule(
        "InstantX ControlNet",
        "controlnet",
        ("controlnet_blocks.0.weight", "controlnet_x_embedder.weight"),
        base="Flux",
        needs="vae",
    ),
    Rule(
        "Qwen-Image Fun ControlNet",
        "controlnet",
        ("control_blocks.0.after_proj.weight", "control_img_in.weight"),
        base="Qwen-Image",
        needs="vae",
    ),
    Rule("T2I-Adapter", "controlnet", ("adapter.body.0.resnets.0.block1.weight",)),
    Rule("T2I-Adapter", "controlnet", ("body.0.in_conv.weight",)),
    Rule("T2I-Adapter", "controlnet", ("conv_in.weight", "body.0.block1.weight")),
    Rule("T2I-Adapter", "controlnet", like=r"^adapter$"),
    # What people put into the wrong folder.
    Rule("IP-Adapter", "ipadapter", like=r"^(ip_adapter\.|image_proj\.)"),
    Rule(
        "LoRA", "loras", like=r"(^lora_(unet|te|te1|te2)_)|\.lora_(A|B|up|down)\.|\.lora_(A|B)$|\.hada_w1_a$|\.lokr_w1"
    ),
    Rule("embedding", "embeddings", like=r"^(emb_params|string_to_param|clip_l|clip_g|t5xxl|\*)$"),
    Rule("whole checkpoint", "checkpoints", like=r"^(model\.diffusion_model|cond_stage_model|conditioner)\."),
    Rule("VAE", "vae", like=r"^(first_stage_model\.)?(decoder\.(conv_in|middle|up_blocks|mid)|decoder\.0\.)"),
    Rule("CLIP vision model", "clip_vision", like=r"^(vision_model|visual)\."),
    Rule(
        "text encoder",
        "text_encoders",
        like=r"^(text_model|transformer\.text_model|encoder\.block|model\.embed_tokens)",
    ),
    Rule("upscaling model", "upscale_models", like=r"^(RRDB_trunk\.|body\.\d+\.rdb|model\.1\.sub\.|conv_first\.)"),
    Rule(
        "diffusion model",
        "diffusion_models",
        like=r"^(model\.)?(diffusion_model\.)?(output_blocks|up_blocks|double_blocks|joint_blocks|transformer_blocks)\.",
    ),
)


def identify(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> Identity | None:
    """What a file with these keys is; None where no rule knows it."""
    rule = next((rule for rule in RULES if rule.matches(shapes)), None)
    if rule is None:
        return None
    unet = unet_of(shapes) if rule.folder == "controlnet" else None
    base = rule.base(shapes) if callable(rule.base) else rule.base
    types = shapes.get("task_embedding", (0,))[0] if "union" in rule.family else 0
    hint = (metadata or {}).get("controlstack.hint", "")
    return Identity(rule.family, rule.folder, base or (unet.base if unet else ""), unet, types, hint, rule.needs)


_ZERO_CONVOLUTION = re.compile(r"(?:zero_convs|controlnet_down_blocks)\.(\d+)(?:\.0)?\.weight$")


def unet_of(shapes: Shapes) -> Unet | None:
    """The UNet that a ControlNet copies: text width from its cross-attention, skips from its zero convolutions."""
    context = {shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight") and len(shape) > 1}
    zero = {int(found[1]): shape[0] for key, shape in shapes.items() if (found := _ZERO_CONVOLUTION.search(key))}
    if len(context) != 1 or not zero:
        return None
    return Unet(context.pop(), tuple(channels for _, channels in sorted(zero.items())))


def unet_from_config(config: Mapping[str, Any]) -> Unet | None:
    """The same numbers from the host's description of a base model; None where it is not a UNet with text."""
    channels, multipliers, context = (config.get(k) for k in ("model_channels", "channel_mult", "context_dim"))
    if not isinstance(channels, int) or not multipliers or not isinstance(context, int):
        return None
    blocks = config.get("num_res_blocks", 2)
    depths: Sequence[int] = [blocks] * len(multipliers) if isinstance(blocks, int) else blocks
    skips = [channels]
    for level, (multiplier, depth) in enumerate(zip(multipliers, depths, strict=True)):
        is_last = level == len(multipliers) - 1
        skips += [channels * multiplier] * (depth + (0 if is_last else 1))  # the last level has no downsampling block
    return Unet(context, tuple(skips))


# The host's class of a base model that is no UNet → the name that people use, and the bases whose nets it accepts.
MODEL_BASES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "SD3": ("SD3", ("SD3",)),
    "Chroma": ("Chroma", ("Flux", "Chroma")),
    "Flux2": ("Flux 2", ("Flux 2",)),
    "Flux": ("Flux", ("Flux",)),
    "HunyuanDiT": ("HunyuanDiT", ("HunyuanDiT",)),
    "HunyuanVideo": ("HunyuanVideo", ("HunyuanVideo",)),
    "QwenImage": ("Qwen-Image", ("Qwen-Image",)),
    "ZImage": ("Z-Image", ("Z-Image",)),
    "Anima": ("Anima", ("Anima",)),
    "WAN21_T2V": ("Wan", ("Wan",)),
    "Stable_Cascade_C": ("Stable Cascade", ("Stable Cascade",)),
}


@dataclass(frozen=True)
class Model:
    """A base model as the host describes it: `classes` are its class's names, most special first."""

    classes: tuple[str, ...]
    unet: Unet | None = None

    @property
    def base(self) -> str:
        if self.unet is not None:
            return self.unet.base
        known = next((MODEL_BASES[name][0] for name in self.classes if name in MODEL_BASES), None)
        return known or self.classes[0]

    def accepts(self, net: Identity) -> bool | None:
        """Whether `net` can act on this model; None where that cannot be told."""
        if net.unet is not None:
            known = self.unet is not None or any(name in MODEL_BASES for name in self.classes)
            return net.unet == self.unet if known else None
        if not net.base or "T2I" in net.family:
            return None
        if self.unet is not None:
            return net.base == self.base if net.base in CONTEXT_BASES.values() else False
        return next((net.base in MODEL_BASES[name][1] for name in self.classes if name in MODEL_BASES), None)


def mismatch(name: str, net: Identity, model: Model) -> str:
    """The sentence for a net that cannot act on a model; empty where it can, or where that cannot be told."""
    if model.accepts(net) is not False:
        return ""
    same = net.unet is not None and model.unet is not None and net.unet.context == model.unet.context
    depth = f", but with {len(net.unet.skips)} blocks of other widths" if same and net.unet else ""
    return (
        f"ControlNet {name!r} ({net}{depth}) does not fit the model, which is {model.base}. "
        f"Choose a net made for {model.base}, or a model of {net.base}."
    )
