"""The member of the host's control chain that the sampler calls: one for each unit of a stack.

A `StackedControl` owns a private copy of the host's own control object (`inner`) and lets it do
what it does: fit the hint, encode it where a net wants latents, cast, run the net, scale by
strength. Around that call it decides when and for which rows the net runs at all, fits the hint,
keeps its feature from step to step, and shapes the residuals by depth, place and frame. With plain
settings the arithmetic is the host's, so the image is the host's, bit for bit.

The host's side of the contract: `get_control` is called once a step for each batch of
conditionings, must return fresh lists with as many rows as `x_noisy`, and includes the residuals of
`previous_controlnet`; `pre_run` comes once a run for each conditioning that carries the chain;
`cleanup` comes only after success.
"""

# The host has no types, so strict checking would only list its names.
# pyright: basic, reportMissingImports=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ldm.modules.attention
import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
import comfy.model_management
import comfy.t2i_adapter.adapter as t2i_adapter
import comfy.utils
import torch

from ..files import base_models, families
from ..files.families import Source
from . import hints, residuals, unions
from .frames import Rows, frames_of
from .report.journal import Journal
from .report.numbers import Member
from .schedule import Clock, Schedule
from .stack import Stack, Unit

TAG = "controlstack_source"  # attribute of a control object that Load made: its Source
# entry of transformer_options: (t, its value), read from the device once for the chain
SIGMA = "controlstack_sigma"
KEPT_HINTS = 32  # sizes and tiles of one hint that stay prepared during a run
BLOCKS, FEATURES = "blocks", "features"  # what a net's residuals are: see `shape_of`


@dataclass
class PreparedHint:
    """A hint as the net takes it, for one size and choice of rows, and the feature its hint encoder
    made of it.

    `originals`: what the host is to fit, one for each union type; `hint`: what it made of the
    first. `sources` are held so that their ids stay theirs.
    """

    sources: tuple[Any, Any] = (None, None)
    originals: tuple[Any, ...] = ()
    concat: list[Any] = field(default_factory=list)
    hint: Any = None
    feature: Any = None


@dataclass
class Run:
    """What lives for one sampling run."""

    started: bool = False
    clock: Clock | None = None
    schedule: Schedule | None = None  # with its steps placed
    bounds: dict[torch.dtype, tuple[float, float]] = field(default_factory=dict)
    hints: dict[Any, PreparedHint] = field(default_factory=dict)
    factors: dict[Any, torch.Tensor] = field(default_factory=dict)
    view: tuple[Any, Any] | None = None


