"""The member of the host's control chain that the sampler calls: one for each unit of a stack.

A `StackedControl` owns a private copy of the host's own control object (`inner`) and lets it do what it does: fit the
hint, encode it where a net wants latents, cast, run the net, scale by strength. Around that call it decides when and
for which rows the net runs at all, keeps the hint's feature from step to step, and shapes the residuals by depth and
place. With plain settings the arithmetic is the host's, so the image is the host's, bit for bit.

The host's side of the contract: `get_control` is called once a step for each batch of conditionings, must return
fresh lists with as many rows as `x_noisy`, and includes the residuals of `previous_controlnet`; `pre_run` comes once a
run for each conditioning that carries the chain; `cleanup` comes only after success.
"""

# The host has no types, so strict checking would only list its names.
# pyright: basic, reportMissingImports=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ldm.modules.attention
import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
import comfy.model_management
import torch

from . import families, residuals
from .families import Source
from .schedule import PercentOfSigma
from .stack import Stack, Unit

TAG = "controlstack_source"  # attribute of a control object that Load made: its Source
SIGMA = "controlstack_sigma"  # entry of transformer_options: (t, its value), read from the device once for the chain
KEPT_HINTS = 32  # sizes and tiles of one hint that stay prepared during a run


@dataclass
class PreparedHint:
    """A hint as the net takes it, for one size and number of rows, and the feature its hint encoder made of it."""

    sources: tuple[Any, Any]
    hint: torch.Tensor | None = None
    feature: torch.Tensor | None = None


@dataclass
class Run:
    """What lives for one sampling run."""

    started: bool = False
    percent_to_sigma: Callable[[float], float] | None = None
    percent_of_sigma: PercentOfSigma | None = None
    hints: dict[Any, PreparedHint] = field(default_factory=dict)
    cut_hints: dict[Any, torch.Tensor] = field(default_factory=dict)
    masks: dict[Any, torch.Tensor] = field(default_factory=dict)
    view: tuple[Any, Any] | None = None


