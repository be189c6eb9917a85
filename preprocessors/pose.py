"""Find people by one of several engines, or take connected keypoints, and draw their skeletons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .detect_openpose import detect as detect_bottom_up
from .detect_topdown import Detector, Estimator, detr_boxes, simcc_points, vit_points, yolox_boxes
from .detect_topdown import detect as detect_top_down
from .images import rgb8, size_of
from .keypoints import SEEN_SCORE, Frame, encode, only, parse, scored
from .nets import dwpose, vitpose
from .nets import openpose as openpose_nets
from .skeleton import STICK_WIDTHS, draw
from .spec import (
    ANNOTATORS,
    ANNOTATORS_COMMIT,
    Networks,
    Param,
    Port,
    Preprocessor,
    Progress,
    Weights,
    refuse_unknown,
    required,
)
from .tracks import steady

_CMU = "CMU's OpenPose licence: non-commercial research use only"

DETECTOR = Weights(
    file="rtdetr_r18vd.safetensors",
    repo="PekingU/rtdetr_r18vd",
    remote="model.safetensors",
    module=vitpose.detector,
    renamed=vitpose.renamed_for(vitpose.detector, vitpose.detector_config),
    licence="Apache-2.0",
    half=False,
)
VITPOSE = Weights(
    file="vitpose-base-simple.safetensors",
    repo="usyd-community/vitpose-base-simple",
    revision="a93ac0c67e0b7e2c55287d21d4c460c8f3c54d45",
    sha256="85375373893ddd3641f3912821073e53f5435f9e966e1dca59d004454bfe4fdf",
    remote="model.safetensors",
    module=vitpose.pose,
    renamed=vitpose.renamed_for(vitpose.pose, vitpose.pose_config),
    licence="Apache-2.0",
    half=False,
    beside=(DETECTOR,),
)
YOLOX = Weights(
    file="yolox_l.torchscript.pt",
    repo="hr16/yolox-onnx",
    revision="a124b32c3b7c5cebda1c7cd96178f0f9d2050125",
    sha256="80bc14b13c260c24b3014cd42c02994bf52296ab8fa2d80a60b6afe08c93ef42",
    size_bytes=217_697_649,
    module=dwpose.YoloxStandIn,
    opened=dwpose.torchscript,
    licence="Apache-2.0",
    half=False,
)
DWPOSE = Weights(
    file="dw-ll_ucoco_384_bs5.torchscript.pt",
    repo="hr16/DWPose-TorchScript-BatchSize5",
    revision="359d662a9b33b73f6d0f21732baf8845f17bb4be",
    module=dwpose.PoseStandIn,
    opened=dwpose.torchscript,
    licence="Apache-2.0",
    sha256="d86a0b2b59fddc0901a7076e9f59c9f8602602133ed72511c693fd11eea23d91",
    size_bytes=135_059_124,
    half=False,
    beside=(YOLOX,),
)
YOLOX_ONNX = Weights(
    file="yolox_l.onnx",
    repo="yzd-v/DWPose",
    revision="1a7144101628d69ee7a3768d1ee3a094070dc388",
    module=dwpose.YoloxStandIn,
    opened=dwpose.onnx,
    package=dwpose.ONNX_RUNTIME,
    licence="Apache-2.0",
    sha256="7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
    size_bytes=216_746_733,
    half=False,
)
DWPOSE_ONNX = Weights(
    file="dw-ll_ucoco_384.onnx",
    repo="yzd-v/DWPose",
    revision="1a7144101628d69ee7a3768d1ee3a094070dc388",
    module=dwpose.PoseStandIn,
    opened=dwpose.onnx,
    package=dwpose.ONNX_RUNTIME,
    licence="Apache-2.0",
    sha256="724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
    size_bytes=134_399_116,
    half=False,
    beside=(YOLOX_ONNX,),
)
HAND = Weights(
    file="hand_pose_model.pth",
    repo=ANNOTATORS,
    revision=ANNOTATORS_COMMIT,
    module=openpose_nets.HandNet,
    licence=_CMU,
    restricted=True,
    sha256="b76b00d1750901abd07b9f9d8c98cc3385b8fe834a26d4b4f0aad439e75fc600",
    half=False,
)
FACE = Weights(
    file="facenet.pth",
    repo=ANNOTATORS,
    revision=ANNOTATORS_COMMIT,
    module=openpose_nets.FaceNet,
    licence=_CMU,
    restricted=True,
    sha256="8beb52e548624ffcc4aed12af7aee7dcbfaeea420c75609fee999fe7add79d43",
    size_bytes=153_718_792,
    half=False,
)
BODY = Weights(
    file="body_pose_model.pth",
    repo=ANNOTATORS,
    revision=ANNOTATORS_COMMIT,
    module=openpose_nets.BodyNet,
    licence=_CMU,
    restricted=True,
    sha256="25a948c16078b0f08e236bda51a385d855ef4c153598947c28c0d47ed94bb746",
    size_bytes=209_267_595,
    half=False,
    beside=(HAND, FACE),
)
WEIGHTS: Mapping[str, Weights] = {
    "vitpose": VITPOSE,
    "dwpose": DWPOSE,
    "dwpose_onnx": DWPOSE_ONNX,
    "openpose": BODY,
}
KEYPOINTS = "keypoints"
ENGINES = (*WEIGHTS, KEYPOINTS)
_DETECTORS: Mapping[str, tuple[Detector, Estimator]] = {
    "vitpose": (detr_boxes, vit_points),
    "dwpose": (yolox_boxes, simcc_points),
    "dwpose_onnx": (yolox_boxes, simcc_points),
}


def pose(
    image: Tensor,
    *,
    engine: str = "vitpose",
    body: bool = True,
    hands: bool = True,
    face: bool = True,
    stick_width: str = "auto",
    people: int = 0,
    smooth_frames: float = 0.0,
    fill_frames: int = 0,
    score_threshold: float = SEEN_SCORE,
    pose_keypoint: object = None,
    resolution: int = 0,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Draw the skeletons of people (B,h,w,3) in [0,1], and return the people drawn.

    People are detected in pictures (B,H,W,C) in [0,1] at the hint's size and drawn at that size,
    which is the canvas of POSE_KEYPOINT. Engine "keypoints" detects nobody: it draws
    `pose_keypoint`, one frame for each picture or one for all. "vitpose" finds bodies, the others
    hands and faces too. Points below `score_threshold` are dropped ("openpose" has thresholds of
    its own). `people`, `smooth_frames` and `fill_frames` are those of `tracks.steady`.
    """
    refuse_unknown("pose engine", engine, ENGINES)
    size, count = size_of(image, resolution), len(image)
    if engine == KEYPOINTS:
        frames = [
            Frame(scored(frame.people, score_threshold), *size)
            for frame in connected(pose_keypoint, count, *size)
        ]
    else:
        frames = detected(
            image,
            engine=engine,
            hands=hands,
            face=face,
            score_threshold=score_threshold,
            resolution=resolution,
            progress=progress,
            networks=networks,
        )
    # Connected keypoints keep their order unless one of these settings is used.
    if people or smooth_frames or fill_frames or (count > 1 and engine != KEYPOINTS):
        frames = steady(frames, people=people, smooth_frames=smooth_frames, fill_frames=fill_frames)
    frames = only(frames, body=body, hands=hands, face=face)
    drawing = progress if engine == KEYPOINTS else _all_done(progress)
    hint = draw(frames, *size, stick_width=stick_width, seen_score=0.0, progress=drawing)
    return hint.to(image.device), encode(frames)


