"""Check that a plain stack gives the same image as ComfyUI's own nodes: maximum difference 0.0."""

from __future__ import annotations

from itertools import product

import pytest

STRENGTHS = (0.0, 0.5, 1.0, 2.0)
RANGES = ((0.0, 1.0), (0.2, 0.6), (0.5, 0.5))
SAMPLERS = ("euler", "dpmpp_2m", "heun")
# batch, hint batch, cfg: cycled over the product of the rest, so that each meets each
REST = list(product((1, 3), (1, 3), (1.0, 7.0)))
CASES = [
    pytest.param(
        *case, *REST[(i * 3 + i // 8) % len(REST)], marks=[pytest.mark.slow] if i % 5 else []
    )
    for i, case in enumerate(product((1, 2, 3), STRENGTHS, RANGES, SAMPLERS))
]
"""--quick runs every fifth, which is one of each kind."""


def difference(a, b):
    assert a.isfinite().all()
    return (a - b).abs().max().item()


@pytest.mark.parametrize(
    ("nets", "strength", "interval", "sampler", "batch", "hints", "cfg"), CASES
)
def test_equals_the_hosts_nodes(world, nets, strength, interval, sampler, batch, hints, cfg):
    units = [
        {
            "net": world.nets[i],
            "image": world.hint(i, hints),
            "strength": strength,
            "start_percent": interval[0],
            "end_percent": interval[1],
        }
        for i in range(nets)
    ]
    how = {"sampler": sampler, "batch": batch, "cfg": cfg}
    assert (
        difference(world.sample(*world.host(units), **how), world.sample(*world.ours(units), **how))
        == 0.0
    )


def test_control_acts_at_all(world):
    """The comparison above would also hold for a control that does nothing."""
    plain = world.sample(world.positive, world.negative)
    units = [{"net": world.nets[0], "image": world.hint()}]
    assert difference(world.sample(*world.ours(units)), plain) > 1e-2 * plain.abs().max().item()


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (16, 8)])
@pytest.mark.parametrize("hint_size", [(64, 64), (100, 37)])
def test_sizes_that_do_not_match(world, size, hint_size):
    units = [{"net": world.nets[i], "image": world.hint(i, 1, *hint_size)} for i in range(2)]
    a, b = world.sample(*world.host(units), size=size), world.sample(*world.ours(units), size=size)
    assert difference(a, b) == 0.0


LAYOUTS = {
    "grey as a view": lambda hint: hint[..., :1].expand(-1, -1, -1, 3),
    "channels first": lambda hint: hint.movedim(-1, 1).contiguous().movedim(1, -1),
    "cropped": lambda hint: hint[:, 16:-16, 16:-16],
    "mirrored": lambda hint: hint.transpose(1, 2),
    "float64": lambda hint: hint.double(),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_hints_of_every_layout_in_memory(world, layout):
    """Pass a hint on as it lies in memory: a convolution rounds by that."""
    units = [{"net": world.nets[i], "image": layout(world.hint(i, 2, 128, 128))} for i in range(2)]
    how = {"size": (16, 16), "batch": 2}
    a, b = world.sample(*world.host(units), **how), world.sample(*world.ours(units), **how)
    assert difference(a, b) == 0.0


def with_area(conditioning, height, width, y, x):
    return [[c[0], {**c[1], "area": (height, width, y, x), "strength": 1.0}] for c in conditioning]


@pytest.mark.parametrize("nets", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2)), 3])
@pytest.mark.parametrize("hints", [1, 3])
@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_area_conditioning(world, nets, hints, cfg):
    from workbench import tiny

    positive = (
        world.positive
        + with_area(tiny.conditioning(5), 8, 6, 0, 0)
        + with_area(tiny.conditioning(6), 5, 8, 3, 2)
    )
    units = [{"net": world.nets[i], "image": world.hint(i, hints)} for i in range(nets)]
    how = {"size": (10, 12), "cfg": cfg, "batch": 3}
    a = world.sample(*world.host(units, positive), **how)
    assert difference(a, world.sample(*world.ours(units, positive), **how)) == 0.0


