"""Check training on a second device: the CPU's losses, autocast, resuming, memory that runs out."""

from __future__ import annotations

import pytest
import torch

from workbench import second_device


@pytest.fixture(scope="module")
def here(studio):
    return second_device.open_device()


def pictures(count, seed):
    return torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def dataset(studio):
    return studio.dataset(pictures(4, 1), pictures(4, 2))


@pytest.fixture(scope="module")
def encoded(studio, dataset):
    from pack.training import cache

    with torch.inference_mode(False):
        return cache.encode(dataset, studio.model, studio.clip, studio.vae, lambda *_: None)


def losses(studio, encoded, device, steps=2, **settings):
    trainer = studio.trainer(studio.create(), encoded, device=device, **settings)
    numbers = [trainer.advance() for _ in range(steps)]
    weights = {key: value.cpu() for key, value in trainer.net_weights().items()}
    trainer.close()
    return numbers, weights


SETTINGS = {
    "plain": ({}, 1e-3),
    "accumulated, decoder too": ({"accumulation": 2, "train_decoder": True}, 1e-3),
    "checkpointing": ({"gradient_checkpointing": True, "max_grad_norm": 0.1}, 1e-3),
    "bf16": ({"precision": "bf16", "gradient_checkpointing": True}, 0.05),
}


@pytest.mark.parametrize(("settings", "tolerance"), SETTINGS.values(), ids=SETTINGS)
def test_losses_are_the_cpus(studio, encoded, here, settings, tolerance):
    reference, _ = losses(studio, encoded, torch.device("cpu"))
    if "accumulation" in settings:
        reference, _ = losses(studio, encoded, torch.device("cpu"), **settings)
    numbers, weights = losses(studio, encoded, here, **settings)
    assert numbers == pytest.approx(reference, rel=tolerance)
    assert all(value.dtype == torch.float32 for value in weights.values())
    zero = [value for key, value in weights.items() if key.startswith("zero_convs")]
    assert all(value.abs().max() > 0 for value in zero)


def test_the_node_trains_validates_and_resumes(studio, dataset, here, host):
    """A run that was saved halfway ends with the weights of one that ran through."""

    def weights(net):
        return net.control_model.state_dict()

    settings = {"precision": "bf16", "validate_every": 2, "checkpoint_every": 2}
    whole = studio.train(studio.create(), dataset, steps=4, checkpoint="second_whole", **settings)
    assert whole[2].device.type == whole[3].device.type == "cpu"
    studio.train(studio.create(), dataset, steps=2, checkpoint="second_half", **settings)
    resumed = studio.train(studio.create(), dataset, steps=4, checkpoint="second_half", **settings)
    pairs = zip(weights(whole[0]).values(), weights(resumed[0]).values(), strict=True)
    assert all(a.cpu().equal(b.cpu()) for a, b in pairs)
    assert len(studio.residuals(whole[0])) == 13


def test_exhausted_memory_is_a_sentence(studio, dataset, here):
    import comfy.model_management

    comfy.model_management.unload_all_models()
    with (
        second_device.budget(1 << 12),
        pytest.raises(RuntimeError, match=r"ran out of memory.*make (the data set's|its) pictures"),
    ):
        studio.train(studio.create(), dataset, batch_size=4)