class StackedControl(comfy.controlnet.ControlBase):
    """A unit of a stack at work. `inner`: a copy of its net with hint, range and VAE set, and no
    predecessor.
    """

    def __init__(self, unit: Unit, inner: Any) -> None:
        super().__init__()
        inner.copy_to(self)  # tilers and the host read these attributes on chain members
        self.unit = unit
        self.inner = inner
        self.types = union_types_of(unit)
        self.run = Run()
        self.journal = Journal()

    # -- what the host asks before sampling --------------------------------------------------------

    def copy(self) -> StackedControl:
        return self._twin(self.inner.copy())

    def deepclone_multigpu(self, load_device: Any, autoregister: bool = False) -> StackedControl:
        twin = self._twin(self.inner.deepclone_multigpu(load_device))
        if autoregister:
            self.multigpu_clones[load_device] = twin
        return twin

    def _twin(self, inner: Any) -> StackedControl:
        twin = StackedControl(self.unit, inner)
        self.copy_to(twin)
        twin.journal = self.journal
        return twin

    def get_models(self) -> list[Any]:
        own = [] if self.unit.is_idle or self.unit.is_instant else self.inner.get_models()
        return super().get_models() + own

    def inference_memory_requirements(self, dtype: torch.dtype) -> int:
        own = 0 if self.unit.is_idle else self.inner.inference_memory_requirements(dtype)
        return super().inference_memory_requirements(dtype) + own

    def pre_run(self, model: Any, percent_to_timestep_function: Callable[[float], float]) -> None:
        """Start afresh, as an interrupted run was never cleaned up. Raises ValueError where the net
        does not fit.
        """
        super().pre_run(model, percent_to_timestep_function)
        self.run = Run(clock=self.clock_of_chain() or Clock(percent_to_timestep_function))
        self.journal.start()
        if self.unit.is_idle:
            return
        refuse_mismatch(self.unit, model.model_config)
        self.inner.pre_run(model, percent_to_timestep_function)
        self.inner.timestep_range = (
            None  # the range is decided here, with one reading of sigma for the whole chain
        )
        self.run.started = True

    def clock_of_chain(self) -> Clock | None:
        """The clock of the member before this one, which the run has just reached: its tables serve
        the whole chain.
        """
        member = self.previous_controlnet
        while member is not None and not isinstance(member, StackedControl):
            member = member.previous_controlnet
        return member.run.clock if member is not None else None

    def cleanup(self) -> None:
        super().cleanup()
        if self.run.started:
            self.inner.cleanup()
        self.run = Run()

    # -- each step ---------------------------------------------------------------------------------

    def get_control(
        self,
        x_noisy: torch.Tensor,
        t: torch.Tensor,
        cond: dict[str, Any],
        batched_number: int,
        transformer_options: dict[str, Any],
    ) -> residuals.Residuals | None:
        """Residuals of this member and all before it for one step: rows of `x_noisy` are
        `batched_number` chunks.
        """
        previous = None
        if self.previous_controlnet is not None:
            previous = self.previous_controlnet.get_control(
                x_noisy, t, cond, batched_number, transformer_options
            )
        strength = self.strength_at(t, transformer_options)
        rows = self.acting_rows(x_noisy, batched_number, transformer_options)
        if strength == 0.0 or not rows.indices:
            if not self.unit.is_idle:
                self.journal.off.append(_sigma_of(t, transformer_options))
            return previous
        self.inner.strength = strength
        sigma = _sigma_of(t, transformer_options)
        call = self.journal.begin(sigma, strength, x_noisy, rows.indices)
        own = self.evaluate(x_noisy, t, cond, rows, transformer_options)
        merged = previous if own is None else residuals.merge(previous, own)
        self.journal.end(call, own, merged, transformer_options)
        return merged

    def strength_at(self, t: torch.Tensor, transformer_options: dict[str, Any]) -> float:
        """Strength times schedule at this step's sigma; 0 outside the range."""
        if self.unit.is_idle:
            return 0.0
        schedule = self.schedule_of(
            transformer_options
        )  # outside the range too: what it refuses comes before step one
        sigma = _sigma_of(t, transformer_options)
        first, last = self.bounds(t.dtype)
        if sigma > first or sigma < last:
            return 0.0
        if schedule.is_constant_one or self.run.clock is None:
            return self.strength
        return self.strength * schedule.at(self.run.clock.percent(sigma))

    def bounds(self, dtype: torch.dtype) -> tuple[float, float]:
        """The sigmas of the range, rounded as the host rounds them when it compares them with t."""
        if dtype not in self.run.bounds:
            bounds = self.timestep_range or (float("inf"), float("-inf"))
            first, last = (float(torch.tensor(bound, dtype=dtype)) for bound in bounds)
            self.run.bounds[dtype] = (first, last)
        return self.run.bounds[dtype]

    def schedule_of(self, transformer_options: dict[str, Any]) -> Schedule:
        """The unit's schedule with its steps where this run's sampler has them."""
        schedule = self.unit.schedule
        if not schedule.has_steps or self.run.clock is None:
            return schedule
        if self.run.schedule is None:
            sigmas = transformer_options.get("sample_sigmas")
            if sigmas is None:
                raise ValueError(
                    "schedule: this sampler does not tell its steps; write fractions of sampling"
                    " instead"
                )
            self.run.schedule = self.run.clock.placed(schedule, sigmas.tolist())
        return self.run.schedule

    def acting_rows(
        self, x: torch.Tensor, chunks: int, transformer_options: dict[str, Any]
    ) -> Rows:
        """What of this batch is computed: not the negative's rows in modes control and cond_only,
        no idle frame.
        """
        window = transformer_options.get("context_window")
        frames = frames_of(
            x.shape[0] // chunks,
            getattr(window, "index_list", None) if _over_rows(window) else None,
        )
        acting, kinds = tuple(range(chunks)), transformer_options.get("cond_or_uncond")
        if self.unit.on_positive_only and kinds is not None:
            acting = tuple(i for i, kind in enumerate(kinds) if kind == 0)
        entries = tuple(entry for entry, frame in enumerate(frames) if self.unit.acts_on(frame))
        return Rows(acting, chunks, entries, frames)

    def evaluate(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        cond: dict[str, Any],
        rows: Rows,
        transformer_options: dict[str, Any],
    ) -> residuals.Residuals | None:
        """The net's residuals for the acting rows, weighed, masked, and zero for all other rows."""
        if self.unit.is_instant:  # never announced to the host, because it hardly ever acts
            comfy.model_management.load_models_gpu(
                comfy.model_management.loaded_models(only_currently_used=True)
                + self.inner.get_models()
            )
        if rows.are_all:
            own = self.call_inner(x, t, cond, rows, transformer_options)
            return None if own is None else self.shaped(own, x, rows)
        picked = {key: _rows_of(value, rows) for key, value in cond.items()}
        options = transformer_options
        if (
            kinds := options.get("cond_or_uncond")
        ) is not None:  # other packs' nets weigh rows by their prompt
            options = {**options, "cond_or_uncond": [kinds[chunk] for chunk in rows.chunks]}
        own = self.call_inner(x[rows.selection], t[rows.selection], picked, rows, options)
        return (
            None
            if own is None
            else residuals.spread_rows(self.shaped(own, x, rows), rows.selection, rows.total)
        )

    def shaped(self, own: residuals.Residuals, x: torch.Tensor, rows: Rows) -> residuals.Residuals:
        """Weighed over depth, masked, and scaled frame by frame; the same tensors where none of it
        is asked for.
        """
        depth = self.unit.depth
        if depth.kind:
            own = residuals.weigh(
                own, depth.feature_weights if shape_of(self.inner) == FEATURES else depth.weights
            )
        if self.unit.effect_mask is not None or not self.unit.frame_schedule.is_constant_one:
            own = residuals.each(own, lambda residual: residual * self.factors(residual, x, rows))
        return own

    def factors(self, residual: torch.Tensor, x: torch.Tensor, rows: Rows) -> torch.Tensor:
        """What a residual of the acting rows is multiplied by: (rows, 1, …), each frame's strength
        times its mask.
        """
        size, picture = residual.shape[2:], (x.shape[-2], x.shape[-1])
        key = (rows.acting_frames, len(rows.chunks), size, picture, residual.dtype, residual.device)
        if key not in self.run.factors:
            made = torch.tensor(
                [self.unit.frame_schedule.at(frame) for frame in rows.acting_frames]
            )
            made = made.repeat(len(rows.chunks)).reshape(-1, *(1,) * (residual.ndim - 1))
            if self.unit.effect_mask is not None:
                sized = (
                    rows.acting_frames,
                    len(rows.chunks),
                    (size[0], size[1]),
                    picture,
                    self.unit.fit,
                )
                made = self.unit.effect_mask.sized(*sized).to(made.device) * made
            self.run.factors[key] = made.to(residual)
        return self.run.factors[key]

    # -- the net -----------------------------------------------------------------------------------

    def call_inner(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        cond: dict[str, Any],
        rows: Rows,
        options: dict[str, Any],
    ) -> residuals.Residuals | None:
        """The host's own get_control, with the prepared hint and its feature kept where the net
        allows it.
        """
        prepared, view = self.prepared_hint(x, rows), self.view()
        run = partial(self.inner.get_control, x, t, cond, len(rows.chunks), options)
        if isinstance(view, FusedUnion) and prepared.feature is None:
            prepared.feature = [
                view.encoder(self.fitted_by_host(run, hint), None, None)
                for hint in prepared.originals
            ]
        self.lend(prepared)
        module = getattr(self.inner, "control_model", None)
        if view is not None:
            self.inner.control_model = view
            (view if isinstance(view, FusedUnion) else view.input_hint_block).prepared = prepared
        try:
            return run()
        finally:
            prepared.hint = self.inner.cond_hint
            if view is not None:
                self.inner.control_model = module
            elif hasattr(self.inner, "control_input"):
                prepared.feature = self.inner.control_input

    def lend(self, prepared: PreparedHint) -> None:
        """Give the net its hint, and what it made of it at an earlier step: latents, or a
        T2I-Adapter's features.

        A net of another pack keeps what it likes, where it likes; it is told of a hint that was
        exchanged, no more.
        """
        inner, original = self.inner, prepared.originals[0]
        if isinstance(inner, comfy.controlnet.ControlNet) or type(inner).__module__.startswith(
            "comfy."
        ):
            inner.cond_hint_original, inner.cond_hint = original, prepared.hint
            inner.extra_concat_orig = prepared.concat
            if hasattr(inner, "control_input"):
                inner.control_input = prepared.feature
        elif inner.cond_hint_original is not original or self.cond_hint is not None:
            inner.cond_hint_original, inner.cond_hint = original, self.cond_hint

    def fitted_by_host(self, run: Callable[[], Any], hint: torch.Tensor) -> torch.Tensor:
        """What the host hands to the net for this hint: a step of which only that is looked at."""
        module, glass = self.inner.control_model, _Glass(self.inner.control_model.dtype)
        self.inner.cond_hint_original, self.inner.cond_hint, self.inner.control_model = (
            hint,
            None,
            glass,
        )
        try:
            run()
        finally:
            self.inner.control_model = module
        return glass.hint

    def prepared_hint(self, x: torch.Tensor, rows: Rows) -> PreparedHint:
        """What is kept for the hint at this size and for these frames.

        Tilers exchange the hint, so its identity is part of the key; one that a tiler prepared
        itself is used as it is.
        """
        sources = (self.cond_hint_original, self.cond_hint)
        key = (*map(id, sources), x.shape[2:], rows.acting_frames, len(rows.chunks))
        if key not in self.run.hints:
            while len(self.run.hints) >= KEPT_HINTS:
                del self.run.hints[next(iter(self.run.hints))]
            fit = partial(self.fitted, x=x, rows=rows)
            ready = None if self.cond_hint is None else _rows_of(self.cond_hint, rows)
            original = self.cond_hint_original if ready is None or not self.types else ready
            parts = unions.hints_by_type(original, max(1, len(self.types)))
            concat = [fit(mask) for mask in self.extra_concat_orig]
            self.run.hints[key] = PreparedHint(sources, tuple(map(fit, parts)), concat, hint=ready)
            self.journal.encoded += 1
        return self.run.hints[key]

    def fitted(self, hint: torch.Tensor, x: torch.Tensor, rows: Rows) -> torch.Tensor:
        """A hint, (B,C,H,W), for the acting frames, and of the size that the net wants where the
        host must not cut it.

        The host itself deals hints to latents, from the start, but not where there happen to be as
        many hints as rows in the whole batch: there it would give the negative prompt the first
        hints and the positive the next.
        """
        entries, frames = len(rows.acting_frames), rows.acting_frames
        if frames != tuple(range(entries)):
            hint = hints.for_frames(hint, frames)
        elif len(rows.chunks) > 1 and hint.shape[0] == entries * len(rows.chunks):
            hint = hint[:entries]
        if self.unit.fit in hints.FITTED:
            height, width = self.hint_size(x)
            hint = hints.FITTED[self.unit.fit](
                hint, height, width, partial(resized, method=self.upscale_algorithm)
            )
        return hint

    def hint_size(self, x: torch.Tensor) -> tuple[int, int]:
        """(height, width) in pixels to which the net's own class brings a hint for this latent."""
        ratio = self.inner.compression_ratio
        if self.inner.vae is not None:
            ratio *= self.inner.vae.spacial_compression_encode()
        height, width = x.shape[-2] * ratio, x.shape[-1] * ratio
        if isinstance(self.inner, comfy.controlnet.T2IAdapter):
            width, height = self.inner.scale_image_to(width, height)
        return height, width

    def view(self) -> Any:
        """The net as a twin that keeps its hint's feature, itself kept for the run; None where that
        cannot be kept.
        """
        module = getattr(self.inner, "control_model", None)
        if self.run.view is None or self.run.view[0] is not module:
            several = len(self.types) > 1 and module is not None
            known = type(self.inner).__module__.startswith(
                "comfy."
            )  # other packs' change their hint between steps
            twin = (
                FusedUnion(module, self.types)
                if several
                else remembering(module)
                if known
                else None
            )
            self.run.view = (module, twin)
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
    """A twin of a cldm ControlNet that shares its weights but remembers the hint's feature; None
    where that is unsafe.

    The twin runs the host's own forward, whatever version it has. Its hint encoder may be
    remembered because it is made of convolutions alone: nothing in it sees time or prompt. Where a
    net's encoder has more, or where someone gave this one net a forward of its own (compiled, say),
    which knows only the net itself, it is left to run.
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


class FusedUnion(torch.nn.Module):
    """Stands where a union net stands and gives it several hints at once; the host would look at
    the first only.

    The twin inside shares the net's weights and runs the host's own forward; of it only the merging
    of hints is ours.
    """

    def __init__(self, net: Any, types: tuple[unions.UnionType, ...]) -> None:
        super().__init__()
        self.twin = copy.copy(net)
        vars(self.twin).pop("forward", None)  # one that was compiled is bound to the net itself
        self.twin.union_controlnet_merge = self.merged
        self.encoder, self.types, self.dtype = net.input_hint_block, types, net.dtype
        self.prepared = PreparedHint()
        self.x: Any = None

    def forward(self, x: torch.Tensor, **rest: Any) -> Any:
        self.x = x
        return self.twin(x=x, **rest)

    def merged(self, hint: Any, control_type: Any, emb: torch.Tensor, context: Any) -> torch.Tensor:
        sample = self.twin.input_blocks[0](self.x, emb, context)
        return unions.fused(self.twin, sample, self.prepared.feature, self.types)


class _Glass:
    """Stands where a net stands and keeps the hint that it is shown."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.hint: Any = None

    def __call__(self, *, hint: torch.Tensor, **_: Any) -> residuals.Residuals:
        self.hint = hint
        return {"middle": [], "output": []}


