"""Segment pictures: every pixel gets a class, every class a flat colour.

Labels and colours are never blended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .images import (
    BAND_PX,
    Frame8,
    as_masks,
    blank_hints,
    each_label,
    only,
    opencv,
    run_network,
    side_by_side,
    size_of,
    tensor_of,
)
from .nets import segmenters
from .palettes import NOTHING, PALETTES, Palette, shortened
from .spec import Forward, Networks, Param, Port, Preprocessor, Progress, Weights

ENGINES = ("upernet", "oneformer", "snap", "blank")

UPERNET = Weights(
    file="upernet-convnext-small.bin",
    repo="openmmlab/upernet-convnext-small",
    remote="pytorch_model.bin",
    module=segmenters.upernet,
    licence="MIT",
    sha256="76c163aa531ab7edfb3a77bbcc039e340645aa0ffe2b0ffcfc68755f550c76ea",
    half=False,  # in fp16 pixels near a border between classes change their class
    renamed=segmenters.upernet_weights,
)
ONEFORMER_ADE20K = Weights(
    file="oneformer_ade20k_swin_large.bin",
    repo="shi-labs/oneformer_ade20k_swin_large",
    revision="4a5bac8e64f82681a12db2e151a4c2f4ce6092b2",
    sha256="c0b2fe11dfecee6f2f1f315f466946e96f4e94813f3f6d660ff3747b83c28cc9",
    size_bytes=879_517_517,
    remote="pytorch_model.bin",
    module=segmenters.oneformer_ade20k,
    licence="MIT",
    bytes_per_px=8192,
    half=False,
    renamed=segmenters.oneformer_ade20k_weights,
)
ONEFORMER_COCO = Weights(
    file="oneformer_coco_swin_large.bin",
    repo="shi-labs/oneformer_coco_swin_large",
    remote="pytorch_model.bin",
    module=segmenters.oneformer_coco,
    licence="MIT",
    bytes_per_px=8192,
    half=False,
    renamed=segmenters.oneformer_coco_weights,
)
_NETS: dict[tuple[str, str], tuple[Weights, Forward]] = {
    ("upernet", "ade20k"): (UPERNET, segmenters.upernet_labels),
    ("oneformer", "ade20k"): (ONEFORMER_ADE20K, segmenters.oneformer_labels),
    ("oneformer", "coco"): (ONEFORMER_COCO, segmenters.oneformer_labels),
}


def segmentation(
    image: Tensor,
    *,
    engine: str = "upernet",
    palette: str = "ade20k",
    classes: str = "",
    paint: str = "",
    label_map: Tensor | None = None,
    areas: Tensor | None = None,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Segment (B,H,W,C) in [0,1]: hint (B,h,w,3), labels (B,h,w), masks (K·B,h,w) in {0,1}.

    The hint has the palette's colours. Labels are class number / 255, so that a mask's 8-bit file
    keeps them; 255/255 means none (black). They come from `label_map`, of the same form and any
    size, if given; otherwise from the `engine`: a network, "snap" (each pixel of a painted map
    takes the class of the nearest colour, transparent ones none) or "blank". `paint` then lays
    classes over them, as `strokes_of` parses, on boxes or on the `areas` (N,h',w'). Masks are one
    for each of the `classes` (names or numbers, separated by commas), all frames of the first, then
    of the next; without classes, one mask of all pixels that have a class.

    Raises ValueError for a class that the palette does not have, labels without a class, and an
    engine that does not have the palette.
    """
    table = PALETTES[palette]
    chosen = [table.index_of(name) for name in _listed(classes)]
    strokes = strokes_of(paint, table)
    if label_map is not None:
        labels = _given(image, label_map, table, resolution)
    elif engine in ("snap", "blank"):
        labels = _unaided(image, engine, table, resolution=resolution, progress=progress)
    else:
        labels = _by_network(
            image,
            engine,
            palette,
            resolution=resolution,
            progress=progress,
            networks=networks,
        )
    labels = painted(labels, strokes, areas)
    masks = [labels == index for index in chosen] or [labels != NOTHING]
    return _coloured(labels, table), labels / 255, torch.cat(masks).float()


