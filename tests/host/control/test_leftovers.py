"""Load files with weights that no net uses, and with another number of blocks than is built."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from workbench import tiny_bases


@pytest.fixture
def load(host):
    """Write weights into the host's controlnet folder, load them by our node, remove them."""
    import folder_paths
    from safetensors.torch import save_file

    folder = Path(folder_paths.get_folder_paths("controlnet")[0])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "net.safetensors"

    def of(weights):
        from pack.nodes.load import Load

        save_file({key: value.contiguous().clone() for key, value in weights.items()}, path)
        folder_paths.filename_list_cache.clear()
        return Load.execute(path.name)[0]

    yield of
    path.unlink(missing_ok=True)


def weights_of(net):
    return (getattr(net, "control_model", None) or net.t2i_model).state_dict()


def flux(**changes):
    """Build a Flux net at 128 channels, the least that ComfyUI's loader recognises: one head."""
    import comfy.ldm.flux.controlnet
    import comfy.ops

    shape = {
        **tiny_bases.FLUX_SHAPE,
        "hidden_size": 128,
        "num_heads": 1,
        "mlp_ratio": 4.0,
        "axes_dim": [16, 56, 56],
        "context_in_dim": 4096,
        "vec_in_dim": 768,
        "depth_single_blocks": 0,
        **changes,
    }
    operations = comfy.ops.disable_weight_init
    module = comfy.ldm.flux.controlnet.ControlNetFlux(
        **shape, dtype=torch.float32, device="cpu", operations=operations
    )
    return {key: torch.rand_like(value) for key, value in module.state_dict().items()}


def xlabs():
    """Return the weights as in a file: norms have a scale."""
    names = (".query_norm.weight", ".key_norm.weight")
    return {
        key.removesuffix("weight") + "scale" if key.endswith(names) else key: value
        for key, value in flux().items()
    }


def mistoline():
    return {
        key.replace("controlnet_single_blocks.", "single_controlnet_blocks."): value
        for key, value in flux(mistoline=True, depth_single_blocks=2).items()
    }


def diffusers():
    """Return an InstantX net as in a file: by diffusers' names, q, k and v apart."""
    import comfy.utils

    sizes = {"depth": 2, "depth_single_blocks": 2, "hidden_size": 128}
    weights = flux(latent_input=True, control_latent_channels=16, depth_single_blocks=2)
    file = {key: value for key, value in weights.items() if key.startswith("controlnet_")}
    for name, target in comfy.utils.flux_to_diffusers(sizes).items():
        key, part = (target, None) if isinstance(target, str) else target[:2]
        if key in weights:
            file[name] = weights[key] if part is None else weights[key].narrow(*part)
    for end in ("weight", "bias"):
        file[f"controlnet_x_embedder.{end}"] = weights[f"pos_embed_input.{end}"]
    return file


def qwen_fun(blocks):
    import comfy.ldm.qwen_image.controlnet
    import comfy.ops

    module = comfy.ldm.qwen_image.controlnet.QwenImageFunControlNetModel(
        inner_dim=64,
        num_attention_heads=2,
        attention_head_dim=32,
        num_control_blocks=blocks,
        injection_layers=tuple(range(blocks)),
        dtype=torch.float32,
        device="cpu",
        operations=comfy.ops.disable_weight_init,
    )
    return {key: torch.rand_like(value) for key, value in module.state_dict().items()}


FILES = {
    "ControlNet": lambda: weights_of(tiny_bases.sd2_net()),
    "ControlNet SDXL": lambda: weights_of(tiny_bases.sdxl_net()),
    "ControlNet with a prefix": lambda: {
        f"control_model.{key}": value for key, value in weights_of(tiny_bases.sd2_net()).items()
    },
    "XLabs": xlabs,
    "MistoLine": mistoline,
    "InstantX": diffusers,
    "Qwen-Image Fun": lambda: qwen_fun(5),
}


def needs(name):
    import comfy.controlnet

    if name == "Qwen-Image Fun" and not hasattr(comfy.controlnet, "QwenFunControlNet"):
        pytest.skip("this host has no Qwen-Image Fun nets")
    if name in ("XLabs", "MistoLine", "InstantX"):
        import comfy.model_detection

        if comfy.model_detection.detect_unet_config(xlabs(), "")["num_heads"] != 1:
            pytest.skip("this host knows Flux nets of 24 heads only, which are not tiny")


@pytest.mark.parametrize("name", FILES)
def test_weights_that_a_net_does_not_use_are_noticed(load, caplog, name):
    """And only those: the file alone gives no warning."""
    needs(name)
    caplog.set_level(logging.WARNING)
    weights = FILES[name]()
    load(weights)
    assert "have no place in" not in caplog.text
    load({**weights, "extra.projection.weight": torch.ones(3)})
    assert "net.safetensors: 1 of its" in caplog.text
    assert "and are not used (first: extra.projection.weight)" in caplog.text


@pytest.mark.parametrize("blocks", [3, 16])
def test_a_net_of_another_number_of_blocks_is_refused_by_name(load, blocks):
    """ComfyUI builds five blocks whatever the file has, and leaves the others out."""
    needs("Qwen-Image Fun")
    with pytest.raises(ValueError, match=r"net\.safetensors has") as refused:
        load(qwen_fun(blocks))
    sentence = str(refused.value)
    assert (
        f"has {blocks} control_blocks, and a Qwen-Image Fun ControlNet for Qwen-Image" in sentence
    )
    assert "has 5 in this version of ComfyUI" in sentence


def test_an_adapter_with_more_is_refused_by_the_key(load):
    weights = weights_of(tiny_bases.t2i_net(xl=True))
    load(weights)
    with pytest.raises(ValueError, match=r"not used: extra\.weight"):
        load({**weights, "extra.weight": torch.ones(1)})
