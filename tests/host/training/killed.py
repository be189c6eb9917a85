"""Train with a checkpoint after every step and, where asked to, kill the own process.

A script for test_training.py.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def train(file: Path, *, steps: int, kill_at: int = 0) -> int:
    """Train a new tiny net, or what `file` holds of one, to `steps`; return the steps it had."""
    import torch

    from pack.training import cache, checkpoint_files, loop, nets
    from workbench import tiny

    model, cpu = tiny.model_patcher(), torch.device("cpu")
    generator = torch.Generator().manual_seed(1)
    text = cache.Text(torch.randn(1, 77, 64, generator=generator))
    latents, hints = (
        torch.randn(3, 4, 8, 8, generator=generator),
        torch.rand(3, 64, 64, 3, generator=generator),
    )
    data = cache.Encoded(latents, (text,), (0, 0, 0), text, lambda row: hints[row])
    settings = loop.Settings(steps=steps, batch_size=2, learning_rate=1e-3, precision="fp32")
    net = nets.trainable_net(nets.create_weights(model), model, cpu)
    base = nets.frozen_base(model, cpu, torch.float32)
    trainer = loop.Trainer(base, net, model.model.model_sampling, data, settings, cpu)
    if file.exists():
        trainer.restore(checkpoint_files.read(file)[0])
    resumed_at = trainer.step

    def after_step(_loss: float) -> None:
        checkpoint_files.save(trainer.state(), file, {})
        if trainer.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with trainer:
        trainer.run(after_step)
    return resumed_at


def package(name: str, folder: Path) -> None:
    init = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        name, init, submodule_search_locations=[str(folder)]
    )
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


if __name__ == "__main__":
    package("pack", ROOT)
    package("workbench", ROOT / "workbench")
    from workbench import hosts, inprocess

    inprocess.open_host(hosts.find()[0])
    train(Path(sys.argv[1]), steps=9, kill_at=int(sys.argv[2]))
