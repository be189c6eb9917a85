"""Sample a tiny base model with a net of its family, through ComfyUI's own nodes and through ours.

`inprocess.open_host` comes first, and the pack is loaded as `pack`.
"""

from __future__ import annotations

import inspect
from typing import Any

from .tiny_bases import Base

STEPS = 3


def hint(seed: int = 0, batch: int = 1, height: int = 64, width: int = 64) -> Any:
    """Return random pictures, (B,H,W,3)."""
    import torch

    return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(seed))


def sample(
    base: Base,
    chain: Any,
    batch: int = 1,
    cfg: float = 5.0,
    *,
    size: tuple[int, int] | None = None,
    patcher: Any = None,
    steps: int = STEPS,
) -> Any:
    """Return the latents that KSampler gives for a (positive, negative)."""
    import torch

    import nodes

    latent = {"samples": torch.zeros(batch, *base.latent[1:-2], *(size or base.latent[-2:]))}
    settings = (7, steps, cfg, "euler", "simple")
    out = nodes.common_ksampler(patcher or base.patcher, *settings, *chain, latent)
    image = out[0]["samples"]
    assert image.isfinite().all()
    return image


def plain(base: Base) -> Any:
    """Return (positive, negative) without control."""
    return base.positive, base.negative


def host(
    base: Base,
    net: Any,
    image: Any = None,
    strength: float = 0.7,
    start: float = 0.0,
    end: float = 1.0,
    chain: Any = None,
) -> Any:
    """Apply a net by ComfyUI's own node."""
    import nodes

    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    image = hint() if image is None else image
    return apply(*(chain or plain(base)), net, image, strength, start, end, base.vae)


def ours(
    base: Base,
    net: Any,
    image: Any = None,
    strength: float = 0.7,
    start: float = 0.0,
    end: float = 1.0,
    chain: Any = None,
    **more: Any,
) -> Any:
    """Apply a net by our Add and Apply nodes."""
    from pack.nodes.apply import Add, Apply

    image = hint() if image is None else image
    if getattr(net, "concat_mask", False):
        # ComfyUI takes an inpainting net without a mask: nothing is painted.
        more.setdefault("inpaint_mask", image.new_zeros(image.shape[1:3]))
    interval = {"start_percent": start, "end_percent": end}
    texts = {"mode": "balanced", "fit": "crop", "schedule": "", "layers": ""}
    stack = Add.execute(net, image, strength=strength, **{**texts, **interval, **more})[0]
    positive, negative = chain or plain(base)
    out = Apply.execute(positive, stack, negative, vae=base.vae, model=base.patcher)
    return out[0], out[1]


def in_windows(model: Any, **settings: Any) -> Any:
    """Return a model with ComfyUI's Context Windows node, as it comes but for these settings."""
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    plain_settings = {
        "context_length": 8,
        "context_overlap": 3,
        "context_schedule": "standard_static",
        "context_stride": 1,
        "closed_loop": False,
        "fuse_method": "pyramid",
        "dim": 0,
        "freenoise": False,
    }
    inputs = inspect.signature(ContextWindowsManualNode.execute).parameters
    chosen = {k: v for k, v in {**plain_settings, **settings}.items() if k in inputs}
    return ContextWindowsManualNode.execute(model, **chosen)[0]


def frames_by_hand(options: Any, rows: int) -> list[int]:
    """Return which frames a window shows, the frame before it included."""
    window = options["context_window"]
    before = getattr(window, "causal_anchor_index", None)
    frames = [*([] if before is None or before < 0 else [before]), *window.index_list]
    assert len(frames) == rows
    return frames
