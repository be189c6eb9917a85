"""The services of host/ that need no ComfyUI, one table of cases each."""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pack.host import atomic, folders, kept, memory, picture_files

ROOT = Path(__file__).resolve().parents[2]

# -- names inside folders --------------------------------------------------------------------------

ACCEPTED = [
    "a.png",
    "sub/a.png",
    "sub/new/a.png",
    "./a.png",
    "sub//a.png",
    "näme 日本 🎨.png",
    ".hidden",
    "a..png",
    "console.png",
    "com10.png",
    "link inside.png",
    "／etc／passwd",  # a fullwidth solidus separates nothing
    "..∕a.png",  # nor does a division slash
    "x" * 255,
]
REFUSED = {
    "": "empty",
    "  ": "empty",
    ".": "itself",
    "./": "itself",
    "..": "path",
    "../a.png": "path",
    "sub/../../a.png": "path",
    "sub/../a.png": "path",
    "sub/..": "path",
    "..\\a.png": "path",
    "sub\\..\\..\\a.png": "path",
    "/etc/passwd": "path",
    "\\a.png": "path",
    "C:\\Windows\\win.ini": "path",
    "C:/Windows/win.ini": "path",
    "c:a.png": "path",
    "\\\\server\\share\\a.png": "path",
    "//server/share/a.png": "path",
    "\\\\?\\C:\\a.png": "path",
    "\\\\.\\pipe\\a": "path",
    "a\0.png": "unusable",
    "\ud800.png": "unusable",
    "x" * 256: "unreachable",
    "ä" * 128: "unreachable",  # 256 bytes
    "missing/" + "x" * 300: "unreachable",
    "x/" * 3000: "unreachable",
    "loop.png": "unreachable",
    "loop.png/a.png": "unreachable",
    "link outside.png": "outside",
    "outside/secret.png": "outside",
    "outside/new.png": "outside",
}
ONLY_ON_WINDOWS = [
    "CON",
    "con.png",
    "sub/NUL",
    "nul.tar.gz",
    "Aux .png",
    "COM1",
    "com¹.txt",
    "lpt9.safetensors",
    "CONIN$",
    "prn/a.png",
    "a.png:stream",
    "sub/a:b",
    "a.",
    "a ",
    "sub./a.png",
    "sub /a.png",
    "...",
]


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "sub" / "a.png").write_bytes(b"")
    (root / "link inside.png").symlink_to(root / "sub" / "a.png")
    (root / "link outside.png").symlink_to(tmp_path / "secret.png")
    (root / "outside").symlink_to(tmp_path)
    (root / "loop.png").symlink_to(root / "loop.png")
    return root


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("name", ACCEPTED, ids=lambda name: name[:30])
def test_names_inside_are_accepted(folder, name, windows):
    path = folders.inside(folder, name, windows=windows)
    assert path == (folder / name).resolve()
    assert path.is_relative_to(folder.resolve())


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize(("name", "fault"), REFUSED.items(), ids=lambda text: ascii(text)[:30])
def test_names_that_lead_elsewhere_are_refused(folder, name, fault, windows):
    with pytest.raises(folders.FileNameError) as refused:
        folders.inside(folder, name, windows=windows)
    assert refused.value.fault == fault
    assert folders.FAULTS[fault] in str(refused.value)


@pytest.mark.parametrize("name", ONLY_ON_WINDOWS)
def test_names_that_only_windows_reads_otherwise(folder, name):
    assert folders.inside(folder, name, windows=False) == (folder / name).resolve()
    with pytest.raises(folders.FileNameError) as refused:
        folders.inside(folder, name, windows=True)
    assert refused.value.fault == "unusable"


