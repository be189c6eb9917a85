"""The columns that templates are laid out in, and the models that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .drafts import GROUP_TITLE, NOTE, Draft, Node

WIDE, COLUMN = 272, 301  # of a node, and from one column to the next
HINT = 310  # with room for the picture that the node shows
HEIGHTS = {
    "CheckpointLoaderSimple": 102,
    "CLIPTextEncode": 106,
    "EmptyLatentImage": 118,
    "LoadImage": 326,
    "ControlStackLoad": 86,
    "ControlStackAdd": 406,
    "ControlStackApply": 214,
    "KSampler": 262,
    "VAEDecode": 54,
    "SaveImage": 280,
}

HUB = "https://huggingface.co"
V11 = f"{HUB}/comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main"
SD15 = (
    "v1-5-pruned-emaonly-fp16.safetensors",
    f"{HUB}/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main",
)
SDXL = (
    "sd_xl_base_1.0.safetensors",
    f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main",
)
UNION = (
    "diffusion_pytorch_model_promax.safetensors",
    f"{HUB}/xinsir/controlnet-union-sdxl-1.0/resolve/main",
)
RECOLOR = (
    "ioclab_sd15_recolor.safetensors",
    f"{HUB}/lllyasviel/sd_control_collection/resolve/main",
)
COLOR = (
    "t2iadapter_color-fp16.safetensors",
    f"{HUB}/webui/ControlNet-modules-safetensors/resolve/main",
)
NETS = {
    **{
        name: (f"control_{version}_sd15_{name}_fp16.safetensors", V11)
        for name, version in {
            "canny": "v11p",
            "scribble": "v11p",
            "lineart": "v11p",
            "mlsd": "v11p",
            "softedge": "v11p",
            "depth": "v11f1p",
            "normalbae": "v11p",
            "openpose": "v11p",
            "seg": "v11p",
            "tile": "v11f1e",
            "shuffle": "v11e",
            "inpaint": "v11p",
        }.items()
    },
    "union": UNION,
    "recolor": RECOLOR,
    "color": COLOR,
    "z_image_fun": (
        "model_patches/Z-Image-Turbo-Fun-Controlnet-Union-2.1-2602-8steps.safetensors",
        f"{HUB}/alibaba-pai/Z-Image-Turbo-Fun-Controlnet-Union-2.1/resolve/main",
    ),
    "qwen_union": (
        "Qwen-Image-InstantX-ControlNet-Union.safetensors",
        f"{HUB}/Comfy-Org/Qwen-Image-InstantX-ControlNets/resolve/main/split_files/controlnet",
    ),
    "flux_union": (
        "diffusion_pytorch_model.safetensors",
        f"{HUB}/InstantX/FLUX.1-dev-Controlnet-Union/resolve/main",
    ),
    "lllite": ("kohya_controllllite_xl_canny.safetensors", RECOLOR[1]),
}

HOUSE = "a house with a red roof beside a tree, watercolour, summer light"
NEGATIVE = "blurry, text, watermark"
MODELS = "**Models:** ComfyUI offers to download those that are missing."


class Layout(Draft):
    """A draft in columns from left to right, each with a frame."""

    wide, pitch = WIDE, COLUMN
    last: dict[str, Node]

    def put(self, kind: str, *, tall: float | None = None, **given: Any) -> Node:
        """Add a node with the height that its kind needs."""
        return self.add(kind, size=(self.wide, tall or HEIGHTS[kind]), **given)

    def note(self, text: str, tall: float) -> Node:
        """Add a note."""
        return self.put(NOTE, tall=tall, title="Read me", text=text)

    def column(self, number: float, title: str, *nodes: Node, top: float = 0) -> float:
        """Put nodes into a column with a frame; return where the next frame would begin."""
        top = self.stack(number * self.pitch, top, *nodes)
        self.group(title, *nodes)
        return top + GROUP_TITLE

    def net(self, name: str, **given: Any) -> Node:
        """Add the loader of a ControlNet."""
        chosen, address = NETS[name]
        folder, _, file = chosen.rpartition("/")
        model = {"name": file, "url": f"{address}/{file}", "directory": folder or "controlnet"}
        return self.put("ControlStackLoad", models=[model], control_net_name=chosen, **given)

    def checkpoint(self, named: tuple[str, str] = SD15) -> Node:
        """Add the loader of the base model."""
        file, folder = named
        model = {"name": file, "url": f"{folder}/{file}", "directory": "checkpoints"}
        return self.put("CheckpointLoaderSimple", models=[model], ckpt_name=file)

    def prompts(self, checkpoint: Node, positive: str) -> list[Node]:
        """Add both prompts."""
        clip = {"clip": checkpoint["CLIP"]}
        return [
            self.put("CLIPTextEncode", title=f"{which} prompt", text=text, links=clip)
            for which, text in (("Positive", positive), ("Negative", NEGATIVE))
        ]

    def start(
        self,
        positive: str = HOUSE,
        *,
        base: tuple[str, str] = SD15,
        size: tuple[int, int] = (512, 512),
        batch: int = 1,
        empty: bool = True,
        below: tuple[Node, ...] = (),
    ) -> dict[str, Node]:
        """Lay out the first column: model, prompts, size of the picture."""
        checkpoint = self.checkpoint(base)
        positive_node, negative = self.prompts(checkpoint, positive)
        nodes = {"model": checkpoint, "positive": positive_node, "negative": negative}
        if empty:
            given = {"width": size[0], "height": size[1], "batch_size": batch}
            nodes["latent"] = self.put("EmptyLatentImage", **given)
        self.column(0, "Model and prompts", *nodes.values(), *below)
        return nodes

    def hint(self, kind: str, source: Any, *, tall: float = HINT, **values: Any) -> Node:
        """Add a preprocessor that reads a picture."""
        return self.put(kind, tall=tall, links={"image": source}, **values)

    def control(self, net: Node, hint: Any, *, stack: Node | None = None, **given: Any) -> Node:
        """Add a net with its hint to a stack."""
        links = {"control_net": net["control_net"], "image": hint, **given.pop("links", {})}
        if stack:
            links["stack"] = stack["stack"]
        return self.put("ControlStackAdd", links=links, **given)

    def finish(
        self,
        start: Mapping[str, Node],
        stack: Node,
        column: float,
        *,
        latent: Any = None,
        model: Any = None,
        above: tuple[Node, ...] = (),
        decode: bool = True,
        save: bool = True,
    ) -> Node:
        """Lay out the last column, from the stack to the picture; return the sampler."""
        model = model or start["model"]["MODEL"]
        links = {
            "positive": start["positive"]["CONDITIONING"],
            "negative": start["negative"]["CONDITIONING"],
            "stack": stack["stack"],
            "model": start["model"]["MODEL"],
        }
        apply = self.put("ControlStackApply", links=links)
        links = {
            "model": model,
            "positive": apply["positive"],
            "negative": apply["negative"],
            "latent_image": latent or start["latent"]["LATENT"],
        }
        sampler = self.sampler(links)
        self.last = {"apply": apply, "sampler": sampler}
        nodes = [*above, apply, sampler]
        if decode:
            self.last["decode"] = self.decode(sampler["LATENT"], start)
            nodes.append(self.last["decode"])
        if save:
            nodes.append(self.save(self.last["decode"]))
        self.column(column, "Sampling", *nodes)
        return sampler

    def sampler(self, links: Mapping[str, Any]) -> Node:
        """Add KSampler with settings for 20 steps."""
        values = {"seed": 1, "steps": 20, "cfg": 7.0, "sampler_name": "dpmpp_2m"}
        return self.put("KSampler", links=links, scheduler="karras", denoise=1.0, **values)

    def decode(self, latent: Any, start: Mapping[str, Node]) -> Node:
        """Add VAE Decode."""
        return self.put("VAEDecode", links={"samples": latent, "vae": start["model"]["VAE"]})

    def save(self, source: Node, kind: str = "SaveImage", **given: Any) -> Node:
        """Add what saves the pictures of a node."""
        return self.put(
            kind,
            links={"images": (source, 0)},
            **{"tall": 216, "filename_prefix": "controlstack", **given},
        )

    def picture(self, **given: Any) -> Node:
        """Add the picture that ComfyUI brings along."""
        return self.put("LoadImage", image="example.png", **given)
