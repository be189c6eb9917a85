"""Build a tiny base model of every architecture ComfyUI can control, and a tiny net of each family.

All of them are ComfyUI's own classes with small numbers and random weights, wrapped as its loaders
wrap them. `inprocess.open_host` comes first: the builders import ComfyUI when they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LATENT = 8  # height and width of the latent that these models sample


@dataclass(frozen=True)
class Base:
    """What CheckpointLoader and CLIPTextEncode would give, and the shape of the empty latent."""

    patcher: Any
    positive: list
    negative: list
    latent: tuple[int, ...]
    vae: Any


class TinyVAE:
    """What a control object asks of a VAE.

    Latents are means over 8 x 8 pixels, mixed at random.
    """

    downscale_ratio = 8

    def __init__(self, channels: int, ndim: int) -> None:
        self.channels, self.ndim, self.encodes = channels, ndim, 0

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, pixels: Any) -> Any:
        """Encode (B,H,W,3) to (B,C,H/8,W/8), with an axis of one frame where the model has time."""
        import torch

        self.encodes += 1
        mixing = torch.randn(self.channels, 3, 1, 1, generator=torch.Generator().manual_seed(1))
        latents = torch.nn.functional.conv2d(
            torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1).float(), 8), mixing
        )
        return latents.unsqueeze(2) if self.ndim == 5 else latents


# -- base models -----------------------------------------------------------------------------------

SD3_SHAPE = {
    "in_channels": 16,
    "patch_size": 2,
    "depth": 4,  # and 64 times as wide: each of two blocks of a net serves two of these
    "input_size": None,
    "adm_in_channels": 32,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": 48, "out_features": 256},
    },
    "num_patches": 256,
    "pos_embed_max_size": 16,
    "pos_embed_scaling_factor": None,
}
FLUX_SHAPE = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 24,
    "context_in_dim": 48,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}
CHROMA_SHAPE = {
    **{key: value for key, value in FLUX_SHAPE.items() if key not in ("guidance_embed",)},
    "image_model": "chroma",
    "in_channels": 64,
    "out_channels": 64,
    "in_dim": 64,
    "out_dim": 64,
    "hidden_dim": 64,
    "n_layers": 1,
}
FLUX2_SHAPE = {
    **FLUX_SHAPE,
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "patch_size": 1,
    "vec_in_dim": None,
    "mlp_ratio": 3.0,
    "depth": 4,
    "axes_dim": [8, 8, 8, 8],
    "theta": 2000,
    "qkv_bias": False,
    "ops_bias": False,
    "txt_ids_dims": [3],
    "global_modulation": True,
    "mlp_silu_act": True,
}
QWEN_SHAPE = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 48,
    "axes_dims_rope": (8, 12, 12),
}
HUNYUAN_SHAPE = {
    "image_model": "hydit",
    "hidden_size": 32,
    "depth": 40,  # its net has 19 blocks by construction, one for each skip of 40
    "num_heads": 2,
    "mlp_ratio": 2.0,
    "text_states_dim": 48,
    "text_states_dim_t5": 64,
    "text_len": 5,
    "text_len_t5": 7,
    "size_cond": False,
    "use_style_cond": False,
}


CASCADE_SHAPE = {
    "stable_cascade_stage": "c",
    "c_r": 8,
    "c_cond": 32,
    "c_hidden": [32, 32],
    "nhead": [2, 2],
    "blocks": [[1, 2], [2, 1]],
    "c_clip_text": 48,
    "c_clip_text_pooled": 24,
}
CASCADE_PLACES = [0, 2, 3, 5]  # of its six residual blocks, those that its net adds to


def sd3() -> Base:
    return base_of(
        "SD3", SD3_SHAPE, (1, 16, LATENT, LATENT), text=(6, 48), pooled_output=_noise(1, 32)
    )


def flux() -> Base:
    return base_of(
        "Flux",
        FLUX_SHAPE,
        (1, 16, LATENT, LATENT),
        text=(6, 48),
        pooled_output=_noise(1, 24),
        guidance=3.5,
    )


def flux2() -> Base:
    latent = (1, 128, LATENT, LATENT)
    return base_of("Flux2", FLUX2_SHAPE, latent, text=(6, 48), pooled_output=None, guidance=3.5)


def chroma() -> Base:
    return base_of(
        "Chroma", CHROMA_SHAPE, (1, 16, LATENT, LATENT), text=(6, 48), pooled_output=_noise(1, 24)
    )


def qwen() -> Base:
    return base_of(
        "QwenImage", QWEN_SHAPE, (1, 16, 1, LATENT, LATENT), text=(6, 48), pooled_output=None
    )


def hunyuan_dit() -> Base:
    import torch

    return base_of(
        "HunyuanDiT",
        HUNYUAN_SHAPE,
        (1, 4, LATENT, LATENT),
        text=(5, 48),
        pooled_output=None,
        attention_mask=torch.ones(1, 5, dtype=torch.long),
        conditioning_mt5xl=_noise(1, 7, 64),
        attention_mask_mt5xl=torch.ones(1, 7, dtype=torch.long),
    )


def cascade() -> Base:
    """Build Stable Cascade's stage C, which alone has nets; its latents are 32 pixels wide."""
    latent = (1, 16, LATENT, LATENT)
    return base_of(
        "Stable_Cascade_C", CASCADE_SHAPE, latent, text=(6, 48), pooled_output=_noise(1, 24)
    )


