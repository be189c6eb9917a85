"""`python3 workbench/world_pictures.py --write`: draw the pictures that show results.

README's first picture, pictures of help pages, and the thumbnails of the templates, all sampled
with the stored models of the drawn world (demo/weights). Its nets read edges, scribbles, classes
and depth; a template for another condition keeps its prompt in the place of a result.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from workbench import demo_graph, environment, hosts, inprocess, server, thumbnails  # noqa: E402

if __name__ == "__main__":
    sys.path.pop(0)  # the root's nodes/ would shadow the host's module of that name

HELP, DOCS = ROOT / "js" / "docs", ROOT / "docs"
SIZE, CELL, QUALITY = 256, 224, 86
PAINT = (
    "sky 0 0 1 0.69, hill 0 0.5 1 0.69, grass 0 0.69 1 1, house 0.22 0.34 0.68 0.76,"
    " tree 0.68 0.35 1 0.8"
)
"""The example picture in words."""
DAY = "a yellow house with a blue roof beside a pink tree behind a fence, by day"
DUSK = "a blue house with a purple roof beside a pink tree behind a fence, at dusk"
NIGHT = "a pink house with a green roof beside an orange tree behind a fence, at night"

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


def save(image: Any, file: Path) -> None:
    """Write a picture (1,H,W,3) in [0,1] as a JPG, and show it where a page waits for it."""
    import torch
    from PIL import Image

    levels = (image[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(levels).save(file, quality=QUALITY, optimize=True)
    print(f"wrote {file.relative_to(ROOT)}", flush=True)
    reveal(file)


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
    labels = f"an unseen hatching\n{demo_graph.UNSEEN_PROMPT}"
    save(sheet(cells, labels, 2), DOCS / "hatching_first.jpg")


def _tensor(picture: Any) -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(picture, np.float32) / 255)[None]


# -- thumbnails: the templates themselves, on the world's models -----------------------------------

NETS = {
    "canny": "edges",
    "union": "edges",
    "diffusion_pytorch_model_promax": "edges",
    "scribble": "scribble",
    "lineart": "edges",
    "mlsd": "edges",
    "softedge": "scribble",
    "seg": "segmentation",
    "depth": "depth",
}
"""The world's net that stands for a template's, by a word of its file."""
HOUSES = (DAY, DUSK, NIGHT)
SEASIDE = "a white house with a red roof beside a green tree by the sea, by day"
PROMPTS = {"09 Composition in words": SEASIDE}


def result_of(running: server.Server, name: str, template: Mapping[str, Any]) -> Any:
    """Run a template on the world's models; None where the world lacks one of its nets."""
    whole = thumbnails.workflow.to_prompt(template, running.ask("/object_info"))
    prompt = with_a_trained_net(whole)
    kinds = {node["class_type"] for node in prompt.values()}
    if "KSampler" not in kinds or not on_world(prompt, name):
        return None
    result = running.run(prompt)
    records = [row for node in prompt for row in result.images(node) if row["type"] == "output"]
    return running.image(records[-1]).convert("RGB") if records else None


def on_world(prompt: Mapping[str, Any], name: str) -> bool:
    """Exchange a prompt's models, words and sizes for the world's; return whether all are there."""
    words = PROMPTS.get(name, HOUSES[int(name[:2]) % len(HOUSES)])
    texts = [node for node in prompt.values() if node["class_type"] == "CLIPTextEncode"]
    for at, node in enumerate(texts):
        node["inputs"]["text"] = "" if at else words
    for node in prompt.values():
        inputs = node["inputs"]
        changed = CHANGES.get(node["class_type"], {})
        inputs.update({key: value for key, value in changed.items() if key in inputs})
        if inputs.get("resolution") == 0:
            inputs["resolution"] = SIZE
        if "control_net_name" in inputs:
            net = net_for(inputs["control_net_name"])
            if not net:
                return False
            inputs["control_net_name"] = f"drawn_world_{net}_fp16.safetensors"
    return True


TRAINING = ("ControlStackCreate", "ControlStackDataset", "ControlStackSave")


def with_a_trained_net(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """Put the net for edges, which the same loop has trained, in the place of a training."""
    changed = {key: node for key, node in prompt.items() if node["class_type"] not in TRAINING}
    for key, node in changed.items():
        if node["class_type"] == "ControlStackTrain":
            base = node["inputs"]["model"]
            node.update(class_type="ControlStackLoad", inputs={"control_net_name": "canny"})
            for other in changed.values():
                links = other["inputs"].items()
                other["inputs"].update({k: base for k, link in links if link == [key, 1]})
    return changed


CHANGES: Mapping[str, Mapping[str, Any]] = {
    "CheckpointLoaderSimple": {"ckpt_name": demo_graph.CHECKPOINT},
    "EmptyLatentImage": {"width": SIZE, "height": SIZE},
    "KSampler": {"cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "seed": 1},
}


def net_for(file: str) -> str:
    """Return the world's net for a template's file, or "" where it has none."""
    return next((net for word, net in NETS.items() if word in file), "")


def thumbs(running: server.Server) -> None:
    """Draw the thumbnails of all templates with the results that there are."""
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(thumbnails.FOLDER.glob("*.json")):
            template = json.loads(file.read_text(encoding="utf-8"))
            if picture := result_of(running, file.stem, template):
                picture.save(Path(folder) / f"{file.stem}.png")
                print(f"{file.stem}: a result", flush=True)
        thumbnails.write(running, Path(folder))


def main() -> int:
    parser = argparse.ArgumentParser("python3 workbench/world_pictures.py", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the pictures")
    parser.add_argument(
        "--only",
        choices=("sheets", "training", "thumbnails"),
        help="write only one kind of them",
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
            for name, write in (("training", training), ("thumbnails", thumbs)):
                if options.only in (None, name):
                    write(running)
    return 0


if __name__ == "__main__":
    sys.exit(main())