def _sigma_of(t: torch.Tensor, transformer_options: dict[str, Any]) -> float:
    """The first of t, (rows,) and all equal, as a number. Reading it waits for the device: once for
    the whole chain.
    """
    kept = transformer_options.get(SIGMA)
    if kept is None or kept[0] is not t:
        kept = transformer_options[SIGMA] = (t, float(t[0]))
    return kept[1]


def _rows_of(value: Any, rows: Rows) -> Any:
    """The acting rows of what has all of them; anything else as it is."""
    whole = isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == rows.total
    return value[rows.selection] if whole else value


def _over_rows(window: Any) -> bool:
    """Whether the host's context window runs over the batch's rows; of video latents it runs over
    their frames.
    """
    return getattr(window, "dim", None) == 0


def resized(
    picture: torch.Tensor, height: int, width: int, method: str, crop: str = "disabled"
) -> torch.Tensor:
    """(B,C,H,W) at this size, by the host's own interpolation."""
    return comfy.utils.common_upscale(picture, width, height, method, crop)


# -- before sampling: putting a stack on conditionings ---------------------------------------------


def attach(
    stack: Stack, conditionings: Sequence[list[Any]], vae: Any = None, *, with_negative: bool
) -> list[list[Any]]:
    """Conditionings with the stack's nets at the end of the chain that each entry already carries.

    Entries with the same chain share the same objects, on positive and negative alike: only then
    does the host run both in one batch. Without a negative, the host is told to lend the positive's
    control to it.
    """
    for unit in stack.units:
        refuse_unfit(unit, vae)
    regional = any(unit.fit == "region" for unit in stack.units)
    if regional and not any("area" in options for _, options in conditionings[0]):
        raise ValueError(
            "fit 'region': the positive prompt carries no area. Set one with ComfyUI's Conditioning"
            " (Set Area) before Apply Control Stack, or choose another fit."
        )
    chains: dict[Any, Any] = {}
    attached: list[list[Any]] = []
    for conditioning in conditionings:
        entries: list[Any] = []
        for text, options in conditioning:
            previous, area = (
                options.get("control"),
                tuple(options.get("area", ())) if regional else (),
            )
            if (previous, area) not in chains:
                chains[previous, area] = _chain(stack, previous, vae, area)
            control = chains[previous, area]
            changed = {**options, "control": control, "control_apply_to_uncond": not with_negative}
            entries.append([text, options if control is previous else changed])
        attached.append(entries)
    return attached


