"""The preprocessing nodes: one for each row of the catalogue, and one that offers them all."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.matching import refuse_other_map, tag
from ..host.progress import preview, progress
from ..host.runtime import networks
from ..preprocessors import CATALOGUE, Param, Preprocessor, catalogue
from ..preprocessors.spec import Port
from .schema import schema

_IMAGE_TIP = "One picture or a batch of frames, any size. Transparency is laid over white."
_HINT_TIP = "The map to give to a ControlNet. Of a batch, the node shows the first frame."
_RESOLUTION_TIP = (
    "Short side of the hint in pixels; 0 keeps the picture's size. The shape is kept either way."
)


def _input(param: Param, *, optional: bool = False) -> io.Input:
    """The host's widget for a parameter."""
    declared = {"default": param.default, "tooltip": param.tooltip, "optional": param.is_appended}
    if param.choices:
        return io.Combo.Input(param.name, options=list(param.choices), **declared)
    kind = {bool: io.Boolean, int: io.Int, float: io.Float, str: io.String}[type(param.default)]
    bounded = (
        {"min": param.minimum, "max": param.maximum, "step": param.step}
        if kind in (io.Int, io.Float)
        else {}
    )
    return kind.Input(param.name, **declared, **bounded)


def _inputs(row: Preprocessor) -> list[io.Input]:
    """Picture, settings, resolution, then what is optional: in this order for good."""
    first = [_input(param) for param in row.params if not param.is_appended]
    appended = [_input(param) for param in row.params if param.is_appended]
    return [_image(), *first, _resolution(), *map(_port, row.inputs), *appended]


def _port(port: Port) -> io.Input:
    """The host's socket for an extra input."""
    return io.Custom(port.kind).Input(
        port.name, optional=not port.is_required, tooltip=port.tooltip
    )


def _output(port: Port) -> io.Output:
    return io.Custom(port.kind).Output(port.name, display_name=port.name, tooltip=port.tooltip)


def _image() -> io.Input:
    return io.Image.Input("image", tooltip=_IMAGE_TIP)


def _resolution() -> io.Input:
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
    """The row's hint, and with `outputs` what else it gives."""
    made = row.full(image, resolution=resolution, progress=progress(), networks=networks, **params)
    tag(made[0], row.key, params)
    return io.NodeOutput(*(made if outputs else made[:1]), ui=preview(made[0], cls, grey=row.grey))


class _OfCatalogue(io.ComfyNode):
    """A node for the row named `key`; its id is the class's name."""

    key: str

    @classmethod
    def define_schema(cls) -> io.Schema:
        row = catalogue(cls.key)
        return schema(
            cls.__name__,
            category="Preprocess",
            display_name=row.title,
            description=row.summary,
            search_aliases=[*row.aliases, "preprocessor", "hint"],
            inputs=_inputs(row),
            outputs=[_hint(), *map(_output, row.outputs)],
            # the host then shows the hint again when the node itself was cached
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, image, resolution: int = 0, **params) -> io.NodeOutput:
        return _run(cls, catalogue(cls.key), image, resolution, params, outputs=True)


class ControlStackCanny(_OfCatalogue):
    key = "canny"


class ControlStackScribble(_OfCatalogue):
    key = "scribble"


class ControlStackXDoG(_OfCatalogue):
    key = "xdog"


class ControlStackLineart(_OfCatalogue):
    key = "lineart"


class ControlStackHED(_OfCatalogue):
    key = "hed"


class ControlStackSoftEdge(_OfCatalogue):
    key = "softedge"


class ControlStackFakeScribble(_OfCatalogue):
    key = "fake_scribble"


class ControlStackMLSD(_OfCatalogue):
    key = "mlsd"


class ControlStackLineartAnime(_OfCatalogue):
    key = "lineart_anime"


class ControlStackSegmentation(_OfCatalogue):
    key = "segmentation"


class ControlStackTile(_OfCatalogue):
    key = "tile"


class ControlStackShuffle(_OfCatalogue):
    key = "shuffle"


class ControlStackColorGrid(_OfCatalogue):
    key = "color_grid"


class ControlStackRecolor(_OfCatalogue):
    key = "recolor"


class ControlStackBrightness(_OfCatalogue):
    key = "brightness"


class ControlStackInpaintHint(_OfCatalogue):
    key = "inpaint_hint"


class ControlStackDepth(_OfCatalogue):
    key = "depth"


class ControlStackNormal(_OfCatalogue):
    key = "normal"


class ControlStackPose(_OfCatalogue):
    key = "pose"


class ControlStackPreprocess(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        options = [io.DynamicCombo.Option(row.key, [*map(_input, row.params)]) for row in CATALOGUE]
        aliases = (alias for row in CATALOGUE for alias in row.aliases)
        return schema(
            cls.__name__,
            category="Preprocess",
            display_name="Preprocess (any)",
            description=(
                "Any preprocessor in one node: choose the method, and its own settings appear."
            ),
            search_aliases=list(dict.fromkeys(["preprocessor", "hint", "annotator", *aliases])),
            inputs=[
                _image(),
                _resolution(),
                io.DynamicCombo.Input(
                    "method", options=options, tooltip="How the picture becomes a hint."
                ),
                io.ControlNet.Input(
                    "control_net",
                    optional=True,
                    tooltip=(
                        "Checks that this net was trained on the method's maps, and names the right"
                        " one if not."
                    ),
                ),
            ],
            outputs=[_hint()],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, image, resolution: int, method: dict, control_net=None) -> io.NodeOutput:
        params = {name: value for name, value in method.items() if name != "method"}
        if control_net is not None:
            refuse_other_map(control_net, method["method"], params)
        return _run(cls, catalogue(method["method"]), image, resolution, params)


NODES = [
    ControlStackCanny,
    ControlStackScribble,
    ControlStackXDoG,
    ControlStackLineart,
    ControlStackHED,
    ControlStackSoftEdge,
    ControlStackFakeScribble,
    ControlStackMLSD,
    ControlStackLineartAnime,
    ControlStackSegmentation,
    ControlStackTile,
    ControlStackShuffle,
    ControlStackColorGrid,
    ControlStackRecolor,
    ControlStackBrightness,
    ControlStackInpaintHint,
    ControlStackDepth,
    ControlStackNormal,
    ControlStackPose,
    ControlStackPreprocess,
]
