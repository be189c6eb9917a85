"""The member of ComfyUI's control chain that the sampler calls: one for each unit of a stack.

A `StackedControl` owns a private copy of ComfyUI's own control object (`inner`) and lets it do what
it does: fit the hint, encode it where a net wants latents, cast, run the net, scale by strength.
Around that call it decides when and for which rows the net runs at all, fits the hint, keeps its
feature from step to step, and shapes the residuals by depth, place and frame. With plain settings
the arithmetic is ComfyUI's, so the image is ComfyUI's, bit for bit.

ComfyUI's side of the contract: `get_control` is called once a step for each batch of conditionings,
must return new lists with as many rows as `x_noisy`, and includes the residuals of
`previous_controlnet`; `pre_run` is called once a run for each conditioning that carries the chain;
`cleanup` is called only after success.
"""

# ComfyUI has no types, so strict checking would only list its names.
# pyright: basic, reportMissingImports=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import comfy.controlnet
import comfy.model_management
import torch

from . import batches, checks, finite, low_rank, residuals
from .batches import Part, Step
from .evaluation import given, part_of_batch
from .frames import Rows, frames_of
from .hint_cache import HintCache
from .patches import FITTED_BY_TILER, Acting, PatchNet
from .prompts import Prompts, take_mark
from .report.faults import faults_of, latent_sentence, net_sentence
from .report.inside import Inside
from .report.journal import Call, Journal
from .report.numbers import Member, NetReport, report
from .report.savings import savings_of, warning
from .reuse import Reuse
from .schedule import Clock
from .speed import EXACT, Speed
from .stack import IDLE, Unit
from .stages import Placed, Stages, place, remark_on_start
from .tiles import Cut, Masks, TiledHint, tiles_in

# Entry of transformer_options: (t, its value), read from the device once for the whole chain.
SIGMA = "controlstack_sigma"


@dataclass
class Run:
    """The state of one sampling run."""

    started: bool = False
    clock: Clock | None = None
    schedule: Placed | None = None  # where the unit's schedule has steps
    bounds: dict[torch.dtype, tuple[float, float]] = field(default_factory=dict)
    hints: HintCache = field(default_factory=HintCache)
    factors: dict[Any, torch.Tensor] = field(default_factory=dict)
    sigmas: tuple[float, ...] = ()  # of the sampler
    reuse: Reuse = field(default_factory=Reuse)
    features: Any = None  # those of a batch, together: see batches.py
    runs_alone: bool = False  # a batch did not fit into memory
    merged: Any = None  # the module of a Control-LoRA, once it is merged


