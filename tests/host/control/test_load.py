"""Load ControlNet: equal to ComfyUI's loader, and a sentence for every other file."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture
def put(host, tmp_path):
    """Write a file into the host's controlnet folder, gone after the test; gives its name."""
    import folder_paths

    folder = Path(folder_paths.get_folder_paths("controlnet")[0])
    folder.mkdir(parents=True, exist_ok=True)
    written = []

    def write(name, content, metadata=None):
        path = folder / name
        written.append(path)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif name.endswith(".safetensors"):
            save_file(
                {k: v.contiguous().clone() for k, v in content.items()}, path, metadata=metadata
            )
        else:
            torch.save(content, path)
        folder_paths.filename_list_cache.clear()
        return name

    yield write
    for path in written:
        path.unlink(missing_ok=True)


def load(name):
    from pack.nodes.load import Load

    return Load.execute(name)[0]


def weights(world, prefix=""):
    return {prefix + key: value for key, value in world.nets[0].control_model.state_dict().items()}


@pytest.mark.parametrize(
    "name", ["bare.safetensors", "prefixed.safetensors", "old.pth", "folder of nets.safetensors"]
)
def test_the_net_equals_that_of_comfyuis_loader(world, put, name):
    import nodes

    prefix = "control_model." if name in ("prefixed.safetensors", "old.pth") else ""
    put(name, weights(world, prefix))
    ours, theirs = load(name), nodes.ControlNetLoader().load_controlnet(name)[0]
    assert type(ours) is type(theirs)
    chains = [world.host([{"net": net, "image": world.hint()}]) for net in (ours, theirs)]
    assert world.sample(*chains[0]).equal(world.sample(*chains[1]))
    assert world.sample(*world.ours([{"net": ours, "image": world.hint()}])).equal(
        world.sample(*chains[1])
    )


def test_a_loaded_net_names_its_file(world, put):
    """A copy that ComfyUI's nodes make is a new object: its keys tell what it is."""
    name = put("my canny net.safetensors", weights(world), {"controlstack.hint": "canny"})
    from pack.control.net_info import source_of

    net = load(name)
    assert source_of(net).name == name
    assert source_of(net).identity.hint == "canny"
    assert source_of(net.copy()).name == "ControlNet"
    assert source_of(net.copy()).identity.unet == source_of(net).identity.unet


@pytest.mark.parametrize(
    ("name", "pooled"), [("a_shuffle_fp16.safetensors", True), ("reshuffled.safetensors", False)]
)
def test_the_shuffle_net_is_pooled(world, put, name, pooled):
    assert load(put(name, weights(world))).global_average_pooling is pooled


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def lora(world):
    return {"lora_unet_mid_block.lora_down.weight": torch.ones(2, 2)}


def missing(world):
    return {key: value for i, (key, value) in enumerate(weights(world).items()) if i != 40}


def reshaped(world):
    """Give the wrong shape to a weight that ComfyUI does not size the net by."""
    return {
        k: torch.ones(3, 3, 1, 1) if k == "middle_block_out.0.weight" else v
        for k, v in weights(world).items()
    }


def truncated(world, put):
    import folder_paths

    path = Path(
        folder_paths.get_full_path_or_raise("controlnet", put("whole.safetensors", weights(world)))
    )
    return path.read_bytes()[:-1000]