def _chain(stack: Stack, previous: Any, vae: Any, area: tuple[Any, ...]) -> Any:
    """The stack's members after `previous`; those with fit 'region' only where there is an area.

    A negative without one needs none: the host gives each area of the positive a negative of its
    own, which it lends the positive's control.
    """
    for unit in stack.units:
        if unit.fit == "region":
            if not area:
                continue
            unit = _in_region(unit, hints.region_of(area, unit.hint))
        member = StackedControl(unit, _inner(unit, vae))
        member.set_previous_controlnet(previous)
        previous = member
    return previous


def _in_region(unit: Unit, region: hints.Region) -> Unit:
    return replace(
        unit,
        hint=region.cut(unit.hint),
        effect_mask=None if unit.effect_mask is None else unit.effect_mask.cut(region),
        inpaint_mask=None if unit.inpaint_mask is None else region.cut(unit.inpaint_mask),
    )


def _inner(unit: Unit, vae: Any) -> Any:
    """A copy of the unit's net with its hint set: what is painted anew removed from it as the net
    was taught.
    """
    inner, hint, concat = unit.net.copy(), unit.hint, []
    if unit.inpaint_mask is not None:
        bilinear = partial(resized, method="bilinear", crop="center")
        if getattr(inner, "concat_mask", False):
            hint = hints.inpainted(hint, unit.inpaint_mask, 0.0, bilinear)
            concat = [1.0 - unit.inpaint_mask.unsqueeze(1)]
        else:
            hint = _without_painted(unit, bilinear)
    inner.set_cond_hint(
        hint, unit.strength, (unit.start_percent, unit.end_percent), vae=vae, extra_concat=concat
    )
    if types := union_types_of(unit):
        inner.set_extra_arg("control_type", [kind.number for kind in types])
    return inner


