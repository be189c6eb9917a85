"""Check nets that act inside the model against ComfyUI's own nodes for model patches.

Every family of `workbench/tiny_patches.py` goes through all of it. ComfyUI has no node for LLLite,
where a plain implementation of the published net stands instead.
"""

from __future__ import annotations

from functools import partial

import pytest

from workbench import tiny_patches
from workbench.family_runs import frames_by_hand, hint, host, in_windows, ours, plain
from workbench.family_runs import sample as sample_for
from workbench.tiny_bases import qwen_net, sdxl_net

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

sample = partial(sample_for, steps=2)


@pytest.fixture(scope="module")
def bases(host):
    """Return base models by name, each built at first use."""
    built = {}

    def get(name):
        if name not in built:
            built[name] = tiny_patches.BASES[name]()
        return built[name]

    return get


@pytest.fixture
def family(bases, request):
    """Return a base, a MODEL_PATCH of the family, and our control object of it."""
    from pack.control.patches import net_of

    tiny = tiny_patches.PATCHES[request.param]
    if not tiny.is_here:
        pytest.skip(f"this host has no {request.param}")
    patcher = tiny.net()
    patcher.tiny = tiny
    return bases(tiny.base), patcher, net_of(patcher)


def every(*families):
    return pytest.mark.parametrize("family", families or tiny_patches.PATCHES, indirect=True)


PAINTED = (
    "Z-Image Fun lite",
    "Z-Image Fun 2.1",
    "Qwen DiffSynth inpaint",
    "Anima LLLite inpaint",
)
NOT_PAINTED = tuple(name for name in tiny_patches.PATCHES if name not in PAINTED)
_BY_BASE = {
    tiny.base: name for name, tiny in tiny_patches.PATCHES.items() if not name.endswith("inpaint")
}
ONE_OF_EACH = tuple(_BY_BASE.values())
PICTURES = tuple(name for name in ONE_OF_EACH if not tiny_patches.PATCHES[name].is_clip)


def by_node(base, patcher, image=None, strength=0.7, model=None, mask=None):
    """Return the model with the net, patched by ComfyUI's own node."""
    image, model = hint() if image is None else image, model or base.patcher
    return patcher.tiny.node(base, model, patcher, image, strength, mask)


def sampled_by_node(base, patcher, image=None, batch=1, size=None, **more):
    return sample(
        base, plain(base), batch, size=size, patcher=by_node(base, patcher, image, **more)
    )


def test_every_family_has_a_tiny_net(host):
    from pack.control.patches import PATCHES, net_of

    # Classes of ComfyUI's that this version lacks cannot be built; ours are always here.
    here = [name for name in PATCHES if tiny_patches.has_module(name.rpartition(".")[0])]
    expected = {PATCHES[name].family for name in here if name.startswith("comfy")}
    nets = (tiny.net() for tiny in tiny_patches.PATCHES.values() if tiny.is_here)
    lacking = expected - {net_of(net).patch.family for net in nets}
    assert not lacking, f"{lacking}: add a tiny net to PATCHES of workbench/tiny_patches.py"


def small(theirs, mine, share=1e-5):
    return (theirs - mine).abs().max() <= share * theirs.abs().max()


@pytest.mark.quick
@every()
def test_plain_settings_give_the_hosts_image(family):
    base, patcher, net = family
    theirs = sampled_by_node(base, patcher)
    assert not small(theirs, sample(base, plain(base)), 1e-3)
    assert theirs.equal(sample(base, ours(base, net)))
    assert theirs.equal(sample(base, host(base, net)))  # ComfyUI's own Apply ControlNet


