"""Every guider, model patch and sampler of ComfyUI, found in its list of nodes.

With plain settings the image is ComfyUI's. In modes cond_only and control it is that of ComfyUI's
own nodes on the positive alone, in as many calls of the model as ComfyUI's balanced control.
"""

from __future__ import annotations

import asyncio
import copy
import fnmatch
import os
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from workbench import hosts

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

CLOSE = 1e-4  # of the scale: other batches round otherwise
SOFT = [0.825 ** (12 - i) for i in range(13)]


@dataclass(frozen=True)
class Case:
    """How a node is tried.

    `inputs`: those that differ from its defaults; `zeroed`: compare with ComfyUI's control set to
    zero on the other prompts' rows, because the node acts differently on prompts in calls of their
    own; `batch`, `size`: entries, height and width of the latent.
    """

    inputs: dict = field(default_factory=dict)
    zeroed: bool = False
    batch: int = 1
    steps: int = 2
    size: int = 8


FILE, MERGE = "reads weights from a file", "merges weights"
OTHER = "for another architecture, or for video and audio"
MODEL_PATCH = "a net that changes the model itself: see the tests of model patches"

# Node id → how it is tried, or why not. A pattern stands for the nodes that a host adds by model.
NODES = {
    # guiders
    "BasicGuider": Case(),
    "CFGGuider": Case(),
    "DualCFGGuider": Case({"style": "regular", "cfg_conds": 5.0, "cfg_cond2_negative": 3.0}),
    "DualCFGGuider nested": Case({"style": "nested", "cfg_conds": 5.0, "cfg_cond2_negative": 3.0}),
    "DualModelGuider": Case({"model_negative": "model"}),
    "DualModelGuider one model": Case(),
    "PerpNegGuider": Case(),
    "LTXVDualCFGGuider": Case(),
    # model patches
    "APG": Case(),
    "CFGNorm": Case(),
    "CFGOverride": Case({"start_percent": 0.5}),
    "CFGZeroStar": Case(),
    "ContextWindowsManual": Case({"context_length": 2, "context_overlap": 1}, batch=3),
    "DifferentialDiffusion": Case(),
    "EasyCache": Case({"reuse_threshold": 0.5}, zeroed=True, steps=4),
    "Epsilon Scaling": Case(),
    "FluxKVCache": OTHER,
    "FreSca": Case(),
    "FreeU": Case(),
    "FreeU_V2": Case(size=16),
    "HyperTile": Case(),
    "LatentApplyOperationCFG": Case({"operation": "operation"}),
    "LazyCache": Case({"reuse_threshold": 0.5}, zeroed=True, steps=4),
    "Mahiro": Case(),
    "ModelAttentionBackend": Case(),
    "ModelComputeDtype": Case(),
    "ModelNoiseScale": OTHER,
    "ModelSamplingContinuousEDM": Case(),
    "ModelSamplingContinuousV": Case(),
    "ModelSamplingDiscrete": Case({"sampling": "v_prediction"}),
    "MultiGPU_WorkUnits": Case(),
    "NAGuidance": Case(zeroed=True),
    "PatchModelAddDownscale": Case({"end_percent": 1.0}),
    "PerpNeg": Case(),
    "PerturbedAttentionGuidance": Case(),
    "RenormCFG": Case(),
    "RescaleCFG": Case(),
    "SelectModelDevice": Case(),
    "SelfAttentionGuidance": Case(size=16),
    "SkipLayerGuidanceDiT": Case({"start_percent": 0.0, "rescaling_scale": 0.5}),
    "SkipLayerGuidanceDiTSimple": Case(),
    "SkipLayerGuidanceSD3": Case({"start_percent": 0.0}),
    "TCFG": Case(),
    "TemporalScoreRescaling": Case(),
    "TomePatchModel": Case(),
    "UNetCrossAttentionMultiply": Case(),
    "UNetSelfAttentionMultiply": Case(),
    "UNetTemporalAttentionMultiply": Case(),
    "VideoLinearCFGGuidance": Case(batch=3),
    "VideoTriangleCFGGuidance": Case(batch=3),
    # samplers
    "KSamplerSelect": Case({"sampler_name": "heun"}),
    "SamplerDPMAdaptative": Case({"rtol": 10.0, "atol": 10.0, "h_init": 1.0}),
    "SamplerDPMPP_2M_SDE": Case(),
    "SamplerDPMPP_2S_Ancestral": Case(),
    "SamplerDPMPP_3M_SDE": Case(),
    "SamplerDPMPP_SDE": Case(),
    "SamplerER_SDE": Case(),
    "SamplerEulerAncestral": Case(),
    "SamplerEulerAncestralCFGPP": Case(),
    "SamplerEulerCFGpp": Case(),
    "SamplerLCM": Case(),
    "SamplerLCMUpscale": Case({"scale_ratio": 2.0}),
    "SamplerLMS": Case(),
    "SamplerSASolver": Case(),
    "SamplerSEEDS2": Case(),
    # not for the tiny model, or without a model to sample
    "ARVideoI2V": OTHER,
    "AddNoise": "does not sample",
    "AnimaLLLiteApply": MODEL_PATCH,
    "CheckpointLoader*": FILE,
    "ChromaRadianceOptions": OTHER,
    "DiffusersLoader": FILE,
    "HiDreamO1PatchSeamSmoothing": OTHER,
    "HypernetworkLoader": FILE,
    "ImageOnlyCheckpoint*": FILE,
    "LTXV*": OTHER,
    "LoraLoader*": FILE,
    "LoraModelLoader": FILE,
    "MiniMaxH3SigmaShift": OTHER,
    "ModelMerge*": MERGE,
    "ModelPatchLoader": FILE,
    "ModelSamplingAuraFlow": OTHER,
    "ModelSamplingFlux": OTHER,
    "ModelSamplingLTXV": OTHER,
    "ModelSamplingSD3": OTHER,
    "ModelSamplingStableCascade": OTHER,
    "QwenImageDiffsynthControlnet": MODEL_PATCH,
    "SUPIRApply": MODEL_PATCH,
    "SamplerARVideo": OTHER,
    "ScaleROPE": OTHER,
    "TorchCompileModel": "compiles the model",
    "TrainLoraNode": "trains",
    "TripoSplatSamplingPreview": OTHER,
    "UNETLoader": FILE,
    "USOStyleReference": MODEL_PATCH,
    "VOIDSampler": OTHER,
    "Wan*": OTHER,
    "ZImageFunControlnet": MODEL_PATCH,
    "unCLIPCheckpointLoader": FILE,
    "wanBlockSwap": OTHER,
    # the samplers' own nodes
    "KSampler": Case(),
    "KSamplerAdvanced": Case(),
    "SamplerCustom": Case(),
    "SamplerCustomAdvanced": Case(),
}
TRIED = [name for name, case in NODES.items() if isinstance(case, Case)]
GUIDERS = [name for name in TRIED if "Guider" in name]
CASES = [*GUIDERS, *hosts.cross_section([name for name in TRIED if name not in GUIDERS], 3)]
PROMPTS = {
    "positive": 0,
    "conditioning": 0,
    "cond1": 0,
    "negative": 1,
    "cond2": 2,
    "empty_conditioning": 2,
}


