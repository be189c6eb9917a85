"""Recognise a model file by its keys and shapes, by a table of rules.

Rules are read from top to bottom, specific before general; a rule names every key it relies on.
`Shapes` maps key → shape, as a safetensors header has them, so nothing needs to be loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from . import control_loras

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Unet:
    """The sizes that a ControlNet and its base model must share: text width and skip channels."""

    context: int
    skips: tuple[int, ...]  # channels of each skip connection, input to middle

    @property
    def base(self) -> str:
        """Name the base model with this text width."""
        return CONTEXT_BASES.get(self.context, f"a UNet with text width {self.context}")


@dataclass(frozen=True)
class Identity:
    """What a file is: its family, the model folder it belongs in, the base model it was made for.

    `width`: token width of a net for a transformer; `needs`: what the net takes beside its hint
    ("vae" to encode it, "mask" for the area to inpaint); `served_by`: the node that uses such a
    file, where ours do not; `blocks`: how many blocks of its own a net has, 0 where unknown, and
    `depth`, what they are: a "unet"'s blocks, "features" of a T2I-Adapter, or "spread" over a
    transformer.
    """

    family: str
    folder: str
    base: str = ""
    unet: Unet | None = None
    union_types: int = 0
    hint: str = ""
    needs: tuple[str, ...] = ()
    width: int = 0
    served_by: str = ""
    blocks: int = 0
    depth: str = ""

    @property
    def is_control(self) -> bool:
        """Whether ComfyUI's loader makes a control object of it."""
        return self.folder == CONTROL and not self.served_by

    def __str__(self) -> str:
        return f"{self.family} for {self.base}" if self.base else self.family


@dataclass(frozen=True)
class Source:
    """Where a control object came from: the name of its file (or its class), and what it is."""

    name: str
    identity: Identity


@dataclass(frozen=True)
class Rule:
    """A family and its signs: all keys of `has`, a key that matches `like`, and the test `when`.

    `base` is a name or is read from the shapes; `width` and `types` name the tensor whose first
    axis has that size. `blocks` matches the keys of a net's own blocks, the same text for those of
    one block.
    """

    family: str
    folder: str
    has: tuple[str, ...] = ()
    like: str = ""
    base: str | Callable[[Shapes], str] = ""
    needs: tuple[str, ...] = ()
    when: Callable[[Shapes, Mapping[str, str]], bool] | None = None
    width: str = ""
    types: str = ""
    served_by: str = ""
    blocks: str = ""
    depth: str = "spread"

    def matches(self, shapes: Shapes, metadata: Mapping[str, str]) -> bool:
        """Return whether a file shows all signs of this family."""
        if not all(key in shapes for key in self.has):
            return False
        if self.like and not any(re.search(self.like, key) for key in shapes):
            return False
        return self.when is None or self.when(shapes, metadata)


CONTROL = "controlnet"
DIFFERENCE = "ControlNet (difference)"  # ComfyUI adds it to its base model: a loader of its own
PATCH = "model_patches"
ACN = "ComfyUI-Advanced-ControlNet"
DIFFUSERS = "diffusers (this pack knows of no ComfyUI node for it)"
VAE = ("vae",)

T2I_FIRST_LAYERS = ("conv_in.weight", "adapter.conv_in.weight", "body.0.in_conv.weight")
T2I_CHANNELS = {3 * 64: "SD1.5", 64: "SD1.5", 3 * 256: "SDXL", 256: "SDXL"}
T2I_FEATURES = 4
CONTEXT_BASES = {768: "SD1.5", 1024: "SD2", 2048: "SDXL", 1280: "SDXL refiner"}


def _control_lora_base(shapes: Shapes) -> str:
    """Read the base model from the text width of the low-rank keys."""
    widths = _text_widths(shapes, "attn2.to_k.down")
    return CONTEXT_BASES.get(next(iter(widths)), "") if len(widths) == 1 else ""


def _t2i_base(shapes: Shapes) -> str:
    """Read the base model of a T2I-Adapter from the channels of its first layer.

    SDXL's adapters fold 16 x 16 pixels into channels, SD1.5's 8 x 8; pictures have 3 or 1 channels.
    """
    key = next((key for key in T2I_FIRST_LAYERS if key in shapes), "")
    return T2I_CHANNELS.get(axis(shapes, key, 1), "")


