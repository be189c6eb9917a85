"""Describe base models as ComfyUI does, and tell which ControlNets they accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .families import CONTEXT_BASES, Identity, Unet

# The host's class of a base model that is no UNet → the name that people use, and the bases whose
# nets it accepts.
MODEL_BASES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "SD3": ("SD3", ("SD3",)),
    "Chroma": ("Chroma", ("Flux", "Chroma")),
    "Flux2": ("Flux 2", ("Flux 2",)),
    "Flux": ("Flux", ("Flux",)),
    "HunyuanDiT": ("HunyuanDiT", ("HunyuanDiT",)),
    "HunyuanVideo": ("HunyuanVideo", ("HunyuanVideo",)),
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
# T2I-Adapters give feature maps by width alone, so those of SD1.5 run on SD2 as well.
SAME_WIDTHS = {("SD1.5", "SD2"), ("SD2", "SD1.5")}


@dataclass(frozen=True)
class Model:
    """A base model as the host describes it: `classes` are its class's names, most special first."""

    classes: tuple[str, ...]
    unet: Unet | None = None
    width: int = 0

    @property
    def base(self) -> str:
        if self.unet is not None:
            return self.unet.base
        return next(
            (MODEL_BASES[name][0] for name in self.classes if name in MODEL_BASES), self.classes[0]
        )

    @property
    def is_known(self) -> bool:
        return self.unet is not None or any(name in MODEL_BASES for name in self.classes)

    def accepts(self, net: Identity) -> bool | None:
        """Whether `net` can act on this model; None where that cannot be told."""
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
        unsure = self.base not in CONTEXT_BASES.values() or (net.base, self.base) in SAME_WIDTHS
        return None if unsure and "T2I" in net.family else False


def model_of(classes: tuple[str, ...], config: Mapping[str, Any]) -> Model:
    """A base model from the names of the host's class and the host's description of its network."""
    return Model(classes, unet_from_config(config), token_width(config))


def mismatch(name: str, net: Identity, model: Model) -> str:
    """The sentence for a net that cannot act on a model; empty where it can, or where that cannot
    be told.
    """
    if model.accepts(net) is not False:
        return ""
    of_model = f"a model of {net.base}"
    depth, wide = "", ""
    if net.unet is not None and model.unet is not None and net.unet.context == model.unet.context:
        depth = f", but with {len(net.unet.skips)} blocks of other widths"
    elif net.width and model.width and net.width != model.width and net.base == model.base:
        depth, wide, of_model = (
            f", {net.width} wide",
            f", {model.width} wide",
            f"the {net.base} that it was made for",
        )
    return (
        f"ControlNet {name!r} ({net}{depth}) does not fit the model, which is {model.base}{wide}. "
        f"Choose a net made for {model.base}{wide}, or {of_model}."
    )


def unet_from_config(config: Mapping[str, Any]) -> Unet | None:
    """The same numbers from the host's description of a base model; None where it is not a UNet
    with text.
    """
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
        skips += [channels * multiplier] * (
            depth + (0 if is_last else 1)
        )  # the last level has no downsampling block
    return Unet(context, tuple(skips))


def token_width(config: Mapping[str, Any]) -> int:
    """Width of the tokens of a transformer, from the host's description of it; 0 where it does not
    say.
    """
    if isinstance(width := config.get("hidden_size"), int):
        return width
    if "context_embedder_config" in config and isinstance(depth := config.get("depth"), int):
        return 64 * depth  # SD3's transformers are 64 wide for each of their blocks
    heads, head_width = config.get("num_attention_heads"), config.get("attention_head_dim")
    return heads * head_width if isinstance(heads, int) and isinstance(head_width, int) else 0
