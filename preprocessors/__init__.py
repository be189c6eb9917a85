"""Pictures in, hints out. The catalogue below is the list of what this room can do; it knows
nothing of the host.

Every row is called alike: `catalogue(key)(image, resolution=0, progress=None, **params)`, image and
hint being (B,H,W,C) in [0,1].
"""

from __future__ import annotations

from . import color, depth, edges, lines, normals, pose, scribble, segmentation, skeleton, softedges
from .spec import Param, Port, Preprocessor

_SAFE = Param("safe", False, "Leave three levels only, so that no picture can hide in the map.")

CATALOGUE: tuple[Preprocessor, ...] = (
    Preprocessor(
        key="canny",
        title="Canny Edge",
        summary=(
            "Thin white edges on black, for canny ControlNets. Equals OpenCV's Canny on the 8-bit"
            " RGB picture."
        ),
        run=edges.canny,
        params=(
            Param("low_threshold", 100, "Edges weaker than this gradient (0-255) are dropped."),
            Param(
                "high_threshold",
                200,
                "Edges at least this strong (0-255) start a line; weaker ones continue it.",
            ),
        ),
        aliases=("canny", "edge", "edges"),
    ),
    Preprocessor(
        key="scribble",
        title="User Scribble",
        summary="A drawing as white strokes on black, for scribble ControlNets.",
        run=scribble.scribble,
        params=(
            Param(
                "threshold",
                127,
                "Ink is where the darkest of R, G and B is below this level (0-255).",
            ),
            Param(
                "invert",
                "auto",
                "off: dark strokes on light paper. on: light strokes on a dark ground. auto:"
                " decided for each frame by the brightness of its border.",
                choices=scribble.INVERT,
            ),
        ),
        aliases=("scribble", "sketch", "threshold"),
    ),
    Preprocessor(
        key="xdog",
        title="XDoG Scribble",
        summary=(
            "A photograph as white strokes on black, for scribble ControlNets (difference of"
            " Gaussians)."
        ),
        run=scribble.xdog,
        params=(
            Param(
                "threshold",
                32,
                "Contrast that makes a stroke, in half levels (1-64); lower draws more.",
                1,
                64,
            ),
        ),
        aliases=("xdog", "scribble", "difference of gaussians"),
    ),
    Preprocessor(
        key="lineart",
        title="Lineart",
        summary="A picture as soft bright lines on black, for lineart ControlNets.",
        run=lines.lineart,
        params=(
            Param(
                "engine",
                "standard",
                "standard: classical, needs no weights. realistic, coarse: a network (17 MB), fine"
                " or rough lines.",
                choices=lines.LINEART_ENGINES,
            ),
            Param(
                "gaussian_sigma",
                6.0,
                "Blur that stands for the surroundings, standard deviation in pixels; larger finds"
                " broader lines.",
                0.1,
                50.0,
                0.1,
            ),
            Param(
                "intensity_threshold",
                8,
                "Differences above this level (0-255) count as lines when brightness is set.",
            ),
        ),
        aliases=(
            "lineart",
            "line drawing",
            "lineart_standard",
            "lineart_realistic",
            "lineart_coarse",
        ),
        weights={"realistic": lines.REALISTIC, "coarse": lines.COARSE},
    ),
    Preprocessor(
        key="mlsd",
        title="M-LSD Lines",
        summary="The straight lines of rooms and buildings, white on black, for mlsd ControlNets.",
        run=lines.straight_lines,
        params=(
            Param(
                "engine",
                "mlsd",
                "mlsd: a network (6 MB). lsd: OpenCV's line segment detector, needs no weights.",
                choices=lines.MLSD_ENGINES,
            ),
            Param(
                "score_threshold",
                0.1,
                "Lines of which the network is less sure are dropped (0-1). Not for lsd.",
                0,
                1,
                0.01,
            ),
            Param(
                "distance_threshold",
                0.1,
                "Shorter lines are dropped. In pixels of the network's map, which has half the"
                " hint's size.",
                0,
                256,
                0.1,
            ),
            Param(
                "max_lines",
                0,
                "At most so many lines a frame, the best or (lsd) the longest; 0: all. The original"
                " tool keeps 200.",
                0,
                10000,
                is_appended=True,
            ),
        ),
        aliases=("mlsd", "m-lsd", "straight lines", "hough", "lsd", "architecture"),
        weights={"mlsd": lines.MLSD},
    ),
    Preprocessor(
        key="lineart_anime",
        title="Anime Line Drawing",
        summary="An anime picture as white lines on black, for lineart_anime ControlNets.",
        run=lines.lineart_anime,
        params=(
            Param(
                "engine",
                "anime2sketch",
                "anime2sketch: a network (218 MB). standard: classical, needs no weights.",
                choices=lines.ANIME_ENGINES,
            ),
            Param(
                "sizing",
                "padded",
                "The network needs sides divisible by 256. padded: its border is repeated up to"
                " there and cut off. stretched: resized there and back, as the original tool does.",
                choices=lines.SIZINGS,
                is_appended=True,
            ),
        ),
        aliases=("lineart_anime", "anime", "anime2sketch", "manga", "sketch"),
        weights={"anime2sketch": lines.ANIME},
    ),
    Preprocessor(
        key="hed",
        title="HED Boundary",
        summary="Soft white edges on black, for hed and softedge ControlNets.",
        run=softedges.soft_edge,
        params=(
            Param(
                "engine",
                "hed",
                "hed: the network that the ControlNets were trained with. dog: gradients, needs no"
                " weights.",
                choices=softedges.HED_ENGINES,
            ),
            _SAFE,
        ),
        aliases=("hed", "softedge", "soft edge", "boundary"),
        weights=softedges.weights_of(softedges.HED_ENGINES),
    ),
    Preprocessor(
        key="softedge",
        title="Soft Edge",
        summary="Soft white edges on black, for softedge ControlNets.",
        run=softedges.soft_edge,
        params=(
            Param(
                "engine",
                "teed",
                "teed: tiny and free. pidinet: for research only. hed: the first one. dog:"
                " gradients, needs no weights.",
                choices=softedges.SOFT_EDGE_ENGINES,
            ),
            _SAFE,
        ),
        aliases=("softedge", "soft edge", "teed", "pidinet", "pidi", "hed"),
        weights=softedges.weights_of(softedges.SOFT_EDGE_ENGINES),
    ),
    Preprocessor(
        key="fake_scribble",
        title="Fake Scribble",
        summary="A photograph as broad white strokes on black, for scribble ControlNets.",
        run=softedges.fake_scribble,
        params=(
            Param(
                "engine",
                "hed",
                "What finds the edges. hed, teed, pidinet: networks (pidinet for research only)."
                " dog: gradients, xdog: ink strokes, neither needs weights.",
                choices=softedges.SCRIBBLE_ENGINES,
            ),
            _SAFE,
        ),
        aliases=("fake scribble", "scribble", "scribble_hed", "scribble_pidinet"),
        weights=softedges.weights_of(softedges.SCRIBBLE_ENGINES),
    ),
    Preprocessor(
        key="depth",
        title="Depth",
        summary=(
            "How near each pixel is, near is white, for depth ControlNets. Float throughout: fit"
            " for 16 bits."
        ),
        run=depth.depth,
        params=(
            Param(
                "engine",
                "depth_anything_v2_small",
                "depth_anything_v2: sharp and steady; small is free, base and large are not for"
                " commercial use. midas: what the depth ControlNets of 1.0 and 1.1 were trained"
                " with. image: the picture is a depth map already, near is white.",
                choices=depth.ENGINES,
            ),
            Param(
                "normalization",
                "frame",
                "frame: each frame from its farthest to its nearest pixel. clip: all frames alike,"
                " so that a video does not flicker. percentile: as clip, from the 2nd to the 98th"
                " percentile.",
                choices=depth.NORMALIZATIONS,
            ),
        ),
        aliases=("depth", "midas", "depth anything", "dpt", "depth map"),
        weights=depth.WEIGHTS,
        outputs=(
            Port(
                "depth",
                "IMAGE",
                "The depth before it was normalised: larger is nearer, in the engine's own unit, in"
                " all three channels. For Normal Map and for further work; shown as a picture it"
                " may be all white.",
            ),
        ),
    ),
    Preprocessor(
        key="normal",
        title="Normal Map",
        summary="Which way each surface faces, as a colour, for normal ControlNets.",
        run=normals.normal,
        params=(
            Param(
                "engine",
                "bae",
                "bae: what the normal ControlNets of 1.1 were trained with. midas: those of 1.0."
                " depth: from the connected depth, needs no weights.",
                choices=normals.ENGINES,
            ),
            Param(
                "convention",
                "bae",
                "What the colours mean. bae: left is red, up green, front blue (ControlNet 1.1)."
                " cn1.0: front is red, up green, left blue (ControlNet 1.0). opengl: right is red,"
                " up green. directx: right is red, down green.",
                choices=tuple(normals.CONVENTIONS),
            ),
            Param(
                "background_threshold",
                0.4,
                "Engines midas and depth: what is farther than this, from 0 (farthest) to 1, is"
                " left flat.",
                0.0,
                1.0,
                0.01,
            ),
        ),
        aliases=("normal", "normal map", "normalbae", "bae", "surface normals"),
        grey=False,
        weights=normals.WEIGHTS,
        inputs=(
            Port(
                "depth",
                "IMAGE",
                "For engine depth: a depth map in any range and size, near is white, one frame or"
                " as many as image has. From Depth, Depth Anything 3, MoGe, a renderer.",
            ),
        ),
        outputs=(
            Port(
                "normals",
                "IMAGE",
                "The unit vectors behind the colours, from -1 to 1: x points right, y up, z at the"
                " viewer, whatever the convention.",
            ),
        ),
    ),
    Preprocessor(
        key="segmentation",
        title="Semantic Segmentation",
        summary=(
            "Every pixel in the flat colour of its class (ADE20K or COCO), for seg ControlNets."
        ),
        run=segmentation.segmentation,
        params=(
            Param(
                "engine",
                "upernet",
                "upernet: a network for ade20k (327 MB). oneformer: a large one, for both palettes."
                " snap: no network; the picture is a painted map, its colours become exact. blank:"
                " nothing, to paint on.",
                choices=segmentation.ENGINES,
            ),
            Param(
                "palette",
                "ade20k",
                "The classes and their colours: ade20k has 150, coco 133. seg ControlNets 1.0 know"
                " ade20k only.",
                choices=tuple(segmentation.PALETTES),
            ),
            Param(
                "classes",
                "",
                "Classes to make masks of, by name or number, separated by commas: 'sky, person'."
                " One mask for each.",
                is_appended=True,
            ),
            Param(
                "paint",
                "",
                "Classes to paint over the map: 'sky 0 0 1 0.4, house 0.3 0.2 0.7 0.6' with boxes"
                " (left, top, right, bottom as fractions), or names alone, one for each mask of"
                " areas.",
                is_appended=True,
            ),
        ),
        aliases=(
            "segmentation",
            "seg",
            "semantic",
            "uniformer",
            "oneformer",
            "upernet",
            "ade20k",
            "coco",
        ),
        grey=False,
        weights={"upernet": segmentation.UPERNET, "oneformer": segmentation.ONEFORMER_ADE20K},
        inputs=(
            Port(
                "label_map",
                "MASK",
                "Labels made before (class number / 255): they are painted, and no network runs.",
            ),
            Port(
                "areas",
                "MASK",
                "A batch of masks: the first is painted with the first class of paint, and so on.",
            ),
        ),
        outputs=(
            Port(
                "labels",
                "MASK",
                "The class of each pixel as number / 255; 1 is no class. An 8-bit PNG keeps it.",
            ),
            Port(
                "mask", "MASK", "A mask for each of the classes, all frames of the first one first."
            ),
        ),
    ),
    Preprocessor(
        key="tile",
        title="Tile",
        summary="The picture without its detail and without a shift, for tile ControlNets.",
        run=color.tile,
        params=(
            Param(
                "pyramid_steps",
                3,
                "Halvings: each takes away finer detail of twice the size.",
                1,
                10,
            ),
        ),
        aliases=("tile", "upscale", "blur", "detail"),
        grey=False,
    ),
    Preprocessor(
        key="shuffle",
        title="Content Shuffle",
        summary="The picture's colours flowed to other places, for shuffle ControlNets.",
        run=color.shuffle,
        params=(
            Param(
                "seed",
                0,
                "Each seed flows another way; all frames of a batch flow alike.",
                0,
                2**32 - 1,
            ),
            Param("cell_px", 256, "How far colours stay together, in pixels.", 8, 4096),
        ),
        aliases=("shuffle", "content shuffle", "style"),
        grey=False,
    ),
    Preprocessor(
        key="color_grid",
        title="Color Grid",
        summary="The mean colour of each cell of the picture, for colour adapters.",
        run=color.color_grid,
        params=(Param("cell_px", 64, "Side of a cell in pixels.", 1, 4096),),
        aliases=("color", "colour", "palette", "pixelate", "t2ia_color"),
        grey=False,
    ),
    Preprocessor(
        key="recolor",
        title="Recolor",
        summary="The picture without its colours, for recolor ControlNets.",
        run=color.recolor,
        params=(
            Param(
                "tone",
                "luminance",
                "luminance: how light a colour looks. intensity: the greatest of R, G and B.",
                choices=color.TONES,
            ),
            Param("gamma", 1.0, "Above 1 darkens the middle, below 1 lightens it.", 0.1, 5.0, 0.01),
            Param(
                "channel_order",
                "rgb",
                "reference: red and blue exchanged before luminance is found, as the original tools"
                " do by mistake.",
                choices=color.CHANNEL_ORDERS,
            ),
        ),
        aliases=("recolor", "colorize", "grayscale", "luminance", "intensity"),
    ),
    Preprocessor(
        key="brightness",
        title="Brightness",
        summary="Light and dark, for brightness and QR code ControlNets.",
        run=color.brightness,
        params=(
            Param(
                "level",
                "fixed",
                "fixed: white above the threshold. otsu: a threshold found for each frame. grey: no"
                " threshold.",
                choices=color.LEVELS,
            ),
            Param("threshold", 127, "What is brighter (0-255) is white, with level fixed."),
        ),
        aliases=("brightness", "qr code", "threshold", "binary", "illumination"),
    ),
    Preprocessor(
        key="inpaint_hint",
        title="Inpaint Hint",
        summary="The picture with what is to be painted anew marked, for inpaint ControlNets.",
        run=color.inpaint_hint,
        params=(
            Param(
                "masked",
                "-1",
                "What a masked pixel becomes. -1: SD1.5's inpaint ControlNet. 0: SDXL's by xinsir."
                " 0.5, 1: others.",
                choices=tuple(color.MASKED),
            ),
        ),
        aliases=("inpaint", "mask", "outpaint", "inpaint preprocessor"),
        grey=False,
        inputs=(
            Port(
                "mask",
                "MASK",
                "White is to be painted anew. Any size; one for all frames, or one each.",
                True,
            ),
        ),
    ),
    Preprocessor(
        key="pose",
        title="Human Pose",
        summary=(
            "People as coloured skeletons on black, for openpose ControlNets, and as keypoints."
        ),
        run=pose.pose,
        params=(
            Param(
                "engine",
                "vitpose",
                "vitpose: bodies. dwpose: bodies, hands and faces (TorchScript files). dwpose_onnx:"
                " the same as ONNX, needs onnxruntime. openpose: the first one, non-commercial."
                " keypoints: draws the connected ones.",
                choices=pose.ENGINES,
            ),
            Param("body", True, "Draw limbs and joints."),
            Param("hands", True, "Draw hands, where the engine finds them."),
            Param("face", True, "Draw faces, where the engine finds them."),
            Param(
                "stick_width",
                "auto",
                "auto: 4 pixels up to a short side of 512, growing with it. 4: as ControlNet's own"
                " nets were trained. xinsir: as xinsir's SDXL nets were.",
                choices=skeleton.STICK_WIDTHS,
            ),
            Param(
                "people",
                0,
                "Keep this many, the largest and longest seen. 0: all.",
                0,
                100,
                is_appended=True,
            ),
            Param(
                "smooth_frames",
                0.0,
                "Blur joints over time, standard deviation in frames. 0: not.",
                0,
                30,
                0.1,
                is_appended=True,
            ),
            Param(
                "fill_frames",
                0,
                "Fill gaps of up to this many frames in a straight line. 0: none.",
                0,
                100,
                is_appended=True,
            ),
        ),
        aliases=("pose", "openpose", "dwpose", "vitpose", "skeleton", "keypoints"),
        grey=False,
        weights=pose.WEIGHTS,
        inputs=(
            Port(
                "pose_keypoint",
                "POSE_KEYPOINT",
                "Drawn by the engine keypoints. One frame, or one a picture.",
            ),
        ),
        outputs=(
            Port("POSE_KEYPOINT", "POSE_KEYPOINT", "The people found, in pixels of the hint."),
        ),
    ),
)


def catalogue(key: str) -> Preprocessor:
    """The row of that key; raises ValueError naming the keys there are."""
    for row in CATALOGUE:
        if row.key == key:
            return row
    raise ValueError(
        f"there is no preprocessor {key!r}: choose one of {', '.join(row.key for row in CATALOGUE)}"
    )
