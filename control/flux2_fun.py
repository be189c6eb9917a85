"""The Fun ControlNet for Flux 2, a net of residuals that ComfyUI has no class for.

Its branch of transformer blocks reads what the base model's first block reads: embedded tokens of
the latent and the prompt, and the modulation by time and guidance. Each of its blocks adds to one
of the base's double blocks. Source: VideoX-Fun (alibaba-pai), FLUX.2-dev-Fun-Controlnet-Union.
"""

# ComfyUI has no types, so strict checking would only list its names.
# pyright: basic, reportMissingImports=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import comfy.controlnet
import comfy.latent_formats
import comfy.model_management
import comfy.ops
import comfy.utils
import torch
from comfy.ldm.flux.layers import timestep_embedding
from comfy.ldm.flux.math import attention
from torch import nn
from torch.nn import functional

from .layouts import PIXEL_TOKENS, Layout

# What the branch shares with the base, and what is not to be painted.
OWN_ARGS = ("base_model", "timestep", "transformer_options", "unpainted")
EPS = 1e-6
SUBCELLS = 2  # of a place, along each side
Shapes = Mapping[str, torch.Tensor]


class _Norm(nn.Module):
    def __init__(self, width: int, **how: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, **how), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight.to(x), EPS)


class _FeedForward(nn.Module):
    def __init__(self, width: int, inner: int, operations: Any, **how: Any) -> None:
        super().__init__()
        self.linear_in = operations.Linear(width, 2 * inner, bias=False, **how)
        self.linear_out = operations.Linear(inner, width, bias=False, **how)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.linear_in(x).chunk(2, -1)
        return self.linear_out(functional.silu(gate) * value)


class _Attention(nn.Module):
    """One attention over the prompt's tokens and then the picture's."""

    to_q: Any
    to_k: Any
    to_v: Any
    add_q_proj: Any
    add_k_proj: Any
    add_v_proj: Any
    norm_q: Any
    norm_k: Any
    norm_added_q: Any
    norm_added_k: Any

    def __init__(self, width: int, head: int, operations: Any, **how: Any) -> None:
        super().__init__()
        self.heads = width // head
        for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"):
            setattr(self, name, operations.Linear(width, width, bias=False, **how))
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            setattr(self, name, _Norm(head, **how))
        self.to_out = nn.ModuleList([operations.Linear(width, width, bias=False, **how)])
        self.to_add_out = operations.Linear(width, width, bias=False, **how)

    def forward(self, img: torch.Tensor, txt: torch.Tensor, pe: torch.Tensor) -> Any:
        """Attend: (B,tokens,C) and (B,words,C) → the same two."""

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q = torch.cat(
            [self.norm_added_q(split(self.add_q_proj(txt))), self.norm_q(split(self.to_q(img)))], 2
        )
        k = torch.cat(
            [self.norm_added_k(split(self.add_k_proj(txt))), self.norm_k(split(self.to_k(img)))], 2
        )
        v = torch.cat([split(self.add_v_proj(txt)), split(self.to_v(img))], 2)
        out = attention(q.to(v), k.to(v), v, pe=pe)
        words = txt.shape[1]
        return self.to_out[0](out[:, words:]), self.to_add_out(out[:, :words])


class _Block(nn.Module):
    def __init__(
        self, width: int, head: int, inner: int, *, is_first: bool, operations: Any, **how: Any
    ) -> None:
        super().__init__()
        self.attn = _Attention(width, head, operations, **how)
        self.ff = _FeedForward(width, inner, operations, **how)
        self.ff_context = _FeedForward(width, inner, operations, **how)
        if is_first:
            self.before_proj = operations.Linear(width, width, **how)
        self.after_proj = operations.Linear(width, width, **how)

    def forward(self, img: torch.Tensor, txt: torch.Tensor, modulation: Any, pe: Any) -> Any:
        """Run the block on the picture's tokens and the prompt's, as the base's own blocks run."""
        (img1, img2), (txt1, txt2) = modulation
        img_out, txt_out = self.attn(_modulated(img, img1), _modulated(txt, txt1), pe)
        img = img + img1.gate * img_out
        txt = txt + txt1.gate * txt_out
        img = img + img2.gate * self.ff(_modulated(img, img2))
        return img, txt + txt2.gate * self.ff_context(_modulated(txt, txt2))


