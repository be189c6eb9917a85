"""A cheap form of TAESD: fewer blocks and channels, with its keys and its arithmetic.

A block of TAESD whose convolutions are zero is a ReLU, and channels that are zero stay zero. So a
narrow autoencoder trains some ten times faster, and `as_taesd` pads its weights to the shapes that
ComfyUI's VAE loader builds; the pictures are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LATENT_CHANNELS = 4
SCALE = 0.18215
"""ComfyUI's latent scale of SD1.5: a VAE gives latents divided by it."""
ENCODER = ((16, 0), (32, 1), (64, 1), (64, 3))
"""Channels and blocks from the picture's resolution down to an eighth of it."""
DECODER = ((64, 3), (64, 2), (32, 2), (24, 0))
"""The same on the way up."""
BLOCKS = (1, 3, 3, 3)
"""TAESD's own numbers of blocks, from the picture's resolution down."""


class Block(nn.Module):
    """Three convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    """Bound latents smoothly to ±3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Codec(nn.Module):
    """Encode pictures (B,3,8h,8w) in [0,1] to latents (B,4,h,w) of the model's scale, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.taesd_encoder, self.taesd_decoder = _encoder(), _decoder()
        self.apply(_begin)
        for layer in (self.taesd_encoder[-1], self.taesd_decoder[-1]):
            nn.init.xavier_normal_(layer.weight)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return latents; their mean is about 0 and their deviation about 1."""
        return self.taesd_encoder(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures, not clamped to [0,1]."""
        return self.taesd_decoder(latents)


def as_taesd(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pad a codec's weights to TAESD's shapes; keys as ComfyUI's VAE loader reads them."""
    padded = {key: torch.zeros(shape) for key, shape in _taesd_shapes().items()}
    for key, value in weights.items():
        padded[key][tuple(slice(0, length) for length in value.shape)] = value.float()
    return {**padded, "vae_scale": torch.tensor(SCALE), "vae_shift": torch.tensor(0.0)}


def _begin(module: nn.Module) -> None:
    """Begin so that every layer keeps its input's scale, and blocks near the identity."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Block):
        with torch.no_grad():
            module.conv[-1].weight.mul_(0.2)


def _conv(width_in: int, width_out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, padding=1, stride=stride, bias=bias)


def _blocks(width: int, count: int, slots: int) -> list[nn.Module]:
    return [Block(width) if slot < count else nn.ReLU() for slot in range(slots)]


def _encoder() -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for level, (width, count) in enumerate(ENCODER):
        layers.append(_conv(before, width, stride=1 if level == 0 else 2, bias=level == 0))
        layers += _blocks(width, count, BLOCKS[level])
        before = width
    return nn.Sequential(*layers, _conv(before, LATENT_CHANNELS))


def _decoder() -> nn.Sequential:
    layers: list[nn.Module] = [Clamp(), _conv(LATENT_CHANNELS, DECODER[0][0]), nn.ReLU()]
    before = DECODER[0][0]
    for level, (width, count) in enumerate(DECODER):
        if level:
            layers += [nn.Upsample(scale_factor=2), _conv(before, width, bias=False)]
        layers += _blocks(width, count, BLOCKS[-1 - level])
        before = width
    return nn.Sequential(*layers, _conv(before, 3))


def _taesd_shapes() -> dict[str, Sequence[int]]:
    import comfy.taesd.taesd

    module = comfy.taesd.taesd.TAESD(latent_channels=LATENT_CHANNELS)
    return {
        key: tuple(value.shape)
        for key, value in module.state_dict().items()
        if key.startswith(("taesd_encoder.", "taesd_decoder."))
    }
