"""Lines: drawings, and the straight segments of rooms and buildings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .images import (
    Frame8,
    Map,
    banded,
    darkest_channel,
    each_frame,
    only,
    opencv,
    rgb8,
    size_of,
    tensor_of,
    through,
    to_hint,
)
from .nets import anime2sketch, mlsd
from .nets import lineart as generator
from .spec import Networks, Progress, Weights

LINEART_ENGINES = ("standard", "realistic", "coarse")
ANIME_ENGINES = ("anime2sketch", "standard")
MLSD_ENGINES = ("mlsd", "lsd")
SIZINGS = ("padded", "stretched")

_ANNOTATORS = "lllyasviel/Annotators"
_FAR_PX = 1 << 15
"""Farther out of the picture no end needs to be, and OpenCV's own arithmetic stays whole."""

MLSD = Weights(
    file="mlsd_large_512_fp32.pth",
    repo=_ANNOTATORS,
    module=mlsd.MLSD,
    licence="Apache-2.0",
    sha256="5696f168eb2c30d4374bbfd45436f7415bb4d88da29bea97eea0101520fba082",
    size_bytes=6_341_481,
    bytes_per_px=1024,
    # where a centre beats its neighbours by less than a half's precision, lines would come and go
    half=False,
)
REALISTIC = Weights(
    file="lineart.safetensors",
    repo="OzzyGT/lineart",
    module=generator.LineartGenerator,
    licence="MIT",
    also=("sk_model.pth",),
    bytes_per_px=1536,
    half=False,
)
COARSE = Weights(
    file="sk_model2.pth",
    repo=_ANNOTATORS,
    module=generator.LineartGenerator,
    licence="MIT",
    sha256="30a534781061f34e83bb9406b4335da4ff2616c95d22a585c1245aa8363e74e0",
    bytes_per_px=1536,
    half=False,
)
ANIME = Weights(
    file="netG.pth",
    repo=_ANNOTATORS,
    module=anime2sketch.Anime2Sketch,
    licence="MIT",
    sha256="ccabdcc3f5cf3c07cf65d58776acb21df7dfda825cdc70c9766a93fd62bfc488",
    size_bytes=217_631_959,
    bytes_per_px=1024,
    half=False,
    renamed=anime2sketch.without_prefix,
)


# Drawings


