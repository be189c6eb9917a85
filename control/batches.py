"""One forward for all members of a chain that have the same net: a union used three times, say.

The net's own forward runs over the rows of all of them, one after the other, with the features of
their hints, which are ready by then. Reading the weights and starting each layer costs once.
"""

# ComfyUI has no types, so strict checking would only list its names.
# pyright: basic

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch

from .frames import Rows
from .report.journal import Mark, now
from .residuals import Residuals, each

LAST = "controlstack_last"  # entry of transformer_options: (t, the member that was asked first)
BATCH = "controlstack_batch"  # entry of transformer_options: (t, results by the member's id)
LARGEST = 2**17
"""Places of the latent over all rows: eight rows of a picture of 1024 x 1024. Larger batches gain
nothing, because they keep any device busy, and take memory."""


class Step(NamedTuple):
    """What ComfyUI asks a chain: the arguments of `get_control`."""

    x: torch.Tensor
    t: torch.Tensor
    cond: dict[str, Any]
    chunks: int
    options: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """What one member brings to a batch.

    `module`: the net; `feature`: what is added to its first block, (rows,C,h,w); `types`: the union
    types that it is asked for; `hint`: as fitted by ComfyUI, (rows,C,H,W).
    """

    member: Any
    module: Any
    rows: Rows
    feature: torch.Tensor
    types: list[int]
    hint: torch.Tensor

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.rows.indices)


class Result(NamedTuple):
    """A member's residuals, when the batch ran, and how many members it was for."""

    own: Residuals
    began: Mark
    ended: Mark
    members: int


def remember_last(member: Any, step: Step) -> None:
    """Note which member of a chain was asked first: the others are reached from it."""
    noted = step.options.get(LAST)
    if noted is None or noted[0] is not step.t:
        step.options[LAST] = (step.t, member)


def result_for(member: Any, step: Step) -> Result | None:
    """Return what a batch gives this member; None where it has to run alone.

    The first member of several with one net runs it for all.
    """
    done = step.options.get(BATCH)
    if done is None or done[0] is not step.t:
        done = step.options[BATCH] = (step.t, {})
    results: dict[int, Result] = done[1]
    if id(member) not in results and (own := member.part_of_batch(step)) is not None:
        results.update(_run(_parts_with(own, step), step))
    return results.pop(id(member), None)


def _parts_with(own: Part, step: Step) -> list[Part]:
    """List the parts of the members that have the net of `own`, first of the chain first."""
    parts: list[Part] = []
    places = own.feature.shape[-2] * own.feature.shape[-1]
    for member in reversed([*_chain(step.options[LAST][1])]):
        if getattr(member.inner, "control_model", None) is not own.module:
            continue
        part = own if member is own.member else member.part_of_batch(step)
        if part is None or places * sum(p.count for p in (*parts, part)) > LARGEST:
            continue
        parts.append(part)
    return parts if own in parts else []


def _chain(member: Any) -> Iterator[Any]:
    while member is not None:
        if hasattr(member, "part_of_batch"):
            yield member
        member = getattr(member, "previous_controlnet", None)


def _run(parts: list[Part], step: Step) -> dict[int, Result]:
    """Run the net for all parts: → a result for each member; none for less than two members."""
    if len(parts) < 2:
        return {}
    began = now(step.x.device)
    try:
        together = _forward(parts, step)
    except torch.cuda.OutOfMemoryError:
        for part in parts:
            part.member.run.runs_alone = True
        return {}
    ended = now(step.x.device)
    ends = [0, *accumulate(part.count for part in parts)]

    def rows_of(first: int, end: int) -> Residuals:
        return each(together, lambda residual: residual[first:end])

    return {
        id(part.member): Result(rows_of(*rows), began, ended, len(parts))
        for part, rows in zip(parts, pairwise(ends), strict=True)
    }


def _forward(parts: list[Part], step: Step) -> Residuals:
    """Run ComfyUI's own get_control of the first member, for the rows of all of them."""
    inner, total = parts[0].member.inner, parts[0].rows.total

    def picked(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == total:
            return torch.cat([value[part.rows.selection] for part in parts])
        return value

    count = sum(part.count for part in parts)
    cond = {key: picked(value) for key, value in step.cond.items()}
    chunks = sum(len(part.rows.chunks) for part in parts)
    # Never read: the features are ready. Of the right size, so that ComfyUI fits none.
    inner.cond_hint = parts[0].hint[:1].expand(count, -1, -1, -1)
    inner.control_model = _twin(parts)
    try:
        return inner.get_control(picked(step.x), picked(step.t), cond, chunks, step.options)
    finally:
        inner.control_model, inner.cond_hint = parts[0].module, None


def _twin(parts: list[Part]) -> Any:
    """Return a twin of the net that takes the parts' features and types. It shares the weights."""
    ready = _together(parts)
    twin = copy.copy(parts[0].module)
    twin._modules = {**twin._modules, "input_hint_block": _Ready(ready)}
    twin.union_controlnet_merge = lambda *_: ready
    if getattr(twin, "control_add_embedding", None) is not None:
        twin._modules["control_add_embedding"] = _TypesByRow(twin.control_add_embedding, parts)
    return twin


def _together(parts: list[Part]) -> torch.Tensor:
    """Return the parts' features as one batch, copied once a run."""
    run, features = parts[0].member.run, [part.feature for part in parts]
    if run.features is None or [*map(id, run.features[0])] != [*map(id, features)]:
        rows = [part.feature.expand(part.count, -1, -1, -1) for part in parts]
        run.features = (features, torch.cat(rows))
    return run.features[1]


class _Ready(torch.nn.Module):
    """Takes the place of a hint encoder."""

    def __init__(self, feature: torch.Tensor) -> None:
        super().__init__()
        self.feature = feature

    def forward(self, *_: Any) -> torch.Tensor:
        return self.feature


class _TypesByRow(torch.nn.Module):
    """Takes the place of the embedding of union types: each part's rows get its own types."""

    def __init__(self, embedding: torch.nn.Module, parts: list[Part]) -> None:
        super().__init__()
        self.embedding, self.parts = embedding, parts

    def forward(self, _types: list[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        rows = [self.embedding(p.types, dtype, device).expand(p.count, -1) for p in self.parts]
        return torch.cat(rows)
