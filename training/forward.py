"""Net and base for one loss, written out: the host's forward adds residuals in place and keeps
every activation.

The arithmetic is the host's own (its blocks are called, its order kept), which a test holds equal.
Blocks may be run again in the backward pass instead of being remembered (gradient checkpointing).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.ldm.modules.attention
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import forward_timestep_embed
from comfy.ldm.modules.diffusionmodules.util import timestep_embedding
from torch.utils.checkpoint import checkpoint

Block = Callable[..., torch.Tensor]


def _attention(_: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Torch's attention, which has a gradient; some that the host chooses from work in place."""
    return comfy.ldm.modules.attention.attention_pytorch(*args, **kwargs)


def _options() -> dict[str, Any]:
    return {"optimized_attention_override": _attention}


def _run(module: Any, h: Any, emb: Any, context: Any, shape: Any = None) -> torch.Tensor:
    return forward_timestep_embed(module, h, emb, context, _options(), shape)


def _run_twice(module: Any, *args: Any) -> torch.Tensor:
    """The same, remembering its inputs alone; there is nothing random in a block."""
    return checkpoint(_run, module, *args, use_reentrant=False, preserve_rng_state=False)  # type: ignore[return-value]


def _time(
    module: Any, timesteps: torch.Tensor, y: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    emb = module.time_embed(
        timestep_embedding(timesteps, module.model_channels, repeat_only=False).to(dtype)
    )
    return emb if module.num_classes is None or y is None else emb + module.label_emb(y)


def residuals(
    net: Any,
    x: torch.Tensor,
    hint: torch.Tensor,
    timesteps: torch.Tensor,
    context: torch.Tensor,
    y: torch.Tensor | None,
    *,
    checkpointing: bool = False,
) -> list[torch.Tensor]:
    """One residual (B,C,h,w) a skip connection, input to output order, and the middle block's last.

    x (B,4,h,w) as the net sees it, hint (B,3,8h,8w) in [0,1], timesteps (B,), context (B,T,C), y
    (B,D) for SDXL.
    """
    run: Block = _run_twice if checkpointing else _run
    emb = _time(net, timesteps, y, x.dtype)
    h, out = x, []
    for index, (block, zero) in enumerate(zip(net.input_blocks, net.zero_convs, strict=True)):
        h = run(block, h, emb, context)
        if index == 0:
            h = h + run(net.input_hint_block, hint, emb, context)
        out.append(_run(zero, h, emb, context))
    h = run(net.middle_block, h, emb, context)
    return [*out, _run(net.middle_block_out, h, emb, context)]


def prediction(
    unet: Any,
    x: torch.Tensor,
    timesteps: torch.Tensor,
    context: torch.Tensor,
    y: torch.Tensor | None,
    control: list[torch.Tensor],
    *,
    checkpointing: bool = False,
) -> torch.Tensor:
    """What the base says with the residuals added, (B,4,h,w). Its encoder is behind them and
    remembers nothing.
    """
    run: Block = _run_twice if checkpointing else _run
    *outputs, middle = control
    with torch.no_grad():
        emb = _time(unet, timesteps, y, x.dtype)
        h, skips = x, []
        for block in unet.input_blocks:
            h = _run(block, h, emb, context)
            skips.append(h)
        h = _run(unet.middle_block, h, emb, context)
    h = h + middle
    for block in unet.output_blocks:
        skip = skips.pop() + outputs.pop()
        shape = skips[-1].shape if skips else None
        h = run(block, torch.cat([h, skip], dim=1), emb, context, shape)
    return unet.out(h.type(x.dtype))
