"""Check the device itself: it refuses what CUDA refuses, and has what a card has."""

from __future__ import annotations

import pytest
import torch

from workbench import second_device


@pytest.fixture(scope="module")
def here(host):
    device = second_device.open_device()
    assert device.type == "second"
    return device


MIXED = {
    "sum": lambda a, b: a + b,
    "sum from the CPU": lambda a, b: b + a,
    "written": lambda a, b: b.add_(a),
    "a number of the device": lambda a, b: b * a[0, 0],
    "a number that is written": lambda a, b: torch.zeros(()).add_(a[0, 0]),
    "two numbers": lambda a, b: torch.clamp(a, b[0, 0], b[0, 1]),
    "product": lambda a, b: a @ b,
    "convolution": lambda a, b: torch.nn.functional.conv2d(a[None, None], b[None, None]),
    "linear": lambda a, b: torch.nn.functional.linear(a, b),
    "where": lambda a, b: torch.where(a > 0, a, b),
    "joined": lambda a, b: torch.cat([a, b]),
    "a number joined": lambda a, b: torch.stack([a[0, 0], torch.tensor(1.0)]),
    "indices of the device": lambda a, b: b[(a[0] > 2).long()],
    "values put": lambda a, b: a.index_put((torch.tensor([0]),), b[:1]),
    "rows chosen": lambda a, b: a.index_select(0, torch.tensor([0])),
    "layer norm": lambda a, b: torch.nn.functional.layer_norm(a, (4,), b[0]),
    "sampled": lambda a, b: torch.nn.functional.grid_sample(
        a[None, None], b.view(1, 2, 4, 2), align_corners=False
    ),
    "a mask that is a number": lambda a, b: a.masked_fill_(torch.tensor(True), 0.0),
    "their random numbers": lambda a, b: a.normal_(generator=torch.Generator()),
    "as an array": lambda a, b: a.numpy(),
}


@pytest.mark.parametrize("operation", MIXED.values(), ids=MIXED)
def test_what_cuda_refuses_is_refused(here, operation):
    a, b = torch.rand(4, 4, device=here), torch.rand(4, 4)
    with pytest.raises(
        (RuntimeError, TypeError), match=r"same device|on the cpu|for generator|numpy"
    ):
        operation(a, b)


ALLOWED = {
    "a number": lambda a, b: a * b[0, 0],
    "a plain number": lambda a, b: a.clamp(0, 1) + 2.0,
    "indices": lambda a, b: a[torch.tensor([2, 0])],
    "a number put": lambda a, b: a.index_put((torch.tensor([0]),), torch.tensor(1.0)),
    "filled": lambda a, b: a.masked_fill(a > 0.5, torch.tensor(0.0)),
    "chosen numbers": lambda a, b: torch.where(a > 0.5, torch.tensor(1.0), torch.tensor(0.0)),
    "a view": lambda a, b: a.unsqueeze(0).expand(3, 4, 4).transpose(1, 2)[:, 1:].reshape(3, -1),
    "into an empty one": lambda a, b: torch.add(a, a, out=torch.empty(0, device=a.device)),
}


@pytest.mark.parametrize("operation", ALLOWED.values(), ids=ALLOWED)
def test_what_cuda_allows_is_the_cpus_result(here, operation):
    b = torch.rand(4, 4)
    result = operation(b.to(here), b)
    assert result.device == here
    assert result.cpu().equal(operation(b.clone(), b))


def test_a_copy_that_nobody_waited_for_is_rubbish(here):
    values = torch.rand(3, device=here)
    for wait in (torch.second.synchronize, torch.second.Event().synchronize):
        copy = values.to("cpu", non_blocking=True)
        assert copy.isnan().all()
        values.add_(0.0)
        wait()
        assert copy.equal(values.cpu())


def test_events_measure(here):
    began, ended = (torch.Event(device=here, enable_timing=True) for _ in range(2))
    began.record()
    ended.record()
    ended.synchronize()
    assert began.elapsed_time(ended) >= 0.0


def test_random_numbers_are_its_own(here):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    drawn = torch.randn(8, device=here)
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(5)
    assert torch.randn(8, device=here).cpu().equal(drawn.cpu())
    own = torch.Generator(device=here).manual_seed(3)
    theirs = torch.Generator().manual_seed(3)
    ours = torch.randn(8, device=here, generator=own).cpu()
    assert ours.equal(torch.randn(8, generator=theirs))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_lower_and_norms_in_float(here, dtype):
    x, weight = (torch.rand(4, 4, device=here, requires_grad=True) for _ in range(2))
    with torch.autocast("second", dtype=dtype):
        product = torch.nn.functional.linear(x, weight)
        normed = torch.nn.functional.layer_norm(product, (4,))
    assert (product.dtype, normed.dtype) == (dtype, torch.float32)
    normed.square().sum().backward()
    assert weight.grad is not None
    assert (weight.grad.device, weight.grad.dtype) == (here, torch.float32)


def test_its_memory_runs_out(here):
    with second_device.budget(1 << 16):
        torch.zeros(1 << 12, device=here)
        for allocate in (lambda: torch.zeros(1 << 15, device=here), _doubled(here)):
            with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
                allocate()
    torch.zeros(1 << 15, device=here)


def _doubled(here):
    x = torch.zeros(1 << 13, device=here)
    return lambda: torch.cat([x, x])


def test_traffic_is_counted(here):
    x = torch.rand(4)
    with second_device.traffic() as counted:
        y = x.to(here)
        float(y.sum())
        y.cpu()
    assert (counted.reads, counted.writes) == (2, 1)
    assert counted.peak_bytes >= 16