def lineart(
    image: Tensor,
    *,
    engine: str = "standard",
    gaussian_sigma: float = 6.0,
    intensity_threshold: int = 8,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> Tensor:
    """(B,H,W,C) in [0,1] → (B,h,w,3) in [0,1]: bright lines on black, soft where the picture's are.

    `engine` "realistic" and "coarse" are the two generators of informative drawings (Chan et al.,
    2022). "standard" is the lineart_standard of the ControlNet tools, without a network: how much
    darker a pixel is than its surroundings, a Gaussian of `gaussian_sigma` px, scaled so that the
    median of what exceeds `intensity_threshold` levels becomes half white. The references truncate
    the result to 8 bits; here it stays float.
    """
    _refuse_unknown("lineart", engine, LINEART_ENGINES)
    if engine == "standard":
        return _standard(image, gaussian_sigma, intensity_threshold, resolution, progress)
    weights = REALISTIC if engine == "realistic" else COARSE
    made = through(
        image,
        networks,
        weights,
        _inverted,
        multiple=generator.MULTIPLE,
        resolution=resolution,
        progress=progress,
    )
    return to_hint(only(made))


def lineart_anime(
    image: Tensor,
    *,
    engine: str = "anime2sketch",
    sizing: str = "padded",
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> Tensor:
    """(B,H,W,C) in [0,1] → (B,h,w,3) in [0,1]: the white line drawing of an anime picture, on
    black.

    `engine` "anime2sketch" is Xiang et al.'s network (2021), "standard" that of `lineart`. The
    network needs sides divisible by 256: `sizing` "padded" repeats the last row and column up to
    there and crops, "stretched" resizes there and back, as the reference does.
    """
    _refuse_unknown("anime lineart", engine, ANIME_ENGINES)
    if engine == "standard":
        return _standard(image, 6.0, 8, resolution, progress)
    if sizing == "stretched":
        return _stretched(image, networks, resolution, progress)
    made = through(
        image,
        networks,
        ANIME,
        _sketched,
        multiple=anime2sketch.MULTIPLE,
        resolution=resolution,
        progress=progress,
    )
    return to_hint(only(made))


def _stretched(
    image: Tensor, networks: Networks | None, resolution: int, progress: Progress | None
) -> Tensor:
    """Resized to the net's multiple and back by OpenCV's cubic, in 8 bits on the way in: the
    reference's sizes.
    """
    cv2 = opencv()
    frames = rgb8(image, resolution)
    height, width = frames[0].shape[:2]
    wide = tuple(
        -(-side // anime2sketch.MULTIPLE) * anime2sketch.MULTIPLE for side in (width, height)
    )
    grown = np.stack([cv2.resize(frame, wide, interpolation=cv2.INTER_CUBIC) for frame in frames])
    fed = tensor_of(grown.astype(np.float32) / 255)
    drawn = only(through(fed, networks, ANIME, _sketched, progress=progress))
    back = [
        cv2.resize(line[0].numpy(), (width, height), interpolation=cv2.INTER_CUBIC)
        for line in drawn
    ]
    return to_hint(tensor_of(np.stack(back))[:, None].clamp(0, 1))


def _inverted(net: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    # Its norms of single planes would copy every layer that has its channels last.
    return 1 - net(frames.contiguous()).float()


def _sketched(net: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    return (1 - net(frames * 2 - 1).float()) / 2


def _standard(
    image: Tensor,
    gaussian_sigma: float,
    intensity_threshold: int,
    resolution: int,
    progress: Progress | None,
) -> Tensor:
    cv2 = opencv()

    # As wide as OpenCV makes it for a float picture. Said so, the 8-bit one does: the same but for
    # the last bits of a float, in two thirds of the time.
    reach_px = round(8 * gaussian_sigma + 1) // 2
    gaussian = cv2.getGaussianKernel(2 * reach_px + 1, gaussian_sigma, cv2.CV_32F)

    def darker_than_around(frame: Frame8) -> Map:
        surroundings = cv2.sepFilter2D(frame, cv2.CV_32F, gaussian, gaussian)
        return darkest_channel(
            cv2.subtract(surroundings, frame, dst=surroundings, dtype=cv2.CV_32F)
        )

    darkness = banded(image, darker_than_around, reach_px)

    def draw(frame: Frame8) -> Map:
        darker = darkness(frame)
        lines = darker[darker > intensity_threshold]
        # The floor keeps a picture without lines from being amplified into noise.
        middle = max(16.0, float(np.median(lines))) if lines.size else 16.0
        return (darker * np.float32(127 / 255 / middle)).clip(0, 1)

    return each_frame(image, draw, resolution=resolution, progress=progress)


# Straight segments

Segments = NDArray[np.float64]
"""(N,4): x and y of the start, x and y of the end, in px."""


def straight_lines(
    image: Tensor,
    *,
    engine: str = "mlsd",
    score_threshold: float = 0.1,
    distance_threshold: float = 0.1,
    max_lines: int = 0,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> Tensor:
    """(B,H,W,C) in [0,1] → (B,h,w,3) in {0,1}: straight segments, one pixel wide, white on black.

    `engine` "mlsd" is M-LSD large (Gu et al., 2022): of each local best of its map of centres, the
    segment where the score exceeds `score_threshold` (0-1) and the length, in pixels of that map of
    half the size, `distance_threshold`. "lsd" is OpenCV's line segment detector (von Gioi et al.,
    2010), which needs no network and has no score. `max_lines` keeps the best (M-LSD) or the
    longest (LSD) of a frame; 0 keeps all, the reference 200.
    """
    _refuse_unknown("straight line", engine, MLSD_ENGINES)
    if engine == "lsd":
        longest = max_lines or None

        def draw(frame: Frame8) -> Map:
            return drawn(lsd_segments(frame, 2 * distance_threshold)[:longest], *frame.shape[:2])

        return each_frame(image, draw, resolution=resolution, progress=progress)
    decoded = partial(_centres, limit=max_lines)
    made = through(
        image,
        networks,
        MLSD,
        decoded,
        multiple=mlsd.MULTIPLE,
        resolution=resolution,
        progress=progress,
    )
    size = size_of(image, resolution)
    maps = [
        drawn(mlsd_segments(best, score_threshold, distance_threshold), *size)
        for best in only(made)
    ]
    return to_hint(tensor_of(np.stack(maps))[:, None].float() / 255)


def _centres(net: Callable[[Tensor], Tensor], frames: Tensor, *, limit: int) -> Tensor:
    """The local maxima of each frame's map of centres, best first: (b,N,7) of score, x, y, and
    (dx,dy) to both ends.

    N is `limit`, or, where that is 0, as many as can be: of each 2x2 pixels one. Scores of 0 fill
    it up.
    """
    constant = torch.full_like(
        frames[:, :1], 1 / 127.5 - 1
    )  # the reference scales its channel of ones like the colours
    made = net(torch.cat((frames * 255 / 127.5 - 1, constant), dim=1)).float()
    heat = made[:, :1].sigmoid()
    heat = torch.where(F.max_pool2d(heat, 3, 1, 1) == heat, heat, 0)[:, 0]
    height, width = heat.shape[1:]
    most = -(-height // 2) * -(-width // 2)
    scores, where = heat.flatten(1).topk(min(limit, height * width) if limit else most)
    ways = made[:, 1:5].flatten(2).gather(2, where[:, None].expand(-1, 4, -1)).movedim(1, 2)
    return torch.cat(
        (scores[..., None], (where % width)[..., None], (where // width)[..., None], ways), dim=2
    )


def mlsd_segments(centres: Tensor, score_threshold: float, distance_threshold: float) -> Segments:
    """(N,7) as `_centres` gives them, of a map of half the picture's size → its segments, best
    first.
    """
    rows: NDArray[np.float32] = centres.numpy()  # pyright: ignore[reportUnknownMemberType]
    ways = rows[:, 3:]
    length = np.sqrt(((ways[:, :2] - ways[:, 2:]) ** 2).sum(axis=1))
    kept = rows[
        (rows[:, 0] > score_threshold)
        & (length > distance_threshold)
        & np.isfinite(ways).all(axis=1)
    ]
    # In double precision, as the reference adds them: these are cut to whole pixels.
    return 2 * (kept[:, [1, 2, 1, 2]].astype(np.float64) + kept[:, 3:])


def lsd_segments(frame: Frame8, least_px: float) -> Segments:
    """(H,W,3) → the segments of OpenCV's LSD that are longer than `least_px`, longest first."""
    cv2 = opencv()
    found = cv2.createLineSegmentDetector().detect(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))[0]
    if found is None:
        return np.zeros((0, 4))
    segments = found.reshape(-1, 4).astype(np.float64)
    length = np.hypot(segments[:, 2] - segments[:, 0], segments[:, 3] - segments[:, 1])
    order = np.argsort(-length, kind="stable")
    return segments[order][length[order] > least_px]


def drawn(segments: Segments, height_px: int, width_px: int) -> NDArray[np.uint8]:
    """The segments as white lines one pixel wide on black, (H,W) uint8; their ends are cut to whole
    pixels.
    """
    cv2 = opencv()
    canvas = np.zeros((height_px, width_px), np.uint8)
    ends = np.reshape(np.trunc(segments).clip(-_FAR_PX, _FAR_PX).astype(np.int32), (-1, 2, 2))
    return cv2.polylines(canvas, list(ends), False, 255) if len(ends) else canvas


def _refuse_unknown(kind: str, engine: str, engines: tuple[str, ...]) -> None:
    if engine not in engines:
        raise ValueError(
            f"there is no {kind} engine {engine!r}: choose one of {', '.join(engines)}"
        )