def _lllite_base(shapes: Shapes) -> str:
    """Read the base model from the blocks in which it acts: SDXL's first level has no attention."""
    first = r"^lllite_unet_(input_blocks_[12]|output_blocks_([6-9]|10|11))_1_"
    return "SD1.5" if any(re.match(first, key) for key in shapes) else "SDXL"


def axis(shapes: Shapes, key: str, number: int) -> int:
    """Return the length of one axis of a tensor; 0 where there is no such tensor or axis."""
    shape = shapes.get(key, ())
    return shape[number] if len(shape) > number else 0


def reads_channels(key: str, *counts: int) -> Callable[[Shapes, Mapping[str, str]], bool]:
    """Make a test: the layer `key` reads one of `counts` channels."""
    return lambda shapes, _: axis(shapes, key, 1) in counts


def has_metadata(key: str) -> Callable[[Shapes, Mapping[str, str]], bool]:
    """Make a test: the metadata has an entry that ends in `key`."""
    return lambda _, metadata: any(name.endswith(key) for name in metadata)


BLOCK = "controlnet_blocks.0.weight"
OWN_BLOCKS = r"^controlnet_(?:single_)?blocks\.\d+\."


def _instantx(embedder: str) -> tuple[Rule, ...]:
    """Make the rules of InstantX's nets for Flux.

    They read latents of 16 channels in 2 x 2 patches; inpainting nets a 17th channel, the mask.
    """
    mode = "controlnet_mode_embedder.weight"
    plain = Rule(
        "InstantX ControlNet",
        CONTROL,
        (BLOCK, embedder),
        base="Flux",
        needs=VAE,
        width=BLOCK,
        blocks=OWN_BLOCKS,
    )
    masked = replace(
        plain,
        family="Flux inpainting ControlNet",
        when=reads_channels(embedder, 68),
        needs=("vae", "mask"),
    )
    return (
        masked,
        replace(plain, family="Flux union ControlNet", has=(*plain.has, mode), types=mode),
        plain,
    )


def _t2i(*keys: str) -> Rule:
    """Make a rule of T2I-Adapters."""
    return Rule("T2I-Adapter", CONTROL, keys, base=_t2i_base, depth="features")


def _lora(base: str, like: str, served_by: str) -> Rule:
    """Make the rule of LoRAs for a base, some of which carry a control that no key tells."""
    return Rule("LoRA", "loras", like=like, when=_is_lora, base=base, served_by=served_by)


def _is_lora(shapes: Shapes, _metadata: Mapping[str, str]) -> bool:
    return any("lora_" in key for key in shapes)


