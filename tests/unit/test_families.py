"""Files recognised by their keys, and which base a net fits.

The sets of keys are those of published files, shortened.
"""

from __future__ import annotations

import pytest

from pack.files import base_models, families


def cldm(prefix="", context=768, channels=320, multipliers=(1, 2, 4, 4)):
    skips = base_models.unet_from_config(unet(context, channels, multipliers)).skips
    shapes = {f"{prefix}zero_convs.{i}.0.weight": (c, c, 1, 1) for i, c in enumerate(skips)}
    attention = f"{prefix}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    return {
        **shapes,
        f"{prefix}input_hint_block.0.weight": (16, 3, 3, 3),
        attention: (channels, context),
    }


def unet(context=768, channels=320, multipliers=(1, 2, 4, 4), blocks=2):
    return {
        "context_dim": context,
        "model_channels": channels,
        "channel_mult": multipliers,
        "num_res_blocks": blocks,
    }


def diffusers(context=768):
    shapes = {f"controlnet_down_blocks.{i}.weight": (c, c, 1, 1) for i, c in enumerate((320,) * 4)}
    attention = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    return {
        **shapes,
        "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3),
        attention: (320, context),
    }


UNION = {"control_add_embedding.linear_1.bias": (1280,), "task_embedding": (8, 320)}
BLOCK = "controlnet_blocks.0.weight"
LORA = {"input_blocks.4.1.transformer_blocks.0.attn2.to_k.down": (128, 2048)}

XLABS = {
    BLOCK: (3072, 3072),
    "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
    "input_hint_block.0.weight": (16, 3, 3, 3),
    "pos_embed_input.weight": (3072, 64),
}
QWEN = {BLOCK: (3072, 3072), "transformer_blocks.0.img_mlp.net.0.proj.weight": ()}
SD3 = {BLOCK: (1536, 1536), "pos_embed_input.proj.weight": (1536, 16, 2, 2)}


def instantx(channels=64, embedder="controlnet_x_embedder.weight", **more):
    return {BLOCK: (3072, 3072), embedder: (3072, channels), **more}


FUN2 = "control_transformer_blocks.0.after_proj.weight"
FLUX_BLOCK = "double_blocks.0.img_attn.proj.weight"
SUPIR = "model.diffusion_model.project_modules.0.zero_conv.weight"
MODES = {"controlnet_mode_embedder.weight": (10, 3072)}

