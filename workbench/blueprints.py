"""`python3 workbench/blueprints.py --write`: write the ready-made subgraphs of `subgraphs/`.

ComfyUI lists them beside the nodes, under the names of the files.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))

from workbench import environment, hosts, server  # noqa: E402
from workbench.drafts import Inputs, Node, Outputs, identity, subgraph  # noqa: E402
from workbench.layout import Layout  # noqa: E402
from workbench.workflow import widgets_of  # noqa: E402

if __name__ == "__main__":
    sys.path.pop(0)  # the root's nodes/ would shadow the host's module of that name

FOLDER = HERE.parent / "subgraphs"


@dataclass(frozen=True)
class Blueprint:
    """What a ready-made subgraph does, how it is searched, and what it consists of."""

    description: str
    aliases: tuple[str, ...]
    build: Callable[[Layout], tuple[Inputs, Outputs]]


def _one(lay: Layout) -> tuple[Inputs, Outputs]:
    net = lay.net("canny")
    hint = lay.put("ControlStackPreprocess", tall=400, method="canny")
    add = lay.put("ControlStackAdd")
    add.links = {"control_net": net["control_net"], "image": hint["hint"]}
    apply = lay.put("ControlStackApply", links={"stack": add["stack"]})
    for column, nodes in enumerate(((net, hint), (add,), (apply,))):
        lay.stack(column * lay.pitch, 0, *nodes)
    inputs = {
        "image": [(hint, "image")],
        "positive": [(apply, "positive")],
        "negative": [(apply, "negative")],
        "model": [(apply, "model")],
        "vae": [(apply, "vae")],
        "control_net_name": [(net, "control_net_name")],
        "strength": [(add, "strength")],
        "start_percent": [(add, "start_percent")],
        "end_percent": [(add, "end_percent")],
        "mode": [(add, "mode")],
    }
    return inputs, {
        "positive": apply["positive"],
        "negative": apply["negative"],
        "hint": hint["hint"],
    }


def _stacked(
    lay: Layout, hints: Mapping[str, tuple[str, dict[str, Any]]], nets: Mapping[str, Node]
) -> tuple[Inputs, Outputs]:
    """Lay out one picture, a hint of each kind, and a stack of them all."""
    inputs: dict[str, list[tuple[Node, str]]] = {"image": [], "stack": []}
    for name, node in nets.items():
        inputs[name] = [(node, "control_net_name")]
    stack = None
    for at, (name, (kind, given)) in enumerate(hints.items()):
        net = nets.get(f"{name}_net") or nets["union_net"]
        hint = lay.put(kind, tall=300, **given)
        add = lay.put("ControlStackAdd")
        add.links = {"control_net": net["control_net"], "image": hint["hint"]}
        add.links |= {"stack": stack["stack"]} if stack else {}
        inputs["image"].append((hint, "image"))
        inputs["stack"] += [] if stack else [(add, "stack")]
        inputs[f"{name}_strength"] = [(add, "strength")]
        lay.stack((at + 1) * lay.pitch, 0, hint, add)
        stack = add
    lay.stack(0, 0, *nets.values())
    assert stack
    return inputs, {"stack": stack["stack"]}


def _canny_and_depth(lay: Layout) -> tuple[Inputs, Outputs]:
    hints = {
        "canny": ("ControlStackCanny", {}),
        "depth": ("ControlStackDepth", {"engine": "depth_anything_v2_small"}),
    }
    return _stacked(lay, hints, {f"{name}_net": lay.net(name) for name in hints})


def _union(lay: Layout) -> tuple[Inputs, Outputs]:
    hints = {
        "canny": ("ControlStackCanny", {}),
        "lineart": ("ControlStackLineart", {"engine": "standard"}),
        "softedge": ("ControlStackSoftEdge", {"engine": "dog"}),
    }
    return _stacked(lay, hints, {"union_net": lay.net("union")})


def _alone(lay: Layout, node: Node, *widgets: str) -> tuple[Inputs, Outputs]:
    """Lay out one preprocessor with some of its widgets outside."""
    lay.stack(0, 0, node)
    names = node.declared["output_name"]
    inputs: Inputs = {name: [(node, name)] for name in ("image", *widgets)}
    return inputs, {name: node[name] for name in names}


def _pose(lay: Layout) -> tuple[Inputs, Outputs]:
    node = lay.put("ControlStackPose", tall=420, engine="vitpose")
    return _alone(lay, node, "engine", "resolution")


def _words(lay: Layout) -> tuple[Inputs, Outputs]:
    paint = "sky 0 0 1 0.5, mountain 0 0.3 1 0.6, lake 0 0.6 1 1, house 0.3 0.35 0.65 0.75"
    node = lay.put("ControlStackSegmentation", tall=420, engine="blank", paint=paint)
    return _alone(lay, node, "paint", "palette", "resolution")


BLUEPRINTS = {
    "ControlNet": Blueprint(
        "One ControlNet as one node: loads it, makes its hint (canny; another method inside),"
        " and applies it to both prompts.",
        ("controlnet", "control net", "apply controlnet", "simple controlnet"),
        _one,
    ),
    "Canny and Depth Stack": Blueprint(
        "From a photograph to a stack of two ControlNets: its edges and its depth.",
        ("controlnet stack", "canny depth"),
        _canny_and_depth,
    ),
    "Union ControlNet with Three Hints": Blueprint(
        "One union ControlNet with three hints of a picture: edges, lines, soft edges.",
        ("union", "union controlnet", "controlnet union", "promax"),
        _union,
    ),
    "Pose from a Picture": Blueprint(
        "The people of a picture as skeletons for openpose ControlNets, and their keypoints.",
        ("openpose", "pose"),
        _pose,
    ),
    "Segmentation Painted in Words": Blueprint(
        "A segmentation map from words and boxes, without a network: 'sky 0 0 1 0.5, ...'.",
        ("segmentation", "regions", "composition"),
        _words,
    ),
}


def written(name: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a blueprint as the frontend saves it; `info` is ComfyUI's /object_info."""
    blueprint, lay = BLUEPRINTS[name], Layout(info, first_id=101)
    inputs, outputs = blueprint.build(lay)
    inside = subgraph(name, lay, outputs, inputs)
    inside |= {"description": blueprint.description, "category": "ControlStack"}
    by_id = {node["id"]: node for node in inside["nodes"]}
    sockets, values = [], []
    for entry in inside["inputs"]:
        first = next(link for link in inside["links"] if link["id"] == entry["linkIds"][0])
        inner = by_id[first["target_id"]]["inputs"][first["target_slot"]]
        socket = {"name": entry["name"], "type": entry["type"], "link": None}
        if "widget" in inner:
            socket["widget"] = {"name": entry["name"]}
            values.append((entry["name"], _value(by_id[first["target_id"]], inner["name"], info)))
        sockets.append(socket)
    outer = {
        "id": 1,
        "type": identity(name),
        "pos": [0, 0],
        "size": [300, 60 + 22 * (len(sockets) + len(outputs))],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": sockets,
        "outputs": [
            {"name": each["name"], "type": each["type"], "links": None}
            for each in inside["outputs"]
        ],
        "properties": {"proxyWidgets": [["-1", name] for name, _ in values]},
        "widgets_values": [value for _, value in values],
        "title": name,
    }
    return {
        "id": identity(name, "workflow"),
        "revision": 0,
        "last_node_id": max(by_id),
        "last_link_id": len(inside["links"]),
        "nodes": [outer],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [inside]},
        "config": {},
        "extra": {
            "BlueprintDescription": blueprint.description,
            "BlueprintSearchAliases": list(blueprint.aliases),
        },
        "version": 0.4,
    }


def _value(node: Mapping[str, Any], name: str, info: Mapping[str, Any]) -> Any:
    return dict(widgets_of(info[node["type"]]["input"], node["widgets_values"]))[name]


def write(info: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """Write all blueprints in ASCII: old versions of ComfyUI read them in the system's encoding."""
    folder.mkdir(exist_ok=True)
    for name in BLUEPRINTS:
        text = json.dumps(written(name, info), indent=1, ensure_ascii=True)
        (folder / f"{name}.json").write_text(text + "\n", encoding="ascii")


def main() -> int:
    parser = argparse.ArgumentParser("python3 workbench/blueprints.py", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write subgraphs/*.json")
    if not parser.parse_args().write:
        print("\n".join(BLUEPRINTS))
        return 0
    environment.enter("blueprints")
    with (
        tempfile.TemporaryDirectory() as base,
        server.running(hosts.find()[0], Path(base)) as running,
    ):
        write(running.ask("/object_info"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