def _without_painted(unit: Unit, resize: hints.Resize) -> torch.Tensor:
    assert unit.inpaint_mask is not None
    types = union_types_of(unit)
    if not types:
        return hints.inpainted(unit.hint, unit.inpaint_mask, hints.REMOVED["inpaint"], resize)
    parts = [
        (
            hints.inpainted(part, unit.inpaint_mask, hints.REMOVED[REPAINT], resize)
            if kind.name == REPAINT
            else part
        )
        for part, kind in zip(unions.hints_by_type(unit.hint, len(types)), types, strict=True)
    ]
    rows = max(part.shape[0] for part in parts)
    return torch.cat([hints.for_frames(part, range(rows)) for part in parts])


def union_types() -> dict[str, int]:
    """The host's names of what a union net can be asked for → their numbers."""
    from comfy.cldm.control_types import UNION_CONTROLNET_TYPES

    return dict(UNION_CONTROLNET_TYPES)


def union_types_of(unit: Unit) -> tuple[unions.UnionType, ...]:
    """The types that a unit names; none for "auto". Raises TextError for what does not parse."""
    return (
        ()
        if unit.union_type == unions.AUTO
        else unions.parse(unit.union_type, types_offered(unit.net))
    )


def types_offered(net: Any) -> dict[str, int]:
    """The types that a net has, by the host's names; none where it is no union net."""
    count = getattr(getattr(net, "control_model", None), "num_control_type", 0)
    return {name: number for name, number in union_types().items() if number < count}


