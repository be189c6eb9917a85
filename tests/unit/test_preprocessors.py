"""Every preprocessor keeps one contract; each equals the reference that its ControlNets were
trained on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pack.preprocessors import (
    CATALOGUE,
    Param,
    Preprocessor,
    catalogue,
    depth,
    edges,
    images,
    normals,
    scribble,
    segmentation,
)
from pack.preprocessors.build import InMemory
from pack.preprocessors.nets import depth_anything, dpt_hybrid, normalbae, segmenters
from workbench import random_weights
from workbench.photographs import PHOTOGRAPHS, tensor

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SIZES = [(64, 64), (37, 53), (1, 1), (1, 50), (50, 1), (2, 3)]

every_row = pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.key)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape).to(dtype)


# The contract, of every engine of every row. Networks have random weights here: what they find is
# not looked at.


_DEPTH = depth_anything.Sizes(48, 3, 4, (0, 1, 2, 3), (8, 16, 24, 32), 16, trained_px=56)
_NORMAL_STAGES = zip(normalbae.Sizes().stages, (8, 8, 16, 16, 24, 24, 32), strict=True)
_NORMAL = normalbae.Sizes(
    16,
    tuple(stage._replace(blocks=1, channels=channels) for stage, channels in _NORMAL_STAGES),
    64,
    (32, 16, 16, 8),
    16,
)
SMALL = {
    **{row.file: partial(depth_anything.DepthAnythingV2, _DEPTH) for row in depth.WEIGHTS.values()},
    depth.WEIGHTS["midas"].file: partial(
        dpt_hybrid.DPTHybrid,
        dpt_hybrid.Sizes(16, ((2, 32), (2, 64), (2, 128)), 8, 64, 4, 4, (1, 3), fusion=32),
    ),
    normals.BAE.file: partial(normalbae.NNET, _NORMAL),
    segmentation.UPERNET.file: partial(
        segmenters.upernet, widths=(8, 16, 24, 32), depths=(1, 1, 1, 1)
    ),
    segmentation.ONEFORMER_ADE20K.file: partial(
        segmenters._oneformer,
        150,
        20,
        embed_dim=12,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 3, 4],
        window_size=4,
    ),
}
"""Networks that are too large for a hundred small questions: the same classes with fewer channels
and layers.
"""
NETWORKS = InMemory(random_weights.Random(CATALOGUE, SMALL))
CONNECTED = {
    ("normal", "depth"): {
        "depth": torch.linspace(0, 1, 32 * 24).reshape(1, 32, 24, 1).expand(-1, -1, -1, 3)
    },
    ("pose", "keypoints"): {
        "pose_keypoint": {"people": [], "canvas_height": 24, "canvas_width": 32}
    },
}
"""What is connected to the optional inputs of engines that work from them alone."""


@dataclass(frozen=True)
class Case:
    """A row of the catalogue with one of its engines, called like a row."""

    row: Preprocessor
    engine: str = ""

    def __call__(self, image: torch.Tensor, **given) -> torch.Tensor:
        engine = {"engine": self.engine} if self.engine else {}
        return self.row(image, networks=NETWORKS, **engine, **self.connected, **given)

    @property
    def connected(self) -> dict[str, torch.Tensor]:
        return CONNECTED.get((self.row.key, self.engine), {})

    def __str__(self) -> str:
        return f"{self.row.key}-{self.engine}" if self.engine else self.row.key

    @property
    def is_network(self) -> bool:
        return self.engine in self.row.weights

    def same(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        """Equal; of networks, whose sums differ in the last bit with the batch, all but a pixel in
        a thousand.
        """
        if not self.is_network:
            return one.equal(other)
        return one.shape == other.shape and ((one - other).abs() > 1e-4).float().mean() < 1e-3


def engines(row: Preprocessor) -> list[Case]:
    choices = next((param.choices for param in row.params if param.name == "engine"), ("",))
    return [Case(row, engine) for engine in choices]


CASES = [case for row in CATALOGUE for case in engines(row)]
_MARKED = [
    pytest.param(case, marks=pytest.mark.slow) if case.is_network else case for case in CASES
]
every_case = pytest.mark.parametrize("case", _MARKED, ids=str)
every_network = pytest.mark.parametrize(
    "case", [case for case in CASES if case.is_network], ids=str
)


def pictures() -> Iterator[Any]:
    """(case, frames, channels, size); of networks, which take longer, not every combination."""
    for case in CASES:
        sizes, counts = (
            ([(37, 53), (1, 1), (1, 50)], [(1, 4), (5, 3)]) if case.is_network else (SIZES, [])
        )
        for size in sizes:
            for count in counts or product([1, 5], [1, 3, 4]):
                yield pytest.param(
                    case, *count, size, marks=[pytest.mark.slow] if case.is_network else []
                )


@pytest.mark.parametrize(("case", "frames", "channels", "size"), pictures(), ids=str)
def test_any_picture_gives_a_float_hint_of_its_size(case: Case, frames, channels, size):
    hint = case(noise(frames, *size, channels))
    assert hint.shape == (frames, *size, 3)
    assert hint.dtype == torch.float32
    assert hint.is_contiguous()
    assert hint.isfinite().all()
    assert hint.min() >= 0
    assert hint.max() <= 1


@every_case
def test_a_long_thin_picture(case: Case):
    width = 900 if case.is_network else 5000
    assert case(noise(1, 7, width, 3)).shape == (1, 7, width, 3)


@every_case
def test_a_batch_is_its_frames(case: Case):
    batch = noise(5, 40, 30, 3)
    assert case.same(case(batch), torch.cat([case(frame[None]) for frame in batch]))


@every_case
def test_twice_the_same_and_the_picture_untouched(case: Case):
    picture = tensor(PHOTOGRAPHS["coffee"][:100, :90] if case.is_network else PHOTOGRAPHS["coffee"])
    before = picture.clone()
    assert case(picture).equal(case(picture))
    assert picture.equal(before)


@every_case
def test_views_and_gradients_are_pictures_too(case: Case):
    picture = noise(1, 40, 30, 3)
    expected = case(picture)
    assert case(picture.movedim(-1, 1).contiguous().movedim(1, -1)).equal(expected)
    assert case.same(case(picture.expand(3, -1, -1, -1)), expected.expand(3, -1, -1, -1))
    assert case(picture.clone().requires_grad_()).equal(expected)


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(case: Case, dtype):
    picture = noise(2, 40, 30, 3, dtype=dtype)
    assert case(picture).equal(case(picture.float()))


@every_case
def test_grey_is_three_equal_channels(case: Case):
    grey = noise(1, 40, 30, 1)
    assert case(grey).equal(case(grey.expand(-1, -1, -1, 3)))


@every_case
def test_transparency_is_laid_over_white(case: Case):
    colour, alpha = noise(1, 40, 30, 3), noise(1, 40, 30, 1)
    flat = colour * alpha + (1 - alpha)
    if case.engine == "snap":  # whose colours are classes: white is one, and mixing makes others
        flat = colour * (alpha >= 0.5)  # black is none
    assert case(torch.cat([colour, alpha], dim=-1)).equal(case(flat))


@every_case
def test_not_a_number_is_black_and_the_rest_is_clamped(case: Case):
    if (
        case.row.key == "depth" and case.engine == "image"
    ):  # a depth has no bounds, and unknown depth is far
        assert case(torch.full((1, 8, 8, 3), float("nan"))).equal(torch.zeros(1, 8, 8, 3))
        return
    picture = noise(1, 40, 30, 3)
    wild, tame = picture.clone(), picture.clone()
    for at, (value, means) in enumerate(
        [
            (float("nan"), 0),
            (float("inf"), 1),
            (-float("inf"), 0),
            (1.5, 1),
            (-0.5, 0),
            (3e38, 1),
            (-3e38, 0),
        ]
    ):
        wild[0, 3 * at : 3 * at + 2, 5:9] = value
        tame[0, 3 * at : 3 * at + 2, 5:9] = means
    assert case(wild).equal(case(tame))


@every_case
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_nothing_to_draw(case: Case, value):
    hint = case(torch.full((1, 40, 30, 3), value))
    if (
        case.is_network or case.connected or (case.row.key, case.engine) == ("normal", "image")
    ):  # random weights draw something anywhere, and so does a finished map
        assert hint.isfinite().all()
        return
    # Black, up to the rounding of a blur in float; a scribble has no paper to tell from ink.
    assert hint.max() - hint.min() < 1e-6
    assert not case.row.plain_is_black or hint.max() < 1e-6, (
        f"{case.row.key}: a plain picture gives a hint that is not black: if that is right, set"
        " plain_is_black=False in its row"
    )


@every_case
@pytest.mark.parametrize(
    ("size", "resolution", "expected"),
    [
        ((60, 90), 30, (30, 45)),
        ((60, 90), 61, (61, 92)),
        ((90, 60), 120, (180, 120)),
        ((7, 5000), 1, (1, 714)),
        ((100, 140), 100, (100, 140)),
        ((1, 1), 64, (64, 64)),
    ],
)
def test_resolution_is_the_short_side(case: Case, size, resolution, expected):
    assert case(noise(2, *size, 3), resolution=resolution).shape == (2, *expected, 3)


@every_case
@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (torch.zeros(0, 8, 8, 3), "batch of pictures is empty"),
        (torch.zeros(1, 0, 8, 3), "8x0 pixels"),
        (torch.zeros(1, 8, 0, 3), "0x8 pixels"),
        (torch.zeros(8, 8, 3), r"found torch.float32 of \(8, 8, 3\)"),
        (torch.zeros(1, 8, 8, 2), "1, 3 or 4 channels"),
        (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), "float picture"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(case: Case, picture, words):
    with pytest.raises(ValueError, match=words):
        case(picture)


@every_case
def test_an_absurd_size_is_refused_before_any_work(case: Case):
    with pytest.raises(
        ValueError, match="would turn this picture of 5000x7 pixels into 5851429x8192"
    ):
        case(noise(1, 7, 5000, 3), resolution=8192)
    with pytest.raises(ValueError, match="resolution is -1"):
        case(noise(1, 8, 8, 3), resolution=-1)


@every_case
def test_progress_counts_every_frame(case: Case):
    seen = []
    case(noise(7, 20, 20, 3), progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 7)
    assert seen[-1] == (7, 7)
    assert seen == sorted(seen)


@every_case
def test_stopping_in_the_middle(case: Case):
    class StopError(Exception): ...

    begun = []

    def stop_at_two(done: int, total: int) -> None:
        begun.append(done)
        if done >= 2:
            raise StopError

    threads = threading.active_count()
    with pytest.raises(StopError):
        case(noise(400, 48, 48, 3), progress=stop_at_two)
    assert begun[-1] < 350  # what the other cores ended while this one did two, on a busy machine
    assert threading.active_count() == threads
    assert case(noise(3, 8, 8, 3)).shape == (3, 8, 8, 3)


@every_network
def test_a_network_without_anything_to_load_it_is_refused(case: Case):
    with pytest.raises(ValueError, match=f"needs the weights {case.row.weights[case.engine].file}"):
        case.row(noise(1, 8, 8, 3), engine=case.engine)


@every_row
def test_weights_say_what_they_are(row: Preprocessor):
    """A file name that is safe to write, a licence to show, and a repository to fetch it from."""
    for needed in (file for engine in row.weights.values() for file in (engine, *engine.beside)):
        assert Path(needed.file).name == needed.file
        assert needed.licence
        assert needed.repo.count("/") == 1
        assert needed.sha256 == "" or len(needed.sha256) == 64


@every_row
def test_parameters_are_checked(row: Preprocessor):
    with pytest.raises(ValueError, match=re.escape(f"{row.title} has no parameter colour")):
        row(noise(1, 8, 8, 3), colour=1)
    for param in row.params:
        assert param.checked(param.default) == param.default
        with pytest.raises(ValueError, match=f"{param.name} is"):
            row(noise(1, 8, 8, 3), **{param.name: "purple" if param.choices else param.maximum + 1})
    with pytest.raises(ValueError, match="number from 0 to 255"):
        Param("level", 1, "").checked(float("nan"))


def test_an_error_in_a_frame_is_the_error_of_the_batch():
    begun = []

    def draw(frame):
        begun.append(1)
        raise IndexError("in the middle of a frame")

    with pytest.raises(IndexError, match="in the middle of a frame"):
        images.each_frame(noise(200, 8, 8, 3), draw)
    assert len(begun) < 200


def test_keys_are_unique_and_unknown_ones_are_refused():
    assert len({row.key for row in CATALOGUE}) == len(CATALOGUE)
    with pytest.raises(ValueError, match="no preprocessor 'hough': choose one of canny, scribble"):
        catalogue("hough")


# The doors


def test_all_8_bit_levels_survive_the_doors():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    assert (images.to_rgb8(tensor(ramp)[0].numpy()) == ramp).all()
    hint = images.each_frame(tensor(ramp), lambda frame: frame[..., 0])
    assert hint.equal(tensor(ramp))


def test_between_levels_the_nearest_wins():
    between = torch.tensor([0.49, 0.51, 126.49, 126.51, 254.49, 254.51])[None, None, :, None] / 255
    assert images.to_rgb8(between[0].numpy())[0, :, 0].tolist() == [0, 1, 126, 127, 254, 255]


def test_transparent_is_white_and_opaque_is_itself():
    clear, solid = (
        np.zeros((2, 2, 4), np.float32),
        np.full((2, 2, 4), [0.2, 0.4, 0.6, 1], np.float32),
    )
    assert (images.to_rgb8(clear) == 255).all()
    assert (images.to_rgb8(solid) == [51, 102, 153]).all()


# Without OpenCV


def in_a_fresh_python(program: str) -> str:
    """Return what `program` prints, run with the pack loaded as `pack`."""
    load = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); import conftest;"
        " sys.path.pop(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", load + program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_pack_loads_nothing_heavy():
    loaded = in_a_fresh_python(
        "import pack.preprocessors; print([m for m in ('cv2', 'transformers') if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_without_opencv_the_sentence_says_what_to_install(monkeypatch):
    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name == "cv2":
                raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    monkeypatch.delitem(sys.modules, "cv2")
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(RuntimeError, match="pip install opencv-python`"):
        edges.canny(noise(1, 8, 8, 3))


def test_without_a_screens_libraries_the_sentence_names_the_headless_wheel(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "cv2":
                raise ImportError(
                    "libGL.so.1: cannot open shared object file: No such file or directory"
                )

    monkeypatch.delitem(sys.modules, "cv2")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(RuntimeError, match=r"libGL\.so\.1.*opencv-python-headless"):
        scribble.xdog(noise(1, 8, 8, 3))


# What a new row needs beside this contract


@every_row
def test_a_row_is_compared_with_its_reference(row: Preprocessor):
    """Some other file here calls its function or names its key."""
    files = [file for file in HERE.glob("test_*.py") if file != Path(__file__)]
    names = re.compile(
        rf"""["']{row.key}["']|\b{row.run.__module__.rpartition(".")[2]}\.{row.run.__name__}\("""
    )
    assert any(names.search(file.read_text(encoding="utf-8")) for file in files), (
        f"no test compares {row.key!r} with its reference: write one in tests/unit"
    )