FILES = {
    "lora.safetensors": (lora, "is a LoRA, not a ControlNet. It belongs in loras"),
    "flux_depth_lora.safetensors": (
        lambda w: {"img_in.lora_A.weight": torch.ones(2, 128)},
        "is a Flux Canny or Depth LoRA for Flux, not a ControlNet. It belongs in loras: use Load"
        " LoRA on a Flux model, and InstructPixToPixConditioning with the hint as pixels",
    ),
    "krea_depth.safetensors": (
        lambda w: {"first.weight": torch.ones(2, 128), "blocks.0.attn.wq.A": torch.ones(1, 2)},
        "is a Krea-2 control LoRA for Krea-2.* Krea2 Control LoRA Loader.* Krea2 Control Apply",
    ),
    "krea_pose.safetensors": (
        lambda w: {"diffusion_model.blocks.0.attn.wq.lora_A.weight": torch.ones(1, 2)},
        "is a LoRA for Krea-2.* one for poses also needs .* image1 of Text Encode Krea 2 Ostris",
    ),
    "ltx_canny.safetensors": (
        lambda w: {
            "diffusion_model.transformer_blocks.0.attn1.to_k.lora_A.weight": torch.ones(1, 2)
        },
        "is a LoRA for LTX.* an IC-LoRA also needs its hint as image of LTXVAddGuide",
    ),
    "sd15.safetensors": (
        lambda w: {"model.diffusion_model.input_blocks.0.0.weight": torch.ones(1)},
        "is a whole checkpoint, not a ControlNet. It belongs in checkpoints",
    ),
    "style.pt": (lambda w: {"string_to_param": {"*": torch.ones(1, 8)}}, "is an embedding"),
    "instantx.safetensors": (
        lambda w: {
            "controlnet_blocks.0.weight": torch.ones(1),
            "controlnet_x_embedder.weight": torch.ones(1),
        },
        "has the keys of an InstantX ControlNet for Flux but not its shapes",
    ),
    "sd3.safetensors": (
        lambda w: {
            "controlnet_blocks.0.weight": torch.ones(1),
            "pos_embed_input.proj.weight": torch.ones(1),
        },
        "has the keys of an SD3 ControlNet for SD3 but not",
    ),
    "xlabs.safetensors": (
        lambda w: {
            "controlnet_blocks.0.weight": torch.ones(1),
            "input_hint_block.0.weight": torch.ones(1),
            "double_blocks.0.img_attn.norm.key_norm.scale": torch.ones(1),
        },
        "has the keys of an XLabs ControlNet for Flux but not",
    ),
    "sparse.safetensors": (
        lambda w: {"controlnet.down_blocks.0.motion_modules.0.norm.weight": torch.ones(1)},
        "is an AnimateDiff SparseCtrl .*loader cannot read. Use it with .*Advanced-ControlNet",
    ),
    "zimage.safetensors": (
        lambda w: {"control_all_x_embedder.2-1.weight": torch.ones(1)},
        "Z-Image Fun patch .*It belongs in model_patches: use Apply Z-Image Fun ControlNet",
    ),
    "vace.safetensors": (
        lambda w: {"vace_patch_embedding.weight": torch.ones(1)},
        "It belongs in diffusion_models: use Load Diffusion Model and WanVaceToVideo",
    ),
    "ip.safetensors": (lambda w: {"image_proj.proj.weight": torch.ones(1)}, "is an IP-Adapter"),
    "odd.safetensors": (
        lambda w: {"some.key": torch.ones(1)},
        r"is not a ControlNet that this pack recognises \(first keys: some.key\)",
    ),
    "empty.pth": (
        lambda w: {},
        "is not a ControlNet that this pack recognises .the file has no keys.",
    ),
    "list.pth": (lambda w: [torch.ones(1)], "does not contain weights .a dict of tensors."),
    "missing.safetensors": (missing, "lacks 1 of its weights, the first is"),
    "reshaped.safetensors": (
        reshaped,
        "has the keys of a ControlNet .* but not its shapes .first: middle_block_out.0.weight.",
    ),
    "difference.safetensors": (
        lambda w: {**weights(w, "control_model."), "difference": torch.ones(1)},
        "contains only the difference",
    ),
    "bomb.pth": (lambda w: pickle.dumps({"state_dict": Bomb()}), "could run code"),
    "bomb.ckpt": (lambda w: {"state_dict": Bomb()}, "could run code"),
    "damaged.pth": (lambda w: b"PK\x03\x04" + bytes(64), "is damaged or cut short"),
    "text.pth": (
        lambda w: b"<!doctype html><html>",
        "does not contain weights .perhaps it is a web page|is damaged or cut short",
    ),
    "nothing.pth": (lambda w: b"", "is damaged or cut short"),
    "nothing.safetensors": (lambda w: b"", "the file is empty"),
}