def _coloured(labels: Tensor, table: Palette) -> Tensor:
    """Return the hints (B,h,w,3) of labels (B,h,w)."""
    cv2 = opencv()
    paint, numbers = table.paint.numpy()[None], labels.numpy()
    hints = blank_hints(*labels.shape)

    def colour(item: int) -> None:
        index, top = item // parts, item % parts * rows
        grey = numbers[index, top : top + rows]
        # numpy's `take` needs three times as long.
        cv2.LUT(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), paint, dst=hints[index, top : top + rows])

    rows = max(1, BAND_PX // labels.shape[2])
    parts = -(-labels.shape[1] // rows)
    side_by_side(colour, len(labels) * parts, None)
    return tensor_of(hints)


def _by_network(
    image: Tensor,
    engine: str,
    palette: str,
    *,
    resolution: int,
    progress: Progress | None,
    networks: Networks | None,
) -> Tensor:
    """Return class numbers (B,h,w) of a network."""
    if (engine, palette) not in _NETS:
        engines = " or ".join(other for other, its_palette in _NETS if its_palette == palette)
        raise ValueError(
            f"the engine {engine!r} does not have the palette {palette!r}: choose {engines}"
        )
    weights, forward = _NETS[engine, palette]
    labels = run_network(
        image,
        networks,
        weights,
        forward,
        multiple=segmenters.MULTIPLE,
        resolution=resolution,
        progress=progress,
    )
    return only(labels)[:, 0].round().to(torch.uint8)


def _unaided(
    image: Tensor, engine: str, table: Palette, *, resolution: int, progress: Progress | None
) -> Tensor:
    """Return class numbers (B,h,w) without a network.

    A painted map is labelled at its own size, because resized colours would mix to others, and by
    the colours that were painted: what is more transparent than not is unpainted.
    """
    size = size_of(image, resolution)
    if engine == "blank":
        for done in range(len(image) + 1):
            if progress:
                progress(done, len(image))
        return torch.full((len(image), *size), NOTHING, dtype=torch.uint8)
    colours, classes = image[..., :3], NearestClasses(table)
    labels = tensor_of(each_label(colours, classes.of, progress=progress))
    if image.shape[-1] == 4:
        labels[image[..., 3].cpu() < 0.5] = NOTHING
    return _nearest(labels, size)


_COLOURS = 1 << 24
_UNKNOWN = NOTHING - 1
"""Not a class of any palette."""


Codes = NDArray[np.signedinteger[Any]]
"""Colours as numbers: red << 16 | green << 8 | blue, of 8 bits each."""


class NearestClasses:
    """The class of the nearest colour of a palette, for every 8-bit colour that was met so far."""

    def __init__(self, table: Palette) -> None:
        self.table = table
        self.classes = np.full(_COLOURS, _UNKNOWN, np.uint8)

    def of(self, frame: Frame8) -> NDArray[np.uint8]:
        """Return the classes of (H,W,3) → (H,W); the first wins ties. Black stays no class."""
        channels = frame.astype(np.int32)
        codes: Codes = channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]
        labels = self.classes[codes]
        unknown = labels == _UNKNOWN
        if unknown.any():
            new = np.unique(codes[unknown])
            self.classes[new] = nearest_class(new, self.table)
            labels[unknown] = self.classes[codes[unknown]]
        return labels


def nearest_class(codes: Codes, table: Palette) -> NDArray[np.uint8]:
    """Return the classes nearest to colours (N,); the first class wins ties."""
    colours = np.concatenate([table.colours, np.zeros((1, 3), np.uint8)]).astype(np.float32)
    nearest = np.empty(len(codes), np.intp)
    # in parts: the distances of all of them to all colours would be large
    for first in range(0, len(codes), 16384):
        part = slice(first, first + 16384)
        shifted = [codes[part] >> shift & 255 for shift in (16, 8, 0)]
        pixels = np.stack(shifted, axis=1).astype(np.float32)
        # in whole numbers below 2^24, which float32 holds exactly
        distances = np.square(colours).sum(1) - 2 * np.matmul(pixels, np.transpose(colours))
        nearest[part] = np.argmin(distances, 1)
    nearest[nearest == len(table.colours)] = NOTHING
    return nearest.astype(np.uint8)


def _given(image: Tensor, label_map: Tensor, table: Palette, resolution: int) -> Tensor:
    """Fit the label map to the picture by its nearest pixels: (B,h,w) class numbers."""
    masks = as_masks(label_map, "label_map")
    labels = numbers(_nearest(masks, size_of(image, resolution)))
    unknown = labels[(labels >= len(table.names)) & (labels != NOTHING)]
    if unknown.numel():
        raise ValueError(
            f"label_map has the label {int(unknown[0])}, and {table.title} ends at"
            f" {len(table.names) - 1}: choose the palette that it was made with, and connect"
            " labels, not a picture of their colours"
        )
    if len(labels) not in (1, len(image)):
        raise ValueError(
            f"label_map has {len(labels)} frames and the picture {len(image)}: connect one"
            " for all, or one for each"
        )
    return labels.expand(len(image), -1, -1)


class Stroke(NamedTuple):
    """Declare one class to be painted.

    It is painted on `box` (left, top, right, bottom as fractions) or else on the next of the areas.
    """

    label: int
    box: tuple[float, float, float, float] | None


def strokes_of(text: str, table: Palette) -> list[Stroke]:
    """Parse "sky 0 0 1 0.4, house 0.3 0.2 0.7 0.6, grass": classes, each with or without a box.

    Classes are names or numbers. Raises ValueError for a class that does not exist, or an invalid
    box.
    """
    return [_stroke(entry, table) for entry in _listed(text)]


def _stroke(entry: str, table: Palette) -> Stroke:
    """Parse one entry of `strokes_of`."""
    words = entry.split()
    ends = [_number(word) for word in words[-4:]]
    if len(words) < 5 or None in ends:
        return Stroke(table.index_of(entry), None)
    left, top, right, bottom = (float(end or 0) for end in ends)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            f"paint {shortened(entry)!r}: a box is left, top, right and bottom as fractions of the"
            " picture, such as 0 0 1 0.4"
        )
    return Stroke(table.index_of(" ".join(words[:-4])), (left, top, right, bottom))


