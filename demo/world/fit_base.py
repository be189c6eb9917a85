"""Train the base: the text encoder and UNet, as a flow from noise to picture.

ComfyUI's own forward adds in place and works without gradients, so both are written out here over
its own modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import drawn_pictures
import torch
import torch.nn.functional as F
from learning import Fit, pick
from plan import Stage
from torch import Tensor, nn

from pack.training import forward
from workbench.tiny_family import family, world

PURE_NOISE = 0.15
"""Share of the samples at t = 1 exactly, where sampling begins and everything is decided."""
EMPTY = 0.1
"""Share of empty prompts, which classifier-free guidance needs."""
FIRST_ZERO = ("out.2.", ".out_layers.3.", ".proj_out.")
"""The last layer of each block begins at zero, as in the original."""


class Base(nn.Module):
    """UNet and text encoder together."""

    def __init__(self) -> None:
        super().__init__()
        self.unet, self.text = family.unet(1, world.SHAPE), world.clip_text()
        self.requires_grad_(True)
        self.text.text_model.embeddings.token_embedding.requires_grad_(False)
        if hasattr(self.text, "text_projection"):
            self.text.text_projection.requires_grad_(False)
        with torch.no_grad():
            for name, value in self.unet.named_parameters():
                if any(part in name for part in FIRST_ZERO) or name.startswith("out.2."):
                    value.zero_()

    def forward(self, x: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict the velocity: x (B,4,h,w), timesteps (B,) in 0..1000, tokens (B,77)."""
        distinct, inverse = torch.unique(tokens, dim=0, return_inverse=True)
        context = encoded(self.text, distinct)[inverse]
        unet = self.unet
        emb = forward._embed_time(unet, timesteps, None, x.dtype)
        h, skips = x, []
        for block in unet.input_blocks:
            h = forward._run_block(block, h, emb, context)
            skips.append(h)
        h = forward._run_block(unet.middle_block, h, emb, context)
        for block in unet.output_blocks:
            joined = torch.cat([h, skips.pop()], 1)
            shape = skips[-1].shape if skips else None
            h = forward._run_block(block, joined, emb, context, shape)
        return unet.out(h.type(x.dtype)).float()


def encoded(text: nn.Module, tokens: Tensor) -> Tensor:
    """Compute what ComfyUI's text encoder gives for tokens (B,77): (B,77,C)."""
    model = text.text_model
    x = model.embeddings.token_embedding(tokens) + model.embeddings.position_embedding.weight
    mask = torch.full((tokens.shape[1],) * 2, float("-inf")).triu_(1)
    for layer in model.encoder.layers:
        h, attention = layer.layer_norm1(x), layer.self_attn
        rows, length, width = h.shape
        q, k, v = (
            project(h).view(rows, length, attention.heads, width // attention.heads).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype))
        x = x + attention.out_proj(mixed.transpose(1, 2).reshape(rows, length, width))
        x = x + layer.mlp(layer.layer_norm2(x))
    return model.final_layer_norm(x)


class Words:
    """Tokens of prompts by ComfyUI's own tokenizer, each made once."""

    def __init__(self) -> None:
        self.tokenizer = world.WorldTokenizer()
        self.cache: dict[str, list[int]] = {}

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Return (B,77)."""
        for prompt in prompts:
            if prompt not in self.cache:
                rows = self.tokenizer.tokenize_with_weights(prompt)["l"]
                self.cache[prompt] = [token for token, _ in rows[0]]
        return torch.tensor([self.cache[prompt] for prompt in prompts])


class BaseFit(Fit):
    """Base: pictures of one size or of several in turn."""

    def __init__(
        self,
        stage: Stage,
        steps: int,
        seed: int,
        data: Mapping[int, drawn_pictures.Pictures],
    ) -> None:
        super().__init__(Base().train(), stage, steps, seed)
        self.data, self.words = data, Words()
        order = cycle(stage.batches.items())
        self.turns = [next(order) for _ in stage.batches]

    def loss(self, random: torch.Generator) -> Tensor:
        size, rows = self.turns[self.step % len(self.turns)]
        pictures = self.data[size]
        chosen = pick(random, len(pictures.latents), rows)
        latents = pictures.latents[torch.tensor(chosen)]
        drops = (torch.rand(rows, generator=random) < EMPTY).tolist()
        prompts = [
            "" if drop else pictures.prompts[row] for row, drop in zip(chosen, drops, strict=True)
        ]
        noise = torch.randn(latents.shape, generator=random)
        t = torch.rand(rows, generator=random).clamp(1e-3, 1)
        t = torch.where(torch.rand(rows, generator=random) < PURE_NOISE, 1.0, t)
        share = t.view(-1, 1, 1, 1)
        x = (1 - share) * latents + share * noise
        with torch.autocast("cpu", torch.bfloat16):
            velocity = self.module(x, 1000 * t, self.words.tokens(prompts))
        return F.mse_loss(velocity, noise - latents)
