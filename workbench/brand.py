"""Draw the pack's icon and banner: `python3 workbench/brand.py --write`.

Both show what a stack is: one scene as edges, classes and depth, three hints joined by zero
convolutions (the rings) to a locked model. The registry takes an icon of at most 400 × 400 pixels
and a banner of 21:9. Needs numpy and Pillow.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Pixels = NDArray[np.float64]
Point = tuple[float, float]
Color = tuple[int, int, int]

DOCS = Path(__file__).resolve().parents[1] / "docs"
SCENE_PX = 480
SUPERSAMPLING = 4

NIGHT, DUSK, INK = (17, 20, 33), (36, 44, 78), (240, 243, 250)
AMBER, MUTED, LOCKED = (255, 184, 77), (150, 160, 188), (92, 104, 146)
CLASSES: tuple[Color, ...] = (
    (94, 196, 236),  # sky
    (255, 210, 92),  # sun
    (128, 112, 216),  # far mountains
    (228, 98, 142),  # near mountains
    (66, 190, 138),  # hill
    (28, 120, 92),  # trees
)
DEPTHS: tuple[tuple[float, float], ...] = (
    (0.02, 0.10),
    (0.06, 0.06),
    (0.22, 0.40),
    (0.38, 0.62),
    (0.60, 1.00),
    (0.84, 0.96),
)
"""Of each class, nearness at the top and at the bottom of the picture."""


# The scene: class numbers, and three hints made of them


def scene(size: int = SCENE_PX) -> NDArray[np.intp]:
    """Return the classes (size,size) of a landscape with a sun, two ranges, a hill and trees."""
    y, x = np.mgrid[0:size, 0:size] / size
    classes = np.zeros((size, size), np.intp)
    classes[(x - 0.70) ** 2 + (y - 0.27) ** 2 < 0.11**2] = 1
    classes[y > _ridge(x, ((0.0, 0.50), (0.22, 0.28), (0.45, 0.54), (0.8, 0.38), (1.0, 0.5)))] = 2
    classes[y > _ridge(x, ((0.0, 0.74), (0.3, 0.6), (0.62, 0.42), (0.86, 0.62), (1.0, 0.56)))] = 3
    classes[y > 0.76 + 0.07 * np.sin(4.6 * x + 0.4)] = 4
    for middle, foot, height in ((0.16, 0.93, 0.36), (0.31, 0.97, 0.27), (0.84, 0.92, 0.31)):
        up = (foot - y) / height
        sawtooth = 0.6 + 0.4 * (1 - (up * 3) % 1)
        tree = (np.abs(x - middle) < 0.13 * (1 - up) * sawtooth) & (up > 0) & (up < 1)
        classes[tree] = 5
    return classes


def _ridge(x: Pixels, corners: tuple[Point, ...]) -> Pixels:
    along, height = zip(*corners, strict=True)
    return np.interp(x, along, height)


def as_classes(classes: NDArray[np.intp]) -> Image.Image:
    """Paint each class in its flat colour."""
    return Image.fromarray(np.asarray(CLASSES, np.uint8)[classes])


def as_edges(classes: NDArray[np.intp]) -> Image.Image:
    """Draw the borders between classes, white on black."""
    border = np.zeros(classes.shape, np.uint8)
    border[1:] |= (classes[1:] != classes[:-1]).astype(np.uint8)
    border[:, 1:] |= (classes[:, 1:] != classes[:, :-1]).astype(np.uint8)
    thick = Image.fromarray(border * 255).filter(ImageFilter.MaxFilter(7))
    return Image.merge("RGB", [thick.filter(ImageFilter.GaussianBlur(1))] * 3)


def as_depth(classes: NDArray[np.intp]) -> Image.Image:
    """Shade by nearness: near is white."""
    top, bottom = np.moveaxis(np.asarray(DEPTHS)[classes], -1, 0)
    down = np.linspace(0, 1, len(classes))[:, None]
    near = top + (bottom - top) * down
    return Image.merge("RGB", [Image.fromarray((near * 255).astype(np.uint8))] * 3)


# Drawing


class Canvas:
    """A picture drawn larger than it will be; lengths are in pixels of the finished one."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.image = Image.new("RGB", (width * SUPERSAMPLING, height * SUPERSAMPLING), NIGHT)

    @property
    def pen(self) -> ImageDraw.ImageDraw:
        """Return a pen that draws on the large picture."""
        return ImageDraw.Draw(self.image)

    def glow(self, centre: Point, radius: float) -> None:
        """Lighten the ground around a point."""
        width, height = self.size
        y, x = np.mgrid[0:height, 0:width]
        distance = np.hypot(x - centre[0], y - centre[1]) / radius
        share = np.clip(1 - distance, 0, 1)[..., None] ** 1.5
        ground = np.asarray(NIGHT) + (np.asarray(DUSK) - np.asarray(NIGHT)) * share
        light = Image.fromarray(ground.astype(np.uint8))
        self.image.paste(light.resize(self.image.size, Image.Resampling.BICUBIC))

    def sheet(self, picture: Image.Image, centre: Point, width: float) -> None:
        """Lay a square picture flat, as a rhombus half as high as wide, with a rim and a shadow."""
        corners = _rhombus(centre, width)
        shadow = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(shadow).polygon(_scaled([(x, y + width * 0.05) for x, y in corners]), 150)
        shadow = shadow.filter(ImageFilter.GaussianBlur(width * 0.03 * SUPERSAMPLING))
        self.image.paste((6, 8, 14), mask=shadow)
        mask = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(mask).polygon(_scaled(corners), 255)
        flat = picture.transform(
            self.image.size,
            Image.Transform.AFFINE,
            _onto(picture.width, centre, width),
            Image.Resampling.BICUBIC,
        )
        self.image.paste(flat, mask=mask)
        rim = max(1.0, width * 0.012)
        self.line([*corners, corners[0], corners[1]], INK, rim)

    def line(self, points: list[Point], color: Color, width: float) -> None:
        """Draw a line with round joints."""
        self.pen.line(_scaled(points), color, round(width * SUPERSAMPLING), joint="curve")

    def ring(self, centre: Point, radius: float, color: Color = AMBER) -> None:
        """Draw a zero convolution."""
        box = [(centre[0] - radius, centre[1] - radius), (centre[0] + radius, centre[1] + radius)]
        self.pen.ellipse(_scaled(box), NIGHT, color, round(radius * 0.36 * SUPERSAMPLING))

    def bar(self, box: tuple[float, float, float, float], color: Color) -> None:
        """Draw a block of a model."""
        radius = (box[3] - box[1]) * 0.28 * SUPERSAMPLING
        self.pen.rounded_rectangle([edge * SUPERSAMPLING for edge in box], radius, color)

    def lock(self, centre: Point, size: float, color: Color = INK) -> None:
        """Draw a padlock."""
        x, y = centre
        shackle = [(x - size * 0.27, y - size * 0.62), (x + size * 0.27, y + size * 0.08)]
        self.pen.arc(_scaled(shackle), 180, 360, color, round(size * 0.13 * SUPERSAMPLING))
        for side in (-1, 1):
            post = x + side * size * 0.205
            self.line([(post, y - size * 0.28), (post, y)], color, size * 0.13)
        self.bar((x - size * 0.42, y - size * 0.08, x + size * 0.42, y + size * 0.52), color)

    def text(self, at: Point, words: str, size: float, color: Color) -> None:
        """Write a line; `at` is its left end on the baseline."""
        font = ImageFont.load_default(size * SUPERSAMPLING)
        self.pen.text(_scaled([at])[0], words, color, font, anchor="ls")

    def finished(self) -> Image.Image:
        """Return the picture at its own size."""
        return self.image.resize(self.size, Image.Resampling.LANCZOS)


