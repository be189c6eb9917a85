"""How the residuals of a net lie, by its class: a row of `LAYOUTS` for each class of ComfyUI's.

A net with a row can be weighed over depth, masked, and run in the soft modes. A net without one is
scaled as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .layers import Layers
from .residuals import Weights


@dataclass(frozen=True)
class Layout:
    """How residuals lie.

    `weights`: the function of a layers profile that weighs them. `takes_inpaint_value`: whether an
    inpainting net of this kind reads the area to inpaint as a value of its hint.
    """

    weights: Callable[[Layers], Weights]
    takes_inpaint_value: bool = False


def _block_weights(layers: Layers) -> Weights:
    return layers.weights


def _feature_weights(layers: Layers) -> Weights:
    return layers.feature_weights


BLOCKS = Layout(_block_weights, takes_inpaint_value=True)
"""Feature maps of a UNet's blocks, one for each skip connection and one for the middle block."""
FEATURES = Layout(_feature_weights)
"""A T2I-Adapter's features, one for each level of the UNet."""

LAYOUTS: Mapping[str, Layout] = {
    "comfy.cldm.cldm.ControlNet": BLOCKS,
    "comfy.controlnet.ControlLora": BLOCKS,  # its module is built only when a run starts
    "comfy.t2i_adapter.adapter.Adapter": FEATURES,
    "comfy.t2i_adapter.adapter.Adapter_light": FEATURES,
}


def class_names(instance: Any) -> list[str]:
    """List the qualified names of an object's class and of the classes that it extends."""
    return [f"{base.__module__}.{base.__qualname__}" for base in type(instance).__mro__]


def layout_of(*objects: Any) -> Layout | None:
    """Return the layout of the first object whose class has a row; None where none has."""
    for instance in objects:
        for name in class_names(instance):
            if name in LAYOUTS:
                return LAYOUTS[name]
    return None
