"""Load the tiny family with ComfyUI's own loader, as a graph would: under inference mode."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from workbench import hosts

OLDER = hosts.find()[0].order < (0, 33) if hosts.find() else False
"""Whether this host is older than the newest: some tests run on the newest alone."""


@contextmanager
def one_thread():
    """Run torch on one thread: threads that wait for each other count as CPU time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Studio:
    """A base with its encoders, and what tests do with it."""

    model: Any
    clip: Any
    vae: Any

    def create(self, control_net=None):
        import torch

        from pack.nodes.train import Create

        with torch.inference_mode():
            return Create.execute(self.model, control_net)[0]

    def dataset(self, targets, hints, prompts="a disc", size=64):
        import torch

        from pack.nodes.train import Dataset

        with torch.inference_mode():
            return Dataset.execute(
                "", {"method": "given"}, size, size, target=targets, hint=hints, prompts=prompts
            )[0]

    def train(self, net, dataset, **settings):
        """Run the node: net, model, curves, validation."""
        import torch

        from pack.nodes.train import Train

        with torch.inference_mode():
            options = {**PLAIN, **settings}
            return Train.execute(self.model, self.clip, self.vae, net, dataset, **options)

    def trainer(self, net, data, device="cpu", **settings):
        """Make the loop itself, without a node around it."""
        import torch

        from pack.training import loop, nets

        plain = {key: value for key, value in PLAIN.items() if key != "validate_every"}
        chosen, place = loop.Settings(**{**plain, **settings}), torch.device(device)
        base = nets.frozen_base(self.model, place, chosen.compute, decoder_too=chosen.train_decoder)
        trained = nets.trainable_net(nets.copy_weights(net, self.model), self.model, place)
        return loop.Trainer(
            base, trained, self.model.get_model_object("model_sampling"), data, chosen, place
        )

    def residuals(self, net, seed=0):
        return residuals(net, self.model, 64, seed)


PLAIN = {
    "steps": 2,
    "batch_size": 2,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "validate_every": 0,
    "weight_decay": 0.0,
    "learning_rate": 1e-3,
}


def residuals(net, model, context_width, seed=0):
    """Return what ComfyUI's control object gives for fixed inputs, input to middle."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    hint, x = (
        torch.rand(1, 3, 64, 64, generator=generator),
        torch.randn(1, 4, 8, 8, generator=generator),
    )
    context = torch.randn(1, 77, context_width, generator=generator)
    with torch.inference_mode():
        control = net.copy().set_cond_hint(hint)
        control.pre_run(model.model, model.model.model_sampling.percent_to_sigma)
        output = control.get_control(x, torch.tensor([7.0]), {"c_crossattn": context}, 1, {})
    return [*output["output"], *output["middle"]]


@pytest.fixture(scope="session")
def studio(host):
    import folder_paths
    import torch

    import nodes
    from workbench import tiny
    from workbench.tiny_family import family

    family.teach_host()
    tiny.write_family(Path(folder_paths.models_dir))
    folder_paths.filename_list_cache.clear()
    with torch.inference_mode():
        return Studio(*nodes.CheckpointLoaderSimple().load_checkpoint(family.CHECKPOINT)[:3])


@pytest.fixture
def folder(host):
    """Return ComfyUI's controlnet folder; what a test writes there is removed afterwards."""
    import folder_paths

    path = Path(folder_paths.get_folder_paths("controlnet")[0])
    path.mkdir(parents=True, exist_ok=True)
    before = set(path.iterdir())
    yield path
    for entry in set(path.iterdir()) - before:
        if entry.is_symlink() or entry.is_file():
            entry.unlink()
        else:
            shutil.rmtree(entry)
    folder_paths.filename_list_cache.clear()


def discs(count, size=64):
    """Draw targets and hints (count,size,size,3): a disc on a ground, the hint being the same."""
    import torch

    generator = torch.Generator().manual_seed(5)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    targets, hints = [], []
    for _ in range(count):
        x, y, radius = (
            torch.rand(3, generator=generator) * size * torch.tensor([0.6, 0.6, 0.15])
        ).tolist()
        distance = ((columns - x - 0.2 * size) ** 2 + (rows - y - 0.2 * size) ** 2).sqrt()
        inside = (distance < radius + 0.12 * size).float()[..., None]
        disc, ground = torch.rand(2, 3, generator=generator)
        targets.append(inside * disc + (1 - inside) * ground)
        hints.append(
            targets[-1]
        )  # colours too: eight pairs are then told apart by more than a place
    return torch.stack(targets), torch.stack(hints)


def as_diffusers(weights, config):
    """Rename a net's weights as diffusers does, for the UNet that `config` describes."""
    import comfy.utils

    names = comfy.utils.unet_to_diffusers(config)
    renamed = {there: weights[here] for there, here in names.items() if here in weights}
    zero_convolutions = sum(key.startswith("zero_convs") for key in weights) // 2
    for part in ("weight", "bias"):
        renamed |= {
            f"controlnet_down_blocks.{i}.{part}": weights[f"zero_convs.{i}.0.{part}"]
            for i in range(zero_convolutions)
        }
        renamed[f"controlnet_mid_block.{part}"] = weights[f"middle_block_out.0.{part}"]
        hint = ["conv_in", *(f"blocks.{i}" for i in range(6)), "conv_out"]
        renamed |= {
            f"controlnet_cond_embedding.{name}.{part}": weights[f"input_hint_block.{2 * i}.{part}"]
            for i, name in enumerate(hint)
        }
    assert len(renamed) == len(weights)
    return renamed


@pytest.fixture(scope="session")
def eight(studio):
    """Return eight pairs as training reads them.

    Latents are a linear map of the picture, because the VAE's weights are random.
    """
    import torch

    from pack.training.cache import Encoded, Text

    targets, hints = discs(8)
    small = torch.nn.functional.avg_pool2d(targets.movedim(-1, 1), 8)
    latents = torch.cat([small, small.mean(1, keepdim=True)], 1) * 4 - 2
    text = Text(torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(3)))
    return Encoded(latents, (text,), (0,) * 8, text, lambda row: hints[row])


def steps_in(name):
    """Return the steps in a checkpoint."""
    from pack.training import resume

    return resume.steps_in(checkpoint(name))


def checkpoint(name):
    import folder_paths

    return Path(folder_paths.get_output_directory()) / "controlstack" / f"{name}.safetensors"


def same(first, second):
    return all(second[key].equal(value) for key, value in first.items())
