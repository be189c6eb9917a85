"""Encode latents and prompts once; training then needs neither the VAE nor CLIP."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .dataset import Dataset

PICTURES_PER_CALL = 4
LATENT_SCALE = 8  # pixels per latent, along each side

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Text:
    """What the UNet gets of a prompt: context (1,T,C), and for SDXL y (1,D)."""

    context: Tensor
    y: Tensor | None = None


@dataclass(frozen=True)
class Encoded:
    """A data set as training reads it, on the CPU. `hint(i)` gives (height,width,3) in [0,1]."""

    latents: Tensor
    """(N,C,h,w) float32 in the model's own scale."""
    texts: tuple[Text, ...]
    text_of: tuple[int, ...]
    """Index in `texts` of each pair's prompt."""
    empty: Text
    """The empty prompt, which stands in for dropped ones."""
    hint: Callable[[int], Tensor]

    def hints(self, rows: Sequence[int]) -> Tensor:
        """Read the hints of some pairs, (B,3,height,width)."""
        return torch.stack([self.hint(row) for row in rows]).movedim(-1, 1).contiguous()

    def prompts(self, rows: Sequence[int], drops: Sequence[bool]) -> Text:
        """Batch the prompts of some pairs; dropped ones are empty."""
        return batch_texts(
            [
                self.empty if drop else self.texts[self.text_of[row]]
                for row, drop in zip(rows, drops, strict=True)
            ]
        )


def batch_texts(texts: Sequence[Text]) -> Text:
    """Concatenate prompts to one batch.

    Prompts of several lengths are repeated to a common one, as ComfyUI does: cross-attention is
    invariant to repeated tokens.
    """
    length = math.lcm(*(text.context.shape[1] for text in texts))
    contexts = [text.context.repeat(1, length // text.context.shape[1], 1) for text in texts]
    y = [text.y for text in texts if text.y is not None]
    return Text(torch.cat(contexts), torch.cat(y) if y else None)


def encode(
    dataset: Dataset, model: Any, clip: Any, vae: Any, progress: Progress | None = None
) -> Encoded:
    """Encode every target with the VAE, and every prompt with CLIP once.

    MODEL, CLIP and VAE are ComfyUI's. Raises ValueError where the VAE's latents are not this
    model's.
    """
    prompts = list(dict.fromkeys(pair.prompt for pair in dataset.pairs))
    total = len(dataset.pairs) + len(prompts)
    report = progress or (lambda *_: None)
    with torch.inference_mode():  # as ComfyUI runs its nodes; the results leave it as copies
        latents = _latents(dataset, model, vae, lambda done: report(done, total))
        empty, *texts = (_text(prompt, model, clip, dataset) for prompt in ["", *prompts])
    report(total, total)
    index = {prompt: i for i, prompt in enumerate(prompts)}
    text_of = tuple(index[pair.prompt] for pair in dataset.pairs)
    return Encoded(latents.clone(), tuple(map(_clone, texts)), text_of, _clone(empty), dataset.hint)


def _clone(text: Text) -> Text:
    return Text(text.context.clone(), None if text.y is None else text.y.clone())


def _latents(dataset: Dataset, model: Any, vae: Any, report: Callable[[int], None]) -> Tensor:
    expected = _latent_shape(model, dataset)
    batches: list[Tensor] = []
    for start in range(0, len(dataset.pairs), PICTURES_PER_CALL):
        report(start)
        rows = range(start, min(start + PICTURES_PER_CALL, len(dataset.pairs)))
        latents = vae.encode(torch.stack([dataset.target(row) for row in rows])).float().cpu()
        _refuse_non_finite(latents, rows, dataset)
        if latents.shape[1:] != expected:
            raise ValueError(
                f"vae: expected latents of {expected} for this model, found"
                f" {tuple(latents.shape[1:])}. Connect the VAE of the model's own checkpoint."
            )
        batches.append(latents)
    return model.model.process_latent_in(torch.cat(batches)).float()


def _refuse_non_finite(latents: Tensor, rows: Sequence[int], dataset: Dataset) -> None:
    """Raise ValueError that names the first picture whose latents are infinite or NaN.

    In half precision some VAEs overflow, SDXL's among them.
    """
    for row, latent in zip(rows, latents, strict=False):
        if not bool(latent.isfinite().all()):
            raise ValueError(
                f"vae: expected finite latents, found NaN or infinity for {dataset.name(row)}."
                " Start ComfyUI with --fp32-vae or --bf16-vae, or load a VAE that was repaired for"
                " half precision."
            )


def _latent_shape(model: Any, dataset: Dataset) -> tuple[int, int, int]:
    channels = model.model.latent_format.latent_channels
    return channels, dataset.height // LATENT_SCALE, dataset.width // LATENT_SCALE


def _text(prompt: str, model: Any, clip: Any, dataset: Dataset) -> Text:
    """Return what the model makes of a prompt at the training size, at the first sampling step."""
    context, extras = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0]
    size = {"width": dataset.width, "height": dataset.height, "prompt_type": "positive"}
    conds = model.model.extra_conds(
        **{**extras, **size},
        device=torch.device("cpu"),
        noise=torch.zeros(1, *_latent_shape(model, dataset)),
        cross_attn=context,
    )
    y = conds["y"].cond.float().cpu() if "y" in conds else None
    text = Text(conds["c_crossattn"].cond.float().cpu(), y)
    for part in (text.context, text.y):
        if part is not None and not bool(part.isfinite().all()):
            raise ValueError(
                f"clip: expected finite numbers, found NaN or infinity for the prompt {prompt!r}."
                " Start ComfyUI with --fp32-text-enc, or load another text encoder."
            )
    return text
