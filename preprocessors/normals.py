"""Normal maps: which way each surface faces, from a network or from any depth, in the colours that
a net expects.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from .depth import ESTIMATORS, estimated, frame_by_frame, given, imagenet, normalized, resampled
from .images import size_of, through, to_hint
from .nets import normalbae
from .spec import Networks, Progress, Weights

CONVENTIONS: dict[str, tuple[tuple[int, int], ...]] = {
    "bae": ((0, -1), (1, 1), (2, 1)),
    "cn1.0": ((2, 1), (1, 1), (0, -1)),
    "opengl": ((0, 1), (1, 1), (2, 1)),
    "directx": ((0, 1), (1, -1), (2, 1)),
}
"""What R, G and B stand for: (axis, sign) of a unit vector whose x points right, y up, z at the
viewer.

bae, of ScanNet and ControlNet 1.1: what faces left is red, up green, the viewer blue. cn1.0 is the
same with red and blue changed, because ControlNet 1.0 hands its net the map in BGR.
"""

SLOPE = 2 * math.pi
"""The z of the original formula, `a`: how steep a depth has to be to look steep."""
DEPTH_RANGE, DEPTH_RANGE_PX = 1000.0, 384
"""What a connected depth is spread over, and on how many pixels of the short side: about MiDaS's
own range and size.
"""

BAE = Weights(
    file="scannet.pt",
    repo="lllyasviel/Annotators",
    module=normalbae.NNET,
    licence="MIT (of its authors; the repository itself names none)",
    sha256="03dbf1600c51ee3d45c29f77b77bf1a3b7a24c3452dba62a4ae658f37330c209",
    half=False,
    renamed=normalbae.renamed,
)
BAE_MOST_PX = 1024
"""The short side beyond which it sees less than the picture: trained at 480, used with ControlNets
at 512 to 1024.
"""
MIDAS = ESTIMATORS["midas"]

ENGINES = ("bae", "midas", "depth")
WEIGHTS = {"bae": BAE, "midas": MIDAS.weights}


def normal(
    image: Tensor,
    *,
    engine: str = "bae",
    convention: str = "bae",
    background_threshold: float = 0.4,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
    depth: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(B,H,W,C) in [0,1] → hints (B,h,w,3) in [0,1], and the unit vectors (B,h,w,3) in [-1,1]
    behind them.

    Of the vectors x points right, y up, z at the viewer, whatever the `convention`. Engine "bae" is
    NormalBAE; "midas" is DPT-hybrid's depth by the formula of `from_depth`; "depth" is the
    connected `depth` by it, (b,H',W',C) in any range, near is large, b being B or 1. Raises
    ValueError as `through`, and for an engine or convention that does not exist or a depth that is
    missing or of another length.
    """
    size = size_of(image, resolution)
    if engine == "bae":
        vectors = _by_bae(image, networks, resolution, progress)
    elif engine == "midas":
        vectors = from_depth(
            estimated(MIDAS, image, networks, resolution, progress), background_threshold
        )
    elif engine == "depth":
        relative = spread(_connected(depth, len(image), size))
        vectors = frame_by_frame(
            relative, lambda frame: from_depth(frame, background_threshold), progress
        )
    else:
        raise ValueError(
            f"there is no normal map engine {engine!r}: choose one of {', '.join(ENGINES)}"
        )
    if vectors.shape[-2:] != size:
        vectors = F.normalize(resampled(vectors, size))
    return to_hint(encoded(vectors, convention)), vectors.movedim(1, 3).contiguous()


def from_depth(depth: Tensor, background_threshold: float = 0.4, *, slope: float = SLOPE) -> Tensor:
    """(B,1,h,w), near is large → unit vectors (B,3,h,w): x right, y up, z at the viewer.

    ControlNet 1.0's formula: Sobel's derivatives of the depth as it is, not normalised, beside a
    constant z of `slope`. What lies farther than `background_threshold`, of each frame's range from
    0 (farthest) to 1, faces the viewer.
    """
    # Near is large, so a surface whose depth grows to the right faces left; it grows downwards, so
    # it faces up.
    rightward = depth.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    derivatives = F.conv2d(_mirrored(depth), torch.stack([-rightward, rightward.mT])[:, None])
    facing = derivatives * (normalized(depth, "frame") >= background_threshold)
    return F.normalize(torch.cat([facing, torch.full_like(depth, slope)], dim=1))


def spread(depth: Tensor) -> Tensor:
    """(B,1,h,w) in any unit → the clip spread over MiDaS's range, so that the formula finds slopes
    it was made for.

    The range grows with the picture: a depth in another size has the same normals.
    """
    return normalized(depth, "clip") * (DEPTH_RANGE * min(depth.shape[-2:]) / DEPTH_RANGE_PX)


def encoded(vectors: Tensor, convention: str) -> Tensor:
    """Unit vectors (B,3,h,w), x right, y up, z at the viewer → the colours of a convention in
    [0,1].
    """
    axes = _convention(convention)
    return torch.stack([vectors[:, axis] * (0.5 * sign) + 0.5 for axis, sign in axes], dim=1)


def decoded(colours: Tensor, convention: str) -> Tensor:
    """What `encoded` made, back to vectors."""
    vectors = torch.empty_like(colours)
    for channel, (axis, sign) in enumerate(_convention(convention)):
        vectors[:, axis] = (colours[:, channel] * 2 - 1) * sign
    return vectors


def converted(hints: Tensor, source: str, target: str) -> Tensor:
    """Normal maps (B,h,w,3) of one convention → those of another."""
    return encoded(decoded(hints.movedim(3, 1), source), target).movedim(1, 3).contiguous()


def _convention(name: str) -> tuple[tuple[int, int], ...]:
    if name not in CONVENTIONS:
        raise ValueError(
            f"there is no convention of normal maps {name!r}: choose one of"
            f" {', '.join(CONVENTIONS)}"
        )
    return CONVENTIONS[name]


def _by_bae(
    image: Tensor, networks: Networks | None, resolution: int, progress: Progress | None
) -> Tensor:
    """(B,H,W,C) → unit vectors (B,3,h,w)."""

    def forward(net: Module, frames: Tensor) -> Tensor:
        return decoded(net(imagenet(frames))[:, :3] / 2 + 0.5, "bae")

    if min(size_of(image, resolution)) > BAE_MOST_PX:
        resolution = BAE_MOST_PX
    made = through(
        image,
        networks,
        BAE,
        forward,
        multiple=normalbae.MULTIPLE,
        resolution=resolution,
        progress=progress,
    )
    assert isinstance(made, Tensor)
    return made


def _connected(depth: Tensor | None, frames: int, size: tuple[int, int]) -> Tensor:
    """The depth of the optional input as (B,1,h,w)."""
    if depth is None:
        raise ValueError(
            "engine depth makes normals of a depth map, and none is connected: connect one to depth"
            " in the Normal Map node, or choose the engine bae or midas, which find out for"
            " themselves"
        )
    if len(depth) not in (1, frames):
        raise ValueError(
            f"depth has {len(depth)} frames and image has {frames}: connect one depth for each"
            " frame, or one for all"
        )
    return given(depth, size).expand(frames, -1, -1, -1)


def _mirrored(maps: Tensor) -> Tensor:
    """One pixel wider on every side, mirrored at the outermost pixels, as OpenCV does; a side of 1
    px is repeated.
    """
    height, width = maps.shape[-2:]
    maps = F.pad(maps, (1, 1, 0, 0), "reflect" if width > 1 else "replicate")
    return F.pad(maps, (0, 0, 1, 1), "reflect" if height > 1 else "replicate")
