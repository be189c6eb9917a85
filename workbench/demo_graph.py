"""Lay out the demo's workflows: two nets of the drawn world over a picture, and a fifth trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .drafts import GROUP_TITLE, Node
from .layout import Layout

CHECKPOINT = "drawn_world_fp16.safetensors"
EDGES, SCRIBBLE = (f"drawn_world_{name}_fp16.safetensors" for name in ("edges", "scribble"))
SIDE, SHOWN = 256, 768
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
PROMPT = "a blue house with a purple roof beside a pink tree behind a fence, at dusk"
FOLDER, UNSEEN, TRAINED = "hatching", "hatching_unseen.png", "drawn_world_hatching"
TRAINED_AT = 128
UNSEEN_PROMPT = "a white house with a blue roof beside an orange tree, by day"
HATCHING_VALUES = {
    "steps": 800,
    "batch_size": 8,
    "learning_rate": 7e-4,
    "prompt_dropping": 0.3,
    "gradient_checkpointing": False,
    "validate_every": 100,
    "checkpoint": TRAINED,
    "checkpoint_every": 100,
    "warmup_steps": 25,
    "guidance": 2.0,
}
"""800 steps of 8 pairs: five minutes of one core, a minute of it to encode the pairs."""
NARROW = 227, 249
"""Width of a node and pitch of the columns, for six of them."""
NOTE = (
    "**Control that one can see.** A small model that was trained on drawn landscapes, and two"
    " ControlNets trained by *Train a New ControlNet*. Press Run: the picture keeps the lines of"
    " the one above, in the colours of the prompt.\n\n**Five strengths in one run:**"
    " *frame_strength* gives each picture of the batch its own factor.\n\n**To try:** other"
    " colours (red, orange, yellow, green, blue, purple, pink, brown, white), *by day* or *at"
    " night*, a picture of your own with a house."
)


class WorldLayout(Layout):
    """A layout on the drawn world's base: a small flow model, sampled with little guidance."""

    def prompts(self, checkpoint: Node, positive: str) -> list[Node]:
        """Add both prompts; the base knows no negative words."""
        clip = {"clip": checkpoint["CLIP"]}
        return [
            self.put("CLIPTextEncode", title=f"{which} prompt", text=text, links=clip)
            for which, text in (("Positive", positive), ("Negative", ""))
        ]

    def checkpoint(self, named: tuple[str, str] = (CHECKPOINT, "")) -> Node:
        """Add the loader of the base, which the demo writes."""
        return self.put("CheckpointLoaderSimple", ckpt_name=named[0])

    def sampler(self, links: Mapping[str, Any]) -> Node:
        """Add KSampler with the settings that the base was tried with."""
        values = {"seed": 1, "steps": 20, "cfg": 2.0, "sampler_name": "euler"}
        return self.put("KSampler", links=links, scheduler="normal", denoise=1.0, **values)


def drawn_world(lay: WorldLayout) -> None:
    """Lay out the demo."""
    lay.wide, lay.pitch = NARROW
    given = {"title": "The same noise", "seed_behavior": "fixed"}
    same = lay.put("LatentBatchSeedBehavior", tall=90, **given)
    size, base = (SIDE, SIDE), (CHECKPOINT, "")
    start = lay.start(PROMPT, base=base, size=size, batch=len(STRENGTHS), below=(same,))
    same.links["samples"] = start["latent"]["LATENT"]
    picture = lay.picture()
    lay.column(1, "Picture", picture, lay.note(NOTE, 440))
    stack = _two_nets(lay, picture)
    last = lay.put("ImageFromBatch", tall=90, batch_index=len(STRENGTHS) - 1)
    lay.finish(start, stack, 4, latent=same["LATENT"], save=False)
    decoded = lay.last["decode"]["IMAGE"]
    last.links["image"] = decoded
    lay.stack(4 * lay.pitch, 676, last)
    given = {"upscale_method": "bicubic", "width": SHOWN, "height": SHOWN}
    larger = lay.put("ImageScale", tall=140, links={"image": last["IMAGE"]}, **given)
    shown = lay.save(larger, tall=190, title="Picture", filename_prefix="picture")
    labels = "\n".join(f"strength {value:g}" for value in STRENGTHS)
    sheet = lay.put("ControlStackGrid", tall=190, labels=labels, columns=len(STRENGTHS))
    sheet.links["images"] = decoded
    grid = lay.save(sheet, tall=190, title="Strengths", filename_prefix="strengths")
    lay.column(5, "Picture and strengths", larger, shown, sheet, grid)