def painted(labels: Tensor, strokes: Sequence[Stroke], areas: Tensor | None) -> Tensor:
    """Lay the strokes over each frame of (B,h,w), the last on top.

    Raises ValueError unless there are as many areas as strokes without a box.
    """
    open_strokes = sum(stroke.box is None for stroke in strokes)
    masks = torch.zeros(0, 1, 1) if areas is None else as_masks(areas, "areas")
    if open_strokes != len(masks):
        raise ValueError(
            f"paint names {open_strokes} classes without a box and areas holds {len(masks)} masks: "
            "connect one mask for each of them, in their order, or write boxes"
        )
    covers = iter(_nearest(masks, tuple(labels.shape[1:])) >= 0.5 if len(masks) else masks)
    labels, (height, width) = labels.clone(), labels.shape[1:]
    for label, box in strokes:
        if box is None:
            labels[:, next(covers)] = label
        else:
            left, top, right, bottom = box
            columns, rows = (
                slice(round(a * n), round(b * n))
                for a, b, n in ((left, right, width), (top, bottom, height))
            )
            labels[:, rows, columns] = label
    return labels


def numbers(labels: Tensor) -> Tensor:
    """Convert labels of a mask, number / 255, to the numbers."""
    return (labels.nan_to_num(nan=1.0).clamp(0, 1) * 255).round().to(torch.uint8)


def _nearest(masks: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize (B,H,W) to (B,h,w) by the pixel under each centre.

    Computed in integers: with floats, ties could be rounded either way.
    """
    if tuple(masks.shape[1:]) == tuple(size):
        return masks
    rows, columns = (
        torch.tensor([(2 * at + 1) * before // (2 * after) for at in range(after)])
        for before, after in zip(masks.shape[1:], size, strict=True)
    )
    return masks[:, rows][:, :, columns]


def _listed(text: str) -> list[str]:
    """Split a text at commas and line breaks."""
    return [entry.strip() for entry in text.replace("\n", ",").split(",") if entry.strip()]


def _number(word: str) -> float | None:
    """Read a number; None for other words."""
    try:
        return float(word)
    except ValueError:
        return None


ROWS = (
    Preprocessor(
        key="segmentation",
        node_id="ControlStackSegmentation",
        title="Segmentation Map",
        summary=(
            "Every pixel in the flat colour of its class (ADE20K or COCO), for seg ControlNets."
        ),
        run=segmentation,
        params=(
            Param(
                "engine",
                "upernet",
                "upernet: a network for ade20k (327 MB). oneformer: a large one, for both palettes."
                " snap: no network; the picture is a painted map, its colours become exact, what is"
                " transparent or black has no class. blank: an empty map to paint on.",
                choices=ENGINES,
            ),
            Param(
                "palette",
                "ade20k",
                "The classes and their colours: ade20k has 150, coco 133. seg ControlNets 1.0 were"
                " trained on ade20k only.",
                choices=tuple(PALETTES),
            ),
            Param(
                "classes",
                "",
                "Classes to make masks of, by name or number, separated by commas: 'sky, person'."
                " One mask for each.",
                is_appended=True,
            ),
            Param(
                "paint",
                "",
                "Classes to paint over the map: 'sky 0 0 1 0.4, house 0.3 0.2 0.7 0.6' with boxes"
                " (left, top, right, bottom as fractions), or names alone, one for each mask of"
                " areas.",
                is_appended=True,
            ),
        ),
        conditions=("segmentation",),
        aliases=(
            "segmentation",
            "seg",
            "semantic",
            "semantic segmentation",
            "uniformer",
            "oneformer",
            "upernet",
            "ade20k",
            "coco",
        ),
        grey=False,
        weights={"upernet": UPERNET, "oneformer": ONEFORMER_ADE20K},
        inputs=(
            Port(
                "label_map",
                "MASK",
                "Existing labels (class number / 255): they are painted, and no network runs.",
            ),
            Port(
                "areas",
                "MASK",
                "A batch of masks: the first is painted with the first class of paint, and so on.",
            ),
        ),
        outputs=(
            Port(
                "labels",
                "MASK",
                "The class of each pixel as number / 255; 1 means none. An 8-bit PNG keeps it.",
            ),
            Port(
                "mask", "MASK", "A mask for each of the classes, all frames of the first one first."
            ),
        ),
        plain_is_black=False,
    ),
)
