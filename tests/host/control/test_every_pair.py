"""Every net of the tables on every base: it works, or both are named before the first step.

Also what the page's list of nets is told of each pair, by real files' headers.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from workbench import tiny_bases, tiny_patches
from workbench.family_runs import host, ours, sample
from workbench.hosts import cross_section

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

BASES = {**tiny_bases.BASES, **tiny_patches.BASES}
INSIDE = tiny_patches.PATCHES  # nets that act inside the model
BASE_OF = {name: base for name, (base, _) in tiny_bases.NETS.items()}
BASE_OF |= {name: tiny.base for name, tiny in INSIDE.items()}
NAMES = {
    "sd2": "SD2",
    "sdxl": "SDXL",
    "sd3": "SD3",
    "flux": "Flux",
    "chroma": "Chroma",
    "qwen": "Qwen-Image",
    "hunyuan_dit": "HunyuanDiT",
    "cascade": "Stable Cascade",
    "z_image": "Z-Image",
    "anima": "Anima",
    "flux2": "Flux 2",
    "wan": "Wan",
}
# Chroma is made of Flux, and takes its nets; adapters for SD1.5 have SD2's widths.
ALSO = {("flux", "chroma"), ("chroma", "flux")}


def fits(name, base):
    own = BASE_OF[name]
    return own == base or (own, base) in ALSO


def is_net_here(name):
    """Return whether this ComfyUI has the class of a net."""
    import comfy.controlnet

    if name == "Qwen-Image Fun":
        return hasattr(comfy.controlnet, "QwenFunControlNet")
    return name not in INSIDE or INSIDE[name].is_here


def is_base_here(base):
    return base != "anima" or tiny_patches.has_anima_lllite()


@pytest.fixture(scope="module")
def built(host):
    """Return a base or a net by its name, each built at first use."""
    things = {}

    def get(name, make):
        if name not in things:
            things[name] = make()
        return things[name]

    return get


def net_named(built, name):
    from pack.control.patches import net_of

    if name in INSIDE:
        return net_of(built(name, INSIDE[name].net))
    return built(name, tiny_bases.NETS[name][1])


PAIRS = [(name, base) for name in BASE_OF for base in BASES]


@pytest.mark.quick
def test_every_base_has_its_name_in_sentences(host):
    """A base that is added to the tiny ones is paired with all nets."""
    assert set(NAMES) == set(BASES)


@pytest.mark.parametrize(("name", "base"), cross_section(PAIRS, 7))
def test_a_pair_works_or_both_are_named_before_the_first_step(name, base, built):
    from pack.control.net_info import source_of

    if not (is_net_here(name) and is_base_here(base)):
        pytest.skip("this host lacks one of them")
    model, net = built(base, BASES[base]), net_named(built, name)
    more = {"union_type": "depth"} if name == "Flux union" else {}
    if fits(name, base):
        assert ours(model, net, **more)
        return
    source = source_of(net)
    with pytest.raises(ValueError, match="does not fit the model") as at_apply:
        ours(model, net, **more)
    steps = []
    watch = model.patcher.model.diffusion_model.register_forward_pre_hook(
        lambda *_: steps.append(1)
    )
    chains = [ours(without_model(model), net, **more)]
    if name in INSIDE:  # ComfyUI's own Apply ControlNet takes it too
        chains.append(host(model, net))
    for chain in chains:
        with pytest.raises(ValueError, match="does not fit the model") as at_start:
            sample(model, chain, steps=1)
        assert str(at_start.value) == str(at_apply.value)
    watch.remove()
    assert not steps
    sentence = str(at_apply.value)
    own = source.identity.base or str(source.identity)
    assert sentence.startswith(f"ControlNet {source.name!r} (")
    assert f"for {own}" in sentence
    assert f"does not fit the model, which is {NAMES[base]}" in sentence
    assert f"Choose a ControlNet made for {NAMES[base]}" in sentence


def without_model(base):
    """Return the base as it is where no model is connected to Apply."""
    prompts = {"positive": base.positive, "negative": base.negative}
    return SimpleNamespace(**prompts, vae=base.vae, patcher=None)


# -- the page's list of nets -----------------------------------------------------------------------

# What tells these bases from others of their kind, which the tiny ones have in another size.
SIGNS = {
    "z_image": {"cap_embedder.1.weight": (3840, 2560)},
    "anima": {"llm_adapter.blocks.0.cross_attn.q_proj.weight": (1024, 1024)},
}


def write_header(file, shapes):
    """Write a safetensors file of these shapes whose weights are a hole in the file."""
    entries, end = {}, 0
    for key, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        entries[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    with file.open("wb") as out:
        out.write(len(header).to_bytes(8, "little") + header)
        out.truncate(8 + len(header) + end)


def shapes_of(module):
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def tables(built, host, tmp_path_factory):
    """Return what the server tells the page of all nets, by the base."""
    import comfy.supported_models as supported
    import folder_paths

    from pack.host.answers import nets

    folder = tmp_path_factory.mktemp("files")
    there = list(filter(is_base_here, BASES))
    for name in filter(is_net_here, BASE_OF):
        net = net_named(built, name)
        parts = (getattr(net, part, None) for part in ("control_model", "t2i_model"))
        module = next((part for part in parts if part is not None), None)
        write_header(folder / f"{name}.safetensors", shapes_of(module or net.patcher.model))
    for base in there:
        shapes = shapes_of(built(base, BASES[base]).patcher.model.diffusion_model)
        write_header(folder / f"{base}.safetensors", {**shapes, **SIGNS.get(base, {})})
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("controlnet", "model_patches", "diffusion_models"):
            where = ([str(folder)], {".safetensors"})
            patch.setitem(folder_paths.folder_names_and_paths, kind, where)
        folder_paths.filename_list_cache.clear()
        small = [
            type("TinySDXL", (supported.SDXL,), {"unet_config": detected(supported.SDXL, SDXL)}),
            type("TinySD20", (supported.SD20,), {"unet_config": detected(supported.SD20, {})}),
        ]
        patch.setattr(supported, "models", [*supported.models, *small])
        yield {
            base: json.loads(
                nets({"model": {"folder": "diffusion_models", "name": f"{base}.safetensors"}})
            )
            for base in there
        }
    folder_paths.filename_list_cache.clear()


SDXL = {"transformer_depth": [0, 0, 1, 1, 1, 1]}


def detected(config, more):
    return {**config.unet_config, "model_channels": 32, **more}


def file_of(name):
    """Return a net as the list names it: LLLite is with the ControlNets."""
    is_patch = name in INSIDE and not INSIDE[name].on_unet
    prefix = "model_patches/" if is_patch else ""
    return f"{prefix}{name}.safetensors"


@pytest.mark.parametrize("base", BASES)
def test_the_list_of_nets_has_those_that_fit_alone(base, tables):
    if base not in tables:
        pytest.skip("this host has no such base")
    table = tables[base]
    assert table["base"] == NAMES[base]
    names = list(filter(is_net_here, BASE_OF))
    fitting = [name for name in names if fits(name, base)]
    marks = {name: table["nets"][file_of(name)]["fits"] for name in names}
    assert {name for name, mark in marks.items() if mark is False} == {
        name for name in names if not fits(name, base)
    }
    if (node := shutil.which("node")) is None:
        return
    choices = ROOT / "js" / "lib" / "net_choices.js"
    script = (
        f"const {{ offered }} = await import({json.dumps(choices.as_uri())});"
        "const asked = JSON.parse(process.argv[1]);"
        "console.log(JSON.stringify(offered(asked.names, asked.table, '')));"
    )
    asked = {"names": [file_of(name) for name in names], "table": table}
    command = [node, "--input-type=module", "-e", script, json.dumps(asked)]
    shown = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    # An older ComfyUI has no net for Wan; a list without any shows all.
    assert shown == [file_of(name) for name in fitting or names]
