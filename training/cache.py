"""Latents and texts, encoded once: what training reads at every step. The VAE and CLIP are then no
longer needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .dataset import Dataset

ENCODED_AT_ONCE = 4

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
    """Which text each pair has; `empty` is the one of a dropped prompt."""
    empty: Text
    hint: Callable[[int], Tensor]

    def hints(self, rows: Sequence[int]) -> Tensor:
        """(B,3,height,width)."""
        return torch.stack([self.hint(row) for row in rows]).movedim(-1, 1).contiguous()

    def prompts(self, rows: Sequence[int], drops: Sequence[bool]) -> Text:
        return together(
            [
                self.empty if drop else self.texts[self.text_of[row]]
                for row, drop in zip(rows, drops, strict=True)
            ]
        )


def together(texts: Sequence[Text]) -> Text:
    """One batch. Prompts of several lengths are repeated to a common one, as the host does:
    attention does not mind.
    """
    length = math.lcm(*(text.context.shape[1] for text in texts))
    contexts = [text.context.repeat(1, length // text.context.shape[1], 1) for text in texts]
    y = [text.y for text in texts if text.y is not None]
    return Text(torch.cat(contexts), torch.cat(y) if y else None)


def encoded(
    dataset: Dataset, model: Any, clip: Any, vae: Any, progress: Progress | None = None
) -> Encoded:
    """Every target through the VAE, every prompt through CLIP once. MODEL, CLIP and VAE are the
    host's.

    Raises ValueError where the VAE's latents are not this model's.
    """
    prompts = list(dict.fromkeys(pair.prompt for pair in dataset.pairs))
    work = len(dataset.pairs) + len(prompts)
    with torch.inference_mode():  # the host's own state of things; what is kept leaves it as a copy
        latents = _latents(
            dataset, model, vae, lambda done: progress(done, work) if progress else None
        )
        texts = [_text(prompt, model, clip, dataset) for prompt in ["", *prompts]]
    if progress:
        progress(work, work)
    kept = tuple(
        Text(text.context.clone(), None if text.y is None else text.y.clone()) for text in texts
    )
    places = {prompt: index for index, prompt in enumerate(prompts)}
    text_of = tuple(places[pair.prompt] for pair in dataset.pairs)
    return Encoded(latents.clone(), kept[1:], text_of, kept[0], dataset.hint)


def _latents(dataset: Dataset, model: Any, vae: Any, report: Callable[[int], None]) -> Tensor:
    found: list[Tensor] = []
    for start in range(0, len(dataset.pairs), ENCODED_AT_ONCE):
        report(start)
        rows = range(start, min(start + ENCODED_AT_ONCE, len(dataset.pairs)))
        found.append(vae.encode(torch.stack([dataset.target(row) for row in rows])).float().cpu())
        expected = (
            model.model.latent_format.latent_channels,
            dataset.height // 8,
            dataset.width // 8,
        )
        if found[-1].shape[1:] != expected:
            raise ValueError(
                f"vae: expected latents of {expected} for this model, found"
                f" {tuple(found[-1].shape[1:])}. Connect the VAE of the model's own checkpoint."
            )
    return model.model.process_latent_in(torch.cat(found)).float()


def _text(prompt: str, model: Any, clip: Any, dataset: Dataset) -> Text:
    """What the model makes of a prompt at the training size, as at the first step of sampling."""
    context, extras = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0]
    size = {"width": dataset.width, "height": dataset.height, "prompt_type": "positive"}
    noise = torch.zeros(
        1, model.model.latent_format.latent_channels, dataset.height // 8, dataset.width // 8
    )
    made = model.model.extra_conds(
        **{**extras, **size}, device=torch.device("cpu"), noise=noise, cross_attn=context
    )
    y = made["y"].cond.float().cpu() if "y" in made else None
    return Text(made["c_crossattn"].cond.float().cpu(), y)