def shape_of(net: Any) -> str:
    """BLOCKS where a net's residuals are those of a UNet's blocks, FEATURES where they are a
    T2I-Adapter's features.

    Both are feature maps, row by row: they can be weighed, masked, and computed for some rows only.
    Empty for any other net. A Control-LoRA's module is built when the run starts.
    """
    module = getattr(net, "control_model", None)
    if isinstance(net, comfy.controlnet.ControlLora) or isinstance(
        module, comfy.cldm.cldm.ControlNet
    ):
        return BLOCKS
    features = (t2i_adapter.Adapter, t2i_adapter.Adapter_light)
    return FEATURES if isinstance(getattr(net, "t2i_model", None), features) else ""


# -- before sampling: what cannot be ---------------------------------------------------------------


def refuse_unfit(unit: Unit, vae: Any) -> None:
    """Raise ValueError for a unit that asks its net for what it cannot do, or that lacks what the
    net needs.
    """
    net, said = unit.net, describe(unit)
    if net.latent_format is not None and vae is None:
        raise ValueError(
            f"{said} takes its hint as latents: connect the model's VAE to Apply Control Stack"
        )
    if (unit.depth.kind or unit.effect_mask is not None) and not shape_of(net):
        raise ValueError(
            f"{said}: modes 'prompt' and 'control', layers and effect_mask are built for"
            " ControlNets and T2I-Adapters of SD1.5, SD2 and SDXL only. Use mode 'balanced' or"
            " 'cond_only' and leave layers and effect_mask empty, or choose such a net."
        )
    if unit.union_type != unions.AUTO:
        _refuse_union_type(unit, said)
    _refuse_inpainting(unit, said)


