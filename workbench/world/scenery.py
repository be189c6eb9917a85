"""Compose landscapes at random: a house, trees, sun or moon, clouds, a fence, hills, path and sea.

The prompt always has the same order, so that a colour word's place says which thing it colours:
"a red house with a blue roof beside a green tree, by the sea with a white boat, at night".
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from .canvas import Canvas, Colour, Drawing

COLOURS: dict[str, Colour] = {
    "red": (198, 66, 54),
    "orange": (236, 146, 60),
    "yellow": (246, 212, 96),
    "green": (82, 150, 84),
    "blue": (76, 124, 200),
    "purple": (142, 96, 176),
    "pink": (238, 160, 182),
    "brown": (130, 88, 60),
    "white": (244, 240, 230),
}
WALLS = ("white", "red", "yellow", "blue", "pink", "orange", "green", "purple")
ROOFS = ("red", "brown", "blue", "green", "purple", "orange")
LEAVES = ("green", "orange", "pink", "yellow")
LEAST_SEEN = 0.004
"""Share of the picture below which a boat is not worth a word."""
HULLS = ("red", "blue", "white", "yellow")


@dataclass(frozen=True)
class Light:
    """What the time of day does to the colours."""

    words: str
    sky: tuple[Colour, Colour]
    tint: tuple[float, float, float]
    hills: tuple[Colour, Colour]
    grass: Colour
    sea: Colour
    cloud: Colour
    pane: Colour
    disc: Colour


LIGHTS = {
    light.words: light
    for light in (
        Light(
            "by day",
            ((96, 156, 218), (218, 234, 242)),
            (1.0, 1.0, 1.0),
            ((146, 184, 150), (104, 158, 104)),
            (124, 180, 86),
            (62, 132, 184),
            (250, 250, 248),
            (150, 198, 222),
            (252, 210, 78),
        ),
        Light(
            "at dusk",
            ((120, 96, 160), (250, 176, 120)),
            (0.94, 0.78, 0.72),
            ((150, 108, 132), (108, 92, 100)),
            (122, 124, 72),
            (126, 96, 138),
            (252, 206, 176),
            (255, 220, 130),
            (255, 118, 70),
        ),
        Light(
            "at night",
            ((18, 24, 64), (66, 80, 140)),
            (0.62, 0.64, 0.8),
            ((58, 72, 114), (40, 62, 82)),
            (50, 92, 84),
            (22, 60, 118),
            (112, 122, 164),
            (255, 214, 110),
            (244, 240, 214),
        ),
    )
}


def named(word: str) -> str:
    """Put the article before a colour word."""
    return f"{'an' if word == 'orange' else 'a'} {word}"


def tinted(word: str, light: Light) -> Colour:
    """Return a colour word's colour in a light."""
    return _scaled(COLOURS[word], light.tint)


def _scaled(colour: Colour, by: Sequence[float]) -> Colour:
    red, green, blue = (
        max(0, min(255, round(part * share))) for part, share in zip(colour, by, strict=True)
    )
    return red, green, blue


def _shade(colour: Colour, by: float) -> Colour:
    return _scaled(colour, (by, by, by))


@dataclass
class Scene:
    """A landscape while it is drawn."""

    canvas: Canvas
    random: random.Random
    light: Light
    colours: dict[str, str] = field(default_factory=dict[str, str])
    phrases: dict[str, str] = field(default_factory=dict[str, str])

    def choose(self, thing: str, words: Sequence[str], *, but: str = "") -> Colour:
        """Choose a thing's colour word, and return its colour in this light."""
        word = self.random.choice([word for word in words if word != but])
        self.colours[thing] = word
        return tinted(word, self.light)

    def between(self, low: float, high: float) -> float:
        """Return a random number."""
        return self.random.uniform(low, high)

    def chance(self, share: float) -> bool:
        """Return True this often."""
        return self.random.random() < share


def landscape(seed: str, size: int) -> Drawing:
    """Draw the landscape of a seed; the same seed is the same scene at every size."""
    chance = random.Random(seed)
    light = LIGHTS[chance.choices(list(LIGHTS), (0.5, 0.22, 0.28))[0]]
    canvas = Canvas(size, horizon=chance.uniform(0.46, 0.6))
    scene = Scene(canvas, chance, light)
    _sky(scene)
    has_sea = scene.chance(0.35)
    _hills(scene)
    if has_sea:
        _sea(scene)
    _things(scene)
    if "boat" in scene.colours and canvas.shows("boat") < LEAST_SEEN:  # behind house or tree
        del scene.colours["boat"]
        scene.phrases["sea"] = "by the sea"
    order = ("house", "tree", "fence", "sea")
    words = " ".join(scene.phrases[name] for name in order if name in scene.phrases)
    return canvas.finish(f"{words or 'a meadow'}, {light.words}", scene.colours)