@pytest.fixture(scope="session")
def extras(host):
    """ComfyUI's nodes with its extras, whose folder it finds in the working directory."""
    import nodes

    before = os.getcwd()
    os.chdir(host.path)
    try:
        loading = nodes.init_builtin_extra_nodes()
        if asyncio.iscoroutine(loading):
            asyncio.run(loading)
    finally:
        os.chdir(before)
    return nodes.NODE_CLASS_MAPPINGS


def steers_sampling(node) -> bool:
    """Return whether a node gives a model, a guider or a sampler, or samples."""
    inputs = node.INPUT_TYPES()
    taken = {str(kind[0]) for group in inputs.values() for kind in group.values() if kind}
    given = set(node.RETURN_TYPES)
    samples = bool({"MODEL", "GUIDER"} & taken) and "LATENT" in given
    return samples or bool({"MODEL", "GUIDER", "SAMPLER"} & given)


@pytest.mark.quick
def test_every_node_has_its_place(extras):
    """A node that a new ComfyUI brings fails here until it stands in the table."""
    ours = {name for name in extras if name.startswith("ControlStack")}
    found_nodes = {name for name, node in extras.items() if steers_sampling(node)} - ours
    patterns = [name.partition(" ")[0] if name in TRIED else name for name in NODES]
    patterns += ["Epsilon Scaling"]
    missing = [n for n in found_nodes if not any(fnmatch.fnmatch(n, p) for p in patterns)]
    assert not missing


