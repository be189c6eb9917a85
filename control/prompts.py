"""Which prompt a row of the sampler's batch belongs to: asked of ComfyUI, not read from an order.

A batch is several conditionings, chunk after chunk. Guiders order and number them in their own way,
evaluate some of them alone, or run them on a second model, so a chunk's number in `cond_or_uncond`
does not tell its side. Two things do, and both stand on the conditioning itself:

- `PromptOptions`. Before a run ComfyUI asks each entry of the sampler's positive, and no other,
  whether its control is to serve the negative too. Options that hear this question note their
  entry's `uuid`, which comes with every batch.
- `Side`. Apply marks the entries of both its outputs. The mark stands among what ComfyUI batches
  for the model (`model_conds`), so it goes where the prompt goes: ComfyUI gives a positive with an
  area a twin on the negative, with the positive's options and uuid, but the negative's prompt.

Only chains with a unit for the positive alone carry them. Where Apply has no negative, nothing is
marked: a prompt that went around Apply has no mark, and ComfyUI batches only prompts with the same
entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SIDE = "controlstack_side"  # entry of model_conds; of a batch's cond; then of transformer_options
QUESTION = "control_apply_to_uncond"  # what ComfyUI asks the entries of the positive for


@dataclass(frozen=True)
class Side:
    """The side of Apply that a prompt came through, as an entry of its `model_conds`.

    Batches with its like, whatever the side, into a tuple with the side of each chunk.
    """

    is_positive: bool

    def process_cond(self, **_: Any) -> Side:
        """Return itself: it has no rows and no area."""
        return self

    def can_concat(self, _other: Any) -> bool:
        """Return that it never keeps prompts apart."""
        return True

    def concat(self, others: list[Side]) -> tuple[bool, ...]:
        """Return whether each chunk of a batch is of the positive."""
        return tuple(side.is_positive for side in (self, *others))

    def size(self) -> list[int]:
        """Return a size for ComfyUI's estimate of memory."""
        return [1]


class PromptOptions(dict[str, Any]):
    """The options of a conditioning's entry: they tell its chain when the positive is asked.

    A dict in every other respect.
    """

    def copy(self) -> PromptOptions:
        """Copy the options, as ComfyUI and its nodes do before they change them."""
        return PromptOptions(self)

    def get(self, key: str, default: Any = None) -> Any:
        """Return an option; hear the question that is put to the positive only."""
        if key == QUESTION and "uuid" in self:
            for prompts in _listeners(self.get("control")):
                prompts.hear(self)
        return super().get(key, default)


def _listeners(control: Any) -> Iterator[Prompts]:
    while control is not None:
        if isinstance(prompts := getattr(control, "prompts", None), Prompts):
            yield prompts
        control = getattr(control, "previous_controlnet", None)


def marked(options: Mapping[str, Any], side: Side | None) -> PromptOptions:
    """Return an entry's options as the chain needs them; `side` where Apply has both prompts."""
    changed = PromptOptions(options)
    if side is not None:
        changed["model_conds"] = {**options.get("model_conds", {}), SIDE: side}
    return changed


def take_mark(cond: dict[str, Any], transformer_options: dict[str, Any]) -> None:
    """Move the batch's mark from `cond`, which goes on to the model, to `transformer_options`."""
    if (sides := cond.pop(SIDE, None)) is not None:
        transformer_options[SIDE] = sides


@dataclass(frozen=True)
class Positive:
    """What is known of an entry of the sampler's positive."""

    is_marked: bool
    has_area: bool


class Prompts:
    """The prompts of a run, as one member of a chain and its copies hear of them."""

    def __init__(self) -> None:
        self.positives: dict[Any, Positive] = {}  # by uuid

    def forget(self) -> None:
        """Forget the entries of an earlier run."""
        self.positives.clear()

    def hear(self, options: Mapping[str, Any]) -> None:
        """Note an entry of the sampler's positive."""
        is_marked = SIDE in options.get("model_conds", {})
        self.positives[options["uuid"]] = Positive(is_marked, "area" in options)

    def positive_chunks(
        self, transformer_options: Mapping[str, Any], chunks: int
    ) -> tuple[int, ...]:
        """Return the chunks of a batch that belong to the positive prompt.

        A guider without a positive of that name, or with nothing beside it, is asked nothing: then
        the marks decide, and without marks ComfyUI's own number, 0 for the first prompt. Raises
        ValueError where neither tells the prompts apart.
        """
        sides = transformer_options.get(SIDE)
        kinds = transformer_options.get("cond_or_uncond")
        uuids = transformer_options.get("uuids")
        if self.positives and uuids is not None:
            sides = sides or (None,) * len(uuids)
            batch = zip(uuids, sides, kinds or (0,) * len(uuids), strict=True)
            return tuple(i for i, chunk in enumerate(batch) if self._is_positive(*chunk))
        if sides is not None:
            return tuple(i for i, side in enumerate(sides) if side)
        if kinds is not None:
            return tuple(i for i, kind in enumerate(kinds) if kind == 0)
        return tuple(range(chunks))

    def sources(self, transformer_options: Mapping[str, Any], chunks: int) -> tuple[int, ...]:
        """Return for each chunk of a batch the chunk whose residuals may serve it.

        That is for a negative the positive, or that of its own area; else the chunk itself, as
        under guiders of three prompts.
        """
        itself = tuple(range(chunks))
        kinds = transformer_options.get("cond_or_uncond")
        uuids = transformer_options.get("uuids")
        if kinds is None or uuids is None or max(kinds) > 1:
            return itself
        positives = self.positive_chunks(transformer_options, chunks)
        if len(positives) == 1:
            return positives * chunks
        twins = {uuids[chunk]: chunk for chunk in positives}
        return tuple(i if i in positives else twins.get(uuids[i], i) for i in itself)

    def _is_positive(self, uuid: Any, side: bool | None, kind: int) -> bool:
        entry = self.positives.get(uuid)
        if entry is None:
            return False
        if entry.is_marked or side is not None:
            return bool(side)
        if not entry.has_area:
            return True
        if kind > 1:  # of a positive with an area, ComfyUI makes twins for all other prompts
            raise ValueError(
                "modes 'control' and 'cond_only': the positive prompt has an area and the guider"
                " has more than two prompts, so Apply ControlNet Stack must see the negative to"
                " tell them apart. Connect it to Apply ControlNet Stack, or use mode 'balanced'."
            )
        return kind == 0
