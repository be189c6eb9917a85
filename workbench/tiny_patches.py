"""Build a tiny base model and net of each family that acts by ComfyUI's model patches.

All are ComfyUI's own classes with small numbers and random weights, as its Load Model Patch gives
them. `inprocess.open_host` comes first, and the pack is loaded as `pack` for nets of our own class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .tiny_bases import LATENT, Base, TinyVAE, base_of, filled, qwen, sdxl

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

    operations = comfy.ops.manual_cast  # as ComfyUI's loader of model patches has it
    return {"dtype": torch.float32, "device": "cpu", "operations": operations}


def z_image_fun(seed: int = 40, *, layers: int = 6, more: int = 0, **changes: Any) -> Any:
    """Build a Fun net: 6 layers are 1.0's, 3 lite's, 15 those of 2.x, which read a mask (17)."""
    import comfy.ldm.lumina.controlnet

    net = comfy.ldm.lumina.controlnet.ZImage_Control
    shape = {"dim": 256, "n_heads": 4, "n_kv_heads": 4, "n_control_layers": layers}
    shape |= {"ffn_dim_multiplier": 0.25, **changes}
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


def has_module(name: str) -> bool:
    """Return whether this ComfyUI has a module."""
    import importlib.util

    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # of the package that it is in
        return False


def has_anima_lllite() -> bool:
    """Return whether this ComfyUI has the class of these nets."""
    return has_module("comfy.ldm.anima.lllite")


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


WAN_SHAPE = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "patch_size": (1, 2, 2),
    "text_len": 8,
    "in_dim": 16,
    "dim": 64,
    "ffn_dim": 96,
    "freq_dim": 32,
    "text_dim": 48,
    "out_dim": 16,
    "num_heads": 2,
    "num_layers": 3,
    "qk_norm": True,
    "cross_attn_norm": True,
}


class VideoVAE(TinyVAE):
    """Encodes a clip, (T,H,W,3): the first frame alone, then each four as their mean."""

    def temporal_compression_decode(self) -> int:
        return 4

    def encode(self, pixels: Any) -> Any:
        """Encode (T,H,W,3) to (1,C,(T-1)/4+1,H/8,W/8)."""
        import torch

        frames = super().encode(pixels)
        groups = [frames[:1], *frames[1:].split(4)]
        return torch.stack([group.mean(0) for group in groups], 1).unsqueeze(0)


def wan() -> Base:
    latent = (1, 16, 3, LATENT, LATENT)
    base = base_of("WAN21_T2V", WAN_SHAPE, latent, text=(6, 48), pooled_output=None)
    return replace(base, vae=VideoVAE(16, 4))


def uni3c(seed: int = 43) -> Any:
    import comfy.ldm.wan.uni3c

    shape = {"in_channels": 36, "conv_out_dim": 64, "dim": 32, "ffn_dim": 48, "num_heads": 2}
    shape |= {"num_layers": 2, "time_embed_dim": 64, "out_proj_dim": 64, "mid_channels": 16}
    return _patcher(comfy.ldm.wan.uni3c.WanUni3CControlnet(**shape, **_plain()), seed)


# Where the tiny LLLites act: a UNet's block → its channels, and the kernels of the hint's layers,
# which divide its size by 8 and by the block's level.
SDXL_SITES = {
    **dict.fromkeys(("input_blocks_4_1", "input_blocks_5_1"), (64, (4, 4))),
    **dict.fromkeys(("input_blocks_7_1", "input_blocks_8_1"), (128, (4, 4, 2))),
    "middle_block_1": (128, (4, 4, 2)),
}
SD_SITES = {
    **dict.fromkeys(("input_blocks_4_1", "output_blocks_6_1"), (64, (4, 4))),
    **dict.fromkeys(("input_blocks_7_1", "output_blocks_3_1"), (128, (4, 4, 2))),
}


def lllite_weights(
    sites: Mapping[str, tuple[int, tuple[int, ...]]] | None = None,
) -> dict[str, Any]:
    """Return the weights of a LLLite with four modules in each block."""
    import torch

    generator = torch.Generator().manual_seed(44)
    weights = {}

    def layer(name: str, *shape: int) -> None:
        weights[f"{name}.weight"] = torch.randn(*shape, generator=generator) * 0.2
        weights[f"{name}.bias"] = torch.randn(shape[0], generator=generator) * 0.2

    for block, (width, kernels) in (sites or SDXL_SITES).items():
        for target in ("attn1_to_q", "attn1_to_k", "attn1_to_v", "attn2_to_q"):
            key = f"lllite_unet_{block}_transformer_blocks_0_{target}."
            channels = (3, *(4,) * (len(kernels) - 1), 8)
            for i, side in enumerate(kernels):
                layer(f"{key}conditioning1.{2 * i}", channels[i + 1], channels[i], side, side)
            for name, cin, cout in (("down", width, 6), ("mid", 14, 6), ("up", 6, width)):
                layer(f"{key}{name}.0", cout, cin)
    return weights


def lllite() -> Any:
    """Build our own control object's patcher; ComfyUI has no class for these nets."""
    from pack.control.patches import lllite_net

    return lllite_net(lllite_weights()).patcher


