"""Make models for tests and benchmarks in this process from random weights.

No file, no server, no CLIP. `inprocess.open_host` comes first: the builders import ComfyUI when
they are called. Tiny ones have SD1.5's topology at 32 channels (some 10 ms a step on a CPU); full
ones have SD1.5's own shapes (3.4 GB a UNet, 1.4 GB a ControlNet).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

FAMILY = Path(__file__).with_name("tiny_family")
CONTEXT = {"tiny": 64, "full": 768}


def write_family(models_dir: Path) -> None:
    """Write the checkpoint and ControlNets as files that ComfyUI's loaders accept.

    They do where `tiny_family` is among its packs.
    """
    from .tiny_family import family

    family.write_family(models_dir)


def model_patcher(seed: int = 1) -> Any:
    """Make what CheckpointLoaderSimple gives as MODEL, tiny."""
    from .tiny_family import family

    return _patcher(family.TinySD15, family.TINY, seed)


def full_model_patcher(seed: int = 1) -> Any:
    """Make the same at SD1.5's own shapes."""
    import comfy.supported_models

    from .tiny_family import family

    return _patcher(comfy.supported_models.SD15, family.FULL, seed)


def control_net(seed: int = 10) -> Any:
    """Make what ControlNetLoader gives as CONTROL_NET, tiny."""
    from .tiny_family import family

    return _control(family.controlnet(seed))


def full_control_net(seed: int = 10) -> Any:
    """Make the same at SD1.5's own shapes."""
    from .tiny_family import family

    return _control(family.controlnet(seed, family.FULL, family.FULL_HEADS))


def conditioning(seed: int = 0, *, tokens: int = 77, size: str = "tiny") -> list:
    """Make the CONDITIONING of one random prompt; `size` is "tiny" or "full"."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, tokens, CONTEXT[size], generator=generator), {"pooled_output": None}]]


def _patcher(family_class: type, shape: Any, seed: int) -> Any:
    import comfy.model_base
    import comfy.model_management
    import comfy.model_patcher
    import torch

    from .tiny_family import family

    config = family_class(
        {**shape, "use_temporal_resblock": False, "use_temporal_attention": False}
    )
    config.unet_config["dtype"] = torch.float32
    model = comfy.model_base.BaseModel(
        config, model_type=comfy.model_base.ModelType.EPS, device=torch.device("cpu")
    )
    family.fill(model.diffusion_model, seed)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(
        model, load_device=device, offload_device=comfy.model_management.unet_offload_device()
    )


def _control(net: Any) -> Any:
    import comfy.controlnet
    import comfy.model_management

    device = comfy.model_management.get_torch_device()
    return comfy.controlnet.ControlNet(net, load_device=device, manual_cast_dtype=None)
