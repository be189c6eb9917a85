"""Strength over time and depth: texts, values worked out by hand, and sentences."""

from __future__ import annotations

import contextlib
import math
import random

import pytest
import torch

from pack.control import layers, schedule
from pack.control.text import TextError


@pytest.mark.parametrize(
    ("text", "percent", "value"),
    [
        ("", 0.5, 1.0),
        ("0.25:0.5", 0.0, 0.5),
        ("0:1, 1:0", 0.25, 0.75),
        ("0:1, 0.35:0.8, 0.6:0", 0.35, 0.8),
        ("0:1, 0.35:0.8, 0.6:0", 0.475, 0.4),
        ("0:1, 0.35:0.8, 0.6:0", 0.9, 0.0),
        ("1@0, 0@0.5", 0.25, 0.5),
        ("0:1, 0.5:1, 0.5:0", 0.499, 1.0),
        ("0:1, 0.5:1, 0.5:0", 0.5, 0.0),
        (" 0 : 2 ,1:4 | linear ", 0.5, 3.0),
    ],
)
def test_schedule_values(text, percent, value):
    assert schedule.parse(text).at(percent) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("0:1, half:0", 5, "a number from 0 to 1"),
        ("0:1,, 1:0", 4, "'position:strength'"),
        ("0.5", 0, "'position:strength'"),
        ("0:1, 0.5:", 9, "a number from 0 to 10"),
        ("0:1, 0.5:-1", 9, "a number from 0 to 10"),
        ("0:nan", 2, "a number from 0 to 10"),
        ("0:1e9", 2, "a number from 0 to 10"),
        ("0.5:1, 0.2:0", 7, "a position not before 0.5"),
        ("1.5:1", 0, "a number from 0 to 1"),
        ("6s:0.5", 0, "sampler steps are not built yet"),
        ("0:1 | smooth", 6, "not built yet"),
        ("0:1 | cubic", 6, "the interpolation 'linear'"),
    ],
)
def test_schedule_sentences(text, position, expected):
    with pytest.raises(TextError) as caught:
        schedule.parse(text)
    assert caught.value.position == position
    assert expected in str(caught.value)
    assert f"character {position + 1} " in str(caught.value)


def test_schedules_that_never_act_or_change_nothing():
    assert schedule.parse("0:0, 1:0").is_zero
    assert not schedule.parse("0:0, 1:0.1").is_zero
    assert not schedule.parse("").is_zero
    assert schedule.parse("").is_constant_one
    assert schedule.parse("0:1, 0.3:1").is_constant_one
    assert not schedule.parse("0:0.5").is_constant_one


def test_what_is_written_reads_back():
    rng = random.Random(1)
    for _ in range(2000):
        count = rng.randrange(6)
        positions = sorted(rng.choice((rng.random(), round(rng.random(), 2))) for _ in range(count))
        written = schedule.Schedule(tuple((p, rng.choice((0.0, 1.0, rng.random() * 10))) for p in positions))
        assert schedule.parse(schedule.form(written)) == written


def test_noise_never_raises_anything_but_a_sentence():
    rng = random.Random(2)
    for _ in range(5000):
        text = "".join(rng.choice("0123456789.:,@|s -einfa\n") for _ in range(rng.randrange(20)))
        for parse in (schedule.parse, layers.parse):
            with contextlib.suppress(TextError):
                parse(rng.choice(("", "blocks ", "soft ")) + text)


def test_sigma_to_percent_inverts_the_hosts_discrete_sampling():
    """The host's discrete sigmas: exp of log sigma, linear between 1000 timesteps; percent p is timestep (1-p)*999."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    log_sigmas = (((1 - alphas) / alphas) ** 0.5).log()

    def percent_to_sigma(percent):
        if percent <= 0:
            return 999999999.9
        if percent >= 1:
            return 0.0
        t = (1 - percent) * 999
        low = min(math.floor(t), 998)
        return math.exp(log_sigmas[low] + (t - low) * (log_sigmas[low + 1] - log_sigmas[low]))

    inverse = schedule.PercentOfSigma(percent_to_sigma)
    for percent in (1e-6, 0.001, 0.1, 0.35, 0.5, 0.7123, 0.9, 0.9999):
        assert inverse(percent_to_sigma(percent)) == pytest.approx(percent, abs=1e-7)
    assert inverse(0.0) == 1.0
    assert inverse(1e9) == 0.0
    assert inverse(1e-9) == 1.0


def test_sigma_to_percent_inverts_a_shifted_flow():
    def percent_to_sigma(percent):
        t = 1 - percent
        return 3.0 * t / (1 + 2.0 * t)

    inverse = schedule.PercentOfSigma(percent_to_sigma)
    for percent in (0.01, 0.25, 0.5, 0.75, 0.97):
        assert inverse(percent_to_sigma(percent)) == pytest.approx(percent, abs=1e-5)


def test_soft_layers_are_a1111s():
    """0.825^(12-i) over 13; SDXL takes the first ten of them."""
    sd15 = layers.parse("soft").weights(13)
    assert sd15 == pytest.approx([0.825 ** (12 - i) for i in range(13)])
    assert sd15[0] == pytest.approx(0.09942, abs=1e-5)
    assert sd15[-1] == 1.0
    assert layers.parse("soft 0.825").weights(10) == pytest.approx(sd15[:10])
    assert layers.parse("soft").weights(10)[-1] == pytest.approx(0.5615, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "count", "weights"),
    [
        ("", 3, (1, 1, 1)),
        ("blocks 1,0,0.5", 3, (1, 0, 0.5)),
        ("blocks 1, 0", 5, (1, 0.75, 0.5, 0.25, 0)),
        ("blocks 0, 1, 0", 2, (0, 0)),
        ("blocks 0.5", 4, (0.5,) * 4),
        ("blocks 2,1", 1, (2,)),
    ],
)
def test_blocks_fit_any_number(text, count, weights):
    assert layers.parse(text).weights(count) == pytest.approx(weights)


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("softly", 0, "'soft' or 'blocks'"),
        ("  linear 1..0", 2, "not built yet"),
        ("resolution", 0, "not built yet"),
        ("soft x", 5, "a number from 0 to 1"),
        ("soft 2", 5, "a number from 0 to 1"),
        ("blocks", 7, "a number from 0 to 10"),
        ("blocks 1,  x", 11, "a number from 0 to 10"),
        ("blocks 1,,1", 9, "a number from 0 to 10"),
    ],
)
def test_layers_sentences(text, position, expected):
    with pytest.raises(TextError) as caught:
        layers.parse(text)
    assert caught.value.position == position
    assert expected in str(caught.value)


def test_layers_that_are_written_read_back():
    for text in ("", "soft 0.825", "blocks 1, 0.5, 0"):
        assert layers.form(layers.parse(text)) == text
    assert layers.parse("blocks 0,0").is_zero
    assert not layers.parse("soft 0").is_zero  # 0^0 is 1: the middle block still acts
