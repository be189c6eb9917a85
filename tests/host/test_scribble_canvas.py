"""Test Draw Scribble in the real ComfyUI: drawings by name and inline, sizes, refusals."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

RING = {"tool": "brush", "size": 40, "points": [256, 128, 1]}
DISC = {"v": 1, "width": 512, "height": 256, "strokes": [RING]}
TEXT = json.dumps(DISC)


@pytest.fixture
def drawings(host, tmp_path, monkeypatch) -> Path:
    """Give the folder of drawings, in an input folder of its own."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    folder = tmp_path / "input" / "controlstack" / "drawings"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def canvas():
    from pack.nodes.drawing import ControlStackScribbleCanvas

    return ControlStackScribbleCanvas


def run(node, drawing: str = TEXT, width: int = 512, height: int = 256, **more):
    inputs = {"drawing": drawing, "width": width, "height": height, "invert": False, **more}
    return node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**inputs).result


def test_hint_and_mask_are_what_is_drawn(canvas, drawings):
    hint, mask = run(canvas)
    assert (hint.shape, mask.shape) == ((1, 256, 512, 3), (1, 256, 512))
    assert hint.dtype == mask.dtype == torch.float32
    assert all(torch.equal(hint[..., channel], mask) for channel in range(3))
    assert mask.sum().item() == pytest.approx(math.pi * 400, rel=0.02)
    assert mask[0, 128, 256] == 1
    assert mask[0, 0, 0] == 0


def test_inverted_is_black_on_white_with_the_same_mask(canvas, drawings):
    (hint, mask), (inverted, same) = run(canvas), run(canvas, invert=True)
    assert torch.equal(inverted, 1 - hint)
    assert torch.equal(same, mask)


def test_a_name_draws_what_the_text_draws(canvas, drawings):
    from pack.host.drawing_files import store_drawing

    name = store_drawing(TEXT.encode())
    assert name == hashlib.sha256(TEXT.encode()).hexdigest() + ".json"
    assert (drawings / name).read_text() == TEXT
    assert store_drawing(TEXT.encode()) == name
    assert [file.name for file in drawings.iterdir()] == [name]
    assert torch.equal(run(canvas, name)[0], run(canvas)[0])
    assert canvas.fingerprint_inputs(name) == canvas.fingerprint_inputs(TEXT)
    (drawings / "mine.json").write_text(TEXT)
    before = canvas.fingerprint_inputs("mine.json")
    (drawings / "mine.json").write_text(TEXT.replace("40", "41"))
    assert canvas.fingerprint_inputs("mine.json") != before


@pytest.mark.parametrize(
    ("width", "height", "picture", "size"),
    [
        (0, 0, (96, 160), (96, 160)),
        (0, 128, (96, 160), (128, 160)),
        (320, 0, (32, 48), (32, 320)),
        (0, 0, None, (512, 512)),
        (1024, 8192, (96, 160), (8192, 1024)),
    ],
)
def test_the_size_is_the_nodes_else_the_pictures(canvas, drawings, width, height, picture, size):
    more = {} if picture is None else {"image": torch.rand(2, *picture, 3)}
    hint, mask = run(canvas, width=width, height=height, **more)
    assert hint.shape == (1, *size, 3)
    assert mask.shape == (1, *size)
    assert mask.mean().item() == pytest.approx(math.pi * 400 / (512 * 256), rel=0.05)


@pytest.mark.parametrize("drawing", ["", "  ", json.dumps({**DISC, "strokes": []})])
def test_nothing_drawn_is_black(canvas, drawings, drawing):
    hint, mask = run(canvas, drawing)
    assert hint.abs().max() == mask.abs().max() == 0
    assert run(canvas, drawing, invert=True)[0].min() == 1
    assert canvas.validate_inputs(drawing) is True


def test_widths_between_0_and_64_and_pictures_too_large_are_refused(canvas, drawings):
    from pack.preprocessors.strokes import DrawingError

    assert canvas.validate_inputs(TEXT, 5, 9000) == (
        "width: expected 0, or 64 to 8192 pixels, found 5."
        " height: expected 0, or 64 to 8192 pixels, found 9000."
    )
    assert canvas.validate_inputs(None, 0, None) is True, "what comes over a wire is not there yet"
    with pytest.raises(DrawingError, match="expected 0, or 64 to 8192"):
        run(canvas, width=5)
    with pytest.raises(DrawingError, match="the picture has 9000x64 pixels: expected at most 8192"):
        run(canvas, width=0, image=torch.zeros(1, 64, 9000, 3))


