"""The report by a net's own blocks, against what hooks on ComfyUI's modules see."""

from __future__ import annotations

import math

import pytest

from workbench import tiny_bases, tiny_patches
from workbench.family_runs import hint, ours, plain, sample
from workbench.hosts import cross_section

pytestmark = pytest.mark.slow  # --quick runs only the cases marked quick

# Architecture → where its blocks are, the place of the picture's tokens in what a block gives, and
# by which of the model's blocks the residuals of a place are added.
SHOWN = {
    "sd3": {"output": ("joint_blocks", 1)},
    "flux": {"input": ("double_blocks", 0), "output": ("single_blocks", None)},
    "flux2": {"input": ("double_blocks", 0), "output": ("single_blocks", None)},
    "chroma": {"input": ("double_blocks", 0), "output": ("single_blocks", None)},
    "qwen": {"input": ("transformer_blocks", 1)},
    "hunyuan_dit": {"output": ("blocks", None)},
}
PROMPT = {"single_blocks": 6}  # tokens of the prompt before the picture's
TOKENS = {"flux2": 64}  # of the picture, where one is not 2 x 2 of the latent


@pytest.fixture(scope="module")
def bases(host):
    """Return base models by name, each built at first use."""
    built = {}

    def get(name):
        if name not in built:
            built[name] = {**tiny_bases.BASES, **tiny_patches.BASES}[name]()
        return built[name]

    return get


def report_of(positive):
    from pack.control.adapter import members_of
    from pack.control.report.numbers import report

    return report(*members_of(positive))


def text_of(positive):
    from pack.control.adapter import members_of
    from pack.control.report.numbers import report
    from pack.control.report.text import text

    return text(report(*members_of(positive)))


def blocks_told(module):
    """Return how many blocks a file of a net has, and how they lie, as the page asks."""
    from pack.files import families

    identity = families.identify({k: tuple(v.shape) for k, v in module.state_dict().items()})
    return identity.blocks, identity.depth


def square(tensor, rows):
    """Sum the squares of some rows; a single row stands for all."""
    return sum(tensor[row % tensor.shape[0]].double().square().sum().item() for row in rows)


class Watched:
    """A run whose residuals, and whose blocks before them, are seen by hooks."""

    def __init__(self, name, base):
        self.places, self.controls, self.squares, self.handles = SHOWN.get(name, {}), [], {}, []
        self.rows, model = range(0), base.patcher.model.diffusion_model
        count = TOKENS.get(name, 16)
        for place, (blocks, part) in self.places.items():
            for i, block in enumerate(getattr(model, blocks)):
                note = self.noting((place, i), part, PROMPT.get(blocks, 0), count)
                self.handles.append(block.register_forward_hook(note))
        self.patcher = base.patcher.clone()
        self.patcher.set_model_unet_function_wrapper(self.call)

    def noting(self, key, part, before, count):
        def note(_module, _args, out):
            tokens = (out if part is None else out[part])[:, before : before + count]
            self.squares[key] = square(tokens, self.rows)

        return note

    def call(self, apply, args):
        self.rows = range(args["input"].shape[0])
        control = {place: list(values) for place, values in args["c"]["control"].items()}
        out = apply(args["input"], args["timestep"], **args["c"])
        own = {}
        for place in ("input", "output", "middle"):
            values = control.get(place, [])
            if place == "input" and any(v is not None and v.ndim == 4 for v in values):
                values = values[::-1]
            for i, value in enumerate(values):
                if value is not None:
                    own.setdefault(id(value), []).append((square(value, self.rows), (place, i)))
        self.count = len(own)
        sizes = [self.size(list(filter(self.is_there, places))) for places in own.values()]
        self.controls.append({("block", n): size for n, size in enumerate(sizes) if size})
        return out

    def is_there(self, place):
        """ComfyUI gives XLabs' residuals to 19 blocks, however many a model has."""
        return not self.places or place[1] in self.squares

    def size(self, places):
        if not places:
            return None
        total = sum(own for own, _ in places)
        if not self.places:
            return math.sqrt(total / (len(self.rows) * len(places)))
        return math.sqrt(total / sum(self.squares[place] for _, place in places))


