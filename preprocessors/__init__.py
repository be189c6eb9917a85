"""Pictures in, hints out. The catalogue below is the list of what this room can do; it knows nothing of the host.

Every row is called alike: `catalogue(key)(image, resolution=0, progress=None, **params)`, image and hint being
(B,H,W,C) in [0,1].
"""

from __future__ import annotations

from . import edges, lines, pose, scribble, skeleton
from .spec import Param, Port, Preprocessor

CATALOGUE: tuple[Preprocessor, ...] = (
    Preprocessor(
        key="canny",
        title="Canny Edge",
        summary="Thin white edges on black, for canny ControlNets. Equals OpenCV's Canny on the 8-bit RGB picture.",
        run=edges.canny,
        params=(
            Param("low_threshold", 100, "Edges weaker than this gradient (0-255) are dropped."),
            Param("high_threshold", 200, "Edges at least this strong (0-255) start a line; weaker ones continue it."),
        ),
        aliases=("canny", "edge", "edges"),
    ),
    Preprocessor(
        key="scribble",
        title="User Scribble",
        summary="A drawing as white strokes on black, for scribble ControlNets.",
        run=scribble.scribble,
        params=(
            Param("threshold", 127, "Ink is where the darkest of R, G and B is below this level (0-255)."),
            Param(
                "invert",
                "auto",
                "off: dark strokes on light paper. on: light strokes on a dark ground. auto: decided for each frame by "
                "the brightness of its border.",
                choices=scribble.INVERT,
            ),
        ),
        aliases=("scribble", "sketch", "threshold"),
    ),
    Preprocessor(
        key="xdog",
        title="XDoG Scribble",
        summary="A photograph as white strokes on black, for scribble ControlNets (difference of Gaussians).",
        run=scribble.xdog,
        params=(
            Param("threshold", 32, "Contrast that makes a stroke, in half levels (1-64); lower draws more.", 1, 64),
        ),
        aliases=("xdog", "scribble", "difference of gaussians"),
    ),
    Preprocessor(
        key="lineart",
        title="Lineart",
        summary="A picture as soft bright lines on black, for lineart ControlNets.",
        run=lines.lineart,
        params=(
            Param("engine", "standard", "standard: classical, needs no weights.", choices=lines.ENGINES),
            Param(
                "gaussian_sigma",
                6.0,
                "Blur that stands for the surroundings, standard deviation in pixels; larger finds broader lines.",
                0.1,
                50.0,
                0.1,
            ),
            Param(
                "intensity_threshold", 8, "Differences above this level (0-255) count as lines when brightness is set."
            ),
        ),
        aliases=("lineart", "line drawing", "lineart_standard"),
    ),
    Preprocessor(
        key="pose",
        title="Human Pose",
        summary="People as coloured skeletons on black, for openpose ControlNets, and as keypoints.",
        run=pose.pose,
        params=(
            Param(
                "engine",
                "vitpose",
                "vitpose: bodies. dwpose: bodies, hands and faces (TorchScript files). dwpose_onnx: the same as ONNX, "
                "needs onnxruntime. openpose: the first one, non-commercial. keypoints: draws the connected ones.",
                choices=pose.ENGINES,
            ),
            Param("body", True, "Draw limbs and joints."),
            Param("hands", True, "Draw hands, where the engine finds them."),
            Param("face", True, "Draw faces, where the engine finds them."),
            Param(
                "stick_width",
                "auto",
                "auto: 4 pixels up to a short side of 512, growing with it. 4: as ControlNet's own nets were trained. "
                "xinsir: as xinsir's SDXL nets were.",
                choices=skeleton.STICK_WIDTHS,
            ),
        ),
        later=(
            Param("people", 0, "Keep this many, the largest and longest seen. 0: all.", 0, 100),
            Param("smooth_frames", 0.0, "Blur joints over time, standard deviation in frames. 0: not.", 0, 30, 0.1),
            Param("fill_frames", 0, "Fill gaps of up to this many frames in a straight line. 0: none.", 0, 100),
        ),
        aliases=("pose", "openpose", "dwpose", "vitpose", "skeleton", "keypoints"),
        grey=False,
        weights=pose.WEIGHTS,
        inputs=(Port("pose_keypoint", "POSE_KEYPOINT", "Drawn by the engine keypoints. One frame, or one a picture."),),
        outputs=(Port("POSE_KEYPOINT", "POSE_KEYPOINT", "The people found, in pixels of the hint."),),
    ),
)


def catalogue(key: str) -> Preprocessor:
    """The row of that key; raises ValueError naming the keys there are."""
    for row in CATALOGUE:
        if row.key == key:
            return row
    raise ValueError(f"there is no preprocessor {key!r}: choose one of {', '.join(row.key for row in CATALOGUE)}")
