"""Turn a workflow as the frontend saves it into the prompt that it would queue.

Only what our example workflows use: plain widgets, links and notes. No subgraph, reroute or
primitive; a browser test compares it with the frontend's own `graphToPrompt`.
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
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
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
        title = node.get("title") or declared["display_name"]
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": inputs,
            "_meta": {"title": title},
        }
    return prompt


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
