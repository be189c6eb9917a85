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


def write(
    name: str, blocks: Sequence[Block], caption: str, pictures: Mapping[Path, str] | None = None
) -> None:
    """Replace the section of docs/world.md between the marks of `name`.

    `pictures` are files below docs/ with their words. Raises ValueError where the page lacks the
    marks.
    """
    shown = [
        f"![{words}]({file.relative_to(DOCS).as_posix()})"
        for file, words in (pictures or {}).items()
    ]
    text = "\n\n".join([caption, *shown, *map(markdown, blocks)])
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
) -> dict[Path, str]:
    """Write a sheet for each net over its strengths, and one for halves, speeds and modes.

    Return the files with their words.
    """
    few = scenes[:SCENES]
    drawn = drawn_hints.pictures(few)
    save(PICTURES / "hints.jpg", {"drawn": drawn, **{n: drawn_hints.hints(n, few) for n in NETS}})
    files: dict[Path, str] = {}
    for net in NETS:
        columns = {"hint": drawn_hints.hints(net, few), "drawn": drawn}
        for strength in STRENGTHS:
            columns[f"strength {strength:g}"] = sampled[net if strength else "", strength]
        files[save(PICTURES / f"{net}-{size}.jpg", columns)] = f"{net.title()} at five strengths"
    halves = {name: rows for name, rows in shown.items() if "half" in name or "halves" in name}
    if halves:
        file = save(PICTURES / f"halves-{size}.jpg", {"drawn": drawn, **halves})
        files[file] = "Nets in one half of the picture"
    speeds = {
        name.removeprefix("speed ").removeprefix("approximate, "): rows  # as wide as a cell
        for name, rows in shown.items()
        if name.startswith("speed ")
    }
    if speeds:
        file = save(PICTURES / f"speeds-{size}.jpg", {"drawn": drawn, **speeds})
        files[file] = "Edges at every speed"
    modes = {k: rows for k, rows in shown.items() if k.startswith("edges ") and k not in halves}
    if modes:
        file = save(PICTURES / f"modes-{size}.jpg", {"drawn": drawn, **modes})
        files[file] = "Modes at half strength"
    return files


def save(file: Path, columns: Mapping[str, Tensor]) -> Path:
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
    return file