def sdxl() -> Base:
    """Build SDXL's topology: three levels, a pooled prompt and sizes in `y`."""
    pooled = _noise(1, 1280)
    return base_of(
        "SDXL", _sdxl_shape(), (1, 4, LATENT, LATENT), text=(7, 2048), pooled_output=pooled
    )


def sd15() -> Base:
    shape = _unet_shape(context_dim=768, use_temporal_attention=False)
    return base_of("SD15", shape, (1, 4, LATENT, LATENT), text=(7, 768), pooled_output=None)


def sd2() -> Base:
    return base_of("SD20", _sd2_shape(), (1, 4, LATENT, LATENT), text=(7, 1024), pooled_output=None)


def _unet_shape(**changes: Any) -> dict[str, Any]:
    from .tiny_family import family

    return {**family.TINY, **family.TINY_HEADS, "use_temporal_resblock": False, **changes}


def _sd2_shape() -> dict[str, Any]:
    return _unet_shape(
        context_dim=1024, use_linear_in_transformer=True, use_temporal_attention=False
    )


def _sdxl_shape() -> dict[str, Any]:
    return _unet_shape(
        channel_mult=[1, 2, 4],
        num_res_blocks=[2, 2, 2],
        transformer_depth=[0, 0, 1, 1, 1, 1],
        transformer_depth_output=[0, 0, 0, 1, 1, 1, 1, 1, 1],
        transformer_depth_middle=1,
        context_dim=2048,
        use_linear_in_transformer=True,
        use_temporal_attention=False,
        num_classes="sequential",
        adm_in_channels=2816,
    )


def base_of(
    name: str, shape: dict[str, Any], latent: tuple[int, ...], text: tuple[int, int], **options: Any
) -> Base:
    import comfy.model_management as management
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    # Without what ComfyUI adds for a checkpoint of this family (heads, attention precision),
    # which is for the full size.
    config_class = type(name, (getattr(comfy.supported_models, name),), {"unet_extra_config": {}})
    config = config_class(dict(shape))
    config.unet_config["dtype"] = torch.float32
    model = config.get_model({}, "", device=torch.device("cpu"))
    filled(model.diffusion_model, 1)
    patcher = comfy.model_patcher.ModelPatcher(
        model,
        load_device=management.get_torch_device(),
        offload_device=management.unet_offload_device(),
    )
    prompts = [[[_noise(1, *text, seed=seed), dict(options)]] for seed in (1, 2)]
    return Base(patcher, *prompts, latent, TinyVAE(latent[1], len(latent)))


def _noise(*shape: int, seed: int = 0) -> Any:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(module: Any, seed: int) -> Any:
    from .tiny_family import family

    family.fill(module, seed)
    for key, weight in module.state_dict().items():
        if key.endswith(("scale", "running_var")) and weight.dim() == 1:
            # A norm's scale (some versions do not call it its weight), or its running variance.
            weight.fill_(1.0)
    return module


def _empty() -> dict[str, Any]:
    import comfy.ops
    import torch

    return {"dtype": torch.float32, "device": "cpu", "operations": comfy.ops.disable_weight_init}


# -- nets, wrapped as the host's loader wraps them -------------------------------------------------


def _wrapped(module: Any, seed: int, kind: str = "ControlNet", **options: Any) -> Any:
    import comfy.controlnet
    import comfy.model_management

    device = comfy.model_management.get_torch_device()
    return getattr(comfy.controlnet, kind)(filled(module, seed), load_device=device, **options)


def _latents(name: str) -> Any:
    import comfy.latent_formats

    return getattr(comfy.latent_formats, name)()