@every(*ONE_OF_EACH)
@pytest.mark.parametrize(("batch", "size"), [(2, (9, 7)), (3, (6, 10))])
def test_other_sizes_and_batches(family, batch, size):
    base, patcher, net = family
    image = hint(0, 7 if patcher.tiny.is_clip else 1, 96, 80)  # shorter than the video's 9 frames
    how = {"batch": batch, "size": size}
    theirs = sampled_by_node(base, patcher, image, **how)
    mine = sample(base, ours(base, net, image), **how)
    # A hint that is continued to whole tokens lies otherwise in memory, so LLLite's layers round.
    assert theirs.equal(mine) or (patcher.tiny.on_unet and small(theirs, mine))


@every(*(name for name in ONE_OF_EACH if tiny_patches.PATCHES[name].has_range))
def test_the_range_is_the_nodes(family):
    base, patcher, net = family
    for start, end in ((0.0, 0.4), (0.4, 1.0), (0.2, 0.3)):
        node = patcher.tiny.node(base, base.patcher, patcher, hint(), 0.7, None, (start, end))
        theirs = sample(base, plain(base), patcher=node)
        assert theirs.equal(sample(base, ours(base, net, start=start, end=end)))


@every(*ONE_OF_EACH)
def test_strength_range_and_schedule(family):
    base, patcher, net = family
    half = sample(base, ours(base, net, strength=0.8, schedule="0:0.5"))
    assert half.equal(sampled_by_node(base, patcher, strength=0.4))
    without = sample(base, plain(base))
    for how in ({"strength": 0.0}, {"start": 0.6, "end": 0.2}, {"schedule": "0:0"}):
        assert without.equal(sample(base, ours(base, net, **how)))
    early = sample(base, ours(base, net, schedule="0s:1, 1s:0 | step"))
    assert not small(early, without, 1e-3)
    assert early.equal(sample(base, plain(base), patcher=early_only(base, patcher)))


def early_only(base, patcher):
    """Return the model patched by ComfyUI's node, without its patches after the first step."""
    patched = by_node(base, patcher)
    calls = []

    def call(apply, args):
        cond, calls_before = args["c"], len(calls)
        calls.append(1)
        if calls_before:
            options = {**cond["transformer_options"], "patches": {}}
            cond = {**cond, "transformer_options": options}
        return apply(args["input"], args["timestep"], **cond)

    patched.set_model_unet_function_wrapper(call)
    return patched


@every(*ONE_OF_EACH)
def test_two_nets_in_any_mixture(family):
    """Ours twice, and ComfyUI's node with ours after it, are ComfyUI's node twice."""
    base, patcher, net = family
    once = by_node(base, patcher)
    both = by_node(base, patcher, hint(1), 0.4, model=once)
    # ComfyUI's Uni3C loses what the first node adds in the step in which the second encodes.
    theirs = [sample(base, plain(base), patcher=both) for _ in range(2)][1]
    twice = ours(base, net, hint(1), 0.4, chain=ours(base, net))
    assert theirs.equal(sample(base, twice))
    assert theirs.equal(sample(base, ours(base, net, hint(1), 0.4), patcher=once))


@every("Qwen DiffSynth", "SDXL LLLite")
def test_with_a_net_that_gives_residuals(family):
    base, patcher, net = family
    classic = sdxl_net() if patcher.tiny.on_unet else qwen_net()
    theirs = sample(base, host(base, classic, hint(1)), patcher=by_node(base, patcher))
    for first, second in ((net, classic), (classic, net)):
        images = {id(net): hint(), id(classic): hint(1)}
        chain = ours(base, second, images[id(second)], chain=ours(base, first, images[id(first)]))
        assert theirs.equal(sample(base, chain))


PAIRS = [
    ("Z-Image Fun 1.0", "Z-Image Fun 2.1"),
    ("Qwen DiffSynth inpaint", "Qwen DiffSynth"),
    ("Anima LLLite", "Anima LLLite inpaint"),
]


