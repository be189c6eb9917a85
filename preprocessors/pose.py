"""Human pose: people found by one of several engines, or taken from connected keypoints, and drawn
as skeletons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .detect_openpose import detect as detect_bottom_up
from .detect_topdown import Detector, Estimator, detr_boxes, simcc_points, vit_points, yolox_boxes
from .detect_topdown import detect as detect_top_down
from .images import rgb8, size_of
from .keypoints import Frame, encode, parse
from .nets import dwpose, vitpose
from .nets import openpose as openpose_nets
from .skeleton import draw
from .spec import Networks, Progress, Weights
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
    module=dwpose.YoloxStandIn,
    opened=dwpose.torchscript,
    licence="Apache-2.0",
    half=False,
)
DWPOSE = Weights(
    file="dw-ll_ucoco_384_bs5.torchscript.pt",
    repo="hr16/DWPose-TorchScript-BatchSize5",
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
    repo="lllyasviel/Annotators",
    module=openpose_nets.HandNet,
    licence=_CMU,
    restricted=True,
    sha256="b76b00d1750901abd07b9f9d8c98cc3385b8fe834a26d4b4f0aad439e75fc600",
    half=False,
)
FACE = Weights(
    file="facenet.pth",
    repo="lllyasviel/Annotators",
    module=openpose_nets.FaceNet,
    licence=_CMU,
    restricted=True,
    sha256="8beb52e548624ffcc4aed12af7aee7dcbfaeea420c75609fee999fe7add79d43",
    size_bytes=153_718_792,
    half=False,
)
BODY = Weights(
    file="body_pose_model.pth",
    repo="lllyasviel/Annotators",
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
_FINDERS: Mapping[str, tuple[Detector, Estimator]] = {
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
    pose_keypoint: object = None,
    resolution: int = 0,
    networks: Networks | None = None,
    progress: Progress | None = None,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """(B,H,W,C) in [0,1] → the skeletons (B,h,w,3) in [0,1], and POSE_KEYPOINT with h and w as its
    canvas.

    The people are looked for in the picture at its hint's size and drawn at that size. Engine
    "keypoints" looks for nobody: it draws `pose_keypoint`, one frame for each picture or one for
    all. "vitpose" finds bodies, the others hands and faces too. `people`, `smooth_frames` and
    `fill_frames` are as in `tracks.steady`.
    """
    if engine not in ENGINES:
        raise ValueError(f"there is no pose engine {engine!r}: choose one of {', '.join(ENGINES)}")
    size, count = size_of(image, resolution), len(image)
    if engine == KEYPOINTS:
        found = connected(pose_keypoint, count, *size)
    else:
        found = _found(engine, image, resolution, networks, hands, face, progress)
    # Connected keypoints keep the order that somebody gave them, unless something is asked for.
    if people or smooth_frames or fill_frames or (count > 1 and engine != KEYPOINTS):
        found = steady(found, people=people, smooth_frames=smooth_frames, fill_frames=fill_frames)
    # Where networks have run, the bar is full already; it is told so at every frame, to be stopped
    # still.
    drawing = progress if engine == KEYPOINTS else _all_done(progress)
    hint = draw(
        found, *size, body=body, hands=hands, face=face, stick_width=stick_width, progress=drawing
    )
    return hint.to(image.device), encode(found)


def connected(pose_keypoint: object, count: int, height_px: int, width_px: int) -> list[Frame]:
    """The connected keypoints for that many pictures of that size. Raises ValueError where there
    are not as many.
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
            f"{len(frames)} frames of keypoints came with {count} pictures: give as many, or one"
            " for all"
        )
    return [on_canvas(frame, height_px, width_px) for frame in frames]


def on_canvas(frame: Frame, height_px: int, width_px: int) -> Frame:
    """The same people on a canvas of another size, stretched with it."""
    if (frame.height_px, frame.width_px) == (height_px, width_px):
        return frame
    scale = (width_px / frame.width_px, height_px / frame.height_px, 1)
    return Frame(frame.people * scale, height_px, width_px)


GROUP = 16
"""Frames that are looked at together: their networks' inputs are in memory at once."""


def _found(
    engine: str,
    image: Tensor,
    resolution: int,
    networks: Networks | None,
    hands: bool,
    face: bool,
    progress: Progress | None,
) -> list[Frame]:
    weights = WEIGHTS[engine]
    if networks is None:
        raise ValueError(
            f"this engine needs the weights {weights.file}, and nothing here can load them"
        )
    found = list[Frame]()
    for first in range(0, len(image), GROUP):
        frames = rgb8(image[first : first + GROUP], resolution)
        told = [_share(progress, first, len(frames), len(image), stage) for stage in range(STAGES)]
        if engine == "openpose":
            files = (BODY, HAND, FACE)
            found += detect_bottom_up(
                frames, networks, files, hands=hands, face=face, progress=told[0]
            )
        else:
            files = (weights.beside[0], weights)
            found += detect_top_down(frames, networks, files, _FINDERS[engine], (told[0], told[1]))
    if progress:
        progress(len(image), len(image))
    return found


def _all_done(progress: Progress | None) -> Progress | None:
    if progress is None:
        return None

    def report(done: int, total: int) -> None:
        progress(total, total)

    return report


STAGES = 2
"""Boxes and points, or bodies and the rest."""


def _share(
    progress: Progress | None, first: int, count: int, whole: int, stage: int
) -> Progress | None:
    """Progress of a stage of the work on `count` frames from `first` on, told in frames of the
    whole.
    """
    if progress is None:
        return None

    def report(done: int, total: int) -> None:
        progress(first + count * (stage * total + done) // (STAGES * max(1, total)), whole)

    return report
