"""Sample a tiny model with three tiny ControlNets, through ComfyUI's own nodes and through ours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest


@dataclass(frozen=True)
class World:
    model: Any
    nets: list
    positive: list
    negative: list

    def hint(self, seed=0, batch=1, height=64, width=64):
        import torch

        return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(seed))

    def sample(
        self,
        positive,
        negative,
        *,
        steps=3,
        cfg=7.0,
        sampler="euler",
        scheduler="normal",
        batch=1,
        size=(8, 8),
        model=None,
    ):
        import torch

        import nodes

        latent = {"samples": torch.zeros(batch, 4, *size)}
        out = nodes.common_ksampler(
            model or self.model, 7, steps, cfg, sampler, scheduler, positive, negative, latent
        )
        return out[0]["samples"]

    def host(self, units, positive=None, negative=None):
        """Apply units by a chain of ControlNetApplyAdvanced.

        A unit: net, image, strength, start_percent, end_percent.
        """
        import nodes

        positive, negative = (
            positive or self.positive,
            self.negative if negative is None else negative,
        )
        for u in units:
            row = (
                u["net"],
                u["image"],
                u.get("strength", 1.0),
                u.get("start_percent", 0.0),
                u.get("end_percent", 1.0),
            )
            positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(
                positive, negative, *row
            )
        return positive, negative

    def ours(self, units, positive=None, negative=None, **apply):
        """Apply the same units by our Add and Apply nodes."""
        from pack.nodes.apply import Apply

        negative = self.negative if negative is None else negative
        out = Apply.execute(positive or self.positive, self.stack(units), negative, **apply)
        return out[0], out[1]

    def stack(self, units):
        from pack.nodes.apply import Add

        stack = None
        for u in units:
            plain = {
                "strength": 1.0,
                "start_percent": 0.0,
                "end_percent": 1.0,
                "mode": "balanced",
                "fit": "crop",
            }
            settings = {**plain, "schedule": "", "layers": "", **u}
            stack = Add.execute(settings.pop("net"), stack=stack, **settings)[0]
        return stack


@pytest.fixture(scope="session")
def make_world(host):
    """Make a world by its size: "tiny", or "full" for SD1.5's own shapes (8 GB)."""
    from workbench import tiny

    def make(size):
        patcher, control = {
            "tiny": (tiny.model_patcher, tiny.control_net),
            "full": (tiny.full_model_patcher, tiny.full_control_net),
        }[size]
        prompts = [tiny.conditioning(seed, size=size) for seed in (1, 2)]
        return World(patcher(), [control(10 + i) for i in range(3)], *prompts)

    return make


@pytest.fixture(scope="session")
def world(make_world):
    return make_world("tiny")


@pytest.fixture
def control_lora(world):
    """Return a Control-LoRA of the tiny model.

    A hint encoder, zero convolutions, and one low-rank change of the base.
    """
    import comfy.controlnet
    import torch

    weights = {
        k: v.clone()
        for k, v in world.nets[0].control_model.state_dict().items()
        if "hint" in k or "zero" in k
    }
    weights |= {
        k: v.clone()
        for k, v in world.nets[0].control_model.state_dict().items()
        if "middle_block_out" in k
    }
    base = world.model.model.diffusion_model.state_dict()["input_blocks.0.0.weight"]
    weights["input_blocks.0.0.up"] = torch.randn(base.shape[0], 2) * 0.1
    weights["input_blocks.0.0.down"] = torch.randn(2, *base.shape[1:]) * 0.1
    weights["lora_controlnet"] = torch.tensor([])
    return comfy.controlnet.ControlLora(weights)


@pytest.fixture
def counted(world, monkeypatch):
    """Count calls while a test runs.

    Forwards of the UNet, and for each net its hint encodings, forwards and rows.
    """
    import comfy.cldm.cldm

    counts = {"unet": 0, "hint": {}, "net": {}, "rows": {}}
    unet = world.model.model.diffusion_model
    handles = [
        unet.register_forward_pre_hook(lambda *_: counts.__setitem__("unet", counts["unet"] + 1))
    ]
    real = comfy.cldm.cldm.ControlNet.forward

    def forward(self, x, *args, **kwargs):
        key = id(self.zero_convs)  # shared by a net and its twins
        counts["net"][key] = counts["net"].get(key, 0) + 1
        counts["rows"].setdefault(key, []).append(x.shape[0])
        return real(self, x, *args, **kwargs)

    def encoded(key, *_):
        counts["hint"][key] = counts["hint"].get(key, 0) + 1

    monkeypatch.setattr(comfy.cldm.cldm.ControlNet, "forward", forward)
    for net in world.nets:
        module = net.control_model

        handles.append(
            module.input_hint_block[0].register_forward_pre_hook(
                partial(encoded, id(module.zero_convs))
            )
        )
    yield counts
    for handle in handles:
        handle.remove()


@pytest.fixture
def union(world):
    """Return a union net of eight types (ProMax) with 320 channels, the width of its fusion."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.model_management
    import comfy.ops

    from workbench.tiny_family import family

    shape = {
        k: v
        for k, v in family.TINY.items()
        if k not in ("out_channels", "transformer_depth_output")
    }
    small = {
        "model_channels": 320,
        "channel_mult": [1],
        "num_res_blocks": [1],
        "transformer_depth": [1],
    }
    module = comfy.cldm.cldm.ControlNet(
        **{**shape, **family.TINY_HEADS, **small},
        hint_channels=3,
        union_controlnet_num_control_type=8,
        operations=comfy.ops.disable_weight_init,
    )
    family.fill(module, 3)
    device = comfy.model_management.get_torch_device()
    return comfy.controlnet.ControlNet(module.eval(), load_device=device)
