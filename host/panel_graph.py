"""Expand the rows of Control Stack Panel into the pack's nodes, which ComfyUI runs and caches.

Ids of the nodes follow from a row's id and a net's name, not from places: a row that moves, or
whose strength changes, keeps its hint and its net.
"""

# ComfyUI has no types, so strict checking would only list its names.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import folder_paths

from ..control.panel_rows import AUTO, NONE, PanelError, Row, read_panel
from ..control.stack import Stack
from ..control.units import refusals
from ..files import conditions
from ..files.families import Source
from ..preprocessors import CATALOGUE, Preprocessor
from ..preprocessors.spec import refuse_unknown
from .matching import MAPS
from .net_files import PATCHES, identity_of
from .panel_labels import LABEL

Link = list[Any]
"""[id of a node, number of its output]: a connection, as ComfyUI writes it."""
TEXTS = ("schedule", "layers", "union_type")


@dataclass(frozen=True)
class Sockets:
    """What is connected to a panel: links by their number, others by name."""

    images: Mapping[int, Link]
    masks: Mapping[int, Link]
    others: Mapping[str, Link]

    @classmethod
    def of(cls, images: Mapping, masks: Mapping, others: Mapping) -> Sockets:
        """Read the sockets as ComfyUI hands them over: {"image0": link}, {"mask0": link}."""
        return cls(
            numbered(images, "image"),
            numbered(masks, "mask"),
            {name: link for name, link in others.items() if link is not None},
        )


def numbered(sockets: Mapping[str, Any], prefix: str) -> dict[int, Any]:
    """Return what comes by the number of its socket; ComfyUI lists none for unconnected ones."""
    return {int(name.removeprefix(prefix)): value for name, value in sockets.items()}


def refusal(text: Any, images: Mapping[str, Any], masks: Mapping[str, Any]) -> str:
    """Say what is wrong with a panel before anything runs, "" if nothing is known to be."""
    try:
        sockets = Sockets(numbered(images, "image"), numbered(masks, "mask"), {})
        for row in read_panel(text):
            if row.on:
                checked(row, sockets)
    except PanelError as error:
        return str(error)
    return ""


Job = tuple[Row, Preprocessor | None, dict[str, Any]]
"""A row, its preprocessor (None for "none"), and that one's settings."""


def checked(row: Row, sockets: Sockets) -> Job:
    """Return a row with its preprocessor.

    Raises PanelError, naming the row, for a file, socket, method, setting or text that cannot be
    used.
    """
    try:
        _refuse_file(row.net)
        _refuse_sockets(row, sockets)
        if sentences := refusals({name: getattr(row, name) for name in TEXTS}):
            raise ValueError(sentences[0])
        return (row, *_method(row))
    except ValueError as error:
        raise PanelError(row.says(error)) from error


def _refuse_file(net: str) -> None:
    if not net:
        raise ValueError("it has no ControlNet: choose one, or turn the row off")
    folder, file = ("controlnet", net)
    if net.startswith(f"{PATCHES}/"):
        folder, file = PATCHES, net.removeprefix(f"{PATCHES}/")
    is_registered = folder in folder_paths.folder_names_and_paths
    if not is_registered or file not in folder_paths.get_filename_list(folder):
        raise ValueError(
            f"the file is not in models/{folder}: put it there, choose another, or turn the row off"
        )


def _refuse_sockets(row: Row, sockets: Sockets) -> None:
    if row.image not in sockets.images:
        raise ValueError(
            f"nothing is connected to image{row.image}: connect a picture, or choose another socket"
        )
    for name in ("effect_mask", "inpaint_mask"):
        number = getattr(row, name)
        if number is not None and number not in sockets.masks:
            raise ValueError(
                f"{name}: nothing is connected to mask{number}: connect a mask, or choose none"
            )


def _method(row: Row) -> tuple[Preprocessor | None, dict]:
    """Return a row's preprocessor, None for "none", and the settings that it is given."""
    if row.method == NONE:
        return None, {}
    if row.method == AUTO:
        return _taught(row)
    rows = {method.key: method for method in CATALOGUE}
    refuse_unknown("method", row.method, (NONE, AUTO, *rows))
    method = rows[row.method]
    params = {param.name: param for param in method.params}
    for name in row.params:
        if name not in params:
            raise ValueError(
                f"{method.title} has no setting {name!r:.60}: choose from {', '.join(params)}"
            )
    return method, {
        name: param.checked(row.params.get(name, param.default)) for name, param in params.items()
    }