# -- how ComfyUI puts them on a model: (base, model, net, image, strength, area to inpaint) --------


def by_diffsynth(
    base: Base, model: Any, net: Any, image: Any, strength: float, mask: Any = None
) -> Any:
    from comfy_extras.nodes_model_patch import QwenImageDiffsynthControlnet

    is_painted = mask is not None and type(net.model).__name__ == "ZImage_Control"
    more = {"inpaint_image" if is_painted else "image": image, "strength": strength, "mask": mask}
    return QwenImageDiffsynthControlnet().diffsynth_controlnet(model, net, base.vae, **more)[0]


def by_anima(
    _base: Base,
    model: Any,
    net: Any,
    image: Any,
    strength: float,
    mask: Any = None,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Any:
    from comfy_extras.nodes_model_patch import AnimaLLLiteApply

    return AnimaLLLiteApply().apply_patch(model, net, image, strength, *interval, mask)[0]


def by_uni3c(
    base: Base,
    model: Any,
    net: Any,
    image: Any,
    strength: float,
    _mask: Any = None,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Any:
    from comfy_extras.nodes_model_patch import WanUni3CControlnetApply

    node = WanUni3CControlnetApply()
    return node.apply_patch(model, net, base.vae, image, strength, *interval)[0]


def by_plain_lllite(_base: Base, model: Any, net: Any, image: Any, strength: float, *_: Any) -> Any:
    """Put a plain implementation on the model, which reads the file's weights by their names."""
    weights = net.model.state_dict()
    patched = model.clone()
    for place in ("attn1", "attn2"):
        add = PlainLLLite(weights, image, strength, place)
        getattr(patched, f"set_model_{place}_patch")(add)
    return patched


class PlainLLLite:
    """ControlNet-LLLite as it was published, in functions of torch: no class, no cache."""

    def __init__(self, weights: dict[str, Any], image: Any, strength: float, place: str) -> None:
        self.weights, self.image, self.strength, self.place = weights, image, strength, place

    def hint(self, height: int, width: int) -> Any:
        import comfy.utils

        pictures = self.image.movedim(-1, 1)
        how = (width * 8, height * 8, "nearest-exact", "center")
        return comfy.utils.common_upscale(pictures, *how) * 2 - 1

    def __call__(self, q: Any, k: Any, v: Any, where: dict[str, Any]) -> tuple[Any, ...]:
        side, number = where["block"]
        block = "middle_block_1" if side == "middle" else f"{side}_blocks_{number}_1"
        name = f"lllite_unet_{block}_transformer_blocks_{where['block_index']}_{self.place}_to_"
        hint = self.hint(*where["original_shape"][-2:]).to(q)
        return tuple(
            x + self.added(f"{name}{letter}", x, hint) * self.strength
            if f"{name}{letter}.up.0.weight" in self.weights
            else x
            for letter, x in zip("qkv", (q, k, v), strict=True)
        )

    def added(self, name: str, x: Any, hint: Any) -> Any:
        import torch
        from torch.nn import functional

        def of(layer: str) -> tuple[Any, Any]:
            key = f"{name}.{layer}"
            return self.weights[f"{key}.weight"].to(x), self.weights[f"{key}.bias"].to(x)

        count = sum(f"{name}.conditioning1.{2 * i}.weight" in self.weights for i in range(4))
        kernels = [of(f"conditioning1.{2 * i}") for i in range(count)]
        whole = 1
        for weight, _ in kernels:
            whole *= weight.shape[-1]
        # The last row and column again, until the tokens are whole.
        rows, columns = (
            torch.arange(-(-size // whole) * whole).clamp(max=size - 1) for size in hint.shape[-2:]
        )
        is_whole = (len(rows), len(columns)) == tuple(hint.shape[-2:])
        feature = hint if is_whole else hint[:, :, rows][:, :, :, columns]
        for i, (weight, bias) in enumerate(kernels):
            feature = functional.relu(feature) if i else feature
            feature = functional.conv2d(feature, weight, bias, stride=weight.shape[-1])
        tokens = feature.flatten(2).transpose(1, 2)
        tokens = tokens.repeat(x.shape[0] // tokens.shape[0], 1, 1)
        down = functional.relu(functional.linear(x, *of("down.0")))
        both = torch.cat([tokens, down], 2)
        return functional.linear(
            functional.relu(functional.linear(both, *of("mid.0"))), *of("up.0")
        )


# -- the families ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tiny:
    """A family: the base that it acts on, its net as a MODEL_PATCH, and ComfyUI's own node for it.

    `count`: its own blocks, and `block_of`: which of them acts where a hook is called. `called`:
    the part of its module that runs once for each of the rows that it computes. `module`: of its
    class, where not every ComfyUI that we support has it. `on_unet`: it acts in the levels of a
    UNet, else on tokens of 2 x 2 of the latent. `is_clip`: its hints are the frames of one clip.
    `has_range`: the node takes a start and an end.
    """

    base: str
    net: Callable[[], Any]
    node: Callable[..., Any]
    count: int
    called: str
    block_of: Callable[[dict[str, Any]], int] = lambda where: where["block_index"]
    module: str = ""
    on_unet: bool = False
    is_clip: bool = False
    has_range: bool = False

    @property
    def is_here(self) -> bool:
        """Whether this ComfyUI has its class."""
        return not self.module or has_module(self.module)


def _z_image_tiny(layers: int, more: int = 0) -> Tiny:
    def block_of(where: dict[str, Any]) -> int:
        first = where.get("block_type") == "noise_refiner"
        return 0 if first else where["block_index"] // round(30 / layers)

    net = partial(z_image_fun, layers=layers, more=more)
    return Tiny("z_image", net, by_diffsynth, layers, "control_layers.0", block_of)


def _anima_tiny(channels: int) -> Tiny:
    called, module = "lllite_dit_blocks_0_self_attn_q_proj", "comfy.ldm.anima.lllite"
    net = partial(anima_lllite, channels)
    return Tiny("anima", net, by_anima, 3, called, module=module, has_range=True)


def _sdxl_block(where: dict[str, Any]) -> int:
    side, number = where["block"]
    return {4: 0, 5: 1, 7: 2, 8: 3}[number] if side == "input" else 4


BASES: dict[str, Callable[[], Base]] = {
    "z_image": z_image,
    "qwen": qwen,
    "anima": anima,
    "wan": wan,
    "sdxl": sdxl,
}
PATCHES: dict[str, Tiny] = {
    "Z-Image Fun 1.0": _z_image_tiny(6),
    "Z-Image Fun lite": _z_image_tiny(3, 17),
    "Z-Image Fun 2.1": _z_image_tiny(15, 17),
    "Qwen DiffSynth": Tiny("qwen", qwen_diffsynth, by_diffsynth, 3, "controlnet_blocks.0"),
    "Qwen DiffSynth inpaint": Tiny(
        "qwen", partial(qwen_diffsynth, more=4), by_diffsynth, 3, "controlnet_blocks.0"
    ),
    "Anima LLLite": _anima_tiny(3),
    "Anima LLLite inpaint": _anima_tiny(4),
    "Wan Uni3C": Tiny(
        "wan",
        uni3c,
        by_uni3c,
        2,
        "controlnet_blocks.0",
        module="comfy.ldm.wan.uni3c",
        is_clip=True,
        has_range=True,
    ),
    "SDXL LLLite": Tiny(
        "sdxl",
        lllite,
        by_plain_lllite,
        5,
        "lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        _sdxl_block,
        on_unet=True,
    ),
}
