"""Lay out a workflow in columns, and write it in the form that ComfyUI's frontend saves.

What a node has for inputs, widgets and outputs comes from ComfyUI's /object_info; where it stands
comes from its column. A node is as tall as Nodes 2.0 draws it, which is taller than the classic
renderer.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import workflow

TITLE, GAP, GROUP_TITLE, MARGIN = 30, 16, 28, 10
COLORS = ("#3f789e", "#8a6d3b", "#5b7f4a", "#7a4f8a", "#a1506a")
NOTE = "MarkdownNote"
# Of notes: ComfyUI's brown leaves their grey text in Nodes 2.0 unreadable.
NOTE_COLORS = {"color": "#2a2a2a", "bgcolor": "#1e1e1e"}
BANNER = {"CheckpointLoaderSimple": 34, "ControlStackLoad": 34}
"""Room below a node for what Nodes 2.0 writes there while its file is missing."""
AUTOGROW = "COMFY_AUTOGROW_V3"


@dataclass
class Node:
    """A node of a draft; `node["hint"]` is its output of that name, for another node's input."""

    id: int
    kind: str
    declared: Mapping[str, Any]
    values: list[Any]
    size: list[float]
    title: str | None
    properties: dict[str, Any]
    mode: int = 0
    pos: list[float] = field(default_factory=lambda: [0.0, 0.0])
    links: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def __getitem__(self, output: str | int) -> tuple[Node, int]:
        names = self.declared["output_name"]
        return self, output if isinstance(output, int) else names.index(output)


class Draft:
    """A workflow while it is made."""

    def __init__(self, object_info: Mapping[str, Any], first_id: int = 1):
        self.info, self.first_id = object_info, first_id
        self.nodes: list[Node] = []
        self.groups: list[dict[str, Any]] = []
        self.subgraphs: list[dict[str, Any]] = []

    def add(
        self,
        kind: str,
        *,
        size: tuple[float, float],
        title: str | None = None,
        models: Sequence[Mapping[str, str]] = (),
        muted: bool = False,
        links: Mapping[str, tuple[Node, int]] | None = None,
        **values: Any,
    ) -> Node:
        """Add a node: `values` by the names of its widgets, `links` by the names of its inputs."""
        properties: dict[str, Any] = {} if kind == NOTE else {"Node name for S&R": kind}
        if models:
            properties["models"] = [dict(model) for model in models]
        declared = self.info.get(kind, {"input": {}, "output": [], "output_name": []})
        written = [values["text"]] if kind == NOTE else _widget_values(declared["input"], values)
        node = Node(
            self._next_id(),
            kind,
            declared,
            written,
            list(size),
            title,
            properties,
            workflow.MUTED if muted else 0,
            links=dict(links or {}),
        )
        self.nodes.append(node)
        return node

    def _next_id(self) -> int:
        return max((node.id + 1 for node in self.nodes), default=self.first_id)

    def within(self, title: str, inner: tuple[Draft, tuple[Node, int]], tall: float) -> Node:
        """Put a draft with one output into a subgraph, as one node."""
        draft, output = inner
        name = output[0].declared["output_name"][output[1]]
        kind = output[0].declared["output"][output[1]]
        declared = {"input": {}, "output": [kind], "output_name": [name]}
        self.info = {**self.info, identity(title): declared}
        self.subgraphs.append(subgraph(title, draft, {name: output}, {}))
        return self.add(identity(title), size=(290, tall), title=title)

    def stack(self, left: float, top: float, *nodes: Node) -> float:
        """Put nodes under each other; return where the next one would begin."""
        for node in nodes:
            node.pos = [left, top + TITLE]
            top += TITLE + node.size[1] + GAP + BANNER.get(node.kind, 0)
        return top

    def group(self, title: str, *nodes: Node) -> None:
        """Frame nodes that stand together."""
        left = min(node.pos[0] for node in nodes) - MARGIN
        top = min(node.pos[1] for node in nodes) - TITLE - GROUP_TITLE
        right = max(node.pos[0] + node.size[0] for node in nodes) + MARGIN
        bottom = max(node.pos[1] + node.size[1] for node in nodes) + MARGIN
        number = len(self.groups)
        self.groups.append(
            {
                "id": number + 1,
                "title": title,
                "bounding": [left, top, right - left, bottom - top],
                "color": COLORS[number % len(COLORS)],
                "font_size": 16,  # the mark of a node of ours stands beside it
                "flags": {},
            }
        )

    def saved(self) -> dict[str, Any]:
        """Return the workflow as the frontend saves it."""
        nodes, links = _written(self.nodes)
        inside = {"definitions": {"subgraphs": self.subgraphs}} if self.subgraphs else {}
        return {
            **inside,
            "last_node_id": max(node.id for node in self.nodes),
            "last_link_id": len(links),
            "nodes": nodes,
            "links": links,
            "groups": self.groups,
            "config": {},
            "extra": {},
            "version": 0.4,
        }