def _taught(row: Row) -> tuple[Preprocessor, dict]:
    """Return the preprocessor whose maps the net of a row was trained on, by header and name."""
    condition = _condition(row)
    if condition is None:
        raise ValueError(
            "method is 'auto', but neither the file nor its name tells which hints this ControlNet"
            " was trained on: choose a method"
        )
    methods = MAPS.get(condition, ())
    if not methods:
        raise ValueError(
            "method is 'auto', but this pack has no method that makes the hints of this ControlNet:"
            " choose 'none' and connect a finished hint"
        )
    by = methods[0].condition_by
    values = {param.name: param.default for param in methods[0].params}
    if by is not None:
        settings = {key: value for value, key in by.conditions.items()}
        values[by.param] = settings.get(condition, values[by.param])
    return methods[0], values


def _condition(row: Row) -> str | None:
    """Tell the condition of a row's net; of a union net it is the one that `union_type` names."""
    identity = identity_of(row.net)
    by_file = conditions.expected(Source(row.net, identity)) if identity else None
    by_file = by_file or (None if identity else conditions.by_name(row.net))
    if by_file is not None:
        return by_file.key
    asked = row.union_type.strip()
    return next(
        (each.key for each in conditions.CONDITIONS if asked in (each.key, each.union_type)), None
    )


# -- the graph -------------------------------------------------------------------------------------


def expand(rows: Sequence[Row], sockets: Sockets) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Return the graph of a panel, and its outputs: stack, positive, negative.

    Raises PanelError, naming the row, for what cannot be used.
    """
    from comfy_execution.graph_utils import GraphBuilder

    positive = sockets.others.get("positive")
    if positive is None and "negative" in sockets.others:
        raise PanelError("positive is not connected, but negative is: connect both, or none")
    graph, labels, stack = GraphBuilder(), dict[str, str](), Stack()
    for row in rows:
        if not row.on:
            _keep(graph, row, sockets)
            continue
        job = checked(row, sockets)
        stack = _add(graph, job, stack, sockets).out(0)
        for name in (add_id(row), hint_id(row), net_id(row.net)):
            labels.setdefault(graph.prefix + name, row.says(""))
    outputs = (stack, positive or [], sockets.others.get("negative", []))
    if positive is not None and not isinstance(stack, Stack):
        apply = graph.node("ControlStackApply", "apply", stack=stack, **sockets.others)
        outputs = (stack, apply.out(0), apply.out(1))
    nodes = graph.finalize()
    for node in nodes.keys() & labels.keys():
        nodes[node][LABEL] = labels[node]
    return nodes, outputs


def net_id(net: str) -> str:
    """Return the id of the node that loads a file, however many rows use it."""
    return f"net.{hashlib.sha256(net.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def hint_id(row: Row) -> str:
    """Return the id of the node that makes a row's hint."""
    return f"row.{row.id}.hint"


def add_id(row: Row) -> str:
    """Return the id of the node that adds a row to the stack."""
    return f"row.{row.id}.add"


def _keep(graph: Any, row: Row, sockets: Sockets) -> None:
    """Add the nodes of a row that is off, connected to nothing.

    They do not run, and ComfyUI goes on caching their results for when it is turned on again.
    """
    with suppress(PanelError):
        job = checked(row, sockets)
        _net(graph, row)
        _hint(graph, job, sockets)


def _net(graph: Any, row: Row) -> Link:
    """Return the link to a row's net."""
    return graph.node("ControlStackLoad", net_id(row.net), control_net_name=row.net).out(0)


def _hint(graph: Any, job: Job, sockets: Sockets) -> Link:
    """Return the link to a row's hint: the picture itself, or what a preprocessor makes of it."""
    row, method, settings = job
    picture = sockets.images[row.image]
    if method is None:
        return picture
    masks = {port.name for port in method.inputs if port.kind == "MASK" and port.is_required}
    if masks and row.inpaint_mask is not None:
        settings = {**settings, **dict.fromkeys(masks, sockets.masks[row.inpaint_mask])}
    return graph.node(
        method.node_id, hint_id(row), image=picture, resolution=row.resolution, **settings
    ).out(0)


def _add(graph: Any, job: Job, stack: Any, sockets: Sockets) -> Any:
    """Return the node that adds a row to the stack."""
    row = job[0]
    links = {} if isinstance(stack, Stack) else {"stack": stack}
    for name in ("effect_mask", "inpaint_mask"):
        if (number := getattr(row, name)) is not None:
            links[name] = sockets.masks[number]
    return graph.node(
        "ControlStackAdd",
        add_id(row),
        control_net=_net(graph, row),
        image=_hint(graph, job, sockets),
        strength=row.strength,
        start_percent=row.start,
        end_percent=row.end,
        **{name: getattr(row, name) for name in ("mode", "fit", *TEXTS)},
        **links,
    )
