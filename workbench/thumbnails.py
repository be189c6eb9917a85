"""`python3 workbench/thumbnails.py --write`: draw the pictures that the template browser shows.

Each shows the hints of its template, made by the template's own nodes from ComfyUI's example
picture, an arrow, and the result: `NAME.png` of the folder given with --results, else the prompt.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))

from workbench import environment, hosts, server, workflow  # noqa: E402

if __name__ == "__main__":
    sys.path.pop(0)  # the root's nodes/ would shadow the host's module of that name

FOLDER = HERE.parent / "example_workflows"
SIDE, TITLE, GAP = 800, 110, 14
GROUND, INK, FAINT, ACCENT = (22, 24, 29), (240, 240, 242), (150, 154, 164), (240, 170, 60)
QUALITY = 82
MOST_HINTS, LOAD = 6, "LoadImage"


def hints_of(running: server.Server, template: Mapping[str, Any]) -> list[Any]:
    """Run what a template needs for its hints; return them, a single one after its picture."""
    prompt = workflow.to_prompt(template, running.ask("/object_info"))
    wanted = [
        node["inputs"]["image"]
        for node in prompt.values()
        if node["class_type"] == "ControlStackAdd"
    ] or [
        [key, 0] for key, node in prompt.items() if node["class_type"] == "ControlStackPreprocess"
    ]
    needed = [node for node, _ in wanted]
    for node in needed:  # grows during the loop
        needed += [value[0] for value in prompt[node]["inputs"].values() if isinstance(value, list)]
    shown = {
        f"shown_{at}": {"class_type": "PreviewImage", "inputs": {"images": hint}}
        for at, hint in enumerate(wanted)
    }
    result = running.run({node: prompt[node] for node in needed} | shown)
    pictures = [result.images(node) for node in shown]
    if len(pictures) == 1:  # of a clip, frames across it
        (frames,) = pictures
        pictures = [[frame] for frame in frames[:: max(1, len(frames) // 4)][:4]]
    records = [frames[0] for frames in pictures[:MOST_HINTS]]
    source = [node["inputs"]["image"] for node in prompt.values() if node["class_type"] == LOAD]
    if len(records) == 1 and source:
        records.insert(0, {"filename": source[0], "type": "input"})
    return [running.image(record).convert("RGB") for record in records]


def prompt_of(template: Mapping[str, Any]) -> str:
    """Return the positive prompt, the first of a template; "" if it has none."""
    nodes = template["nodes"]
    texts = [node["widgets_values"][0] for node in nodes if node["type"] == "CLIPTextEncode"]
    return texts[0] if texts else ""


def draw(title: str, hints: Sequence[Any], prompt: str, result: Any = None) -> Any:
    """Draw a square: the title, then hints on the left and the result on the right."""
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    page = Image.new("RGB", (SIDE, SIDE), GROUND)
    pen = ImageDraw.Draw(page)
    number, _, name = title.partition(" ")
    pen.text((28, TITLE / 2), number, ACCENT, ImageFont.load_default(46), "lm")
    pen.text((104, TITLE / 2), name, INK, ImageFont.load_default(_size(name)), "lm")
    has_right = bool(prompt) or result is not None
    left_wide = (SIDE - 3 * GAP) // 2 - 24 if has_right else SIDE - 2 * GAP
    tall = SIDE - TITLE - GAP
    _tiles(page, hints, (GAP, TITLE, left_wide, tall))
    if has_right:
        right = SIDE - GAP - left_wide
        middle = TITLE + tall / 2
        _arrow(pen, (GAP + left_wide + 10, middle), (right - 10, middle))
        if result is not None:
            high = min(tall, round(left_wide * result.height / result.width))
            top = TITLE + (tall - high) // 2
            page.paste(ImageOps.fit(result, (left_wide, high)), (right, top))
            _words(pen, prompt, (right, top + high + GAP, left_wide))
        else:
            _quote(pen, prompt, (right, TITLE, left_wide, tall))
    return page


def _size(name: str) -> int:
    return 46 if len(name) < 20 else 38


def _tiles(page: Any, pictures: Sequence[Any], box: tuple[int, int, int, int]) -> None:
    """Paste pictures into a box, cropped to fill their tiles."""
    from PIL import ImageOps

    left, top, wide, tall = box
    across = 1 if wide < tall and len(pictures) < 4 else 2 if wide < tall else 3
    down = -(-len(pictures) // across)
    size = ((wide - GAP * (across - 1)) // across, (tall - GAP * (down - 1)) // down)
    for at, picture in enumerate(pictures):
        x, y = left + at % across * (size[0] + GAP), top + at // across * (size[1] + GAP)
        is_alike = 0.6 < picture.width / picture.height * size[1] / size[0] < 2.1
        page.paste((ImageOps.fit if is_alike else ImageOps.pad)(picture, size), (x, y))


def _arrow(pen: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    (x0, y), (x1, _) = start, end
    pen.line((x0, y, x1 - 14, y), fill=ACCENT, width=9)
    pen.polygon([(x1 - 20, y - 20), (x1, y), (x1 - 20, y + 20)], fill=ACCENT)


def _quote(pen: Any, text: str, box: tuple[int, int, int, int]) -> None:
    """Write the prompt where the result will be."""
    from PIL import ImageFont

    left, top, wide, tall = box
    font = ImageFont.load_default(34)
    lines = _broken(text, font, wide - 60)
    pen.rounded_rectangle((left, top, left + wide, top + tall), 18, outline=FAINT, width=3)
    y = top + tall / 2 - 24 * (len(lines) - 1)
    for at, line in enumerate(lines):
        pen.text((left + wide / 2, y + 48 * at), line, INK, font, "mm")


def _words(pen: Any, text: str, place: tuple[int, int, int]) -> None:
    """Write the prompt under a result: left, top and width of its place."""
    from PIL import ImageFont

    left, top, wide = place
    font = ImageFont.load_default(22)
    for at, line in enumerate(_broken(text, font, wide)):
        pen.text((left + wide / 2, top + 30 * at), line, FAINT, font, "ma")


def _broken(text: str, font: Any, wide: float) -> list[str]:
    """Break a text into lines that fit."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > wide:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def example(base: Path) -> None:
    """Draw the example picture into the input folder of a base directory."""
    draw_it = runpy.run_path(str(HERE.parent / "demo" / "picture.py"))["draw"]
    draw_it(base / "input" / "example.png")


def write(running: server.Server, results: Path | None = None) -> None:
    """Draw the picture of every template.

    `results` has the results of some, as NAME.png, and the prompt of each, as NAME.txt.
    """
    from PIL import Image

    for file in sorted(FOLDER.glob("*.json")):
        template = json.loads(file.read_text(encoding="utf-8"))
        result = results / f"{file.stem}.png" if results else None
        outcome = Image.open(result).convert("RGB") if result and result.exists() else None
        words = results / f"{file.stem}.txt" if results else None
        prompt = words.read_text("utf-8") if words and words.exists() else prompt_of(template)
        page = draw(file.stem, hints_of(running, template), prompt, outcome)
        page.save(file.with_suffix(".jpg"), quality=QUALITY, optimize=True)
        print(f"{file.stem}.jpg", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser("python3 workbench/thumbnails.py", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write example_workflows/*.jpg")
    parser.add_argument("--results", type=Path, help="folder of results, NAME.png by template")
    options = parser.parse_args()
    if not options.write:
        parser.print_help()
        return 0
    environment.enter("thumbnails")
    with tempfile.TemporaryDirectory() as base:
        example(Path(base))
        with server.running(hosts.find()[0], Path(base)) as running:
            write(running, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
