"""`python3 workbench/templates.py --write`: lay out the templates of `example_workflows/`.

Each opens whole at 1600 x 1000 with text that can be read: at most 1700 x 1000 pixels of graph.
Nodes keep their own titles where they can, so that each language shows its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))

from workbench import base_templates, demo_graph, environment, hosts, server  # noqa: E402
from workbench.drafts import GROUP_TITLE, Node  # noqa: E402
from workbench.layout import HOUSE, MODELS, SDXL, Layout  # noqa: E402
from workbench.scenes import greys, walk  # noqa: E402

if __name__ == "__main__":
    sys.path.pop(0)  # the root's nodes/ would shadow the host's module of that name

FOLDER = HERE.parent / "example_workflows"

TEMPLATES: dict[str, Callable[[Layout], None]] = {}
LAST = base_templates.TEMPLATES


def template(name: str) -> Callable[[Callable[[Layout], None]], Callable[[Layout], None]]:
    """Enter a function that lays out a template under the name that users see."""

    def enter(lay_out: Callable[[Layout], None]) -> Callable[[Layout], None]:
        TEMPLATES[name] = lay_out
        return lay_out

    return enter


ANY = "ControlStackPreprocess"


@template("00 Start here")
def start_here(lay: Layout) -> None:
    start = lay.start(base=SDXL, size=(1024, 1024))
    picture, net = lay.picture(), lay.net("union")
    note = lay.note(
        "**One ControlNet for all hints.** Press Run: the picture keeps the edges of yours.\n\n"
        f"{MODELS} It needs an SDXL checkpoint and one union ControlNet.\n\n"
        "**To try:** another *method* in Preprocessor (any), such as lineart or softedge: the"
        " union net takes its type from the hint (*union_type* auto). Less *strength* or an"
        " earlier *end_percent* gives the prompt more room.",
        250,
    )
    lay.column(1, "Picture", picture, note)
    hint = lay.hint(ANY, picture["IMAGE"], tall=400, method="canny")
    lay.column(2, "Hint", hint)
    stack = lay.control(net, hint["hint"], strength=0.8, end_percent=0.8)
    lay.column(3, "ControlNet", net, stack)
    lay.finish(start, stack, 4)


@template("01 One ControlNet")
def one(lay: Layout) -> None:
    start = lay.start()
    picture = lay.picture()
    note = lay.note(
        f"{MODELS} It needs an SD1.5 checkpoint and its ControlNet for canny.\n\n"
        "**To try:** another picture in *Load Image*; *strength* and *end_percent* in *Add"
        " ControlNet*; **0:1, 0.6:0** as *schedule*, which fades the control out; a second *Add"
        " ControlNet* behind this one, as in *02 Two ControlNets*.",
        230,
    )
    lay.column(1, "Picture", picture, note)
    hint = lay.hint("ControlStackCanny", picture["IMAGE"], tall=400)
    lay.column(2, "Hint: edges", hint)
    net = lay.net("canny")
    stack = lay.control(net, hint["hint"])
    lay.column(3, "ControlNet", net, stack)
    lay.finish(start, stack, 4)


def rows(
    lay: Layout, *controls: tuple[str, Node, Node, Mapping[str, Any]], outputs: int = 0
) -> Node:
    """Lay out controls as rows: the net above its hint, then what adds them; return the last."""
    stack, top = None, 0.0
    for title, net, hint, given in controls:
        stack = lay.control(net, (hint, outputs), stack=stack, **given)
        lay.stack(2 * lay.pitch, top, net, hint)
        below = lay.stack(3 * lay.pitch, top, stack)
        lay.group(title, net, hint, stack)
        top = below + GROUP_TITLE
    assert stack
    return stack


@template("02 Two ControlNets")
def two(lay: Layout) -> None:
    start = lay.start()
    picture = lay.picture()
    note = lay.note(
        f"{MODELS} It needs an SD1.5 checkpoint and its ControlNets for canny and scribble.\n\n"
        "**Two ControlNets add up.** Edges hold throughout, strokes only for the first 70 % of"
        " sampling.\n\n"
        "**To try:** other strengths; Ctrl+B on one *Add ControlNet* leaves it out; a third one"
        " before *Apply ControlNet Stack*.",
        250,
    )
    lay.column(1, "Picture", picture, note)
    canny = lay.hint("ControlStackCanny", picture["IMAGE"], tall=238)
    xdog = lay.hint("ControlStackXDoG", picture["IMAGE"], tall=238)
    stack = rows(
        lay,
        ("Edges", lay.net("canny"), canny, {"strength": 0.8}),
        ("Strokes", lay.net("scribble"), xdog, {"strength": 0.6, "end_percent": 0.7}),
    )
    lay.finish(start, stack, 4)


@template("03 Three ControlNets")
def three(lay: Layout) -> None:
    lay.wide, lay.pitch = 227, 249  # six columns
    note = lay.note(
        f"{MODELS}\n\n**Each has its own range:** edges throughout, lines until half of sampling,"
        " strokes only at the start. Strength 0 leaves one out; its net is not loaded then.",
        210,
    )
    start = lay.start(below=(note,))
    picture = lay.picture()
    controls = (
        ("Edges", "canny", "ControlStackCanny", {"strength": 0.6}),
        ("Lines", "lineart", "ControlStackLineart", {"strength": 0.5, "end_percent": 0.5}),
        ("Strokes", "scribble", "ControlStackXDoG", {"strength": 0.4, "end_percent": 0.3}),
    )
    stack = None
    lay.column(1, "Picture", picture)
    for at, (title, name, kind, given) in enumerate(controls):
        hint = lay.hint(kind, picture["IMAGE"], tall=254)
        net = lay.net(name)
        stack = lay.control(net, hint["hint"], stack=stack, **given)
        lay.column(2 + at, title, net, hint, stack)
    assert stack
    lay.finish(start, stack, 5)


@template("04 Schedule and layers")
def schedule(lay: Layout) -> None:
    start = lay.start()
    picture = lay.picture()
    note = lay.note(
        f"{MODELS} It needs an SD1.5 checkpoint and its ControlNet for canny.\n\n"
        "**schedule** is strength over sampling: here full at the start, 0 from 70 % on. Press the"
        " small curve to open it; drag points, double click adds one.\n\n"
        "**layers** is strength over depth: here the blocks near the middle, which carry the"
        " composition, weigh most.",
        280,
    )
    lay.column(1, "Picture", picture, note)
    hint = lay.hint("ControlStackCanny", picture["IMAGE"], tall=400)
    lay.column(2, "Hint: edges", hint)
    net = lay.net("canny")
    stack = lay.control(
        net, hint["hint"], schedule="0:1, 0.35:0.8, 0.7:0 | smooth", layers="soft 0.825"
    )
    lay.column(3, "Time and depth", net, stack)
    lay.finish(start, stack, 4)


@template("05 Effect masks")
def masks(lay: Layout) -> None:
    note = lay.note(
        f"{MODELS}\n\n**Effect masks** say where a ControlNet acts: fully in white, not in black,"
        " partly in grey. Here edges guide the left, strokes the right, and between them both.\n\n"
        "**To try:** a mask painted in *Load Image* (right click, Open in Mask Editor).",
        220,
    )
    start = lay.start(below=(note,))
    picture = lay.picture()
    white = lay.put("SolidMask", tall=118, value=1.0)
    sides = {"left": 0, "top": 0, "right": 512, "bottom": 0}
    left = lay.put("FeatherMask", tall=150, title="Left", links={"mask": white["MASK"]}, **sides)
    right = lay.put("InvertMask", tall=34, title="Right", links={"mask": left["MASK"]})
    top = lay.column(1, "Picture", picture)
    lay.column(1, "Where: from left to right", white, left, right, top=top)
    canny = lay.hint("ControlStackCanny", picture["IMAGE"], tall=238)
    xdog = lay.hint("ControlStackXDoG", picture["IMAGE"], tall=238)
    given = [{"strength": 0.9, "links": {"effect_mask": mask["MASK"]}} for mask in (left, right)]
    stack = rows(
        lay,
        ("Left", lay.net("canny"), canny, given[0]),
        ("Right", lay.net("scribble"), xdog, given[1]),
    )
    lay.finish(start, stack, 4)


@template("06 Lines and edges")
def lines(lay: Layout) -> None:
    start = lay.start()
    picture = lay.picture()
    note = lay.note(
        f"{MODELS} It needs the ControlNets for mlsd and softedge.\n\n"
        "**Without further weights:** *lsd* and *dog* are classical engines. The networks *mlsd*"
        " (6 MB), *teed* and *hed* give hints closer to what these ControlNets were trained on;"
        " choose one as *engine*, and it is downloaded on the first run.",
        260,
    )
    lay.column(1, "Picture", picture, note)
    mlsd = lay.hint("ControlStackMLSD", picture["IMAGE"], tall=238, engine="lsd")
    soft = lay.hint("ControlStackSoftEdge", picture["IMAGE"], tall=238, engine="dog")
    stack = rows(
        lay,
        ("Lines", lay.net("mlsd"), mlsd, {"strength": 0.6}),
        ("Soft edges", lay.net("softedge"), soft, {"strength": 0.6, "end_percent": 0.7}),
    )
    lay.finish(start, stack, 4)


@template("07 Depth and normals")
def depth(lay: Layout) -> None:
    start = lay.start("an empty museum hall, a stone block and a marble pillar, soft light")
    scene = lay.within("A scene in greys", greys(lay.info), tall=80)
    note = lay.note(
        f"{MODELS} It needs the ControlNets for depth and normalbae.\n\n"
        "**Without further weights:** the scene is built from greys (near is white; double click"
        " looks inside), so engine *image* only scales it, and engine *depth* computes normals"
        " from it.\n\n**A photograph instead:** connect *Load Image* to *Depth* and choose"
        " *depth_anything_v2_small* (99 MB, downloaded on the first run). *Normal Map* then also"
        " takes the photograph itself with engine *bae* (291 MB), which its ControlNet was trained"
        " with.",
        440,
    )
    lay.column(1, "A scene: near is white", scene, note)
    near = lay.hint("ControlStackDepth", scene["IMAGE"], tall=238, engine="image")
    links = {"image": near["hint"], "depth": near["depth"]}
    given = {"engine": "depth", "background_threshold": 0.1}
    facing = lay.put("ControlStackNormal", tall=238, links=links, **given)
    stack = rows(
        lay,
        ("Depth", lay.net("depth"), near, {"strength": 0.8}),
        ("Normals", lay.net("normalbae"), facing, {"strength": 0.6, "end_percent": 0.7}),
    )
    lay.finish(start, stack, 4)


@template("08 People")
def people(lay: Layout) -> None:
    note = lay.note(
        f"{MODELS}\n\n**The people** come with this pack. Any file of *Save Pose* or of a pose"
        " editor works too; no network is needed.\n\n**A photograph instead:** unmute the middle"
        " nodes (Ctrl+M) and connect the hint of *Human Pose (OpenPose)*. *vitpose* (344 MB) finds"
        " bodies, *dwpose* hands and faces too.",
        224,
    )
    words = "two dancers on a beach in the evening sun, watercolour"
    start = lay.start(words, size=(768, 512), below=(note,))
    pose = lay.put("ControlStackLoadPose", tall=150, file="people.json [controlstack]")
    drawn = lay.put("ControlStackDrawPose", tall=660)
    drawn.links["pose_keypoint"] = pose["POSE_KEYPOINT"]
    lay.column(1, "People", pose, drawn)
    photograph = lay.picture(muted=True)
    pose_of = lay.hint("ControlStackPose", photograph["IMAGE"], tall=500, muted=True)
    lay.column(2, "Or a photograph (muted)", photograph, pose_of)
    net = lay.net("openpose")
    stack = lay.control(net, drawn["hint"])
    lay.column(3, "ControlNet", net, stack)
    lay.finish(start, stack, 4)


@template("09 Composition in words")
def words(lay: Layout) -> None:
    start = lay.start("a stone house beside a tree by the sea, hills behind, photograph")
    picture = lay.picture(title="Load Image: only its size counts")
    note = lay.note(
        f"{MODELS} It needs the ControlNet for seg.\n\n"
        "**A composition in words:** engine *blank* needs no network. Each class of *paint* gets"
        " a box: left, top, right, bottom, as fractions of the picture; later boxes cover earlier"
        " ones.\n\n**To try:** engine *upernet*, which finds the classes in a photograph.",
        240,
    )
    lay.column(1, "Picture", picture, note)
    paint = (
        "sky 0 0 1 0.5, hill 0 0.4 1 0.52, sea 0 0.5 1 0.64, grass 0 0.64 1 1,"
        " house 0.25 0.42 0.6 0.82, tree 0.7 0.3 0.92 0.84"
    )
    given = {"engine": "blank", "paint": paint}
    hint = lay.hint("ControlStackSegmentation", picture["IMAGE"], tall=520, **given)
    lay.column(2, "Classes", hint)
    net = lay.net("seg")
    stack = lay.control(net, hint["hint"], end_percent=0.8)
    lay.column(3, "ControlNet", net, stack)
    lay.finish(start, stack, 4)


@template("10 Tile and shuffle")
def tile(lay: Layout) -> None:
    note = lay.note(
        f"{MODELS} It needs the ControlNets for tile and shuffle.\n\nChoose another lower picture"
        " for its colours and its style.",
        180,
    )
    start = lay.start("a house beside a tree, oil painting, rich detail", below=(note,))
    upper = lay.picture(title="Load Image: what is where")
    lower = lay.picture(title="Load Image: colours and style")
    lay.column(1, "Pictures", upper, lower)
    blurred = lay.hint("ControlStackTile", upper["IMAGE"], tall=238)
    mixed = lay.hint("ControlStackShuffle", lower["IMAGE"], tall=238, seed=1)
    stack = rows(
        lay,
        ("Tile", lay.net("tile"), blurred, {"strength": 0.7}),
        ("Shuffle", lay.net("shuffle"), mixed, {"strength": 0.8, "end_percent": 0.8}),
    )
    lay.finish(start, stack, 4)


METHODS = {
    "canny": {},
    "lineart": {"method_engine": "standard"},
    "softedge": {"method_engine": "dog"},
    "mlsd": {"method_engine": "lsd"},
    "xdog": {},
    "color_grid": {},
}


@template("11 Preprocessor (any)")
def anything(lay: Layout) -> None:
    picture = lay.picture()
    note = lay.note(
        "**Six methods of one node**, side by side: press Run. It needs neither"
        " models nor downloads.\n\nChange *method*, and the node's own settings follow. Connect"
        " *control_net*, and the node refuses methods that the net was not trained on.\n\nMethods"
        " with an *engine* also have networks, which are downloaded on the first run.",
        240,
    )
    lay.column(0, "Picture", picture, note)
    hints = [
        lay.hint(ANY, picture["IMAGE"], tall=400, method=method, **given)
        for method, given in METHODS.items()
    ]
    for column in range(3):
        lay.stack((column + 1) * lay.pitch, 0, *hints[column::3])
    lay.group("Hints", *hints)
    batch = lay.put("BatchImagesNode", tall=210)
    batch.links = {f"images.image{at}": hint["hint"] for at, hint in enumerate(hints)}
    sheet = lay.put("ControlStackGrid", tall=240, labels="\n".join(METHODS), columns=2)
    sheet.links["images"] = batch["IMAGE"]
    shown = lay.put("PreviewImage", tall=340, links={"images": sheet["image"]})
    lay.column(4, "All of them", batch, sheet, shown)


@template("12 Report")
def report(lay: Layout) -> None:
    note = lay.note(
        f"{MODELS} It needs the ControlNets for canny and scribble.\n\n**Control Report** shows"
        " what each net did in this run: how much it added, to which blocks, at which steps, and"
        " how long it took. It stands behind the sampler and waits for it.",
        210,
    )
    start = lay.start(below=(note,))
    picture = lay.picture()
    canny = lay.hint("ControlStackCanny", picture["IMAGE"], tall=236)
    xdog = lay.hint("ControlStackXDoG", picture["IMAGE"], tall=210)
    lay.column(1, "Picture and hints", picture, canny, xdog)
    edges, strokes = lay.net("canny"), lay.net("scribble")
    first = lay.control(edges, canny["hint"], strength=0.8)
    second = lay.control(strokes, xdog["hint"], stack=first, strength=0.6, end_percent=0.7)
    lay.column(2, "Two controls", first, second)
    sampler = lay.finish(start, second, 3, above=(edges, strokes), save=False, decode=False)
    decode = lay.decode(sampler["LATENT"], start)
    links = {"positive": lay.last["apply"]["positive"], "latent": sampler["LATENT"]}
    shown = lay.put("ControlStackReport", tall=520, links=links)
    lay.column(4, "The report", shown, decode, lay.save(decode, tall=220))


def one_hint(
    lay: Layout, net_name: str, kind: str, title: str, text: str, prompt: str, **given: Any
) -> None:
    """Lay out a template with one picture, one hint, one net."""
    start = lay.start(prompt)
    picture = lay.picture()
    note = lay.note(f"{MODELS} {text}", 250)
    lay.column(1, "Picture", picture, note)
    hint = lay.hint(kind, picture["IMAGE"], tall=400, **given)
    lay.column(2, title, hint)
    net = lay.net(net_name)
    stack = lay.control(net, hint["hint"])
    lay.column(3, "ControlNet", net, stack)
    lay.finish(start, stack, 4)


@template("13 Recolor")
def recolor(lay: Layout) -> None:
    text = (
        "It needs an SD1.5 checkpoint and a ControlNet for recolor.\n\n**New colours for an old"
        " picture:** the hint is its light and dark; the prompt says the colours. *gamma* above 1"
        " darkens the midtones.\n\n**To try:** a photograph in black and white; *autumn* or"
        " *winter* in the prompt."
    )
    prompt = "a white house with a blue roof beside a red autumn tree, colour photograph"
    one_hint(lay, "recolor", "ControlStackRecolor", "Hint: luminance", text, prompt)


@template("14 Color grid")
def color_grid(lay: Layout) -> None:
    text = (
        "It needs an SD1.5 checkpoint and the T2I-Adapter for color.\n\n**The colours of a picture"
        " without its shapes:** each cell has the mean colour of its pixels. Larger cells leave"
        " more to the prompt.\n\nAn adapter runs once per picture, not at each step."
    )
    prompt = "a lighthouse on a green cliff, calm sea, oil painting"
    one_hint(lay, "color", "ControlStackColorGrid", "Hint: colours", text, prompt, cell_px=64)


@template("15 Inpainting")
def inpainting(lay: Layout) -> None:
    note = lay.note(
        f"{MODELS} It needs the ControlNet for inpaint.\n\n**A new roof:** white in the mask is"
        " painted anew, the rest stays. The hint marks the area for the net; *Set Latent Noise"
        " Mask* keeps the rest.\n\n**To try:** a mask painted in *Load Image* (right click, Open"
        " in Mask Editor) instead of the box.",
        250,
    )
    words = "a house with a blue slate roof beside a tree, watercolour"
    start = lay.start(words, empty=False, below=(note,))
    picture = lay.picture()
    black = lay.put("SolidMask", tall=118, value=0.0, title="Black: the whole picture")
    white = lay.put("SolidMask", tall=118, value=1.0, width=256, height=112, title="White: a box")
    area = lay.put("MaskComposite", tall=138, x=102, y=156, operation="add", title="The roof")
    area.links = {"destination": black["MASK"], "source": white["MASK"]}
    top = lay.column(1, "Picture", picture)
    lay.column(1, "Where", black, white, area, top=top)
    links = {"image": picture["IMAGE"], "mask": area["MASK"]}
    hint = lay.put("ControlStackInpaintHint", tall=400, links=links)
    links = {"pixels": picture["IMAGE"], "vae": start["model"]["VAE"]}
    encoded = lay.put("VAEEncode", tall=54, links=links)
    links = {"samples": encoded["LATENT"], "mask": area["MASK"]}
    masked = lay.put("SetLatentNoiseMask", tall=54, links=links)
    top = lay.column(2, "Hint: the area", hint)
    lay.column(2, "Only there", encoded, masked, top=top)
    net = lay.net("inpaint")
    stack = lay.control(net, hint["hint"])
    lay.column(3, "ControlNet", net, stack)
    lay.finish(start, stack, 4, latent=masked["LATENT"])


@template("16 Video windows")
def windows(lay: Layout) -> None:
    note = lay.note(
        f"{MODELS}\n\n**A clip in windows:** 24 frames are sampled 8 at a time, and each window"
        " reads the hints of its own frames. Here a person walks, from a file of this pack.\n\n"
        "With SD1.5 alone each frame is a picture of its own; with AnimateDiff or a video model"
        " they move together.",
        220,
    )
    prompt = "a woman walking on a beach, evening sun, watercolour"
    start = lay.start(prompt, size=(384, 512), batch=24, below=(note,))
    pose = lay.put("ControlStackLoadPose", tall=150, file="walk.json [controlstack]")
    drawn = lay.put("ControlStackDrawPose", tall=660)
    drawn.links["pose_keypoint"] = pose["POSE_KEYPOINT"]
    lay.column(1, "24 frames", pose, drawn)
    net = lay.net("openpose")
    stack = lay.control(net, drawn["hint"])
    lay.column(2, "ControlNet", net, stack)
    given = {"context_length": 8, "context_overlap": 2, "dim": 0}
    moving = lay.put("ContextWindowsManual", tall=430, **given)
    moving.links["model"] = start["model"]["MODEL"]
    lay.column(3, "Windows of 8 frames", moving)
    lay.finish(start, stack, 4, model=moving["MODEL"], save=False)
    clip = lay.save(lay.last["decode"], "SaveAnimatedWEBP", fps=8.0, filename_prefix="walk")
    lay.stack(4 * lay.pitch, 0, lay.last["apply"], lay.last["sampler"], lay.last["decode"], clip)


@template("17 Strength sweep")
def sweep(lay: Layout) -> None:
    note = lay.note(
        f"{MODELS}\n\n**Five strengths in one run:** a batch of five pictures with the same noise;"
        " *frame_strength* gives each its own factor, and *Labelled Grid* writes it below.\n\n"
        "**To try:** the factors of another range, with labels to match.",
        230,
    )
    start = lay.start(batch=5, below=(note,))
    picture = lay.picture()
    hint = lay.hint("ControlStackCanny", picture["IMAGE"], tall=400)
    lay.column(1, "Picture and hint", picture, hint)
    net = lay.net("canny")
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    factors = ", ".join(f"{at}:{value:g}" for at, value in enumerate(strengths))
    stack = lay.control(net, hint["hint"], frame_strength=factors)
    same = lay.put("LatentBatchSeedBehavior", tall=90, seed_behavior="fixed")
    same.links["samples"] = start["latent"]["LATENT"]
    top = lay.column(2, "ControlNet", net, stack)
    lay.column(2, "The same noise for all", same, top=top)
    lay.finish(start, stack, 3, latent=same["LATENT"], save=False)
    labels = "\n".join(f"strength {value:g}" for value in strengths)
    sheet = lay.put("ControlStackGrid", tall=230, labels=labels, columns=3)
    sheet.links["images"] = lay.last["decode"]["IMAGE"]
    lay.column(4, "Grid", sheet, lay.save(sheet, tall=420, filename_prefix="strengths"))


@template("18 Train a ControlNet")
def train(lay: Layout) -> None:
    note = lay.note(
        f"{MODELS}\n\n**From a folder of pictures to a net.** Put some hundred pictures (and"
        " captions, as NAME.txt beside NAME.png) into *input / my_pictures*, then press Run."
        " **Stop** ends it early and keeps what was learned; run again, it continues.\n\n"
        "**The net follows the hint suddenly**, with these settings after some thousand steps."
        " More in the pack's docs / training.md.",
        180,
    )
    checkpoint = lay.checkpoint()
    create = lay.put("ControlStackCreate", tall=78, links={"model": checkpoint["MODEL"]})
    data = lay.put("ControlStackDataset", tall=350, folder="my_pictures", method="canny")
    lay.column(0, "Model, new net, data", checkpoint, create, data, note)
    links = {
        "model": checkpoint["MODEL"],
        "clip": checkpoint["CLIP"],
        "vae": checkpoint["VAE"],
        "control_net": create["control_net"],
        "dataset": data["dataset"],
    }
    values = {"steps": 5000, "accumulation": 4, "validate_every": 250, "checkpoint": "my_canny"}
    trained = lay.put("ControlStackTrain", tall=880, links=links, **values)
    lay.column(1, "Train", trained)
    saved = lay.put("ControlStackSave", tall=150, name="my_canny")
    saved.links["control_net"] = trained["control_net"]
    picture = lay.picture()
    hint = lay.hint("ControlStackCanny", picture["IMAGE"], tall=240)
    top = lay.column(2, "Save", saved)
    lay.column(2, "First controlled picture", picture, hint, top=top)
    positive, negative = lay.prompts(checkpoint, HOUSE)
    latent = lay.put("EmptyLatentImage", width=512, height=512)
    stack = lay.control(trained, hint["hint"])
    lay.column(3, "Prompts and ControlNet", positive, negative, latent, stack)
    start = {"model": checkpoint, "positive": positive, "negative": negative, "latent": latent}
    lay.finish(start, stack, 4, model=trained["model"])


def write(info: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """Write all templates; `info` is ComfyUI's /object_info."""
    for name, lay_out in {**TEMPLATES, **LAST}.items():
        _write(Layout(info), lay_out, folder / f"{name}.json")
    (folder / "inputs" / "walk.json").write_text(json.dumps(walk()) + "\n", encoding="ascii")


def write_demo(info: Mapping[str, Any], folder: Path) -> None:
    """Write the demo's workflows."""
    for name, lay_out in demo_graph.WORKFLOWS.items():
        _write(demo_graph.WorldLayout(info), lay_out, folder / f"{name}.json")


def _write(lay: Any, lay_out: Callable[[Any], None], file: Path) -> None:
    lay_out(lay)
    text = json.dumps(lay.saved(), indent=1, ensure_ascii=True)
    file.write_text(text + "\n", encoding="ascii")


def main() -> int:
    parser = argparse.ArgumentParser("python3 workbench/templates.py", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the templates and the demo")
    if not parser.parse_args().write:
        print("\n".join([*TEMPLATES, *LAST]))
        return 0
    environment.enter("templates")
    with (
        tempfile.TemporaryDirectory() as base,
        server.running(hosts.find()[0], Path(base)) as running,
    ):
        info = running.ask("/object_info")
        write(info)
        write_demo(info, HERE.parent / "demo")
    print(f"wrote {len(TEMPLATES) + len(LAST)} templates and the demo's workflows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
