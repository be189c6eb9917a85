"""Segmentation: the published colours row by row, transformers' own answers, labels that survive,
nothing mixed.
"""

from __future__ import annotations

import ast
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from pack.preprocessors import catalogue, palettes, segmentation
from pack.preprocessors.build import InMemory, filled
from pack.preprocessors.nets import imagenet, segmenters
from pack.preprocessors.spec import Weights
from workbench.photographs import PHOTOGRAPHS

pytestmark = pytest.mark.slow  # networks at their published size

ROW = catalogue("segmentation")


def tensor(*frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(frames).astype(np.float32) / 255)


# Palettes


def published(package: str, module: str) -> tuple[list[str], list[tuple[int, int, int]]]:
    """Class names and colours out of a package's source, read and never run."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.fail(
            f"{package} is not installed: it is part of the test environment"
            " (workbench/environment.py)"
        )
    tree = ast.parse((Path(spec.origin).parent / module).read_text(encoding="utf-8"))
    answer: dict[str, list] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("classes", "palette"):
            answer.setdefault(node.arg, ast.literal_eval(node.value))
        elif isinstance(node, ast.Dict):
            named = {
                k.value: v
                for k, v in zip(node.keys, node.values, strict=True)
                if isinstance(k, ast.Constant)
            }
            answer |= {
                key: ast.literal_eval(named[key]) for key in ("classes", "palette") if key in named
            }
    return [name.strip() for name in answer["classes"]], [
        tuple(colour) for colour in answer["palette"]
    ]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("table", "package", "module", "rows"),
    [
        (palettes.ADE20K, "mmseg", "datasets/ade.py", 150),
        (palettes.COCO, "mmdet", "datasets/coco_panoptic.py", 133),
    ],
    ids=["ade20k", "coco"],
)
def test_palettes_are_the_published_ones_row_by_row(table, package, module, rows):
    names, colours = published(package, module)
    assert len(names) == len(table.names) == rows
    for index, (name, colour) in enumerate(zip(names, colours, strict=True)):
        assert (table.names[index], tuple(table.colours[index].tolist())) == (name, colour)


def test_ade20k_is_the_palette_of_the_controlnet_tools():
    spec = find_spec("controlnet_aux")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse((Path(spec.origin).parent / "util.py").read_text(encoding="utf-8"))
    (output,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "ade_palette"
    )
    returned = output.body[-1]
    assert isinstance(returned, ast.Return)
    assert returned.value is not None
    assert palettes.ADE20K.colours.tolist() == ast.literal_eval(returned.value)
    assert palettes.ADE20K.colours[0].tolist() == [120, 120, 120]


def test_classes_are_found_by_name_and_number():
    assert palettes.ADE20K.index_of(" Traffic  light ") == palettes.ADE20K.names.index(
        "traffic light"
    )
    assert palettes.ADE20K.index_of("149") == 149
    assert palettes.COCO.index_of("sky") == palettes.COCO.names.index("sky-other-merged")
    with pytest.raises(ValueError, match=r"ADE20K has no class 'buildings': did you mean building"):
        palettes.ADE20K.index_of("buildings")
    with pytest.raises(ValueError, match="from 0 to 132"):
        palettes.COCO.index_of("133")


# Networks: the same as transformers' own path


@pytest.fixture(scope="module")
def small_upernet() -> torch.nn.Module:
    torch.manual_seed(1)
    net = segmenters.upernet(widths=(8, 16, 24, 32), depths=(1, 1, 2, 1)).eval()
    for (
        layer
    ) in net.modules():  # random heads give every pixel about the same; spread, the classes differ
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=1.5 / layer.weight[0].numel() ** 0.5)
    return net


def photograph(width: int, height: int) -> np.ndarray:
    return cv2.resize(data.coffee(), (width, height), interpolation=cv2.INTER_AREA)


def test_upernet_is_transformers_own(small_upernet):
    from transformers import SegformerImageProcessor

    photo = photograph(160, 96)
    processor = SegformerImageProcessor(do_resize=False)
    with torch.inference_mode():
        out = small_upernet(**processor(photo, return_tensors="pt"))
    (expected,) = processor.post_process_semantic_segmentation(out, target_sizes=[photo.shape[:2]])
    hint, labels, _ = ROW.full(
        tensor(photo), networks=InMemory({segmentation.UPERNET.file: small_upernet})
    )
    assert len(expected.unique()) > 10
    assert (labels[0] * 255).round().long().equal(expected)
    assert (hint[0] * 255).round().byte().numpy().tolist() == palettes.ADE20K.colours[
        expected.numpy()
    ].tolist()


@pytest.mark.parametrize("palette", ["ade20k", "coco"])
def test_oneformer_is_transformers_own(palette):
    from transformers import OneFormerImageProcessor

    torch.manual_seed(2)
    classes = {"ade20k": 150, "coco": 133}[palette]
    net = segmenters._oneformer(
        classes, 20, embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 4], window_size=4
    )
    decoder = net.model.transformer_module.decoder
    torch.nn.init.normal_(decoder.class_embed.weight, std=2.0)
    for layer in (
        decoder.mask_embed.modules()
    ):  # random queries all look at the same; spread, each at its own
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.5)
    photo = photograph(128, 96)
    weights = segmentation._NETS["oneformer", palette][0]
    _, labels, _ = ROW.full(
        tensor(photo),
        engine="oneformer",
        palette=palette,
        networks=InMemory({weights.file: net.eval()}),
    )
    mean, std = (np.array(each, np.float32) for each in (imagenet.MEAN, imagenet.STD))
    pixels = torch.from_numpy((photo.astype(np.float32) / 255 - mean) / std).movedim(2, 0)[None]
    tokens = torch.tensor([segmenters._SEMANTIC], dtype=torch.float32)
    with torch.inference_mode():
        out = net(pixel_values=pixels, task_inputs=tokens)
    post = OneFormerImageProcessor.post_process_semantic_segmentation
    (expected,) = post(None, out, target_sizes=[photo.shape[:2]])
    assert len(expected.unique()) > 1
    assert (
        (labels[0] * 255).round().long() == expected
    ).float().mean() > 0.999  # theirs sums in another order


def test_the_task_is_what_clips_tokenizer_makes_of_it():
    """OneFormer's processor says "the task is semantic" to CLIP's tokenizer, and puts 0 where that
    pads.
    """
    hosts = pytest.importorskip("workbench.hosts")
    installed = hosts.find()
    if not installed:
        pytest.skip("no ComfyUI found, whose CLIP tokenizer this reads: set COMFYUI_DIR")
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(installed[0].path / "comfy" / "sd1_tokenizer"))
    answer = tokenizer("the task is semantic", padding="max_length", max_length=77, truncation=True)
    masked = [
        token * remaining
        for token, remaining in zip(answer["input_ids"], answer["attention_mask"], strict=True)
    ]
    assert masked == list(segmenters._SEMANTIC)


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_files_are_read_under_whatever_names_this_transformers_has(small_upernet, tmp_path, safe):
    """`save_pretrained` writes the names that published files have."""
    from safetensors.torch import load_file

    small = partial(segmenters.upernet, widths=(8, 16, 24, 32), depths=(1, 1, 2, 1))
    weights = Weights(
        "small",
        "",
        small,
        "MIT",
        renamed=lambda state: segmenters.as_transformers_reads(small(), state),
    )
    small_upernet.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    if not safe:
        torch.save(state, tmp_path / "pytorch_model.bin")
        state = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    read = filled(weights, state).state_dict()
    assert all(read[key].equal(value) for key, value in small_upernet.state_dict().items())
    del state["decode_head.classifier.weight"]
    with pytest.raises(
        ValueError, match=r"does not hold a UperNet.*decode_head\.classifier\.weight"
    ):
        filled(weights, state)


def test_oneformers_files_with_a_text_encoder_and_old_names(tmp_path):
    from safetensors.torch import load_file

    small = partial(
        segmenters._oneformer, 150, 20, embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 4]
    )
    net = small()
    net.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    old = [key for key in state if "intermediate.dense" in key]
    assert old, "the published names of Swin's layers"
    state["model.text_mapper.prompt_ctx.weight"] = torch.zeros(16, 256)
    weights = Weights(
        "small",
        "",
        small,
        "MIT",
        renamed=lambda state: segmenters.as_transformers_reads(small(), state),
    )
    read = filled(weights, state).state_dict()
    assert all(read[key].equal(value) for key, value in net.state_dict().items())


def test_what_no_network_serves_is_refused_in_a_sentence():
    with pytest.raises(
        ValueError, match="'upernet' does not have the palette 'coco': choose oneformer"
    ):
        ROW(tensor(photograph(32, 32)), palette="coco", networks=InMemory({}))


# Labels in and out


def patches(count: int = 150) -> torch.Tensor:
    """Make a label map (1,12,15) that has every class, and at its end no class."""
    labels = torch.full((180,), 255.0)
    labels[:count] = torch.arange(count)
    return labels.reshape(1, 12, 15) / 255


def test_a_label_map_comes_out_as_it_went_in_and_paints_its_colours():
    blank = torch.zeros(1, 12, 15, 3)
    hint, labels, _ = ROW.full(blank, engine="upernet", label_map=patches())
    assert labels.equal(patches())
    painted = (hint[0].reshape(-1, 3) * 255).round().int()
    assert painted[:150].tolist() == palettes.ADE20K.colours.tolist()
    assert not painted[150:].any()


def test_labels_survive_an_8_bit_file(tmp_path):
    """Written as the host writes a mask: as a picture, cut to 8 bits."""
    from PIL import Image

    Image.fromarray((255.0 * patches()[0].numpy()).clip(0, 255).astype(np.uint8)).save(
        tmp_path / "labels.png"
    )
    with Image.open(tmp_path / "labels.png") as saved:
        read = torch.from_numpy(np.asarray(saved.convert("RGB")).astype(np.float32) / 255)[
            None, ..., 0
        ]
    _, labels, _ = ROW.full(torch.zeros(1, 12, 15, 3), label_map=read)
    assert labels.equal(patches())


def test_labels_survive_as_the_saved_hint():
    """Snapped, a saved hint is its labels again; road and skyscraper have one colour, the first is
    road.
    """
    hint, labels, _ = ROW.full(torch.zeros(1, 12, 15, 3), label_map=patches())
    saved = (hint * 255).round() / 255
    again = ROW.full(saved, engine="snap")[1]
    differ = (again != labels).nonzero()
    names = palettes.ADE20K.names
    assert [
        (names[round(float(labels[tuple(at)]) * 255)], names[round(float(again[tuple(at)]) * 255)])
        for at in differ
    ] == [("skyscraper", "road")]
    noisy = (saved + torch.empty_like(saved).uniform_(-1.4, 1.4) / 255).clamp(0, 1)
    assert ROW.full(noisy, engine="snap")[0].equal(hint)


@pytest.mark.parametrize("resolution", [5, 12, 37, 40, 100])
def test_resizing_never_mixes_colours(resolution):
    hint, labels, _ = ROW.full(
        torch.zeros(1, 12, 15, 3), label_map=patches(), resolution=resolution
    )
    listed = {tuple(colour) for colour in palettes.ADE20K.colours.tolist()} | {(0, 0, 0)}
    assert min(hint.shape[1:3]) == resolution
    assert {
        tuple(colour) for colour in (hint * 255).round().int().reshape(-1, 3).tolist()
    } <= listed
    rows, columns = (
        [(2 * at + 1) * before // (2 * after) for at in range(after)]
        for before, after in zip((12, 15), hint.shape[1:3], strict=True)
    )
    assert labels[0].equal(patches()[0][rows][:, columns])


def test_a_label_map_for_every_frame_or_one_for_all():
    blank, two = torch.zeros(2, 12, 15, 3), torch.cat([patches(), patches().flip(2)])
    assert ROW.full(blank, label_map=two)[1].equal(two)
    assert ROW.full(blank, label_map=patches())[1].equal(patches().expand(2, -1, -1))
    with pytest.raises(ValueError, match="label_map has 3 frames and the picture 2"):
        ROW.full(blank, label_map=patches().expand(3, -1, -1))
    with pytest.raises(ValueError, match="label 149, and COCO ends at 132"):
        ROW.full(blank, palette="coco", label_map=torch.full((1, 4, 4), 149 / 255))
    with pytest.raises(ValueError, match="label_map: expected a MASK"):
        ROW.full(blank, label_map=torch.zeros(1, 2, 3, 4))


def test_masks_of_chosen_classes():
    two = torch.cat([patches(), patches().flip(2)])
    _, labels, masks = ROW.full(torch.zeros(2, 12, 15, 3), label_map=two, classes="sky, 0")
    assert masks.shape == (4, 12, 15)
    assert masks[:2].equal((labels * 255 == 2).float())
    assert masks[2:].equal((labels * 255 == 0).float())
    assert ROW.full(torch.zeros(1, 12, 15, 3), label_map=patches())[2].sum() == 150


# Painting


def test_painting_by_names_without_any_network():
    text = "sky 0 0 1 0.5, grass 0 0.5 1 1\nhouse 0.25 0.25 0.75 0.75"
    hint, labels, masks = ROW.full(
        torch.rand(1, 40, 80, 3), engine="blank", paint=text, classes="house"
    )
    expected = np.zeros((40, 80), int)
    expected[:20], expected[20:] = 2, 9
    expected[10:30, 20:60] = 25
    assert (labels[0].numpy() * 255 == expected).all()
    assert (hint[0, 0, 0] * 255).tolist() == [6, 230, 230]
    assert masks.sum() == 20 * 40


def test_painting_on_areas():
    area = torch.zeros(2, 10, 20)
    area[0, :5], area[1, :, :10] = 1, 1
    _, labels, _ = ROW.full(torch.rand(1, 20, 40, 3), engine="blank", paint="sky, sea", areas=area)
    expected = np.full((20, 40), 255)
    expected[:10], expected[:, :20] = 2, palettes.ADE20K.names.index("sea")
    assert (labels[0].numpy() * 255 == expected).all()
    with pytest.raises(
        ValueError, match="paint names 1 classes without a box and areas holds 2 masks"
    ):
        ROW.full(torch.rand(1, 20, 40, 3), engine="blank", paint="sky", areas=area)
    with pytest.raises(ValueError, match="a box is left, top, right and bottom"):
        ROW.full(torch.rand(1, 20, 40, 3), engine="blank", paint="sky 0 0 2 1")


@pytest.mark.quick
def test_snapping_a_photograph_gives_palette_colours_only():
    hint = ROW(tensor(photograph(96, 64)), engine="snap", palette="coco")
    listed = {tuple(colour) for colour in palettes.COCO.colours.tolist()} | {(0, 0, 0)}
    assert {
        tuple(colour) for colour in (hint * 255).round().int().reshape(-1, 3).tolist()
    } <= listed


def test_what_is_unpainted_has_no_class():
    """A sky on a transparent layer, its lower edge soft; nothing is under it, in any colour."""
    layer = torch.rand(1, 64, 64, 4)
    layer[:, :32, :, :3] = torch.tensor([6, 230, 230]) / 255
    layer[..., 3] = 0
    layer[:, :31, :, 3] = 1
    layer[:, 31, :, 3] = 0.6
    hint, labels, mask = ROW.full(layer, engine="snap")
    assert (labels[:, :32] * 255).round().eq(2).all()
    assert labels[:, 32:].eq(1).all()
    assert hint[:, 32:].eq(0).all()
    assert mask.mean() == 0.5


@pytest.mark.parametrize("resolution", [20, 33, 200])
def test_a_painted_map_is_resized_by_its_labels(resolution):
    """No class appears at a border that was not painted."""
    painted_map, labels, _ = ROW.full(torch.zeros(1, 60, 75, 3), label_map=patches())
    snapped, again, _ = ROW.full(painted_map, engine="snap", resolution=resolution)
    assert min(snapped.shape[1:3]) == resolution
    road = {13 if label == 48 else label for label in (labels * 255).round().unique().tolist()}
    assert set((again * 255).round().unique().tolist()) <= {*road, 6, 255}


def every_distance(picture: np.ndarray) -> np.ndarray:
    """Label (H,W,3) by the distances of all pixels to all colours."""
    colours = np.concatenate([palettes.ADE20K.colours, [[0, 0, 0]]]).astype(np.float32)
    pixels = picture.reshape(-1, 3).astype(np.float32)
    nearest = np.concatenate(
        [
            np.argmin(np.square(colours).sum(1) - 2 * part @ colours.T, 1)
            for part in np.array_split(pixels, 16)
        ]
    )
    return np.where(nearest == 150, 255, nearest).reshape(picture.shape[:2])


def test_snapping_is_the_nearest_colour_of_all():
    picture = cv2.resize(PHOTOGRAPHS["coffee"], (320, 180), interpolation=cv2.INTER_CUBIC)
    labels = ROW.full(tensor(picture), engine="snap")[1][0].numpy() * 255
    assert np.array_equal(labels.round(), every_distance(picture))


@pytest.mark.slow
@pytest.mark.alone
def test_snapping_a_painted_map_is_ten_times_faster_than_every_distance():
    rng = np.random.default_rng(0)
    areas = cv2.resize(
        rng.integers(0, 150, (9, 16), np.uint8), (1280, 720), interpolation=cv2.INTER_NEAREST
    )
    picture = np.clip(
        palettes.ADE20K.colours[areas].astype(int) + rng.integers(-1, 2, (720, 1280, 3)), 0, 255
    ).astype(np.uint8)

    def seconds(work) -> float:
        began = time.process_time()
        work(picture)
        return time.process_time() - began

    took = [
        (seconds(segmentation.NearestClasses(palettes.ADE20K).of), seconds(every_distance))
        for _ in range(3)
    ]
    assert min(mine / theirs for mine, theirs in took) < 0.1