def test_detours_may_end_inside_only(folder):
    inside, a = folders.inside, (folder / "sub" / "a.png").resolve()
    for name in (
        "sub/../sub/a.png",
        f"../{folder.name}/sub/a.png",
        str(a),
        str(folder / "sub" / "a.png"),
    ):
        assert inside(folder, name, detours=True) == a
    for name, fault in [
        ("../secret.png", "path"),
        ("/etc/passwd", "path"),
        ("sub/..", "itself"),
        (str(folder), "itself"),
        ("outside/secret.png", "outside"),
        (f"outside/{folder.name}/../secret.png", "path"),
        ("a\0b", "unusable"),
        ("loop.png", "unreachable"),
    ]:
        with pytest.raises(folders.FileNameError) as refused:
            inside(folder, name, detours=True)
        assert refused.value.fault == fault, name


@pytest.mark.parametrize("name", ["\\\\server\\share\\a.png", "//server/share/a.png", "D:\\a.png"])
def test_a_network_share_is_refused_before_the_disk_is_asked(folder, name, monkeypatch):
    monkeypatch.setattr(folders, "_resolved", lambda *_: pytest.fail("the disk was asked"))
    with pytest.raises(folders.FileNameError, match="is a path"):
        folders.inside(folder, name, detours=True, windows=True)


def test_a_folder_that_is_itself_a_link(folder, tmp_path):
    (tmp_path / "alias").symlink_to(folder)
    assert folders.inside(tmp_path / "alias", "sub/a.png") == (folder / "sub" / "a.png").resolve()


# -- atomic writes ---------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"bytes", b"bytes"),
        ("tëxt\n", "tëxt\n".encode()),
        (lambda part: part.write_bytes(b"filled"), b"filled"),
        (b"", b""),
    ],
)
def test_whatever_is_written_is_there_whole_and_alone(tmp_path, content, expected):
    path = tmp_path / "new" / "a.bin"
    for _ in range(2):  # new, then over what is there
        atomic.write(path, content)
        assert path.read_bytes() == expected
        assert names(path.parent) == ["a.bin"]


def disk_full(part):
    part.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device", str(part))


def quota_exceeded(part):
    raise OSError(errno.EDQUOT, "Disk quota exceeded", str(part))


def refused(part):
    raise PermissionError(errno.EACCES, "Permission denied", str(part))


FAILURES = {
    disk_full: r"^a\.bin: the disk is full; 5 MB are needed in .*new\. Free space; ",
    quota_exceeded: r"^a\.bin: the disk is full; 5 MB are needed",
    refused: r"^a\.bin could not be written to .*new \(Permission denied\); ",
}


@pytest.mark.parametrize("fill", FAILURES, ids=lambda fill: fill.__name__)
@pytest.mark.parametrize("is_there", [False, True], ids=["new", "over a file"])
def test_a_failed_write_says_why_and_leaves_nothing(tmp_path, fill, is_there):
    path = tmp_path / "new" / "a.bin"
    if is_there:
        atomic.write(path, b"old")
    with pytest.raises(OSError, match=FAILURES[fill]) as error:
        atomic.write(path, fill, size_bytes=5_000_000)
    assert ".part" not in str(error.value)
    assert ("untouched" if is_there else "nothing was left behind") in str(error.value)
    assert names(path.parent) == (["a.bin"] if is_there else [])
    assert not is_there or path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"a\.bin could not be written to .*file"):
        atomic.write(tmp_path / "file" / "a.bin", b"")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(OSError, match=r"could not be written to .*locked \(Permission denied\)"):
        atomic.write(locked / "a.bin", b"")


def test_other_errors_pass_and_leave_nothing(tmp_path):
    class Cancelled(BaseException): ...

    def cancel(part):
        part.write_bytes(b"half")
        raise Cancelled

    with pytest.raises(Cancelled):
        atomic.write(tmp_path / "a.bin", cancel)
    assert names(tmp_path) == []