@pytest.mark.parametrize(
    "order", ["host-ours-host", "ours-host-ours", "host-ours", "ours-host", "ours-ours"]
)
@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_mixed_chains(world, order, cfg):
    units = [
        {"net": world.nets[i], "image": world.hint(i), "strength": 0.5 + 0.3 * i} for i in range(3)
    ]
    positive, negative = world.positive, world.negative
    sides = order.split("-")
    for unit, side in zip(units, sides, strict=False):
        positive, negative = getattr(world, side)([unit], positive, negative)
    a = world.sample(*world.host(units[: len(sides)]), cfg=cfg)
    assert difference(a, world.sample(positive, negative, cfg=cfg)) == 0.0


def test_an_instant_that_a_step_hits_exactly(world):
    """The range (0.5, 0.5) with 3 steps of 'normal' acts: the second step is sigma(0.5) itself."""
    units = [
        {"net": world.nets[0], "image": world.hint(), "start_percent": 0.5, "end_percent": 0.5}
    ]
    a = world.sample(*world.host(units), steps=3)
    assert difference(a, world.sample(world.positive, world.negative, steps=3)) > 0.0
    assert difference(a, world.sample(*world.ours(units), steps=3)) == 0.0


def test_without_a_negative_it_gets_the_positives_control(world):
    """As after ComfyUI's first apply node, control also reaches a negative that bypassed Apply."""
    import nodes
    from pack.nodes.apply import Apply

    hint = world.hint()
    (positive,) = nodes.ControlNetApply().apply_controlnet(world.positive, world.nets[0], hint, 0.8)
    a = world.sample(positive, world.negative)
    out = Apply.execute(
        world.positive, world.stack([{"net": world.nets[0], "image": hint, "strength": 0.8}])
    )
    assert out[1] == []
    assert difference(a, world.sample(out[0], world.negative)) == 0.0


def test_the_same_net_twice(world):
    units = [{"net": world.nets[0], "image": world.hint(i), "strength": 0.7} for i in range(2)]
    assert difference(world.sample(*world.host(units)), world.sample(*world.ours(units))) == 0.0


def test_the_list_of_a_stacker_pack_is_accepted(world):
    from pack.nodes.apply import Apply

    units = [
        {"net": world.nets[i], "image": world.hint(i), "strength": 0.7, "end_percent": 0.8}
        for i in range(2)
    ]
    rows = [(u["net"], u["image"], u["strength"], 0.0, u["end_percent"]) for u in units]
    out = Apply.execute(world.positive, rows, world.negative)
    assert difference(world.sample(*world.host(units)), world.sample(out[0], out[1])) == 0.0


def test_an_empty_stack_changes_nothing(world):
    from pack.control.stack import Stack
    from pack.nodes.apply import Apply

    out = Apply.execute(world.positive, Stack(), world.negative)
    assert [entry[1] for entry in out[0]] == [entry[1] for entry in world.positive]
    assert (
        difference(world.sample(out[0], out[1]), world.sample(world.positive, world.negative))
        == 0.0
    )


@pytest.mark.alone
@pytest.mark.slow
def test_full_size_sd15_shapes(make_world):
    """Three nets with SD1.5's own shapes and random weights, in one setting."""
    full = make_world("full")
    units = [
        {"net": net, "image": full.hint(i), "strength": strength, "end_percent": end}
        for i, (net, strength, end) in enumerate(
            zip(full.nets, (0.8, 1.0, 0.5), (1.0, 0.7, 1.0), strict=True)
        )
    ]
    a, b = (full.sample(*chain(units), steps=2) for chain in (full.host, full.ours))
    plain = full.sample(full.positive, full.negative, steps=2)
    assert difference(a, plain) > 0.0
    assert difference(a, b) == 0.0
