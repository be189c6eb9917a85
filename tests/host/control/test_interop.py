"""Check chains with other packs: their controls before, after and inside ours, tilers, hooks."""

from __future__ import annotations

import pytest


@pytest.fixture
def advanced(world):
    """Return a control object that behaves as Advanced-ControlNet's do.

    Its methods are replaced on the object, it weighs rows by their prompt, sees a step by a change
    of t, and changes residuals in place.
    """
    import comfy.controlnet

    class Advanced(comfy.controlnet.ControlNet):
        uncond_multiplier = 0.25
        sub_idxs = None  # as nets that pick their own hints in AnimateDiff-Evolved's windows have

        def __init__(self, base):
            super().__init__(
                None, load_device=base.load_device, manual_cast_dtype=base.manual_cast_dtype
            )
            self.base, self.seen, self.previous_t = base, [], None
            self.control_model, self.control_model_wrapped = (
                base.control_model,
                base.control_model_wrapped,
            )
            self.get_control, self.control_merge = self._get_control, self._merge

        def _get_control(self, x, t, cond, batched_number, transformer_options):
            self.batched_number, self.kinds = (
                batched_number,
                transformer_options.get("cond_or_uncond"),
            )
            if "ad_params" in transformer_options:
                self.cond_hint = self.cond_hint_original[
                    transformer_options["ad_params"]["sub_idxs"]
                ]
            if float(t[0]) != self.previous_t:
                self.previous_t = float(t[0])
                self.seen.append(self.previous_t)
            return comfy.controlnet.ControlNet.get_control(
                self, x, t, cond, batched_number, transformer_options
            )

        def _merge(self, control, previous, output_dtype):
            for values in control.values():
                for residual in values:
                    entries = residual.shape[0] // self.batched_number
                    for chunk, kind in enumerate(self.kinds):
                        if kind == 1:
                            residual[chunk * entries : (chunk + 1) * entries] *= (
                                self.uncond_multiplier
                            )
            return comfy.controlnet.ControlNet.control_merge(self, control, previous, output_dtype)

        def copy(self):
            twin = Advanced(self.base)
            self.copy_to(twin)
            return twin

    return Advanced(world.nets[0])


@pytest.mark.parametrize("order", ["host-ours", "ours-host", "ours-ours"])
@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_an_advanced_control_before_after_and_inside(world, advanced, order, cfg):
    units = [{"net": advanced, "image": world.hint(), "strength": 0.8}]
    units.append({"net": world.nets[1], "image": world.hint(1), "end_percent": 0.7})
    positive, negative = world.positive, world.negative
    for unit, side in zip(units, order.split("-"), strict=True):
        positive, negative = getattr(world, side)([unit], positive, negative)
    theirs = world.sample(*world.host(units), cfg=cfg, batch=2)
    assert theirs.equal(world.sample(positive, negative, cfg=cfg, batch=2))
    assert not theirs.equal(world.sample(*world.host(units[1:]), cfg=cfg, batch=2))


def test_cond_only_names_the_prompts_of_its_rows(world, advanced):
    """Its multiplier for the negative must not hit the positive's rows, the only ones it gets."""
    unit = {"net": advanced, "image": world.hint(), "mode": "cond_only"}
    plain = {**unit, "net": world.nets[0]}
    assert world.sample(*world.ours([unit])).allclose(
        world.sample(*world.ours([plain])), rtol=1e-5, atol=1e-5
    )


def test_a_hint_that_another_packs_net_cuts_is_not_cached(world, advanced):
    """In sliding windows it cuts the hint at each call, so a cached feature would be stale."""
    import torch

    chain = world.ours([{"net": advanced, "image": world.hint(0, 2)}])
    control = chain[0][0][1]["control"]
    control.pre_run(world.model.model, world.model.model.model_sampling.percent_to_sigma)

    def residuals(frame):
        options = {"cond_or_uncond": [0], "ad_params": {"sub_idxs": [frame]}}
        x, t = torch.zeros(1, 4, 8, 8), torch.tensor([7.0])
        out = control.get_control(x, t, {"c_crossattn": world.positive[0][0]}, 1, options)
        return out["middle"][0]

    assert not residuals(0).equal(residuals(1))


def tiles(chain, crop):
    """Copy the whole chain, each member with its part of the hint, as UltimateSDUpscale does."""
    copies = {}

    def copied(control):
        if control is None:
            return None
        if control not in copies:
            twin = control.copy()
            twin.cond_hint_original = crop(control.cond_hint_original)
            twin.set_previous_controlnet(copied(control.previous_controlnet))
            copies[control] = twin
        return copies[control]

    return [[[c[0], {**c[1], "control": copied(c[1]["control"])}] for c in side] for side in chain]