def test_an_ic_lora_is_told_by_its_metadata(world, put):
    key = "diffusion_model.transformer_blocks.0.attn1.to_k.lora_A.weight"
    name = put("ic.safetensors", {key: torch.ones(1, 2)}, {"reference_downscale_factor": "2"})
    with pytest.raises(ValueError, match=r"is an LTX IC-LoRA for LTX.* Get IC-LoRA Parameters"):
        load(name)


def test_the_ways_that_are_named_for_loras_exist(world):
    """On the newest ComfyUI, by the names that people see."""
    from comfy_extras import nodes_ip2p, nodes_lt

    import nodes
    from pack.files import control_loras

    if not hasattr(nodes_lt, "GetICLoRAParameters"):
        pytest.skip("this host has no node that reads an IC-LoRA's parameters")
    assert nodes.NODE_DISPLAY_NAME_MAPPINGS["LoraLoaderModelOnly"] == "Load LoRA"
    pix2pix = nodes_ip2p.InstructPixToPixConditioning.define_schema()
    assert {"pixels"} <= {each.id for each in pix2pix.inputs}
    guide = nodes_lt.LTXVAddGuide.define_schema()
    assert {"image", "frame_idx", "iclora_parameters"} <= {each.id for each in guide.inputs}
    named = control_loras.FLUX_USE + control_loras.LTX_IC_USE
    shown = nodes_lt.GetICLoRAParameters.define_schema().display_name
    assert all(name in named for name in (pix2pix.node_id, guide.node_id, shown, "Load LoRA"))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_a_controlnet_gets_a_sentence(world, put, name):
    make, sentence = FILES[name]
    put(name, make(world))
    with pytest.raises(ValueError, match=sentence) as caught:
        load(name)
    assert name in str(caught.value)
    assert not re.search(r"object|NoneType|attribute|Error", str(caught.value)), "a raw error"
    assert not Path("exploded").exists()


def test_a_truncated_file(world, put):
    put("cut.safetensors", truncated(world, put))
    with pytest.raises(ValueError, match=r"cut.safetensors is cut short: its header promises"):
        load("cut.safetensors")


PATCHES = {
    "MiniMax-H3 Fun patch for MiniMax-H3": (
        {
            "control_proj_in.weight": (1, 1),
            "control_blocks.0.adaln_proj.linear.weight": (1, 1),
        },
        "Apply MiniMax H3 Fun ControlNet",
    ),
    "Qwen-Image 2.1 Fun patch for Qwen-Image 2.1": (
        {
            "control_img_in.weight": (2, 129),
            "control_blocks.0.after_proj.weight": (1, 1),
            "control_blocks.0.img_mlp.out.weight": (1, 1),
        },
        "Apply Qwen Image 2.1 Fun ControlNet",
    ),
    "ControlNet for SD1.5, not a model patch": (
        {
            "zero_convs.0.0.weight": (320, 1),
            "input_hint_block.0.weight": (16, 3),
            "a.attn2.to_k.weight": (320, 768),
        },
        "Move it to models/controlnet",
    ),
    "LoRA, not a ControlNet": ({"lora_unet_x.lora_down.weight": (1, 1)}, "It belongs in loras"),
    "not a model patch that this pack recognises .first keys: some.key": (
        {"some.key": (1,)},
        "ComfyUI's Load Model Patch",
    ),
}