class StackedControl(comfy.controlnet.ControlBase):
    """A unit of a stack at work.

    `inner`: a copy of its net with hint, range and VAE set, and without a predecessor. `say` tells
    the user a sentence while sampling.
    """

    tiled: TiledHint | None = None
    # AnimateDiff-Evolved asks whether a control has these, and writes each window's frames.
    sub_idxs: Any = None
    full_latent_length, context_length = 0, 0

    def __init__(
        self,
        unit: Unit,
        inner: Any,
        say: Callable[[str], None] = logging.warning,
        speed: Speed = EXACT,
    ) -> None:
        super().__init__()
        inner.copy_to(self)  # tilers and ComfyUI read these attributes on chain members
        self.unit = unit
        self.inner = inner
        self.say = say
        self.speed = speed
        self.adds_strength = speed.is_fast and _is_scaled_once(unit, inner)
        if self.adds_strength:
            inner.control_merge = _unscaled  # of our own copy
        self.run = Run()
        self.journal = Journal()
        self.stages = Stages()
        self.on_end: Callable[[StackedControl], None] | None = None
        self.prompts = Prompts()
        self._show_masks_to_tilers()

    # -- what tilers read and write ----------------------------------------------------------------

    @property
    def cond_hint_original(self) -> Any:
        """The hint, with masks as further channels: a tiler cuts both alike."""
        return None if self.tiled is None else self.tiled.show()

    @cond_hint_original.setter
    def cond_hint_original(self, hint: Any) -> None:
        if self.tiled is not None:  # ComfyUI's constructor sets None
            self.tiled.give(hint)

    def _show_masks_to_tilers(self) -> None:
        effect, inner = self.unit.effect_mask, self.inner
        values = None if effect is None else effect.values.unsqueeze(1)
        masks = Masks(values, tuple(inner.extra_concat_orig))
        whole, latents = inner.cond_hint_original, inner.latent_format
        channels = whole.shape[1] if latents is None else latents.latent_channels
        self.tiled = TiledHint(self.unit.net_info.name, whole, masks, channels)
        if masks.for_hint:
            self.extra_concat_orig = [*masks.inpaint, *masks.for_list]
            own_channels, as_trained = self.tiled.first_channels, inner.preprocess_image
            self.preprocess_image = lambda pixels: as_trained(own_channels(pixels))

    # -- what ComfyUI asks before sampling ---------------------------------------------------------

    def copy(self) -> StackedControl:
        """Copy this member, as tilers and hooks do; the copy notes into the same journal."""
        return self._twin(self.inner.copy())

    def deepclone_multigpu(self, load_device: Any, autoregister: bool = False) -> StackedControl:
        """Clone this member with its weights for another device."""
        twin = self._twin(self.inner.deepclone_multigpu(load_device))
        if autoregister:
            self.multigpu_clones[load_device] = twin
        return twin

    def _twin(self, inner: Any) -> StackedControl:
        twin = StackedControl(self.unit, inner, self.say, self.speed)
        self.copy_to(twin)
        assert self.tiled is not None
        twin.tiled, twin.on_end = self.tiled.twin(), self.on_end
        twin.journal, twin.stages, twin.prompts = self.journal, self.stages, self.prompts
        return twin

    def get_models(self) -> list[Any]:
        """List the models of the chain that ComfyUI is to load, without nets that never act."""
        own = [] if self.unit.is_idle or self.unit.is_instant else self.inner.get_models()
        return super().get_models() + own

    def inference_memory_requirements(self, dtype: torch.dtype) -> int:
        """Return the bytes that the chain needs beside its weights."""
        own = 0 if self.unit.is_idle else self.inner.inference_memory_requirements(dtype)
        if own and self.speed.is_fast and isinstance(self.inner, comfy.controlnet.ControlLora):
            merged = low_rank.merged_parameters(self.inner.control_weights)
            own += merged * comfy.model_management.dtype_size(dtype)
        return super().inference_memory_requirements(dtype) + own

    def pre_run(self, model: Any, percent_to_timestep_function: Callable[[float], float]) -> None:
        """Start a run from nothing, because an interrupted one was never cleaned up.

        Raises ValueError where the net does not fit the model.
        """
        super().pre_run(model, percent_to_timestep_function)
        clock = self._clock_of_chain() or Clock(percent_to_timestep_function)
        self.run = Run(clock=clock, reuse=Reuse(self.speed.reuse))
        self.journal.start()
        self.prompts.forget()
        self.sub_idxs = None
        if self.unit.is_idle:
            return
        with checks.named(self.unit):
            checks.refuse_mismatch(self.unit.net_info, model.model_config)
        self.inner.pre_run(model, percent_to_timestep_function)
        # The range is decided here, with one reading of sigma for the whole chain.
        self.inner.timestep_range = None
        self.run.started = True

    def _clock_of_chain(self) -> Clock | None:
        """Return the clock of the nearest member before this one, whose run has just started.

        Its tables serve the whole chain.
        """
        member = self.previous_controlnet
        while member is not None and not isinstance(member, StackedControl):
            member = member.previous_controlnet
        return member.run.clock if member is not None else None

    def cleanup(self) -> None:
        """Release what the run kept, and tell `on_end`, once for each run."""
        super().cleanup()
        if self.run.started:
            self.inner.cleanup()
            with self.journal.noting():
                self._tell_faults()
                self._tell_reuse()
        has_run = self.run.clock is not None
        self.run, self.sub_idxs = Run(), None
        if has_run and self.on_end is not None:
            self.on_end(self)

    def _tell_faults(self) -> None:
        """Tell the user, once for each run, at which steps values were not finite."""
        if self.journal.faults:
            return
        info, faults = self.unit.net_info, faults_of(self.journal)
        broken = checks.first_broken_weight(self.unit.net) if faults.left_out else ""
        of_net = net_sentence(str(info), faults, broken)
        sentences = (of_net and self.unit.label + of_net, latent_sentence(faults))
        for sentence in filter(None, sentences):
            self.journal.faults.append(sentence)
            if self.run.clock is None or sentence not in self.run.clock.remarks:
                self.say(sentence)
            if self.run.clock is not None:
                self.run.clock.remarks.append(sentence)

    def _tell_reuse(self) -> None:
        """Tell the user once for each run where reuse was far off."""
        if self.reuses and not self.journal.is_reuse_told:
            self.journal.is_reuse_told = True
            if sentence := warning(str(self.unit.net_info), savings_of(self.journal)):
                self.say(sentence)

    # -- each step ---------------------------------------------------------------------------------

    def get_control(
        self,
        x_noisy: torch.Tensor,
        t: torch.Tensor,
        cond: dict[str, Any],
        batched_number: int,
        transformer_options: dict[str, Any],
    ) -> residuals.Residuals | None:
        """Return the sum of the residuals of this member and of all before it, for one step.

        The rows of `x_noisy` are `batched_number` chunks, one for each conditioning.
        """
        take_mark(cond, transformer_options)
        step = Step(x_noisy, t, cond, batched_number, transformer_options)
        if self.speed.is_fast:
            batches.remember_last(self, step)
        previous = None
        if self.previous_controlnet is not None:
            previous = self.previous_controlnet.get_control(*step)
        with checks.named(self.unit):  # those before have named themselves
            return self._with_own(previous, step)

    def _with_own(
        self, previous: residuals.Residuals | None, step: Step
    ) -> residuals.Residuals | None:
        """Add this member's residuals to those of the members before it."""
        strength, rows = self.acting(step)
        if strength == 0.0 or not rows.indices:
            if strength == 0.0:
                self.run.reuse.forget()
            if not self.unit.is_idle:
                self.journal.off.append(_sigma_of(step.t, step.options))
            return previous
        self.inner.strength = strength
        sigma = _sigma_of(step.t, step.options)
        call = self.journal.begin(sigma, strength, step.x, rows.indices)
        self._load_if_instant()
        if isinstance(self.inner, PatchNet):
            self.act_inside(self.inner, step.x, rows, step.options, call)
            return previous
        self._merge_low_rank()
        if (result := given(self, step, rows, call)) is None:
            return previous
        own, norms, is_finite, is_stored = result
        latent = finite.latent_is_finite(step.x, step.options) if norms else None
        if self.adds_strength:
            merged = residuals.add_scaled(previous, own, strength, own_is_free=not is_stored)
            call.scale = strength
        else:
            merged = residuals.merge(previous, own)
        self.journal.end(call, own, merged, step.options, norms, latent, is_finite)
        return merged

    def acting(self, step: Step) -> tuple[float, Rows]:
        """Return the strength at a step, and the rows to add control to."""
        strength = self.strength_at(step.t, step.options)
        return strength, self.acting_rows(step.x, step.chunks, step.options)

    def part_of_batch(self, step: Step) -> Part | None:
        """Return what this member brings to one forward for several; None where it runs alone."""
        return part_of_batch(self, step)

    @property
    def tells_prompts_apart(self) -> bool:
        """Whether it has to know which prompt is the positive."""
        return self.unit.on_positive_only or self.speed.share_prompts

    @property
    def reuses(self) -> bool:
        """Whether its residuals may serve several steps: not those of other packs' classes."""
        info = self.unit.net_info
        return self.speed.reuse > 1 and info.is_comfy_class and not info.is_adapter

    def _merge_low_rank(self) -> None:
        """Merge a Control-LoRA once a run, where that fits into memory."""
        inner = self.inner
        if not self.speed.is_fast or not isinstance(inner, comfy.controlnet.ControlLora):
            return
        if self.run.merged is not inner.control_model:
            self.run.merged = inner.control_model
            device = comfy.model_management.get_torch_device()
            free = comfy.model_management.get_free_memory(device)
            if low_rank.merged_bytes(inner.control_model) < free:
                self.journal.merged = low_rank.merge(inner.control_model)

    def strength_at(self, t: torch.Tensor, transformer_options: dict[str, Any]) -> float:
        """Return strength times schedule at this step's sigma; 0 outside the range."""
        if self.unit.is_idle:
            return 0.0
        # Read outside the range too, so that a schedule that cannot be placed fails at step one.
        placed = self._placed_schedule(transformer_options)
        return self._strength(_sigma_of(t, transformer_options), t.dtype, placed)

    def sigma_of(self, step: Step) -> float:
        """Return the sigma of a step."""
        return _sigma_of(step.t, step.options)

    def strength_near(self, sigma: float, step: Step) -> float:
        """Return strength times schedule at another sigma of the same run."""
        return self._strength(sigma, step.t.dtype, self._placed_schedule(step.options))

    def _strength(self, sigma: float, dtype: torch.dtype, placed: Placed | None) -> float:
        first, last = self._bounds(dtype)
        schedule, clock = self.unit.schedule, self.run.clock
        if sigma > first or sigma < last:
            return 0.0
        if schedule.is_constant_one or clock is None:
            return self.strength
        return self.strength * (placed.at(sigma) if placed else schedule.at(clock.percent(sigma)))

    def _bounds(self, dtype: torch.dtype) -> tuple[float, float]:
        """Return the sigmas of the range, rounded as ComfyUI rounds them to compare them with t."""
        if dtype not in self.run.bounds:
            bounds = self.timestep_range or (float("inf"), float("-inf"))
            first, last = (float(torch.tensor(bound, dtype=dtype)) for bound in bounds)
            self.run.bounds[dtype] = (first, last)
        return self.run.bounds[dtype]

    def _placed_schedule(self, transformer_options: dict[str, Any]) -> Placed | None:
        """Return the unit's schedule with its steps where this run has them; None without steps."""
        schedule, clock = self.unit.schedule, self.run.clock
        if not schedule.has_steps or clock is None:
            return None
        if self.run.schedule is None:
            sigmas = transformer_options.get("sample_sigmas")
            if sigmas is None:
                raise ValueError(
                    "schedule: this sampler does not report its steps, so positions such as '6s'"
                    " cannot be used. Use fractions of sampling instead, such as 0.5."
                )
            own = sigmas.tolist()
            whole = self.stages.whole(own)
            self.run.schedule = place(schedule, clock, whole)
            if (remark := remark_on_start(clock, own, whole)) and remark not in clock.remarks:
                clock.remarks.append(remark)
                self.say(remark)
        return self.run.schedule

    def acting_rows(
        self, x: torch.Tensor, chunks: int, transformer_options: dict[str, Any]
    ) -> Rows:
        """Return the rows to compute.

        Leaves out the negative's in modes control and cond_only, and frames that stay unchanged.
        Raises ValueError where prompts or frames cannot be told apart.
        """
        unit, cut = self.unit, self.cut()
        is_fitted = cut is not None and cut.fitted is not None
        tiles = tiles_in(x.shape[0], chunks, transformer_options) if is_fitted else 1
        latents = x.shape[0] // (chunks * tiles)
        frames = cut.frames(latents) if cut is not None else None
        if frames is None:
            frames = frames_of(latents, transformer_options, self.sub_idxs)
        acting = tuple(range(chunks))
        if unit.on_positive_only:
            acting = self.prompts.positive_chunks(transformer_options, chunks)
        acts_on = unit.acts_on if cut is None else partial(_acts_in_tile, unit, cut)
        entries = tuple(i for i, frame in enumerate(frames) if acts_on(frame, i))
        return Rows(acting, chunks, entries, frames, tiles)

    def cut(self) -> Cut | None:
        """Return what a tiler gave in place of the hint; None where none is at work."""
        assert self.tiled is not None
        return self.tiled.cut(self.cond_hint)

    def _load_if_instant(self) -> None:
        """Load the net of an interval of no length, which get_models leaves out."""
        if self.unit.is_instant:
            loaded = comfy.model_management.loaded_models(only_currently_used=True)
            comfy.model_management.load_models_gpu(loaded + self.inner.get_models())

    def evaluate(self, step: Step, rows: Rows) -> residuals.Residuals | None:
        """Run the net itself: → its residuals for the acting rows alone."""
        call_net, options = self.run.hints.call_net, self._options_of_net(rows, step.options)
        x, t, cond = step.x, step.t, step.cond
        if not rows.are_all:
            x, t = x[rows.selection], t[rows.selection]
            cond = {key: rows.select(value) for key, value in cond.items()}
        return call_net(self, x, t, cond, rows, options)

    def _options_of_net(self, rows: Rows, options: dict[str, Any]) -> dict[str, Any]:
        """Tell nets of other packs which prompts and frames they get; ComfyUI's read neither."""
        if not rows.are_all and (kinds := options.get("cond_or_uncond")) is not None:
            options = {**options, "cond_or_uncond": [kinds[chunk] for chunk in rows.chunks]}
        if self.net_picks_frames(options):
            self.inner.sub_idxs = list(rows.acting_frames)
            self.inner.full_latent_length = self.full_latent_length
            self.inner.context_length = self.context_length
            if params := options.get("ad_params"):
                options = {**options, "ad_params": {**params, "sub_idxs": self.inner.sub_idxs}}
        return options

    def net_picks_frames(self, options: dict[str, Any]) -> bool:
        """Return whether the net itself picks its hints in a window of AnimateDiff-Evolved's."""
        window = options.get("ad_params", {}).get("sub_idxs", self.sub_idxs)
        return window is not None and hasattr(self.inner, "sub_idxs")

    def act_inside(
        self, net: PatchNet, x: torch.Tensor, rows: Rows, options: dict[str, Any], call: Call
    ) -> None:
        """Let a net that gives no residuals act inside the model, at the unit's place and depth."""
        strength, weights, depth = net.strength, None, self.unit.depth
        if depth.kind:
            weights = net.layout.weights(depth)(len(net.heights), net.heights)
        if self.unit.effect_mask is not None or not self.unit.frame_strength.is_constant_one:
            strength = net.scaled(strength, x, rows, partial(self.factors, x=x, rows=rows))
        assert self.tiled is not None
        hint, picks, cut = self.tiled.whole, rows.acting_frames, self.cut()
        masks = self.tiled.masks.inpaint
        if cut is not None:
            if cut.hint is None:
                raise ValueError(f"{self.unit.net_info}: {FITTED_BY_TILER}")
            hint, masks, picks = cut.hint, cut.inpaint, cut.picks(rows)
        area = next(iter(masks), None)
        self.journal.calls.append(call)
        watched = Inside(call, net.acting_block, net.tokens(x)).around
        acting = Acting(hint, picks, rows, strength, weights, self.unit.fit, area, watched)
        self.journal.encoded += net.act(x, acting, options)

    def shaped(self, own: residuals.Residuals, x: torch.Tensor, rows: Rows) -> residuals.Residuals:
        """Weigh residuals over depth, mask them, and scale them frame by frame.

        Returns the same tensors where none of it is set.
        """
        depth = self.unit.depth
        if depth.kind:
            layout = self.unit.net_info.layout
            assert layout is not None  # see checks.refuse_unfit
            own = residuals.weigh(own, layout.weights(depth))
        if self.unit.effect_mask is not None or not self.unit.frame_strength.is_constant_one:
            own = residuals.each(own, lambda residual: residual * self.factors(residual, x, rows))
        return own

    def factors(self, residual: torch.Tensor, x: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Return the factor of each acting row, (rows, 1, …): its frame's strength times mask."""
        cut = self.cut()
        cache = self.run.factors if cut is None else cut.factors
        places = (rows.acting_frames, tuple(rows.indices), residual.shape[1:], x.shape[2:])
        key = (*places, residual.dtype, residual.device)
        if key not in cache:
            strengths = [self.unit.frame_strength.at(frame) for frame in rows.acting_frames]
            factors = torch.tensor(strengths).repeat(rows.repeats)
            factors = factors.reshape(-1, *(1,) * (residual.ndim - 1))
            if (over := self._mask(residual, x, rows, cut)) is not None:
                factors = over.to(factors.device) * factors
            cache[key] = factors.to(residual)
        return cache[key]

    def _mask(
        self, residual: torch.Tensor, x: torch.Tensor, rows: Rows, cut: Cut | None
    ) -> torch.Tensor | None:
        """Return the acting rows' effect masks where the residual lies, or None."""
        mask, layout = self.unit.effect_mask, self.unit.net_info.layout
        if mask is None:
            return None
        assert layout is not None  # see checks.refuse_unfit
        if cut is None:
            return layout.mask(mask, rows.acting_frames, rows.repeats, residual, x, self.unit.fit)
        assert cut.effect_mask is not None
        return layout.mask(cut.effect_mask, *cut.mask_entries(rows), residual, x, "stretch")


def _is_scaled_once(unit: Unit, inner: Any) -> bool:
    """Return whether a net's strength is one factor of all its residuals, in ComfyUI's classes."""
    is_plain = unit.net_info.class_name in ("ControlNet", "ControlLora", "ControlNetSD35")
    is_factor = getattr(inner, "strength_type", None) == comfy.controlnet.StrengthType.CONSTANT
    is_whole = not getattr(inner, "global_average_pooling", True)
    return unit.net_info.is_comfy_class and is_plain and is_factor and is_whole


def _unscaled(
    control: residuals.Residuals, _previous: Any = None, output_dtype: torch.dtype | None = None
) -> residuals.Residuals:
    """Take the place of ComfyUI's merging on our copy of a net: strength is added in later."""
    if output_dtype is None:
        return {place: list(control.get(place, [])) for place in residuals.PLACES}
    return residuals.each(control, lambda residual: residual.to(output_dtype))


def _acts_in_tile(unit: Unit, cut: Cut, frame: int, entry: int) -> bool:
    return unit.frame_strength.at(frame) != 0.0 and cut.acts_on(entry, frame)


def _sigma_of(t: torch.Tensor, transformer_options: dict[str, Any]) -> float:
    """Return the first of t, (rows,) and all equal, as a number.

    Reading it waits for the device: once for the whole chain.
    """
    reading = transformer_options.get(SIGMA)
    if reading is None or reading[0] is not t:
        reading = transformer_options[SIGMA] = (t, float(t[0]))
    return reading[1]


# -- after sampling: what a report needs -----------------------------------------------------------


def members_of(conditioning: list[Any]) -> tuple[list[Member], list[str]]:
    """List the controls of a CONDITIONING's entries, first of a chain first.

    → our members, each with its journal, and the class names of all other controls.
    """
    members: dict[int, Member] = {}
    foreign: dict[int, str] = {}
    for _, options in conditioning:
        for control in _chain_of(options.get("control")):
            if isinstance(control, StackedControl):
                members.setdefault(id(control.journal), _member(control))
            else:
                foreign.setdefault(id(control), type(control).__name__)
    return list(members.values()), list(foreign.values())


def shares_of(control: StackedControl) -> list[tuple[Unit, NetReport, float | None]]:
    """List what each of our members up to `control` did in the last run, first of the chain first.

    → its unit, its report, and its share of a step where that is known.
    """
    members = [each for each in _chain_of(control) if isinstance(each, StackedControl)]
    last_run = report([_member(each) for each in members])
    return [
        (each.unit, net, last_run.share(net))
        for each, net in zip(members, last_run.nets, strict=True)
    ]


def _chain_of(control: Any) -> list[Any]:
    chain: list[Any] = []
    while control is not None:
        chain.insert(0, control)
        control = getattr(control, "previous_controlnet", None)
    return chain


def _member(control: StackedControl) -> Member:
    unit, source = control.unit, control.unit.net_info.source
    family = str(source.identity) if source else "an unknown family"
    idle = f"never acts, because {IDLE[unit.idle_reason][1]}" if unit.is_idle else ""
    return Member(unit.net_info.name, family, unit.strength, control.journal, idle)
