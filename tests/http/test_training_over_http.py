"""Train a net on a folder of pictures through the queue: train, save, use, and cancel."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from workbench import server


@pytest.fixture
def training(base, example):
    """Make the template small: three pictures, 64 pixels, few steps, its own name."""
    folder = base / "input" / "my_pictures"
    folder.mkdir(exist_ok=True)
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (96, 128, 3), np.uint8)).save(
            folder / f"{i}.png"
        )
        (folder / f"{i}.txt").write_text(f"noise {i}")

    def prompt_for(name: str, steps: int) -> dict:
        prompt = example("18 Train a ControlNet", steps=2)
        inputs_of(prompt, "ControlStackTrain").update(
            steps=steps,
            batch_size=1,
            accumulation=1,
            validate_every=2,
            checkpoint=name,
            learning_rate=1e-3,
            precision="fp32",
        )
        inputs_of(prompt, "ControlStackDataset").update(width=64, height=64)
        inputs_of(prompt, "ControlStackSave").update(name=name, precision="fp32")
        return prompt

    return prompt_for


def node_id(prompt: dict, kind: str) -> str:
    return next(key for key, node in prompt.items() if node["class_type"] == kind)


def inputs_of(prompt: dict, kind: str) -> dict:
    return prompt[node_id(prompt, kind)]["inputs"]


def metadata(base, name: str) -> dict[str, str]:
    with safe_open(base / "models" / "controlnet" / f"{name}.safetensors", "np") as file:
        return file.metadata()


def test_from_pictures_to_a_controlled_image(running, base, training):
    prompt = training("trained", steps=4)
    steps = []
    result = running.run(
        prompt, lambda p: p.node == node_id(prompt, "ControlStackTrain") and steps.append(p.value)
    )
    assert 4 in steps
    assert running.image(result.images(node_id(prompt, "SaveImage"))[0]).size == (256, 256)
    shown = running.image(result.images(node_id(prompt, "ControlStackTrain"))[0])
    assert shown.size == (960, 640 + 320)  # three pictures in a row, the curves below
    saved = metadata(base, "trained")
    assert saved["controlstack.steps"] == "4"
    assert saved["controlstack.pairs"] == "3"
    assert saved["controlstack.hint"] == "canny"
    assert json.loads(saved["controlstack.hint_params"]) == {
        "low_threshold": 100,
        "high_threshold": 200,
    }
    assert min(json.loads(saved["controlstack.zero_convolution_norms"]).values()) > 0
    assert (base / "output" / "controlstack" / "trained.safetensors").exists()


def test_cancelling_ends_training_and_the_queue_continues(running, base, training):
    """Cancel once: the net is saved with the steps it has. Queued again, training resumes.

    Its net then replaces the one that was saved before, without being asked to overwrite it.
    """
    prompt = training("stopped", steps=400)
    inputs_of(prompt, "ControlStackTrain")["validate_every"] = 0
    trainer = node_id(prompt, "ControlStackTrain")
    stops = iter([running.interrupt])

    def stop_in_the_middle(progress: server.Progress) -> None:
        if progress.node == trainer and progress.maximum == 400 and progress.value >= 3:
            next(stops, lambda: None)()

    result = running.run(prompt, stop_in_the_middle)
    assert not result.interrupted
    done = int(metadata(base, "stopped")["controlstack.steps"])
    assert 3 <= done < 400
    inputs_of(prompt, "ControlStackTrain")["steps"] = done + 2
    assert trainer not in running.run(prompt).cached
    assert int(metadata(base, "stopped")["controlstack.steps"]) == done + 2


def test_a_name_that_is_taken_is_refused_before_training(running, base, training):
    prompt = training("taken", steps=4)
    file = base / "models" / "controlnet" / "taken.safetensors"
    file.write_bytes(b"another program's")
    inputs_of(prompt, "ControlStackTrain")["validate_every"] = 0
    with pytest.raises(server.HostError, match=r"taken.safetensors is there already"):
        running.run(prompt)
    assert file.read_bytes() == b"another program's"
    assert not (base / "output" / "controlstack" / "taken.safetensors").exists()


def test_faults_of_the_data_set_come_before_training(running, base, training):
    prompt = training("faulty", steps=4)
    (base / "input" / "my_pictures" / "1.png").write_bytes(b"no picture")
    with pytest.raises(
        server.HostError,
        match=r"(?s)ControlStackDataset.*1 of 3 pairs cannot be used: 1 unreadable",
    ):
        running.run(prompt)
