"""A scene in greys and a walk, which templates look at instead of a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .drafts import Draft, Node


def greys(object_info: Mapping[str, Any]) -> tuple[Draft, tuple[Node, int]]:
    """Build a wall, a floor, a pillar and a box from greys: a draft, and its picture."""
    draft = Draft(object_info, first_id=101)  # the frontend renumbers ids that stand twice
    size = (230, 150)

    def mask(title: str, value: float, width: int, height: int) -> Node:
        given = {"value": value, "width": width, "height": height}
        return draft.add("SolidMask", size=size, title=title, **given)

    def feathered(source: Node, title: str, **sides: int) -> Node:
        links = {"mask": source["MASK"]}
        blank = dict.fromkeys(("left", "top", "right", "bottom"), 0)
        return draft.add("FeatherMask", size=size, title=title, links=links, **{**blank, **sides})

    wall = mask("Wall: far", 0.2, 512, 512)
    floor = feathered(mask("Floor", 0.7, 512, 272), "Floor: nearer to the front", top=272)
    links = {"destination": wall["MASK"], "source": floor["MASK"]}
    room = draft.add(
        "MaskComposite", size=size, links=links, y=240, operation="add", title="Floor in the room"
    )
    picture = draft.add("MaskToImage", size=size, links={"mask": room["MASK"]})
    round_ = feathered(mask("Pillar", 1.0, 170, 236), "Pillar: round", left=85, right=85)
    for title, (x, y), (width, height), grey, shape in (
        ("Pillar", (300, 110), (170, 236), 0x6E6E6E, round_),
        ("Box", (70, 230), (150, 170), 0xA5A5A5, None),
    ):
        given = {"width": width, "height": height, "color": grey}
        near = draft.add("EmptyImage", size=size, title=f"{title}: how near", **given)
        links = {"destination": picture["IMAGE"], "source": near["IMAGE"]}
        links |= {"mask": shape["MASK"]} if shape else {}
        picture = draft.add("ImageCompositeMasked", size=size, title=title, links=links, x=x, y=y)
    for at, node in enumerate(draft.nodes):
        node.pos = [260.0 * (at % 4), 220.0 * (at // 4)]
    return draft, picture["IMAGE"]


def walk(frames: int = 24) -> list[dict[str, Any]]:
    """Make a person who walks on the spot, one step to each side: keypoints of a clip."""
    return [
        {
            "canvas_width": 384,
            "canvas_height": 512,
            "people": [{"pose_keypoints_2d": _stride(2 * math.pi * at / frames)}],
        }
        for at in range(frames)
    ]


def _stride(phase: float) -> list[int]:
    """Draw one pose of the walk as x, y, 1 for each of the 18 points of the body."""

    def limb(x: float, y: float, swing: float, bend: float, lengths: tuple[int, int]):
        angles = (swing, swing + bend)
        for angle, length in zip(angles, lengths, strict=True):
            x, y = x + length * math.sin(angle), y + length * math.cos(angle)
            yield x, y

    x, y = 192.0, 138 + 4 * math.cos(2 * phase)
    points: dict[int, tuple[float, float]] = {0: (x + 12, y - 48), 1: (x, y)}
    for side, at in ((1, phase), (-1, phase + math.pi)):
        shoulder, hip = (2, 8) if side > 0 else (5, 11)
        points[shoulder], points[hip] = (x - 26 * side, y + 4), (x - 14 * side, y + 128)
        arm = limb(*points[shoulder], -0.55 * math.sin(at), 0.5, (62, 56))
        knee = -0.25 - 0.7 * max(0.0, math.sin(at + 1.9))
        leg = limb(*points[hip], 0.5 * math.sin(at), knee, (92, 92))
        points |= dict(zip((shoulder + 1, shoulder + 2), arm, strict=True))
        points |= dict(zip((hip + 1, hip + 2), leg, strict=True))
    points |= {
        14: (x + 4, y - 58),
        15: (x + 18, y - 58),
        16: (x - 12, y - 52),
        17: (x + 24, y - 54),
    }
    return [value for _, (px, py) in sorted(points.items()) for value in (round(px), round(py), 1)]
