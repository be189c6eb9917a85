"""Fuzzers of data sets, and of the names that nodes take."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image

from .frame import Fuzzer, damaged, link_out, name, odd

# -- data sets -------------------------------------------------------------------------------------


def prompts_case(rng: random.Random, base: Path) -> Path:
    """Write a data set whose list is wrong in some lines."""
    folder = base / "input" / "set"
    for kind in ("source", "target"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        if not (folder / kind / "0.png").exists():
            Image.effect_noise((64, 64), 80).convert("RGB").save(folder / kind / "0.png")
    (folder / "target" / "1.png").write_bytes(
        damaged(rng, (folder / "target" / "0.png").read_bytes())
    )
    if not (folder / "loop.png").is_symlink():
        (folder / "loop.png").symlink_to(folder / "loop.png")
        link_out(folder, base, "out.png")
    lines = [json.dumps(_pair(rng)).encode() for _ in range(rng.randrange(1, 6))]
    if rng.random() < 0.1:
        lines.append(rng.choice((b"[" * 100_000, b"\xff\xfe", b"{}" * 10, b'{"target":' * 9999)))
    data = b"\n".join(lines)
    (folder / "prompt.json").write_bytes(data if rng.random() < 0.7 else damaged(rng, data))
    return folder


def _pair(rng: random.Random) -> Any:
    pair: dict[str, Any] = {"source": "source/0.png", "target": "target/0.png", "prompt": "x"}
    change = rng.randrange(8)
    if change == 0:
        pair[rng.choice(tuple(pair))] = odd(rng)
    elif change == 1:
        pair[rng.choice(("source", "target"))] = name(rng)
    elif change == 2:
        del pair[rng.choice(tuple(pair))]
    elif change == 3:
        pair["target"] = rng.choice(("target/1.png", "loop.png", "out.png", "target", "."))
    elif change == 4:
        return odd(rng)
    return pair


def build(folder: Path) -> None:
    """Build the data set, leaving out what cannot be used."""
    from pack.training import dataset

    data = dataset.build(dataset.from_folder(folder, with_method=False), 64, 64, leave_out=True)
    assert data.pairs


# -- names -----------------------------------------------------------------------------------------


def name_case(rng: random.Random, base: Path) -> tuple[str, Path, str]:
    """Make a name for one of the nodes that take names."""
    for folder in ("input", "output", "models/controlnet"):
        (base / folder).mkdir(parents=True, exist_ok=True)
        link_out(base / folder, base)
    return (
        rng.choice(("save net", "save pose", "load pose", "data set", "picture")),
        base,
        name(rng),
    )


def use_name(case: tuple[str, Path, str]) -> None:
    """Use a name as the node does; what is written is deleted again."""
    from pack.host import answers, keypoint_files
    from pack.training import checkpoint_files, dataset

    use, base, text = case
    if use == "save net":
        path = checkpoint_files.inside(base / "models" / "controlnet", text, "name")
        checkpoint_files.save({}, path, {})
        path.unlink()
    elif use == "save pose":
        keypoint_files.write_keypoint_file(base / "output", text, "[]").unlink()
    elif use == "load pose":
        keypoint_files.keypoint_file(text)
    elif use == "data set":
        dataset.folder(base / "input", text)
    else:
        answers.picture_file(text)


def name_errors() -> tuple[type[BaseException], ...]:
    """Return the classes of errors that say what is wrong with a name."""
    from pack.host.answers import RequestError
    from pack.preprocessors.keypoints import KeypointError

    return (ValueError, OSError, RequestError, KeypointError)


ROWS = (
    Fuzzer("prompt.json", prompts_case, build, (ValueError,), share=0.5),
    Fuzzer("names in nodes", name_case, use_name, name_errors, needs_host=True),
)