class StackedControl(comfy.controlnet.ControlBase):
    """A unit of a stack at work. `inner`: a copy of its net with hint, range and VAE set, and no predecessor."""

    def __init__(self, unit: Unit, inner: Any) -> None:
        super().__init__()
        inner.copy_to(self)  # tilers and the host read these attributes on chain members
        self.unit = unit
        self.inner = inner
        self.run = Run()

    # -- what the host asks before sampling ----------------------------------------------------------------------

    def copy(self) -> StackedControl:
        twin = StackedControl(self.unit, self.inner.copy())
        self.copy_to(twin)
        return twin

    def deepclone_multigpu(self, load_device: Any, autoregister: bool = False) -> StackedControl:
        twin = StackedControl(self.unit, self.inner.deepclone_multigpu(load_device))
        self.copy_to(twin)
        if autoregister:
            self.multigpu_clones[load_device] = twin
        return twin

    def get_models(self) -> list[Any]:
        own = [] if self.unit.is_idle or self.unit.is_instant else self.inner.get_models()
        return super().get_models() + own

    def inference_memory_requirements(self, dtype: torch.dtype) -> int:
        own = 0 if self.unit.is_idle else self.inner.inference_memory_requirements(dtype)
        return super().inference_memory_requirements(dtype) + own

    def pre_run(self, model: Any, percent_to_timestep_function: Callable[[float], float]) -> None:
        """Start afresh, as an interrupted run was never cleaned up. Raises ValueError where the net does not fit."""
        super().pre_run(model, percent_to_timestep_function)
        self.run = Run()
        if self.unit.is_idle:
            return
        refuse_mismatch(self.unit, model.model_config)
        self.run.percent_to_sigma = percent_to_timestep_function
        self.inner.pre_run(model, percent_to_timestep_function)
        self.inner.timestep_range = None  # the range is decided here, with one reading of sigma for the whole chain
        self.run.started = True

    def cleanup(self) -> None:
        super().cleanup()
        if self.run.started:
            self.inner.cleanup()
        self.run = Run()

    # -- each step -----------------------------------------------------------------------------------------------

    def get_control(
        self,
        x_noisy: torch.Tensor,
        t: torch.Tensor,
        cond: dict[str, Any],
        batched_number: int,
        transformer_options: dict[str, Any],
    ) -> residuals.Residuals | None:
        """Residuals of this member and all before it for one step: rows of `x_noisy` are `batched_number` chunks."""
        previous = None
        if self.previous_controlnet is not None:
            previous = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        strength = self.strength_at(t, transformer_options)
        chunks = self.acting_chunks(batched_number, transformer_options)
        if strength == 0.0 or not chunks:
            return previous
        self.inner.strength = strength
        own = self.evaluate(x_noisy, t, cond, batched_number, chunks, transformer_options)
        return previous if own is None else residuals.merge(previous, own)

    def strength_at(self, t: torch.Tensor, transformer_options: dict[str, Any]) -> float:
        """Strength times schedule at this step's sigma; 0 outside the range."""
        if self.unit.is_idle:
            return 0.0
        sigma = _sigma_of(t, transformer_options)
        if self.timestep_range is not None:
            first, last = (float(torch.tensor(bound, dtype=t.dtype)) for bound in self.timestep_range)
            if sigma > first or sigma < last:
                return 0.0
        return self.strength * self.factor_at(sigma)

    def factor_at(self, sigma: float) -> float:
        """The schedule's multiplier at `sigma`; the table that this needs is made once a run, on first use."""
        if self.unit.schedule.is_constant_one or self.run.percent_to_sigma is None:
            return 1.0
        if self.run.percent_of_sigma is None:
            self.run.percent_of_sigma = PercentOfSigma(self.run.percent_to_sigma)
        return self.unit.schedule.at(self.run.percent_of_sigma(sigma))

    def acting_chunks(self, chunks: int, transformer_options: dict[str, Any]) -> list[int]:
        """Which conditionings of this batch are computed: all, or for mode cond_only those of the positive prompt."""
        kinds = transformer_options.get("cond_or_uncond")
        if self.unit.mode != "cond_only" or kinds is None:
            return list(range(chunks))
        return [i for i, kind in enumerate(kinds) if kind == 0]

    def evaluate(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        cond: dict[str, Any],
        batched_number: int,
        chunks: list[int],
        transformer_options: dict[str, Any],
    ) -> residuals.Residuals | None:
        """The net's residuals for the acting chunks, weighed, masked, and zero for all other rows."""
        total, entries = x.shape[0], x.shape[0] // batched_number
        if self.unit.is_instant:  # never announced to the host, because it hardly ever acts
            comfy.model_management.load_models_gpu(
                comfy.model_management.loaded_models(only_currently_used=True) + self.inner.get_models()
            )
        if len(chunks) == batched_number:
            own = self.call_inner(x, t, cond, batched_number, transformer_options)
            return None if own is None else self.shaped(own, x, batched_number)
        rows = [chunk * entries + entry for chunk in chunks for entry in range(entries)]
        picked = {key: _rows_of(value, rows, total) for key, value in cond.items()}
        own = self.call_inner(x[rows], t[rows], picked, len(chunks), transformer_options)
        return None if own is None else residuals.spread_rows(self.shaped(own, x, len(chunks)), rows, total)

    def shaped(self, own: residuals.Residuals, x: torch.Tensor, chunks: int) -> residuals.Residuals:
        """Weighed over depth and masked in place; the same lists where neither is asked for."""
        if self.unit.layers.kind:
            own = residuals.weigh(own, self.unit.layers.weights)
        if self.unit.effect_mask is not None:
            own = residuals.each(own, lambda residual: residual * self.mask_for(residual, x, chunks))
        return own

    def mask_for(self, residual: torch.Tensor, x: torch.Tensor, chunks: int) -> torch.Tensor:
        assert self.unit.effect_mask is not None
        rows, _, height, width = residual.shape
        key = (rows, chunks, height, width, x.shape[-2:], residual.dtype, residual.device)
        if key not in self.run.masks:
            sized = self.unit.effect_mask.sized(rows, chunks, (height, width), (x.shape[-2], x.shape[-1]))
            self.run.masks[key] = sized.to(residual)
        return self.run.masks[key]

    # -- the net -------------------------------------------------------------------------------------------------

    def call_inner(
        self, x: torch.Tensor, t: torch.Tensor, cond: dict[str, Any], chunks: int, options: dict[str, Any]
    ) -> residuals.Residuals | None:
        """The host's own get_control, with the prepared hint and its feature kept where the net allows it."""
        original = self.hint_for(x, chunks)
        if self.inner.cond_hint_original is not original:  # a tiler put its part of the hint here
            self.inner.cond_hint_original, self.inner.cond_hint = original, None
        view = self.view()
        if view is None:
            if self.cond_hint is not None:
                self.inner.cond_hint = self.cond_hint
            return self.inner.get_control(x, t, cond, chunks, options)
        prepared = self.prepared_hint(x, chunks)
        module, self.inner.control_model = self.inner.control_model, view
        self.inner.cond_hint = prepared.hint
        view.input_hint_block.prepared = prepared
        try:
            return self.inner.get_control(x, t, cond, chunks, options)
        finally:
            prepared.hint = self.inner.cond_hint
            self.inner.control_model = module

    def hint_for(self, x: torch.Tensor, chunks: int) -> Any:
        """The current hint, with no more entries than a conditioning has.

        The host cuts a longer one itself, but not where it happens to have as many entries as the whole batch: there it
        would give the negative prompt the first hints and the positive the next.
        """
        original, entries = self.cond_hint_original, x.shape[0] // chunks
        if chunks == 1 or original.shape[0] != x.shape[0]:
            return original
        key = (id(original), entries)
        if key not in self.run.cut_hints:
            self.run.cut_hints[key] = original[:entries]
        return self.run.cut_hints[key]

    def prepared_hint(self, x: torch.Tensor, chunks: int) -> PreparedHint:
        """What is kept for the hint at this size; tilers exchange the hint, so its identity is part of the key."""
        sources = (self.cond_hint_original, self.cond_hint)
        key = (*map(id, sources), x.shape, chunks)
        if key not in self.run.hints:
            while len(self.run.hints) >= KEPT_HINTS:
                del self.run.hints[next(iter(self.run.hints))]
            # `sources` are held so that their ids stay theirs; a hint that a tiler prepared itself is used as it is.
            self.run.hints[key] = PreparedHint(sources, hint=self.cond_hint)
        return self.run.hints[key]

    def view(self) -> Any:
        """The net as `remembering` makes it, kept for the run; None where its hint's feature cannot be kept."""
        module = getattr(self.inner, "control_model", None)
        if self.run.view is None or self.run.view[0] is not module:
            self.run.view = (module, remembering(module))
        return self.run.view[1]


