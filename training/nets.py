"""Nets to train and the base they stand on, as plain torch modules beside the host's managed ones.

A ControlNet is the base's encoder and middle block, copied, joined to the locked base through 1×1
convolutions whose weights and biases start at zero (Zhang et al., "Adding Conditional Control to
Text-to-Image Diffusion Models", 2023). The hint enters through eight convolutions of its own, the
last of them zero as well.

The host's modules are built for inference: their weights may be inference tensors, quantised, cast
on use or partly elsewhere. Autograd can keep none of that for the backward pass, so training runs
on twins with plain weights.
"""

# The host has no types, so strict checking would only list its names.

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
import comfy.lora
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch

from ..control.net_info import TAG, source_of
from ..files.base_models import unet_from_config
from ..files.families import Source, identify

HINT_CHANNELS = 3
# the hint block's fresh weights are always the same: a new net is a function of its base
HINT_SEED = 20230211
_OF_UNET_ONLY = (
    "out_channels",
    "transformer_depth_output",
    "disable_unet_model_creation",
    "dtype",
    "device",
)


class PlainOps(comfy.ops.disable_weight_init):
    """The host's layers with weights that are always there: its own Linear may wait for its weights
    to be loaded.
    """

    class Linear(torch.nn.Linear):
        def reset_parameters(self) -> None:
            return None


# -- which base ------------------------------------------------------------------------------------


def refuse_base(model: Any) -> None:
    """Raise ValueError where a ControlNet cannot be made from `model` (the host's MODEL)."""
    config = model.model.model_config
    unet = unet_from_config(config.unet_config)
    if unet is None:
        raise ValueError(
            "model: a ControlNet can be trained for SD1.5, SD2 and SDXL; this model is"
            f" {type(config).__name__}, which is no UNet with text"
        )
    if (channels := config.unet_config.get("in_channels")) != 4:
        raise ValueError(
            f"model: expected a base that takes 4 latent channels, found {channels}: this is an"
            " inpainting or editing model. Take the plain model it was made from; the trained net"
            " then works on both."
        )


def base_name(model: Any) -> str:
    """`SD1.5`, `SDXL`, ... as the families table names it."""
    unet = unet_from_config(model.model.model_config.unet_config)
    return unet.base if unet is not None else type(model.model.model_config).__name__


# -- weights ---------------------------------------------------------------------------------------


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as a tensor that autograd may keep: weights loaded inside a node are
    inference tensors.
    """
    if not tensor.is_inference():
        return tensor.detach()
    alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return alias.set_(
        tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride()
    )  # type: ignore[arg-type]


def effective_weight(model: Any, key: str, device: torch.device) -> torch.Tensor:
    """What the base computes with under `diffusion_model.{key}`: dequantised, LoRAs applied. May
    share its memory.
    """
    key = f"diffusion_model.{key}"
    weight, _, convert = comfy.model_patcher.get_key_weight(model.model, key)
    if key in model.backup:  # the loaded model holds the patched one
        weight = model.backup[key].weight
    if convert is not None:
        weight = convert(weight.to(device, copy=True), inplace=False)
    if key in model.patches:
        weight = weight.to(device, torch.float32, copy=True)
        weight = comfy.lora.calculate_weight(model.patches[key], weight, key)
    return weight


def _taken(model: Any, key: str, device: torch.device) -> torch.Tensor:
    try:
        return effective_weight(model, key, device)
    except AttributeError:
        raise ValueError(
            f"model: its weight {key} was not found, so its encoder cannot be copied. Load the"
            " plain fp16 or fp32 checkpoint instead of a converted one."
        ) from None


def frozen_base(
    model: Any, device: torch.device, compute: torch.dtype, *, decoder_too: bool = False
) -> torch.nn.Module:
    """The base's UNet with plain weights that take no gradient; memory is shared with the host's
    where it can be.

    Matrices are in `compute`, vectors in float32, as autocast would make them at every step. With
    `decoder_too` the decoder has float32 weights of its own, to be trained.
    """
    config = {
        k: copy.copy(v)
        for k, v in model.model.model_config.unet_config.items()
        if k not in _OF_UNET_ONLY[2:]
    }
    unet = openaimodel.UNetModel(**config, dtype=torch.float32, device="meta", operations=PlainOps)
    weights: dict[str, torch.Tensor] = {}
    for key, empty in unet.state_dict().items():
        found = _taken(model, key, device)
        if decoder_too and key.startswith(("output_blocks.", "out.")):
            weights[key] = plain(found).to(device, torch.float32, copy=True)
        else:
            weights[key] = plain(found.to(device, compute if empty.ndim > 1 else torch.float32))
    unet.load_state_dict(weights, assign=True)
    unet.requires_grad_(False)
    if decoder_too:
        unet.output_blocks.requires_grad_(True)
        unet.out.requires_grad_(True)
    return unet.eval()


# -- a net -----------------------------------------------------------------------------------------


def empty_net(config: Mapping[str, Any], device: torch.device | str) -> torch.nn.Module:
    """The host's ControlNet for a base of that `unet_config`, float32, its weights not yet written."""
    kept = {key: copy.copy(value) for key, value in config.items() if key not in _OF_UNET_ONLY}
    return comfy.cldm.cldm.ControlNet(
        **kept, hint_channels=HINT_CHANNELS, dtype=torch.float32, device=device, operations=PlainOps
    )


