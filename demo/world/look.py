"""Sample pictures with what is trained so far, through ComfyUI's own nodes, and judge them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import comfy.utils
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import nodes
from pack.training import nets
from workbench.tiny_family import world
from workbench.world import canvas, drawn_hints, judge, model_files, scenery
from workbench.world.sampling import GUIDANCE, SAMPLER, SCHEDULER, SEED, STEPS, STRENGTHS


def at_everything(place: Any, checkpoint: Path, seed: int, counts: Mapping[int, int]) -> None:
    """Write a grid of pictures over strengths for each net and size, and print its figures."""
    comfy.utils.PROGRESS_BAR_ENABLED = False
    with torch.inference_mode():
        model, clip, vae = nodes.CheckpointLoaderSimple().load_checkpoint(checkpoint.name)[:3]
        for size, count in counts.items():
            scenes = [scenery.landscape(f"{seed} held out {i}", size) for i in range(count)]
            _codec(place, vae, scenes, size)
            for name in ("", *world.NETS):
                results = [place.result(f"{name}-{px}") for px in (256, 128, 64)]
                file = next((file for file in results if name and file.exists()), None)
                if file or not name:
                    began = time.process_time()
                    net = nets.as_control(model_files.load(file), model, name) if file else None
                    rows = _grid(place, (model, clip, vae), net, name, scenes, size)
                    _write(place.root / "pictures" / f"{name or 'base'}-{size}.png", rows)
                    print(f"  {time.process_time() - began:.0f} CPU s", flush=True)


def _codec(place: Any, vae: Any, scenes: Sequence[canvas.Drawing], size: int) -> None:
    pictures = drawn_hints.pictures(scenes)
    latents = vae.encode(pictures)
    again = vae.decode(latents).clamp(0, 1)
    noise = 10 * torch.log10(1 / (again - pictures).square().mean((1, 2, 3))).mean()
    f1 = judge.adherence("edges", *(judge.strokes("edges", rows) for rows in (pictures, again)))
    spread = (latents * 0.18215).std((0, 2, 3)).tolist()
    print(f"codec {size}: {noise:.1f} dB, edges F1 {f1:.3f}, latents' deviation {spread}")
    _write(place.root / "pictures" / f"codec-{size}.png", [_levels(pictures), _levels(again)])


def _grid(
    place: Any,
    parts: tuple[Any, Any, Any],
    net: Any,
    name: str,
    scenes: Sequence[canvas.Drawing],
    size: int,
) -> list[NDArray[np.uint8]]:
    model, clip, vae = parts
    encode = lambda prompt: clip.encode_from_tokens(clip.tokenize(prompt))  # noqa: E731
    words = torch.cat([encode(scene.prompt) for scene in scenes])
    empty = encode("").repeat(len(scenes), 1, 1)
    hints = drawn_hints.hints(name, scenes) if net else torch.empty(0)
    rows = [_levels(hints)] if net else []
    rows.append(np.stack([scene.picture for scene in scenes]))
    for strength in STRENGTHS if net else (0.0,):
        positive, negative = ([[c, {"pooled_output": None}]] for c in (words, empty))
        if net is not None:
            apply = nodes.ControlNetApplyAdvanced().apply_controlnet
            positive, negative = apply(positive, negative, net, hints, strength, 0.0, 1.0)
        start = {"samples": torch.zeros(len(scenes), 4, size // 8, size // 8)}
        chosen = (SEED, STEPS, GUIDANCE, SAMPLER, SCHEDULER, positive, negative, start)
        samples = nodes.common_ksampler(model, *chosen)[0]["samples"]
        picture = vae.decode(samples).clamp(0, 1)
        rows.append(_levels(picture))
        print(
            f"{name or 'base'} {size} strength {strength}: {_judge(place, name, scenes, picture)}"
        )
    return rows


def _judge(place: Any, name: str, scenes: Sequence[canvas.Drawing], pictures: Tensor) -> str:
    """Write the figures of a row of pictures: adherence, against shuffled hints, and colours."""
    if not place.result("reader").exists():
        return "no reader yet"
    reader = judge.Judge(model_files.load(place.result("reader")))
    nets = ("segmentation", "depth") if name not in drawn_hints.STROKES else (name,)
    words = []
    for net in nets:
        wanted, given = reader.wanted(net, scenes), reader.given(net, pictures)
        right, other = (judge.adherence(net, w, given) for w in (wanted, np.roll(wanted, 1, 0)))
        words.append(f"{net} {right:.3f} shuffled {other:.3f}")
    colours = judge.colours_right(scenes, pictures)
    return ", ".join([*words, *(f"{k} colours {v:.2f}" for k, v in colours.items())])


def _levels(pictures: Tensor) -> NDArray[np.uint8]:
    return (pictures * 255).round().to(torch.uint8).numpy()


def _write(file: Path, rows: Sequence[NDArray[np.uint8]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows])).save(file)
