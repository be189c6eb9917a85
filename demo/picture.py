"""Draw the demo's input picture: a house, a tree and a sun.

It is drawn here so that it has clear edges and needs no licence.
"""

from __future__ import annotations

from pathlib import Path

SIDE = 512
SUPERSAMPLING = 3  # drawn larger, then reduced, for smooth edges

SKY_TOP, SKY_LOW = (96, 156, 214), (214, 232, 240)
SUN, CLOUD = (250, 206, 74), (250, 250, 248)
FAR_HILL, NEAR_HILL, GRASS = (128, 170, 132), (96, 148, 92), (116, 172, 84)
PATH, WALL, SHADE = (216, 192, 150), (238, 222, 190), (206, 186, 152)
ROOF, CHIMNEY, DOOR = (172, 72, 56), (140, 84, 70), (104, 66, 46)
PANE, FRAME = (150, 196, 220), (86, 70, 62)
TRUNK, LEAVES, LEAVES_LIT = (110, 76, 50), (54, 112, 62), (86, 146, 78)


def draw(file: Path) -> None:
    """Write the picture as a PNG of 512 x 512."""
    from PIL import Image, ImageDraw

    side = SIDE * SUPERSAMPLING
    picture = Image.new("RGB", (side, side))
    pen = _Pen(ImageDraw.Draw(picture))
    for scene in (_sky, _hills, _house, _tree, _fence):
        scene(pen)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(file)


class _Pen:
    """ImageDraw with coordinates in pixels of the finished picture."""

    def __init__(self, draw):
        self._draw = draw

    def box(self, left, top, right, bottom, fill):
        self._draw.rectangle([v * SUPERSAMPLING for v in (left, top, right, bottom)], fill=fill)

    def disc(self, x, y, radius_x, fill, radius_y=None):
        radius_y = radius_y or radius_x
        edges = (x - radius_x, y - radius_y, x + radius_x, y + radius_y)
        self._draw.ellipse([v * SUPERSAMPLING for v in edges], fill=fill)

    def shape(self, points, fill):
        self._draw.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points], fill=fill)


def _sky(pen: _Pen) -> None:
    for y in range(320):
        part = y / 320
        color = tuple(round(a + (b - a) * part) for a, b in zip(SKY_TOP, SKY_LOW, strict=True))
        pen.box(0, y, SIDE, y + 1, color)
    pen.disc(418, 92, 44, SUN)
    left_cloud = ((92, 96, 26), (126, 84, 34), (164, 98, 26))
    right_cloud = ((262, 54, 18), (288, 48, 24), (316, 56, 18))
    for x, y, radius in (*left_cloud, *right_cloud):
        pen.disc(x, y, radius * 1.3, CLOUD, radius * 0.8)


def _hills(pen: _Pen) -> None:
    pen.disc(120, 420, 280, FAR_HILL, 170)
    pen.disc(440, 430, 260, NEAR_HILL, 150)
    pen.box(0, 352, SIDE, SIDE, GRASS)
    pen.shape([(206, 388), (246, 388), (330, SIDE), (150, SIDE)], PATH)


def _house(pen: _Pen) -> None:
    pen.box(286, 166, 316, 232, CHIMNEY)
    pen.box(130, 258, 330, 390, WALL)
    pen.box(130, 258, 330, 270, SHADE)
    pen.shape([(106, 262), (230, 160), (354, 262)], ROOF)
    pen.box(206, 316, 246, 390, DOOR)
    pen.disc(238, 355, 3, SUN)
    for left in (148, 266):
        pen.box(left, 296, left + 44, 344, FRAME)
        pen.box(left + 4, 300, left + 20, 318, PANE)
        pen.box(left + 24, 300, left + 40, 318, PANE)
        pen.box(left + 4, 322, left + 20, 340, PANE)
        pen.box(left + 24, 322, left + 40, 340, PANE)
    pen.disc(230, 222, 19, FRAME)
    pen.disc(230, 222, 15, PANE)


def _tree(pen: _Pen) -> None:
    pen.shape([(412, 412), (420, 300), (440, 300), (448, 412)], TRUNK)
    for x, y, radius in ((430, 232, 58), (392, 270, 44), (468, 270, 44), (430, 286, 50)):
        pen.disc(x, y, radius, LEAVES)
    for x, y, radius in ((416, 222, 30), (384, 264, 20), (460, 256, 22)):
        pen.disc(x, y, radius, LEAVES_LIT)


def _fence(pen: _Pen) -> None:
    for left in (16, 48, 80, 112):
        pen.shape(
            [(left, 446), (left, 396), (left + 8, 384), (left + 16, 396), (left + 16, 446)], CLOUD
        )
    pen.box(4, 404, 140, 412, CLOUD)
    pen.box(4, 428, 140, 436, CLOUD)
