"""Test that ComfyUI's own loaders read what the drawn world's models are written as."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def codec_weights(host):
    from workbench.world import codec

    torch.manual_seed(3)
    return codec.Codec().state_dict()


def test_the_narrow_autoencoder_is_taesd(codec_weights):
    """ComfyUI's TAESD with the padded weights gives the narrow one's latents and pictures."""
    import comfy.taesd.taesd

    from workbench.world import codec

    narrow, whole = codec.Codec(), comfy.taesd.taesd.TAESD(latent_channels=4)
    narrow.load_state_dict(codec_weights)
    whole.load_state_dict(codec.as_taesd(codec_weights), strict=False)
    pictures = torch.rand(2, 3, 64, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        latents = narrow.encode(pictures)
        assert torch.allclose(whole.taesd_encoder(pictures), latents, atol=1e-5)
        assert torch.allclose(whole.taesd_decoder(latents), narrow.decode(latents), atol=1e-5)


def test_stored_models_are_loaded_as_a_flow_with_its_nets(host, tmp_path, codec_weights):
    """Store small, write out, load by ComfyUI's own nodes: a flow, and a ControlNet that fits."""
    import folder_paths

    import nodes
    from workbench.tiny_family import family, world
    from workbench.world import model_files

    world.teach_host()
    unet = family.unet(5, world.SHAPE).state_dict()
    text = world.clip_text().state_dict()
    base = {f"unet.{key}": value for key, value in unet.items()}
    base |= {f"text.{key}": value for key, value in text.items() if "token_embedding" not in key}
    base = {key: value for key, value in base.items() if value.is_floating_point()}
    parts = {"base": base, "codec": codec_weights}
    parts |= {name: family.controlnet(6, world.SHAPE).state_dict() for name in world.NETS}
    for name, tensors in parts.items():
        model_files.save(model_files.shrink(tensors), tmp_path / f"{name}.safetensors")
    model_files.write_sums(tmp_path, "made by a test")
    model_files.write_out(tmp_path, Path(folder_paths.models_dir))
    folder_paths.filename_list_cache.clear()
    with torch.inference_mode():
        model, clip, vae = nodes.CheckpointLoaderSimple().load_checkpoint(world.CHECKPOINT)[:3]
        net = nodes.ControlNetLoader().load_controlnet(world.net_file("edges"))[0]
        context = clip.encode_from_tokens(clip.tokenize("a red house"))
        assert model.model.model_type.name == "FLOW"
        assert context.shape == (1, 77, world.CONTEXT)
        latents = vae.encode(torch.rand(1, 64, 64, 3))
        assert latents.shape == (1, 4, 8, 8)
    weights = model.model.diffusion_model.state_dict()
    key = "input_blocks.1.0.in_layers.2.weight"
    assert torch.allclose(weights[key].float(), unet[key], atol=0.01 * float(unet[key].abs().max()))
    assert net.control_model.state_dict()["zero_convs.0.0.weight"].shape == (32, 32, 1, 1)


SIZE = 256  # at 128 pixels lines within 2 are often met by chance: .36 without control
STORED = Path(__file__).resolve().parents[2] / "demo" / "weights" / "SHA256SUMS"


@pytest.mark.slow
@pytest.mark.skipif(
    not STORED.exists(), reason="demo/weights is absent: whether control acts is NOT tested"
)
def test_control_acts(host):
    """Sample eight held-out pictures without control and with edges: they follow the edges."""
    from workbench.world import drawn_hints, judge, model_files, sampling

    scenes = sampling.held_out(8, SIZE)
    wanted = judge.strokes("edges", drawn_hints.pictures(scenes))
    with torch.inference_mode():
        models = sampling.load(model_files.STORED)
        units = {0: [], 1: [sampling.Unit("edges", drawn_hints.hints("edges", scenes))]}
        prompts = [scene.prompt for scene in scenes]
        pictures = {key: models.sample(prompts, SIZE, unit) for key, unit in units.items()}
    given = {key: judge.strokes("edges", rows) for key, rows in pictures.items()}
    f1 = {key: judge.adherence("edges", wanted, lines) for key, lines in given.items()}
    shuffled = judge.adherence("edges", wanted[::-1], given[1])
    assert f1[1] - f1[0] >= 0.6, (f1, shuffled)
    assert f1[1] - shuffled >= 0.6, (f1, shuffled)
