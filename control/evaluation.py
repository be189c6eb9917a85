"""Get a net's residuals for a step in the cheapest way that its speed allows.

That is what an earlier step gave (`reuse`), a part of one forward for several members (`batches`),
or the net itself, for all rows or for those of the positive alone.
"""

# pyright: basic

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import torch

from . import batches, finite, residuals
from .batches import Part, Step
from .frames import Rows, window_frames
from .hint_cache import union_feature
from .prompts import SIDE
from .report.journal import Call
from .residuals import Residuals
from .reuse import Moment, Stored, difference, moment_of


class Given(NamedTuple):
    """A net's residuals for a batch, (rows, …), shaped, and zero where the net does not act.

    `norms`, `is_finite`: see journal.py. `is_stored`: whether others read the tensors too.
    """

    own: Residuals
    norms: dict[Any, torch.Tensor]
    is_finite: torch.Tensor | None
    is_stored: bool = False


def given(member: Any, step: Step, rows: Rows, call: Call) -> Given | None:
    """Return what the net gives for a step; None where it gives nothing."""
    if not member.reuses or (moment := _moment(member, step)) is None:
        return _evaluated(member, step, rows, call)
    batch, reuse = _batch(member, step, rows), member.run.reuse
    stored = _usable(member, batch, moment, call.strength)
    if stored is not None:
        stored.served += 1
        call.is_reused = True
        result = Given(stored.own, stored.norms, stored.is_finite, is_stored=True)
    elif (result := _evaluated(member, step, rows, call)) is not None:
        earlier = reuse.before(batch, moment)
        if earlier is not None and earlier.served:
            with member.journal.noting():
                scale = 1.0 if member.adds_strength else call.strength / earlier.strength
                call.off_by = difference(result.own, earlier.own, scale)
        sources = (member.tiled.given, member.cond_hint)
        fresh = Stored(moment, call.strength, result.own, result.norms, result.is_finite, sources)
        result = result._replace(is_stored=reuse.store(batch, fresh))
    reuse.count(batch, moment.sigma)
    return result


def _is_reusable(member: Any, step: Step, rows: Rows, strength: float) -> bool:
    """Return whether the net need not run at this step."""
    if not member.reuses or (moment := _moment(member, step)) is None:
        return False
    return _usable(member, _batch(member, step, rows), moment, strength) is not None


def _usable(member: Any, batch: Hashable, moment: Moment, strength: float) -> Stored | None:
    """Return what serves this step; a net whose strength is not a factor needs the same one."""
    stored = member.run.reuse.usable(batch, moment)
    if stored is None or member.adds_strength or stored.strength == strength:
        return stored
    return None


def _evaluated(member: Any, step: Step, rows: Rows, call: Call) -> Given | None:
    own = _own(member, step, rows, call)
    if own is None:
        return None
    norms = member.journal.measured(own)
    if not norms:
        return Given(own, norms, None)
    is_finite = finite.are_finite(norms.values())
    in_place = member.unit.net_info.is_comfy_class
    return Given(finite.only_finite(own, is_finite, in_place=in_place), norms, is_finite)


def _own(member: Any, step: Step, rows: Rows, call: Call) -> Residuals | None:
    """Run the net: → its residuals for all rows of the batch."""
    sources = _sources(member, step)
    asked = rows if sources is None else rows.asked(sources)
    own = _of_batch(member, step, call) if member.adds_strength else None
    if own is None:
        own = member.evaluate(step, asked)
    if own is None:
        return None
    own = member.shaped(own, step.x, asked)
    if sources is not None and asked.chunks != rows.chunks:
        call.shared = len(rows.indices) - len(asked.indices)
        own = residuals.pick_rows(own, rows.served_by(asked, sources))
    return own if rows.are_all else residuals.spread_rows(own, rows.selection, rows.total)


def _sources(member: Any, step: Step) -> tuple[int, ...] | None:
    """Return for each chunk the one whose residuals serve it; None where each gets its own."""
    if not member.speed.share_prompts or not member.unit.net_info.is_comfy_class:
        return None
    return member.prompts.sources(step.options, step.chunks)


def part_of_batch(member: Any, step: Step) -> Part | None:
    """Return what a member brings to a forward for several; None where it runs alone.

    It does at its first step, when its hint is fitted and encoded.
    """
    run = member.run
    if not member.adds_strength or not run.started or run.runs_alone:
        return None
    strength, rows = member.acting(step)
    if not strength or not rows.indices or _is_reusable(member, step, rows, strength):
        return None
    sources = _sources(member, step)
    rows = rows if sources is None else rows.asked(sources)
    prepared = run.hints.hint_for(member, step.x, rows, rows.acting_frames)
    feature = union_feature(member, prepared, run.hints.module_with_cached_hint(member))
    if feature is None:
        return None
    types = [kind.number for kind in member.unit.types]
    return Part(member, member.inner.control_model, rows, feature, types, prepared.hint)


def _of_batch(member: Any, step: Step, call: Call) -> Residuals | None:
    result = batches.result_for(member, step)
    if result is None:
        return None
    call.batch = (result.began, result.ended, result.members)
    return result.own


# -- which batch, and when -------------------------------------------------------------------------


def _batch(member: Any, step: Step, rows: Rows) -> Hashable:
    """Return all that the residuals of a batch depend on, but for latent, time and strength."""
    options = step.options
    window, kinds = options.get("context_window"), options.get("cond_or_uncond")
    frames = () if window is None else (getattr(window, "dim", None), *window_frames(window))
    prompts = (tuple(options["uuids"]), tuple(kinds or ()), tuple(options.get(SIDE) or ()))
    hint = (id(member.tiled.given), id(member.cond_hint))
    return (prompts, hint, step.x.shape, rows, frames)


def _moment(member: Any, step: Step) -> Moment | None:
    """Describe where in its run a call is; None where the sampler does not tell."""
    run, options = member.run, step.options
    sigmas = options.get("sample_sigmas")
    window = options.get("context_window")
    tells_window = window is None or hasattr(window, "index_list")
    if sigmas is None or not options.get("uuids") or not tells_window or run.clock is None:
        return None
    if not run.sigmas:
        run.sigmas = tuple(sigmas.tolist())
    sigma = member.sigma_of(step)
    percent = run.clock.percent(sigma)
    return moment_of(sigma, run.sigmas, percent, lambda other: member.strength_near(other, step))