@pytest.mark.parametrize("order", ["node-ours-ours", "ours-ours", "ours-classic-ours"])
@pytest.mark.parametrize("pair", [*PAIRS, *(pair[::-1] for pair in PAIRS[:2])])
def test_two_kinds_in_any_mixture(bases, pair, order):
    """The first and the second kind of net, then the first once more."""
    from pack.control.patches import net_of

    kinds = [tiny_patches.PATCHES[name] for name in pair]
    if not kinds[0].is_here:
        pytest.skip(f"this host has no {pair[0]}")
    base = bases(kinds[0].base)
    patchers, classic = [kind.net() for kind in kinds], None
    theirs, model, chain = base.patcher, base.patcher, None
    for i, side in enumerate(order.split("-")):
        image, strength = hint(i), 0.3 + 0.2 * i
        if side == "classic":
            if kinds[0].base != "qwen":
                continue  # these bases have no nets that give residuals
            classic = (image, strength)
            chain = ours(base, qwen_net(), image, strength, chain=chain)
            continue
        patcher, node = patchers[i % 2], kinds[i % 2].node
        theirs = node(base, theirs, patcher, image, strength)
        if side == "node":
            model = node(base, model, patcher, image, strength)
        else:
            chain = ours(base, net_of(patcher), image, strength, chain=chain)
    expected = plain(base) if classic is None else host(base, qwen_net(), *classic)
    image = sample(base, expected, patcher=theirs)
    assert image.equal(sample(base, chain, patcher=model))


@every(*ONE_OF_EACH)
def test_a_hint_is_encoded_once_a_run_and_not_inside_the_model(family):
    base, _, net = family
    module = base.patcher.model.diffusion_model
    inside = []
    enter = module.register_forward_pre_hook(lambda *_: inside.append(base.vae.encodes))
    leave = module.register_forward_hook(lambda *_: inside.append(base.vae.encodes))
    base.vae.encodes = 0
    first = sample(base, ours(base, net, hint(0, 1, 96, 80)), size=(9, 7))
    enter.remove()
    leave.remove()
    assert len(set(inside)) == 1
    assert base.vae.encodes == inside[0] <= 2  # Z-Image 2.x encodes its grey picture to inpaint too
    assert first.equal(sample(base, ours(base, net, hint(0, 1, 96, 80)), size=(9, 7)))


# -- where -----------------------------------------------------------------------------------------


class Shaped:
    """ComfyUI's patch, of whose change of the tokens `shape(change, args)` remains."""

    def __init__(self, patch, shape):
        self.patch, self.shape = patch, shape

    def __call__(self, *values, **rest):
        if isinstance(values[0], dict):
            return self.after_block(values[0])
        if len(values) == 4:  # in a UNet
            *values, where = values
            pairs = zip(values, self.patch(*values, where), strict=True)
            return tuple(x if out is x else x + self.shape(out - x, where) for x, out in pairs)
        out = self.patch(*values, **rest)
        where = rest["extra_options"]
        shaped = {
            name: value + self.shape(out[name] - value, where)
            for name, value in zip("qkv", values, strict=True)
        }
        return {**out, **shaped}

    def in_mlp(self, args):
        before = args["x"]
        change = self.patch(dict(args))["x"] - before
        flat = change.reshape(change.shape[0], -1, change.shape[-1])
        flat = self.shape(flat, args["transformer_options"])
        return {**args, "x": before + flat.reshape(change.shape)}

    def after_block(self, args):
        if "img" not in args:
            return self.in_mlp(args)
        if "block_index" not in args:  # where the host's patch embeds the hint
            return self.patch(args)
        tokens, before = args["img"], args["img"].clone()
        self.patch({**args})
        tokens.copy_(before + self.shape(tokens - before, args))
        return dict(args)

    def to(self, device):
        if hasattr(self.patch, "to"):
            self.patch.to(device)
        return self

    def models(self):
        return self.patch.models() if hasattr(self.patch, "models") else []


def shaped(base, patcher, shape):
    model = by_node(base, patcher)
    patches = model.model_options["transformer_options"]["patches"]
    wrapped = {}
    for place, hooks in patches.items():
        patches[place] = [wrapped.setdefault(id(h), Shaped(h, shape)) for h in hooks]
    return sample(base, plain(base), patcher=model)


