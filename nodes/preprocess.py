"""Make the preprocessing nodes: one for each row of the catalogue, and one for all of them."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.matching import refuse_other_map, tag
from ..host.panel_labels import named_row
from ..host.progress import preview, progress
from ..host.runtime import networks
from ..preprocessors import CATALOGUE, Param, Preprocessor, catalogue
from ..preprocessors.spec import Port
from .schema import schema

_IMAGE_TIP = "One picture or a batch of frames, any size. Transparent parts become white."
_HINT_TIP = "The hint for a ControlNet. The node shows the first frame of a batch."
_RESOLUTION_TIP = (
    "Short side of the hint in pixels; 0 keeps the picture's size. Its proportions never change."
)


ANY_ALIASES = ("aio", "aux", "aio aux preprocessor", "preprocess", "hint", "annotator")
"""What people type for the node with all methods; those of the methods follow."""
_WIDGETS = {bool: io.Boolean, int: io.Int, float: io.Float, str: io.String}


def widget(param: Param) -> io.Input:
    """Declare ComfyUI's widget for a parameter."""
    declared = {"default": param.default, "tooltip": param.tooltip, "optional": param.is_appended}
    if param.choices:
        return io.Combo.Input(param.name, options=list(param.choices), **declared)
    kind = _WIDGETS[type(param.default)]
    if kind in (io.Int, io.Float):
        declared |= {"min": param.minimum, "max": param.maximum, "step": param.step}
    return kind.Input(param.name, **declared)


def method_options() -> list[io.DynamicCombo.Option]:
    """Declare a choice for every method, each with the method's own parameters."""
    return [io.DynamicCombo.Option(row.key, [*map(widget, row.params)]) for row in CATALOGUE]


def _inputs(row: Preprocessor) -> list[io.Input]:
    """Declare picture, settings, resolution, then optional inputs: this order never changes."""
    first = [widget(param) for param in row.params if not param.is_appended]
    appended = [widget(param) for param in row.params if param.is_appended]
    return [_image(), *first, resolution_input(), *map(_port, row.inputs), *appended]


def _port(port: Port) -> io.Input:
    """Declare ComfyUI's socket for an extra input."""
    return io.Custom(port.kind).Input(
        port.name, optional=not port.is_required, tooltip=port.tooltip
    )


def _output(port: Port) -> io.Output:
    return io.Custom(port.kind).Output(port.name, display_name=port.name, tooltip=port.tooltip)


def _image() -> io.Input:
    return io.Image.Input("image", tooltip=_IMAGE_TIP)


def resolution_input() -> io.Input:
    """Declare the size of hints, the same in every node."""
    return io.Int.Input("resolution", default=0, min=0, max=8192, step=1, tooltip=_RESOLUTION_TIP)


def _hint() -> io.Output:
    return io.Image.Output("hint", display_name="hint", tooltip=_HINT_TIP)


def _run(
    cls: type[io.ComfyNode],
    row: Preprocessor,
    image: Any,
    resolution: int,
    params: dict,
    *,
    outputs: bool = False,
) -> io.NodeOutput:
    """Make the row's hint, and with `outputs` its other outputs too."""
    hint, *others = row.full(
        image, resolution=resolution, progress=progress(), networks=networks, **params
    )
    tag(hint, row, params)
    more = others if outputs else []
    return io.NodeOutput(hint, *more, ui=preview(hint, cls, grey=row.grey))


class _OfRow(io.ComfyNode):
    """The node of a row. `node_of` makes a subclass for each, named by the node's id."""

    row: Preprocessor

    @classmethod
    def define_schema(cls) -> io.Schema:
        row = cls.row
        return schema(
            row.node_id,
            category="Preprocess",
            display_name=row.title,
            description=row.summary,
            search_aliases=[*row.aliases, "preprocessor", "hint"],
            inputs=_inputs(row),
            outputs=[_hint(), *map(_output, row.outputs)],
            hidden=[io.Hidden.dynprompt],
            # ComfyUI then shows the hint again when the node itself was cached
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, image, resolution: int = 0, **params) -> io.NodeOutput:
        with named_row(cls):
            return _run(cls, cls.row, image, resolution, params, outputs=True)


def node_of(row: Preprocessor) -> type[io.ComfyNode]:
    """Make the node class of a row; its name is the node's id, by which it can be pickled."""
    names = {"row": row, "__module__": __name__, "__doc__": row.summary}
    return type(row.node_id, (_OfRow,), names)


class ControlStackPreprocess(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        aliases = (alias for row in CATALOGUE for alias in row.aliases)
        return schema(
            cls.__name__,
            category="Preprocess",
            display_name="Preprocessor (any)",
            description=(
                "Any preprocessor in one node: choose the method, and its own settings appear."
            ),
            search_aliases=list(dict.fromkeys([*ANY_ALIASES, *aliases])),
            inputs=[
                _image(),
                resolution_input(),
                io.DynamicCombo.Input(
                    "method", options=method_options(), tooltip="How the hint is made."
                ),
                io.ControlNet.Input(
                    "control_net",
                    optional=True,
                    tooltip=(
                        "Checks that this ControlNet was trained on the method's hints; otherwise"
                        " an error names the method to choose."
                    ),
                ),
            ],
            outputs=[_hint()],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, image, resolution: int, method: dict, control_net=None) -> io.NodeOutput:
        row = catalogue(method["method"])
        params = {name: value for name, value in method.items() if name != "method"}
        if control_net is not None:
            refuse_other_map(control_net, row, params)
        return _run(cls, row, image, resolution, params)


NODES = [*map(node_of, CATALOGUE), ControlStackPreprocess]
globals().update({node.__name__: node for node in NODES})  # found by name: pickle, importers
