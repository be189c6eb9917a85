"""Make normal maps: which way each surface faces, from a network or from any depth.

The colours are those that a ControlNet expects.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from .depth import (
    ESTIMATORS,
    between,
    estimated,
    frame_by_frame,
    given,
    limits,
    normalized,
    resampled,
)
from .images import BAND_PX, FloatFrame, each_index, only, run_network, size_of, to_rgb
from .nets import imagenet, normalbae
from .spec import (
    ANNOTATORS,
    ANNOTATORS_COMMIT,
    ConditionBy,
    Networks,
    Param,
    Port,
    Preprocessor,
    Progress,
    Weights,
    refuse_unknown,
)

CONVENTIONS: dict[str, tuple[tuple[int, int], ...]] = {
    "bae": ((0, -1), (1, 1), (2, 1)),
    "cn1.0": ((2, 1), (1, 1), (0, -1)),
    "opengl": ((0, 1), (1, 1), (2, 1)),
    "directx": ((0, 1), (1, -1), (2, 1)),
}
"""What R, G and B hold: (axis, sign) of a unit vector; x points right, y up, z at the viewer.

bae, of ScanNet and ControlNet 1.1: what faces left is red, up green, the viewer blue. cn1.0 is the
same with red and blue exchanged, because ControlNet 1.0 passes its net the map in BGR.
"""

SLOPE = 2 * math.pi
"""The z of the original formula, `a`: how steep a depth has to be to look steep."""
DEPTH_RANGE, DEPTH_RANGE_PX = 1000.0, 384
"""The range to which a connected depth is scaled, at this short side: about MiDaS's own."""

BAE = Weights(
    file="scannet.pt",
    repo=ANNOTATORS,
    revision=ANNOTATORS_COMMIT,
    module=normalbae.NNET,
    licence="MIT (of its authors; the repository itself names none)",
    sha256="03dbf1600c51ee3d45c29f77b77bf1a3b7a24c3452dba62a4ae658f37330c209",
    half=False,
    renamed=normalbae.renamed,
)
BAE_MOST_PX = 1024
"""The longest short side that it reads: trained at 480, used with ControlNets at 512 to 1024."""
MIDAS = ESTIMATORS["midas"]

ENGINES = ("bae", "midas", "depth", "image")
WEIGHTS = {"bae": BAE, "midas": MIDAS.weights}