def created(model: Any) -> dict[str, torch.Tensor]:
    """Weights of a net that does nothing yet, float32 on the CPU: the base's encoder and middle
    block, and zeros.

    Raises ValueError where no ControlNet can be made from this base.
    """
    refuse_base(model)
    cpu = torch.device("cpu")
    empty = empty_net(model.model.model_config.unet_config, "meta").state_dict()
    hint = _hint_block(
        {key: value.shape for key, value in empty.items() if key.startswith("input_hint_block.")}
    )
    weights: dict[str, torch.Tensor] = {}
    for key, value in empty.items():
        if is_zero_convolution(key):
            weights[key] = torch.zeros(value.shape)
        else:
            weights[key] = (
                hint[key]
                if key in hint
                else _taken(model, key, cpu).to(cpu, torch.float32, copy=True)
            )
    return {key: plain(value) for key, value in weights.items()}


def is_zero_convolution(key: str) -> bool:
    """Those at the net's outputs, one a block."""
    return key.startswith(("zero_convs.", "middle_block_out."))


def _hint_block(shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Convolutions as torch makes them, U(±1/√fan_in), but the last zero."""
    generator = torch.Generator().manual_seed(HINT_SEED)
    last = max(int(key.split(".")[1]) for key in shapes)
    weights: dict[str, torch.Tensor] = {}
    for key, shape in shapes.items():
        bound = 1 / math.sqrt(math.prod(shapes[key.rpartition(".")[0] + ".weight"][1:]))
        drawn = torch.rand(shape, generator=generator) * 2 * bound - bound
        weights[key] = torch.zeros(shape) if int(key.split(".")[1]) == last else drawn
    return weights


def weights_of(net: Any, model: Any) -> dict[str, torch.Tensor]:
    """Float32 copies on the CPU of a CONTROL_NET's weights, to train on for `model`.

    Raises ValueError where the net is of another kind, or does not fit the model.
    """
    refuse_base(model)
    module = getattr(net, "control_model", None)
    if not isinstance(module, comfy.cldm.cldm.ControlNet):
        raise ValueError(
            f"control_net: expected a ControlNet of SD1.5, SD2 or SDXL, found {_what(net)}"
        )
    expected = {
        k: v.shape
        for k, v in empty_net(model.model.model_config.unet_config, "meta").state_dict().items()
    }
    found = current_weights(net)
    wrong = [
        key
        for key in {**expected, **found}
        if key not in found or found[key].shape != expected.get(key)
    ]
    if wrong:
        fault = f"{len(wrong)} of its weights do not fit, such as {wrong[0]}"
        raise ValueError(
            f"control_net: {_what(net)} cannot be trained for this model ({base_name(model)}):"
            f" {fault}"
        )
    return {key: plain(found[key].to("cpu", torch.float32, copy=True)) for key in expected}


def current_weights(net: Any) -> dict[str, torch.Tensor]:
    """The weights of a CONTROL_NET in the ldm layout, wherever the host keeps them now."""
    return {key: plain(value) for key, value in net.control_model.state_dict().items()}


def zero_convolution_norms(weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """√(|w|² + |b|²) of each, by the names `zero_convs.0` to `middle_block_out`."""
    names = list(
        dict.fromkeys(key.rpartition(".0.")[0] for key in weights if is_zero_convolution(key))
    )
    parts = {
        name: [weights[f"{name}.0.{part}"].float().flatten() for part in ("weight", "bias")]
        for name in names
    }
    return {name: float(torch.cat(both).norm()) for name, both in parts.items()}


def _what(net: Any) -> str:
    source = source_of(net)
    return f"{source.name!r} ({source.identity})" if source else type(net).__name__


def trainable(
    weights: Mapping[str, torch.Tensor], model: Any, device: torch.device
) -> torch.nn.Module:
    """A net on `device` with float32 weights of its own that take gradients."""
    net = empty_net(model.model.model_config.unet_config, "meta")
    net.load_state_dict(
        {key: value.to(device, torch.float32, copy=True) for key, value in weights.items()},
        assign=True,
    )
    return net.requires_grad_(True).train()


def as_control(weights: Mapping[str, torch.Tensor], model: Any, name: str) -> Any:
    """The host's CONTROL_NET with these weights, as its loader would give it; `name` stands in
    later sentences.
    """
    load_device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    manual_cast = comfy.model_management.unet_manual_cast(torch.float32, load_device)
    config = {
        k: copy.copy(v)
        for k, v in model.model.model_config.unet_config.items()
        if k not in _OF_UNET_ONLY
    }
    module = comfy.cldm.cldm.ControlNet(
        **config,
        hint_channels=HINT_CHANNELS,
        dtype=torch.float32,
        device=offload_device,
        operations=comfy.ops.pick_operations(torch.float32, manual_cast),
    )
    module.load_state_dict(
        {key: value.detach().to(offload_device) for key, value in weights.items()}
    )
    control = comfy.controlnet.ControlNet(
        module.eval().requires_grad_(False), load_device=load_device, manual_cast_dtype=manual_cast
    )
    identity = identify({key: tuple(value.shape) for key, value in weights.items()})
    if identity is not None:
        setattr(control, TAG, Source(name, identity))
    return control
