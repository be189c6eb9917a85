"""Make nets to train and the base they stand on, as plain torch modules beside ComfyUI's own.

A ControlNet is the base's encoder and middle block, copied, joined to the locked base through 1×1
convolutions whose weights and biases start at zero (Zhang et al., "Adding Conditional Control to
Text-to-Image Diffusion Models", 2023). The hint enters through eight convolutions of its own, the
last of them zero as well.

ComfyUI's modules are built for inference: their weights may be inference tensors, quantised, cast
on use or partly on another device. Autograd can keep none of that for the backward pass, so
training runs on copies with plain weights.
"""

from __future__ import annotations

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
from torch import Tensor

from ..control.net_info import TAG, source_of
from ..files.families import Source, identify
from .bases import TRAINABLE, base_name, net_config, refuse_base, unet_config

RECORD = "controlstack_training"
"""Attribute of a CONTROL_NET that was trained here: the metadata of its training."""
HINT_SEED = 20230211
"""The hint block's first weights are always the same: a new net is a function of its base."""
CPU = torch.device("cpu")


class PlainOps(comfy.ops.disable_weight_init):
    """ComfyUI's layers, but with a Linear that has its weights at once.

    The Linear of newer versions may wait for its weights to be loaded.
    """

    class Linear(torch.nn.Linear):
        """A Linear whose weights are allocated and not initialised."""

        def reset_parameters(self) -> None:
            """Leave the weights as they are."""


# -- weights of the base ---------------------------------------------------------------------------


def detach_from_inference(tensor: Tensor) -> Tensor:
    """Return the same memory as a tensor that autograd accepts.

    Weights that a node loaded are inference tensors, which autograd refuses.
    """
    if not tensor.is_inference():
        return tensor.detach()
    alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return alias.set_(
        tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride()
    )  # type: ignore[arg-type]


def effective_weight(model: Any, key: str, device: torch.device) -> Tensor:
    """Return what the base computes with under `diffusion_model.{key}`: dequantised, with LoRAs.

    May share its memory with the model. Raises AttributeError where the model has no such weight.
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


def _base_weight(model: Any, key: str, device: torch.device) -> Tensor:
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
    """Build the base's UNet with plain weights that take no gradient.

    Memory is shared with ComfyUI's model where possible. Matrices are in `compute`, vectors in
    float32, as autocast would convert them at every step. With `decoder_too` the decoder has
    float32 weights of its own, to be trained.
    """
    config = unet_config(model)
    unet = openaimodel.UNetModel(**config, dtype=torch.float32, device="meta", operations=PlainOps)
    weights: dict[str, Tensor] = {}
    for key, empty in unet.state_dict().items():
        weight = _base_weight(model, key, device)
        if decoder_too and key.startswith(("output_blocks.", "out.")):
            weights[key] = detach_from_inference(weight).to(device, torch.float32, copy=True)
        else:
            dtype = compute if empty.ndim > 1 else torch.float32
            weights[key] = detach_from_inference(weight.to(device, dtype))
    unet.load_state_dict(weights, assign=True)
    unet.requires_grad_(False)
    if decoder_too:
        unet.output_blocks.requires_grad_(True)
        unet.out.requires_grad_(True)
    return unet.eval()


def with_decoder(model: Any, decoder: Mapping[str, Tensor]) -> Any:
    """Return the MODEL with the decoder's weights replaced, as ComfyUI patches in a LoRA.

    The model itself where `decoder` is empty.
    """
    if not decoder:
        return model
    patched = model.clone()
    patched.add_patches(
        {f"diffusion_model.{key}": ("set", (value,)) for key, value in decoder.items()}
    )
    return patched


# -- weights of a net ------------------------------------------------------------------------------


def create_weights(model: Any) -> dict[str, Tensor]:
    """Make a net that does nothing yet: the base's encoder and middle block, and zeros.

    Float32 on the CPU. Raises ValueError where no ControlNet can be made from this base.
    """
    refuse_base(model)
    empty = empty_net(model, "meta").state_dict()
    hint_shapes = {
        key: value.shape for key, value in empty.items() if key.startswith("input_hint_block.")
    }
    weights = _hint_block(hint_shapes)
    for key, value in empty.items():
        if is_zero_convolution(key):
            weights[key] = torch.zeros(value.shape)
        elif key not in hint_shapes:
            weights[key] = _base_weight(model, key, CPU).to(CPU, torch.float32, copy=True)
    return {key: detach_from_inference(weights[key]) for key in empty}


def is_zero_convolution(key: str) -> bool:
    """Tell whether a weight belongs to a zero convolution at the net's outputs, one per block."""
    return key.startswith(("zero_convs.", "middle_block_out."))


