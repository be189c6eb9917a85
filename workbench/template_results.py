"""Run the templates on the drawn world's models, for the results that their thumbnails show."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import demo_graph, server, thumbnails, workflow

DEMO = Path(__file__).resolve().parents[1] / "demo"
SIZE, TRAINED_SIZE = 256, demo_graph.TRAINED_AT
"""Of results in pixels: with the world's own nets, and with those that are trained here."""
DAY = "a yellow house with a blue roof beside a pink tree behind a fence, by day"
DUSK = "a blue house with a purple roof beside a pink tree behind a fence, at dusk"
NIGHT = "a pink house with a green roof beside an orange tree behind a fence, at night"
HOUSES = (DAY, DUSK, NIGHT)
SEASIDE = "a white house with a red roof beside a green tree by the sea, by day"
PROMPTS = {"09 Composition in words": SEASIDE}
NETS = {
    "canny": "edges",
    "union": "edges",
    "diffusion_pytorch_model_promax": "edges",
    "scribble": "scribble",
    "seg": "segmentation",
    "depth": "depth",
}
"""The world's net that stands for a template's, by a word of its file."""
MORE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "lineart": ("lineart", {"engine": "standard"}),
    "mlsd": ("mlsd", {"engine": "lsd"}),
    "softedge": ("softedge", {"engine": "dog"}),
    "tile": ("tile", {}),
    "shuffle": ("shuffle", {}),
    "recolor": ("recolor", {}),
    "color": ("color_grid", {"cell_px": 16}),
}
"""Conditions that can be trained here: the method of their hints, by a word of the net's file."""
MORE_STEPS, FOLDER = 300, "landscapes"
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "CheckpointLoaderSimple": {"ckpt_name": demo_graph.CHECKPOINT},
    "KSampler": {"cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "seed": 1},
}


def thumbs(running: server.Server, *, with_more: bool = False) -> None:
    """Draw the thumbnails of all templates with the results that there are."""
    info = running.ask("/object_info")
    trained = train_more(running, info) if with_more else ()
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(thumbnails.FOLDER.glob("*.json")):
            prompt = workflow.to_prompt(json.loads(file.read_text(encoding="utf-8")), info)
            if picture := result_of(running, file.stem, prompt, trained):
                picture.save(Path(folder) / f"{file.stem}.png")
                (Path(folder) / f"{file.stem}.txt").write_text(words_of(file.stem), "utf-8")
                print(f"{file.stem}: a result", flush=True)
        thumbnails.write(running, Path(folder))


def result_of(
    running: server.Server, name: str, prompt: Mapping[str, Any], trained: tuple[str, ...] = ()
) -> Any:
    """Run a template on the world's models; None where they lack one of its nets.

    `trained` are the keys of MORE that there are nets for.
    """
    changed = with_a_trained_net(prompt)
    kinds = {node["class_type"] for node in changed.values()}
    if "KSampler" not in kinds or not on_world(changed, name, trained):
        return None
    result = running.run(changed)
    records = [row for node in changed for row in result.images(node) if row["type"] == "output"]
    return running.image(records[-1]).convert("RGB") if records else None


def with_a_trained_net(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """Put the net for edges, which the same loop has trained, in the place of a training."""
    others = ("ControlStackCreate", "ControlStackDataset", "ControlStackSave")
    changed = {key: node for key, node in prompt.items() if node["class_type"] not in others}
    for key, node in changed.items():
        if node["class_type"] == "ControlStackTrain":
            base = node["inputs"]["model"]
            node.update(class_type="ControlStackLoad", inputs={"control_net_name": "canny"})
            for other in changed.values():
                links = other["inputs"].items()
                other["inputs"].update({k: base for k, link in links if link == [key, 1]})
    return changed


def on_world(prompt: Mapping[str, Any], name: str, trained: tuple[str, ...] = ()) -> bool:
    """Exchange a prompt's models, words and sizes for the world's; return whether all are there."""
    texts = [node for node in prompt.values() if node["class_type"] == "CLIPTextEncode"]
    for at, node in enumerate(texts):
        node["inputs"]["text"] = "" if at else words_of(name)
    named = [n["inputs"] for n in prompt.values() if "control_net_name" in n["inputs"]]
    nets = [net_for(inputs["control_net_name"], trained) for inputs in named]
    if not all(nets):
        return False
    for inputs, net in zip(named, nets, strict=True):
        inputs["control_net_name"] = f"drawn_world_{net}_fp16.safetensors"
    size = TRAINED_SIZE if set(nets) & set(MORE) else SIZE
    for node in prompt.values():
        inputs = node["inputs"]
        changed = CHANGES.get(node["class_type"], {})
        inputs.update({key: value for key, value in changed.items() if key in inputs})
        if node["class_type"] == "EmptyLatentImage":
            inputs.update(width=size, height=size)
        if inputs.get("resolution") == 0:
            inputs["resolution"] = size
        if inputs.get("cell_px") == 64:
            inputs["cell_px"] = MORE["color"][1]["cell_px"]
    return True


def words_of(name: str) -> str:
    """Return the prompt of a template's result."""
    return PROMPTS.get(name, HOUSES[int(name[:2]) % len(HOUSES)])


def net_for(file: str, trained: tuple[str, ...] = ()) -> str:
    """Return the net that stands for a template's file, or "" where there is none."""
    names = {**NETS, **{word: word for word in trained}}
    return next((net for word, net in names.items() if word in file), "")


def train_more(running: server.Server, info: Mapping[str, Any]) -> tuple[str, ...]:
    """Train a net for each condition of MORE, with the nodes of the training tutorial."""
    from .world import hatching

    hatching.write_captioned(running.base / "input" / FOLDER)
    graph = json.loads((DEMO / "Train hatching.json").read_text(encoding="utf-8"))
    for name in MORE:
        result = running.run(training_of(workflow.to_prompt(graph, info), info, name))
        print(f"{name}: trained in {result.seconds / 60:.1f} minutes", flush=True)
    return tuple(MORE)


KEPT = (
    "CheckpointLoaderSimple",
    "ControlStackLoad",
    "ControlStackCreate",
    "ControlStackDataset",
    "ControlStackTrain",
    "ControlStackSave",
)


def training_of(
    prompt: Mapping[str, Any], info: Mapping[str, Any], name: str
) -> dict[str, dict[str, Any]]:
    """Turn the tutorial's prompt into the training of a condition of MORE."""
    method, given = MORE[name]
    choices = info["ControlStackDataset"]["input"]["required"]["method"][1]["options"]
    (choice,) = [choice for choice in choices if choice["key"] == method]
    declared = {k: v for group in choice["inputs"].values() for k, v in group.items()}
    params = {key: given.get(key, default_of(spec)) for key, spec in declared.items()}
    changes: dict[str, dict[str, Any]] = {
        "ControlStackDataset": {
            "folder": FOLDER,
            "method": method,
            **{f"method.{key}": value for key, value in params.items()},
        },
        "ControlStackTrain": {"steps": MORE_STEPS, "checkpoint": "", "validate_every": 0},
        "ControlStackSave": {"name": f"drawn_world_{name}_fp16"},
    }
    nodes = {key: node for key, node in prompt.items() if node["class_type"] in KEPT}
    for node in nodes.values():
        node["inputs"].update(changes.get(node["class_type"], {}))
    return nodes


def default_of(spec: Any) -> Any:
    """Return the default of an input as /object_info declares it."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    choices = kind if isinstance(kind, list) else options.get("options", [None])
    return options.get("default", choices[0])
