"""Name the row of Control Stack Panel that a node was expanded from, in what that node says.

The panel writes a label beside class and inputs of the nodes of its graph, not among the inputs, so
that ComfyUI's cache does not see it: a row that moved keeps its hint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .progress import running_node

LABEL = "controlstack_row"
"""Key of a node of the expanded graph: what stands before its sentences, "row 2 (file): "."""


def label_of(cls: Any, node: str) -> str:
    """Return the label of a node of the running graph; "" for one that no panel made.

    `cls` is the class of the node that runs, with its hidden `dynprompt`.
    """
    graph = getattr(getattr(cls, "hidden", None), "dynprompt", None)
    if graph is None or not graph.has_node(node):
        return ""
    label = graph.get_node(node).get(LABEL, "")
    return label if isinstance(label, str) else ""


@contextmanager
def named_row(cls: Any) -> Iterator[None]:
    """Put the label of the node that runs before the message of an error that is raised within.

    The error stays the same object: ComfyUI tells interrupts and full memory by their classes.
    """
    try:
        yield
    except Exception as error:
        label = label_of(cls, running_node())
        if label and len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (label + error.args[0],)
        raise