@pytest.mark.quick
@pytest.mark.parametrize(
    "family", cross_section([n for n, (base, _) in tiny_bases.NETS.items() if base in SHOWN])
)
def test_a_transformers_net_is_reported_by_its_own_blocks(family, bases):
    import comfy.controlnet

    if family == "Qwen-Image Fun" and not hasattr(comfy.controlnet, "QwenFunControlNet"):
        pytest.skip("this host has no Qwen-Image Fun nets")
    name, make = tiny_bases.NETS[family]
    base = bases(name)
    more = {"union_type": "depth"} if family == "Flux union" else {}
    control = make()
    chain = ours(base, control, layers="linear 1..0.5", **more)
    watched = Watched(name, base)
    sample(base, chain, 2, patcher=watched.patcher)
    for handle in watched.handles:
        handle.remove()
    net = report_of(chain[0]).nets[0]
    assert net.is_relative
    for step, sizes in enumerate(watched.controls):
        assert {block: row[step] for block, row in zip(net.blocks, net.sizes, strict=True)} == {
            block: pytest.approx(size, rel=1e-4) for block, size in sizes.items()
        }
    assert blocks_told(control.control_model) == (watched.count, "spread")
    first, last = (f"blk {number + 1}" for _, number in (net.blocks[0], net.blocks[-1]))
    assert all(head in text_of(chain[0]) for head in (first, last))  # deep nets are thinned out


def test_stable_cascade_shows_no_blocks(bases):
    name, make = tiny_bases.NETS["Stable Cascade"]
    base, watched = bases(name), Watched(name, bases(name))
    control = make()
    chain = ours(base, control)
    sample(base, chain, 2, patcher=watched.patcher)
    net = report_of(chain[0]).nets[0]
    assert not net.is_relative
    assert net.blocks == tuple(("block", i) for i in range(4))
    for step, sizes in enumerate(watched.controls):
        expected = list(sizes.values())
        assert [row[step] for row in net.sizes] == pytest.approx(expected, rel=1e-4)
    assert blocks_told(control.t2i_model) == (4, "spread")


def test_features_are_counted_as_layers_counts_them(bases):
    base, adapter = bases("sdxl"), tiny_bases.NETS["T2I-Adapter XL"][1]()
    chain = ours(base, adapter)
    sample(base, chain)
    net = report_of(chain[0]).nets[0]
    assert net.is_relative
    assert net.blocks == tuple(("feature", i) for i in range(4))
    assert blocks_told(adapter.t2i_model) == (4, "features")
    assert "feat 1 " in text_of(chain[0])


def test_another_node_that_replaces_a_block_is_asked_too(bases):
    """What the report adds to a block runs what stands there, with the same picture."""
    name, make = tiny_bases.NETS["InstantX"]
    base, calls = bases(name), []

    def louder(args, extra):
        calls.append(1)
        out = extra["original_block"](args)
        return {**out, "img": out["img"] * 1.5}

    patcher = base.patcher.clone()
    patcher.set_model_patch_replace(louder, "dit", "double_block", 1)
    patcher.set_model_patch_replace(louder, "dit", "single_block", 0)
    net = make()
    from workbench.family_runs import host

    theirs = sample(base, host(base, net), patcher=patcher)
    count = len(calls)
    chain = ours(base, net)
    assert theirs.equal(sample(base, chain, patcher=patcher))
    assert len(calls) == 2 * count > 0
    assert report_of(chain[0]).nets[0].is_relative


# -- nets that act inside the model ----------------------------------------------------------------


