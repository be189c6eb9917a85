"""Train the autoencoder, and the reader of classes and depth, on pictures drawn on the way."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from learning import Fit
from numpy.typing import NDArray
from plan import Stage
from torch import Tensor

from workbench.world import canvas, codec, plain_shapes, reader, scenery

NOISE = 0.15
"""Greatest deviation of the noise on latents: what a sampler gives is never exact."""
POOL = 1800
"""Pictures that are drawn, and stay in memory (160 MB); each is cropped anew when it comes."""
SIZES = (64, 128, 128, 256)
"""In turn; most weight on what is shown most."""


def drawn(seed: int, index: int, size: int) -> canvas.Drawing:
    """Draw picture `index`: one of eight is a plain shape."""
    name = f"{seed} codec {index}"
    return plain_shapes.shape(name, size) if index % 8 == 7 else scenery.landscape(name, size)


class CodecFit(Fit):
    """Codec: pictures of all sizes, cropped to a few."""

    def __init__(self, stage: Stage, steps: int, seed: int) -> None:
        torch.manual_seed(seed)
        module = codec.Codec().to(memory_format=torch.channels_last)
        super().__init__(module, stage, steps, seed)
        ((self.crop, self.rows),) = stage.batches.items()
        self.pool: dict[int, NDArray[np.uint8]] = {}

    def loss(self, random: torch.Generator) -> Tensor:
        picture = self._pictures(random)
        with torch.autocast("cpu", torch.bfloat16):
            latents = self.module.encode(picture).float()
            noise = torch.randn(latents.shape, generator=random)
            noise = noise * torch.rand((len(latents), 1, 1, 1), generator=random) * NOISE
            output = self.module.decode(latents + noise).float()
        return _distance(output, picture) + 0.1 * _spread(latents) + 0.001 * latents.pow(2).mean()

    def _pictures(self, random: torch.Generator) -> Tensor:
        crops = []
        while len(crops) < self.rows:
            index, *places = torch.randint(2**30, (5,), generator=random).tolist()
            size = SIZES[index % len(SIZES)]
            picture = self._picture(index % POOL, size)
            for top, left in (places[:2], places[2:]):
                top, left = top % (size - self.crop + 1), left % (size - self.crop + 1)
                crops.append(picture[top : top + self.crop, left : left + self.crop])
        tensor = torch.from_numpy(np.stack(crops)).movedim(-1, 1).float() / 255
        return tensor.contiguous(memory_format=torch.channels_last)

    def _picture(self, index: int, size: int) -> NDArray[np.uint8]:
        if index not in self.pool:
            self.pool[index] = drawn(self.seed, index, size).picture
        return self.pool[index]


def _distance(output: Tensor, picture: Tensor) -> Tensor:
    """Compare pictures, their slopes, and how steep they are around each pixel.

    Where an edge's place is uncertain by a pixel, the best slope is none, and edges fade; the mean
    steepness nearby does not depend on the place, and keeps them.
    """
    error = output - picture
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    steepness = (_steepness(output) - _steepness(picture)).abs().mean()
    return (
        error.abs().mean()
        + 2 * error.pow(2).mean()
        + across.abs().mean()
        + down.abs().mean()
        + 3 * steepness
    )


def _steepness(picture: Tensor) -> Tensor:
    """Average the slopes' sizes over 3x3 pixels: (B,2,H-3,W-3), across and down."""
    across = (picture[..., :-1, 1:] - picture[..., :-1, :-1]).abs().mean(1)
    down = (picture[..., 1:, :-1] - picture[..., :-1, :-1]).abs().mean(1)
    return F.avg_pool2d(torch.stack([across, down], 1), 3, 1)


def _spread(latents: Tensor) -> Tensor:
    """Keep each channel's mean near 0 and its deviation near 1."""
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    return mean.pow(2).mean() + (deviation - 1).pow(2).mean()


class ReaderFit(Fit):
    """Reader: whole landscapes, blurred and noised a little as sampled pictures are."""

    def __init__(self, stage: Stage, steps: int, seed: int) -> None:
        torch.manual_seed(seed)
        module = reader.Reader().to(memory_format=torch.channels_last)
        super().__init__(module, stage, steps, seed)
        ((self.size, self.rows),) = stage.batches.items()

    def loss(self, random: torch.Generator) -> Tensor:
        index = torch.randint(2**30, (self.rows,), generator=random).tolist()
        size = (self.size, self.size, self.size, 2 * self.size)[self.step % 4]
        index = index if size == self.size else index[: max(1, self.rows // 4)]
        scenes = [scenery.landscape(f"{self.seed} reader {i % 4096}", size) for i in index]
        picture = torch.from_numpy(np.stack([s.picture for s in scenes])).movedim(-1, 1) / 255
        classes = torch.from_numpy(np.stack([s.classes for s in scenes])).long()
        depth = torch.from_numpy(np.stack([s.depth for s in scenes]))
        with torch.autocast("cpu", torch.bfloat16):
            logits, nearness = self.module(self._worn(picture, random))
        return F.cross_entropy(logits.float(), classes) + 2 * F.l1_loss(nearness.float(), depth)

    def _worn(self, picture: Tensor, random: torch.Generator) -> Tensor:
        if self.step % 2:
            half = F.interpolate(picture, scale_factor=0.5, mode="area")
            picture = F.interpolate(half, picture.shape[-2:], mode="bilinear")
        noise = torch.randn(picture.shape, generator=random)
        return (picture + 0.03 * noise).contiguous(memory_format=torch.channels_last)


KINDS = {"codec": CodecFit, "reader": ReaderFit}