class RememberedHint(torch.nn.Module):
    """Stands where a net's hint encoder stands: runs the real one once for each prepared hint."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.prepared = PreparedHint((None, None))

    def forward(self, hint: torch.Tensor, *context: Any) -> torch.Tensor:
        feature = self.prepared.feature
        if feature is None:
            feature = self.prepared.feature = self.encoder(hint, *context)
        return feature


def remembering(module: Any) -> Any:
    """A twin of a cldm ControlNet that shares its weights but remembers the hint's feature; None where that is unsafe.

    The twin runs the host's own forward, whatever version it has. Its hint encoder may be remembered because it is made
    of convolutions alone: nothing in it sees time or prompt. Where a net's encoder has more, or where someone gave this
    one net a forward of its own (compiled, say), which knows only the net itself, it is left to run.
    """
    if not isinstance(module, comfy.cldm.cldm.ControlNet) or "forward" in vars(module):
        return None
    encoder = getattr(module, "input_hint_block", None)
    sees_more = (openaimodel.TimestepBlock, comfy.ldm.modules.attention.SpatialTransformer)
    if encoder is None or any(isinstance(layer, sees_more) for layer in encoder):
        return None
    twin = copy.copy(module)
    twin._modules = {**module._modules, "input_hint_block": RememberedHint(encoder)}
    return twin


def _sigma_of(t: torch.Tensor, transformer_options: dict[str, Any]) -> float:
    """The first of t, (rows,) and all equal, as a number. Reading it waits for the device: once for the whole chain."""
    kept = transformer_options.get(SIGMA)
    if kept is None or kept[0] is not t:
        kept = transformer_options[SIGMA] = (t, float(t[0]))
    return kept[1]


def _rows_of(value: Any, rows: Sequence[int], total: int) -> Any:
    return value[list(rows)] if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == total else value


# -- before sampling: putting a stack on conditionings ------------------------------------------------------------


def attach(
    stack: Stack, conditionings: Sequence[list[Any]], vae: Any = None, *, with_negative: bool
) -> list[list[Any]]:
    """Conditionings with the stack's nets at the end of the chain that each entry already carries.

    Entries with the same chain share the same objects, on positive and negative alike: only then does the host run
    both in one batch. Without a negative, the host is told to lend the positive's control to it.
    """
    for unit in stack.units:
        _refuse_unfit_unit(unit, vae)
    chains: dict[Any, Any] = {}
    attached: list[list[Any]] = []
    for conditioning in conditionings:
        entries: list[Any] = []
        for text, options in conditioning:
            previous = options.get("control")
            if previous not in chains:
                chains[previous] = _chain(stack, previous, vae)
            changed = {**options, "control": chains[previous], "control_apply_to_uncond": not with_negative}
            entries.append([text, changed] if stack.units else [text, options])
        attached.append(entries)
    return attached


def _chain(stack: Stack, previous: Any, vae: Any) -> Any:
    for unit in stack.units:
        inner = unit.net.copy()
        percents = (unit.start_percent, unit.end_percent)
        inner.set_cond_hint(unit.hint, unit.strength, percents, vae=vae)
        if unit.union_type != "auto":
            inner.set_extra_arg("control_type", [union_types()[unit.union_type]])
        member = StackedControl(unit, inner)
        member.set_previous_controlnet(previous)
        previous = member
    return previous


def union_types() -> dict[str, int]:
    """The host's names of what a union net can be asked for → their numbers."""
    from comfy.cldm.control_types import UNION_CONTROLNET_TYPES

    return dict(UNION_CONTROLNET_TYPES)