def _things(scene: Scene) -> None:
    """Stand house, trees and fence on the ground, the farthest first."""
    has_house = scene.chance(0.9)
    side = scene.random.choice((-1, 1))
    x = 0.5 + side * scene.between(0.02, 0.2)
    foot = scene.between(scene.canvas.horizon + 0.14, 0.84)
    if has_house:
        _house(scene, x, foot)
    if scene.chance(0.65) or not has_house:
        # beside the house, on the side that has more room
        place = 0.5 - side * scene.between(0.24, 0.36)
        _tree(scene, place, scene.between(scene.canvas.horizon + 0.16, 0.94))
    if scene.chance(0.25):
        _fence(scene)


# -- the backdrop ------------------------------------------------------------------------------


def _sky(scene: Scene) -> None:
    canvas, light = scene.canvas, scene.light
    canvas.gradient(*light.sky, 1.0, "sky", 0.0)
    if scene.chance(0.85):
        _sun_or_moon(scene)
    for _ in range(scene.random.choice((0, 1, 1, 2))):
        x, y, r = scene.between(0.1, 0.9), scene.between(0.08, 0.26), scene.between(0.04, 0.065)
        for dx, dy, by in ((-1.3, 0.1, 0.8), (0, -0.25, 1.1), (1.3, 0.1, 0.8)):
            centre = x + dx * r, y + dy * r
            canvas.disc(centre, (1.25 * by * r, 0.8 * by * r), light.cloud, "sky", 0.08)


def _sun_or_moon(scene: Scene) -> None:
    canvas, light = scene.canvas, scene.light
    centre = scene.between(0.12, 0.88), scene.between(0.1, 0.3)
    r = scene.between(0.06, 0.1)
    canvas.disc(centre, (r, r), light.disc, "light", 0.04)
    if light.words == "at night" and scene.chance(0.5):  # a crescent
        share = centre[1] / 1.0
        top, low = light.sky
        sky = tuple(round(a + (b - a) * share) for a, b in zip(top, low, strict=True))
        canvas.disc(
            (centre[0] + 0.45 * r, centre[1] - 0.2 * r), (0.9 * r, 0.9 * r), sky, "sky", 0.0
        )


def _hills(scene: Scene) -> None:
    canvas, light, horizon = scene.canvas, scene.light, scene.canvas.horizon
    for colour, depth in zip(light.hills, (0.14, 0.2), strict=True):
        if scene.chance(0.7):
            centre = scene.between(0, 1), horizon + 0.18
            radii = scene.between(0.4, 0.7), scene.between(0.26, 0.38)
            canvas.disc(centre, radii, colour, "hill", depth)
    canvas.box((0, horizon, 1, 1), light.grass, "grass")


def _sea(scene: Scene) -> None:
    """Fill a band below the horizon with water, and perhaps set a boat on it."""
    canvas, horizon = scene.canvas, scene.canvas.horizon
    shore = horizon + scene.between(0.1, 0.15)
    canvas.box((0, horizon - 0.012, 1, shore), scene.light.sea, "sea")
    scene.phrases["sea"] = "by the sea"
    if scene.chance(0.75):
        x = scene.random.choice((scene.between(0.1, 0.26), scene.between(0.74, 0.9)))
        _boat(scene, x, scene.between(horizon + 0.045, shore - 0.02))
        scene.phrases["sea"] = f"by the sea with {named(scene.colours['boat'])} boat"


def _boat(scene: Scene, x: float, foot: float) -> None:
    canvas, depth = scene.canvas, scene.canvas.nearness(foot)
    hull, half = scene.choose("boat", HULLS), scene.between(0.075, 0.1)
    sail = _scaled((246, 244, 236), scene.light.tint)
    canvas.box((x - 0.009, foot - 2.2 * half, x + 0.009, foot), _shade(sail, 0.45), "boat", depth)
    corners = [
        (x + 0.02, foot - 2.1 * half),
        (x + 0.02, foot - 0.72 * half),
        (x + 0.95 * half, foot - 0.72 * half),
    ]
    canvas.polygon(corners, sail, "boat", depth)
    corners = [
        (x - half, foot - 0.5 * half),
        (x + half, foot - 0.5 * half),
        (x + 0.65 * half, foot + 0.1 * half),
        (x - 0.65 * half, foot + 0.1 * half),
    ]
    canvas.polygon(corners, hull, "boat", depth)


# -- what stands on the ground -------------------------------------------------------------------


def _house(scene: Scene, x: float, foot: float) -> None:
    canvas, depth = scene.canvas, scene.canvas.nearness(foot)
    half = scene.between(0.17, 0.22) * (0.8 + 0.4 * depth)
    height = half * scene.between(1.0, 1.3)
    rise = half * scene.between(0.75, 1.05)
    wall = scene.choose("house", WALLS)
    roof = scene.choose("roof", ROOFS, but=scene.colours["house"])
    scene.phrases["house"] = (
        f"{named(scene.colours['house'])} house with {named(scene.colours['roof'])} roof"
    )
    top = foot - height
    if scene.chance(0.5):
        _path(scene, x, foot, half)
    if scene.chance(0.5):
        at = x + scene.random.choice((-1, 1)) * 0.55 * half
        edges = (at - 0.11 * half, top - 0.95 * rise, at + 0.11 * half, top)
        canvas.box(edges, _shade(roof, 0.7), "house", depth)
    canvas.box((x - half, top, x + half, foot), wall, "house", depth)
    canvas.box((x - half, top, x + half, top + 0.1 * height), _shade(wall, 0.86), "house", depth)
    eaves = [(x - 1.22 * half, top + 0.04), (x, top - rise), (x + 1.22 * half, top + 0.04)]
    canvas.polygon(eaves, roof, "house", depth)
    _openings(scene, (x, foot, half, height), depth)


