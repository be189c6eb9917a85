"""Files told apart by their keys, and which base a net fits. Key sets are the published layouts', shortened."""

from __future__ import annotations

import json
import struct

import pytest

from pack.control import families, files


def cldm(prefix="", context=768, channels=320, multipliers=(1, 2, 4, 4)):
    skips = families.unet_from_config(unet(context, channels, multipliers)).skips
    shapes = {f"{prefix}zero_convs.{i}.0.weight": (c, c, 1, 1) for i, c in enumerate(skips)}
    attention = f"{prefix}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    return {**shapes, f"{prefix}input_hint_block.0.weight": (16, 3, 3, 3), attention: (channels, context)}


def unet(context=768, channels=320, multipliers=(1, 2, 4, 4), blocks=2):
    return {"context_dim": context, "model_channels": channels, "channel_mult": multipliers, "num_res_blocks": blocks}


def diffusers(context=768):
    shapes = {f"controlnet_down_blocks.{i}.weight": (c, c, 1, 1) for i, c in enumerate((320,) * 4)}
    attention = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    return {**shapes, "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), attention: (320, context)}


UNION = {"control_add_embedding.linear_1.bias": (1280,), "task_embedding": (8, 320)}
BLOCK = "controlnet_blocks.0.weight"
LORA = {"input_blocks.4.1.transformer_blocks.0.attn2.to_k.down": (128, 2048)}

CASES = [
    ("ControlNet", "SD1.5", "controlnet", cldm()),
    ("ControlNet", "SD1.5", "controlnet", cldm("control_model.")),
    ("ControlNet", "SD2", "controlnet", cldm(context=1024)),
    ("ControlNet", "SDXL", "controlnet", cldm(context=2048, multipliers=(1, 2, 4))),
    ("ControlNet (diffusers)", "SDXL", "controlnet", diffusers(2048)),
    ("ControlNet (difference)", "SD1.5", "controlnet", {**cldm("control_model."), "difference": ()}),
    ("union ControlNet", "SDXL", "controlnet", {**diffusers(2048), **UNION}),
    (
        "Control-LoRA",
        "SDXL",
        "controlnet",
        {"lora_controlnet": (0,), **LORA, "zero_convs.0.0.weight": (320, 320, 1, 1)},
    ),
    ("HunyuanDiT ControlNet", "HunyuanDiT", "controlnet", {"after_proj_list.18.bias": (1408,)}),
    ("XLabs ControlNet", "Flux", "controlnet", {BLOCK: (), "double_blocks.0.img_attn.norm.key_norm.scale": ()}),
    ("MistoLine ControlNet", "Flux", "controlnet", {"controlnet_blocks.0.linear.weight": ()}),
    ("SD3 ControlNet", "SD3", "controlnet", {BLOCK: (), "pos_embed_input.proj.weight": ()}),
    (
        "SD3.5 ControlNet",
        "SD3",
        "controlnet",
        {BLOCK: (), "pos_embed_input.proj.weight": (), "transformer_blocks.0.adaLN_modulation.1.bias": ()},
    ),
    ("InstantX ControlNet", "Flux", "controlnet", {BLOCK: (), "controlnet_x_embedder.weight": ()}),
    (
        "Qwen-Image ControlNet",
        "Qwen-Image",
        "controlnet",
        {BLOCK: (), "transformer_blocks.0.img_mlp.net.0.proj.weight": ()},
    ),
    (
        "Qwen-Image Fun ControlNet",
        "Qwen-Image",
        "controlnet",
        {"control_blocks.0.after_proj.weight": (), "control_img_in.weight": ()},
    ),
    ("T2I-Adapter", "", "controlnet", {"body.0.in_conv.weight": (320, 192, 1, 1)}),
    ("T2I-Adapter", "", "controlnet", {"conv_in.weight": (320, 192, 3, 3), "body.0.block1.weight": ()}),
    ("Anima LLLite", "Anima", "model_patches", {"lllite_conditioning1.conv1.weight": ()}),
    ("ControlNet-LLLite", "SD1.5 or SDXL", "another pack's folder", {"lllite_unet_x.down.0.weight": ()}),
    ("Qwen-Image DiffSynth patch", "Qwen-Image", "model_patches", {"controlnet_blocks.0.y_rms.weight": ()}),
    ("Z-Image Fun patch", "Z-Image", "model_patches", {"control_all_x_embedder.2-1.weight": ()}),
    ("Wan Uni3C patch", "Wan", "model_patches", {"controlnet_patch_embedding.weight": ()}),
    ("LoRA", "", "loras", {"lora_unet_down_blocks_0.lora_down.weight": ()}),
    ("LoRA", "", "loras", {"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": ()}),
    ("LoRA", "", "loras", {"diffusion_model.double_blocks.0.img_attn.proj.lora_B.weight": ()}),
    ("whole checkpoint", "", "checkpoints", {"model.diffusion_model.input_blocks.0.0.weight": ()}),
    ("diffusion model", "", "diffusion_models", {"double_blocks.0.img_attn.proj.weight": ()}),
    ("diffusion model", "", "diffusion_models", {"up_blocks.0.resnets.0.conv1.weight": ()}),
    ("VAE", "", "vae", {"decoder.conv_in.weight": ()}),
    ("text encoder", "", "text_encoders", {"text_model.encoder.layers.0.mlp.fc1.weight": ()}),
    ("CLIP vision model", "", "clip_vision", {"vision_model.embeddings.position_ids": ()}),
    ("IP-Adapter", "", "ipadapter", {"image_proj.proj.weight": (), "ip_adapter.1.to_k_ip.weight": ()}),
    ("embedding", "", "embeddings", {"emb_params": (1, 768)}),
]


@pytest.mark.parametrize(("family", "base", "folder", "shapes"), CASES)
def test_a_file_is_told_by_its_keys(family, base, folder, shapes):
    found = families.identify(shapes)
    assert (found.family, found.base, found.folder) == (family, base, folder)


def test_an_unknown_file_is_none_and_nothing_is_read_that_may_be_missing():
    assert families.identify({}) is None
    assert families.identify({"foo": (1,)}) is None
    for _, _, _, shapes in CASES:
        for key in shapes:
            families.identify({k: v for k, v in shapes.items() if k != key})


def test_union_types_and_the_hint_that_a_file_names():
    assert families.identify({**diffusers(2048), **UNION}).union_types == 8
    assert families.identify(cldm(), {"controlstack.hint": "canny"}).hint == "canny"


def test_skips_equal_sd15s_and_sdxls_published_ones():
    sd15 = (320,) * 4 + (640,) * 3 + (1280,) * 5
    assert families.unet_from_config(unet()).skips == sd15
    assert (
        families.unet_from_config(unet(2048, 320, (1, 2, 4), [2, 2, 2])).skips == (320,) * 4 + (640,) * 3 + (1280,) * 2
    )


SD15 = families.Model(("SD15", "BASE", "object"), families.unet_from_config(unet()))
SDXL = families.Model(("SDXL", "BASE", "object"), families.unet_from_config(unet(2048, 320, (1, 2, 4))))
FLUX = families.Model(("FluxSchnell", "Flux", "BASE", "object"))
CHROMA = families.Model(("Chroma", "BASE", "object"))
NEW = families.Model(("SomethingNew", "BASE", "object"))


@pytest.mark.parametrize(
    ("shapes", "model", "fits"),
    [
        (cldm(), SD15, True),
        (cldm(), SDXL, False),
        (cldm(context=1024), SD15, False),
        (cldm(), FLUX, False),
        (cldm(), NEW, None),
        (cldm(multipliers=(1, 2, 4)), SD15, False),
        ({BLOCK: (), "controlnet_x_embedder.weight": ()}, FLUX, True),
        ({BLOCK: (), "controlnet_x_embedder.weight": ()}, CHROMA, True),
        ({BLOCK: (), "controlnet_x_embedder.weight": ()}, SD15, False),
        ({BLOCK: (), "pos_embed_input.proj.weight": ()}, FLUX, False),
        ({BLOCK: (), "pos_embed_input.proj.weight": ()}, NEW, None),
        ({"lora_controlnet": (0,), **LORA}, SDXL, True),
        ({"lora_controlnet": (0,), **LORA}, SD15, False),
        ({"body.0.in_conv.weight": ()}, SD15, None),
    ],
)
def test_which_base_a_net_fits(shapes, model, fits):
    identity = families.identify(shapes)
    assert model.accepts(identity) is fits
    assert bool(families.mismatch("net", identity, model)) is (fits is False)


def test_the_sentence_names_both_sides():
    said = families.mismatch("xl.safetensors", families.identify(cldm(context=2048)), SD15)
    assert all(word in said for word in ("xl.safetensors", "SDXL", "SD1.5", "Choose"))


# -- headers ---------------------------------------------------------------------------------------------------


def safetensors(entries, body=0, metadata=None):
    header = {k: {"dtype": "F32", "shape": list(s), "data_offsets": o} for k, (s, o) in entries.items()}
    text = json.dumps({**({"__metadata__": metadata} if metadata else {}), **header}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(body)


def test_a_header_is_read_without_its_tensors(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(safetensors({"a": ((2, 3), [0, 24])}, 24, {"title": "x"}))
    assert files.read_header(path) == files.Header({"a": (2, 3)}, {"title": "x"})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"abc", "cut short in its header"),
        (safetensors({"a": ((2, 3), [0, 24])}, 23), "is cut short: its header promises"),
        (safetensors({"a": ((2, 3), [0, 24])}, 24)[:20], "cut short in its header"),
        (b"PK\x03\x04" + bytes(100), "a pickle with the name"),
        (b"\x80\x02}q\x00." + bytes(100), "a pickle with the name"),
        (b"<!doctype html>" + bytes(100), "a text file"),
        (b"version https://git-lfs" + bytes(100), "a text file"),
        (struct.pack("<Q", 4) + b"[[[[", "its header does not read"),
        (struct.pack("<Q", 2) + b"[]", "its header does not read"),
        (struct.pack("<Q", 11) + b'{"a": null}', "its header does not read"),
    ],
)
def test_a_damaged_header_gets_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    with pytest.raises(files.FileError, match=sentence):
        files.read_header(path)