@every_row
def test_a_row_has_a_help_page(row: Preprocessor):
    file = ROOT / "js" / "docs" / f"{row.node_id}.md"
    assert file.exists(), f"{row.node_id} has no help page: write js/docs/{row.node_id}.md"


@every_row
def test_a_row_is_pinned(row: Preprocessor):
    pinned = json.loads((ROOT / "tests" / "node_surface.json").read_text(encoding="utf-8"))
    methods = [
        choice["choice"]
        for declared in pinned["ControlStackPreprocess"]["inputs"]
        if declared["name"] == "method"
        for choice in declared["choices"]
    ]
    assert row.node_id in pinned, f"{row.node_id} is new: run python3 tests --accept"
    assert row.key in methods, f"{row.key} is new: run python3 tests --accept"


@every_row
def test_a_row_says_which_value_selects_a_condition(row: Preprocessor):
    by = row.condition_by
    if by is None:
        return
    (param,) = (param for param in row.params if param.name == by.param)
    assert {*by.conditions} <= {*param.choices}
    assert {*by.conditions.values()} <= {*row.conditions}


def test_node_ids_are_unique():
    ids = [row.node_id for row in CATALOGUE]
    assert len({*ids}) == len(ids)
    assert all(node_id.startswith("ControlStack") for node_id in ids)


