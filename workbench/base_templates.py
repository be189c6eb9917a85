"""Templates for other bases than Stable Diffusion 1.5: Z-Image, Qwen-Image, Flux, SDXL.

Their models come in parts (the model, a text encoder, a VAE), as their publishers offer them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .drafts import Node
from .layout import HOUSE, HUB, MODELS, SDXL, Layout

COMFY = f"{HUB}/Comfy-Org"
Z_IMAGE, QWEN = (
    f"{COMFY}/{name}/resolve/main/split_files" for name in ("z_image_turbo", "Qwen-Image_ComfyUI")
)
FLUX = ("flux1-dev-fp8.safetensors", f"{COMFY}/flux1-dev/resolve/main")


@dataclass(frozen=True)
class Parts:
    """A base in parts: its files, the kind of its text encoder, and how it is sampled.

    `shift`: of ModelSamplingAuraFlow.
    """

    address: str
    model: str
    text: str
    kind: str
    vae: str
    shift: float
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])


PARTS = {
    "Z-Image": Parts(
        Z_IMAGE,
        "z_image_turbo_bf16.safetensors",
        "qwen_3_4b.safetensors",
        "lumina2",
        "ae.safetensors",
        3.0,
        {"steps": 9, "cfg": 1.0, "sampler_name": "res_multistep", "scheduler": "simple"},
    ),
    "Qwen-Image": Parts(
        QWEN,
        "qwen_image_fp8_e4m3fn.safetensors",
        "qwen_2.5_vl_7b_fp8_scaled.safetensors",
        "qwen_image",
        "qwen_image_vae.safetensors",
        3.1,
        {"steps": 20, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple"},
    ),
}


def loader(lay: Layout, kind: str, tall: float, part: tuple[str, str, str], **more: Any) -> Node:
    """Add a loader of one part: its widget, its file and folder, and other values."""
    widget, file, folder = part
    address = more.pop("address")
    model = {"name": file, "url": f"{address}/{folder}/{file}", "directory": folder}
    return lay.put(kind, tall=tall, models=[model], **{widget: file}, **more)


def start_in_parts(lay: Layout, name: str, prompt: str) -> dict[str, Node]:
    """Lay out the first column: the parts of a base and prompts; add the size of the picture."""
    parts = PARTS[name]
    at = {"address": parts.address}
    model = ("unet_name", parts.model, "diffusion_models")
    text = ("clip_name", parts.text, "text_encoders")
    loaded = loader(lay, "UNETLoader", 82, model, weight_dtype="default", **at)
    clip = loader(lay, "CLIPLoader", 106, text, type=parts.kind, **at)
    vae = loader(lay, "VAELoader", 58, ("vae_name", parts.vae, "vae"), **at)
    links = {"model": loaded["MODEL"]}
    shifted = lay.put("ModelSamplingAuraFlow", tall=58, links=links, shift=parts.shift)
    positive, negative = lay.prompts(clip, prompt)
    latent = lay.put("EmptySD3LatentImage", tall=106, width=1024, height=1024, batch_size=1)
    top = lay.column(0, f"{name} in parts", loaded, clip, vae, shifted)
    lay.column(0, "Prompts", positive, negative, top=top)
    prompts = {"positive": positive, "negative": negative}
    return {"model": shifted, "vae": vae, "latent": latent, **prompts}


def finish(
    lay: Layout,
    start: Mapping[str, Node],
    stack: Node,
    column: float,
    sampling: Mapping[str, Any],
    above: tuple[Node, ...] = (),
) -> None:
    """Lay out the last column, from the stack to the picture; the VAE encodes the hints."""
    vae, model = start["vae"]["VAE"], start["model"]["MODEL"]
    links = {
        "positive": start["positive"]["CONDITIONING"],
        "negative": start["negative"]["CONDITIONING"],
        "stack": stack["stack"],
        "model": model,
        "vae": vae,
    }
    apply = lay.put("ControlStackApply", links=links)
    links = {"model": model, "positive": apply["positive"], "negative": apply["negative"]}
    links["latent_image"] = start["latent"]["LATENT"]
    sampler = lay.put("KSampler", links=links, seed=1, denoise=1.0, **sampling)
    decode = lay.put("VAEDecode", links={"samples": sampler["LATENT"], "vae": vae})
    lay.column(column, "Sampling", *above, apply, sampler, decode, lay.save(decode))


def z_image(lay: Layout) -> None:
    """Lay out two Fun controls of one net, one of them with an effect mask."""
    start = start_in_parts(lay, "Z-Image", HOUSE)
    picture = lay.picture()
    note = lay.note(
        f"{MODELS}\n\n**Z-Image's Fun net acts inside the model**; in a stack it has range,"
        " schedule, masks and layers as every other. One file serves all hints. Here edges hold the"
        " left side, soft edges the whole picture at the start.",
        150,
    )
    white = lay.put("SolidMask", tall=106, value=1.0)
    sides = {"left": 0, "top": 0, "right": 512, "bottom": 0}
    left = lay.put("FeatherMask", tall=130, title="Left", links={"mask": white["MASK"]}, **sides)
    top = lay.column(1, "Picture", picture, note)
    lay.column(1, "Where: from left to right", white, left, top=top)
    canny = lay.hint("ControlStackCanny", picture["IMAGE"], tall=220)
    soft = lay.hint("ControlStackSoftEdge", picture["IMAGE"], tall=220, engine="dog")
    net = lay.net("z_image_fun")
    top = lay.column(2, "Hints and net", canny, soft, net)
    lay.column(2, "Size", start["latent"], top=top)
    masked = {"effect_mask": left["MASK"]}
    first = lay.control(net, canny["hint"], strength=0.9, links=masked)
    second = lay.control(net, soft["hint"], stack=first, strength=0.6, end_percent=0.6)
    lay.column(3, "Controls", first, second)
    finish(lay, start, second, 4, PARTS["Z-Image"].sampling)


def qwen_image(lay: Layout) -> None:
    """Lay out one union net for Qwen-Image, which needs no type."""
    start = start_in_parts(lay, "Qwen-Image", HOUSE)
    picture = lay.picture()
    note = lay.note(
        f"{MODELS}\n\n**A union net without types:** InstantX's net tells from the hint alone what"
        " it is, so *union_type* stays at auto. It reads edges, soft edges, depth and poses.\n\n"
        "**To try:** another *method*; *soft 0.825* as *layers*, which spreads over the net's own"
        " blocks.",
        250,
    )
    lay.column(1, "Picture", picture, note)
    hint = lay.hint("ControlStackPreprocess", picture["IMAGE"], tall=400, method="canny")
    top = lay.column(2, "Hint", hint)
    lay.column(2, "Size", start["latent"], top=top)
    net = lay.net("qwen_union")
    stack = lay.control(net, hint["hint"])
    lay.column(3, "ControlNet", net, stack)
    finish(lay, start, stack, 4, PARTS["Qwen-Image"].sampling)


def flux(lay: Layout) -> None:
    """Lay out a Flux union, which is asked for its type."""
    checkpoint = lay.checkpoint(FLUX)
    positive, negative = lay.prompts(checkpoint, HOUSE)
    links = {"conditioning": positive["CONDITIONING"]}
    guided = lay.put("FluxGuidance", tall=58, links=links, guidance=3.5)
    latent = lay.put("EmptySD3LatentImage", tall=106, width=1024, height=1024, batch_size=1)
    lay.column(0, "Model and prompts", checkpoint, positive, guided, negative, latent)
    negative.values[0] = ""
    prompts = {"positive": guided, "negative": negative}
    start = {"model": checkpoint, "vae": checkpoint, "latent": latent, **prompts}
    picture = lay.picture()
    note = lay.note(
        f"{MODELS} flux1-dev has a licence for non-commercial use.\n\n**A union for Flux is asked"
        " for a type:** *union_type* names it, here canny. With auto it is the type of the hint,"
        " where it comes straight from a preprocessor. Others: tile, depth, blur, pose, gray, lq.",
        230,
    )
    lay.column(1, "Picture", picture, note)
    hint = lay.hint("ControlStackCanny", picture["IMAGE"], tall=400)
    lay.column(2, "Hint: edges", hint)
    net = lay.net("flux_union")
    stack = lay.control(net, hint["hint"], strength=0.6, end_percent=0.7, union_type="canny")
    lay.column(3, "ControlNet", net, stack)
    sampling = {"steps": 20, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    finish(lay, start, stack, 4, sampling)


def lllite(lay: Layout) -> None:
    """Lay out a small LLLite and a ControlNet together on SDXL."""
    note = lay.note(
        f"{MODELS} It needs an SDXL checkpoint, a LLLite and a union ControlNet.\n\n**A LLLite is"
        " small (40 MB) and acts inside the model;** it stacks with ControlNets like any other"
        " net.",
        150,
    )
    start = lay.start(base=SDXL, size=(1024, 1024), below=(note,))
    picture = lay.picture()
    canny = lay.hint("ControlStackCanny", picture["IMAGE"], tall=238)
    soft = lay.hint("ControlStackSoftEdge", picture["IMAGE"], tall=210, engine="dog")
    lay.column(1, "Picture and hints", picture, canny, soft)
    edges, union = lay.net("lllite"), lay.net("union")
    first = lay.control(edges, canny["hint"], strength=0.8)
    second = lay.control(union, soft["hint"], stack=first, strength=0.5, end_percent=0.6)
    lay.column(2, "Edges", edges, first)
    lay.column(3, "Soft edges", union, second)
    lay.finish(start, second, 4)


TEMPLATES = {
    "19 Z-Image": z_image,
    "20 Qwen-Image": qwen_image,
    "21 Flux union": flux,
    "22 LLLite and ControlNet": lllite,
}
