"""Turn a workflow as the frontend saves it into the prompt that it would queue.

Only what our example workflows use: plain widgets, links, notes, and subgraphs without inputs. No
reroute or primitive; a browser test compares it with the frontend's own `graphToPrompt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PLAIN = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
MUTED, BYPASSED = 2, 4


def to_prompt(workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API form of a UI-form workflow; `object_info` is ComfyUI's.

    Raises KeyError for a node type that ComfyUI lacks.
    """
    prompt = {}
    for node, sources in _nodes(workflow):
        if node["type"] in ("Note", "MarkdownNote") or node.get("mode") in (MUTED, BYPASSED):
            continue
        declared = object_info[node["type"]]
        links = {
            i["name"]: sources[i["link"]]
            for i in node.get("inputs", [])
            if i.get("link") is not None
        }
        widgets = dict(widgets_of(declared["input"], node.get("widgets_values") or []))
        inputs = {
            name: value for name, value in widgets.items() if not name.startswith("*")
        } | links
        title = node.get("title") or declared["display_name"] or node["type"]
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": inputs,
            "_meta": {"title": title},
        }
    return prompt


Sources = Mapping[int, list[Any]]
"""By the id of a link: the node and the output that it comes from."""


def _nodes(workflow: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Sources]]:
    """Go through all nodes, those of subgraphs under the ids that ComfyUI runs them by."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    inside = {each["id"]: each for each in workflow.get("definitions", {}).get("subgraphs", [])}
    outer = {str(node["id"]): node["type"] for node in workflow["nodes"]}
    for link, (origin, slot) in sources.items():
        if inner := inside.get(outer[origin]):
            (leaving,) = inner["outputs"][slot]["linkIds"]
            row = next(row for row in inner["links"] if row["id"] == leaving)
            sources[link] = [f"{origin}:{row['origin_id']}", row["origin_slot"]]
    for node in workflow["nodes"]:
        if inner := inside.get(node["type"]):
            within = {
                row["id"]: [f"{node['id']}:{row['origin_id']}", row["origin_slot"]]
                for row in inner["links"]
            }
            yield from (
                ({**each, "id": f"{node['id']}:{each['id']}"}, within) for each in inner["nodes"]
            )
        else:
            yield node, sources


def widgets_of(inputs: Mapping[str, Any], values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Pair the inputs that are widgets with `values`, which are in the order of `widgets_values`.

    The frontend's own companions begin with a star; what a dynamic combo's choice brings follows
    it, as `combo.input`.
    """
    left = iter(values)
    yield from _widgets(inputs, left, "")


def _widgets(
    inputs: Mapping[str, Any], left: Iterator[Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    for group in ("required", "optional"):
        for name, declared in inputs.get(group, {}).items():
            kind, options = declared[0], declared[1] if len(declared) > 1 else {}
            # `widgetType` names the widget of an input that takes several types.
            widget = "COMBO" if isinstance(kind, list) else options.get("widgetType", kind)
            if options.get("forceInput") or widget not in PLAIN | {DYNAMIC}:
                continue
            if (value := next(left, left)) is left:
                return
            yield prefix + name, value
            if kind == DYNAMIC:
                chosen = next(choice for choice in options["options"] if choice["key"] == value)
                yield from _widgets(chosen["inputs"], left, f"{name}.")
            if options.get("control_after_generate", name in ("seed", "noise_seed")):
                yield f"*{name} after generating", next(left, None)
            if options.get("image_upload"):
                yield f"*{name} upload", next(left, None)
