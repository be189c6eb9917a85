"""Lay out the demo's workflows: two nets of the drawn world over a picture, and a fifth trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .drafts import Node
from .layout import Layout

CHECKPOINT = "drawn_world_fp16.safetensors"
EDGES, SCRIBBLE = (f"drawn_world_{name}_fp16.safetensors" for name in ("edges", "scribble"))
SIDE, SHOWN = 256, 768
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
PROMPT = "a blue house with a purple roof beside a pink tree behind a fence, at dusk"


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
    size = (SIDE, SIDE)
    start = lay.start(PROMPT, base=(CHECKPOINT, ""), size=size, batch=len(STRENGTHS))
    picture = lay.picture()
    note = lay.note(
        "**Control that one can see.** A small model that was trained on drawn landscapes, and two"
        " ControlNets trained by *Train a New ControlNet*. Press Run: the picture keeps the lines"
        " of the one above, in the colours of the prompt.\n\n**Five strengths in one run:**"
        " *frame_strength* gives each picture of the batch its own factor.\n\n**To try:** other"
        " colours (red, orange, yellow, green, blue, purple, pink, brown, white), *by day* or *at"
        " night*, a picture of your own with a house.",
        330,
    )
    lay.column(1, "Picture", picture, note)
    canny = lay.hint("ControlStackCanny", picture["IMAGE"], tall=300, resolution=SIDE)
    xdog = lay.hint("ControlStackXDoG", picture["IMAGE"], tall=300, resolution=SIDE)
    lay.column(2, "Hints", canny, xdog)
    factors = ", ".join(f"{at}:{value:g}" for at, value in enumerate(STRENGTHS))
    edges, scribble = (lay.put("ControlStackLoad", control_net_name=n) for n in (EDGES, SCRIBBLE))
    first = lay.control(edges, canny["hint"], strength=1.0, frame_strength=factors)
    given = {"strength": 0.5, "end_percent": 0.7, "frame_strength": factors}
    second = lay.control(scribble, xdog["hint"], stack=first, **given)
    lay.column(3, "Two ControlNets", edges, scribble, first, second)
    same = lay.put("LatentBatchSeedBehavior", tall=90, seed_behavior="fixed")
    same.links["samples"] = start["latent"]["LATENT"]
    lay.finish(start, second, 4, latent=same["LATENT"], above=(same,), save=False)
    decoded = lay.last["decode"]["IMAGE"]
    labels = "\n".join(f"strength {value:g}" for value in STRENGTHS)
    links = {"image": decoded}
    last = lay.put("ImageFromBatch", tall=90, batch_index=len(STRENGTHS) - 1, links=links)
    given = {"upscale_method": "bicubic", "width": SHOWN, "height": SHOWN}
    larger = lay.put("ImageScale", tall=140, links={"image": last["IMAGE"]}, **given)
    shown = lay.save(larger, tall=300, title="Picture", filename_prefix="picture")
    sheet = lay.put("ControlStackGrid", tall=230, labels=labels, columns=len(STRENGTHS))
    sheet.links["images"] = decoded
    grid = lay.save(sheet, tall=220, title="Strengths", filename_prefix="strengths")
    lay.column(5, "Picture and strengths", last, larger, shown, sheet, grid)


FOLDER, UNSEEN, TRAINED = "hatching", "hatching_unseen.png", "drawn_world_hatching"
TRAINED_AT = 128
HATCHING_VALUES = {
    "steps": 500,
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
"""500 steps of 8 pairs: some minutes on two cores."""
UNSEEN_PROMPT = "a white house with a blue roof beside an orange tree, by day"


def hatching(lay: WorldLayout) -> None:
    """Lay out the training of a fifth net, and its first picture, from a hint it has not seen."""
    checkpoint, begun = lay.checkpoint(), lay.put("ControlStackLoad", control_net_name=EDGES)
    links = {"model": checkpoint["MODEL"], "control_net": begun["control_net"]}
    create = lay.put("ControlStackCreate", tall=78, links=links)
    size = {"width": TRAINED_AT, "height": TRAINED_AT}
    data = lay.put("ControlStackDataset", tall=350, folder=FOLDER, method="given", **size)
    lay.column(0, "Base, new net, data", checkpoint, begun, create, data)
    links = {
        "model": checkpoint["MODEL"],
        "clip": checkpoint["CLIP"],
        "vae": checkpoint["VAE"],
        "control_net": create["control_net"],
        "dataset": data["dataset"],
    }
    trained = lay.put("ControlStackTrain", tall=880, links=links, **HATCHING_VALUES)
    lay.column(1, "Train", trained)
    saved = lay.put("ControlStackSave", tall=150, name=TRAINED, overwrite=True)
    saved.links["control_net"] = trained["control_net"]
    unseen = lay.put("LoadImage", image=UNSEEN, title="Unseen hatching")
    curves, shown = (
        lay.put("PreviewImage", tall=260, title=title, links={"images": trained[output]})
        for title, output in (("Curves", "curves"), ("Validation", "validation"))
    )
    lay.column(2, "Net and curves", saved, curves, shown)
    positive, negative = lay.prompts(checkpoint, UNSEEN_PROMPT)
    latent = lay.put("EmptyLatentImage", batch_size=1, **size)
    stack = lay.control(trained, unseen["IMAGE"])
    lay.column(3, "First controlled picture", unseen, positive, negative, latent, stack)
    start = {"model": checkpoint, "positive": positive, "negative": negative, "latent": latent}
    lay.finish(start, stack, 4, save=False)
    given = {"upscale_method": "bicubic", "width": SHOWN // 2, "height": SHOWN // 2}
    larger = lay.put("ImageScale", tall=140, links={"image": lay.last["decode"]["IMAGE"]}, **given)
    picture = lay.save(larger, tall=300, title="First picture", filename_prefix="hatching")
    lay.column(5, "Picture", larger, picture)


WORKFLOWS = {"Drawn world": drawn_world, "Train hatching": hatching}
"""The demo's workflows by their names."""
