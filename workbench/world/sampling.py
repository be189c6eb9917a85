"""Sample pictures of the world: ComfyUI's own loaders and sampler, this pack's Add and Apply.

`inprocess.open_host` and `inprocess.load_package(ROOT, "pack")` come first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import model_files
from .canvas import Drawing

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS, GUIDANCE, SAMPLER, SCHEDULER = 20, 2.0, "euler", "normal"
"""What the base is sampled with: a flow this small wants little guidance."""
SEED = 1234
AT_A_TIME = 8
PLAIN = {
    "strength": 1.0,
    "start_percent": 0.0,
    "end_percent": 1.0,
    "mode": "balanced",
    "fit": "crop",
    "schedule": "",
    "layers": "",
}


@dataclass(frozen=True)
class Unit:
    """A net of a stack with a hint for each picture (B,H,W,3), and what differs from PLAIN."""

    net: str
    hints: Tensor
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class Models:
    """The world's base with its encoders, and its nets by their names."""

    model: Any
    clip: Any
    vae: Any
    nets: dict[str, Any]
    contexts: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    guidance: float = GUIDANCE

    def words(self, prompts: Sequence[str]) -> list[Any]:
        """Encode prompts as one CONDITIONING of as many rows; each prompt is encoded once."""
        for prompt in prompts:
            if prompt not in self.contexts:
                tokens = self.clip.tokenize(prompt)
                self.contexts[prompt] = self.clip.encode_from_tokens(tokens)
        rows = torch.cat([self.contexts[prompt] for prompt in prompts])
        return [[rows, {"pooled_output": None}]]

    def sample(
        self, prompts: Sequence[str], size: int, units: Sequence[Unit] = (), **apply: Any
    ) -> Tensor:
        """Sample a picture for each prompt: (B,size,size,3) in [0,1].

        Picture i has the same noise whatever its units are.
        """
        parts = []
        for at in range(0, len(prompts), AT_A_TIME):
            rows = slice(at, at + AT_A_TIME)
            positive, negative = self.words(prompts[rows]), self.words([""] * len(prompts[rows]))
            given = [Unit(u.net, u.hints[rows], u.settings) for u in units]
            positive, negative = self.controlled(positive, negative, given, **apply)
            parts.append(self.decoded(positive, negative, len(prompts[rows]), size, SEED + at))
        return torch.cat(parts)

    def controlled(
        self, positive: list[Any], negative: list[Any], units: Sequence[Unit], **apply: Any
    ) -> tuple[list[Any], list[Any]]:
        """Put units on both prompts by this pack's own nodes."""
        from pack.nodes.apply import Add, Apply

        stack = None
        for unit in units:
            settings = {**PLAIN, **unit.settings}
            stack = Add.execute(self.nets[unit.net], unit.hints, stack, **settings)[0]
        if stack is None:
            return positive, negative
        output = Apply.execute(positive, stack, negative, **apply)
        return output[0], output[1]

    def decoded(
        self, positive: list[Any], negative: list[Any], count: int, size: int, seed: int
    ) -> Tensor:
        """Sample from conditionings by ComfyUI's KSampler, and decode."""
        import nodes

        start = {"samples": torch.zeros(count, 4, size // 8, size // 8)}
        chosen = (seed, STEPS, self.guidance, SAMPLER, SCHEDULER, positive, negative, start)
        samples = nodes.common_ksampler(self.model, *chosen)[0]["samples"]
        return self.vae.decode(samples).clamp(0, 1)


def load(weights: Path) -> Models:
    """Write stored weights out into ComfyUI's models folder, and load them by its own nodes.

    Raises ValueError where a stored file is damaged.
    """
    import comfy.utils
    import folder_paths

    import nodes

    from ..tiny_family import world

    world.teach_host()
    comfy.utils.PROGRESS_BAR_ENABLED = False
    model_files.write_out(weights, Path(folder_paths.models_dir))
    folder_paths.filename_list_cache.clear()
    parts = nodes.CheckpointLoaderSimple().load_checkpoint(world.CHECKPOINT)[:3]
    loader = nodes.ControlNetLoader()
    nets = {name: loader.load_controlnet(world.net_file(name))[0] for name in world.NETS}
    return Models(*parts, nets)


def held_out(count: int, size: int, seed: int = 0) -> list[Drawing]:
    """Draw scenes that no training has seen."""
    from . import scenery

    return [scenery.landscape(f"{seed} held out {i}", size) for i in range(count)]