def connected(pose_keypoint: object, count: int, height_px: int, width_px: int) -> list[Frame]:
    """Return the connected keypoints for `count` pictures of that size.

    Raises ValueError unless there is one frame for each picture, or one for all.
    """
    if pose_keypoint is None:
        raise ValueError(
            "the engine keypoints draws a connected pose_keypoint: connect one, or choose another"
            " engine"
        )
    frames = parse(pose_keypoint)
    if len(frames) == 1:
        frames *= count
    if len(frames) != count:
        raise ValueError(
            f"pose_keypoint has {len(frames)} frames and image has {count}: connect one frame for"
            " each picture, or one for all"
        )
    return [on_canvas(frame, height_px, width_px) for frame in frames]


def on_canvas(frame: Frame, height_px: int, width_px: int) -> Frame:
    """Stretch the people to a canvas of another size."""
    if (frame.height_px, frame.width_px) == (height_px, width_px):
        return frame
    scale = (width_px / frame.width_px, height_px / frame.height_px, 1)
    return Frame(frame.people * scale, height_px, width_px)


GROUP = 16
"""Frames that are detected together: the inputs of their networks are in memory at once."""


def detected(
    image: Tensor,
    *,
    engine: str,
    hands: bool,
    face: bool,
    score_threshold: float,
    resolution: int,
    progress: Progress | None,
    networks: Networks | None,
) -> list[Frame]:
    """Detect the people of every picture, some frames at a time."""
    weights = WEIGHTS[engine]
    networks = required(networks, weights)
    people = list[Frame]()
    for first in range(0, len(image), GROUP):
        frames = rgb8(image[first : first + GROUP], resolution)
        shares = [
            _share(progress, first, len(frames), len(image), stage) for stage in range(STAGES)
        ]
        if engine == "openpose":
            files = (BODY, HAND, FACE)
            people += detect_bottom_up(
                frames, networks, files, hands=hands, face=face, progress=shares[0]
            )
        else:
            files = (weights.beside[0], weights)
            people += detect_top_down(
                frames,
                networks,
                files,
                _DETECTORS[engine],
                (shares[0], shares[1]),
                score_threshold=score_threshold,
            )
    if progress:
        progress(len(image), len(image))
    return people