# Order is meaning: a wrapped or special form stands above the plain one that its keys also match.
RULES: tuple[Rule, ...] = (
    # Model patches, for other nodes of ComfyUI.
    Rule(
        "Anima LLLite",
        PATCH,
        ("lllite_conditioning1.conv1.weight",),
        base="Anima",
        served_by="Apply Anima LLLite (after Load Model Patch)",
        blocks=r"^lllite_dit_blocks_\d+_",
    ),
    Rule(
        "Qwen-Image DiffSynth patch",
        PATCH,
        ("controlnet_blocks.0.y_rms.weight",),
        base="Qwen-Image",
        needs=VAE,
        served_by="Apply Qwen Image DiffSynth ControlNet (after Load Model Patch)",
        blocks=OWN_BLOCKS,
    ),
    Rule(
        "Z-Image Fun patch",
        PATCH,
        ("control_all_x_embedder.2-1.weight",),
        base="Z-Image",
        needs=VAE,
        served_by="Apply Z-Image Fun ControlNet (after Load Model Patch)",
        blocks=r"^control_layers\.\d+\.",
    ),
    Rule(
        "Wan Uni3C patch",
        PATCH,
        ("controlnet_patch_embedding.weight",),
        base="Wan",
        needs=VAE,
        width="proj_out.0.weight",
        served_by="Apply Wan Uni3C ControlNet (after Load Model Patch)",
        blocks=r"^proj_out\.\d+\.",
    ),
    Rule(
        "MiniMax-H3 Fun patch",
        PATCH,
        ("control_proj_in.weight", "control_blocks.0.adaln_proj.linear.weight"),
        base="MiniMax-H3",
        needs=VAE,
        served_by="Apply MiniMax H3 Fun ControlNet (after Load Model Patch, newest ComfyUI)",
        blocks=r"^control_blocks\.\d+\.",
    ),
    Rule(
        "Qwen-Image 2.1 Fun patch",
        PATCH,
        ("control_img_in.weight", "control_blocks.0.img_mlp.out.weight"),
        base="Qwen-Image 2.1",
        needs=VAE,
        served_by="Apply Qwen Image 2.1 Fun ControlNet (after Load Model Patch, newest ComfyUI)",
        blocks=r"^control_blocks\.\d+\.",
    ),
    Rule(
        "SUPIR patch",
        PATCH,
        like=r"^(model\.control_model|control_model)\.input_hint_block\.0\.weight$",
        when=lambda shapes, _: any("project_modules." in key for key in shapes),
        base="SDXL",
        needs=VAE,
        served_by="Apply SUPIR Patch (after Load Model Patch)",
    ),
    # ControlNets that ComfyUI cannot load; other packs can.
    Rule(
        "AnimateDiff SparseCtrl",
        CONTROL,
        like=r"motion_modules\.",
        when=lambda shapes, _: any("controlnet" in key for key in shapes),
        base="SD1.5",
        served_by=ACN,
    ),
    Rule(
        "SVD ControlNet",
        CONTROL,
        like=r"temporal_res_block\.",
        when=lambda shapes, _: any("controlnet" in key for key in shapes),
        base="SVD",
        served_by=ACN,
    ),
    Rule("CtrLoRA", CONTROL, like=r"lora_layer\.", base="SD1.5", served_by=ACN),
    Rule(
        "ControlNet-XS",
        CONTROL,
        ("control_to_base_for_conv_in.weight", "controlnet_cond_embedding.conv_in.weight"),
        base="SD2 or SDXL",
        served_by=DIFFUSERS,
    ),
    Rule(
        "Sana ControlNet", CONTROL, (BLOCK, "input_block.weight"), base="Sana", served_by=DIFFUSERS
    ),
    Rule(
        "CogVideoX ControlNet",
        CONTROL,
        like=r"^controlnet_encode_first\.",
        base="CogVideoX",
        served_by=DIFFUSERS,
    ),
    # What this pack builds.
    Rule(
        "ControlNet-LLLite",
        CONTROL,
        like=r"^lllite_unet_",
        base=_lllite_base,
        blocks=r"^lllite_unet_(input_blocks_\d+|middle_block|output_blocks_\d+)_",
    ),
    Rule(
        "Flux 2 Fun ControlNet",
        CONTROL,
        ("control_img_in.weight", "control_transformer_blocks.0.after_proj.weight"),
        base="Flux 2",
        needs=VAE,
        width="control_img_in.weight",
        blocks=r"^control_transformer_blocks\.\d+\.",
    ),
    # What ComfyUI's loader builds.
    Rule(
        "Control-LoRA",
        CONTROL,
        ("lora_controlnet",),
        base=_control_lora_base,
        blocks=r"^(zero_convs\.\d+|middle_block_out)\.",
        depth="unet",
    ),
    Rule(
        "HunyuanDiT ControlNet",
        CONTROL,
        ("after_proj_list.18.bias",),
        base="HunyuanDiT",
        needs=VAE,
        width="after_proj_list.18.bias",
        blocks=r"^after_proj_list\.\d+\.",
    ),
    Rule(
        "union ControlNet",
        CONTROL,
        ("control_add_embedding.linear_1.bias", "task_embedding"),
        types="task_embedding",
    ),
    Rule("ControlNet (diffusers)", CONTROL, ("controlnet_cond_embedding.conv_in.weight",)),
    Rule(DIFFERENCE, CONTROL, ("control_model.zero_convs.0.0.weight", "difference")),
    Rule("ControlNet", CONTROL, ("control_model.zero_convs.0.0.weight",)),
    Rule("ControlNet", CONTROL, ("zero_convs.0.0.weight", "input_hint_block.0.weight")),
    Rule(
        "XLabs ControlNet",
        CONTROL,
        (BLOCK, "input_hint_block.0.weight"),
        like=r"^double_blocks\.",
        base="Flux",
        width=BLOCK,
        blocks=OWN_BLOCKS,
    ),
    Rule(
        "MistoLine ControlNet",
        CONTROL,
        ("controlnet_blocks.0.linear.weight",),
        base="Flux",
        width="controlnet_blocks.0.linear.weight",
        blocks=OWN_BLOCKS,
    ),
    Rule(
        "SD3.5 ControlNet",
        CONTROL,
        (BLOCK, "pos_embed_input.proj.weight", "transformer_blocks.0.adaLN_modulation.1.bias"),
        base="SD3",
        needs=VAE,
        width=BLOCK,
        blocks=OWN_BLOCKS,
    ),
    Rule(
        "SD3 inpainting ControlNet",
        CONTROL,
        (BLOCK, "pos_embed_input.proj.weight"),
        when=reads_channels("pos_embed_input.proj.weight", 17),
        base="SD3",
        needs=("vae", "mask"),
        width=BLOCK,
        blocks=OWN_BLOCKS,
    ),
    Rule(
        "SD3 ControlNet",
        CONTROL,
        (BLOCK, "pos_embed_input.proj.weight"),
        base="SD3",
        needs=VAE,
        width=BLOCK,
        blocks=OWN_BLOCKS,
    ),
    Rule(
        "Qwen-Image inpainting ControlNet",
        CONTROL,
        (BLOCK, "transformer_blocks.0.img_mlp.net.0.proj.weight"),
        when=reads_channels("controlnet_x_embedder.weight", 68),
        base="Qwen-Image",
        needs=("vae", "mask"),
        width=BLOCK,
        blocks=OWN_BLOCKS,
    ),
    Rule(
        "Qwen-Image ControlNet",
        CONTROL,
        (BLOCK, "transformer_blocks.0.img_mlp.net.0.proj.weight"),
        base="Qwen-Image",
        needs=VAE,
        width=BLOCK,
        blocks=OWN_BLOCKS,
    ),
    # InstantX's layout for Flux: files say x_embedder where ComfyUI's module says pos_embed_input.
    *_instantx("controlnet_x_embedder.weight"),
    *_instantx("pos_embed_input.weight"),
    Rule(
        "Qwen-Image Fun ControlNet",
        CONTROL,
        ("control_blocks.0.after_proj.weight", "control_img_in.weight"),
        base="Qwen-Image",
        needs=VAE,
        width="control_img_in.weight",
        blocks=r"^control_blocks\.\d+\.",
    ),
    _t2i("adapter.body.0.resnets.0.block1.weight"),
    _t2i("body.0.in_conv.weight"),
    _t2i("conv_in.weight", "body.0.block1.weight"),
    replace(_t2i(), like=r"^adapter$", base=""),
    Rule(
        "Cascade ControlNet",
        CONTROL,
        like=r"^backbone\.(0\.0\.weight|10\.blocks\.0\.weight)$",
        base="Stable Cascade",
        blocks=r"^projections\.\d+\.",
    ),
    # Control as a whole base model or a LoRA: there is no net beside the model to stack.
    Rule(
        "Wan VACE model",
        "diffusion_models",
        like=r"(^|\.)vace_patch_embedding\.weight$",
        base="Wan",
        served_by="Load Diffusion Model and WanVaceToVideo",
    ),
    Rule(
        "Wan Fun Camera model",
        "diffusion_models",
        like=r"(^|\.)control_adapter\.conv\.weight$",
        base="Wan",
        served_by="Load Diffusion Model and WanCameraImageToVideo",
    ),
    Rule(
        "Flux Canny or Depth model",
        "diffusion_models",
        ("img_in.weight", "double_blocks.0.img_attn.proj.weight"),
        when=reads_channels("img_in.weight", 128),
        base="Flux",
        served_by="Load Diffusion Model and InstructPixToPixConditioning",
    ),
    Rule(
        "Flux Canny or Depth LoRA",
        "loras",
        like=control_loras.FLUX_FIRST_LAYER,
        when=control_loras.widens_flux,
        base="Flux",
        served_by=control_loras.FLUX_USE,
    ),
    Rule(
        "Krea-2 control LoRA",
        "loras",
        like=r"(^|\.)(transformer_)?blocks\.\d+\..+\.(A|lora_A|lora_down)(\.weight)?$",
        when=control_loras.widens_krea,
        base="Krea-2",
        served_by=control_loras.KREA_DEPTH_USE,
    ),
    Rule(
        "LTX IC-LoRA",
        "loras",
        like=r"\.lora_(A|B|up|down)\.",
        when=has_metadata("reference_downscale_factor"),
        base="LTX",
        served_by=control_loras.LTX_IC_USE,
    ),
    _lora("LTX", control_loras.LTX_LAYER, control_loras.LTX_USE),
    _lora("Krea-2", control_loras.KREA_LAYER, control_loras.KREA_USE),
    # Other files that end up in the wrong folder.
    Rule("IP-Adapter", "ipadapter", like=r"^(ip_adapter\.|image_proj\.)"),
    Rule(
        "LoRA",
        "loras",
        like=(
            r"(^lora_(unet|te|te1|te2)_)|\.lora_(A|B|up|down)\.|\.lora_(A|B)$|\.hada_w1_a$"
            r"|\.lokr_w1"
        ),
    ),
    Rule("embedding", "embeddings", like=r"^(emb_params|string_to_param|clip_l|clip_g|t5xxl|\*)$"),
    Rule(
        "whole checkpoint",
        "checkpoints",
        like=r"^(model\.diffusion_model|cond_stage_model|conditioner)\.",
    ),
    Rule(
        "VAE",
        "vae",
        like=r"^(first_stage_model\.)?(decoder\.(conv_in|middle|up_blocks|mid)|decoder\.0\.)",
    ),
    Rule("CLIP vision model", "clip_vision", like=r"^(vision_model|visual)\."),
    Rule(
        "text encoder",
        "text_encoders",
        like=r"^(text_model|transformer\.text_model|encoder\.block|model\.embed_tokens)",
    ),
    Rule(
        "upscaling model",
        "upscale_models",
        like=r"^(RRDB_trunk\.|body\.\d+\.rdb|model\.1\.sub\.|conv_first\.)",
    ),
    Rule(
        "diffusion model",
        "diffusion_models",
        like=(
            r"^(model\.)?(diffusion_model\.)?"
            r"(output_blocks|up_blocks|double_blocks|joint_blocks|transformer_blocks)\."
        ),
    ),
)