# Bands: a large picture is drawn in parts, each with rows of its neighbours around it


BANDED = {
    "scribble": {"invert": "off"},
    "xdog": {},
    "lineart": {"gaussian_sigma": 6.0},
    "hed": {"engine": "dog"},
    "softedge": {"engine": "dog", "safe": True},
    "fake_scribble": {"engine": "dog"},
    "recolor": {"gamma": 1.5},
    "brightness": {},
    "inpaint_hint": {},
    "segmentation": {"engine": "snap"},
}


@pytest.mark.parametrize("key", BANDED)
@pytest.mark.parametrize("resolution", [0, 300])
def test_bands_of_a_picture_make_the_whole(key, resolution, monkeypatch):
    """A band alone equals the same rows of the whole: bands as small as they are allowed to be."""
    picture = noise(1, 420, 350, 3)
    monkeypatch.setattr(images, "_cores", lambda: 1)
    whole = catalogue(key)(picture, resolution=resolution, **BANDED[key])
    monkeypatch.setattr(images, "BAND_PX", 1000)
    monkeypatch.setattr(images, "_cores", lambda: 3)
    assert catalogue(key)(picture, resolution=resolution, **BANDED[key]).equal(whole)


class OnMps(torch.Tensor):
    """A tensor that says that it is on Apple's GPU."""

    device = property(lambda _: torch.device("mps"))

    def cpu(self):
        return self.as_subclass(OnCpu)


class OnCpu(torch.Tensor):
    """Its copy on the CPU, which is moved back."""

    device = property(lambda _: torch.device("cpu"))

    def to(self, device):
        assert device == torch.device("mps")
        return self.as_subclass(OnMps)


@pytest.mark.parametrize("size", [(256, 341), (600, 800), (300, 400), (1, 1)])
def test_mps_is_not_asked_to_resize(size, monkeypatch):
    """Its own words for sizes that do not divide; older torch has no cubic there either."""
    resize = torch.nn.functional.interpolate

    def refusing(frames, *args, **options):
        if isinstance(frames, OnMps):
            raise RuntimeError("Adaptive pool MPS: input sizes must be divisible by output sizes")
        return resize(frames, *args, **options)

    monkeypatch.setattr(torch.nn.functional, "interpolate", refusing)
    frames = torch.rand(2, 3, 300, 400)
    resized = images.sized(frames.as_subclass(OnMps), *size)
    assert isinstance(resized, OnMps)
    assert resized.as_subclass(torch.Tensor).equal(images.sized(frames, *size))