def called(extras, name, inputs):
    """Call a node with its defaults, and these inputs."""
    node = extras[name]
    declared = node.INPUT_TYPES()
    values = {}
    for key, kind in declared.get("required", {}).items():
        options = kind[1] if len(kind) > 1 else {}
        first = kind[0][0] if isinstance(kind[0], (list, tuple)) and kind[0] else None
        choices = options.get("options") or [first]
        values[key] = options.get("default", choices[0])
    optional = declared.get("optional", {})
    taken = {key: inputs[key] for key in inputs if key in values or key in optional}
    out = getattr(node(), node.FUNCTION)(**{**values, **taken})
    out = getattr(out, "args", None) or getattr(out, "result", None) or out
    return out[0]


@dataclass
class Bench:
    """Samples the tiny world by ComfyUI's nodes."""

    world: object
    extras: dict

    def node_of(self, name):
        return name if name in self.extras else name.partition(" ")[0]

    def latents(self, prompts, name, case):
        """Sample with a node of the table in its place."""
        import comfy.samplers

        node, inputs = self.node_of(name), {**case.inputs}
        model = self.world.model
        if inputs.get("model_negative") == "model":
            inputs["model_negative"] = model.clone()
        if inputs.get("operation") == "operation":
            inputs["operation"] = called(
                self.extras, "LatentOperationSharpen", {"sharpen_radius": 1}
            )
        by_name = {key: prompts[i] for key, i in PROMPTS.items()}
        given = set(self.extras[node].RETURN_TYPES)
        start = self.start(case)
        if "LATENT" in given:
            return self.by_node(node, prompts, start, case)
        if "SAMPLER" in given:
            sampler = called(self.extras, node, {"model": model, **inputs})
            return self.by_guider(self.cfg(model, prompts), sampler, start, case)
        if "GUIDER" in given:
            guider = called(self.extras, node, {"model": model, **by_name, **inputs})
        else:
            inputs = {"empty_conditioning": prompts[2], **inputs}
            guider = self.cfg(called(self.extras, node, {"model": model, **inputs}), prompts)
        return self.by_guider(guider, comfy.samplers.sampler_object("euler"), start, case)

    def cfg(self, model, prompts):
        import comfy.samplers

        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(*prompts[:2])
        guider.set_cfg(5.0)
        return guider

    def start(self, case):
        import torch

        torch.manual_seed(1)  # some samplers take their noise from torch
        return torch.zeros(case.batch, 4, case.size, case.size)

    def sigmas(self, model, steps):
        import comfy.samplers

        sampling = model.get_model_object("model_sampling")
        return comfy.samplers.calculate_sigmas(sampling, "normal", steps)

    def by_guider(self, guider, sampler, start, case):
        import torch

        noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(7))
        sigmas = self.sigmas(guider.model_patcher, case.steps)
        return guider.sample(noise, start, sampler, sigmas, disable_pbar=True, seed=7)

    def by_node(self, node, prompts, start, case):
        import comfy.samplers

        inputs = {
            "model": self.world.model,
            "positive": prompts[0],
            "negative": prompts[1],
            "latent_image": {"samples": start},
            "steps": case.steps,
            "cfg": 5.0,
            "sampler": comfy.samplers.sampler_object("euler"),
            "sigmas": self.sigmas(self.world.model, case.steps),
        }
        if node == "SamplerCustomAdvanced":
            inputs["guider"] = self.cfg(self.world.model, prompts)
            inputs["noise"] = called(self.extras, "RandomNoise", {"noise_seed": 7})
        return called(self.extras, node, inputs)["samples"]


@pytest.fixture(scope="module")
def bench(world, extras):
    return Bench(world, extras)


