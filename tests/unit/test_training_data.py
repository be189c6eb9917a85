"""Test what a data set reads, counts, and refuses before training. Needs no ComfyUI."""

from __future__ import annotations

import json
import os
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from pack.training import dataset, pictures


def picture(seed, size=(64, 64)):
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


@pytest.fixture
def fill(tmp_path):
    """Write a folder in the form of fill50k, with five pairs."""
    root = tmp_path / "input"
    folder = root / "fill"
    lines = []
    for i in range(5):
        for kind in ("source", "target"):
            path = folder / kind / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(i + 10 * (kind == "source"))).save(path)
        lines.append(
            {"source": f"source/{i}.png", "target": f"target/{i}.png", "prompt": f"prompt {i}"}
        )
    write(folder, lines)
    return folder


def write(folder, lines):
    (folder / "prompt.json").write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )


def build(folder, *, with_method=False, size=64, **options):
    source = dataset.from_folder(folder, with_method=with_method)
    return dataset.build(source, size, size, **options)


def test_pairs_are_what_the_files_contain(fill):
    data = build(fill)
    assert [pair.prompt for pair in data.pairs] == [f"prompt {i}" for i in range(5)]
    for i in range(5):
        assert data.target(i).equal(torch.from_numpy(picture(i).astype(np.float32) / 255))
        assert data.hint(i).equal(torch.from_numpy(picture(i + 10).astype(np.float32) / 255))
    assert data.report == "5 pairs at 64×64, hints from the data set"


def test_digest_depends_on_the_content(fill):
    first = build(fill).digest
    assert build(fill).digest == first
    Image.fromarray(picture(99)).save(fill / "source" / "3.png")
    second = build(fill).digest
    assert second != first
    text = (fill / "prompt.json").read_text()
    (fill / "prompt.json").write_text(text.replace("prompt 4", "another"))
    assert build(fill).digest not in (first, second)
    assert build(fill, size=128).digest != build(fill).digest


def test_faults_are_counted_before_training(fill):
    """Name every kind of fault at once, with counts and an example, unless left out."""
    (fill / "source" / "0.png").unlink()
    (fill / "target" / "1.png").write_bytes(b"no picture")
    whole = (fill / "target" / "2.png").read_bytes()
    (fill / "target" / "2.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(picture(3, (128, 64))).save(fill / "source" / "3.png")
    with (fill / "prompt.json").open("a") as file:
        file.write('\n{"source": "source/4.png"}\nnot json\n[1, 2]\n')
    with pytest.raises(ValueError, match=r"7 of 8 pairs cannot be used") as refused:
        build(fill)
    message = str(refused.value)
    for words in (
        "1 missing",
        "2 unreadable",
        "1 of another shape than their hint",
        "3 malformed lines",
        "leave_out",
    ):
        assert words in message
    left = build(fill, leave_out=True)
    assert len(left.pairs) == 1
    assert "left out: 3 malformed lines" in left.report


def test_a_data_set_without_usable_pairs_is_refused(fill):
    for path in fill.glob("target/*"):
        path.unlink()
    with pytest.raises(ValueError, match="5 of 5 pairs cannot be used: 5 missing") as refused:
        build(fill, leave_out=True)
    assert "leave_out" not in str(refused.value)
    write(fill, [])
    with pytest.raises(ValueError, match="the data set is empty"):
        build(fill)


def test_the_report_counts_empty_prompts_and_other_sizes(fill):
    write(
        fill,
        [
            {"source": f"source/{i}.png", "target": f"target/{i}.png", "prompt": "" if i else "one"}
            for i in (0, 1, 2)
        ],
    )
    report = build(fill, size=128).report
    assert "2 prompts are empty" in report
    assert "3 pictures of another size are scaled and cropped to it (3 of them enlarged)" in report


HALF = chr(0xD800)
ODD_ROWS = {
    "a zero byte": {"target": "\0", "source": "source/0.png"},
    "half a character": {"target": HALF, "source": "source/0.png"},
    "half a character in the prompt": {
        "target": "target/0.png",
        "source": "source/0.png",
        "prompt": HALF,
    },
    "a name that is too long": {"target": "x" * 300, "source": "source/0.png"},
    "a path that is too long": {"target": "x/" * 3000, "source": "source/0.png"},
    "a loop of links": {"target": "loop.png", "source": "source/0.png"},
    "a pipe": {"target": "pipe.png", "source": "source/0.png"},
    "a folder": {"target": "target", "source": "source/0.png"},
    "a list": {"target": ["target/0.png"], "source": "source/0.png"},
    "a prompt that is a list": {"target": "target/0.png", "source": "source/0.png", "prompt": [1]},
    "nested": "[" * 100_000,
    "nested in the prompt": '{"prompt":' + "[" * 100_000,
    "a number": "5",
    "text": "target/0.png",
}


@pytest.mark.parametrize("row", ODD_ROWS)
def test_a_bad_row_is_counted_and_never_fatal(fill, row):
    good = [
        {"source": f"source/{i}.png", "target": f"target/{i}.png", "prompt": ""} for i in range(4)
    ]
    (fill / "loop.png").symlink_to(fill / "loop.png")
    os.mkfifo(fill / "pipe.png")
    write(fill, [*good[:2], ODD_ROWS[row], *good[2:]])
    data = build(fill, leave_out=True)
    assert len(data.pairs) == 4
    assert "left out: 1 " in data.report
    assert len(data.report) < 500
    with pytest.raises(ValueError, match="1 of 5 pairs cannot be used: ") as refused:
        build(fill)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "name", ["../../secret.png", "/etc/hostname", "source/../../../secret.png", r"..\..\secret.png"]
)
def test_paths_out_of_the_folder_are_refused(fill, name):
    Image.fromarray(picture(1)).save(fill.parents[1] / "secret.png")
    write(fill, [{"source": name, "target": "target/0.png", "prompt": ""}])
    with pytest.raises(ValueError, match="1 outside the data set's folder"):
        build(fill)


