"""Control-LoRA: the base model's weights plus a product of two small matrices for each layer.

ComfyUI adds the product in each layer at each step. Merged, it is added once a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

PLAIN_TYPES = (torch.float32, torch.float16, torch.bfloat16)  # others are quantized


def merge(module: torch.nn.Module) -> int:
    """Replace each layer's weight by its sum with the low-rank product: → the number of layers.

    The sum is computed as ComfyUI's layers compute it, in the type of the small matrices. The
    weights that the module shares with the base model stay as they are.
    """
    layers = list(_layers(module))
    for layer in layers:
        up: torch.Tensor = layer.up
        down: torch.Tensor = layer.down
        product = torch.mm(up.flatten(start_dim=1), down.flatten(start_dim=1))
        weight: torch.Tensor = layer.weight.to(device=up.device, dtype=up.dtype)
        merged = weight + product.reshape(weight.shape).type(up.dtype)
        layer.weight = torch.nn.Parameter(merged, requires_grad=False)
        layer.up = layer.down = None
    return len(layers)


def merged_bytes(module: torch.nn.Module) -> int:
    """Return the bytes that `merge` would add."""
    return sum(layer.weight.numel() * layer.up.element_size() for layer in _layers(module))


def merged_parameters(weights: Mapping[str, torch.Tensor]) -> int:
    """Count the parameters that `merge` would add, from the weights of a Control-LoRA's file."""
    ups = (key for key in weights if key.endswith(".up"))
    return sum(
        weights[up].shape[0] * weights[up.removesuffix("up") + "down"].flatten(1).shape[1]
        for up in ups
    )


def _layers(module: torch.nn.Module) -> Iterator[Any]:
    """Go through the layers that have a low-rank product, of weights that can be added to."""
    for layer in module.modules():
        has_product = all(getattr(layer, name, None) is not None for name in ("up", "down"))
        if has_product and getattr(layer.weight, "dtype", None) in PLAIN_TYPES:
            yield layer