LLLITE = "lllite_unet_%s_1_transformer_blocks_0_attn1_to_q"
CASES = [
    ("ControlNet", "SD1.5", "controlnet", cldm()),
    ("ControlNet", "SD1.5", "controlnet", cldm("control_model.")),
    ("ControlNet", "SD2", "controlnet", cldm(context=1024)),
    ("ControlNet", "SDXL", "controlnet", cldm(context=2048, multipliers=(1, 2, 4))),
    ("ControlNet (diffusers)", "SDXL", "controlnet", diffusers(2048)),
    (
        "ControlNet (difference)",
        "SD1.5",
        "controlnet",
        {**cldm("control_model."), "difference": ()},
    ),
    ("union ControlNet", "SDXL", "controlnet", {**diffusers(2048), **UNION}),
    (
        "Control-LoRA",
        "SDXL",
        "controlnet",
        {"lora_controlnet": (0,), **LORA, "zero_convs.0.0.weight": (320, 320, 1, 1)},
    ),
    ("HunyuanDiT ControlNet", "HunyuanDiT", "controlnet", {"after_proj_list.18.bias": (1408,)}),
    ("XLabs ControlNet", "Flux", "controlnet", XLABS),
    ("MistoLine ControlNet", "Flux", "controlnet", {"controlnet_blocks.0.linear.weight": ()}),
    ("SD3 ControlNet", "SD3", "controlnet", {BLOCK: (), "pos_embed_input.proj.weight": ()}),
    (
        "SD3.5 ControlNet",
        "SD3",
        "controlnet",
        {
            BLOCK: (),
            "pos_embed_input.proj.weight": (),
            "transformer_blocks.0.adaLN_modulation.1.bias": (),
        },
    ),
    ("InstantX ControlNet", "Flux", "controlnet", {BLOCK: (), "controlnet_x_embedder.weight": ()}),
    (
        "Qwen-Image ControlNet",
        "Qwen-Image",
        "controlnet",
        QWEN,
    ),
    (
        "Qwen-Image Fun ControlNet",
        "Qwen-Image",
        "controlnet",
        {"control_blocks.0.after_proj.weight": (), "control_img_in.weight": ()},
    ),
    ("T2I-Adapter", "SD1.5", "controlnet", {"body.0.in_conv.weight": (320, 192, 1, 1)}),
    (
        "T2I-Adapter",
        "SD1.5",
        "controlnet",
        {"conv_in.weight": (320, 64, 3, 3), "body.0.block1.weight": ()},
    ),
    (
        "T2I-Adapter",
        "SDXL",
        "controlnet",
        {"conv_in.weight": (320, 768, 3, 3), "body.0.block1.weight": ()},
    ),
    (
        "T2I-Adapter",
        "SDXL",
        "controlnet",
        {"adapter.body.0.resnets.0.block1.weight": (), "adapter.conv_in.weight": (320, 256, 3, 3)},
    ),
    ("T2I-Adapter", "", "controlnet", {"adapter": ()}),
    ("Cascade ControlNet", "Stable Cascade", "controlnet", {"backbone.0.0.weight": (24, 3, 3, 3)}),
    (
        "Cascade ControlNet",
        "Stable Cascade",
        "controlnet",
        {"backbone.10.blocks.0.weight": (1024, 1024, 3, 3)},
    ),
    (
        "SD3 inpainting ControlNet",
        "SD3",
        "controlnet",
        {**SD3, "pos_embed_input.proj.weight": (1536, 17, 2, 2)},
    ),
    (
        "Qwen-Image inpainting ControlNet",
        "Qwen-Image",
        "controlnet",
        {**QWEN, "controlnet_x_embedder.weight": (3072, 68)},
    ),
    ("Flux inpainting ControlNet", "Flux", "controlnet", instantx(68)),
    ("Flux inpainting ControlNet", "Flux", "controlnet", instantx(68, "pos_embed_input.weight")),
    ("Flux union ControlNet", "Flux", "controlnet", instantx(**MODES)),
    ("InstantX ControlNet", "Flux", "controlnet", instantx(64, "pos_embed_input.weight")),
    (
        "Flux 2 Fun ControlNet",
        "Flux 2",
        "controlnet",
        {"control_img_in.weight": (6144, 260), FUN2: ()},
    ),
    (
        "MiniMax-H3 Fun patch",
        "MiniMax-H3",
        "model_patches",
        {"control_proj_in.weight": (), "control_blocks.0.adaln_proj.linear.weight": ()},
    ),
    (
        "Qwen-Image 2.1 Fun patch",
        "Qwen-Image 2.1",
        "model_patches",
        {
            "control_img_in.weight": (4096, 129),
            "control_blocks.0.after_proj.weight": (),
            "control_blocks.0.img_mlp.out.weight": (),
        },
    ),
    (
        "SUPIR patch",
        "SDXL",
        "model_patches",
        {"model.control_model.input_hint_block.0.weight": (), SUPIR: ()},
    ),
    (
        "AnimateDiff SparseCtrl",
        "SD1.5",
        "controlnet",
        {"controlnet.down_blocks.0.motion_modules.0.x.weight": ()},
    ),
    (
        "SVD ControlNet",
        "SVD",
        "controlnet",
        {**diffusers(1024), "down_blocks.0.resnets.0.temporal_res_block.norm1.weight": ()},
    ),
    (
        "CtrLoRA",
        "SD1.5",
        "controlnet",
        {**cldm(), "input_blocks.1.1.proj_in.lora_layer.down.weight": ()},
    ),
    (
        "ControlNet-XS",
        "SD2 or SDXL",
        "controlnet",
        {"control_to_base_for_conv_in.weight": (), "controlnet_cond_embedding.conv_in.weight": ()},
    ),
    ("Sana ControlNet", "Sana", "controlnet", {BLOCK: (), "input_block.weight": ()}),
    ("CogVideoX ControlNet", "CogVideoX", "controlnet", {"controlnet_encode_first.0.weight": ()}),
    ("Wan VACE model", "Wan", "diffusion_models", {"vace_patch_embedding.weight": ()}),
    ("Wan Fun Camera model", "Wan", "diffusion_models", {"control_adapter.conv.weight": ()}),
    (
        "Flux Canny or Depth model",
        "Flux",
        "diffusion_models",
        {"img_in.weight": (3072, 128), FLUX_BLOCK: ()},
    ),
    ("diffusion model", "", "diffusion_models", {"img_in.weight": (3072, 64), FLUX_BLOCK: ()}),
    ("Flux Canny or Depth LoRA", "Flux", "loras", {"img_in.lora_A.weight": (128, 128)}),
    (
        "Flux Canny or Depth LoRA",
        "Flux",
        "loras",
        {
            "transformer.x_embedder.lora_A.weight": (128, 128),
            "transformer.x_embedder.lora_B.weight": (3072, 128),
        },
    ),
    # Flux 2 reads 128 channels by itself.
    (
        "LoRA",
        "",
        "loras",
        {
            "diffusion_model.img_in.lora_A.weight": (16, 128),
            "diffusion_model.img_in.lora_B.weight": (6144, 16),
        },
    ),
    (
        "LoRA",
        "",
        "loras",
        {
            "img_in.lora_A.weight": (16, 128),
            "img_in.lora_B.weight": (3072, 16),
            "double_stream_modulation_img.lin.lora_A.weight": (16, 3072),
        },
    ),
    # A model trained with a hint beside the picture keeps its first layer; pairs are A and B.
    (
        "Krea-2 control LoRA",
        "Krea-2",
        "loras",
        {
            "first.weight": (6144, 128),
            "blocks.0.attn.wq.A": (64, 6144),
            "blocks.0.attn.wq.B": (6144, 64),
        },
    ),
    (
        "Krea-2 control LoRA",
        "Krea-2",
        "loras",
        {
            "diffusion_model.first.weight": (6144, 128),
            "diffusion_model.blocks.0.mlp.up.lora_A.weight": (64, 6144),
        },
    ),
    (
        "LoRA",
        "Krea-2",
        "loras",
        {"diffusion_model.blocks.0.attn.wq.lora_A.weight": (32, 6144)},
    ),
    (
        "LoRA",
        "Krea-2",
        "loras",
        {"transformer.transformer_blocks.0.attn.to_gate.lora_A.weight": (32, 6144)},
    ),
    ("LoRA", "Krea-2", "loras", {"lora_unet_blocks_0_attn_wq.lora_down.weight": (32, 6144)}),
    (
        "LoRA",
        "LTX",
        "loras",
        {"diffusion_model.transformer_blocks.0.attn1.to_k.lora_A.weight": (64, 4096)},
    ),
    # Other models' LoRAs have attentions of other names.
    ("LoRA", "", "loras", {"diffusion_model.blocks.0.self_attn.q.lora_A.weight": (32, 5120)}),
    ("LoRA", "", "loras", {"transformer.transformer_blocks.0.attn1.to_k.lora_A.weight": (8, 1152)}),
    ("Anima LLLite", "Anima", "model_patches", {"lllite_conditioning1.conv1.weight": ()}),
    ("ControlNet-LLLite", "SDXL", "controlnet", {f"{LLLITE % 'input_blocks_4'}.down.0.weight": ()}),
    ("ControlNet-LLLite", "SD1.5", "controlnet", {f"{LLLITE % 'input_blocks_1'}.up.0.weight": ()}),
    (
        "Qwen-Image DiffSynth patch",
        "Qwen-Image",
        "model_patches",
        {"controlnet_blocks.0.y_rms.weight": ()},
    ),
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
    (
        "IP-Adapter",
        "",
        "ipadapter",
        {"image_proj.proj.weight": (), "ip_adapter.1.to_k_ip.weight": ()},
    ),
    ("embedding", "", "embeddings", {"emb_params": (1, 768)}),
    ("upscaling model", "", "upscale_models", {"conv_first.weight": (64, 3, 3, 3)}),
    (
        "Flux union ControlNet",
        "Flux",
        "controlnet",
        instantx(embedder="pos_embed_input.weight", **MODES),
    ),
]
IC_LORA = (
    {"diffusion_model.transformer_blocks.0.attn1.to_k.lora_A.weight": (64, 4096)},
    {"reference_downscale_factor": "2"},
)
"""Keys and metadata: without the metadata it is any LoRA."""


