"""A net from a folder of pictures, through the queue: trained, saved, used, and stopped in the
middle.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from workbench import server


@pytest.fixture
def training(base, example):
    """The template with three pictures, 64 pixels and a few quick steps, under a name of its own."""
    folder = base / "input" / "my_pictures"
    folder.mkdir(exist_ok=True)
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (96, 128, 3), np.uint8)).save(
            folder / f"{i}.png"
        )
        (folder / f"{i}.txt").write_text(f"noise {i}")

    def ask(name: str, steps: int) -> dict:
        prompt = example("train_control", steps=2)
        settings = {
            "steps": steps,
            "batch_size": 1,
            "accumulation": 1,
            "validate_every": 2,
            "checkpoint": name,
        }
        of(prompt, "ControlStackTrain")["inputs"] |= {
            **settings,
            "learning_rate": 1e-3,
            "precision": "fp32",
        }
        of(prompt, "ControlStackDataset")["inputs"] |= {"width": 64, "height": 64}
        of(prompt, "ControlStackSave")["inputs"] |= {"name": name, "precision": "fp32"}
        return prompt

    return ask


def number(prompt: dict, kind: str) -> str:
    return next(node for node, words in prompt.items() if words["class_type"] == kind)


def of(prompt: dict, kind: str) -> dict:
    return prompt[number(prompt, kind)]


def metadata(base, name: str) -> dict[str, str]:
    with safe_open(base / "models" / "controlnet" / f"{name}.safetensors", "np") as file:
        return file.metadata()


def test_from_pictures_to_a_controlled_image(running, base, training):
    prompt = training("trained", steps=4)
    seen = []
    result = running.run(
        prompt, lambda p: p.node == number(prompt, "ControlStackTrain") and seen.append(p.value)
    )
    assert 4 in seen
    assert running.image(result.images(number(prompt, "SaveImage"))[0]).size == (256, 256)
    shown = running.image(result.images(number(prompt, "ControlStackTrain"))[0])
    assert shown.size == (960, 640 + 320)  # three pictures in a row, the curves below
    said = metadata(base, "trained")
    assert said["controlstack.steps"] == "4"
    assert said["controlstack.pairs"] == "3"
    assert said["controlstack.hint"] == "canny"
    assert json.loads(said["controlstack.hint_params"]) == {
        "low_threshold": 100,
        "high_threshold": 200,
    }
    assert min(json.loads(said["controlstack.zero_convolution_norms"]).values()) > 0
    assert (base / "output" / "controlstack" / "trained.safetensors").exists()


def test_stop_ends_training_and_the_queue_goes_on(running, base, training):
    """The first stop ends training: the net is saved with the steps that it has. Queued again, it
    goes on.
    """
    prompt = training("stopped", steps=400)
    of(prompt, "ControlStackTrain")["inputs"]["validate_every"] = 0
    trainer = number(prompt, "ControlStackTrain")
    stops = iter([running.interrupt])

    def stop_in_the_middle(progress: server.Progress) -> None:
        if progress.node == trainer and progress.maximum == 400 and progress.value >= 3:
            next(stops, lambda: None)()

    result = running.run(prompt, stop_in_the_middle)
    assert not result.interrupted
    done = int(metadata(base, "stopped")["controlstack.steps"])
    assert 3 <= done < 400
    of(prompt, "ControlStackTrain")["inputs"]["steps"] = done + 2
    of(prompt, "ControlStackSave")["inputs"]["overwrite"] = True
    assert trainer not in running.run(prompt).cached
    assert int(metadata(base, "stopped")["controlstack.steps"]) == done + 2


def test_faults_of_the_data_set_come_before_training(running, base, training):
    prompt = training("faulty", steps=4)
    (base / "input" / "my_pictures" / "1.png").write_bytes(b"no picture")
    with pytest.raises(
        server.HostError,
        match=r"(?s)ControlStackDataset.*1 of 3 pairs cannot be used: 1 unreadable",
    ):
        running.run(prompt)
