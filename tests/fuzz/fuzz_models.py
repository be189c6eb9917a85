"""Fuzzers of model files in ComfyUI: nets, weights, checkpoints, and the questions of the page."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from pack.files.header import FileError

from .frame import Fuzzer, damaged, name, odd
from .fuzz_files import header_case

# -- pickles and nets ------------------------------------------------------------------------------

# Without those of Stable Cascade: ComfyUI builds its one size, 200 MB, before it looks further.
NET_KEYS = (
    "control_model.zero_convs.0.0.weight",
    "control_model.input_hint_block.0.weight",
    "control_model.input_blocks.0.0.weight",
    "zero_convs.0.0.weight",
    "input_hint_block.0.weight",
    "controlnet_cond_embedding.conv_in.weight",
    "controlnet_blocks.0.weight",
    "pos_embed_input.proj.weight",
    "transformer_blocks.0.img_mlp.net.0.proj.weight",
    "controlnet_x_embedder.weight",
    "lora_controlnet",
    "input_blocks.0.0.up",
    "task_embedding",
    "control_add_embedding.linear_1.bias",
    "adapter.body.0.resnets.0.block1.weight",
    "body.0.in_conv.weight",
    "conv_in.weight",
    "body.0.block1.weight",
    "after_proj_list.18.bias",
    "controlnet_blocks.0.linear.weight",
    "double_blocks.0.img_attn.proj.weight",
    "control_blocks.0.after_proj.weight",
    "control_img_in.weight",
    "lora_unet_x.lora_down.weight",
    "difference",
)
SHAPES = ((), (1,), (4, 4), (8, 3, 3, 3), (4, 4, 1, 1), (0, 4), (64, 768))


class Program:
    """What a pickle of a stranger may contain: unpickling it would run a command."""

    def __reduce__(self):
        return os.system, ("exit 3",)


def _tensor(rng: random.Random) -> Any:
    kind = rng.randrange(12)
    if kind == 0:
        return torch.zeros(1).expand(10**9)  # hollow: four bytes that claim four gigabytes
    if kind == 1:
        return torch.zeros(2, 2).to_sparse()
    if kind == 2:
        return odd(rng)
    dtype = rng.choice((torch.float32, torch.float16, torch.int64, torch.bool, torch.bfloat16))
    return torch.zeros(rng.choice(SHAPES), dtype=dtype)


def _table(rng: random.Random) -> Any:
    kind = rng.randrange(12)
    if kind == 0:
        return odd(rng)
    if kind == 1:
        return [torch.zeros(2), _tensor(rng)]
    table: dict[Any, Any] = {key: _tensor(rng) for key in rng.sample(NET_KEYS, rng.randrange(8))}
    if kind == 2:
        table[rng.choice((1, None, b"a", ("a", 1), 2.5))] = torch.zeros(1)
    if kind == 3:
        table["a"] = Program()
    if kind < 6:
        table = {rng.choice(("state_dict", "model", "params", "x")): table}
    return table


def pickle_bytes(rng: random.Random) -> bytes:
    """Make one of torch's files, in its old or new form, perhaps damaged or packed."""
    file = io.BytesIO()
    torch.save(_table(rng), file, _use_new_zipfile_serialization=rng.random() < 0.7)
    data = file.getvalue()
    act = rng.randrange(6)
    if act == 0 and data.startswith(b"PK"):
        return _with_other_pickle(rng, data)
    if act == 1:
        return pickle.dumps(_table(rng), rng.choice((0, 2, 4)))
    return damaged(rng, data) if act < 4 else data


def _with_other_pickle(rng: random.Random, data: bytes) -> bytes:
    """Damage the pickle inside of a whole archive, or pack the archive."""
    target = io.BytesIO()
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w", packing) as new:
        for entry in source.namelist():
            content = source.read(entry)
            new.writestr(entry, damaged(rng, content) if entry.endswith("data.pkl") else content)
    return target.getvalue()


def _written(base: Path, folder: str, name: str, data: bytes) -> str:
    path = base / "models" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def net_pickle_case(rng: random.Random, base: Path) -> str:
    """Put a pickle among the ControlNets."""
    suffix = rng.choice((".pth", ".bin", ".ckpt", ".pt"))
    return _written(base, "controlnet", f"case{suffix}", pickle_bytes(rng))


def net_file_case(rng: random.Random, base: Path) -> str:
    """Put a safetensors file among the ControlNets, whole or damaged."""
    keys = rng.sample(NET_KEYS, rng.randrange(8))
    data = save({key: torch.zeros(rng.choice(SHAPES)) for key in keys}, {"a": "b"})
    data = data if rng.random() < 0.6 else damaged(rng, data)
    return _written(base, "controlnet", "case.safetensors", data)