class Measured:
    """A patch of ComfyUI's own node, whose changes are measured by where they happen.

    `changed`: of the net's own blocks, the squares of what it added and of what it was added to.
    """

    def __init__(self, patch, tiny, changed, rows):
        self.patch, self.tiny, self.changed, self.rows = patch, tiny, changed, rows

    def note(self, where, before, after, tokens=None):
        if not (after - before).any():
            return
        block = self.tiny.block_of(where)
        own, there = self.changed.get(block, (0.0, 0.0))
        own += square(after - before, self.rows)
        self.changed[block] = (own, there + square(before[:, :tokens], self.rows))

    def __call__(self, *values, **rest):
        if not isinstance(values[0], dict):
            out = self.patch(*values, **rest)
            where = rest.get("extra_options") or values[3]
            after = [out[name] for name in "qkv"] if isinstance(out, dict) else out
            for old, new in zip(values[:3], after, strict=True):
                self.note(where, old, new)
            return out
        args = values[0]
        if "img" not in args and "block_index" in args.get("transformer_options", {}):
            before = args["x"]
            out = self.patch(args)
            self.note(args["transformer_options"], before, out["x"])
            return out
        if "block_index" not in args:
            return self.patch(args)
        tokens, before = args["img"], args["img"].clone()
        self.patch({**args})
        self.note(args, before, tokens, 16 * self.frames)
        return dict(args)

    frames = 1

    def to(self, device):
        if hasattr(self.patch, "to"):
            self.patch.to(device)
        return self

    def models(self):
        return self.patch.models() if hasattr(self.patch, "models") else []


def by_hand(base, patcher, tiny, rows):
    """Return the sizes of one step by the net's own blocks, of ComfyUI's own node."""
    model, changed, wrapped = tiny.node(base, base.patcher, patcher, hint(), 0.7), {}, {}
    patches = model.model_options["transformer_options"]["patches"]
    for place, hooks in patches.items():
        for hook in hooks:
            wrapped.setdefault(id(hook), Measured(hook, tiny, changed, rows))
            wrapped[id(hook)].frames = base.latent[2] if tiny.is_clip else 1
        patches[place] = [wrapped[id(hook)] for hook in hooks]
    sample(base, plain(base), 2, patcher=model, steps=1)
    return {("block", i): math.sqrt(own / there) for i, (own, there) in changed.items()}


def tiny_of(family):
    tiny = tiny_patches.PATCHES[family]
    if not tiny.is_here:
        pytest.skip(f"this host has no {family}")
    return tiny


@pytest.mark.parametrize("family", cross_section(list(tiny_patches.PATCHES), 2))
def test_a_net_inside_the_model_is_reported_by_its_own_blocks(family, bases):
    from pack.control.patches import net_of

    tiny = tiny_of(family)
    base, patcher = bases(tiny.base), tiny.net()
    chain = ours(base, net_of(patcher))
    sample(base, chain, 2, steps=1)
    net = report_of(chain[0]).nets[0]
    assert (net.ran, net.is_relative, net.rows) == (1, True, 4)
    assert net.blocks == tuple(("block", i) for i in range(tiny.count))
    assert {block: row[0] for block, row in zip(net.blocks, net.sizes, strict=True)} == {
        block: pytest.approx(size, rel=1e-4)
        for block, size in by_hand(base, patcher, tiny, range(4)).items()
    }
    assert blocks_told(patcher.model) == (tiny.count, "spread")
    assert net.ms > 0.0
    assert "blk 2" in text_of(chain[0])


ONE_OF_EACH = ("Z-Image Fun 2.1", "Qwen DiffSynth", "Anima LLLite", "SDXL LLLite")


@pytest.mark.parametrize("family", cross_section(ONE_OF_EACH))
def test_rows_and_range_of_a_net_inside_the_model(family, bases):
    """The rows that the net leaves alone count neither as changed nor as there."""
    from pack.control.patches import net_of

    tiny = tiny_of(family)
    base, patcher = bases(tiny.base), tiny.net()
    chain = ours(base, net_of(patcher), mode="cond_only", schedule="0s:1, 1s:0 | step")
    sample(base, chain, 2, steps=2)
    net = report_of(chain[0]).nets[0]
    assert (net.ran, net.off, net.rows) == (1, 1, 2)
    assert [cell is None for cell in net.by_step] == [False, True]
    expected = by_hand(base, patcher, tiny, range(2, 4))
    assert net.sizes[0][0] == pytest.approx(expected["block", 0], rel=1e-4)
