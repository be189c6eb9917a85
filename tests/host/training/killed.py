"""A training of its own process, checkpointed at every step, which can kill itself: run by test_training."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def package(name: str, folder: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=lambda name: Path(f"{name}.safetensors"))
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--kill-at", type=int, default=0)
    args = parser.parse_args()
    package("pack", ROOT)
    package("workbench", ROOT / "workbench")
    from workbench import hosts, inprocess

    inprocess.open_host(hosts.find()[0])
    import torch

    from pack.training import cache, files, loop, nets
    from workbench import tiny

    model, cpu = tiny.model_patcher(), torch.device("cpu")
    generator = torch.Generator().manual_seed(1)
    text = cache.Text(torch.randn(1, 77, 64, generator=generator))
    latents, hints = torch.randn(3, 4, 8, 8, generator=generator), torch.rand(3, 64, 64, 3, generator=generator)
    data = cache.Encoded(latents, (text,), (0, 0, 0), text, lambda row: hints[row])
    settings = loop.Settings(steps=args.steps, batch_size=2, learning_rate=1e-3, precision="fp32")
    net = nets.trainable(nets.created(model), model, cpu)
    trainer = loop.Trainer(
        nets.frozen_base(model, cpu, torch.float32), net, model.model.model_sampling, data, settings, cpu
    )
    if args.file.exists():
        trainer.restore(files.read(args.file)[0])
        print(f"resumed at {trainer.step}")

    def after(loss: float) -> None:
        files.save(trainer.state(), args.file, {})
        if trainer.step == args.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.run(trainer, after)


if __name__ == "__main__":
    main()