@pytest.mark.parametrize("has_links", [True, False])
def test_write_new_takes_the_first_free_name(tmp_path, monkeypatch, has_links):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "0.json").write_text("mine")
    for number in (1, 2):
        paths = (tmp_path / f"{n}.json" for n in range(10))
        assert atomic.write_new(paths, f"text {number}") == tmp_path / f"{number}.json"
        assert (tmp_path / f"{number}.json").read_text() == f"text {number}"
    assert (tmp_path / "0.json").read_text() == "mine"
    assert names(tmp_path) == ["0.json", "1.json", "2.json"]
    with pytest.raises(FileExistsError, match="are taken"):
        atomic.write_new([tmp_path / "0.json", tmp_path / "1.json"], "more")
    assert names(tmp_path) == ["0.json", "1.json", "2.json"]


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    dead, alive, day_ago = dead_pid(), os.getppid(), time.time() - 25 * 3600
    left = {
        f".a.bin.{dead}.part": (False, True),
        f".a.bin.{alive}.part": (False, False),  # somebody writes it now
        f".a.bin.{alive}0.part": (True, True),
        f".b.bin.{dead}.part": (False, False),  # another file's, and fresh
        f".c.bin.{dead}.part": (True, True),
        f".a.bin.{'9' * 40}.part": (True, False),  # no number of a process
        f".c.txt.{dead}.part": (True, False),  # another kind of file
        "tiny.bin.part": (True, False),  # a download that can be resumed
        ".a.bin.part": (True, False),
        ".a.bin.x1.part": (True, False),
        f"a.bin.{dead}.part": (True, False),
    }
    for name, (is_old, _) in left.items():
        (tmp_path / name).write_bytes(b"half")
        if is_old:
            os.utime(tmp_path / name, (day_ago, day_ago))
    atomic.write(tmp_path / "a.bin", b"new")
    stay = [name for name, (_, is_removed) in left.items() if not is_removed]
    assert names(tmp_path) == sorted([*stay, "a.bin"])


def test_an_hour_old_leftover_of_another_name_is_removed_if_its_process_is_gone(tmp_path):
    hour_ago = time.time() - 3600
    for pid in (dead_pid(), os.getppid()):
        (tmp_path / f".b.bin.{pid}.part").write_bytes(b"half")
        os.utime(tmp_path / f".b.bin.{pid}.part", (hour_ago, hour_ago))
    atomic.write(tmp_path / "a.bin", b"new")
    assert names(tmp_path) == [f".b.bin.{os.getppid()}.part", "a.bin"]


KILLED = """
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("atomic", {module!r})
atomic = importlib.util.module_from_spec(spec)
spec.loader.exec_module(atomic)
def fill(part):
    with part.open("wb") as file:
        file.write(b"n" * 1000)
        file.flush()
        print("half way", flush=True)
        time.sleep(60)
{call}
"""


def killed_half_way(call: str) -> int:
    """Kill a process in the middle of a write, and return its id."""
    code = KILLED.format(module=str(ROOT / "host" / "atomic.py"), call=call)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "half way"
    process.kill()
    process.wait()
    return process.pid


has_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")