@pytest.mark.parametrize("part", [(0, 0), (32, 32)])
def test_a_tiler_that_crops_copies(world, part):
    y, x = part

    def crop(hint):
        return hint[:, :, y : y + 64, x : x + 64]

    units = [
        {"net": net, "image": world.hint(i, 1, 96, 96), "strength": 0.6}
        for i, net in enumerate(world.nets[:2])
    ]
    theirs = world.sample(*tiles(world.host(units), crop))
    assert theirs.equal(world.sample(*tiles(world.ours(units), crop)))


@pytest.mark.parametrize("family", ["ControlNet", "T2I-Adapter"])
@pytest.mark.parametrize("attribute", ["cond_hint_original", "cond_hint"])
def test_a_tiler_that_rewrites_hints_between_calls(world, family, attribute):
    """TiledDiffusion rewrites hints in place during a run: each call reads the current one."""
    import torch

    from workbench import tiny_bases

    net = world.nets[0] if family == "ControlNet" else tiny_bases.t2i_net()
    (positive, _) = world.ours([{"net": net, "image": world.hint()}])
    control = positive[0][1]["control"]
    sampling = world.model.model.model_sampling
    parts = [
        torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
        for seed in (5, 6, 5)
    ]

    def call(member):
        x, t = torch.ones(1, 4, 8, 8), torch.tensor([7.0])
        out = member.get_control(
            x, t, {"c_crossattn": world.positive[0][0]}, 1, {"cond_or_uncond": [0]}
        )
        return [r.clone() for place in out.values() for r in place if r is not None]

    def fresh(part):
        alone = net.copy().set_cond_hint(part, 1.0, (0.0, 1.0))
        alone.pre_run(world.model.model, sampling.percent_to_sigma)
        return call(alone)

    control.pre_run(world.model.model, sampling.percent_to_sigma)
    for part in parts:
        setattr(control, attribute, part)
        for mine, theirs in zip(call(control), fresh(part), strict=True):
            assert mine.equal(theirs)


def test_hooks_of_the_host_on_conditionings(world):
    """Weight hooks over part of a run group the prompts; control acts in each group."""
    import comfy.hooks

    hooks = comfy.hooks.HookGroup()
    key = "diffusion_model.input_blocks.0.0.weight"
    weight = world.model.model.state_dict()[key]
    hook = comfy.hooks.WeightHook(strength_model=1.0)
    hook.weights = {key: ("diff", (weight * 0.05,))}
    hook.need_weight_init = False
    hooks.add(hook)

    def hooked(chain):
        return [[[c[0], {**c[1], "hooks": hooks}] for c in chain[0]], chain[1]]

    units = [{"net": net, "image": world.hint(i)} for i, net in enumerate(world.nets[:2])]
    theirs = world.sample(*hooked(world.host(units)), model=world.model.clone())
    assert theirs.equal(world.sample(*hooked(world.ours(units)), model=world.model.clone()))
    assert not theirs.equal(world.sample(*world.host(units)))


@pytest.mark.parametrize("family", ["SD3", "Qwen-Image", "T2I-Adapter light"])
def test_clones_of_every_kind_for_other_devices(family):
    import comfy.controlnet
    import torch

    from workbench import tiny_bases

    if not hasattr(comfy.controlnet.ControlBase, "deepclone_multigpu"):
        pytest.skip("this host has no multi-GPU clones")
    from pack.nodes.apply import Add, Apply

    base_name, make = tiny_bases.NETS[family]
    base, net = tiny_bases.BASES[base_name](), make()
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    stack = Add.execute(net, image, strength=0.7)[0]
    out = Apply.execute(base.positive, stack, base.negative, vae=base.vae)
    control = out[0][0][1]["control"]
    clone = control.deepclone_multigpu(torch.device("cpu"), autoregister=True)
    assert control.get_instance_for_device(torch.device("cpu")) is clone
    assert clone.journal is control.journal
    control.multigpu_clones.clear()
    latent = {"samples": torch.zeros(*base.latent)}

    def sample(member):
        import nodes

        sides = [[[c[0], {**c[1], "control": member}] for c in side] for side in (out[0], out[1])]
        return nodes.common_ksampler(base.patcher, 7, 2, 5.0, "euler", "simple", *sides, latent)[0][
            "samples"
        ]

    assert sample(control).equal(sample(clone))
