"""Describe the drawn world's base model: SD1.5's topology as small as the tiny family, as a flow.

It predicts the velocity between picture and noise (ComfyUI's FLOW): predicting noise, a model this
small reads the picture's mean colour from the noise and ignores the words. Its prompts have 96
features, by which ComfyUI tells its checkpoints from the tiny family's.
"""

from __future__ import annotations

import comfy.model_base
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import torch

from . import family

CONTEXT = 96
SHAPE: family.Shape = {**family.TINY, "context_dim": CONTEXT}
CLIP = {**family.CLIP, "hidden_size": CONTEXT, "intermediate_size": 192, "projection_dim": CONTEXT}
CHECKPOINT = "drawn_world_fp16.safetensors"
NETS = ("edges", "scribble", "segmentation", "depth")


def net_file(name: str) -> str:
    """Return the name of a net's file in ComfyUI's controlnet folder."""
    return f"drawn_world_{name}_fp16.safetensors"


class WorldClip(comfy.sd1_clip.SD1ClipModel):
    def __init__(self, device="cpu", dtype=None, model_options=None, **kwargs):
        model_options = {**(model_options or {}), "clip_l_model_config": CLIP}
        super().__init__(device=device, dtype=dtype, model_options=model_options, **kwargs)


class WorldTokenizer(comfy.sd1_clip.SD1Tokenizer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.clip_l.embedding_size = CONTEXT


class WorldSD15(family.TinySD15):
    unet_config = {**family.TinySD15.unet_config, "context_dim": CONTEXT}  # noqa: RUF012
    sampling_settings = {"shift": 1.0}  # noqa: RUF012 (ComfyUI's own form)

    def model_type(self, state_dict, prefix=""):  # noqa: ARG002 (ComfyUI's own signature)
        return comfy.model_base.ModelType.FLOW

    def clip_target(self, state_dict=None):  # noqa: ARG002 (ComfyUI's own signature)
        return comfy.supported_models_base.ClipTarget(WorldTokenizer, WorldClip)


def teach_host() -> None:
    """Let ComfyUI recognise the world's checkpoint; once is enough."""
    if WorldSD15 not in comfy.supported_models.models:
        comfy.supported_models.models.append(WorldSD15)


def clip_text() -> torch.nn.Module:
    """Make the text encoder as it is before training; its table of tokens stays so."""
    return family.fill(WorldClip(dtype=torch.float32), 2).clip_l.transformer