def _modulated(x: torch.Tensor, modulation: Any) -> torch.Tensor:
    normed = functional.layer_norm(x, x.shape[-1:], eps=EPS)
    return torch.addcmul(modulation.shift, normed, 1 + modulation.scale)


class Flux2FunControl(nn.Module):
    """The branch, with the keys of the published file.

    Raises KeyError where the weights lack one that tells its size.
    """

    def __init__(self, weights: Shapes, operations: Any, **how: Any) -> None:
        super().__init__()
        width, channels = weights["control_img_in.weight"].shape
        first = "control_transformer_blocks.0"
        head = weights[f"{first}.attn.norm_q.weight"].shape[0]
        inner = weights[f"{first}.ff.linear_out.weight"].shape[1]
        count = sum(key.endswith(".after_proj.weight") for key in weights)
        self.dtype, self.channels = how.get("dtype"), channels
        self.control_img_in = operations.Linear(channels, width, **how)
        self.control_transformer_blocks = nn.ModuleList(
            _Block(width, head, inner, is_first=i == 0, operations=operations, **how)
            for i in range(count)
        )

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor,
        hint: torch.Tensor,
        base_model: Any,
        guidance: torch.Tensor | None = None,
        timestep: torch.Tensor | None = None,
        transformer_options: Mapping[str, Any] | None = None,
        unpainted: torch.Tensor | None = None,
        **_: Any,
    ) -> dict[str, list[Any]]:
        """Return the residuals: x and hint (B,C,h,w), context (B,words,D) → (B,h*w,C) each.

        `timestep`: the same as `timesteps`, before it was rounded to the net's type. `unpainted`:
        (B,4,h,w) in {0,1}, with which the hint is the picture to inpaint.
        """
        time = timesteps if timestep is None else timestep
        options = dict(transformer_options or {})
        img, txt, modulation, pe = _as_the_base_begins(
            base_model, x, time, context, guidance, options
        )
        # The hint, what is not to be painted, and the picture to inpaint; zero where there is none.
        if unpainted is not None:
            unpainted = unpainted.to(hint).expand(hint.shape[0], -1, -1, -1)
            hint = torch.cat([torch.zeros_like(hint), unpainted, hint], dim=1)
        tokens = hint.flatten(2).transpose(1, 2)
        tokens = functional.pad(tokens, (0, self.channels - tokens.shape[-1]))
        blocks: Any = self.control_transformer_blocks
        control = blocks[0].before_proj(self.control_img_in(tokens)) + img
        count = len(base_model.double_blocks)
        places: list[Any] = [None] * count
        for i, block in enumerate(blocks):
            control, txt = block(control, txt, modulation, pe)
            places[i * count // len(blocks)] = block.after_proj(control)
        return {"input": places}


def _as_the_base_begins(
    base: Any, x: Any, time: Any, context: Any, guidance: Any, options: dict[str, Any]
) -> tuple[Any, ...]:
    """Embed as the base model does: tokens, the prompt's tokens, modulation, and positions."""
    img, img_ids = base.process_img(x, transformer_options=options)
    img = base.img_in(img)
    vec = base.time_in(timestep_embedding(time, 256).to(img.dtype))
    if base.params.guidance_embed and guidance is not None:
        vec = vec + base.guidance_in(timestep_embedding(guidance, 256).to(img.dtype))
    txt = context if base.txt_norm is None else base.txt_norm(context)
    txt_ids = img_ids.new_zeros((x.shape[0], context.shape[1], img_ids.shape[-1]))
    for axis in base.params.txt_ids_dims:
        txt_ids[:, :, axis] = torch.arange(context.shape[1], device=x.device)
    pe = base.pe_embedder(torch.cat((txt_ids, img_ids), dim=1))
    modulation = base.double_stream_modulation_img(vec), base.double_stream_modulation_txt(vec)
    return img, base.txt_in(txt), modulation, pe


class Flux2FunNet(comfy.controlnet.ControlNet):
    """The net as ComfyUI's control object, which runs it as every other that encodes its hint."""

    inpaint_value = 0.5
    """The picture's value in the area to inpaint, as the net was trained."""

    @property
    def layout(self) -> Layout:
        """How masks and layers meet the net."""
        latents = comfy.latent_formats.Flux2.latent_channels
        takes_mask = self.control_model.channels == latents + SUBCELLS**2 + latents
        return replace(PIXEL_TOKENS, takes_inpaint_value=takes_mask)

    def get_control(
        self, x_noisy: Any, t: Any, cond: Any, batched_number: int, transformer_options: Any
    ) -> Any:
        """Return the residuals of this net and those before it, as ComfyUI's class does."""
        if self.model_sampling_current is not None:
            self.set_extra_arg("timestep", self.model_sampling_current.timestep(t).float())
        self.set_extra_arg("transformer_options", transformer_options)
        masks, self.extra_concat_orig = self.extra_concat_orig, []  # ComfyUI would add one channel
        self.set_extra_arg("unpainted", _of_cells(masks, x_noisy, batched_number))
        try:
            return super().get_control(x_noisy, t, cond, batched_number, transformer_options)
        finally:
            self.extra_concat_orig = masks

    def pre_run(self, model: Any, percent_to_timestep_function: Any) -> None:
        """Start a run on a base model."""
        super().pre_run(model, percent_to_timestep_function)
        self.set_extra_arg("base_model", model.diffusion_model)

    def cleanup(self) -> None:
        """Release what the run kept, the base model among it."""
        for name in OWN_ARGS:
            self.extra_args.pop(name, None)
        super().cleanup()

    def copy(self) -> Flux2FunNet:
        """Copy the net with its hint; the weights are shared."""
        twin = Flux2FunNet(
            None, load_device=self.load_device, manual_cast_dtype=self.manual_cast_dtype
        )
        twin.control_model = self.control_model
        twin.control_model_wrapped = self.control_model_wrapped
        self.copy_to(twin)
        return twin


def _of_cells(masks: Any, x: torch.Tensor, conditionings: int) -> torch.Tensor | None:
    """Read the mask of what is not to be painted, (B,1,H,W), at 2 x 2 points of each place."""
    if not masks:
        return None
    height, width = (SUBCELLS * side for side in x.shape[-2:])
    points = comfy.utils.common_upscale(masks[0], width, height, "nearest", "center")
    points = functional.pixel_unshuffle((points >= 0.5).float(), SUBCELLS).to(x.device)
    return comfy.controlnet.broadcast_image_to(points, x.shape[0], conditionings)


def flux2_fun_net(weights: dict[str, torch.Tensor]) -> Flux2FunNet:
    """Build the control object from its file's weights.

    Raises KeyError or RuntimeError where they are not those of such a net.
    """
    management, dtype = comfy.model_management, comfy.utils.weight_dtype(weights)
    device, offload = management.get_torch_device(), management.unet_offload_device()
    cast = management.unet_manual_cast(dtype, device)
    operations = comfy.ops.pick_operations(dtype, cast)
    module = Flux2FunControl(weights, operations, dtype=dtype, device=offload)
    module.load_state_dict(weights)
    return Flux2FunNet(
        module.eval(),
        compression_ratio=1,
        latent_format=comfy.latent_formats.Flux2(),
        load_device=device,
        manual_cast_dtype=cast,
        extra_conds=["guidance"],
    )