@every()
def test_masks(family):
    import torch

    base, patcher, net = family
    theirs, without = sampled_by_node(base, patcher), sample(base, plain(base))
    assert theirs.equal(sample(base, ours(base, net, effect_mask=torch.ones(1, 64, 64))))
    assert without.equal(sample(base, ours(base, net, effect_mask=torch.zeros(1, 64, 64))))
    mask = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(9))
    frames = base.latent[2] if len(base.latent) == 5 else 1

    def masked(change, _args):
        count = change.shape[1] if patcher.tiny.on_unet else 16 * frames
        if not patcher.tiny.on_unet and not count <= change.shape[1] < count + 32:
            return change  # the prompt's tokens
        side = int((count // frames) ** 0.5)
        means = mask.reshape(side, 64 // side, side, 64 // side).mean((1, 3))
        change[:, :count] *= means.reshape(1, -1, 1).repeat(1, frames, 1)
        return change

    mine = sample(base, ours(base, net, effect_mask=mask))
    assert small(shaped(base, patcher, masked), mine, 2e-5)
    assert not small(theirs, mine, 1e-2)


@every()
def test_layers(family):
    base, patcher, net = family
    count = patcher.tiny.count
    weights = [1.0 - 0.5 * i / (count - 1) for i in range(count)]

    def weighed(change, args):
        return change * weights[min(patcher.tiny.block_of(args), count - 1)]

    theirs = shaped(base, patcher, weighed)
    mine = sample(base, ours(base, net, layers="linear 1..0.5"))
    blocks = "blocks " + ", ".join(f"{w:.6f}" for w in weights)
    assert small(theirs, mine, 2e-5)
    assert small(mine, sample(base, ours(base, net, layers=blocks)), 2e-5)
    plain_run = sampled_by_node(base, patcher)
    assert not small(plain_run, mine, 1e-2)
    by_height = sample(base, ours(base, net, layers="resolution"))
    if patcher.tiny.on_unet:  # two of its five blocks on the first level, the others below it
        blocks = ours(base, net, layers="blocks 1, 1, 2, 2, 2")
        assert by_height.equal(sample(base, blocks))
    assert by_height.equal(plain_run) != patcher.tiny.on_unet


# -- on which rows ---------------------------------------------------------------------------------


def rows_of(patcher):
    """Return a list, and the hook that fills it with the rows of each call of the net."""
    rows, part = [], patcher.model.get_submodule(patcher.tiny.called)

    def note(_module, args, kwargs, _out):
        tensors = [a for a in (*args, *kwargs.values()) if hasattr(a, "ndim") and a.ndim == 3]
        rows.append(max(tensor.shape[0] for tensor in tensors))

    return rows, part.register_forward_hook(note, with_kwargs=True)


@every(*ONE_OF_EACH)
@pytest.mark.parametrize("mode", ["balanced", "prompt"])
def test_modes_that_act_on_both_prompts(family, mode):
    base, patcher, net = family
    rows, hook = rows_of(patcher)
    mine = sample(base, ours(base, net, mode=mode), 2)
    hook.remove()
    assert set(rows) == {2 if patcher.tiny.is_clip else 4}  # Uni3C computes one prompt's for both
    same = {"layers": "soft 0.825"} if mode == "prompt" else {}
    assert mine.equal(sample(base, ours(base, net, **same), 2))


@every(*ONE_OF_EACH)
@pytest.mark.parametrize("mode", ["cond_only", "control"])
def test_modes_that_leave_the_negative_alone(family, mode):
    """ComfyUI's node in a wrapper that takes the negative's rows from a run without patches."""
    base, patcher, net = family
    model = by_node(base, patcher)
    import torch

    def call(apply, args):
        cond = args["c"]
        bare = {**cond, "transformer_options": {**cond["transformer_options"], "patches": {}}}
        with_net = apply(args["input"], args["timestep"], **cond)
        without = apply(args["input"], args["timestep"], **bare)
        parts = zip(with_net.chunk(2), without.chunk(2), args["cond_or_uncond"], strict=True)
        return torch.cat([a if kind == 0 else b for a, b, kind in parts])

    model.set_model_unet_function_wrapper(call)
    rows, hook = rows_of(patcher)
    mine = sample(base, ours(base, net, mode=mode, layers="linear 1..1"), 2)
    hook.remove()
    assert small(sample(base, plain(base), 2, patcher=model), mine, 2e-4)
    assert set(rows) == {2}


@every(*PICTURES)
def test_windows_take_their_own_hints(family):
    """ComfyUI's node with the hints of each window's pictures, one window after another."""
    base, patcher, net = family
    images, came = hint(3, 5), []

    def call(apply, args):
        options = args["c"]["transformer_options"]
        frames = frames_by_hand(options, args["input"].shape[0])
        came.append(frames)
        patched = by_node(base, patcher, images[frames]).model_options["transformer_options"]
        cond = {**args["c"], "transformer_options": {**options, "patches": patched["patches"]}}
        return apply(args["input"], args["timestep"], **cond)

    windows = in_windows(base.patcher, context_length=3, context_overlap=1)
    by_hand = windows.clone()
    by_hand.set_model_unet_function_wrapper(call)
    theirs = sample(base, plain(base), 5, 1.0, patcher=by_hand)
    assert {frame for frames in came for frame in frames} == set(range(5))
    assert small(theirs, sample(base, ours(base, net, images), 5, 1.0, patcher=windows))


@every(*PICTURES)
def test_a_hint_for_each_picture(family):
    """ComfyUI's node fails with several hints; each picture is as with its own hint alone."""
    base, _, net = family
    images = hint(3, 2)
    both = sample(base, ours(base, net, images), 2)
    alone = [sample(base, ours(base, net, images[i : i + 1]), 2)[i : i + 1] for i in range(2)]
    assert small(both[:1], alone[0])
    assert small(both[1:], alone[1])
    first = sample(base, ours(base, net, images, frame_strength="0:1, 1:0 | step"), 2)
    assert small(first[:1], both[:1], 2e-4)
    assert small(first[1:], sample(base, plain(base), 2)[1:], 2e-4)


@every(*PAINTED)
def test_inpainting_is_the_hosts(family):
    import torch

    base, patcher, net = family
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:40, :32] = 1.0
    theirs = sampled_by_node(base, patcher, mask=mask)
    assert theirs.equal(sample(base, ours(base, net, inpaint_mask=mask)))
    assert not small(theirs, sample(base, ours(base, net, inpaint_mask=1 - mask)), 1e-4)


@every(*NOT_PAINTED)
def test_an_inpaint_mask_that_the_net_cannot_read_is_refused(family):
    import torch

    base, _, net = family
    with pytest.raises(ValueError, match="does not use an inpaint_mask"):
        ours(base, net, inpaint_mask=torch.ones(1, 64, 64))


# -- copies, interruption --------------------------------------------------------------------------


@every(*ONE_OF_EACH)
def test_copies_and_a_run_after_an_interruption(family):
    import torch

    base, patcher, net = family
    theirs = sampled_by_node(base, patcher)
    positive, negative = ours(base, net)
    member = positive[0][1]["control"]
    for twin in (member.copy(), member.deepclone_multigpu(torch.device("cpu"))):
        assert twin.inner.patcher.model is not None
        with_twin = [
            [[text, {**options, "control": twin}] for text, options in side]
            for side in (positive, negative)
        ]
        assert theirs.equal(sample(base, with_twin))

    def stop(_apply, _args):
        raise InterruptedError

    broken = base.patcher.clone()
    broken.set_model_unet_function_wrapper(stop)
    with pytest.raises(InterruptedError):
        sample(base, (positive, negative), patcher=broken)
    assert theirs.equal(sample(base, (positive, negative)))
