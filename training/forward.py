"""Run net and base for one loss, written out.

ComfyUI's own forward adds residuals in place and keeps every activation. The arithmetic here is
its own (its blocks are called in its order), and a test compares the two to the bit. Blocks may be
computed again in the backward pass instead of being remembered (gradient checkpointing).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.ldm.modules.attention
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import forward_timestep_embed
from comfy.ldm.modules.diffusionmodules.util import timestep_embedding
from torch import Tensor
from torch.utils.checkpoint import checkpoint

RunBlock = Callable[..., Tensor]


def _attention(_: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Call torch's attention, which has a gradient; some of ComfyUI's choices work in place."""
    return comfy.ldm.modules.attention.attention_pytorch(*args, **kwargs)


def _run_block(module: Any, h: Any, emb: Any, context: Any, shape: Any = None) -> Tensor:
    options = {"optimized_attention_override": _attention}
    return forward_timestep_embed(module, h, emb, context, options, shape)


def _run_checkpointed(module: Any, *args: Any) -> Tensor:
    # No random state to preserve: a block has no dropout.
    output = checkpoint(_run_block, module, *args, use_reentrant=False, preserve_rng_state=False)
    return output  # type: ignore[return-value]


def _embed_time(module: Any, timesteps: Tensor, y: Tensor | None, dtype: torch.dtype) -> Tensor:
    wave = timestep_embedding(timesteps, module.model_channels, repeat_only=False)
    emb = module.time_embed(wave.to(dtype))
    return emb if module.num_classes is None or y is None else emb + module.label_emb(y)


def residuals(
    net: Any,
    x: Tensor,
    hint: Tensor,
    timesteps: Tensor,
    context: Tensor,
    y: Tensor | None,
    *,
    checkpointing: bool = False,
) -> list[Tensor]:
    """Compute one residual (B,C,h,w) per skip connection in input order, then the middle block's.

    x (B,4,h,w) as the net reads it, hint (B,3,8h,8w) in [0,1], timesteps (B,), context (B,T,C), y
    (B,D) for SDXL.
    """
    run: RunBlock = _run_checkpointed if checkpointing else _run_block
    emb = _embed_time(net, timesteps, y, x.dtype)
    h, outputs = x, []
    for index, (block, zero) in enumerate(zip(net.input_blocks, net.zero_convs, strict=True)):
        h = run(block, h, emb, context)
        if index == 0:
            h = h + run(net.input_hint_block, hint, emb, context)
        outputs.append(_run_block(zero, h, emb, context))
    h = run(net.middle_block, h, emb, context)
    return [*outputs, _run_block(net.middle_block_out, h, emb, context)]


def prediction(
    unet: Any,
    x: Tensor,
    timesteps: Tensor,
    context: Tensor,
    y: Tensor | None,
    control: list[Tensor],
    *,
    checkpointing: bool = False,
) -> Tensor:
    """Compute the base's output (B,4,h,w) with the residuals added.

    The encoder comes before them, so it needs no gradient and remembers no activation.
    """
    run: RunBlock = _run_checkpointed if checkpointing else _run_block
    *outputs, middle = control
    with torch.no_grad():
        emb = _embed_time(unet, timesteps, y, x.dtype)
        h, skips = x, []
        for block in unet.input_blocks:
            h = _run_block(block, h, emb, context)
            skips.append(h)
        h = _run_block(unet.middle_block, h, emb, context)
    h = h + middle
    for block in unet.output_blocks:
        skip = skips.pop() + outputs.pop()
        shape = skips[-1].shape if skips else None
        h = run(block, torch.cat([h, skip], dim=1), emb, context, shape)
    return unet.out(h.type(x.dtype))
