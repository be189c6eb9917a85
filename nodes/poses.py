"""Draw people from keypoints, save keypoints, and load them."""

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
from ..preprocessors import skeleton
from ..preprocessors.keypoints import SEEN_SCORE, KeypointError, dumps, encode, loads, parse
from ..preprocessors.tracks import steady
from .schema import schema

PoseKeypoint = io.Custom("POSE_KEYPOINT")
_KEYPOINT_TIP = "Keypoints from any node, in pixels or fractions; one frame or a clip."


def _count(name: str, tooltip: str, default: int = 0, highest: int = 100, **more: Any) -> io.Input:
    return io.Int.Input(name, default=default, min=0, max=highest, tooltip=tooltip, **more)


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
                io.Boolean.Input("body", default=True, tooltip="Draw limbs and joints."),
                io.Boolean.Input("hands", default=True, tooltip="Draw hands."),
                io.Boolean.Input("face", default=True, tooltip="Draw faces."),
                io.Combo.Input(
                    "stick_width",
                    options=list(skeleton.STICK_WIDTHS),
                    default="auto",
                    tooltip=(
                        "auto: 4 pixels up to a short side of 512, growing with it. 4: as"
                        " ControlNet's own nets were trained. xinsir: as xinsir's SDXL nets were."
                    ),
                ),
                _count(
                    "width",
                    "Width of the hint in pixels; 0 takes the keypoints' own canvas.",
                    highest=8192,
                ),
                _count(
                    "height",
                    "Height of the hint in pixels; 0 takes the keypoints' own canvas.",
                    highest=8192,
                ),
                io.Float.Input(
                    "score_threshold",
                    default=SEEN_SCORE,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Points with a lower score are left out.",
                ),
                _count(
                    "people",
                    "Keep this many, the largest and longest seen. 0 = all.",
                    optional=True,
                ),
                io.Float.Input(
                    "smooth_frames",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    optional=True,
                    tooltip="Blur joints over time, standard deviation in frames. 0 = off.",
                ),
                _count(
                    "fill_frames",
                    "Fill gaps of up to this many frames in a straight line. 0 = off.",
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
        frames = parse(pose_keypoint)
        for frame in frames:
            frame.people[frame.people[..., 2] < score_threshold] = 0
        if people or smooth_frames or fill_frames:
            frames = steady(
                frames, people=people, smooth_frames=smooth_frames, fill_frames=fill_frames
            )
        hint = skeleton.draw(
            frames,
            height or frames[0].height_px,
            width or frames[0].width_px,
            body=body,
            hands=hands,
            face=face,
            stick_width=stick_width,
            seen_score=0.0,
            progress=progress(),
        )
        return io.NodeOutput(hint, encode(frames), ui=preview(hint, cls))


class ControlStackSavePose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls.__name__,
            category="Pose",
            display_name="Save Pose",
            description=(
                "Writes keypoints as a JSON file into ComfyUI's output folder: every frame, in"
                " pixels."
            ),
            search_aliases=["save keypoints", "openpose json", "export pose"],
            inputs=[
                PoseKeypoint.Input("pose_keypoint", tooltip=_KEYPOINT_TIP),
                io.String.Input(
                    "filename_prefix",
                    default="pose/ControlStack",
                    tooltip=(
                        "Beginning of the file's name, folders of the output folder before it; a"
                        " number follows."
                    ),
                ),
            ],
            outputs=[
                io.String.Output(
                    "file", display_name="file", tooltip="The name to give to Load Pose."
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, pose_keypoint, filename_prefix: str) -> io.NodeOutput:
        text = dumps(parse(pose_keypoint))
        root = Path(folder_paths.get_output_directory())
        path = write_keypoint_file(root, filename_prefix, text)
        name = path.relative_to(root.resolve()).as_posix()
        remark = f"{name} in the output folder"
        say(remark)
        return io.NodeOutput(name + OUTPUT_MARK, ui={"text": [remark]})


class ControlStackLoadPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            cls.__name__,
            category="Pose",
            display_name="Load Pose",
            description=(
                "Reads keypoints from a JSON file in ComfyUI's input folder, or from one that was"
                " saved."
            ),
            search_aliases=["load keypoints", "openpose json", "import pose"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=list_keypoint_files(),
                    tooltip=(
                        "A .json file of the input folder, or of the output folder (those end in"
                        " [output])."
                    ),
                )
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
    def fingerprint_inputs(cls, file: str) -> str:
        stat = keypoint_file(file).stat()
        return f"{stat.st_mtime_ns}-{stat.st_size}"

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        try:
            return io.NodeOutput(encode(loads(keypoint_file(file).read_bytes())))
        except KeypointError as error:
            raise KeypointError(f"{file}: {error}") from error


NODES = [ControlStackDrawPose, ControlStackSavePose, ControlStackLoadPose]
