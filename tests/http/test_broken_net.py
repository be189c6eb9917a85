"""Queue a graph with a net whose file contains NaN: every picture is written, and a report."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "broken_canny.safetensors"


@pytest.fixture
def broken(base, host):
    """Write a copy of the tiny net with one NaN; gone after the test."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = base / "models" / "controlnet"
    source = sorted(folder.glob("*.safetensors"))[0]
    weights = load_file(source)
    key = next(key for key in weights if key.endswith("input_blocks.4.0.in_layers.2.weight"))
    weights[key].view(-1)[0] = float("nan")
    save_file(weights, folder / NAME)
    assert not torch.isfinite(weights[key]).all()
    yield key
    (folder / NAME).unlink()


def node_of(prompt, kind):
    return next(node for node, words in prompt.items() if words["class_type"] == kind)


def save(images, prefix):
    return {"class_type": "SaveImage", "inputs": {"images": images, "filename_prefix": prefix}}


def with_report(prompt):
    """Add a report, a picture of its plot, the hint's, and a second sampler without any net."""
    apply, sampler = node_of(prompt, "ControlStackApply"), node_of(prompt, "KSampler")
    decode = node_of(prompt, "VAEDecode")
    text = prompt[apply]["inputs"]
    prompt["report"] = {
        "class_type": "ControlStackReport",
        "inputs": {"positive": [apply, 0], "latent": [sampler, 0]},
    }
    prompt[decode]["inputs"]["samples"] = ["report", 0]
    without = {"positive": text["positive"], "negative": text["negative"]}
    prompt["sampler"] = {
        "class_type": "KSampler",
        "inputs": {**prompt[sampler]["inputs"], **without},
    }
    vae = prompt[decode]["inputs"]["vae"]
    prompt["decode"] = {
        "class_type": "VAEDecode",
        "inputs": {"samples": ["sampler", 0], "vae": vae},
    }
    prompt["plot"] = save(["report", 2], "plot")
    prompt["plain"] = save(["decode", 0], "plain")
    prompt["hint"] = save([node_of(prompt, "ControlStackCanny"), 0], "hint")
    return prompt


@pytest.mark.parametrize("mode", ["balanced", "prompt", "control", "cond_only"])
def test_every_picture_is_written_and_the_net_is_named(running, example, broken, mode):
    prompt = with_report(example("01 One ControlNet"))
    prompt[node_of(prompt, "ControlStackLoad")]["inputs"]["control_net_name"] = NAME
    prompt[node_of(prompt, "ControlStackAdd")]["inputs"]["mode"] = mode
    result = running.run(prompt)

    def picture(node):
        (record,) = result.images(node)
        return np.asarray(running.image(record).convert("RGB"))

    image = picture(node_of(prompt, "SaveImage"))
    assert np.array_equal(image, picture("plain")), "the picture without the net, not black"
    assert image.std() > 1
    assert picture("plot").shape[1] == 1024
    assert picture("hint").any()
    (tables,) = result.outputs["report"]["text"]
    sentence = f"ControlNet '{NAME}' (ControlNet for "
    for words in (tables, running.tail(200)):
        assert sentence in words
        assert "at steps 1 to 4 of 4. It was left out there" in words
        assert f"(first: {broken.removeprefix('control_model.')}): download it again" in words