def _openings(scene: Scene, house: tuple[float, float, float, float], depth: float) -> None:
    """Draw the door, two windows beside it and perhaps a round one in the gable."""
    (x, foot, half, height), canvas, light = house, scene.canvas, scene.light
    frame = _scaled((92, 70, 58), light.tint)
    door = x + scene.random.choice((-0.0, 0.0, -0.55, 0.55)) * half
    canvas.box(
        (door - 0.17 * half, foot - 0.58 * height, door + 0.17 * half, foot), frame, "door", depth
    )
    places = (x - 0.58 * half, x + 0.58 * half) if door == x else (x, 2 * x - door)
    for at in places:
        wide, tall, middle = 0.25 * half, 0.22 * height, foot - 0.52 * height
        canvas.box((at - wide, middle - tall, at + wide, middle + tall), frame, "windowpane", depth)
        rim = 0.065 * half
        edges = (at - wide + rim, middle - tall + rim, at + wide - rim, middle + tall - rim)
        canvas.box(edges, light.pane, "windowpane", depth)
        canvas.box((at - rim / 2, edges[1], at + rim / 2, edges[3]), frame, "windowpane", depth)
    if scene.chance(0.4):
        r = 0.13 * half
        canvas.disc((x, foot - height - 0.28 * half), (r, r), light.pane, "windowpane", depth)


def _path(scene: Scene, x: float, foot: float, half: float) -> None:
    sand = _scaled((222, 198, 152), scene.light.tint)
    end = x + scene.between(-0.15, 0.15)
    wide = scene.between(0.12, 0.2)
    corners = [(x - 0.2 * half, foot), (x + 0.2 * half, foot), (end + wide, 1), (end - wide, 1)]
    scene.canvas.polygon(corners, sand, "path")


def _tree(scene: Scene, x: float, foot: float) -> None:
    canvas, depth = scene.canvas, scene.canvas.nearness(foot)
    size = scene.between(0.1, 0.14) * (0.7 + 0.5 * depth)
    trunk = _scaled((116, 80, 54), scene.light.tint)
    leaves = scene.choose("tree", LEAVES)
    is_fir = scene.colours["tree"] == "green" and scene.chance(0.4)
    kind = "fir" if is_fir else "tree"
    joint = "beside " if "house" in scene.phrases else ""
    scene.phrases["tree"] = f"{joint}{named(scene.colours['tree'])} {kind}"
    corners = [
        (x - 0.2 * size, foot),
        (x - 0.13 * size, foot - 2 * size),
        (x + 0.13 * size, foot - 2 * size),
        (x + 0.2 * size, foot),
    ]
    canvas.polygon(corners, trunk, "tree", depth)
    if is_fir:
        for step, (wide, low, high) in enumerate(((1, 0.7, 2.1), (0.8, 1.5, 2.9), (0.6, 2.3, 3.6))):
            triangle = [
                (x - wide * size, foot - low * size),
                (x, foot - high * size),
                (x + wide * size, foot - low * size),
            ]
            canvas.polygon(triangle, _shade(leaves, 0.8 + 0.1 * step), "tree", depth)
        return
    for dx, dy, by in ((-0.62, 1.75, 0.78), (0.62, 1.75, 0.78), (0, 2.45, 1.0), (0, 1.5, 0.8)):
        centre = x + dx * size, foot - dy * size
        canvas.disc(centre, (by * size, by * size), leaves, "tree", depth)
    lit = _scaled(leaves, (1.18, 1.16, 1.14))
    canvas.disc((x - 0.28 * size, foot - 2.7 * size), (0.45 * size, 0.4 * size), lit, "tree", depth)


def _fence(scene: Scene) -> None:
    canvas, light = scene.canvas, scene.light
    foot = scene.between(0.9, 0.97)
    depth, white = canvas.nearness(foot), _scaled((246, 244, 238), light.tint)
    first = scene.random.choice((0.02, 0.42))
    scene.phrases["fence"] = "behind a fence"
    tall, wide, step = 0.15, 0.05, 0.1
    rail = foot - 0.62 * tall
    canvas.box((first - 0.02, rail, first + 5.3 * step, rail + 0.028), white, "fence", depth)
    for index in range(6):
        left = first + index * step
        corners = [
            (left, foot),
            (left, foot - tall),
            (left + wide / 2, foot - tall - 0.03),
            (left + wide, foot - tall),
            (left + wide, foot),
        ]
        canvas.polygon(corners, white, "fence", depth)