@pytest.mark.parametrize("what", PATCHES)
def test_a_model_patch_is_listed_and_its_node_is_named(host, what):
    import folder_paths

    from pack.host.net_files import list_nets

    shapes, sentence = PATCHES[what]
    folder = Path(folder_paths.get_folder_paths("model_patches")[0])
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: torch.ones(shape) for key, shape in shapes.items()}, folder / "net.safetensors")
    folder_paths.filename_list_cache.clear()
    try:
        assert "model_patches/net.safetensors" in list_nets()
        with pytest.raises(
            ValueError, match=f"model_patches/net.safetensors is .*{what}.*{sentence}"
        ):
            load("model_patches/net.safetensors")
    finally:
        (folder / "net.safetensors").unlink()


def test_files_that_are_something_else_come_last(host, put, world):
    """A new node shows the first of the list; saved names stay in it, whatever they are."""
    from pack.host.net_files import list_nets

    lora = put("00_lora.safetensors", {"lora_unet_x.lora_down.weight": torch.ones(1, 1)})
    damaged = put("01_damaged.safetensors", b"{}")
    net = put("02_net.safetensors", weights(world))
    names = list_nets()
    assert names.index(damaged) < names.index(net) < names.index(lora)
    assert sorted(names)[:3] == [lora, damaged, net]


def test_a_damaged_model_patch_gets_a_sentence(host):
    import folder_paths

    folder = Path(folder_paths.get_folder_paths("model_patches")[0])
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"controlnet_blocks.0.y_rms.weight": torch.ones(1)}, folder / "torn.safetensors")
    folder_paths.filename_list_cache.clear()
    try:
        with pytest.raises(ValueError, match=r"torn\.safetensors has the keys of a Qwen"):
            load("model_patches/torn.safetensors")
    finally:
        (folder / "torn.safetensors").unlink()


def test_an_anima_lllite_is_loaded_where_comfyui_can(host):
    import folder_paths

    from pack.control.net_info import look_at
    from workbench.tiny_patches import anima_lllite_weights, has_anima_lllite

    folder = Path(folder_paths.get_folder_paths("model_patches")[0])
    folder.mkdir(parents=True, exist_ok=True)
    save_file(anima_lllite_weights(), folder / "a.safetensors", metadata={"lllite.version": "2"})
    folder_paths.filename_list_cache.clear()
    try:
        if not has_anima_lllite():
            with pytest.raises(ValueError, match=r"an Anima LLLite .* Update ComfyUI"):
                load("model_patches/a.safetensors")
            return
        info = look_at(load("model_patches/a.safetensors"))
    finally:
        (folder / "a.safetensors").unlink()
    assert (info.source.identity.family, info.needs_vae) == ("Anima LLLite", False)


def test_a_model_patch_is_a_control_net(host, monkeypatch):
    """ComfyUI's loader builds it at its published size, of gigabytes; here a tiny one instead."""
    import folder_paths
    from comfy_extras.nodes_model_patch import ModelPatchLoader

    from pack.control.net_info import look_at
    from workbench.tiny_patches import z_image_fun

    folder = Path(folder_paths.get_folder_paths("model_patches")[0])
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"control_all_x_embedder.2-1.weight": torch.ones(1, 1)}, folder / "fun.safetensors")
    folder_paths.filename_list_cache.clear()
    patcher = z_image_fun()
    monkeypatch.setattr(ModelPatchLoader, "load_model_patch", lambda _self, _name: (patcher,))
    try:
        net = load("model_patches/fun.safetensors")
    finally:
        (folder / "fun.safetensors").unlink()
    assert net.get_models() == [patcher]
    info = look_at(net)
    assert str(info).endswith("'model_patches/fun.safetensors' (Z-Image Fun patch for Z-Image)")
    assert info.needs_vae


@pytest.mark.parametrize("name", ["../secret.safetensors", "absent.safetensors", "/etc/passwd"])
def test_names_do_not_leave_the_folder(host, name):
    with pytest.raises((FileNotFoundError, ValueError)):
        load(name)