def _two_nets(lay: WorldLayout, picture: Node) -> Node:
    """Lay out each net above its hint, beside what adds them; return the last of the stack."""
    factors = ", ".join(f"{at}:{value:g}" for at, value in enumerate(STRENGTHS))
    rows = (
        ("Edges", EDGES, "ControlStackCanny", {"strength": 1.0}),
        ("Strokes", SCRIBBLE, "ControlStackXDoG", {"strength": 0.5, "end_percent": 0.7}),
    )
    stack, top = None, 0.0
    for title, file, kind, given in rows:
        net = lay.put("ControlStackLoad", control_net_name=file)
        hint = lay.hint(kind, picture["IMAGE"], tall=238, resolution=SIDE)
        stack = lay.control(net, hint["hint"], stack=stack, frame_strength=factors, **given)
        lay.stack(2 * lay.pitch, top, net, hint)
        below = lay.stack(3 * lay.pitch, top, stack)
        lay.group(title, net, hint, stack)
        top = below + GROUP_TITLE
    assert stack
    return stack


def hatching(lay: WorldLayout) -> None:
    """Lay out the training of a fifth net, and its first picture, from a hint it has not seen."""
    lay.wide, lay.pitch = NARROW
    checkpoint, begun = lay.checkpoint(), lay.put("ControlStackLoad", control_net_name=EDGES)
    links = {"model": checkpoint["MODEL"], "control_net": begun["control_net"]}
    create = lay.put("ControlStackCreate", tall=78, links=links)
    size = {"width": TRAINED_AT, "height": TRAINED_AT}
    data = lay.put("ControlStackDataset", tall=310, folder=FOLDER, method="given", **size)
    lay.column(0, "Base, new net, data", checkpoint, begun, create, data)
    links = {name.lower(): checkpoint[name] for name in ("MODEL", "CLIP", "VAE")}
    links |= {"control_net": create["control_net"], "dataset": data["dataset"]}
    trained = lay.put("ControlStackTrain", tall=880, links=links, **HATCHING_VALUES)
    lay.column(1, "Train", trained)
    saved = lay.put("ControlStackSave", tall=150, name=TRAINED, overwrite=True)
    saved.links["control_net"] = trained["control_net"]
    curves, shown = (
        lay.put("PreviewImage", tall=290, title=title, links={"images": trained[output]})
        for title, output in (("Curves", "curves"), ("Validation", "validation"))
    )
    lay.column(2, "The net", saved, curves, shown)
    _first_picture(lay, checkpoint, trained)


def _first_picture(lay: WorldLayout, checkpoint: Node, trained: Node) -> None:
    """Lay out a picture by the new net."""
    unseen = lay.put("LoadImage", image=UNSEEN, title="Unseen hatching", tall=380)
    positive, negative = lay.prompts(checkpoint, UNSEEN_PROMPT)
    size = {"width": TRAINED_AT, "height": TRAINED_AT}
    latent = lay.put("EmptyLatentImage", batch_size=1, **size)
    lay.column(3, "An unseen hint, and words", unseen, positive, negative, latent)
    stack = lay.control(trained, unseen["IMAGE"])
    links = {"positive": positive["CONDITIONING"], "negative": negative["CONDITIONING"]}
    links |= {"stack": stack["stack"], "model": trained["model"]}
    apply = lay.put("ControlStackApply", links=links)
    lay.column(4, "New net", stack, apply)
    links = {"model": trained["model"], "latent_image": latent["LATENT"]}
    links |= {name: apply[name] for name in ("positive", "negative")}
    sampler = lay.sampler(links)
    decode = lay.decode(sampler["LATENT"], {"model": checkpoint})
    given = {"upscale_method": "bicubic", "width": SHOWN // 2, "height": SHOWN // 2}
    larger = lay.put("ImageScale", tall=140, links={"image": decode["IMAGE"]}, **given)
    picture = lay.save(larger, tall=216, title="First picture", filename_prefix="hatching")
    lay.column(5, "Its first picture", sampler, decode, larger, picture)


WORKFLOWS = {"Drawn world": drawn_world, "Train hatching": hatching}
"""The demo's workflows by their names."""
