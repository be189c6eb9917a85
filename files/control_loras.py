"""Tell LoRAs that carry a control: what of their keys and shapes says so, and how they are used.

They change the model, or its first layer, and the hint goes beside the picture into the model. So
there is no net that a stack could hold, and each family has its own way in ComfyUI.
"""

from __future__ import annotations

from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]

_DOWN = r"\.(lora_A|lora_down)\.weight$"
FLUX_FIRST_LAYER = rf"(^|[._])(img_in|x_embedder){_DOWN}"
"""Of a LoRA that reads a hint beside the picture: 128 channels where the picture alone has 64."""
LTX_LAYER = r"^diffusion_model\.transformer_blocks\.\d+\.(audio_)?attn1\.to_[qkv]\.lora_(A|down)\."
KREA_LAYER = (
    r"(^|[._])blocks[._]\d+[._]attn[._](wq|gate)[._]|(^|\.)transformer_blocks\.\d+\.attn\.to_gate\."
)
_FLUX_2 = ("double_stream_modulation", "to_qkv_mlp_proj")

FLUX_USE = (
    "Load LoRA on a Flux model, and InstructPixToPixConditioning with the hint as pixels, not Apply"
    " ControlNet Stack"
)
LTX_IC_USE = (
    "Load LoRA, Get IC-LoRA Parameters, and LTXVAddGuide with the hint as image (its frames from"
    " frame_idx 0)"
)
LTX_USE = "Load LoRA; an IC-LoRA also needs its hint as image of LTXVAddGuide, from frame_idx 0"
KREA_DEPTH_USE = (
    "Krea2 Control LoRA Loader, Krea2 Control Image Encode with the hint, and Krea2 Control Apply"
    " (comfyui-krea2-controlnet)"
)
KREA_USE = (
    "Load LoRA; one for poses also needs Krea 2 Ostris Edit Model Patch on the model, and the hint"
    " as image1 of Text Encode Krea 2 Ostris Edit (comfyui-krea2-ostris-edit)"
)


def widens_flux(shapes: Shapes, _metadata: Mapping[str, str]) -> bool:
    """Return whether a LoRA's first layer reads 128 channels; Flux 2 has as many by itself."""
    if any(sign in key for key in shapes for sign in _FLUX_2):
        return False
    first = [shape for key, shape in shapes.items() if "img_in." in key or "x_embedder." in key]
    wide = any(len(shape) == 2 and shape[1] == 128 for shape in first)
    return wide and not any(len(shape) == 2 and shape[0] in (4096, 6144) for shape in first)


def widens_krea(shapes: Shapes, _metadata: Mapping[str, str]) -> bool:
    """Return whether a file has a first layer for Krea-2 that reads 64 channels of a hint too."""
    names = ("first.weight", "img_in.weight")
    return any(key.endswith(names) and shape[1:] == (128,) for key, shape in shapes.items())
