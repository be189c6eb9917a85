"""Draw plain shapes: a disc, box or triangle on a ground of another colour, for the first steps."""

from __future__ import annotations

import math
import random

from .canvas import Canvas, Drawing
from .scenery import COLOURS, named

SHAPES = {"disc": 0, "triangle": 3, "box": 4, "diamond": 4}


def shape(seed: str, size: int) -> Drawing:
    """Draw the shape of a seed; "a red disc on a blue ground"."""
    chance = random.Random(seed)
    canvas = Canvas(size, horizon=0.0)
    ground, fill = chance.sample(list(COLOURS), 2)
    name = chance.choice(list(SHAPES))
    r = chance.uniform(0.16, 0.34)
    x, y = chance.uniform(r, 1 - r), chance.uniform(r, 1 - r)
    canvas.box((0, 0, 1, 1), COLOURS[ground], "grass", 0.2)
    if name == "disc":
        canvas.disc((x, y), (r, r), COLOURS[fill], "house", 0.8)
    else:
        corners = SHAPES[name]
        turn = chance.uniform(-0.25, 0.25) + (math.pi / 4 if name == "box" else 0)
        angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
        points = [(x + r * math.sin(a), y - r * math.cos(a)) for a in angles]
        canvas.polygon(points, COLOURS[fill], "house", 0.8)
    return canvas.finish(
        f"{named(fill)} {name} on {named(ground)} ground", {"shape": fill, "ground": ground}
    )
