"""Let a Ray cluster make shards: one actor a core, or a card where methods have networks.

Ray only says where a worker runs and that it died. What is done is what has its name in the output
folder, which all machines must see.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .crew import TRIES, Report, refuse_deadly
from .intake import Shard
from .job import ROOT, Job, StopError

LEFT_OUT = (
    ".*",
    "benchmarks",
    "demo",
    "docs",
    "example_workflows",
    "js",
    "locales",
    "subgraphs",
    "tests",
    "workbench",
    "control",
    "nodes",
    "**/__pycache__",
)
"""What the machines of a cluster do not get of this folder."""
LOCAL = "local"
SENTENCE = (
    '--ray needs Ray, which this Python does not have: run `pip install "ray[data]"` with it, or'
    " leave --ray out and give --workers"
)


class RayCrew:
    """Actors of a cluster; `size` 0 takes one for every card or core that it has."""

    def __init__(self, job: Job, address: str, size: int, gpus: float | None) -> None:
        try:
            import ray
        except ImportError as error:
            raise StopError(SENTENCE) from error
        self.ray, self.job = ray, job
        _connect(ray, address, size)
        cards = ray.cluster_resources().get("GPU", 0.0)
        has_networks = any(method.weights for method in job.methods)
        self.gpus = (1.0 if cards and has_networks else 0.0) if gpus is None else gpus
        cores = ray.cluster_resources().get("CPU", 1.0)
        room = max(1, int(cards / self.gpus if self.gpus else cores))
        self.size = min(size or room, room)  # an actor without a place would keep its shard

    def run(self, shards: Sequence[Shard], report: Report) -> None:
        """Make all shards. Raises StopError as workers do."""
        todo, deaths = deque(range(len(shards))), Counter[str]()
        idle = [self._actor() for _ in range(min(self.size, len(todo)))]
        running: dict[Any, tuple[Any, int]] = {}
        try:
            while todo or running:
                while todo and idle:
                    actor, index = idle.pop(), todo.popleft()
                    running[actor.make.remote(json.dumps(asdict(shards[index])))] = (actor, index)
                for answer in self.ray.wait(list(running))[0]:
                    actor, index = running.pop(answer)
                    shard, pictures = shards[index], self._pictures(answer, actor)
                    if pictures is None:
                        deaths[shard.name] += 1
                        if deaths[shard.name] >= TRIES:
                            raise refuse_deadly(shard.name, shard.items)
                        todo.appendleft(index)
                        actor = self._actor()
                        report(shard.name, 0, 0, False)
                    else:
                        report(shard.name, pictures, shard.weight, True)
                    idle.append(actor)
        finally:
            self.ray.shutdown()

    def _pictures(self, answer: Any, actor: Any) -> int | None:
        """Return how many pictures a shard has; None where its actor died or is of no more use."""
        try:
            pictures, sentence = self.ray.get(answer)
        except self.ray.exceptions.RayError as error:
            print(f"\na worker ended: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
            self.ray.kill(actor)
            return None
        if sentence:
            raise StopError(sentence)
        return pictures

    def _actor(self) -> Any:
        options = {"num_cpus": 1, "num_gpus": self.gpus}
        return self.ray.remote(_actor_class()).options(**options).remote(self.job.text(), str(ROOT))


def _connect(ray: Any, address: str, size: int) -> None:
    """Connect to a cluster, or start one on this machine. Raises StopError where none answers."""
    here = {"num_cpus": size or None, "include_dashboard": False} if address == LOCAL else {}
    packed = {"working_dir": str(ROOT), "excludes": list(LEFT_OUT)} if address != LOCAL else None
    try:
        ray.init(
            address=address,
            runtime_env=packed,
            log_to_driver=True,
            logging_level="error",
            **here,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise StopError(
            f"--ray {address}: no cluster answers there ({first}). Expected auto (the cluster of"
            " this machine), HOST:PORT, ray://HOST:PORT, or local, which starts one here"
        ) from error


def _actor_class() -> type:
    """Return the actor; inside a function, so that Ray sends its code and not its name."""

    class Annotating:
        def __init__(self, job: str, root: str) -> None:
            import importlib
            import importlib.util
            import os
            import sys

            root = root if os.path.isdir(root) else os.getcwd()
            if "controlstack" not in sys.modules:
                spec = importlib.util.spec_from_file_location(
                    "controlstack", f"{root}/__init__.py", submodule_search_locations=[root]
                )
                assert spec is not None
                module = importlib.util.module_from_spec(spec)
                sys.modules["controlstack"] = module
            self.module = importlib.import_module("controlstack.annotate.ray_worker")
            self.worker = self.module.start(job)

        def make(self, shard: str) -> tuple[int, str]:
            return self.module.make(self.worker, shard)

    return Annotating
