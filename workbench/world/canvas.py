"""Draw a picture and, from the same strokes, its classes, its depth and its outline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CLASSES = (
    "sky",
    "light",
    "hill",
    "grass",
    "path",
    "sea",
    "house",
    "door",
    "windowpane",
    "tree",
    "fence",
    "boat",
)
"""What a pixel can be, by ADE20K's names."""
SUPERSAMPLING = {64: 8, 128: 4, 256: 3}
"""Drawn larger by this, then averaged, for smooth edges."""
NEAREST_GROUND, FARTHEST_GROUND = 1.0, 0.25

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    """A picture with its maps, all of one size."""

    picture: NDArray[np.uint8]
    """(H,W,3)"""
    classes: NDArray[np.uint8]
    """(H,W), indices in CLASSES"""
    depth: NDArray[np.float32]
    """(H,W) in [0,1], 1 nearest, as depth ControlNets read it"""
    outline: NDArray[np.bool_]
    """(H,W), where one part meets another"""
    prompt: str
    colours: dict[str, str]
    """Colour word of each thing that the prompt names."""


@dataclass(frozen=True)
class _Part:
    thing: str
    depth: float | None
    """None: ground, whose depth follows from the row."""


class Canvas:
    """A square to draw on, in coordinates from 0 to 1; later strokes cover earlier ones."""

    def __init__(self, size: int, horizon: float = 0.5) -> None:
        self.size, self.horizon = size, horizon
        self.side = size * SUPERSAMPLING.get(size, 2)
        self._picture = Image.new("RGB", (self.side, self.side))
        self._parts = Image.new("L", (self.side, self.side))
        self._brush, self._marker = ImageDraw.Draw(self._picture), ImageDraw.Draw(self._parts)
        self._table: list[_Part] = []

    def polygon(
        self, points: Sequence[Point], colour: Colour, thing: str, depth: float | None = None
    ) -> None:
        """Fill a polygon."""
        part, corners = self._part(thing, depth), [self._px(point) for point in points]
        self._brush.polygon(corners, fill=colour)
        self._marker.polygon(corners, fill=part)

    def box(
        self,
        edges: tuple[float, float, float, float],
        colour: Colour,
        thing: str,
        depth: float | None = None,
    ) -> None:
        """Fill a rectangle: left, top, right, bottom."""
        left, top, right, bottom = edges
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        self.polygon(corners, colour, thing, depth)

    def disc(
        self,
        centre: Point,
        radii: Point,
        colour: Colour,
        thing: str,
        depth: float | None = None,
    ) -> None:
        """Fill an ellipse."""
        (x, y), (across, down) = centre, radii
        box = [*self._px((x - across, y - down)), *self._px((x + across, y + down))]
        self._brush.ellipse(box, fill=colour)
        self._marker.ellipse(box, fill=self._part(thing, depth))

    def gradient(self, top: Colour, low: Colour, bottom: float, thing: str, depth: float) -> None:
        """Fill everything from the top down to `bottom` with a vertical gradient."""
        rows = max(1, round(bottom * self.side))
        share = np.linspace(0, 1, rows)[:, None]
        column = (1 - share) * np.asarray(top) + share * np.asarray(low)
        strip = np.repeat(column[:, None].round().astype(np.uint8), self.side, axis=1)
        self._picture.paste(Image.fromarray(strip), (0, 0))
        self._marker.rectangle((0, 0, self.side, rows), fill=self._part(thing, depth))

    def nearness(self, row: float) -> float:
        """Return the depth of the ground at a height of the picture."""
        share = min(1.0, max(0.0, (row - self.horizon) / (1 - self.horizon)))
        return FARTHEST_GROUND + (NEAREST_GROUND - FARTHEST_GROUND) * share

    def shows(self, thing: str) -> float:
        """Return the share of the picture in which a thing is to be seen by now."""
        return float((self._classes()[self._reduced_parts()] == CLASSES.index(thing)).mean())

    def finish(self, prompt: str, colours: dict[str, str]) -> Drawing:
        """Reduce everything to the size that was asked for."""
        parts = self._reduced_parts()
        return Drawing(
            np.asarray(self._picture.resize((self.size, self.size), Image.Resampling.BOX)),
            self._classes()[parts],
            self._depths(parts),
            _borders(parts),
            prompt,
            colours,
        )

    def _part(self, thing: str, depth: float | None) -> int:
        part = _Part(thing, depth)
        if not self._table or self._table[-1] != part:
            self._table.append(part)
        return len(self._table) - 1

    def _px(self, point: Point) -> Point:
        return point[0] * self.side, point[1] * self.side

    def _reduced_parts(self) -> NDArray[np.uint8]:
        step = self.side // self.size
        return np.asarray(self._parts)[step // 2 :: step, step // 2 :: step]

    def _classes(self) -> NDArray[np.uint8]:
        return np.asarray([CLASSES.index(part.thing) for part in self._table], np.uint8)

    def _depths(self, parts: NDArray[np.uint8]) -> NDArray[np.float32]:
        flat = np.asarray([-1.0 if p.depth is None else p.depth for p in self._table], np.float32)
        rows = [self.nearness((row + 0.5) / self.size) for row in range(self.size)]
        ground = np.repeat(np.asarray(rows, np.float32)[:, None], self.size, axis=1)
        depth = flat[parts]
        return np.where(depth < 0, ground, depth)


def _borders(parts: NDArray[np.uint8]) -> NDArray[np.bool_]:
    borders = np.zeros(parts.shape, bool)
    borders[:, :-1] |= parts[:, :-1] != parts[:, 1:]
    borders[:-1] |= parts[:-1] != parts[1:]
    return borders
