"""Headers of safetensors files: read without the tensors; every fault is one sentence."""

from __future__ import annotations

import json
import os
import struct

import pytest
import torch
from safetensors.torch import save, save_file

from pack.files import families, header


def stored(table, body: bytes = b"") -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape=(2, 3), offsets=(0, 24), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def test_a_header_is_read_without_its_tensors(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(stored({"__metadata__": {"title": "x"}, "a": entry()}, bytes(24)))
    assert header.read_header(path) == header.Header({"a": (2, 3)}, {"title": "x"})


DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn,
    torch.float8_e5m2,
)  # fmt: skip


def test_what_the_library_writes_is_read(tmp_path):
    """Every type of number, scalars, empty tensors, and no tensor at all."""
    tensors = {str(dtype): torch.zeros(3, 5, dtype=dtype) for dtype in DTYPES}
    tensors |= {"scalar": torch.tensor(1.0), "empty": torch.zeros(0, 4)}
    for content in (tensors, {}):
        save_file(content, tmp_path / "net.safetensors", {"note": "é"})
        read = header.read_header(tmp_path / "net.safetensors")
        assert read.shapes == {key: tuple(value.shape) for key, value in content.items()}
        assert read.metadata == {"note": "é"}


WHOLE = save({"a": torch.zeros(2, 3), "b": torch.zeros(4)})
DEEP = b"[" * 100_000
FAULTS = {
    "empty": (b"", "the file is empty"),
    "three bytes": (b"abc", "cut short in its header"),
    "cut by one byte": (WHOLE[:-1], "is cut short: its header promises"),
    "cut in the header": (WHOLE[:20], "cut short in its header"),
    "padded": (WHOLE + b"\0\0\0", "describes .* bytes without gaps, the file has"),
    "two files in one": (WHOLE * 2, "describes .* bytes without gaps, the file has"),
    "an archive": (b"PK\x03\x04" + bytes(100), "a pickle with the name"),
    "a pickle": (b"\x80\x02}q\x00." + bytes(100), "a pickle with the name"),
    "a page": (b"<!doctype html>" + bytes(100), "a text file"),
    "a pointer": (b"version https://git-lfs" + bytes(100), "a text file"),
    "no JSON": (stored(b"[[[["), "its header does not read"),
    "nested lists": (stored(DEEP), "its header does not read"),
    "nested objects": (stored(b'{"a":' * 50_000), "its header does not read"),
    "not UTF-8": (stored(b'{"\xff": 1}'), "its header does not read"),
    "a list": (stored([]), "its header does not read"),
    "a text": (stored("shape data_offsets"), "its header does not read"),
    "5,000 digits": (stored(b'{"a": %s}' % (b"9" * 5000)), "its header does not read"),
    "metadata: a list": (stored({"__metadata__": [1]}), "its header does not read"),
    "metadata: a text": (stored({"__metadata__": "x"}), "its header does not read"),
    "metadata: numbers": (stored({"__metadata__": {"a": 1}}), "its header does not read"),
}
BAD_ENTRIES = {
    "null": None,
    "a text": "dtype shape data_offsets",
    "no shape": {"dtype": "F32", "data_offsets": [0, 24]},
    "no type": {"shape": [2, 3], "data_offsets": [0, 24]},
    "no offsets": {"dtype": "F32", "shape": [2, 3]},
    "shape: a number": entry() | {"shape": 3},
    "shape: a text": entry() | {"shape": "23"},
    "shape: an object": entry() | {"shape": {}},
    "shape: nested": entry() | {"shape": [[2], 3]},
    "shape: negative": entry((-2, -3)),
    "shape: fractions": entry((2.0, 3)),
    "shape: a boolean": entry((True, 6)),
    "shape: too large": entry((2**40, 3)),
    "shape: too small": entry((2, 2)),
    "shape: 100 axes": entry((1,) * 100, (0, 4)),
    "offsets: one": entry(offsets=(24,)),
    "offsets: three": entry(offsets=(0, 12, 24)),
    "offsets: backwards": entry(offsets=(24, 0)),
    "offsets: negative": entry(offsets=(-24, 0)),
    "offsets: a text": entry() | {"data_offsets": "ab"},
    "type: a list": entry() | {"dtype": ["F32"]},
    "type: a number": entry(dtype=32),
}
FAULTS |= {
    f"entry, {case}": (stored({"a": value}, bytes(24)), "does not describe the tensor 'a'")
    for case, value in BAD_ENTRIES.items()
}
FAULTS |= {
    "a gap before": (stored({"a": entry(offsets=(8, 32))}, bytes(32)), "without gaps"),
    "a gap between": (
        stored({"a": entry(), "b": entry(offsets=(30, 54))}, bytes(54)),
        "without gaps",
    ),
    "two in one place": (stored({"a": entry(), "b": entry()}, bytes(24)), "without gaps"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_a_sentence_with_the_files_name(tmp_path, case):
    content, sentence = FAULTS[case]
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    with pytest.raises(header.FileError, match=rf"^net\.safetensors.*{sentence}") as refused:
        header.read_header(path)
    assert len(str(refused.value)) < 300


def test_what_is_not_a_file_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    (tmp_path / "folder.safetensors").mkdir()
    for path in (pipe, tmp_path / "folder.safetensors"):
        with pytest.raises(header.FileError, match="is not a file"):
            header.read_header(path)
    with pytest.raises(header.FileError, match=r"gone\.safetensors could not be read"):
        header.read_header(tmp_path / "gone.safetensors")


def test_hostile_shapes_are_identified_or_not_but_never_raise():
    for shape in ((), (0,), (4,), (2**40,) * 16):
        shapes = {
            "control_model.zero_convs.0.0.weight": shape,
            f"control_model.zero_convs.{'9' * 200}.0.weight": shape,
            "control_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": shape,
        }
        assert "ControlNet" in str(families.identify(shapes))