def _refuse_unfit_unit(unit: Unit, vae: Any) -> None:
    """Raise ValueError for a unit that asks its net for what it cannot do, or that lacks what the net needs."""
    net, said = unit.net, describe(unit)
    if net.latent_format is not None and vae is None:
        raise ValueError(f"{said} takes its hint as latents: connect the model's VAE to Apply Control Stack")
    if unit.shapes_residuals and not _is_cldm(net):
        raise ValueError(
            f"{said}: mode {unit.mode!r}, layers and effect_mask are built for ControlNets of SD1.5, SD2 and SDXL "
            "only. Use mode 'balanced' and leave layers and effect_mask empty, or choose such a net."
        )
    if unit.union_type != "auto":
        _refuse_union_type(unit, said)


def _is_cldm(net: Any) -> bool:
    """A net whose residuals are a UNet's feature maps: ControlNets of SD and SDXL, and Control-LoRAs (built at run)."""
    module = getattr(net, "control_model", None)
    return isinstance(net, comfy.controlnet.ControlLora) or isinstance(module, comfy.cldm.cldm.ControlNet)


def _refuse_union_type(unit: Unit, said: str) -> None:
    known = union_types()
    offered = getattr(getattr(unit.net, "control_model", None), "num_control_type", 0)
    allowed = [name for name, number in known.items() if number < offered]
    if not allowed:
        raise ValueError(f"{said} is no union ControlNet: leave union_type at 'auto'")
    if unit.union_type not in allowed:
        raise ValueError(f"{said} has no type {unit.union_type!r}: choose 'auto' or one of {', '.join(allowed)}")


# -- names for sentences ------------------------------------------------------------------------------------------


def source_of(net: Any) -> Source | None:
    """What is known of a control object: what Load wrote down, else what its module's keys tell."""
    if tagged := getattr(net, TAG, None):
        return tagged
    module = getattr(net, "control_model", None) or getattr(net, "t2i_model", None)
    weights = module.state_dict() if module is not None else getattr(net, "control_weights", {})  # a Control-LoRA's
    identity = families.identify({key: tuple(value.shape) for key, value in weights.items()})
    return Source(type(net).__name__, identity) if identity is not None and identity.is_control else None


def describe(unit: Unit) -> str:
    source = unit.source
    return f"ControlNet {source.name!r} ({source.identity})" if source else f"the {type(unit.net).__name__}"


def refuse_mismatch(unit: Unit, model_config: Any) -> None:
    """Raise ValueError where a unit's net cannot act on the model that the host describes by `model_config`."""
    if unit.source is None:
        return
    classes = tuple(base.__name__ for base in type(model_config).__mro__)
    model = families.model_of(classes, model_config.unet_config)
    if sentence := families.mismatch(unit.source.name, unit.source.identity, model):
        raise ValueError(sentence)