def normal(
    image: Tensor,
    *,
    engine: str = "bae",
    convention: str = "bae",
    background_threshold: float = 0.4,
    source_convention: str = "opengl",
    depth: Tensor | None = None,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> tuple[Tensor, Tensor]:
    """Make normal maps of (B,H,W,C) in [0,1]: hints (B,h,w,3) in [0,1], unit vectors (B,h,w,3).

    Of the vectors, in [-1,1], x points right, y up, z at the viewer, whatever the `convention`.
    Engine "bae" is NormalBAE; "midas" is DPT-hybrid's depth by the formula of `from_depth`; "depth"
    applies it to the connected `depth`, (b,H',W',C) in any range, near is large, b being B or 1;
    "image" takes the picture as a finished map of `source_convention`; its vectors keep their
    lengths. Raises ValueError as `run_network` does, for an engine or convention that does not
    exist, and for a depth that is missing or of another length.
    """
    size = size_of(image, resolution)
    refuse_unknown("normal map engine", engine, ENGINES)
    _convention(convention)
    if engine == "bae":
        vectors = _by_bae(image, resolution=resolution, progress=progress, networks=networks)
    elif engine == "midas":
        inverse = estimated(
            MIDAS, image, resolution=resolution, progress=progress, networks=networks
        )
        vectors = from_depth(inverse, background_threshold)
    elif engine == "image":
        return _of_map(image, size, source_convention, convention, progress)
    else:
        relative = _connected(depth, len(image), size)
        vectors = frame_by_frame(
            relative, lambda frame: from_depth(frame, background_threshold), progress=progress
        )
    if vectors.shape[-2:] != size:
        vectors = F.normalize(resampled(vectors, size))

    def draw(index: int) -> FloatFrame:
        return encoded(vectors[index : index + 1], convention)[0].movedim(0, 2).numpy()

    return each_index(draw, len(vectors), size, progress), vectors.movedim(1, 3)


def _of_map(
    image: Tensor, size: tuple[int, int], source: str, target: str, progress: Progress | None
) -> tuple[Tensor, Tensor]:
    """Convert finished maps (B,H,W,C): hints (B,h,w,3), and their vectors (B,h,w,3)."""

    def read(frame: Tensor) -> Tensor:
        return resampled(to_rgb(frame.detach().to("cpu", torch.float32)), size).movedim(1, 3)

    def draw(index: int) -> FloatFrame:
        return converted(colours[index : index + 1], source, target)[0].numpy()

    _convention(source)
    colours = frame_by_frame(image, read, progress=progress)
    hint = each_index(draw, len(colours), size, progress)
    for frame in colours:
        frame.copy_(decoded(frame.movedim(2, 0)[None], source)[0].movedim(0, 2))
    return hint, colours


def from_depth(depth: Tensor, background_threshold: float = 0.4, *, slope: float = SLOPE) -> Tensor:
    """Compute unit vectors (B,3,h,w) from a depth (B,1,h,w), near is large.

    x points right, y up, z at the viewer. ControlNet 1.0's formula: Sobel's derivatives of the
    depth itself, not normalised, beside a constant z of `slope`. What lies farther than
    `background_threshold`, of each frame's range from 0 (farthest) to 1, faces the viewer.
    """
    # Near is large: a surface whose depth grows to the right faces left, one whose depth grows
    # downwards faces up.
    rightward = depth.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    sobel = torch.stack([-rightward, rightward.mT])[:, None]
    (count, _, height, width), edges = depth.shape, limits(depth, "frame")
    padded, vectors = _mirrored(depth), depth.new_empty((count, 3, height, width))
    rows = max(1, BAND_PX // width)
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        band = depth[:, :, part]
        facing = F.conv2d(padded[:, :, top : top + rows + 2], sobel)
        facing *= between(band, *edges) >= background_threshold
        vectors[:, :, part] = F.normalize(torch.cat([facing, torch.full_like(band, slope)], dim=1))
    return vectors


def spread(depth: Tensor) -> Tensor:
    """Scale a depth (B,1,h,w) in any unit to MiDaS's range, for which `from_depth` was made.

    The clip is scaled as one. The range grows with the picture: a depth in another size has the
    same normals.
    """
    return normalized(depth, "clip") * (DEPTH_RANGE * min(depth.shape[-2:]) / DEPTH_RANGE_PX)


def encoded(vectors: Tensor, convention: str) -> Tensor:
    """Encode unit vectors (B,3,h,w) as the colours of a convention, in [0,1].

    x points right, y up, z at the viewer.
    """
    axes = _convention(convention)
    return torch.stack([vectors[:, axis] * (0.5 * sign) + 0.5 for axis, sign in axes], dim=1)


def decoded(colours: Tensor, convention: str) -> Tensor:
    """Decode colours of `encoded` to vectors."""
    vectors = torch.empty_like(colours)
    for channel, (axis, sign) in enumerate(_convention(convention)):
        vectors[:, axis] = (colours[:, channel] * 2 - 1) * sign
    return vectors


def converted(hints: Tensor, source: str, target: str) -> Tensor:
    """Convert normal maps (B,h,w,3) of one convention to another, exactly."""
    channels = {axis: (channel, sign) for channel, (axis, sign) in enumerate(_convention(source))}
    result = torch.empty_like(hints)
    for channel, (axis, sign) in enumerate(_convention(target)):
        other, its_sign = channels[axis]
        result[..., channel] = hints[..., other] if sign == its_sign else 1 - hints[..., other]
    return result


def _convention(name: str) -> tuple[tuple[int, int], ...]:
    """Return the axes of a convention; raise ValueError naming the conventions there are."""
    refuse_unknown("convention of normal maps", name, CONVENTIONS)
    return CONVENTIONS[name]


def _by_bae(
    image: Tensor, *, resolution: int, progress: Progress | None, networks: Networks | None
) -> Tensor:
    """Estimate unit vectors (B,3,h,w) by NormalBAE."""

    def forward(net: Module, frames: Tensor) -> Tensor:
        return decoded(net(imagenet.standardized(frames))[:, :3] / 2 + 0.5, "bae")

    if min(size_of(image, resolution)) > BAE_MOST_PX:
        resolution = BAE_MOST_PX
    vectors = run_network(
        image,
        networks,
        BAE,
        forward,
        multiple=normalbae.MULTIPLE,
        resolution=resolution,
        progress=progress,
    )
    return only(vectors)


def _connected(depth: Tensor | None, frames: int, size: tuple[int, int]) -> Tensor:
    """Return the depth of the optional input, `spread`, as (B,1,h,w).

    Raises ValueError if it does not fit.
    """
    if depth is None:
        raise ValueError(
            "engine depth makes normals from a depth map, and none is connected: connect one to"
            " depth in the Normal Map node, or choose the engine bae or midas, which estimate it"
            " themselves"
        )
    if len(depth) not in (1, frames):
        raise ValueError(
            f"depth has {len(depth)} frames and image has {frames}: connect one depth for each"
            " frame, or one for all"
        )
    return spread(given(depth, size)).expand(frames, -1, -1, -1)


def _mirrored(maps: Tensor) -> Tensor:
    """Pad by one pixel on every side, mirrored at the outermost pixels, as OpenCV does.

    A side of 1 px is repeated.
    """
    height, width = maps.shape[-2:]
    maps = F.pad(maps, (1, 1, 0, 0), "reflect" if width > 1 else "replicate")
    return F.pad(maps, (0, 0, 1, 1), "reflect" if height > 1 else "replicate")


ROWS = (
    Preprocessor(
        key="normal",
        node_id="ControlStackNormal",
        title="Normal Map",
        summary="Which way each surface faces, as a colour, for normal ControlNets.",
        run=normal,
        params=(
            Param(
                "engine",
                "bae",
                "bae: what the normal ControlNets of 1.1 were trained with. midas: those of 1.0."
                " depth: from the connected depth, needs no weights. image: the picture is a normal"
                " map already, of source_convention.",
                choices=ENGINES,
            ),
            Param(
                "convention",
                "bae",
                "What the colours mean. bae: left is red, up green, front blue (ControlNet 1.1)."
                " cn1.0: front is red, up green, left blue (ControlNet 1.0). opengl: right is red,"
                " up green. directx: right is red, down green.",
                choices=tuple(CONVENTIONS),
            ),
            Param(
                "background_threshold",
                0.4,
                "Engines midas and depth: what is farther than this, from 0 (farthest) to 1, is"
                " left flat.",
                0.0,
                1.0,
                0.01,
            ),
            Param(
                "source_convention",
                "opengl",
                "Engine image: what the picture's colours mean; convention is what they become."
                " opengl: Blender and most 3D tools. directx: Unreal.",
                choices=tuple(CONVENTIONS),
                is_appended=True,
            ),
        ),
        conditions=("normal_bae", "normal_cn10", "normal"),
        condition_by=ConditionBy("convention", {"bae": "normal_bae", "cn1.0": "normal_cn10"}),
        aliases=("normal", "normal map", "normalbae", "bae", "surface normals"),
        grey=False,
        weights=WEIGHTS,
        inputs=(
            Port(
                "depth",
                "IMAGE",
                "For engine depth: a depth map in any range and size, near is white, one frame or"
                " as many as image has. From Depth, Depth Anything 3, MoGe, a renderer.",
            ),
        ),
        outputs=(
            Port(
                "normals",
                "IMAGE",
                "The unit vectors behind the colours, from -1 to 1: x points right, y up, z at the"
                " viewer, whatever the convention.",
            ),
        ),
    ),
)
