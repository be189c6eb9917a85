"""Judge sampled pictures: how closely they follow a hint, and whether they follow the words.

Lines are compared as edge maps within 2 px, classes pixel by pixel, depths by rank. Sampled
pictures have no maps of their own, so a small network reads classes and depth (`reader`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import scenery
from .canvas import CLASSES, Drawing
from .drawn_hints import STROKES, pictures
from .reader import Reader

TOLERANCE_PX = 2
LEAST_AREA_PX = 20
"""Of a wall or crown below which its colour is not judged."""
SEEN, UNSEEN = 0.01, 0.004
"""Share of a picture from which a thing counts as there, and below which as absent."""
THINGS = ("house", "tree", "fence", "sea", "boat")
"""Classes that the words name."""
Area = NDArray[np.bool_] | None
"""Which pixels count (H,W); None: all."""


class Judge:
    """The measures of each net, with the network that reads classes and depth."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.reader = Reader()
        self.reader.load_state_dict(weights)

    def wanted(self, net: str, scenes: Sequence[Drawing]) -> NDArray[Any]:
        """Return the map of each scene that a net's pictures are compared with: (B,H,W)."""
        if net == "segmentation":
            return np.stack([scene.classes for scene in scenes])
        if net == "depth":
            return np.stack([scene.depth for scene in scenes])
        return strokes(net, pictures(scenes))

    def given(self, net: str, sampled: Tensor) -> NDArray[Any]:
        """Read the same map from sampled pictures (B,H,W,3)."""
        if net in STROKES:
            return strokes(net, sampled)
        classes, depth = self.read(sampled)
        return classes if net == "segmentation" else depth

    def read(self, sampled: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
        """Read classes and depths (B,H,W) from pictures (B,H,W,3)."""
        classes, depths = [], []
        with torch.inference_mode():
            for part in sampled.movedim(-1, 1).split(16):
                logits, depth = self.reader(part)
                classes.append(logits.argmax(1).numpy())
                depths.append(depth.numpy())
        return np.concatenate(classes), np.concatenate(depths)

    def things(self, sampled: Tensor) -> NDArray[np.float64]:
        """Read which share of each picture each class covers: (B,K)."""
        classes, _ = self.read(sampled)
        return np.stack([(classes == index).mean((1, 2)) for index in range(len(CLASSES))], 1)


def adherence(net: str, wanted: NDArray[Any], given: NDArray[Any], area: Area = None) -> float:
    """Return the mean over pictures of a net's measure between two stacks of maps (B,H,W).

    Edges and scribbles: F1. Segmentation: share of pixels of the right class. Depth: Spearman's
    correlation.
    """
    measure = MEASURES[net]
    return float(np.mean([measure(a, b, area) for a, b in zip(wanted, given, strict=True)]))


def strokes(net: str, sampled: Tensor) -> NDArray[np.bool_]:
    """Draw the lines of pictures (B,H,W,3) as the net's preprocessor does: (B,H,W)."""
    return STROKES[net](sampled)[..., 0].numpy() > 0.5


def f1(wanted: NDArray[np.bool_], given: NDArray[np.bool_], area: Area = None) -> float:
    """Compute the F1 of two line maps (H,W), where a pixel within TOLERANCE_PX counts as met."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * TOLERANCE_PX + 1,) * 2)
    near_wanted, near_given = (cv2.dilate(a.astype(np.uint8), kernel) > 0 for a in (wanted, given))
    if area is not None:
        wanted, given = wanted & area, given & area
    if not wanted.any() or not given.any():
        return float(wanted.any() == given.any())
    recall = (wanted & near_given).sum() / wanted.sum()
    precision = (given & near_wanted).sum() / given.sum()
    return float(2 * recall * precision / max(1e-9, recall + precision))


def class_agreement(wanted: NDArray[Any], given: NDArray[Any], area: Area = None) -> float:
    """Return the share of pixels (H,W) of the same class."""
    same = wanted == given
    return float(same.mean() if area is None else same[area].mean())


def rank_correlation(wanted: NDArray[Any], given: NDArray[Any], area: Area = None) -> float:
    """Compute Spearman's correlation of two depths (H,W), over every fourth pixel."""
    from scipy.stats import spearmanr

    a, b = wanted[::2, ::2], given[::2, ::2]
    if area is not None:
        a, b = a[area[::2, ::2]], b[area[::2, ::2]]
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def beyond_layout(
    net: str, wanted: NDArray[Any], given: NDArray[Any], among: NDArray[Any]
) -> float:
    """Return the mean measure of what landscapes do not share, for classes and depths (B,H,W).

    All have sky above and ground below, so pixels agree by chance. Segmentation: each class of the
    hint counts alike, a boat as much as the sky. Depth: the correlation of deviations from the mean
    depth of the scenes `among`. NaN for other nets.
    """
    if net not in APART:
        return float("nan")
    mean = among.mean(0)
    return float(np.mean([APART[net](a, b, mean) for a, b in zip(wanted, given, strict=True)]))


def class_recall(wanted: NDArray[Any], given: NDArray[Any], _mean: NDArray[Any]) -> float:
    """Return the mean over the classes of `wanted` (H,W) of the share of pixels that have them."""
    return float(np.mean([(given[wanted == k] == k).mean() for k in np.unique(wanted)]))


def deviation_correlation(wanted: NDArray[Any], given: NDArray[Any], mean: NDArray[Any]) -> float:
    """Correlate what two depths (H,W) differ from the mean one by (Pearson)."""
    return float(np.corrcoef((wanted - mean).ravel(), (given - mean).ravel())[0, 1])


APART = {"segmentation": class_recall, "depth": deviation_correlation}
MEASURES = {
    "edges": f1,
    "scribble": f1,
    "segmentation": class_agreement,
    "depth": rank_correlation,
}


def colours_right(scenes: Sequence[Drawing], sampled: Tensor) -> dict[str, float]:
    """Return how often walls and trees have the colour of their word, where the drawing has them.

    NaN where no scene has enough of such a thing.
    """
    share: dict[str, float] = {}
    levels = (sampled * 255).round().to(torch.uint8).numpy()
    for thing in ("house", "tree"):
        hits = [
            _nearest_word(scene, picture, area) == scene.colours[thing]
            for scene, picture in zip(scenes, levels, strict=True)
            if (area := _inside(scene, thing)).sum() > LEAST_AREA_PX
        ]
        share[thing] = float(np.mean(hits)) if hits else float("nan")
    return share


def things_obeyed(
    judge: Judge, worded: Sequence[Drawing], hinted: Sequence[Drawing], sampled: Tensor
) -> float:
    """Return how often a thing of the words is seen that the hint lacks.

    `worded` are the scenes of the words, `hinted` those of the hints.
    """
    shares, hits = judge.things(sampled), []
    for words, hint, share in zip(worded, hinted, shares, strict=True):
        for thing in THINGS:
            index = CLASSES.index(thing)
            is_in_words, is_in_hint = ((scene.classes == index).mean() for scene in (words, hint))
            if is_in_words >= SEEN and is_in_hint < UNSEEN:
                hits.append(share[index] >= SEEN)
    return float(np.mean(hits)) if hits else float("nan")


def _light(scene: Drawing) -> scenery.Light:
    return scenery.LIGHTS[scene.prompt.rpartition(", ")[2]]


def _nearest_word(scene: Drawing, picture: NDArray[np.uint8], area: NDArray[np.bool_]) -> str:
    colour, light = np.median(picture[area], 0), _light(scene)
    table = {word: np.asarray(scenery.tinted(word, light)) for word in scenery.COLOURS}
    return min(table, key=lambda word: np.square(colour - table[word]).sum())


def _inside(scene: Drawing, thing: str) -> NDArray[np.bool_]:
    """Return where a thing has its word's plain colour, without its rim (H,W)."""
    if thing not in scene.colours:
        return np.zeros(scene.classes.shape, bool)
    plain = np.asarray(scenery.tinted(scene.colours[thing], _light(scene)))
    area = np.abs(scene.picture.astype(int) - plain).sum(-1) < 12
    area &= scene.classes == CLASSES.index(thing)
    return cv2.erode(area.astype(np.uint8), np.ones((3, 3))) > 0