def _hint_block(shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Draw convolutions as torch initialises them, U(±1/√fan_in); the last one is zero."""
    generator = torch.Generator().manual_seed(HINT_SEED)
    last = max(int(key.split(".")[1]) for key in shapes)
    weights: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        bound = 1 / math.sqrt(math.prod(shapes[key.rpartition(".")[0] + ".weight"][1:]))
        uniform = torch.rand(shape, generator=generator) * 2 * bound - bound
        weights[key] = torch.zeros(shape) if int(key.split(".")[1]) == last else uniform
    return weights


def copy_weights(net: Any, model: Any) -> dict[str, Tensor]:
    """Return float32 copies on the CPU of a CONTROL_NET's weights, to train on for `model`.

    Raises ValueError where the net is of another kind, or does not fit the model.
    """
    refuse_base(model)
    refuse_other_nets(net)
    weights = current_weights(net)
    expected = {key: value.shape for key, value in empty_net(model, "meta").state_dict().items()}
    unfit = [
        key
        for key in {**expected, **weights}
        if key not in weights or weights[key].shape != expected.get(key)
    ]
    if unfit:
        raise ValueError(
            f"control_net: {_describe(net)} cannot be trained for this model"
            f" ({base_name(model)}): {len(unfit)} of its weights do not fit, such as {unfit[0]}."
            " Connect a ControlNet of the same base."
        )
    return {
        key: detach_from_inference(weights[key].to("cpu", torch.float32, copy=True))
        for key in expected
    }


def refuse_other_nets(net: Any) -> None:
    """Raise ValueError where a CONTROL_NET is not a ControlNet of a UNet."""
    if not isinstance(getattr(net, "control_model", None), comfy.cldm.cldm.ControlNet):
        raise ValueError(
            f"control_net: expected a ControlNet of {TRAINABLE}, found {_describe(net)}"
        )


def current_weights(net: Any) -> dict[str, Tensor]:
    """Return the weights of a CONTROL_NET in the ldm layout, on whatever device they are."""
    return {
        key: detach_from_inference(value) for key, value in net.control_model.state_dict().items()
    }


def zero_convolution_norms(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Return √(|w|² + |b|²) of each, by the names `zero_convs.0` to `middle_block_out`."""
    names = dict.fromkeys(key.rpartition(".0.")[0] for key in weights if is_zero_convolution(key))
    norms: dict[str, float] = {}
    for name in names:
        weight, bias = (weights[f"{name}.0.{part}"].float() for part in ("weight", "bias"))
        norms[name] = float(torch.cat([weight.flatten(), bias.flatten()]).norm())
    return norms


def _describe(net: Any) -> str:
    source = source_of(net)
    return f"{source.name!r} ({source.identity})" if source else type(net).__name__


# -- modules ---------------------------------------------------------------------------------------


def empty_net(model: Any, device: torch.device | str) -> torch.nn.Module:
    """Build ComfyUI's ControlNet for a base, float32, with weights that are not yet written."""
    return comfy.cldm.cldm.ControlNet(
        **net_config(model), dtype=torch.float32, device=device, operations=PlainOps
    )


def trainable_net(
    weights: Mapping[str, Tensor], model: Any, device: torch.device
) -> torch.nn.Module:
    """Build a net on `device` with float32 weights of its own that take gradients."""
    net = empty_net(model, "meta")
    net.load_state_dict(
        {key: value.to(device, torch.float32, copy=True) for key, value in weights.items()},
        assign=True,
    )
    return net.requires_grad_(True).train()


def as_control(weights: Mapping[str, Tensor], model: Any, name: str) -> Any:
    """Build ComfyUI's CONTROL_NET with these weights, as its loader would.

    `name` is what later errors call the net.
    """
    load_device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    manual_cast = comfy.model_management.unet_manual_cast(torch.float32, load_device)
    module = comfy.cldm.cldm.ControlNet(
        **net_config(model),
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


def create(model: Any, control_net: Any = None) -> Any:
    """Make a new CONTROL_NET for the base, or one with the weights of `control_net`.

    Raises ValueError where the base cannot be trained, or the net does not fit it.
    """
    with torch.inference_mode(False):
        weights = create_weights(model) if control_net is None else copy_weights(control_net, model)
        net = as_control(weights, model, "new net")
    if record := getattr(control_net, RECORD, None):
        setattr(net, RECORD, record)
    return net