def test_every_rule_has_a_case():
    files = [*((shapes, {}) for _, _, _, shapes in CASES), IC_LORA]
    for rule in families.RULES:
        first = (next((r for r in families.RULES if r.matches(*file)), None) for file in files)
        assert any(one is rule for one in first), (
            f"the rule {rule.family!r} with the keys {rule.has} decides no case: add one to CASES"
            " in tests/unit/test_families.py, or move the rule above the one that matches first"
        )


@pytest.mark.parametrize(("family", "base", "folder", "shapes"), CASES)
def test_a_file_is_recognised_by_its_keys(family, base, folder, shapes):
    identity = families.identify(shapes)
    assert identity is not None, f"{family}: add a rule to RULES in files/families.py"
    assert (identity.family, identity.base, identity.folder) == (family, base, folder), (
        f"{family}: add a rule to RULES in files/families.py, above the rule that took its keys"
    )


def test_an_unknown_file_is_none_and_any_key_may_be_missing():
    assert families.identify({}) is None
    assert families.identify({"foo": (1,)}) is None
    for _, _, _, shapes in CASES:
        for key in shapes:
            families.identify({k: v for k, v in shapes.items() if k != key})


def test_metadata_decides_where_keys_do_not():
    shapes, metadata = IC_LORA
    assert families.identify(shapes).family == "LoRA"
    identity = families.identify(shapes, metadata)
    assert (identity.family, identity.base) == ("LTX IC-LoRA", "LTX")
    for node in ("Load LoRA", "Get IC-LoRA Parameters", "LTXVAddGuide"):
        assert node in identity.served_by


