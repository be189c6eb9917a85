"""Bases and nets for transformers, in the widths of the published ones but with few blocks.

Flux with InstantX's net, Qwen-Image with InstantX's, Z-Image with a Fun net, whose rival is
ComfyUI's own node for it. Weights are random, so only time, memory and equality mean something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

LATENT = (16, 16)
STEPS = 2
Chain = tuple[list[Any], list[Any], Any]  # positive, negative, model


@dataclass(frozen=True)
class Shape:
    """Sizes of a base and its net: of the published ones, or small ones for a trial.

    `base`, `net`: what differs from the tiny base's and net's shapes; `text`: tokens and width of
    the prompt; `pooled`: width of the prompt's pooled embedding, 0 for none.
    """

    base: Mapping[str, Any]
    net: Mapping[str, Any]
    text: tuple[int, int]
    pooled: int = 0


FLUX = {
    "hidden_size": 3072,
    "num_heads": 24,
    "mlp_ratio": 4.0,
    "axes_dim": [16, 56, 56],
    "vec_in_dim": 768,
    "context_in_dim": 4096,
}
QWEN = {
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "joint_attention_dim": 3584,
    "axes_dims_rope": (16, 56, 56),
}
Z_IMAGE = {"dim": 3840, "n_heads": 30, "n_kv_heads": 30, "ffn_dim_multiplier": 8 / 3}
Z_IMAGE_BASE = {**Z_IMAGE, "axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512]}
SHAPES: Mapping[str, Mapping[bool, Shape]] = {
    "Flux": {
        True: Shape({}, {}, (6, 48), 24),
        False: Shape(
            {**FLUX, "depth": 1, "depth_single_blocks": 2},
            {**FLUX, "depth": 1, "depth_single_blocks": 1},
            (64, 4096),
            768,
        ),
    },
    "Qwen-Image": {
        True: Shape({}, {}, (6, 48)),
        False: Shape({**QWEN, "num_layers": 2}, {**QWEN, "num_layers": 1}, (64, 3584)),
    },
    "Z-Image": {
        True: Shape({}, {"layers": 6}, (6, 48)),
        False: Shape(
            {**Z_IMAGE_BASE, "n_layers": 2, "n_refiner_layers": 1, "cap_feat_dim": 2560},
            {**Z_IMAGE, "layers": 1},  # ComfyUI's patch begins anew only behind its last layer
            (64, 2560),
        ),
    },
}


@dataclass(frozen=True)
class TransformerBench:
    """A base with its net, and how chains on it are made and sampled."""

    base: Any
    net: Any
    hint: torch.Tensor
    by_node: Callable[[Any, torch.Tensor], Chain]
    first: torch.nn.Module  # block of the net

    def our_chain(self, mode: str) -> Chain:
        from pack.nodes.apply import Add, Apply

        stack = Add.execute(self.net, self.hint, strength=0.8, mode=mode, **_TEXTS)[0]
        model = self.base.patcher
        out = Apply.execute(
            self.base.positive, stack, self.base.negative, vae=self.base.vae, model=model
        )
        return out[0], out[1], model

    def host_chain(self) -> Chain:
        return self.by_node(self.base, self.hint)

    def sample(self, chain: Chain) -> torch.Tensor:
        import nodes

        latent = {"samples": torch.zeros(1, *self.base.latent[1:-2], *LATENT)}
        settings = (7, STEPS, 5.0, "euler", "simple")
        return nodes.common_ksampler(chain[2], *settings, *chain[:2], latent)[0]["samples"]


_TEXTS = {
    "fit": "crop",
    "schedule": "",
    "layers": "",
    "start_percent": 0.0,
    "end_percent": 1.0,
}


def bench_of(name: str, *, is_small: bool) -> TransformerBench:
    """Build a base and its net; 4 to 7 GB in the published widths."""
    shape = SHAPES[name][is_small]
    side = 8 * LATENT[0]
    hint = torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(3))
    return BUILDERS[name](shape, hint)


def _base(kind: str, tiny: Mapping[str, Any], shape: Shape, frames: int, **more: Any) -> Any:
    from workbench import tiny_bases

    pooled = torch.randn(1, shape.pooled) if shape.pooled else None
    latent = (1, 16, *((1,) if frames else ()), *LATENT)
    whole = {**tiny, **shape.base}
    return tiny_bases.base_of(kind, whole, latent, text=shape.text, pooled_output=pooled, **more)


def _flux(shape: Shape, hint: torch.Tensor) -> TransformerBench:
    from workbench import tiny_bases

    base = _base("Flux", tiny_bases.FLUX_SHAPE, shape, 0, guidance=3.5)
    net = tiny_bases.instantx_net(24, **shape.net)
    first = net.control_model.double_blocks[0]
    return TransformerBench(base, net, hint, partial(_by_apply, net), first)


def _qwen(shape: Shape, hint: torch.Tensor) -> TransformerBench:
    from workbench import tiny_bases

    base = _base("QwenImage", tiny_bases.QWEN_SHAPE, shape, 1)
    net = tiny_bases.qwen_net(25, **shape.net)
    first = net.control_model.transformer_blocks[0]
    return TransformerBench(base, net, hint, partial(_by_apply, net), first)


def _z_image(shape: Shape, hint: torch.Tensor) -> TransformerBench:
    from pack.control.patches import net_of
    from workbench import tiny_patches

    base = _base("ZImage", tiny_patches.Z_IMAGE_SHAPE, shape, 0)
    patcher = tiny_patches.z_image_fun(40, **shape.net)
    first, by_node = patcher.model.control_layers[0], partial(_by_model_patch, patcher)
    return TransformerBench(base, net_of(patcher), hint, by_node, first)


def _by_apply(net: Any, base: Any, hint: torch.Tensor) -> Chain:
    import nodes

    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    sides = apply(base.positive, base.negative, net, hint, 0.8, 0.0, 1.0, base.vae)
    return (*sides, base.patcher)


def _by_model_patch(patcher: Any, base: Any, hint: torch.Tensor) -> Chain:
    from comfy_extras.nodes_model_patch import ZImageFunControlnet

    node = ZImageFunControlnet().diffsynth_controlnet
    model = node(base.patcher, patcher, base.vae, strength=0.8, image=hint)[0]
    return base.positive, base.negative, model


BUILDERS: Mapping[str, Callable[[Shape, torch.Tensor], TransformerBench]] = {
    "Flux": _flux,
    "Qwen-Image": _qwen,
    "Z-Image": _z_image,
}
