"""Nodes that draw, save and load keypoints of people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..host.keypoint_files import (
    OUTPUT_MARK,
    keypoint_file,
    list_keypoint_files,
    write_keypoint_file,
)
from ..host.progress import preview, progress, say
from ..preprocessors.images import MAX_SIDE_PX
from ..preprocessors.keypoints import SEEN_SCORE, KeypointError, dumps, encode, loads, parse
from ..preprocessors.skeleton import MOST_PX, STICK_WIDTHS, draw_keypoints
from .schema import schema

PoseKeypoint = io.Custom("POSE_KEYPOINT")
_KEYPOINT_TIP = (
    "Keypoints from any node with POSE_KEYPOINT, in pixels or fractions; one frame or a clip."
)


def _count(
    name: str, tooltip: str, default: int = 0, maximum: int = 100, **options: Any
) -> io.Input:
    return io.Int.Input(name, default=default, min=0, max=maximum, tooltip=tooltip, **options)


def _picture_side(name: str) -> io.Input:
    """Declare a side of the canvas for files that state none."""
    return _count(
        name,
        f"The picture's {name} in pixels, for files that do not state it, such as those of"
        " OpenPose's own program. 0 = as the file states.",
        maximum=MAX_SIDE_PX,
        optional=True,
    )


def _drawing_inputs() -> list[io.Input]:
    """Declare which parts are drawn, and how broad."""
    return [
        io.Boolean.Input(
            "body", default=True, tooltip="Limbs and joints, in the hint and in POSE_KEYPOINT."
        ),
        io.Boolean.Input("hands", default=True, tooltip="Hands, in the hint and in POSE_KEYPOINT."),
        io.Boolean.Input("face", default=True, tooltip="Faces, in the hint and in POSE_KEYPOINT."),
        io.Combo.Input(
            "stick_width",
            options=list(STICK_WIDTHS),
            default="auto",
            tooltip=(
                "auto: 4 pixels up to a short side of 512, then growing with it. 4: as for"
                " ControlNet's own nets. xinsir: as for xinsir's SDXL nets."
            ),
        ),
    ]


def _canvas_inputs() -> list[io.Input]:
    """Declare the canvas, and the score from which points are drawn."""
    return [
        _count(
            "width",
            "Width of the hint in pixels. 0 = the width of the keypoints' canvas.",
            maximum=MOST_PX,
        ),
        _count(
            "height",
            "Height of the hint in pixels. 0 = the height of the keypoints' canvas.",
            maximum=MOST_PX,
        ),
        io.Float.Input(
            "score_threshold",
            default=SEEN_SCORE,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Points with a lower score are left out.",
        ),
    ]


class ControlStackDrawPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls.__name__,
            category="Pose",
            display_name="Draw Pose",
            description=(
                "Draws keypoints as the skeletons that openpose ControlNets were trained on, at any"
                " size."
            ),
            search_aliases=[
                "openpose",
                "skeleton",
                "render pose",
                "keypoints",
                "draw keypoints",
                "sdpose",
            ],
            inputs=[
                PoseKeypoint.Input("pose_keypoint", tooltip=_KEYPOINT_TIP),
                *_drawing_inputs(),
                *_canvas_inputs(),
                _count(
                    "people",
                    "Keep this many people, the largest and longest visible. 0 = all.",
                    optional=True,
                ),
                io.Float.Input(
                    "smooth_frames",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    optional=True,
                    tooltip="Smooth joints over time, standard deviation in frames. 0 = off.",
                ),
                _count(
                    "fill_frames",
                    "Fill gaps of up to this many frames by linear interpolation. 0 = off.",
                    optional=True,
                ),
            ],
            outputs=[
                io.Image.Output("hint", display_name="hint", tooltip="The hint for a ControlNet."),
                PoseKeypoint.Output(
                    "POSE_KEYPOINT", display_name="POSE_KEYPOINT", tooltip="The people as drawn."
                ),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        pose_keypoint,
        body: bool,
        hands: bool,
        face: bool,
        stick_width: str,
        width: int,
        height: int,
        score_threshold: float,
        people: int = 0,
        smooth_frames: float = 0.0,
        fill_frames: int = 0,
    ) -> io.NodeOutput:
        hint, drawn = draw_keypoints(
            pose_keypoint,
            width_px=width,
            height_px=height,
            score_threshold=score_threshold,
            people=people,
            smooth_frames=smooth_frames,
            fill_frames=fill_frames,
            body=body,
            hands=hands,
            face=face,
            stick_width=stick_width,
            progress=progress(),
        )
        return io.NodeOutput(hint, drawn, ui=preview(hint, cls))


class ControlStackSavePose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls.__name__,
            category="Pose",
            display_name="Save Pose",
            description=(
                "Writes all frames of keypoints as a JSON file into ComfyUI's output folder, in"
                " pixels."
            ),
            search_aliases=["save keypoints", "openpose json", "export pose"],
            inputs=[
                PoseKeypoint.Input("pose_keypoint", tooltip=_KEYPOINT_TIP),
                io.String.Input(
                    "filename_prefix",
                    default="pose/ControlStack",
                    tooltip=(
                        "Beginning of the file's name, with folders below the output folder if"
                        " wanted; a number is appended."
                    ),
                ),
            ],
            outputs=[
                io.String.Output(
                    "file", display_name="file", tooltip="The name to choose in Load Pose."
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, pose_keypoint, filename_prefix: str) -> io.NodeOutput:
        root = Path(folder_paths.get_output_directory())
        path = write_keypoint_file(root, filename_prefix, dumps(parse(pose_keypoint)))
        name = path.relative_to(root.resolve()).as_posix()
        message = f"saved as {name} in the output folder"
        say(message)
        return io.NodeOutput(name + OUTPUT_MARK, ui={"text": [message]})


class ControlStackLoadPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls.__name__,
            category="Pose",
            display_name="Load Pose",
            description=(
                "Reads keypoints from a JSON file in ComfyUI's input folder, or from a saved one"
                " in its output folder."
            ),
            search_aliases=["load keypoints", "openpose json", "import pose"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=list_keypoint_files(),
                    tooltip=(
                        "A .json file in the input folder, in the output folder (its name then ends"
                        " in [output]), or of this pack ([controlstack])."
                    ),
                ),
                *(_picture_side(name) for name in ("width", "height")),
            ],
            outputs=[PoseKeypoint.Output("POSE_KEYPOINT", display_name="POSE_KEYPOINT")],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        try:
            keypoint_file(file)
        except KeypointError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str, **_size: int) -> str:
        stat = keypoint_file(file).stat()
        return f"{stat.st_mtime_ns}-{stat.st_size}"

    @classmethod
    def execute(cls, file: str, width: int = 0, height: int = 0) -> io.NodeOutput:
        text = keypoint_file(file).read_bytes()
        try:
            return io.NodeOutput(encode(loads(text, width_px=width, height_px=height)))
        except KeypointError as error:
            raise KeypointError(f"{file}: {error}") from error


NODES = [ControlStackDrawPose, ControlStackSavePose, ControlStackLoadPose]