def _scaled(points: list[Point]) -> list[Point]:
    return [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]


def _rhombus(centre: Point, width: float) -> list[Point]:
    """List the corners of a sheet: back, right, front, left."""
    (x, y), half, quarter = centre, width / 2, width / 4
    return [(x, y - quarter), (x + half, y), (x, y + quarter), (x - half, y)]


def _onto(size: int, centre: Point, width: float) -> tuple[float, ...]:
    """Return Pillow's affine numbers from canvas pixels to pixels of a square lying flat."""
    x, y = (along * SUPERSAMPLING for along in centre)
    step = size / (width * SUPERSAMPLING)
    half = size / 2
    return (step, 2 * step, half - step * (x + 2 * y), -step, 2 * step, half + step * (x - 2 * y))


# The two pictures


def _stack(canvas: Canvas, centre: Point, width: float, gap: float) -> list[Point]:
    """Draw the three hints, lowest first; return the right corner of each, highest first."""
    classes = scene()
    x, y = centre
    heights = (y + gap, y, y - gap)
    for picture, height in zip((as_depth, as_classes, as_edges), heights, strict=True):
        canvas.sheet(picture(classes), (x, height), width)
    return [(x + width / 2, height) for height in reversed(heights)]


def icon() -> Image.Image:
    """Draw three hints, one above the other, with a ring at each front corner."""
    canvas = Canvas(400, 400)
    canvas.glow((200, 190), 300)
    width, gap = 330, 82
    _stack(canvas, (200, 196), width, gap)
    front = [(200.0, 196 + gap * level + width / 4) for level in (-1, 0, 1)]
    canvas.line([front[0], front[-1]], AMBER, 7)
    for point in front:
        canvas.ring(point, 19)
    return canvas.finished()


def banner() -> Image.Image:
    """Draw the hints, the zero convolutions, the locked model and the name."""
    canvas = Canvas(1260, 540)
    canvas.glow((330, 270), 780)
    corners = _stack(canvas, (222, 270), 324, 110)
    left, right = 506.0, 656.0
    canvas.line(
        [((left + right) / 2, corners[0][1]), ((left + right) / 2, corners[-1][1])], LOCKED, 8
    )
    for (x, y), inset in zip(corners, (0, 18, 36), strict=True):
        canvas.line([(x + 8, y), (left + inset, y)], AMBER, 5)
        canvas.ring(((x + left) / 2, y), 17)
        canvas.bar((left + inset, y - 29, right - inset, y + 29), LOCKED)
    canvas.lock(((left + right) / 2, 270), 38)
    canvas.text((738, 268), "ControlStack", 76, INK)
    canvas.text((742, 316), "ControlNet for ComfyUI", 34, AMBER)
    canvas.text((742, 360), "load, preprocess, stack, apply, train", 26, MUTED)
    return canvas.finished()


PICTURES: dict[str, Callable[[], Image.Image]] = {"icon.png": icon, "banner.png": banner}


def main() -> None:
    """Write the pictures into docs/."""
    parser = argparse.ArgumentParser("python3 workbench/brand.py", description=main.__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    for name, draw in PICTURES.items():
        draw().save(DOCS / name, optimize=True)
        print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