def sd3_net(seed: int = 20, channels: int = 16) -> Any:
    import comfy.cldm.mmdit

    module = comfy.cldm.mmdit.ControlNet(
        num_blocks=2, control_latent_channels=channels, **SD3_SHAPE, **_empty()
    )
    latents = _latents("SD3")
    latents.shift_factor = 0
    return _wrapped(
        module, seed, compression_ratio=1, latent_format=latents, concat_mask=channels == 17
    )


def sd35_net(seed: int = 21, *, double: bool = False) -> Any:
    """Build an SD3.5 net.

    With `double` as its depth net: the base's own embedding of the prompt, and an inverted hint.
    """
    import comfy.cldm.dit_embedder

    module = comfy.cldm.dit_embedder.ControlNetEmbedder(
        img_size=None,
        patch_size=2,
        in_chans=16,
        num_layers=2,
        main_model_double=4,
        double_y_emb=double,
        attention_head_dim=64,
        num_attention_heads=4,
        adm_in_channels=32,
        **_empty(),
    )
    options = {"preprocess_image": lambda hint: 1.0 - hint} if double else {}
    return _wrapped(
        module,
        seed,
        "ControlNetSD35",
        compression_ratio=1,
        latent_format=_latents("SD3"),
        **options,
    )


def _flux_module(**changes: Any) -> Any:
    import comfy.ldm.flux.controlnet

    return comfy.ldm.flux.controlnet.ControlNetFlux(**{**FLUX_SHAPE, **changes}, **_empty())


def xlabs_net(seed: int = 22) -> Any:
    return _wrapped(_flux_module(depth_single_blocks=0), seed, extra_conds=["y", "guidance"])


def mistoline_net(seed: int = 23) -> Any:
    return _wrapped(
        _flux_module(depth_single_blocks=0, mistoline=True), seed, extra_conds=["y", "guidance"]
    )


def instantx_net(seed: int = 24, *, channels: int = 16, modes: int = 0, **shape: Any) -> Any:
    module = _flux_module(
        latent_input=True, num_union_modes=modes, control_latent_channels=channels, **shape
    )
    options = {
        "compression_ratio": 1,
        "latent_format": _latents("Flux"),
        "extra_conds": ["y", "guidance"],
    }
    return _wrapped(module, seed, concat_mask=channels == 17, **options)


def flux2_fun_weights(width: int = 64, head: int = 32, channels: int = 260) -> dict[str, Any]:
    """Return the weights of a Fun net for Flux 2, of two blocks, with the published file's keys."""
    import torch

    inner, blocks = 3 * width, "control_transformer_blocks"
    linear = {"to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"}
    linear |= {"to_out.0", "to_add_out"}
    shapes: dict[str, tuple[int, ...]] = {"control_img_in.weight": (width, channels)}
    shapes["control_img_in.bias"] = (width,)
    for i in range(2):
        of = f"{blocks}.{i}"
        shapes |= {f"{of}.attn.{name}.weight": (width, width) for name in sorted(linear)}
        norms = ("norm_q", "norm_k", "norm_added_q", "norm_added_k")
        shapes |= {f"{of}.attn.{name}.weight": (head,) for name in norms}
        for part in ("ff", "ff_context"):
            shapes[f"{of}.{part}.linear_in.weight"] = (2 * inner, width)
            shapes[f"{of}.{part}.linear_out.weight"] = (width, inner)
        for part in ("before_proj", "after_proj")[i:]:
            shapes[f"{of}.{part}.weight"], shapes[f"{of}.{part}.bias"] = (width, width), (width,)
    generator = torch.Generator().manual_seed(32)
    return {
        key: torch.randn(*shape, generator=generator) * (1.0 if len(shape) == 1 else 0.2)
        for key, shape in shapes.items()
    }


def flux2_fun() -> Any:
    """Build our own control object; ComfyUI has no class for this net. The pack is `pack`."""
    from pack.control.flux2_fun import flux2_fun_net

    return flux2_fun_net(flux2_fun_weights())


def qwen_net(seed: int = 25, *, mask: bool = False, **more: Any) -> Any:
    import comfy.ldm.qwen_image.controlnet

    shape = {**QWEN_SHAPE, "num_layers": 2, **more}
    net = comfy.ldm.qwen_image.controlnet.QwenImageControlNetModel
    module = net(extra_condition_channels=4 if mask else 0, **shape, **_empty())
    options = {"compression_ratio": 1, "latent_format": _latents("Wan21"), "extra_conds": []}
    return _wrapped(module, seed, concat_mask=mask, **options)


