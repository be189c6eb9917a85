"""Run the stages of the plan one after the other; each goes on where it was stopped."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drawn_pictures
import fit_base
import fit_codec
import fit_net
import look
import torch
from plan import PER_SHARD, Stage, steps_of
from torch import Tensor

from workbench.tiny_family import world
from workbench.world import codec, model_files

LINE_STEPS = 25
STORED = {
    "codec": "codec",
    "reader": "reader",
    "base": "base-256",
    **{name: f"{name}-256" for name in world.NETS},
}
"""Which stage's result is stored under which name."""
COMMAND = "made by: python3 demo/world --seed {seed} --scale {scale:g}"


@dataclass(frozen=True)
class Place:
    """Where the training writes."""

    root: Path
    weights: Path

    def result(self, stage: str) -> Path:
        """Return the file of a stage's weights."""
        return self.root / f"{stage}.safetensors"

    def pictures(self, stage: str) -> Path:
        """Return the folder of a drawing stage."""
        return self.root / "drawn" / stage


def everything(stages: Sequence[Stage], place: Place, options: argparse.Namespace) -> None:
    """Run stages that are not done."""
    world.teach_host()
    place.root.mkdir(parents=True, exist_ok=True)
    _refuse_other_settings(place, options)
    kinds = {"draw": _draw, "store": _store, "look": _look}
    for stage in stages:
        began = time.process_time()
        kinds.get(stage.kind, _fit)(stage, place, options)
        print(f"{stage.name}: {(time.process_time() - began) / 60:.2f} CPU minutes", flush=True)


def _refuse_other_settings(place: Place, options: argparse.Namespace) -> None:
    """Exit where the folder holds parts of a training with another seed or scale."""
    file, settings = place.root / "settings.json", {"seed": options.seed, "scale": options.scale}
    if not file.exists():
        file.write_text(json.dumps(settings), encoding="utf-8")
    if (begun := json.loads(file.read_text(encoding="utf-8"))) != settings:
        raise SystemExit(
            f"--to: {place.root} holds a training with {begun}, and {settings} is asked for. Choose"
            " another folder, or delete it to begin again."
        )


def _needed(place: Place, stage: str) -> dict[str, Tensor]:
    """Read another stage's weights. Exits with a sentence where that stage was not run."""
    if not place.result(stage).exists():
        raise SystemExit(f"{stage} was not run yet: leave --only out, or name {stage} before this.")
    return model_files.load(place.result(stage))


def _fit(stage: Stage, place: Place, options: argparse.Namespace) -> None:
    if place.result(stage.name).exists():
        return
    steps = steps_of(stage, options.scale)
    learner = _learner(stage, steps, place, options.seed)
    state = place.root / f"{stage.name}.state"
    spent = 0.0
    if state.exists():
        stored = torch.load(state, weights_only=True)
        learner.restore(stored["learner"])
        spent = stored["spent"]
        print(f"{stage.name}: goes on at step {learner.step}", flush=True)
    with (place.root / "log.jsonl").open("a", encoding="utf-8") as log:
        diary = Diary(stage, steps, state, options.save_every, log, spent)
        diary.follow(learner)
    model_files.save(learner.result(), place.result(stage.name))
    state.unlink(missing_ok=True)


@dataclass
class Diary:
    """What a stage prints, logs and saves while its learner takes its steps."""

    stage: Stage
    steps: int
    state: Path
    save_every: float
    """Seconds between states."""
    log: Any
    spent: float
    """CPU seconds of the steps before this process."""

    def follow(self, learner: Any) -> None:
        """Take the steps that are left."""
        began, saved, first = time.process_time(), time.monotonic(), learner.step
        losses: list[float] = []
        while learner.step < self.steps:
            losses.append(learner.advance())
            cpu = time.process_time() - began
            if learner.step % LINE_STEPS == 0 or learner.step == self.steps:
                self._tell(
                    learner.step, sum(losses) / len(losses), cpu, cpu / (learner.step - first)
                )
                losses = []
            if time.monotonic() - saved >= self.save_every:
                part = self.state.with_suffix(".part")
                torch.save({"learner": learner.state(), "spent": self.spent + cpu}, part)
                os.replace(part, self.state)
                saved = time.monotonic()

    def _tell(self, step: int, loss: float, cpu: float, rate: float) -> None:
        entry = {"stage": self.stage.name, "step": step, "loss": round(loss, 5)}
        self.log.write(json.dumps({**entry, "cpu_s": round(self.spent + cpu, 1)}) + "\n")
        self.log.flush()
        print(
            f"{time.strftime('%H:%M:%S')} {self.stage.name} {step}/{self.steps} loss {loss:.4f}"
            f" {rate:.3f} s a step, {rate * (self.steps - step) / 60:.1f} CPU min left",
            flush=True,
        )


def _learner(stage: Stage, steps: int, place: Place, seed: int) -> Any:
    begin = _needed(place, stage.begins_with) if stage.begins_with else None
    if stage.kind in fit_codec.KINDS:
        learner = fit_codec.KINDS[stage.kind](stage, steps, seed)
        return learner if begin is None else learner.begin_with(begin)
    names = dict(zip(stage.batches, stage.data, strict=True))
    data = {
        size: drawn_pictures.read(place.pictures(name), stage.hint) for size, name in names.items()
    }
    if stage.kind == "net":
        checkpoint = write_checkpoint(place)
        return fit_net.NetFit(stage, steps, seed, checkpoint, begin, data)
    learner = fit_base.BaseFit(stage, steps, seed, data)
    return learner if begin is None else learner.begin_with(begin)


def write_checkpoint(place: Place) -> Path:
    """Write the last base there is as a checkpoint for ComfyUI, and return its file."""
    results = [place.result(name) for name in ("base-256", "base-128", "base-64", "base-shapes")]
    base = next((file for file in results if file.exists()), results[-1])
    _needed(place, base.stem)
    file = place.root / "base" / "models" / "checkpoints" / f"{base.stem}.safetensors"
    if not file.exists():
        joined = model_files.checkpoint(
            model_files.load(base), model_files.load(place.result("codec"))
        )
        model_files.save(joined, file)
    return file


def _draw(stage: Stage, place: Place, options: argparse.Namespace) -> None:
    encoder = codec.Codec().to(memory_format=torch.channels_last)
    encoder.load_state_dict(_needed(place, "codec"))
    (size,) = stage.batches
    shards = steps_of(stage, options.scale)
    for index in range(shards):
        file = place.pictures(stage.name) / f"{index:04}.safetensors"
        if not file.exists():
            name = f"{options.seed} {stage.name}"
            drawn_pictures.draw_shard(file, name, PER_SHARD, size, encoder)
            print(f"{time.strftime('%H:%M:%S')} {stage.name} {index + 1}/{shards}", flush=True)


def _store(_stage: Stage, place: Place, options: argparse.Namespace) -> None:
    """Store every result that there is in int8, with hashes."""
    for name, result in STORED.items():
        if place.result(result).exists():
            small = model_files.shrink(model_files.load(place.result(result)))
            model_files.save(small, place.weights / f"{name}.safetensors")
    command = COMMAND.format(seed=options.seed, scale=options.scale)
    model_files.write_sums(place.weights, command)
    size = sum(file.stat().st_size for file in place.weights.glob("*.safetensors"))
    print(f"store: {size / 1e6:.1f} MB in {place.weights}", flush=True)


def _look(stage: Stage, place: Place, options: argparse.Namespace) -> None:
    look.at_everything(place, write_checkpoint(place), options.seed, stage.batches)
