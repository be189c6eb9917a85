"""Sample pictures with what is trained so far, through ComfyUI's own nodes, and judge them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import comfy.utils
import cv2
import drawn_pictures
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import nodes
from pack.preprocessors import edges, scribble
from pack.training import nets
from workbench.tiny_family import world
from workbench.world import canvas, model_files, reader, scenery

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS, GUIDANCE = 20, 2.0
TOLERANCE_PX = 2


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
    pictures = torch.from_numpy(np.stack([scene.picture for scene in scenes])).float() / 255
    latents = vae.encode(pictures)
    again = vae.decode(latents).clamp(0, 1)
    noise = 10 * torch.log10(1 / (again - pictures).square().mean((1, 2, 3))).mean()
    f1 = np.mean([_f1(a, b) for a, b in zip(_edges(pictures), _edges(again), strict=True)])
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
    hints = _hints(name, scenes)
    rows = [_levels(hints)] if net else []
    rows.append(np.stack([scene.picture for scene in scenes]))
    for strength in STRENGTHS if net else (0.0,):
        positive, negative = ([[c, {"pooled_output": None}]] for c in (words, empty))
        if net is not None:
            apply = nodes.ControlNetApplyAdvanced().apply_controlnet
            positive, negative = apply(positive, negative, net, hints, strength, 0.0, 1.0)
        start = {"samples": torch.zeros(len(scenes), 4, size // 8, size // 8)}
        chosen = (1234, STEPS, GUIDANCE, "euler", "normal", positive, negative, start)
        samples = nodes.common_ksampler(model, *chosen)[0]["samples"]
        picture = vae.decode(samples).clamp(0, 1)
        rows.append(_levels(picture))
        print(
            f"{name or 'base'} {size} strength {strength}: {_judge(place, name, scenes, picture)}"
        )
    return rows


def _judge(place: Any, name: str, scenes: Sequence[canvas.Drawing], pictures: Tensor) -> str:
    """Write the figures of a row of pictures: adherence, against shuffled hints, and colours."""
    if name in ("edges", "scribble"):
        method = _edges if name == "edges" else _scribbles
        wanted = method(torch.from_numpy(np.stack([s.picture for s in scenes])).float() / 255)
        given = method(pictures)
        right = np.mean([_f1(a, b) for a, b in zip(wanted, given, strict=True)])
        other = np.mean([_f1(a, b) for a, b in zip(np.roll(wanted, 1, 0), given, strict=True)])
        line = f"F1 {right:.3f} shuffled {other:.3f}"
    else:
        line = _judge_maps(place, scenes, pictures)
    words = _colours_right(scenes, pictures)
    return f"{line}; colour words " + ", ".join(f"{k} {v:.2f}" for k, v in words.items())


def _judge_maps(place: Any, scenes: Sequence[canvas.Drawing], pictures: Tensor) -> str:
    if not place.result("reader").exists():
        return "no reader yet"
    judge = reader.Reader()
    judge.load_state_dict(model_files.load(place.result("reader")))
    logits, depth = judge(pictures.movedim(-1, 1))
    classes = logits.argmax(1).numpy()
    wanted = np.stack([scene.classes for scene in scenes])
    right, other = (np.mean(classes == maps) for maps in (wanted, np.roll(wanted, 1, 0)))
    depths = np.stack([scene.depth for scene in scenes])
    ranks, shuffled = (
        np.mean([_rank_correlation(a, b) for a, b in zip(maps, depth.numpy(), strict=True)])
        for maps in (depths, np.roll(depths, 1, 0))
    )
    return f"classes {right:.3f} shuffled {other:.3f}, depth {ranks:.3f} shuffled {shuffled:.3f}"


def _rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Compute Spearman's correlation over a grid of pixels."""
    from scipy.stats import spearmanr

    return float(spearmanr(a[::2, ::2].ravel(), b[::2, ::2].ravel()).statistic)


def _colours_right(scenes: Sequence[canvas.Drawing], pictures: Tensor) -> dict[str, float]:
    """Tell how often walls and trees have the colour of their word, where the drawing has them."""
    share: dict[str, float] = {}
    for thing in ("house", "tree"):
        hits = []
        for scene, picture in zip(scenes, _levels(pictures), strict=True):
            light = scenery.LIGHTS[scene.prompt.rpartition(", ")[2]]
            area = _inside(scene, thing, light)
            if area.sum() > 20:
                colour = np.median(picture[area], 0)
                table = {w: scenery.tinted(w, light) for w in scenery.COLOURS}
                nearest = min(table, key=lambda w: np.square(colour - table[w]).sum())
                hits.append(nearest == scene.colours[thing])
        share[thing] = float(np.mean(hits)) if hits else float("nan")
    return share


def _inside(scene: canvas.Drawing, thing: str, light: Any) -> NDArray[np.bool_]:
    if thing not in scene.colours:
        return np.zeros(scene.classes.shape, bool)
    plain = np.asarray(scenery.tinted(scene.colours[thing], light))
    area = np.abs(scene.picture.astype(int) - plain).sum(-1) < 12
    area &= scene.classes == canvas.CLASSES.index(thing)
    return cv2.erode(area.astype(np.uint8), np.ones((3, 3))) > 0


def _hints(name: str, scenes: Sequence[canvas.Drawing]) -> Tensor:
    pictures = torch.from_numpy(np.stack([scene.picture for scene in scenes])).float() / 255
    if name == "segmentation":
        return torch.stack([drawn_pictures.segmentation_hint(s.classes) for s in scenes])
    if name == "depth":
        depth = torch.from_numpy(np.stack([scene.depth for scene in scenes]))
        return depth[..., None].expand(-1, -1, -1, 3)
    return (scribble.xdog if name == "scribble" else edges.canny)(pictures)


def _edges(pictures: Tensor) -> NDArray[np.bool_]:
    return edges.canny(pictures)[..., 0].numpy() > 0.5


def _scribbles(pictures: Tensor) -> NDArray[np.bool_]:
    return scribble.xdog(pictures)[..., 0].numpy() > 0.5


def _f1(wanted: NDArray[np.bool_], given: NDArray[np.bool_]) -> float:
    """Compute the F1 of two edge maps within TOLERANCE_PX."""
    if not wanted.any() or not given.any():
        return 0.0
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * TOLERANCE_PX + 1,) * 2)
    near = [cv2.dilate(a.astype(np.uint8), kernel) > 0 for a in (wanted, given)]
    recall, precision = (
        (wanted & near[1]).sum() / wanted.sum(),
        (given & near[0]).sum() / given.sum(),
    )
    return float(2 * recall * precision / max(1e-9, recall + precision))


def _levels(pictures: Tensor) -> NDArray[np.uint8]:
    return (pictures * 255).round().to(torch.uint8).numpy()


def _write(file: Path, rows: Sequence[NDArray[np.uint8]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows])).save(file)