def _widget_values(inputs: Mapping[str, Any], values: Mapping[str, Any]) -> list[Any]:
    """List all values in the order of the widgets, with those that the frontend adds."""
    left = dict(values)
    written = list(_values(inputs, left, ""))
    assert not left, f"no widgets of these names: {sorted(left)}"
    return written


def _values(inputs: Mapping[str, Any], left: dict[str, Any], prefix: str):
    for group in ("required", "optional"):
        for name, declared in inputs.get(group, {}).items():
            kind, options = declared[0], declared[1] if len(declared) > 1 else {}
            widget = "COMBO" if isinstance(kind, list) else options.get("widgetType", kind)
            if options.get("forceInput") or widget not in workflow.PLAIN | {workflow.DYNAMIC}:
                continue
            value = left.pop(f"{prefix}{name}", options.get("default", _first(kind, options)))
            yield value
            if kind == workflow.DYNAMIC:
                chosen = next(choice for choice in options["options"] if choice["key"] == value)
                yield from _values(chosen["inputs"], left, f"{name}_")
            if options.get("control_after_generate", name in ("seed", "noise_seed")):
                yield "fixed"
            if options.get("image_upload"):
                yield "image"


def _first(kind: Any, options: Mapping[str, Any]) -> Any:
    choices = (kind if isinstance(kind, list) else options.get("options")) or [""]
    return choices[0] if isinstance(choices[0], str) else choices[0]["key"]


def _sockets(declared: Mapping[str, Any], linked: Mapping[str, Any]) -> dict[str, str]:
    """Give the type of each input that is not a widget; one that grows has what is linked."""
    named: dict[str, str] = {}
    grown: dict[str, list[str]] = {}
    for name in linked:
        grown.setdefault(name.partition(".")[0], []).append(name.partition(".")[2])
    for group in ("required", "optional"):
        for name, (kind, *rest) in declared["input"].get(group, {}).items():
            options = rest[0] if rest else {}
            widget = "COMBO" if isinstance(kind, list) else options.get("widgetType", kind)
            if kind == AUTOGROW:
                named |= {f"{name}.{at}": "IMAGE" for at in grown.get(name, ())}
            elif options.get("forceInput") or widget not in workflow.PLAIN | {workflow.DYNAMIC}:
                named[name] = kind
    return named


def _written(nodes: Sequence[Node]) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    links: list[list[Any]] = []
    leaving: dict[tuple[int, int], list[int]] = {}
    inputs: dict[int, list[dict[str, Any]]] = {node.id: [] for node in nodes}
    for node in nodes:
        sockets = _sockets(node.declared, node.links)
        unknown = node.links.keys() - sockets.keys()
        assert not unknown, f"{node.kind} has no inputs {sorted(unknown)}"
        for at, (name, kind) in enumerate(sockets.items()):
            source = node.links.get(name)
            link = len(links) + 1 if source else None
            inputs[node.id].append({"name": name, "type": kind, "link": link})
            if source:
                origin, slot = source
                links.append([link, origin.id, slot, node.id, at, origin.declared["output"][slot]])
                leaving.setdefault((origin.id, slot), []).append(len(links))
    return [_node(node, order, inputs, leaving) for order, node in enumerate(nodes)], links