REFUSED = {
    "gone.json": "there is no drawing 'gone.json' in controlstack/drawings of the input folder",
    "../secret.json": "'../secret.json' cannot name a drawing",
    "/etc/passwd": "cannot name a drawing",
    "..\\secret.json": "cannot name a drawing",
    "C:\\a.json": "cannot name a drawing",
    "link.json": "cannot name a drawing",
    "a\0.json": "cannot name a drawing",
    "\ud800.json": "cannot name a drawing",
    "x" * 4000: "cannot name a drawing",
    ".": "cannot name a drawing",
    "picture.png": "there is no drawing 'picture.png'",
    "folder.json": "there is no drawing 'folder.json'",
    "damaged.json": "damaged.json: the drawing is damaged",
    "bytes.json": "bytes.json is not a drawing: expected a text of strokes",
    "large.json": "large.json has 5,000,000 bytes",
    "{": "the drawing is damaged: expected JSON",
    '{"v": 9, "strokes": []}': "the drawing has version 9: expected 1. Update ControlStack.",
}


@pytest.mark.parametrize("drawing", REFUSED, ids=lambda drawing: ascii(drawing[:20]))
def test_what_is_gone_damaged_or_elsewhere_is_refused_before_the_run(canvas, drawings, drawing):
    from pack.preprocessors.strokes import DrawingError

    secret = drawings.parents[1] / "secret.json"
    secret.write_text(TEXT)
    (drawings / "link.json").symlink_to(secret)
    (drawings / "folder.json").mkdir()
    (drawings / "picture.png").write_text(TEXT)
    (drawings / "damaged.json").write_text(TEXT[:-9])
    (drawings / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (drawings / "large.json").write_bytes(bytes(5_000_000))
    sentence = canvas.validate_inputs(drawing)
    assert sentence.startswith(f"drawing: {REFUSED[drawing]}") or REFUSED[drawing] in sentence
    assert str(drawings) not in sentence
    with pytest.raises(DrawingError) as refusal:
        run(canvas, drawing)
    assert sentence == f"drawing: {refusal.value}"
    assert canvas.fingerprint_inputs(drawing) is not None


@pytest.mark.parametrize("content", [b"", b"x", b"[]", b"\xff", b'{"v": 1}', TEXT.encode()[:-1]])
def test_only_drawings_are_stored(drawings, host, content):
    from pack.host.drawing_files import store_drawing
    from pack.preprocessors.strokes import DrawingError

    with pytest.raises(DrawingError):
        store_drawing(content)
    assert [*drawings.iterdir()] == []


def test_a_damaged_file_of_the_same_name_is_written_anew(drawings, host):
    from pack.host.drawing_files import store_drawing

    name = store_drawing(TEXT.encode())
    (drawings / name).write_text("cut")
    assert store_drawing(TEXT.encode()) == name
    assert (drawings / name).read_text() == TEXT


def test_load_pose_does_not_list_drawings(drawings, host):
    from pack.host.drawing_files import store_drawing
    from pack.host.keypoint_files import list_keypoint_files

    (drawings.parents[1] / "people.json").write_text("{}")
    name = store_drawing(TEXT.encode())
    listed = list_keypoint_files()
    assert "people.json" in listed
    assert not [file for file in listed if name in file]


def test_a_hint_of_8192_is_drawn_in_seconds(canvas, drawings):
    rng = np.random.default_rng(0)
    points = (np.cumsum(rng.normal(0, 4, (100, 100, 2)), axis=1) + 256) % 512
    rows = np.concatenate([points, np.ones((100, 100, 1))], axis=2).round(1)
    strokes = [{"tool": "brush", "size": 6, "points": row.ravel().tolist()} for row in rows]
    text = json.dumps({"v": 1, "width": 512, "height": 512, "strokes": strokes})
    hint, _ = run(canvas, text, width=8192, height=1024)
    assert hint.shape == (1, 1024, 8192, 3)
