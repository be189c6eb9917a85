"""Check the door: what a net is gets looked at once, and every input of Add ControlNet is used."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import textwrap

import pytest


def mask(*shape):
    import torch

    return torch.rand(*shape, generator=torch.Generator().manual_seed(8))


CHANGES = {
    "control_net": lambda world: {"net": world.nets[1]},
    "image": lambda world: {"image": world.hint(5)},
    "strength": lambda _: {"strength": 0.5},
    "start_percent": lambda _: {"start_percent": 0.4},
    "end_percent": lambda _: {"end_percent": 0.4},
    "mode": lambda _: {"mode": "cond_only"},
    "fit": lambda _: {"fit": "stretch"},
    "schedule": lambda _: {"schedule": "0:0.5"},
    "layers": lambda _: {"layers": "soft"},
    "effect_mask": lambda _: {"effect_mask": mask(1, 8, 8)},
    "inpaint_mask": lambda _: {"inpaint_mask": mask(1, 8, 8)},
    "frame_strength": lambda _: {"frame_strength": "0:0.5"},
}
"""For each input of Add a value that changes the image."""
ELSEWHERE = {"stack", "union_type"}
"""Inputs that the tests below and those of union nets cover."""


def test_every_input_of_add_has_a_case(host):
    from pack.control.stack import Unit
    from pack.control.units import READERS
    from pack.nodes.apply import Add

    inputs = {declared.id for declared in Add.define_schema().inputs}
    assert inputs == CHANGES.keys() | ELSEWHERE, (
        "give each new input a value that changes the image"
    )
    assert READERS.keys() == inputs - {"control_net", "image"} - ELSEWHERE
    assert READERS.keys() <= {field.name for field in dataclasses.fields(Unit)}


@pytest.mark.parametrize("name", CHANGES)
def test_every_input_of_add_changes_the_image(world, name):
    unit = {"net": world.nets[0], "image": world.hint(0, 1, 50, 130)}
    plain = world.sample(*world.ours([unit]))
    assert not world.sample(*world.ours([{**unit, **CHANGES[name](world)}])).equal(plain)


def test_add_appends_to_the_stack_that_it_gets(world):
    units = [{"net": net, "image": world.hint()} for net in world.nets]
    assert [unit.net for unit in world.stack(units).units] == world.nets


def test_an_unknown_input_is_not_ignored(world):
    with pytest.raises(KeyError, match="blur_px"):
        world.stack([{"net": world.nets[0], "image": world.hint(), "blur_px": 3}])


def test_a_net_is_looked_at_once(world, monkeypatch):
    """A net of another loader is identified by all of its keys, which takes a while."""
    from pack.files import families

    looks, identify = [], families.identify
    monkeypatch.setattr(families, "identify", lambda *a: (looks.append(a), identify(*a))[1])
    units = [{"net": net, "image": world.hint()} for net in world.nets[:2]]
    world.sample(*world.ours(units, model=world.model))
    assert len(looks) == 2


def test_a_net_is_described(world):
    from pack.control.layouts import BLOCKS
    from pack.control.net_info import look_at

    info = look_at(world.nets[0])
    assert (info.class_name, info.layout, info.union_types) == ("ControlNet", BLOCKS, {})
    assert (info.needs_vae, info.takes_mask, info.is_adapter) == (False, False, False)
    assert info.is_comfy_class
    assert info.caches_like_comfy
    assert str(info).startswith("ControlNet 'ControlNet' (ControlNet for ")
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.needs_vae = True


NOT_ON_EVERY_HOST = ("comfy.ldm.qwen_image.controlnet.QwenImageFunControlNetModel",)


def test_every_layout_names_a_class_of_comfyui(host):
    from pack.control.layouts import LAYOUTS

    for name in LAYOUTS:
        module, _, class_name = name.rpartition(".")
        net_class = getattr(importlib.import_module(module), class_name, None)
        assert isinstance(net_class, type) or name in NOT_ON_EVERY_HOST


def modules_built_in(source, scope):
    """List the torch modules that a source text builds, by their qualified names."""
    import torch

    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = (ast.unparse(f) for f in calls if isinstance(f, ast.Attribute | ast.Name))
    built = set()
    for first, *rest in {tuple(name.split(".")) for name in named}:
        value = functools.reduce(lambda v, n: getattr(v, n, None), rest, scope.get(first))
        if isinstance(value, type) and issubclass(value, torch.nn.Module):
            built.add(f"{value.__module__}.{value.__qualname__}")
    return built


def test_every_net_that_comfyui_loads_has_a_layout(host):
    """A class that ComfyUI's loader learns has no row yet: masks, layers and modes need one."""
    import comfy.controlnet

    from pack.control.layouts import LAYOUTS

    loader = inspect.getsource(comfy.controlnet)
    built = modules_built_in(loader, vars(comfy.controlnet))
    assert len(built) >= 9
    assert built <= set(LAYOUTS), "add a row to LAYOUTS of control/layouts.py"


NO_HINT = {
    "comfy_extras.nodes_model_patch.SigLIPMultiFeatProjModel": "a style",
    "comfy_extras.nodes_model_patch.MultiTalkModelPatch": "speech",
    "comfy.ldm.lightricks.duration_head.DurationHead": "a length",
    "comfy.ldm.supir.supir_modules.SUPIR": "a whole upscaler",
}
"""Model patches that no picture steers."""
NEWER = {
    "comfy.ldm.anima.lllite.AnimaLLLite",
    "comfy.ldm.wan.uni3c.WanUni3CControlnet",
}


def test_every_model_patch_that_comfyui_loads_has_a_row(host):
    from comfy_extras import nodes_model_patch

    from pack.control.patches import PATCHES

    loader = textwrap.dedent(inspect.getsource(nodes_model_patch.ModelPatchLoader.load_model_patch))
    built = modules_built_in(loader, vars(nodes_model_patch))
    theirs = {name for name in PATCHES if name.startswith("comfy")}
    assert theirs - NEWER <= built
    assert built <= set(PATCHES) | set(NO_HINT), "add a row to PATCHES"
