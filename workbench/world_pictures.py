"""`python3 workbench/world_pictures.py --write`: draw the pictures that show results.

README's pictures (the panel's is photographed in Chromium), pictures of help pages and of the
training tutorial, and the thumbnails of the templates, all sampled with the stored models of the
drawn world (demo/weights). Its nets read edges, scribbles, classes and depth; a template for
another condition keeps its prompt in the place of a result, or has one with --more-nets.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from workbench import (  # noqa: E402
    demo_graph,
    environment,
    hosts,
    inprocess,
    server,
    template_results,
    thumbnails,
)
from workbench.template_results import DAY, DUSK, NIGHT  # noqa: E402

if __name__ == "__main__":
    sys.path.pop(0)  # the root's nodes/ would shadow the host's module of that name

HELP, DOCS = ROOT / "js" / "docs", ROOT / "docs"
SIZE, CELL, QUALITY = 256, 224, 86
PAINT = (
    "sky 0 0 1 0.69, hill 0 0.5 1 0.69, grass 0 0.69 1 1, house 0.22 0.34 0.68 0.76,"
    " tree 0.68 0.35 1 0.8"
)
"""The example picture in words."""

# -- help pages and README: sampled in this process ------------------------------------------------


class Studio:
    """The world's models, the example picture, and its hints."""

    def __init__(self, weights: Path, base: Path) -> None:
        import numpy as np
        import torch
        from PIL import Image

        from pack.preprocessors import edges, scribble, segmentation
        from workbench.world import sampling

        self.sampling, self.models = sampling, sampling.load(weights)
        picture = Image.open(base / "input" / "example.png").convert("RGB")
        small = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS), np.float32)
        self.picture = torch.from_numpy(small / 255)[None]
        self.hints = {"edges": edges.canny(self.picture), "scribble": scribble.xdog(self.picture)}
        painted: Any = segmentation.segmentation(self.picture, engine="blank", paint=PAINT)
        self.classes = painted[0] if isinstance(painted, tuple) else painted

    def unit(self, net: str, **settings: Any) -> Any:
        """Return a net with the example's hint."""
        hint = self.classes if net == "segmentation" else self.hints[net]
        return self.sampling.Unit(net, hint, settings)

    def draw(self, prompt: str, *units: Any) -> Any:
        """Sample one picture: (1,H,W,3)."""
        return self.models.sample([prompt], SIZE, units)

    def half(self, side: int) -> Any:
        """Return a mask, white on the left (0) or on the right (1)."""
        import torch

        mask = torch.zeros(1, SIZE, SIZE)
        mask[..., side * SIZE // 2 : (side + 1) * SIZE // 2] = 1
        return mask


def first(studio: Studio) -> dict[str, Any]:
    """Show a picture, two hints, and what two nets make of them with three prompts."""
    both = [studio.unit("edges"), studio.unit("scribble", strength=0.5, end_percent=0.7)]
    prompts = {"by day": DAY, "at dusk": DUSK, "at night": NIGHT}
    sources = {"a picture": studio.picture, "Canny Edge": studio.hints["edges"]}
    sources |= {"XDoG Scribble": studio.hints["scribble"]}
    return sources | {words: studio.draw(prompt, *both) for words, prompt in prompts.items()}


def add(studio: Studio) -> dict[str, Any]:
    """Show what the inputs of Add ControlNet do to one hint."""
    settings = {
        "strength 1": {},
        "strength 0.5": {"strength": 0.5},
        "strength 0": {"strength": 0.0},
        "mode prompt": {"mode": "prompt"},
        "schedule 0:1, 0.3:0": {"schedule": "0:1, 0.3:0"},
        "layers linear 1..0": {"layers": "linear 1..0"},
        "effect_mask: left": {"effect_mask": studio.half(0)},
    }
    pictures = {k: studio.draw(DUSK, studio.unit("edges", **s)) for k, s in settings.items()}
    return {"the hint": studio.hints["edges"]} | pictures


def apply(studio: Studio) -> dict[str, Any]:
    """Show two nets alone and as a stack, in all of the picture and in a half each."""
    edges, scribble = studio.unit("edges"), studio.unit("scribble")
    halves = [studio.unit(net, effect_mask=studio.half(at)) for at, net in enumerate(studio.hints)]
    return {
        "edges": studio.hints["edges"],
        "scribble": studio.hints["scribble"],
        "no control": studio.draw(NIGHT),
        "edges alone": studio.draw(NIGHT, edges),
        "scribble alone": studio.draw(NIGHT, scribble),
        "both": studio.draw(NIGHT, edges, scribble),
        "edges left": studio.draw(NIGHT, halves[0]),
        "edges left, scribble right": studio.draw(NIGHT, *halves),
    }


def report(studio: Studio, file: Path) -> None:
    """Write the plot that Control Report gives for a stack of three nets."""
    from pack.control.adapter import members_of
    from pack.control.report.numbers import report as numbers
    from pack.control.report.plot import plot
    from pack.nodes.load import Load
    from workbench.tiny_family import world

    for net in studio.models.nets:  # by our own loader, which tells the report their names
        studio.models.nets[net] = Load.execute(world.net_file(net))[0]
    units = [studio.unit("edges"), studio.unit("scribble", strength=0.5, end_percent=0.7)]
    units.append(studio.unit("segmentation", schedule="0:1, 0.5:0"))
    words, empty = (studio.models.words([text]) for text in (DAY, ""))
    positive, negative = studio.models.controlled(words, empty, units)
    studio.models.decoded(positive, negative, 1, SIZE, studio.sampling.SEED)
    save(plot(numbers(*members_of(positive))), file)


SHEETS: Mapping[Path, tuple[Callable[[Studio], dict[str, Any]], int]] = {
    DOCS / "first.jpg": (first, 3),
    HELP / "add_results.jpg": (add, 4),
    HELP / "apply_results.jpg": (apply, 4),
}
"""Where each sheet goes, what fills it, and its columns."""


def sheets(studio: Studio) -> None:
    """Write every sheet, and the report's plot."""
    import torch

    from pack.control.report.sheet import sheet

    for file, (fill, columns) in SHEETS.items():
        cells = fill(studio)
        rows = torch.cat([*cells.values()]).movedim(-1, 1)
        small = torch.nn.functional.interpolate(rows, (CELL, CELL), mode="area")
        save(sheet(small.movedim(1, -1), "\n".join(cells), columns), file)
    report(studio, HELP / "report.jpg")


MARK = re.compile(r"<!-- picture (\S+?)( instead)?: (.*?) -->\n(?:!\[[^\n]*\n)?")
PAGES = ("README.md", "docs/*.md", "js/docs/*.md", "js/docs/*/zh.md")


def reveal(file: Path, root: Path = ROOT) -> None:
    """Show a new picture where a page has a mark for it.

    `<!-- picture NAME: words -->`; with `instead` after the name, the next line's picture goes.
    """
    for page in (page for pattern in PAGES for page in root.glob(pattern)):
        home = page.parent.parent if page.name == "zh.md" else page.parent

        def shown(mark: re.Match[str], home: Path = home) -> str:
            name, instead, words = mark.groups()
            if (home / name).resolve() != file.resolve():
                return mark[0]
            rest = "" if instead else mark[0].partition("\n")[2]
            return f"![{words}]({name})\n{rest}"

        text = page.read_text(encoding="utf-8")
        if (changed := MARK.sub(shown, text)) != text:
            page.write_text(changed, encoding="utf-8")
            print(f"shown in {page.relative_to(root)}", flush=True)


def save(image: Any, file: Path, quality: int = QUALITY) -> None:
    """Write a picture (1,H,W,3) in [0,1] as a JPG, and show it where a page waits for it."""
    import torch
    from PIL import Image

    levels = (image[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(levels).save(file, quality=quality, optimize=True)
    print(f"wrote {file.relative_to(ROOT)}", flush=True)
    reveal(file)


# -- the panel, step by step -----------------------------------------------------------------------


STEPS = {
    "connected": "1  One node: connect picture, model and prompts",
    "rows": "2  Add a row for each ControlNet",
    "settings": "3  Choose hints, strengths and ranges",
    "run": "4  Run: each row shows its hint",
}
"""Pictures of workbench/panel_walk.mjs → what they show."""
WALK_WIDTH, WALK_QUALITY = 1150, 74


def walk(running: server.Server, folder: Path) -> None:
    """Write how the panel leads from a photo to a controlled picture, photographed in the page."""
    import numpy as np
    import torch
    from PIL import Image

    from pack.control.report.sheet import sheet
    from workbench.tiny_family import world

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    ask = {"playwright": str(environment.HOME / "browser"), "chromium": chromium, "vue": False}
    ask |= {"address": running.address, "pictures": str(folder), "size": SIZE}
    ask |= {"checkpoint": world.CHECKPOINT, "positive": DUSK}
    photo = running.base / "input" / "house.png"  # of the nets' own size, as are their hints then
    Image.open(photo.with_name("example.png")).resize((SIZE, SIZE)).save(photo)
    (question := folder / "ask.json").write_text(json.dumps(ask), encoding="utf-8")
    script = HERE / "panel_walk.mjs"
    subprocess.run(["node", str(script), str(question)], check=True, timeout=400)
    cells = []
    for name in STEPS:
        shot = Image.open(folder / f"{name}.png").convert("RGB")
        size = (WALK_WIDTH, round(shot.height * WALK_WIDTH / shot.width))
        shot = shot.resize(size, Image.Resampling.LANCZOS)
        cells.append(torch.from_numpy(np.asarray(shot, np.float32) / 255))
    save(sheet(torch.stack(cells), "\n".join(STEPS.values()), 1), DOCS / "panel.jpg", WALK_QUALITY)


# -- the training tutorial -------------------------------------------------------------------------


def training(running: server.Server) -> None:
    """Train the fifth net with the demo's own workflow, and write what it shows."""
    import numpy as np
    import torch
    from PIL import Image

    from pack.control.report.sheet import sheet
    from workbench.world import hatching, scenery

    hatching.write_pairs(running.base / "input" / demo_graph.FOLDER)
    hatching.write_unseen(unseen := running.base / "input" / demo_graph.UNSEEN)
    scenes = [scenery.landscape(f"0 hatching {index}", hatching.SIZE).picture for index in range(6)]
    pairs = torch.from_numpy(hatching.sheet(scenes).astype(np.float32) / 255)
    save(pairs[None], DOCS / "hatching_pairs.jpg")
    graph = json.loads((ROOT / "demo" / "Train hatching.json").read_text(encoding="utf-8"))
    prompt = thumbnails.workflow.to_prompt(graph, running.ask("/object_info"))
    result = running.run(prompt)
    print(f"trained in {result.seconds / 60:.1f} minutes", flush=True)
    titles = {node: words["_meta"]["title"] for node, words in prompt.items()}
    shown = {
        titles[node]: running.image(result.images(node)[-1]).convert("RGB")
        for node in prompt
        if result.images(node)
    }
    for title, file in (("Curves", HELP / "training.jpg"), ("Validation", DOCS / "hatching.jpg")):
        save(_tensor(shown[title]), file)
    pair = [Image.open(unseen).convert("RGB"), shown["First picture"]]
    cells = torch.cat([_tensor(picture.resize((SIZE, SIZE))) for picture in pair])
    labels = "an unseen hatching\nin other colours"
    save(sheet(cells, labels, 2), DOCS / "hatching_first.jpg")


def _tensor(picture: Any) -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(picture, np.float32) / 255)[None]


def main() -> int:
    parser = argparse.ArgumentParser("python3 workbench/world_pictures.py", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the pictures")
    parser.add_argument(
        "--only",
        choices=("sheets", "panel", "training", "thumbnails"),
        help="write only one kind of them",
    )
    parser.add_argument(
        "--more-nets",
        action="store_true",
        help="train nets for more conditions of the templates first (three minutes each)",
    )
    parser.add_argument("--weights", type=Path, default=ROOT / "demo" / "weights")
    options = parser.parse_args()
    if not options.write:
        parser.print_help()
        return 0
    environment.enter("workbench/world_pictures.py")
    with tempfile.TemporaryDirectory() as folder:
        return _write(Path(folder), options)


def _write(base: Path, options: argparse.Namespace) -> int:
    import torch

    for part in ("input", "output", "temp", "user", "models"):
        (base / part).mkdir()
    thumbnails.example(base)
    host = hosts.find()[0]
    inprocess.open_host(host, base=base)
    inprocess.load_package(ROOT, "pack")
    from workbench.world import model_files

    model_files.write_out(options.weights, base / "models")
    if options.only in (None, "sheets"):
        with torch.inference_mode():
            sheets(Studio(options.weights, base))
    if options.only != "sheets":
        with server.running(host, base) as running:
            if options.only in (None, "panel"):
                walk(running, base / "temp")
            if options.only in (None, "training"):
                training(running)
            if options.only in (None, "thumbnails"):
                template_results.thumbs(running, with_more=options.more_nets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
