"""Write the tables and pictures of the drawn world's exam into docs/world.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from workbench.world import canvas, drawn_hints
from workbench.world.drawn_hints import NETS
from workbench.world.sampling import STRENGTHS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, PICTURES = DOCS / "world.md", DOCS / "world"
SCENES, SIDE, QUALITY = 4, 160, 84
Block = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""A title, column heads, rows."""


def write(name: str, blocks: Sequence[Block], caption: str) -> None:
    """Replace the section of docs/world.md between the marks of `name`.

    Raises ValueError where the page lacks the marks.
    """
    text = "\n\n".join([caption, *map(markdown, blocks)])
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if begin not in page or end not in page:
        raise ValueError(f"{PAGE}: expected the marks {begin} and {end}, found none: add them.")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    filled = pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", page)
    PAGE.write_text(filled, encoding="utf-8")
    print(f"wrote {PAGE}", flush=True)


def markdown(block: Block) -> str:
    """Write a table with its title."""
    title, head, rows = block
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


def write_pictures(
    size: int,
    scenes: Sequence[canvas.Drawing],
    sampled: Mapping[tuple[str, float], Tensor],
    shown: Mapping[str, Tensor],
) -> None:
    """Write a sheet for each net over its strengths, and one for the masks and halves."""
    few = scenes[:SCENES]
    drawn = drawn_hints.pictures(few)
    for net in NETS:
        columns = {"hint": drawn_hints.hints(net, few), "drawn": drawn}
        for strength in STRENGTHS:
            key = (net if strength else "", strength)
            columns[f"strength {strength:g}"] = sampled[key][:SCENES]
        save(PICTURES / f"{net}-{size}.jpg", columns)
    halves = {name: rows for name, rows in shown.items() if "half" in name or "halves" in name}
    save(PICTURES / f"halves-{size}.jpg", {"drawn": drawn, **halves})
    modes = {name: rows for name, rows in shown.items() if name.startswith("edges ")}
    modes = {name: rows for name, rows in modes.items() if "half" not in name}
    if modes:
        save(PICTURES / f"modes-{size}.jpg", {"drawn": drawn, **modes})


def save(file: Path, columns: Mapping[str, Tensor]) -> None:
    """Write pictures (B,H,W,3) as a sheet: a column for each name, a row for each picture."""
    from PIL import Image

    from pack.control.report.sheet import sheet

    count = min(len(rows) for rows in columns.values())
    cells = torch.stack([rows[:count] for rows in columns.values()], 1).flatten(0, 1)
    small = torch.nn.functional.interpolate(
        cells.movedim(-1, 1), (SIDE, SIDE), mode="bilinear", antialias=True
    ).movedim(1, -1)
    page = sheet(small, "\n".join([*columns] * count), len(columns))[0]
    file.parent.mkdir(parents=True, exist_ok=True)
    levels = (page * 255).round().to(torch.uint8).numpy()
    Image.fromarray(levels).save(file, quality=QUALITY, optimize=True)
    print(f"wrote {file}", flush=True)