def identify(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> Identity | None:
    """Recognise a file by its keys; None where no rule matches."""
    metadata = metadata or {}
    rule = next((rule for rule in RULES if rule.matches(shapes, metadata)), None)
    if rule is None:
        return None
    unet = unet_of(shapes) if rule.folder == CONTROL else None
    base = rule.base(shapes) if callable(rule.base) else rule.base
    return Identity(
        rule.family,
        rule.folder,
        base or (unet.base if unet else ""),
        unet,
        axis(shapes, rule.types, 0),
        metadata.get("controlstack.hint", ""),
        rule.needs,
        axis(shapes, rule.width, 0),
        rule.served_by,
        *_own_blocks(rule, shapes, unet),
    )


def _own_blocks(rule: Rule, shapes: Shapes, unet: Unet | None) -> tuple[int, str]:
    """Count a net's own blocks, 0 where the keys do not tell, and say how they lie."""
    if unet is not None:
        return len(unet.skips) + 1, "unet"  # and the middle
    if rule.depth == "features":
        return T2I_FEATURES, rule.depth
    own = {match[0] for key in shapes if rule.blocks and (match := re.match(rule.blocks, key))}
    return len(own), rule.depth if own else ""


_READ_BY_LETTER = re.compile(r"[AEFHILMNORSX](?=[A-Z0-9-])")
_READ_AS_WORDS = ("SUPIR",)


def with_article(name: str) -> str:
    """Put "a" or "an" before a name by its sound: an SD3 ControlNet, a union ControlNet."""
    if name.startswith(_READ_AS_WORDS):
        return f"a {name}"
    is_vowel = _READ_BY_LETTER.match(name) or re.match(r"[aeio]|u(?!n[ie])", name.lower())
    return f"an {name}" if is_vowel else f"a {name}"


_ZERO_CONVOLUTION = re.compile(r"(?:zero_convs|controlnet_down_blocks)\.(\d{1,4})(?:\.0)?\.weight$")


def unet_of(shapes: Shapes) -> Unet | None:
    """Return the sizes of a ControlNet for a UNet; None for other nets.

    The text width is read from its cross-attention, the skips from its zero convolutions.
    """
    context = _text_widths(shapes, "attn2.to_k.weight")
    zero_channels = dict[int, int]()
    for key, shape in shapes.items():
        if match := _ZERO_CONVOLUTION.search(key):
            zero_channels[int(match[1])] = shape[0] if shape else 0
    if len(context) != 1 or not zero_channels:
        return None
    return Unet(context.pop(), tuple(channels for _, channels in sorted(zero_channels.items())))


def _text_widths(shapes: Shapes, suffix: str) -> set[int]:
    return {shape[1] for key, shape in shapes.items() if key.endswith(suffix) and len(shape) > 1}