def load_net(name: str) -> None:
    """Load a ControlNet as the node does."""
    import folder_paths

    from pack.host import control_files

    folder_paths.filename_list_cache.clear()
    control_files.load_net(name)


def weights_case(rng: random.Random, base: Path) -> Path:
    """Put a file of weights into the folder of preprocessors."""
    suffix = rng.choice((".pth", ".pt", ".bin", ".safetensors"))
    data = pickle_bytes(rng)
    return base / "models" / "nets" / _written(base, "nets", f"case{suffix}", data)


def read_weights(path: Path) -> None:
    """Read weights and fill a network with them."""
    from pack.host import weights
    from pack.preprocessors import softedges
    from pack.preprocessors.build import filled

    filled(softedges.TEED, weights.read(softedges.TEED, path))


def weights_errors() -> tuple[type[BaseException], ...]:
    """Return the classes that `read_weights` may raise."""
    from pack.host.weights import WeightsError

    return (WeightsError, ValueError)


# -- questions of the page -------------------------------------------------------------------------


def checkpoint_case(rng: random.Random, base: Path) -> dict[str, Any]:
    """Put a broken checkpoint and a broken net among the models, and ask for the table."""
    for folder in ("checkpoints", "controlnet"):
        source = header_case(rng, base)
        _written(base, folder, "case.safetensors", source.read_bytes())
    if rng.random() < 0.3:
        table = {
            key: {"dtype": "F4", "shape": [rng.choice(WIDTHS)] * 2, "data_offsets": [0, 0]}
            for key in rng.sample(CHECKPOINT_KEYS, 3)
        }
        text = json.dumps(table).encode()
        _written(base, "checkpoints", "case.safetensors", struct.pack("<Q", len(text)) + text + b"")
    model = {"folder": "checkpoints", "name": "case.safetensors"}
    return {"model": model if rng.random() < 0.9 else odd(rng)}


WIDTHS = (0, 1, 320, 2**62, 10**400)
CHECKPOINT_KEYS = (
    "model.diffusion_model.input_blocks.0.0.weight",
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
    "model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight",
    "model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale",
    "img_in.weight",
    "x_embedder.proj.weight",
    "patch_embedding.weight",
    "transformer_blocks.0.attn.norm_added_k.weight",
)


def ask_for_nets(question: dict[str, Any]) -> None:
    """Ask which nets fit."""
    import folder_paths

    from pack.host import answers

    folder_paths.filename_list_cache.clear()
    answers.nets(question)


METHODS = ("canny", "scribble", "xdog", "lineart", "tile", "shuffle", "color_grid", "hed", "depth")
PARAMS = ("low_threshold", "threshold", "engine", "seed", "cell_px", "invert", "x")


def hint_case(rng: random.Random, base: Path) -> dict[str, Any]:
    """Ask for a hint of a small picture with odd settings."""
    from PIL import Image

    picture = base / "input" / "case.png"
    if not picture.exists():
        picture.parent.mkdir(exist_ok=True)
        Image.effect_noise((24, 16), 80).convert("RGB").save(picture)
    question: dict[str, Any] = {"image": "case.png", "method": rng.choice(METHODS), "params": {}}
    for param in rng.sample(PARAMS, rng.randrange(3)):
        question["params"][param] = odd(rng)
    if rng.random() < 0.3:
        question["resolution"] = odd(rng)
    if rng.random() < 0.2:
        question["image"] = name(rng)
    if rng.random() < 0.2:
        question[rng.choice(("image", "method", "params", "resolution"))] = odd(rng)
    return question


def ask_for_hint(question: dict[str, Any]) -> None:
    """Ask for a hint."""
    from pack.host import answers

    answers.hint(question)


def request_errors() -> tuple[type[BaseException], ...]:
    """Return the classes of answers that refuse."""
    from pack.host.answers import RequestError

    return (RequestError,)


ROWS = (
    Fuzzer("pickles as nets", net_pickle_case, load_net, (FileError,), needs_host=True),
    Fuzzer("safetensors as nets", net_file_case, load_net, (FileError,), needs_host=True),
    Fuzzer("pickles as weights", weights_case, read_weights, weights_errors, needs_host=True),
    Fuzzer("tables of nets", checkpoint_case, ask_for_nets, request_errors, needs_host=True),
    Fuzzer("hint questions", hint_case, ask_for_hint, request_errors, needs_host=True),
)