@pytest.fixture(scope="module")
def middle(world):
    """Make a third prompt, which no control is put on."""
    from workbench import tiny

    return tiny.conditioning(3)


def softened(net):
    """Return a net whose residuals are those of `net` in soft weights."""
    import torch

    twin = net.copy()
    twin.control_model = copy.deepcopy(net.control_model)
    layers = [*twin.control_model.zero_convs, twin.control_model.middle_block_out]
    with torch.no_grad():
        for layer, weight in zip(layers, SOFT, strict=True):
            for value in layer.parameters():
                value.mul_(weight)
    return twin


@pytest.fixture(scope="module")
def for_positive(world):
    """Two units for the positive alone, ours and as ComfyUI's nodes need their nets."""
    hints = [world.hint(i) for i in range(2)]
    ours = [
        {"net": world.nets[0], "image": hints[0], "mode": "cond_only", "strength": 0.9},
        {"net": world.nets[1], "image": hints[1], "mode": "control"},
    ]
    theirs = [
        {"net": world.nets[0], "image": hints[0], "strength": 0.9},
        {"net": softened(world.nets[1]), "image": hints[1]},
    ]
    return ours, theirs


@contextmanager
def zero_elsewhere(world, positives):
    """Set control to zero on the rows of all prompts but these, in front of the UNet."""

    def hook(_module, args, options):
        control, uuids = options.get("control"), options["transformer_options"]["uuids"]
        if control is None:
            return None
        rows = args[0].shape[0] // len(uuids)
        for residuals in control.values():
            for residual in residuals:
                for i, uuid in enumerate(uuids):
                    if residual is not None and uuid not in positives:
                        residual[i * rows : (i + 1) * rows] = 0
        return args, options

    handle = world.model.model.diffusion_model.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class Counts:
    """What a run cost: calls of the UNet, rows of the nets."""

    def __init__(self, counted):
        self.counted = counted

    def of(self, run):
        self.counted["unet"], before = 0, {k: len(v) for k, v in self.counted["rows"].items()}
        out = run()
        rows = sum(sum(v[before.get(k, 0) :]) for k, v in self.counted["rows"].items())
        return out, self.counted["unet"], rows


def is_close(a, b):
    assert a.isfinite().all()
    return (a - b).abs().max() <= CLOSE * b.abs().max()


@pytest.mark.parametrize("name", CASES)
def test_the_image_is_comfyuis(bench, world, middle, for_positive, counted, name, monkeypatch):
    if bench.node_of(name) not in bench.extras:
        pytest.skip("this ComfyUI does not have the node")
    case, counts = NODES[name], Counts(counted)
    ours, theirs = for_positive
    plain = [{**unit, "mode": "balanced"} for unit in ours[:1]]
    image = bench.latents((*world.host(theirs[:1]), middle), name, case)
    assert image.equal(bench.latents((*world.ours(plain), middle), name, case))

    both = (*world.host(theirs), middle)
    if case.zeroed:
        noted = watch_positives(monkeypatch)
        with zero_elsewhere(world, noted):
            wanted = bench.latents(both, name, case)
        balanced_calls = wanted_rows = None
    else:
        _, balanced_calls, _ = counts.of(lambda: bench.latents(both, name, case))
        alone = (world.host(theirs, negative=[])[0], world.negative, middle)
        wanted, _, wanted_rows = counts.of(lambda: bench.latents(alone, name, case))
    prompts = (*world.ours(ours), middle)
    got, calls, rows = counts.of(lambda: bench.latents(prompts, name, case))
    assert is_close(got, wanted)
    assert not is_close(got, bench.latents(both, name, case)) or name == "BasicGuider"
    if balanced_calls is not None:
        assert calls == balanced_calls
        assert rows == wanted_rows


def watch_positives(monkeypatch):
    """Return the uuids of the entries that guiders hold as their positive."""
    import comfy.samplers

    noted, real = set(), comfy.samplers.process_conds

    def process(model, noise, conds, *rest, **more):
        out = real(model, noise, conds, *rest, **more)
        noted.update(entry["uuid"] for entry in out.get("positive", []))
        return out

    monkeypatch.setattr(comfy.samplers, "process_conds", process)
    return noted