def _node(node: Node, order: int, inputs: Mapping[int, Any], leaving: Mapping[Any, Any]) -> dict:
    outputs = [
        {"name": name, "type": kind, "links": [*leaving.get((node.id, slot), [])]}
        for slot, (name, kind) in enumerate(
            zip(node.declared["output_name"], node.declared["output"], strict=True)
        )
    ]
    written = {
        "id": node.id,
        "type": node.kind,
        "pos": node.pos,
        "size": node.size,
        "flags": {},
        "order": order,
        "mode": node.mode,
        "inputs": inputs[node.id],
        "outputs": outputs,
        "properties": node.properties,
        "widgets_values": node.values,
    }
    colors = NOTE_COLORS if node.kind == NOTE else {}
    return written | colors | ({"title": node.title} if node.title else {})


ROW = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
INSIDE, OUTSIDE = -10, -20
"""What ComfyUI's frontend calls the two ends of a subgraph."""
Inputs = Mapping[str, Sequence[tuple[Node, str]]]
Outputs = Mapping[str, tuple[Node, int]]


def subgraph(title: str, draft: Draft, outputs: Outputs, inputs: Inputs) -> dict[str, Any]:
    """Write a draft as the definition of a subgraph: its ends by the names that they have outside.

    An input that is a widget of the nodes inside is one of the subgraph too.
    """
    nodes, rows = _written(draft.nodes)
    by_id = {node["id"]: node for node in nodes}
    links = [dict(zip(ROW, row, strict=True)) for row in rows]
    entering = []
    for at, (name, targets) in enumerate(inputs.items()):
        ids = []
        for node, socket in targets:
            kind = _kind(node.declared, socket)
            slot = _socket(by_id[node.id], socket, kind, link := len(links) + 1)
            links.append(dict(zip(ROW, (link, INSIDE, at, node.id, slot, kind), strict=True)))
            ids.append(link)
        kind = _kind(targets[0][0].declared, targets[0][1])
        entering.append(
            {"id": identity(title, "in", name), "name": name, "type": kind, "linkIds": ids}
        )
    leaving = []
    for at, (name, (origin, slot)) in enumerate(outputs.items()):
        kind, link = origin.declared["output"][slot], len(links) + 1
        links.append(dict(zip(ROW, (link, origin.id, slot, OUTSIDE, at, kind), strict=True)))
        by_id[origin.id]["outputs"][slot]["links"].append(link)
        leaving.append({"id": identity(title, name), "name": name, "type": kind, "linkIds": [link]})
    right = max(node.pos[0] + node.size[0] for node in draft.nodes)
    return {
        "id": identity(title),
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": max(by_id),
            "lastLinkId": len(links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": title,
        "inputNode": {"id": INSIDE, "bounding": [-200, 0, 140, 60]},
        "outputNode": {"id": OUTSIDE, "bounding": [right + 60, 0, 140, 60]},
        "inputs": entering,
        "outputs": leaving,
        "widgets": [],
        "nodes": nodes,
        "groups": draft.groups,
        "links": links,
        "extra": {},
    }


def _kind(declared: Mapping[str, Any], name: str) -> str:
    """Give the type of an input; a list of choices is a COMBO."""
    for group in ("required", "optional"):
        if name in declared["input"].get(group, {}):
            kind = declared["input"][group][name][0]
            return "COMBO" if isinstance(kind, list) else kind
    raise KeyError(name)


def _socket(node: dict[str, Any], name: str, kind: str, link: int) -> int:
    """Connect a link to an input, a widget's too; return its number."""
    for at, entry in enumerate(node["inputs"]):
        if entry["name"] == name:
            entry["link"] = link
            return at
    widget = {"name": name, "type": kind, "widget": {"name": name}, "link": link}
    node["inputs"].append(widget)
    return len(node["inputs"]) - 1


def identity(*names: str) -> str:
    """Return a UUID that is the same whenever it is made."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "controlstack/" + "/".join(names)))