def test_what_a_net_needs_beside_its_hint():
    assert families.identify(cldm()).needs == ()
    assert families.identify(SD3).needs == ("vae",)
    for shapes in (instantx(68), {**QWEN, "controlnet_x_embedder.weight": (3072, 68)}):
        assert families.identify(shapes).needs == ("vae", "mask")
    assert families.identify(instantx(**MODES)).union_types == 10
    assert families.identify(XLABS).needs == ()


@pytest.mark.parametrize(("family", "base", "folder", "shapes"), CASES)
def test_only_what_comfyuis_loader_builds_is_a_control(family, base, folder, shapes):
    identity = families.identify(shapes)
    assert identity.is_control == (folder == "controlnet" and family not in ELSEWHERE)
    assert bool(identity.served_by) or identity.is_control or not identity.base, (
        "a control that we cannot load has a way to use"
    )


ELSEWHERE = {
    "AnimateDiff SparseCtrl",
    "SVD ControlNet",
    "CtrLoRA",
    "ControlNet-XS",
    "Sana ControlNet",
    "CogVideoX ControlNet",
}


def test_union_types_and_the_hint_that_a_file_names():
    assert families.identify({**diffusers(2048), **UNION}).union_types == 8
    assert families.identify(cldm(), {"controlstack.hint": "canny"}).hint == "canny"


def test_skips_equal_sd15s_and_sdxls_published_ones():
    sd15 = (320,) * 4 + (640,) * 3 + (1280,) * 5
    assert base_models.unet_from_config(unet()).skips == sd15
    assert (
        base_models.unet_from_config(unet(2048, 320, (1, 2, 4), [2, 2, 2])).skips
        == (320,) * 4 + (640,) * 3 + (1280,) * 2
    )


SD15 = base_models.Model(("SD15", "BASE", "object"), base_models.unet_from_config(unet()))
SDXL = base_models.Model(
    ("SDXL", "BASE", "object"), base_models.unet_from_config(unet(2048, 320, (1, 2, 4)))
)
FLUX = base_models.Model(("FluxSchnell", "Flux", "BASE", "object"))
CHROMA = base_models.Model(("Chroma", "BASE", "object"))
NEW = base_models.Model(("SomethingNew", "BASE", "object"))
SD2 = base_models.Model(("SD20", "BASE", "object"), base_models.unet_from_config(unet(1024)))
TINY = base_models.Model(
    ("TinySD15", "SD15", "BASE", "object"), base_models.unet_from_config(unet(64, 32))
)
MEDIUM, LARGE = (
    base_models.model_of(("SD3", "BASE"), {"context_embedder_config": {}, "depth": depth})
    for depth in (24, 38)
)
T2I = {"body.0.in_conv.weight": (320, 192, 1, 1)}
T2I_XL = {"conv_in.weight": (320, 768, 3, 3), "body.0.block1.weight": ()}


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
        (T2I, SD15, True),
        (T2I, SD2, None),
        (T2I, TINY, None),
        (T2I, SDXL, False),
        (T2I_XL, SDXL, True),
        (T2I_XL, SD15, False),
        (T2I, FLUX, False),
        (SD3, MEDIUM, True),
        (SD3, LARGE, False),
        (SD3, FLUX, False),
        (instantx(), base_models.model_of(("Flux",), {"hidden_size": 3072}), True),
        (instantx(), base_models.model_of(("Flux",), {"hidden_size": 64}), False),
        (instantx(), base_models.model_of(("Flux2", "Flux"), {"hidden_size": 6144}), False),
        (
            QWEN,
            base_models.model_of(
                ("QwenImage",), {"num_attention_heads": 24, "attention_head_dim": 128}
            ),
            True,
        ),
        (QWEN, base_models.model_of(("QwenImage",), {"image_model": "qwen_image"}), True),
        ({"backbone.0.0.weight": ()}, base_models.Model(("Stable_Cascade_C",)), True),
        ({"backbone.0.0.weight": ()}, SDXL, False),
    ],
)
def test_which_base_a_net_fits(shapes, model, fits):
    identity = families.identify(shapes)
    assert model.accepts(identity) is fits
    assert bool(base_models.mismatch("net", identity, model)) is (fits is False)


