"""OpenPose: the networks and what is read from their maps, against controlnet_aux with the same random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pack.preprocessors.nets import openpose as nets
from workbench import references


@pytest.fixture(scope="module")
def theirs():
    with references.controlnet_aux("open_pose", "open_pose.model", "open_pose.face") as modules:
        yield modules[0]


def shared(ours: torch.nn.Module, reference: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Random weights that keep signals alive through thirty layers, under the names that the files have."""
    state = {}
    for name, tensor in ours.state_dict().items():
        fan = tensor[0].numel() if tensor.ndim == 4 else 1
        state[name] = torch.randn_like(tensor) * (2 / fan) ** 0.5 if tensor.ndim == 4 else torch.randn_like(tensor) * 0.01
    ours.load_state_dict(state)
    ours.eval()
    prefixed = {key: state[".".join(key.split(".")[1:])] if key.startswith("model") else state[key] for key in reference.state_dict()}
    reference.load_state_dict(prefixed)
    reference.eval()
    assert len(prefixed) == len(state)
    return state


@pytest.mark.parametrize(
    ("net", "module", "name"),
    [(nets.BodyNet, "model", "bodypose_model"), (nets.HandNet, "model", "handpose_model"), (nets.FaceNet, "face", "FaceNet")],
    ids=["body", "hand", "face"],
)
@torch.inference_mode()
def test_the_networks_equal_the_reference(theirs, net, module, name):
    ours, reference = net(), getattr(getattr(theirs, module), name)()
    shared(ours, reference)
    picture = torch.rand(2, 3, 48, 64) - 0.5
    expected, found = reference(picture), ours(picture)
    if name == "FaceNet":
        expected = expected[-1]
    for one, other in zip(expected if isinstance(expected, tuple) else [expected], found if isinstance(found, tuple) else [found], strict=True):
        assert one.std() > 1e-3
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)