def _all_done(progress: Progress | None) -> Progress | None:
    """Report that all is done, at every frame: the work can still be stopped."""
    if progress is None:
        return None

    def report(_done: int, total: int) -> None:
        progress(total, total)

    return report


STAGES = 2
"""Boxes and points, or bodies and the rest."""


def _share(
    progress: Progress | None, first: int, count: int, whole: int, stage: int
) -> Progress | None:
    """Map the progress of one stage, on `count` frames from `first` on, to the whole batch."""
    if progress is None:
        return None

    def report(done: int, total: int) -> None:
        progress(first + count * (stage * total + done) // (STAGES * max(1, total)), whole)

    return report


ROWS = (
    Preprocessor(
        key="pose",
        node_id="ControlStackPose",
        title="Human Pose (OpenPose)",
        summary=(
            "People as coloured skeletons on black, for openpose ControlNets, and as keypoints."
        ),
        run=pose,
        params=(
            Param(
                "engine",
                "vitpose",
                "vitpose: bodies. dwpose: bodies, hands and faces (TorchScript files). dwpose_onnx:"
                " the same as ONNX, needs onnxruntime. openpose: the original one,"
                " non-commercial. keypoints: draws the connected ones.",
                choices=ENGINES,
            ),
            Param("body", True, "Limbs and joints, in the hint and in POSE_KEYPOINT."),
            Param("hands", True, "Hands, where the engine finds them; in POSE_KEYPOINT too."),
            Param("face", True, "Faces, where the engine finds them; in POSE_KEYPOINT too."),
            Param(
                "stick_width",
                "auto",
                "auto: 4 pixels up to a short side of 512, then growing with it. 4: as for"
                " ControlNet's own nets. xinsir: as for xinsir's SDXL nets.",
                choices=STICK_WIDTHS,
            ),
            Param(
                "people",
                0,
                "Keep this many people, the largest and longest visible. 0 = all.",
                0,
                100,
                is_appended=True,
            ),
            Param(
                "smooth_frames",
                0.0,
                "Smooth joints over time, standard deviation in frames. 0 = off.",
                0,
                30,
                0.1,
                is_appended=True,
            ),
            Param(
                "fill_frames",
                0,
                "Fill gaps of up to this many frames by linear interpolation. 0 = off.",
                0,
                100,
                is_appended=True,
            ),
            Param(
                "score_threshold",
                SEEN_SCORE,
                "Points with a lower score (0-1) are left out, of the hint and of POSE_KEYPOINT."
                " Lower finds more of people who are half hidden. Engine openpose has its own.",
                0,
                1,
                0.01,
                is_appended=True,
            ),
        ),
        conditions=("pose",),
        aliases=("pose", "openpose", "dwpose", "vitpose", "skeleton", "keypoints"),
        grey=False,
        weights=WEIGHTS,
        inputs=(
            Port(
                "pose_keypoint",
                "POSE_KEYPOINT",
                "Drawn by the engine keypoints. One frame for all pictures, or one for each.",
            ),
        ),
        outputs=(
            Port("POSE_KEYPOINT", "POSE_KEYPOINT", "The people as drawn, in pixels of the hint."),
        ),
    ),
)
