"""What a control net is: looked at once, when it comes in over a wire, and only read afterwards.

A net that Load ControlNet made carries its Source under `TAG`. A net of another loader is described
by the keys of its module, or by its class.
"""

# ComfyUI has no types, so strict checking would only list its names.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..files import families
from ..files.families import Source
from .layouts import Layout, class_names, layout_of
from .unions import FLUX_TYPES

TAG = "controlstack_source"  # attribute of a control object that Load ControlNet made: its Source


@dataclass(frozen=True)
class NetInfo:
    """What is known about a net.

    `class_name`: of the control object. `source`: file and family, None where neither its tag nor
    its keys tell them. `layout`: how its residuals lie, None for a net that can only be scaled as a
    whole. `union_types`: the types that can be asked for, name → number; `fuses_types`: whether
    several at once. `needs_vae`: it encodes its hint as latents. `takes_mask`: it reads the inpaint
    mask as a channel beside the hint. `is_adapter`: a T2I-Adapter, which rounds its hint's size and
    computes its features once. `is_comfy_class`: of ComfyUI's own class, not another pack's.
    `caches_like_comfy`: it keeps its hint where ComfyUI's classes do.
    """

    class_name: str
    source: Source | None = None
    layout: Layout | None = None
    union_types: Mapping[str, int] = field(default_factory=dict[str, int])
    fuses_types: bool = False
    needs_vae: bool = False
    takes_mask: bool = False
    is_adapter: bool = False
    is_comfy_class: bool = False
    caches_like_comfy: bool = False

    @property
    def name(self) -> str:
        """The file's name, or the class of a net whose file is not known."""
        return self.source.name if self.source else self.class_name

    def __str__(self) -> str:
        """Name the net as sentences for users do: its file and family, else its class."""
        if self.source:
            return f"ControlNet {self.source.name!r} ({self.source.identity})"
        return f"the {self.class_name}"


def look_at(net: Any) -> NetInfo:
    """Describe a control object. Raises ValueError for anything that is not a CONTROL_NET."""
    if not hasattr(net, "get_control") or not hasattr(net, "set_cond_hint"):
        raise ValueError(
            f"control_net: expected a CONTROL_NET from a loader, found {type(net).__name__}"
        )
    classes = class_names(net)
    is_comfy_class = type(net).__module__.startswith("comfy.")
    union = union_of(net)
    return NetInfo(
        class_name=type(net).__name__,
        source=source_of(net),
        layout=getattr(net, "layout", None) or layout_of(net, *_modules(net)),
        union_types=types_offered(net),
        fuses_types=bool(union and union.fuses),
        needs_vae=getattr(net, "latent_format", None) is not None,
        takes_mask=bool(getattr(net, "concat_mask", False)),
        is_adapter="comfy.controlnet.T2IAdapter" in classes,
        is_comfy_class=is_comfy_class,
        caches_like_comfy=is_comfy_class or "comfy.controlnet.ControlNet" in classes,
    )


def source_of(net: Any) -> Source | None:
    """Return what Load wrote onto a control object, else what the keys of its module tell.

    None where its keys are not those of a control net.
    """
    if tagged := getattr(net, TAG, None):
        return tagged
    shapes = {key: tuple(value.shape) for key, value in weights_of(net).items()}
    identity = families.identify(shapes)
    if identity is None or not (identity.is_control or identity.folder == families.PATCH):
        return None
    return Source(type(net).__name__, identity)


def weights_of(net: Any) -> Mapping[str, Any]:
    """Return the weights of a control object's module by their keys; none where it has no module.

    A Control-LoRA has weights, but a module only while it runs.
    """
    module = next(iter(_modules(net)), None)
    return getattr(net, "control_weights", {}) if module is None else module.state_dict()


@dataclass(frozen=True)
class Union:
    """The union types of a class of nets.

    `rows`: the attribute of the module with the number of types that its file has. `types`: name →
    number. `fuses`: whether the net takes several at once.
    """

    rows: str
    types: Callable[[], Mapping[str, int]]
    fuses: bool = False


def _unet_types() -> Mapping[str, int]:
    from comfy.cldm.control_types import UNION_CONTROLNET_TYPES

    return UNION_CONTROLNET_TYPES


UNIONS: Mapping[str, Union] = {
    "comfy.cldm.cldm.ControlNet": Union("num_control_type", _unet_types, fuses=True),
    "comfy.ldm.flux.controlnet.ControlNetFlux": Union("num_union_modes", lambda: FLUX_TYPES),
}


def union_of(net: Any) -> Union | None:
    """Return the row of the net's class; None for a class without union nets."""
    for module in _modules(net):
        for name in class_names(module):
            if name in UNIONS:
                return UNIONS[name]
    return None


def types_offered(net: Any) -> dict[str, int]:
    """Return the union types of a net, name → number; empty for a net that is not a union net."""
    if (union := union_of(net)) is None:
        return {}
    count = getattr(net.control_model, union.rows, 0)
    return {name: number for name, number in union.types().items() if number < count}


UNION_FAMILIES: Mapping[str, str] = {
    "union ControlNet": "comfy.cldm.cldm.ControlNet",
    "Flux union ControlNet": "comfy.ldm.flux.controlnet.ControlNetFlux",
}
"""The class that ComfyUI makes of a file, by its family."""


def types_in_file(identity: families.Identity) -> tuple[dict[str, int], bool]:
    """Return the union types of a file, name → number, and whether its net takes several at once.

    Equal to what `look_at` tells once the net is loaded; empty for a file without types.
    """
    if identity.family not in UNION_FAMILIES:
        return {}, False
    union = UNIONS[UNION_FAMILIES[identity.family]]
    types = {name: row for name, row in union.types().items() if row < identity.union_types}
    return types, union.fuses


def all_union_types() -> dict[str, int]:
    """Return the types of all union nets → a number; which one it is depends on the net."""
    return {name: row for union in UNIONS.values() for name, row in union.types().items()}


def _modules(net: Any) -> list[Any]:
    patcher = getattr(net, "patcher", None)  # of a model patch
    modules = (getattr(net, name, None) for name in ("control_model", "t2i_model"))
    modules = (*modules, getattr(patcher, "model", None))
    return [module for module in modules if module is not None]