def test_the_sentence_names_both_sides():
    sentence = base_models.mismatch("xl.safetensors", families.identify(cldm(context=2048)), SD15)
    assert sentence == (
        "ControlNet 'xl.safetensors' (ControlNet for SDXL) does not fit the model, which is SD1.5."
        " Choose a ControlNet made for SD1.5, or change the model to SDXL."
    )


def test_widths_are_named_where_the_base_is_the_same():
    sentence = base_models.mismatch("net", families.identify(SD3), LARGE)
    assert "SD3, 1536 wide" in sentence
    assert "SD3, 2432 wide" in sentence


ARTICLES = {
    "an": (
        "Anima LLLite for Anima",
        "SD3 ControlNet for SD3",
        "SD3.5 ControlNet",
        "SVD ControlNet",
        "XLabs ControlNet for Flux",
        "InstantX ControlNet",
        "IP-Adapter",
        "AnimateDiff SparseCtrl",
        "LTX IC-LoRA",
        "M-LSD net",
        "embedding",
        "upscaling model",
        "SDXL model",
    ),
    "a": (
        "union ControlNet",
        "Union ControlNet",
        "UNet with text width 64",
        "Uni3C patch",
        "HunyuanDiT ControlNet",
        "LoRA",
        "Control-LoRA",
        "CtrLoRA",
        "T2I-Adapter",
        "SUPIR patch for SDXL",
        "Sana ControlNet",
        "VAE",
        "CLIP vision model",
        "Flux union ControlNet",
        "MistoLine ControlNet",
        "MiniMax-H3 Fun patch",
        "Z-Image Fun patch",
        "Qwen-Image ControlNet",
        "whole checkpoint",
    ),
}


@pytest.mark.parametrize(
    ("article", "name"), [(article, name) for article, names in ARTICLES.items() for name in names]
)
def test_articles_go_by_sound(article, name):
    assert families.with_article(name) == f"{article} {name}"


def test_every_family_has_an_article_in_this_table_or_begins_with_a_plain_word():
    starts = {name.split()[0] for names in ARTICLES.values() for name in names}
    plain = {"ControlNet", "ControlNet-LLLite", "ControlNet-XS", "CogVideoX", "Cascade", "Wan"}
    plain |= {"text", "diffusion", "Flux", "Qwen-Image", "Z-Image", "MiniMax-H3", "Krea-2"}
    unsure = {rule.family.split()[0] for rule in families.RULES} - starts - plain
    assert not unsure, f"add a family beginning with {unsure} to ARTICLES in this file"


@pytest.mark.parametrize(
    ("shapes", "own"),
    [
        (cldm(), (13, "unet")),
        (cldm(context=2048, multipliers=(1, 2, 4)), (10, "unet")),
        ({"body.0.in_conv.weight": (320, 192, 1, 1)}, (4, "features")),
        (
            instantx(**{f"controlnet_single_blocks.{i}.weight": () for i in range(10)}),
            (11, "spread"),
        ),
        ({"after_proj_list.18.bias": (1408,), "after_proj_list.0.weight": ()}, (2, "spread")),
        (
            {"control_all_x_embedder.2-1.weight": (), "control_layers.14.after_proj.weight": ()},
            (1, "spread"),
        ),
        ({"control_all_x_embedder.2-1.weight": ()}, (0, "")),
    ],
)
def test_a_net_has_blocks_of_its_own(shapes, own):
    identity = families.identify(shapes)
    assert (identity.blocks, identity.depth) == own
