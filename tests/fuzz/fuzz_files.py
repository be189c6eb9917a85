"""Fuzzers of files: headers of models, pictures, names."""

from __future__ import annotations

import io
import json
import math
import random
import struct
from pathlib import Path
from typing import Any

from PIL import Image

from pack.files import families, header
from pack.host import folders, picture_files

from .frame import Fuzzer, damaged, link_out, name, odd

# -- headers of models -----------------------------------------------------------------------------

KEYS = (
    "control_model.zero_convs.0.0.weight",
    "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
    "controlnet_cond_embedding.conv_in.weight",
    "lora_controlnet",
    "lora_unet_x.lora_down.weight",
    "adapter.body.0.resnets.0.block1.weight",
    "controlnet_blocks.0.weight",
    "pos_embed_input.proj.weight",
    "img_in.weight",
    "a",
    "",
)
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "F8_E4M3": 1, "Q4": 1}
AXES = (0, 1, 3, 4, 8, 16, 320, 768)


def _whole_table(rng: random.Random) -> tuple[dict[str, Any], int]:
    """Make a right header of a few tensors, and the size of their body."""
    table: dict[str, Any] = {}
    end = 0
    for key in rng.sample(KEYS, rng.randrange(6)):
        dtype = rng.choice(tuple(SIZES))
        shape = [rng.choice(AXES) for _ in range(rng.randrange(4))]
        begin, end = end, end + math.prod(shape) * SIZES[dtype]
        table[key] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    return table, end


def _spoil(rng: random.Random, table: dict[str, Any]) -> Any:
    """Put an odd value somewhere into a header."""
    place = rng.randrange(5)
    if place == 0 or not table:
        return odd(rng)
    key = rng.choice(tuple(table))
    if place == 1:
        table["__metadata__"] = odd(rng)
    elif place == 2:
        table[key] = odd(rng)
    elif place == 3:
        table[key][rng.choice(("dtype", "shape", "data_offsets", "more"))] = odd(rng)
    else:
        del table[key][rng.choice(("dtype", "shape", "data_offsets"))]
    return table


def header_case(rng: random.Random, base: Path) -> Path:
    """Write a safetensors file whose header is wrong in some way."""
    table, size = _whole_table(rng)
    text = json.dumps(table if rng.random() < 0.3 else _spoil(rng, table)).encode()
    if rng.random() < 0.05:
        text = rng.choice((b"[" * rng.randrange(200_000), b'{"a":' * 5000 + b"1"))
    length = len(text) if rng.random() < 0.95 else rng.choice((0, 7, 10**8, 2**63, 2**64 - 1))
    data = struct.pack("<Q", length) + text + bytes(min(size, 10**6) + rng.choice((0, 0, 0, 65)))
    path = base / "models" / f"case{rng.choice(('.safetensors', '.sft'))}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if rng.random() < 0.8 else damaged(rng, data))
    return path


def read_and_identify(path: Path) -> None:
    """Read a header as Load and the page do."""
    contents = header.read_header(path)
    str(families.identify(contents.shapes, contents.metadata))


# -- pictures --------------------------------------------------------------------------------------

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MODES = ("RGB", "L", "P", "RGBA", "1", "CMYK", "I;16", "I", "F", "LA")
RULES = (
    picture_files.Rules(
        FORMATS, 8192 * 8192, picture_files.over_white, picture_files.rgb_full_range
    ),
    picture_files.Rules(
        FORMATS, 40_000_000, picture_files.ignore_transparency, picture_files.rgb_like_comfyui
    ),
)


def picture_case(rng: random.Random, base: Path) -> tuple[bytes, picture_files.Rules]:
    """Damage a small picture of a random format and mode."""
    size = (rng.choice((1, 7, 16, 64)), rng.choice((1, 8, 33)))
    picture = Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1]))
    file = io.BytesIO()
    for mode in (rng.choice(MODES), "RGB"):
        try:
            source = picture.convert("L") if mode == "I;16" else picture
            source.convert(mode).save(file, rng.choice(FORMATS))
            break
        except (OSError, ValueError):  # a mode that the format does not have
            file = io.BytesIO()
    data = file.getvalue() or b"\x89PNG\r\n\x1a\n"
    return damaged(rng, data), rng.choice(RULES)


def decode(case: tuple[bytes, picture_files.Rules]) -> None:
    """Decode a picture as the routes and data sets do."""
    pixels = picture_files.decode(*case, "case.png")
    assert pixels.ndim == 3


# -- names -----------------------------------------------------------------------------------------


def name_case(rng: random.Random, base: Path) -> tuple[Path, str, bool, bool]:
    """Make a name, and a folder with a link out of it."""
    root = base / "input"
    root.mkdir(exist_ok=True)
    link_out(root, base)
    return root, name(rng), rng.random() < 0.5, rng.random() < 0.5


def locate(case: tuple[Path, str, bool, bool]) -> None:
    """Look a name up inside of a folder."""
    root, text, detours, windows = case
    path = folders.inside(root, text, detours=detours, windows=windows)
    assert path.is_relative_to(root.resolve()), "it leads out of the folder"


ROWS = (
    Fuzzer("model headers", header_case, read_and_identify, (header.FileError,)),
    Fuzzer("pictures", picture_case, decode, (picture_files.PictureError,)),
    Fuzzer("names in folders", name_case, locate, (folders.FileNameError,)),
)