def qwen_fun_net(seed: int = 26) -> Any:
    import comfy.ldm.qwen_image.controlnet

    module = comfy.ldm.qwen_image.controlnet.QwenImageFunControlNetModel(
        inner_dim=64,
        num_attention_heads=2,
        attention_head_dim=32,
        num_control_blocks=2,
        injection_layers=(0, 2),
        **_empty(),
    )
    options = {"compression_ratio": 1, "latent_format": _latents("Wan21"), "extra_conds": []}
    return _wrapped(module, seed, "QwenFunControlNet", **options)


def hunyuan_net(seed: int = 27) -> Any:
    import comfy.ldm.hydit.controlnet

    module = comfy.ldm.hydit.controlnet.HunYuanControlNet(**HUNYUAN_SHAPE, **_empty())
    conds = [
        "text_embedding_mask",
        "encoder_hidden_states_t5",
        "text_embedding_mask_t5",
        "image_meta_size",
        "style",
    ]
    options = {"compression_ratio": 1, "latent_format": _latents("SDXL"), "extra_conds": conds}
    return _wrapped(module, seed, **options)


def _unet_net(shape: dict[str, Any], seed: int) -> Any:
    import comfy.cldm.cldm

    from .tiny_family import family

    config = {**family.net_shape(shape), **_empty()}
    return _wrapped(comfy.cldm.cldm.ControlNet(**config, hint_channels=3), seed)


def sdxl_net(seed: int = 28) -> Any:
    return _unet_net(_sdxl_shape(), seed)


def sd2_net(seed: int = 29) -> Any:
    return _unet_net(_sd2_shape(), seed)


def t2i_net(seed: int = 30, *, xl: bool = False, light: bool = False) -> Any:
    """Build a T2I-Adapter at 32 channels, for the tiny SD1.5 or SDXL."""
    import comfy.controlnet
    import comfy.t2i_adapter.adapter as t2i

    if light:
        module = t2i.Adapter_light(cin=192, channels=[32, 64, 128, 128], nums_rb=4)
    else:
        widths, cin = [32, 64, 128, 128], 768 if xl else 192
        module = t2i.Adapter(
            cin=cin, channels=widths, nums_rb=2, ksize=1, sk=True, use_conv=False, xl=xl
        )
    return comfy.controlnet.T2IAdapter(
        filled(module, seed), module.input_channels, 8, "nearest-exact"
    )


def cascade_net(seed: int = 31) -> Any:
    """Build a net with the published EfficientNet and narrow heads.

    Its class has no smaller EfficientNet: 20 million weights.
    """
    import comfy.controlnet
    import comfy.ldm.cascade.controlnet

    width = CASCADE_SHAPE["c_hidden"][0]
    module = comfy.ldm.cascade.controlnet.ControlNet(c_proj=width, proj_blocks=CASCADE_PLACES)
    return comfy.controlnet.T2IAdapter(filled(module, seed), module.input_channels, 32, "bilinear")


BASES: dict[str, Callable[[], Base]] = {
    "sd2": sd2,
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "chroma": chroma,
    "qwen": qwen,
    "hunyuan_dit": hunyuan_dit,
    "cascade": cascade,
    "flux2": flux2,
}
# Family → the base that it acts on, and its net.
NETS: dict[str, tuple[str, Callable[[], Any]]] = {
    "SD2": ("sd2", sd2_net),
    "SDXL": ("sdxl", sdxl_net),
    "T2I-Adapter XL": ("sdxl", lambda: t2i_net(xl=True)),
    "T2I-Adapter light": ("sd2", lambda: t2i_net(light=True)),
    "SD3": ("sd3", sd3_net),
    "SD3 inpainting": ("sd3", lambda: sd3_net(channels=17)),
    "SD3.5": ("sd3", sd35_net),
    "SD3.5 depth": ("sd3", lambda: sd35_net(double=True)),
    "XLabs": ("flux", xlabs_net),
    "MistoLine": ("flux", mistoline_net),
    "InstantX": ("flux", instantx_net),
    "Flux union": ("flux", lambda: instantx_net(modes=10)),
    "Flux inpainting": ("flux", lambda: instantx_net(channels=17)),
    "InstantX on Chroma": ("chroma", instantx_net),
    "Qwen-Image": ("qwen", qwen_net),
    "Qwen-Image inpainting": ("qwen", lambda: qwen_net(mask=True)),
    "Qwen-Image Fun": ("qwen", qwen_fun_net),
    "HunyuanDiT": ("hunyuan_dit", hunyuan_net),
    "Stable Cascade": ("cascade", cascade_net),
    "Flux 2 Fun": ("flux2", flux2_fun),
}