def test_links_out_of_the_folder_are_refused(fill, tmp_path):
    Image.fromarray(picture(1)).save(tmp_path / "secret.png")
    (fill / "source" / "0.png").unlink()
    (fill / "source" / "0.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match="1 outside the data set's folder"):
        build(fill)
    write(fill, [])
    (fill / "prompt.json").unlink()
    (fill / "prompt.json").symlink_to(tmp_path / "list.json")
    (tmp_path / "list.json").write_text("{}")
    with pytest.raises(pictures.PictureError, match="outside the data set's folder"):
        build(fill)


@pytest.mark.parametrize(
    "name", ["", " ", "..", "../input/fill", "/etc", "fill/..", ".", "nothing", "link"]
)
def test_folders_elsewhere_are_refused(fill, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (fill.parent / "link").symlink_to(outside)
    if name == "../input/fill":  # a detour that ends where it may
        assert dataset.folder(fill.parent, name) == fill.resolve()
        return
    with pytest.raises(ValueError, match=r"folder: .*There: fill"):
        dataset.folder(fill.parent, name)


def bomb(path, side=30000):
    """Write a PNG of side × side black pixels: a megabyte on the disk, gigabytes when decoded."""
    row = b"\x00" * ((side + 7) // 8 + 1)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

    def chunk(kind, body):
        return (
            len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        )

    head = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [30000, 10000], ids=["beyond Pillow's limit", "beyond ours"])
def test_a_picture_bomb_is_refused(fill, side):
    import resource

    bomb(fill / "target" / "0.png", side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"1 too large") as refused:
        build(fill)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    )  # kilobytes: it was not decoded
    assert str(side) in str(refused.value) or "decompression bomb" in str(refused.value)


def test_pictures_of_all_modes(tmp_path):
    """Check grey, palette, 16 bits, EXIF rotation, transparency over white: values by hand."""
    half = Image.new("RGBA", (64, 64), (0, 0, 0, 128))
    half.save(tmp_path / "clear.png")
    assert pictures.decoded((tmp_path / "clear.png").read_bytes())[0, 0, 0] == pytest.approx(
        127 / 255, abs=1 / 255
    )
    Image.fromarray(np.full((64, 64), 32768, np.uint16)).save(tmp_path / "deep.png")
    assert pictures.decoded((tmp_path / "deep.png").read_bytes())[5, 5].tolist() == pytest.approx(
        [32768 / 65535] * 3
    )
    Image.new("L", (8, 8), 51).convert("P").save(tmp_path / "palette.png")
    assert pictures.decoded((tmp_path / "palette.png").read_bytes())[
        0, 0
    ].tolist() == pytest.approx([0.2] * 3)
    wide = Image.fromarray(picture(1, (64, 32)))
    exif = wide.getexif()
    exif[0x0112] = 6  # shown turned by a quarter
    wide.save(tmp_path / "turned.png", exif=exif)
    assert pictures.decoded((tmp_path / "turned.png").read_bytes()).shape == (64, 32, 3)


def test_fitting_keeps_the_middle():
    ramp = torch.linspace(0, 1, 256)[None, :, None].repeat(128, 1, 3)
    assert pictures.fitted(ramp, 256, 128) is ramp
    cut = pictures.fitted(ramp, 64, 64)  # to 128 × 64, then the middle
    assert cut.shape == (64, 64, 3)
    assert cut[0, 0, 0] == pytest.approx(0.25, abs=0.01)
    assert cut[0, -1, 0] == pytest.approx(0.75, abs=0.01)
    assert bool((cut[:, 1:] > cut[:, :-1]).all())


def test_pictures_with_a_method(tmp_path):
    """Make hints from the pictures as they are trained; captions are in files beside them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(picture(i, (128, 128))).save(folder / f"{i}.jpg", quality=95)
    (folder / "1.txt").write_text("a caption\n")
    shapes = []

    def method(target):
        shapes.append(target.shape)
        return 1 - target

    data = build(
        folder, with_method=True, method=method, hint_method="negative", hint_params={"a": 1}
    )
    assert shapes == [(64, 64, 3)] * 3
    assert [pair.prompt for pair in data.pairs] == ["", "a caption", ""]
    assert torch.allclose(data.hint(0), 1 - data.target(0), atol=0.5 / 255 + 1e-6)
    assert data.hint_method == "negative"
    other = build(
        folder, with_method=True, method=method, hint_method="negative", hint_params={"a": 2}
    )
    assert other.digest != data.digest
    with pytest.raises(ValueError, match=r"photos/ has no prompt.json"):
        build(folder)
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="has no pictures"):
        build(folder / "empty", with_method=True)


def test_method_on_a_listed_folder(fill):
    """Do not read the list's source where a method makes the hints."""
    write(fill, [{"target": "target/0.png", "prompt": "x"}])
    data = build(fill, with_method=True, method=lambda target: 1 - target, hint_method="negative")
    assert torch.allclose(data.hint(0), 1 - data.target(0), atol=0.5 / 255 + 1e-6)


def test_batches_from_the_graph():
    targets, hints = torch.rand(3, 64, 64, 3), torch.rand(3, 64, 64, 3)
    data = dataset.build(dataset.from_batches(targets, hints, "one for all"), 64, 64)
    assert [pair.prompt for pair in data.pairs] == ["one for all"] * 3
    assert data.target(2).equal(targets[2])
    assert data.hint(1).equal(hints[1])
    lines = dataset.build(dataset.from_batches(targets, hints, "a\nb\nc"), 64, 64)
    assert [pair.prompt for pair in lines.pairs] == ["a", "b", "c"]
    with pytest.raises(
        ValueError, match="expected one line, or one for each of 3 pictures, found 2"
    ):
        dataset.from_batches(targets, hints, "a\nb")
    with pytest.raises(ValueError, match="hint: expected as many as targets, 3, found 2"):
        dataset.from_batches(targets, hints[:2], "")
    targets[1, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="1 of 3 pairs cannot be used: 1 unreadable"):
        dataset.build(dataset.from_batches(targets, hints, ""), 64, 64)


@pytest.mark.parametrize("size", [(0, 64), (64, 100), (32, 32)])
def test_sizes_that_a_unet_cannot_halve_are_refused(size):
    with pytest.raises(ValueError, match="expected multiples of 64"):
        dataset.build(dataset.Source([]), *size)


def test_progress_and_stop(fill):
    seen = []
    build(fill, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 5) for i in range(6)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(fill, progress=stop)


def test_building_leaves_the_counts_of_its_source_alone(fill):
    (fill / "source" / "0.png").unlink()
    source = dataset.from_folder(fill, with_method=False)
    for _ in range(2):
        report = dataset.build(source, 64, 64, leave_out=True).report
        assert "left out: 1 missing" in report
    assert not source.faults


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_of_windows_editors_are_not_part_of_a_text(fill, tmp_path, encoding):
    """Read lists and captions with and without a byte order mark."""
    lines = (fill / "prompt.json").read_text()
    (fill / "prompt.json").write_bytes(lines.replace("prompt 0", "café").encode(encoding))
    assert [pair.prompt for pair in build(fill).pairs][:2] == ["café", "prompt 1"]
    folder = tmp_path / "captioned"
    folder.mkdir()
    Image.fromarray(picture(1)).save(folder / "a.png")
    (folder / "a.txt").write_bytes("a café\r\n".encode(encoding))
    data = build(folder, with_method=True, method=lambda target: 1 - target, hint_method="n")
    assert data.pairs[0].prompt == "a café"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_texts_that_do_not_decode_are_counted(fill, tmp_path, encoding):
    """Count them as faults, instead of training on what they look like."""
    text = json.dumps(
        {"source": "source/0.png", "target": "target/0.png", "prompt": "café"}, ensure_ascii=False
    )
    with (fill / "prompt.json").open("ab") as file:
        file.write(b"\n" + text.encode(encoding))
    with pytest.raises(ValueError, match=r"1 of 6 pairs.*1 prompts that are not UTF-8 text"):
        build(fill)
    folder = tmp_path / "captioned"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(picture(1)).save(folder / f"{name}.png")
    (folder / "a.txt").write_bytes("a café".encode(encoding))
    method = {"with_method": True, "method": lambda target: 1 - target, "hint_method": "n"}
    with pytest.raises(ValueError, match=r"1 of 2 pairs.*not UTF-8 text.*a.txt"):
        build(folder, **method)
    assert len(build(folder, leave_out=True, **method).pairs) == 1


def test_methods_that_draw_nothing_or_the_picture_itself_are_refused(fill):
    for method, sentence in (
        (lambda target: target.clone(), "copy: .*settings gives the picture itself"),
        (torch.zeros_like, "copy: .*settings gives hints of one colour"),
    ):
        sentence = sentence.replace("copy: ", "method: copy with these ")
        with pytest.raises(ValueError, match=sentence.replace(".*settings", "settings")):
            build(fill, with_method=True, method=method, hint_method="copy")


def test_the_report_counts_hints_that_say_nothing(fill):
    Image.new("RGB", (64, 64)).save(fill / "source" / "1.png")
    Image.new("RGB", (64, 64), (9, 200, 30)).save(fill / "source" / "2.png")
    (fill / "source" / "3.png").write_bytes((fill / "target" / "3.png").read_bytes())
    report = build(fill).report
    assert "2 hints are of one colour" in report
    assert "1 hints are the picture itself" in report


def test_swapped_source_and_target_are_noticed(fill):
    """Edges as targets and pictures as hints: the commonest mistake in a list."""
    for i in range(5):
        edges = (np.random.default_rng(i).random((64, 64)) > 0.9) * np.uint8(255)
        Image.fromarray(edges).save(fill / "source" / f"{i}.png")
    assert "swapped" not in build(fill).report
    lines = [json.loads(line) for line in (fill / "prompt.json").read_text().splitlines()]
    write(fill, [{**line, "source": line["target"], "target": line["source"]} for line in lines])
    assert "5 targets are grey and their hints coloured: are source and target swapped?" in (
        build(fill).report
    )


def test_pictures_that_share_a_caption_are_said(tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        Image.fromarray(picture(1)).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("which one?")
    method = {"with_method": True, "method": lambda target: 1 - target, "hint_method": "n"}
    assert "a.txt is the caption of 2 pictures" in build(tmp_path, **method).report


@pytest.mark.parametrize("size", [(522, 512), (512, 522), (1034, 1024)])
def test_hints_of_a_slightly_other_aspect_meet_their_target(size):
    """A hint that was scaled to whole tiles is scaled back: its edges lie where the target's do."""
    import torch.nn.functional as F

    height, width = 512, 512
    target = torch.zeros(1, 3, height, width)
    target[..., 100:104, :] = target[..., :, 400:404] = 1
    hint = F.interpolate(target, (size[1], size[0]), mode="bilinear")
    rows = [part[0].movedim(0, -1)[None] for part in (target, hint)]
    data = dataset.build(dataset.from_batches(rows[0], rows[1], ""), width, height)
    for line in (lambda p: p[:50, :, 0].mean(0), lambda p: p[:, :50, 0].mean(1)):
        places = [
            float((line(p) * torch.arange(512)).sum() / line(p).sum())
            for p in (data.target(0), data.hint(0))
        ]
        assert places[0] == pytest.approx(places[1], abs=0.5)


def test_the_mask_of_an_inpaint_hint_survives_scaling():
    """Keep -1 where it is masked, and nothing between -1 and the picture."""
    hint = torch.rand(1, 128, 128, 3)
    hint[:, 32:96, 32:96] = -1
    data = dataset.build(dataset.from_batches(torch.rand(1, 128, 128, 3), hint, ""), 64, 64)
    scaled = data.hint(0)
    assert bool((scaled[16:48, 16:48] == -1).all())
    assert bool(((scaled == -1) | (scaled >= 0)).all())
    assert int((scaled[..., 0] == -1).sum()) == 32 * 32


def test_an_epoch_is_drawn_once(monkeypatch):
    """A permutation of all pairs for every row would take longer than the step."""
    from pack.training import objective

    drawn = []
    real = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *a, **k: drawn.append(a) or real(*a, **k))
    rows = [objective.draw_batch(123, first, 4, 10, 5, (1,), 0.0).rows for first in range(0, 40, 4)]
    assert len(drawn) == 4
    flat = [row for batch in rows for row in batch]
    assert all(sorted(flat[start : start + 10]) == list(range(10)) for start in range(0, 40, 10))
