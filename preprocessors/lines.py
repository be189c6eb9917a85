"""Draw lines: of photographs, of anime, and the straight lines of rooms and buildings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .images import (
    BAND_PX,
    FloatFrame,
    Frame8,
    Map,
    blank_hints,
    darkest_channel,
    each_band,
    each_frame,
    only,
    opencv,
    rgb8,
    run_network,
    side_by_side,
    size_of,
    tensor_of,
    to_hint,
    write_hint,
)
from .nets import anime2sketch, mlsd
from .nets import lineart as generator
from .spec import (
    ANNOTATORS,
    ANNOTATORS_COMMIT,
    Networks,
    Param,
    Preprocessor,
    Progress,
    Weights,
    refuse_unknown,
)

LINEART_ENGINES = ("standard", "realistic", "coarse")
ANIME_ENGINES = ("anime2sketch", "standard")
MLSD_ENGINES = ("mlsd", "lsd")
SIZINGS = ("padded", "stretched")

_FAR_PX = 1 << 15
"""Ends farther outside are clamped to this, so that OpenCV's integers do not overflow."""

MLSD = Weights(
    file="mlsd_large_512_fp32.pth",
    repo=ANNOTATORS,
    revision=ANNOTATORS_COMMIT,
    module=mlsd.MLSD,
    licence="Apache-2.0",
    sha256="5696f168eb2c30d4374bbfd45436f7415bb4d88da29bea97eea0101520fba082",
    size_bytes=6_341_481,
    bytes_per_px=1024,
    # lines would come and go where a centre exceeds its neighbours by less than fp16 resolves
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
    repo=ANNOTATORS,
    revision=ANNOTATORS_COMMIT,
    module=generator.LineartGenerator,
    licence="MIT",
    sha256="30a534781061f34e83bb9406b4335da4ff2616c95d22a585c1245aa8363e74e0",
    size_bytes=17_173_511,
    bytes_per_px=1536,
    half=False,
)
ANIME = Weights(
    file="netG.pth",
    repo=ANNOTATORS,
    revision=ANNOTATORS_COMMIT,
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
    cut_below: int = 0,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> Tensor:
    """Draw soft bright lines on black: (B,H,W,C) in [0,1] → (B,h,w,3) in [0,1].

    `engine` "realistic" and "coarse" are the two generators of informative drawings (Chan et al.,
    2022). "standard" is the lineart_standard of the ControlNet tools, without a network: how much
    darker a pixel is than its surroundings, a Gaussian of `gaussian_sigma` px, scaled so that the
    median of what exceeds `intensity_threshold` levels becomes half white. What is then darker than
    the level `cut_below` (0-255) becomes black. The references truncate the result to 8 bits; here
    it stays float.
    """
    refuse_unknown("lineart engine", engine, LINEART_ENGINES)
    if engine == "standard":
        return _standard(
            image,
            gaussian_sigma,
            intensity_threshold,
            cut_below,
            resolution=resolution,
            progress=progress,
        )
    weights = REALISTIC if engine == "realistic" else COARSE
    drawing = run_network(
        image,
        networks,
        weights,
        _inverted,
        multiple=generator.MULTIPLE,
        resolution=resolution,
        progress=progress,
    )
    lines = only(drawing)
    return to_hint(lines.masked_fill(lines * 255 < cut_below, 0))


def lineart_anime(
    image: Tensor,
    *,
    engine: str = "anime2sketch",
    sizing: str = "padded",
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> Tensor:
    """Draw an anime picture as white lines on black: (B,H,W,C) in [0,1] → (B,h,w,3) in [0,1].

    `engine` "anime2sketch" is Xiang et al.'s network (2021), "standard" that of `lineart`. The
    network needs sides divisible by 256: `sizing` "padded" repeats the last row and column up to
    there and crops, "stretched" resizes there and back, as the reference does.
    """
    refuse_unknown("anime lineart engine", engine, ANIME_ENGINES)
    if engine == "standard":
        return _standard(image, 6.0, 8, 0, resolution=resolution, progress=progress)
    if sizing == "stretched":
        return _stretched(image, resolution=resolution, progress=progress, networks=networks)
    drawing = run_network(
        image,
        networks,
        ANIME,
        _sketched,
        multiple=anime2sketch.MULTIPLE,
        resolution=resolution,
        progress=progress,
    )
    return to_hint(only(drawing))


def _stretched(
    image: Tensor, *, resolution: int, progress: Progress | None, networks: Networks | None
) -> Tensor:
    """Resize to the net's multiple and back by OpenCV's cubic, in 8 bits on the way in.

    These are the reference's sizes.
    """
    cv2 = opencv()
    frames = rgb8(image, resolution)
    height, width = frames[0].shape[:2]
    wide = tuple(
        -(-side // anime2sketch.MULTIPLE) * anime2sketch.MULTIPLE for side in (width, height)
    )
    grown = np.stack([cv2.resize(frame, wide, interpolation=cv2.INTER_CUBIC) for frame in frames])
    fed = tensor_of(grown.astype(np.float32) / 255)
    drawing = only(run_network(fed, networks, ANIME, _sketched, progress=progress))
    back = [
        cv2.resize(frame[0].numpy(), (width, height), interpolation=cv2.INTER_CUBIC)
        for frame in drawing
    ]
    return to_hint(tensor_of(np.stack(back))[:, None].clamp(0, 1))


def _inverted(net: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    # Its instance norms would copy every layer in channels-last layout.
    return 1 - net(frames.contiguous()).float()


def _sketched(net: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    return (1 - net(frames * 2 - 1).float()) / 2


def _standard(
    image: Tensor,
    gaussian_sigma: float,
    intensity_threshold: int,
    cut_below: int,
    *,
    resolution: int,
    progress: Progress | None,
) -> Tensor:
    """Draw the lines of engine "standard"; arguments are those of `lineart`.

    How dark each pixel is goes into the hint's first channel, from where it is scaled: a large
    picture needs little memory beside its hint.
    """
    cv2 = opencv()
    hints = blank_hints(len(image), *size_of(image, resolution))

    # As wide as OpenCV chooses for a float picture. With that width given, the 8-bit picture has
    # the same result but for the last bits of a float, in two thirds of the time.
    reach_px = round(8 * gaussian_sigma + 1) // 2
    gaussian = cv2.getGaussianKernel(2 * reach_px + 1, gaussian_sigma, cv2.CV_32F)

    def darken(index: int, top: int, band: Frame8, above: int, rows: int) -> None:
        surroundings = cv2.sepFilter2D(band, cv2.CV_32F, gaussian, gaussian)
        darker = cv2.subtract(surroundings, band, dst=surroundings, dtype=cv2.CV_32F)
        own = darkest_channel(darker[above : above + rows])
        hints[index, top : top + rows, :, 0] = own

    def scale(index: int) -> None:
        darker = hints[index, ..., 0]
        # The floor keeps a picture without lines from being amplified into noise.
        middle = max(16.0, _median_above(darker, intensity_threshold))
        for top in range(0, len(darker), _ROWS):
            rows = slice(top, top + _ROWS)
            lines = (darker[rows] * np.float32(127 / 255 / middle)).clip(0, 1)
            lines[lines * np.float32(255) < cut_below] = 0
            write_hint(lines, hints[index, rows])

    each_band(image, darken, halo_px=reach_px, resolution=resolution, progress=progress)
    side_by_side(scale, len(hints), progress and (lambda _, total: progress(total, total)))
    return tensor_of(hints).to(image.device)


_ROWS = 256
"""Rows that are scaled together: their temporary copies stay small."""


def _median_above(values: FloatFrame, threshold: float) -> float:
    """Return the median of the values (H,W) above `threshold` of at least 0; 0 if there are none.

    As `numpy.median`, but in little memory for a large frame: the values are counted by the upper
    half of their bits, whose order is that of positive floats.
    """
    if values.size <= BAND_PX:
        above = values[values > threshold]
        return float(np.median(above)) if above.size else 0.0
    parts = [values[top : top + _ROWS] for top in range(0, len(values), _ROWS)]
    counts = np.zeros(1 << 16, np.int64)
    for part in parts:
        counts += np.bincount(_upper_bits(part[part > threshold]), minlength=len(counts))
    before = np.concatenate([[0], np.cumsum(counts)])
    count = int(before[-1])
    if not count:
        return 0.0
    middles = np.zeros(2, np.float32)
    for place, rank in enumerate(((count - 1) // 2, count // 2)):
        upper = int(np.searchsorted(before, rank, side="right")) - 1
        at = rank - int(before[upper])
        rows = (part[part > threshold] for part in parts)
        alike = np.concatenate([above[_upper_bits(above) == upper] for above in rows])
        middles[place] = np.partition(alike, at)[at]
    return float(np.mean(middles))


def _upper_bits(values: FloatFrame) -> NDArray[np.uint32]:
    return np.frombuffer(values.tobytes(), np.uint32) >> np.uint32(16)


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
    """Draw straight segments, one pixel wide: (B,H,W,C) in [0,1] → (B,h,w,3) in {0,1}.

    `engine` "mlsd" is M-LSD large (Gu et al., 2022): of each local maximum of its map of centres,
    the segment if the score exceeds `score_threshold` (0-1) and the length, in pixels of that map
    of half the size, `distance_threshold`. "lsd" is OpenCV's line segment detector (von Gioi et
    al., 2010), which needs no network and has no score. `max_lines` keeps the best (M-LSD) or the
    longest (LSD) of a frame; 0 keeps all, the reference 200.
    """
    refuse_unknown("straight line engine", engine, MLSD_ENGINES)
    if engine == "lsd":
        longest = max_lines or None

        def draw(frame: Frame8) -> Map:
            return drawn(lsd_segments(frame, 2 * distance_threshold)[:longest], *frame.shape[:2])

        return each_frame(image, draw, resolution=resolution, progress=progress)
    centres = run_network(
        image,
        networks,
        MLSD,
        partial(_centres, limit=max_lines),
        multiple=mlsd.MULTIPLE,
        resolution=resolution,
        progress=progress,
    )
    size = size_of(image, resolution)
    maps = [
        drawn(mlsd_segments(best, score_threshold, distance_threshold), *size)
        for best in only(centres)
    ]
    return to_hint(tensor_of(np.stack(maps))[:, None].float() / 255)


def _centres(net: Callable[[Tensor], Tensor], frames: Tensor, *, limit: int) -> Tensor:
    """Return the local maxima of each frame's map of centres, best first: (b,N,7).

    An entry is (score, x, y) and the offsets (dx, dy) to both ends. N is `limit`, or, if that is 0,
    as many as there can be, one of each 2x2 pixels. Entries with score 0 fill it up.
    """
    # the reference scales its channel of ones like the colours
    constant = torch.full_like(frames[:, :1], 1 / 127.5 - 1)
    maps = net(torch.cat((frames * 255 / 127.5 - 1, constant), dim=1)).float()
    heat = maps[:, :1].sigmoid()
    heat = torch.where(F.max_pool2d(heat, 3, 1, 1) == heat, heat, 0)[:, 0]
    height, width = heat.shape[1:]
    most = -(-height // 2) * -(-width // 2)
    scores, where = heat.flatten(1).topk(min(limit, height * width) if limit else most)
    offsets = maps[:, 1:5].flatten(2).gather(2, where[:, None].expand(-1, 4, -1)).movedim(1, 2)
    return torch.cat(
        (scores[..., None], (where % width)[..., None], (where // width)[..., None], offsets), dim=2
    )


def mlsd_segments(centres: Tensor, score_threshold: float, distance_threshold: float) -> Segments:
    """Decode (N,7) of `_centres`, of a map of half the picture's size, to segments, best first."""
    rows: NDArray[np.float32] = centres.numpy()  # pyright: ignore[reportUnknownMemberType]
    offsets = rows[:, 3:]
    length = np.sqrt(((offsets[:, :2] - offsets[:, 2:]) ** 2).sum(axis=1))
    best = rows[
        (rows[:, 0] > score_threshold)
        & (length > distance_threshold)
        & np.isfinite(offsets).all(axis=1)
    ]
    # In double precision, as the reference adds them: these are cut to whole pixels.
    return 2 * (best[:, [1, 2, 1, 2]].astype(np.float64) + best[:, 3:])


def lsd_segments(frame: Frame8, least_px: float) -> Segments:
    """Find the segments of OpenCV's LSD in (H,W,3) longer than `least_px`, longest first."""
    cv2 = opencv()
    detected = cv2.createLineSegmentDetector().detect(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))[0]
    if detected is None:
        return np.zeros((0, 4))
    segments = detected.reshape(-1, 4).astype(np.float64)
    length = np.hypot(segments[:, 2] - segments[:, 0], segments[:, 3] - segments[:, 1])
    order = np.argsort(-length, kind="stable")
    return segments[order][length[order] > least_px]


def drawn(segments: Segments, height_px: int, width_px: int) -> NDArray[np.uint8]:
    """Draw the segments as white lines one pixel wide on black, (H,W) uint8.

    Their ends are cut to whole pixels.
    """
    cv2 = opencv()
    canvas = np.zeros((height_px, width_px), np.uint8)
    ends = np.reshape(np.trunc(segments).clip(-_FAR_PX, _FAR_PX).astype(np.int32), (-1, 2, 2))
    return cv2.polylines(canvas, list(ends), False, 255) if len(ends) else canvas


ROWS = (
    Preprocessor(
        key="lineart",
        node_id="ControlStackLineart",
        title="Lineart",
        summary="A picture as soft bright lines on black, for lineart ControlNets.",
        run=lineart,
        params=(
            Param(
                "engine",
                "standard",
                "standard: classical, needs no weights. realistic, coarse: a network (17 MB), fine"
                " or rough lines.",
                choices=LINEART_ENGINES,
            ),
            Param(
                "gaussian_sigma",
                6.0,
                "Blur that averages the surroundings, standard deviation in pixels; larger finds"
                " broader lines.",
                0.1,
                50.0,
                0.1,
            ),
            Param(
                "intensity_threshold",
                8,
                "Differences above this level (0-255) count as lines when brightness is set. It"
                " cuts nothing off: see cut_below.",
            ),
            Param(
                "cut_below",
                0,
                "Lines darker than this level (0-255) become black: removes faint noise, which some"
                " SDXL nets mind (12 is usual there). 0 = off.",
                is_appended=True,
            ),
        ),
        conditions=("lineart", "any_line"),
        aliases=(
            "lineart",
            "line drawing",
            "lineart_standard",
            "lineart_realistic",
            "lineart_coarse",
        ),
        weights={"realistic": REALISTIC, "coarse": COARSE},
    ),
    Preprocessor(
        key="mlsd",
        node_id="ControlStackMLSD",
        title="M-LSD Lines",
        summary="The straight lines of rooms and buildings, white on black, for mlsd ControlNets.",
        run=straight_lines,
        params=(
            Param(
                "engine",
                "mlsd",
                "mlsd: a network (6 MB). lsd: OpenCV's line segment detector, needs no weights.",
                choices=MLSD_ENGINES,
            ),
            Param(
                "score_threshold",
                0.1,
                "Lines with a lower score (0-1) are dropped. Engine lsd has no score.",
                0,
                1,
                0.01,
            ),
            Param(
                "distance_threshold",
                0.1,
                "Shorter lines are dropped. In pixels of the network's map, which has half the"
                " hint's size.",
                0,
                256,
                0.1,
            ),
            Param(
                "max_lines",
                0,
                "At most this many lines per frame, the best or (lsd) the longest. 0 = all. The"
                " original tool keeps 200.",
                0,
                10000,
                is_appended=True,
            ),
        ),
        conditions=("mlsd",),
        aliases=("mlsd", "m-lsd", "straight lines", "hough", "lsd", "architecture"),
        weights={"mlsd": MLSD},
    ),
    Preprocessor(
        key="lineart_anime",
        node_id="ControlStackLineartAnime",
        title="Anime Line Drawing",
        summary="An anime picture as white lines on black, for lineart_anime ControlNets.",
        run=lineart_anime,
        params=(
            Param(
                "engine",
                "anime2sketch",
                "anime2sketch: a network (218 MB). standard: classical, needs no weights.",
                choices=ANIME_ENGINES,
            ),
            Param(
                "sizing",
                "padded",
                "The network needs sides divisible by 256. padded: its border is repeated up to"
                " that size and cut off. stretched: resized and back, like the original tool.",
                choices=SIZINGS,
                is_appended=True,
            ),
        ),
        conditions=("lineart_anime",),
        aliases=("lineart_anime", "anime", "anime2sketch", "manga", "sketch"),
        weights={"anime2sketch": ANIME},
    ),
)