@has_kill
def test_killed_in_the_middle_of_a_write(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    pid = killed_half_way(f"atomic.write(Path({str(path)!r}), fill)")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == [f".a.bin.{pid}.part", "a.bin"]
    atomic.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


@has_kill
def test_killed_in_the_middle_of_a_numbered_write(tmp_path):
    """As Save Pose writes: the next file takes the number that the killed one would have had."""
    paths = [tmp_path / f"pose_{number:05}.json" for number in range(1, 9)]
    atomic.write_new(paths, "first")
    listed = [str(path) for path in paths]
    pid = killed_half_way(f"atomic.write_new(map(Path, {listed[1:]!r}), fill)")
    assert names(tmp_path) == [f".pose_00002.json.{pid}.part", "pose_00001.json"]
    assert atomic.write_new(paths[1:], "second") == paths[1]
    assert [path.read_text() for path in paths[:2]] == ["first", "second"]
    assert names(tmp_path) == ["pose_00001.json", "pose_00002.json"]


# -- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError(), True),
        (MemoryError("Unable to allocate 600. GiB for an array"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("XPU out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("HIP error: hipErrorOutOfMemory"), True),
        (RuntimeError("Native API failed: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"), True),
        (RuntimeError("Could not allocate: not enough GPU video memory available!"), True),
        (RuntimeError("Invalid buffer size: 24.00 GiB"), True),
        (RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory is what this sentence is about"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (KeyError("out of memory"), False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_of_memory_are_told_from_others(error, is_memory):
    assert memory.is_out_of_memory(error) is is_memory


# -- pictures of unknown origin --------------------------------------------------------------------

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
OVER_WHITE = picture_files.Rules(
    FORMATS, 10_000_000, picture_files.over_white, picture_files.rgb_full_range
)
AS_COMFYUI = picture_files.Rules(
    FORMATS, 10_000_000, picture_files.ignore_transparency, picture_files.rgb_like_comfyui
)


def stored(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def bomb(side: int) -> bytes:
    """Make a PNG of side × side black pixels that takes a few kilobytes."""
    row = b"\0" * ((side + 7) // 8 + 1)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

    def chunk(kind, body):
        check = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + check

    head = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def with_exif() -> bytes:
    wide = Image.new("RGB", (4, 2), "red")
    exif = wide.getexif()
    exif[0x0112] = 6  # shown turned by a quarter
    return stored(wide, exif=exif)


def animated() -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    return stored(frames[0], "GIF", save_all=True, append_images=frames[1:])


def palette_with_transparency() -> bytes:
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([0, 0, 255, 255, 0, 0])
    return stored(picture, transparency=0)


def claims(width: int, height: int) -> bytes:
    """Make a BMP of four pixels whose header says more."""
    data = bytearray(stored(Image.new("RGB", (2, 2)), "BMP"))
    data[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return bytes(data)


def lossy_webp(width: int, height: int) -> bytes:
    """Make a lossy WebP of four pixels whose frame says more."""
    data = bytearray(stored(Image.new("RGB", (2, 2)), "WEBP"))
    data[26:30] = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return bytes(data)


DEEP = np.full((8, 8), 32768, np.uint16)
BLUE, RED, WHITE = (0, 0, 1), (1, 0, 0), (1, 1, 1)
DECODED = {
    # name: (file, height and width, first pixel over white, first pixel as ComfyUI reads it)
    "rgb": (stored(Image.new("RGB", (8, 8), (51, 102, 204))), (8, 8), (0.2, 0.4, 0.8), None),
    "one pixel": (stored(Image.new("RGB", (1, 1), "red")), (1, 1), RED, None),
    "one bit": (stored(Image.new("1", (8, 8), 1)), (8, 8), WHITE, None),
    "grey": (stored(Image.new("L", (8, 8), 51)), (8, 8), (0.2,) * 3, None),
    "palette": (stored(Image.new("L", (8, 8), 51).convert("P")), (8, 8), (0.2,) * 3, None),
    "palette, transparent": (palette_with_transparency(), (8, 8), WHITE, BLUE),
    "rgba, transparent": (stored(Image.new("RGBA", (8, 8), (255, 0, 0, 0))), (8, 8), WHITE, RED),
    "cmyk": (stored(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), (8, 8), RED, None),
    "turned by exif": (with_exif(), (4, 2), RED, None),
    "animated": (animated(), (8, 8), RED, None),
    "32-bit grey": (
        stored(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
        (8, 8),
        (32768 / 65535,) * 3,
        (128 / 255,) * 3,
    ),
}


@pytest.mark.parametrize("case", DECODED)
def test_pictures_are_decoded_by_their_callers_rules(case, tmp_path):
    data, size, over_white, as_comfyui = DECODED[case]
    (tmp_path / "file.png").write_bytes(data)  # whatever its suffix says
    for rules, expected in ((OVER_WHITE, over_white), (AS_COMFYUI, as_comfyui or over_white)):
        for source in (data, tmp_path / "file.png"):
            pixels = picture_files.decode(source, rules)
            assert (pixels.shape, pixels.dtype) == ((*size, 3), np.float32)
            np.testing.assert_allclose(pixels[0, 0], expected, atol=1e-6)
            assert torch.from_numpy(pixels).isfinite().all()


def test_16_bit_greys_keep_their_levels():
    ramp = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    pixels = picture_files.decode(stored(Image.fromarray(ramp)), OVER_WHITE)
    assert len(np.unique(pixels)) == 256
    np.testing.assert_array_equal(pixels[..., 0], ramp.astype(np.float32) / 65535)


WHOLE = stored(Image.effect_noise((64, 64), 50))
UNUSABLE = {
    "bomb": (bomb(30_000), "too large"),
    "beyond the caller's limit": (bomb(4000), "too large"),
    "cut short": (WHOLE[: len(WHOLE) // 2], "damaged"),
    "cut short in its header": (WHOLE[:20], "unreadable"),
    "a text": (b"not a picture", "unreadable"),
    "zero bytes": (b"", "unreadable"),
    "a vector drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unreadable"),
    "a format that was not asked for": (stored(Image.new("L", (8, 8)), "PPM"), "unreadable"),
    "more pixels than bytes can hold": (claims(3000, 2500), "damaged"),
    "more than lossy WebP can hold": (lossy_webp(3000, 2500), "damaged"),
    "a damaged chunk": (WHOLE[:60] + b"\xff" * 40 + WHOLE[100:], "damaged"),
}


@pytest.mark.parametrize("rules", [OVER_WHITE, AS_COMFYUI], ids=["over white", "as ComfyUI"])
@pytest.mark.parametrize("case", UNUSABLE)
def test_pictures_that_cannot_be_used_are_one_kind_of_error(case, rules, tmp_path):
    data, kind = UNUSABLE[case]
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, tmp_path / "a.png"):
        with pytest.raises(picture_files.PictureError) as error:
            picture_files.decode(source, rules, "a.png")
        assert error.value.kind == kind
        assert str(error.value).startswith(f"{kind}: a.png")


def test_a_large_picture_of_one_colour_is_a_small_webp():
    blank = Image.new("RGB", (2500, 2000), (255, 0, 0))
    for lossless in (False, True):
        data = stored(blank, "WEBP", lossless=lossless)
        assert picture_files.decode(data, OVER_WHITE).shape == (2000, 2500, 3)


def test_a_bomb_takes_no_memory():
    resource = pytest.importorskip("resource")
    data = bomb(30_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(picture_files.PictureError):
        picture_files.decode(data, OVER_WHITE)
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kb < 200_000


def test_random_damage_is_always_that_error():
    """Whatever Pillow's decoders raise for a flipped byte."""
    rng = np.random.default_rng(1)
    noise = Image.effect_noise((16, 16), 80)
    for kind in FORMATS:
        whole = np.frombuffer(stored(noise.convert("RGB"), kind), np.uint8)
        for _ in range(60):
            data = whole.copy()
            data[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
            try:
                pixels = picture_files.decode(data.tobytes(), OVER_WHITE)
            except picture_files.PictureError:
                continue
            assert pixels.shape[2] == 3


# -- arrays that are kept for a while --------------------------------------------------------------


def test_kept_arrays_are_bounded_in_bytes_and_let_go_with_the_garbage():
    arrays = kept.Kept(1000)
    for name in "abcd":
        arrays.put(name, np.zeros(300, np.uint8))
    assert [name for name in "abcd" if arrays.get(name) is not None] == ["b", "c", "d"]
    arrays.get("b")
    arrays.put("e", np.zeros(300, np.uint8))
    assert arrays.get("c") is None  # the least recently used
    arrays.put("huge", np.zeros(1001, np.uint8))
    assert arrays.get("huge") is None
    assert arrays.nbytes() == 900
    gc.collect()  # as ComfyUI's free button does
    assert arrays.nbytes() == 0