def _refuse_union_type(unit: Unit, said: str) -> None:
    offered = types_offered(unit.net)
    if not offered:
        raise ValueError(f"{said} is no union ControlNet: leave union_type at 'auto'")
    types = unions.parse(unit.union_type, union_types())
    for kind in types:
        if kind.name not in offered:
            raise ValueError(
                f"{said} has no type {kind.name!r}: choose 'auto' or one of {', '.join(offered)}"
            )
    unions.hints_by_type(unit.hint, len(types))


REPAINT = "repaint"
_TAUGHT_MINUS_ONE = re.compile(r"control_v11p_sd15_inpaint")


def _refuse_inpainting(unit: Unit, said: str) -> None:
    """A mask where the net has no use for one, or none where it needs one."""
    wants = getattr(unit.net, "concat_mask", False)
    if unit.inpaint_mask is None:
        taught = unit.source is not None and _TAUGHT_MINUS_ONE.search(unit.source.name) is not None
        if wants or (taught and float(unit.hint.min()) >= 0.0):
            raise ValueError(
                f"{said} is an inpainting net: connect inpaint_mask of Add Control (white: what is"
                " painted anew)"
            )
        return
    if wants:
        return
    if shape_of(unit.net) != BLOCKS:
        raise ValueError(
            f"{said} takes no inpaint_mask: leave it empty, or use effect_mask for where control"
            " acts"
        )
    if types_offered(unit.net) and REPAINT not in {kind.name for kind in union_types_of(unit)}:
        raise ValueError(
            f"{said} takes an inpaint_mask for its type {REPAINT!r} only: name it in union_type"
        )


# -- names for sentences ---------------------------------------------------------------------------


def source_of(net: Any) -> Source | None:
    """What is known of a control object: what Load wrote down, else what its module's keys tell."""
    if tagged := getattr(net, TAG, None):
        return tagged
    module = getattr(net, "control_model", None) or getattr(net, "t2i_model", None)
    weights = (
        module.state_dict() if module is not None else getattr(net, "control_weights", {})
    )  # a Control-LoRA's
    identity = families.identify({key: tuple(value.shape) for key, value in weights.items()})
    return (
        Source(type(net).__name__, identity)
        if identity is not None and identity.is_control
        else None
    )


def members_of(conditioning: list[Any]) -> tuple[list[Member], list[str]]:
    """What the entries of a CONDITIONING carry: members that keep a journal, first of a chain
    first, and the others.
    """
    members: dict[int, Member] = {}
    foreign: dict[int, str] = {}
    for _, options in conditioning:
        chain: list[Any] = []
        control = options.get("control")
        while control is not None:
            chain.insert(0, control)
            control = getattr(control, "previous_controlnet", None)
        for control in chain:
            if isinstance(control, StackedControl):
                members.setdefault(id(control.journal), _member(control))
            else:
                foreign.setdefault(id(control), type(control).__name__)
    return list(members.values()), list(foreign.values())


def _member(control: StackedControl) -> Member:
    unit, source = control.unit, control.unit.source
    name = source.name if source else type(unit.net).__name__
    family = str(source.identity) if source else "a net that is not known here"
    return Member(
        name,
        family,
        unit.strength,
        control.journal,
        "never acts: not loaded" if unit.is_idle else "",
    )


def describe(unit: Unit) -> str:
    """A unit's net as sentences name it: its file and family, or its class where neither is known."""
    source = unit.source
    return (
        f"ControlNet {source.name!r} ({source.identity})"
        if source
        else f"the {type(unit.net).__name__}"
    )


def refuse_mismatch(unit: Unit, model_config: Any) -> None:
    """Raise ValueError where a unit's net cannot act on the model that the host describes by
    `model_config`.
    """
    if unit.source is None:
        return
    classes = tuple(base.__name__ for base in type(model_config).__mro__)
    model = base_models.model_of(classes, model_config.unet_config)
    if sentence := base_models.mismatch(unit.source.name, unit.source.identity, model):
        raise ValueError(sentence)
