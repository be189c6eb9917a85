"""Describe base models as ComfyUI does, and tell which ControlNets they accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .families import CONTEXT_BASES, Identity, Unet

# ComfyUI's class of a base model that is not a UNet → the name that people use, and the bases whose
# ControlNets it accepts.
MODEL_BASES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "SD3": ("SD3", ("SD3",)),
    "Chroma": ("Chroma", ("Flux", "Chroma")),
    "Flux2": ("Flux 2", ("Flux 2",)),
    "Flux": ("Flux", ("Flux",)),
    "HunyuanDiT": ("HunyuanDiT", ("HunyuanDiT",)),
    "HunyuanVideo": ("HunyuanVideo", ("HunyuanVideo",)),
    "QwenImage21": ("Qwen-Image 2.1", ("Qwen-Image 2.1",)),
    "QwenImage": ("Qwen-Image", ("Qwen-Image",)),
    "ZImage": ("Z-Image", ("Z-Image",)),
    "Lumina2": ("Lumina 2", ()),
    "Anima": ("Anima", ("Anima",)),
    "WAN21_T2V": ("Wan", ("Wan",)),
    "LTXV": ("LTX", ("LTX",)),
    "SVD_img2vid": ("SVD", ("SVD",)),
    "Stable_Cascade_C": ("Stable Cascade", ("Stable Cascade",)),
    "Stable_Cascade_B": ("Stable Cascade B", ()),
}
# T2I-Adapters depend on channel counts only, so those for SD1.5 run on SD2 as well.
SAME_WIDTHS = {("SD1.5", "SD2"), ("SD2", "SD1.5")}


@dataclass(frozen=True)
class Model:
    """A base model as ComfyUI describes it; `classes` are class names, most derived first."""

    classes: tuple[str, ...]
    unet: Unet | None = None
    width: int = 0

    @property
    def base(self) -> str:
        """Name the base model as people do."""
        if self.unet is not None:
            return self.unet.base
        return next(
            (MODEL_BASES[name][0] for name in self.classes if name in MODEL_BASES), self.classes[0]
        )

    @property
    def is_known(self) -> bool:
        """Whether we know which ControlNets it accepts."""
        return self.unet is not None or any(name in MODEL_BASES for name in self.classes)

    def accepts(self, net: Identity) -> bool | None:
        """Return whether `net` can act on this model; None where that is unknown."""
        if not self.is_known:
            return None
        if net.unet is not None:
            return net.unet == self.unet
        if not net.base:
            return None
        if self.unet is not None:
            return self._unet_accepts(net)
        bases = next(MODEL_BASES[name][1] for name in self.classes if name in MODEL_BASES)
        return net.base in bases and (not net.width or not self.width or net.width == self.width)

    def _unet_accepts(self, net: Identity) -> bool | None:
        if net.base not in CONTEXT_BASES.values():
            return False
        if net.base == self.base:
            return True
        is_unsure = self.base not in CONTEXT_BASES.values() or (net.base, self.base) in SAME_WIDTHS
        return None if is_unsure and "T2I" in net.family else False


def model_of(classes: tuple[str, ...], config: Mapping[str, Any]) -> Model:
    """Describe a base model from ComfyUI's class names and its configuration of the network."""
    return Model(classes, unet_from_config(config), token_width(config))


def mismatch(name: str, net: Identity, model: Model) -> str:
    """Say why a net cannot act on a model; empty where it can, or where that is unknown."""
    if model.accepts(net) is not False:
        return ""
    target = net.base
    net_detail, model_detail = "", ""
    if net.unet is not None and model.unet is not None and net.unet.context == model.unet.context:
        net_detail = f", but with {len(net.unet.skips)} blocks of other widths"
    elif net.width and model.width and net.width != model.width and net.base == model.base:
        net_detail, model_detail = f", {net.width} wide", f", {model.width} wide"
        target = f"the {net.base} that it was made for"
    return (
        f"ControlNet {name!r} ({net}{net_detail}) does not fit the model, which is"
        f" {model.base}{model_detail}. Choose a ControlNet made for {model.base}{model_detail}, or"
        f" change the model to {target}."
    )


def unet_from_config(config: Mapping[str, Any]) -> Unet | None:
    """Return a base model's UNet from ComfyUI's configuration; None for other architectures."""
    channels, multipliers, context = (
        config.get(k) for k in ("model_channels", "channel_mult", "context_dim")
    )
    if not isinstance(channels, int) or not multipliers or not isinstance(context, int):
        return None
    blocks = config.get("num_res_blocks", 2)
    depths: Sequence[int] = [blocks] * len(multipliers) if isinstance(blocks, int) else blocks
    skips = [channels]
    for level, (multiplier, depth) in enumerate(zip(multipliers, depths, strict=True)):
        is_last = level == len(multipliers) - 1
        downsampling = 0 if is_last else 1
        skips += [channels * multiplier] * (depth + downsampling)
    return Unet(context, tuple(skips))


def token_width(config: Mapping[str, Any]) -> int:
    """Return the token width of a transformer from ComfyUI's configuration; 0 where unknown."""
    for key in ("hidden_size", "dim"):
        if isinstance(width := config.get(key), int):
            return width
    if "context_embedder_config" in config and isinstance(depth := config.get("depth"), int):
        return 64 * depth  # SD3's transformers are 64 wide per block
    heads, head_width = config.get("num_attention_heads"), config.get("attention_head_dim")
    return heads * head_width if isinstance(heads, int) and isinstance(head_width, int) else 0
