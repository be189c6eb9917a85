"""Strength over time and depth: texts, values worked out by hand, and sentences."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from pathlib import Path

import pytest
import torch

from pack.control import layers, schedule, unions
from pack.control.grammar import EXAMPLES, TextError, one_of
from pack.control.schedule import Keyframe, Schedule

ROOT = Path(__file__).resolve().parents[2]
GRAMMAR = json.loads((ROOT / "tests" / "fixtures" / "grammar.json").read_text(encoding="utf-8"))
TYPES = {name: row for row, name in enumerate(GRAMMAR["union_names"][0]["names"])}
READ = {
    **{"schedule": schedule.parse, "frame_strength": schedule.parse_frames},
    **{"layers": layers.parse, "union_type": lambda text: unions.parse(text, TYPES)},
}


def texts(kind, *, good):
    cases = [case for case in GRAMMAR[kind] if good is not case.get("error", False)]
    return pytest.mark.parametrize("case", cases, ids=lambda case: repr(case["text"]))


@texts("schedule", good=True)
def test_schedules_as_the_page_reads_them(case):
    read = schedule.parse(case["text"])
    check_schedule(read, case)
    assert schedule.parse(case["to_text"]) == read


@texts("frame_strength", good=True)
def test_frame_schedules_as_the_page_reads_them(case):
    read = schedule.parse_frames(case["text"])
    check_schedule(read, case)
    assert schedule.parse_frames(case["to_text"]) == read


def check_schedule(read, case):
    """Compare with a case; a step of `case["steps"]` falls at its even fraction, as it is drawn.

    Steps after the last fall at the end.
    """
    assert schedule.to_text(read) == case["to_text"]
    assert read.interpolation == case["interpolation"]
    assert [list(key) for key in read.keyframes] == case["keys"]
    placed = read.placed(lambda step: min(step / case["steps"], 1.0))
    for position, strength in case["samples"]:
        assert placed.at(position) == pytest.approx(strength, abs=1e-6)


@texts("layers", good=True)
def test_layers_as_the_page_reads_them(case):
    read = layers.parse(case["text"])
    assert (layers.to_text(read), read.kind) == (case["to_text"], case["kind"])
    assert layers.parse(case["to_text"]) == read
    for count, weights in case["weights"].items():
        assert read.weights(int(count)) == pytest.approx(weights, abs=1e-6)
    for count, weights in case.get("spread", {}).items():
        assert read.spread_weights(int(count)) == pytest.approx(weights, abs=1e-6)
    for count, weights in case.get("features", {}).items():
        assert read.feature_weights(int(count)) == pytest.approx(weights, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(kind, case["text"]) for kind, cases in GRAMMAR.items() for case in cases if "error" in case],
)
def test_what_the_page_refuses_too(kind, text):
    with pytest.raises(TextError, match=f"^{kind}: expected"):
        READ[kind](text)


def test_the_shared_cases_are_many():
    assert sum(map(len, GRAMMAR.values())) >= 120


NEW_PROFILE = (
    "a layers profile is a row of PROFILES in control/layers.py and in js/lib/layers.js, valid and"
    " invalid cases in tests/fixtures/grammar.json, and a line in js/docs/ControlStackAdd.md;"
    " missing: "
)
NEW_INTERPOLATION = (
    "an interpolation is a row of INTERPOLATIONS in control/schedule.py and in js/lib/schedule.js,"
    " its words in js/lib/words.js, and cases in tests/fixtures/grammar.json; missing: "
)


def test_the_shared_cases_have_every_layers_profile_and_no_other():
    """The JavaScript tests hold their table to the same cases, so both languages have these."""
    weighed = {case["kind"] for case in GRAMMAR["layers"] if case.get("kind")}
    refused = {case["text"].split(" ")[0] for case in GRAMMAR["layers"] if "error" in case}
    profiles = set(layers.PROFILES)
    assert weighed >= profiles, f"{NEW_PROFILE}a valid case for {sorted(profiles - weighed)}"
    assert refused >= profiles, f"{NEW_PROFILE}an invalid case for {sorted(profiles - refused)}"
    assert weighed == profiles, f"{NEW_PROFILE}a row in Python for {sorted(weighed - profiles)}"


@texts("union_type", good=True)
def test_union_types_as_the_page_reads_them(case):
    read = unions.parse(case["text"], TYPES)
    assert [[kind.name, kind.weight] for kind in read] == case["types"]
    assert [kind.number for kind in read] == [TYPES[name] for name, _ in case["types"]]


@pytest.mark.parametrize("case", GRAMMAR["layers"], ids=lambda case: repr(case["text"]))
def test_valid_layers_cases_give_weights_for_thirteen_and_ten_blocks(case):
    """SD1.5's and SDXL's numbers of residuals."""
    if "error" not in case:
        lengths = {count: len(weights) for count, weights in case["weights"].items()}
        assert lengths == {"13": 13, "10": 10}


def test_the_shared_cases_have_every_interpolation_and_no_other():
    drawn = {case["interpolation"] for case in GRAMMAR["schedule"] if "error" not in case}
    table = set(schedule.INTERPOLATIONS)
    assert drawn >= table, f"{NEW_INTERPOLATION}a case for {sorted(table - drawn)}"
    assert drawn == table, f"{NEW_INTERPOLATION}a row in Python for {sorted(drawn - table)}"


@pytest.mark.parametrize("profile", layers.PROFILES.values(), ids=lambda profile: profile.kind)
def test_every_layers_profile_has_an_example_that_reads_and_a_line_in_the_help(profile):
    assert layers.parse(profile.example.removesuffix(", ...")).kind == profile.kind
    page = (ROOT / "js" / "docs" / "ControlStackAdd.md").read_text(encoding="utf-8")
    assert f"`{profile.kind}" in page, f"{NEW_PROFILE}`{profile.example}` in the help page"


def test_a_smooth_schedule_never_overshoots_and_meets_its_keyframes():
    rng = random.Random(4)
    for _ in range(200):
        keys = sorted(
            {round(rng.random(), 3): rng.random() * 10 for _ in range(rng.randrange(2, 8))}.items()
        )
        curve = Schedule(tuple(Keyframe(x, "percent", y) for x, y in keys), "smooth")
        for (x0, y0), (x1, y1) in itertools.pairwise(keys):
            assert curve.at(x0) == pytest.approx(y0, abs=1e-9)
            between = [curve.at(x0 + (x1 - x0) * i / 20) for i in range(20)] + [y1]
            rises = [b - a for a, b in itertools.pairwise(between)]
            assert all(rise * (y1 - y0) >= -1e-9 for rise in rises)


def test_a_smooth_schedule_by_hand():
    """Through (0,0), (0.5,1), (1,1) the secants are 2 and 0, so the slopes 2, 0, 0.

    At 0.25 the Hermite cubic gives 0.625.
    """
    curve = schedule.parse("0:0, 0.5:1, 1:1 | smooth")
    assert curve.at(0.25) == pytest.approx(0.5 * (0.5 * 2 * 0.25) + 0.5)
    assert curve.at(0.75) == 1.0


def test_steps_are_placed_where_the_sampler_has_them():
    placed = schedule.parse("0:1, 0.8:0, 4s:0.5").placed({4: 0.25}.__getitem__)
    assert placed.keyframes == (
        (0.0, "percent", 1.0),
        (0.25, "percent", 0.5),
        (0.8, "percent", 0.0),
    )
    assert not placed.has_steps


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("0:1, half:0", 5, "a number from 0 to 1"),
        ("0:1,, 1:0", 4, "'position:strength'"),
        ("0.5, 1", 0, "'position:strength'"),
        ("11", 0, "a number from 0 to 10"),
        ("０：１，半：０", 4, "a number from 0 to 1"),
        ("0:1, 0.5:", 9, "a number from 0 to 10"),
        ("0:1, 0.5:-1", 9, "a number from 0 to 10"),
        ("0:nan", 2, "a number from 0 to 10"),
        ("0:1e9", 2, "a number from 0 to 10"),
        ("0.5:1, 0.2:0", 7, "a position not before 0.5"),
        ("1.5:1", 0, "a number from 0 to 1"),
        ("6.5s:0.5", 0, "a whole number from 0 to 10000"),
        ("8s:1, 0.1:1, 4s:0", 13, "a position not before 8"),
        ("0:1 | cubic", 6, "the interpolation 'linear', 'smooth' or 'step'"),
    ],
)
def test_schedule_sentences(text, position, expected):
    with pytest.raises(TextError) as caught:
        schedule.parse(text)
    assert caught.value.position == position
    assert expected in str(caught.value)
    assert f"character {position + 1} " in str(caught.value)


@pytest.mark.parametrize("field", EXAMPLES)
def test_a_sentence_ends_with_a_text_that_is_right(field):
    types = {"canny/lineart": 3, "depth": 1}
    read = {**READ, "union_type": lambda text: unions.parse(text, types)}[field]
    with pytest.raises(TextError, match=f"Write for example '{re.escape(EXAMPLES[field])}'") as no:
        read("no such text")
    assert type(no.value).__module__ == "controlstack", "ComfyUI shows it before the sentence"
    read(EXAMPLES[field])


def test_union_types_are_read_from_every_keyboard():
    types = {"canny/lineart": 3, "depth": 1}
    expected = unions.parse("canny, depth:0.5", types)
    assert [kind.number for kind in expected] == [3, 1]
    for text in ("canny; depth:50%", "ｃａｎｎｙ，ｄｅｐｔｈ：０．５", "canny、depth:0.5"):
        assert unions.parse(text, types) == expected
    assert unions.parse("　ａｕｔｏ ", types) == ()


def test_schedules_that_never_act_or_change_nothing():
    assert schedule.parse("0:0, 1:0").is_zero
    assert not schedule.parse("0:0, 1:0.1").is_zero
    assert not schedule.parse("").is_zero
    assert schedule.parse("").is_constant_one
    assert schedule.parse("0:1, 0.3:1").is_constant_one
    assert not schedule.parse("0:0.5").is_constant_one


def random_number(rng, highest):
    value = rng.choice((0.0, highest, rng.random() * highest, rng.random() * 1e-6))
    return rng.choice((repr, "{:.3f}".format, "{:e}".format, "{:g}".format))(min(value, highest))


def random_schedule(rng):
    """Write a text of the grammar, rarely one that goes back in time."""
    steps = sorted(rng.randrange(60) for _ in range(6))
    percents = sorted((random_number(rng, 1.0) for _ in range(6)), key=float)
    pairs = []
    for _ in range(rng.randrange(6)):
        position = f"{steps.pop(0)}s" if rng.random() < 0.3 else percents.pop(0)
        strength = random_number(rng, 10.0)
        pairs.append(
            rng.choice(
                (f"{position}:{strength}", f"{strength} @{position}", f" {position} : {strength}")
            )
        )
    return ",".join(pairs) + rng.choice(("", "|linear", "| smooth", " |step "))


def random_layers(rng):
    kind = rng.choice(("soft ", "blocks ", "linear ", "resolution", "soft", ""))
    values = [
        random_number(rng, 1.0)
        for _ in range({"soft ": 1, "linear ": 2}.get(kind, rng.randrange(1, 15)))
    ]
    return kind + ((".." if kind == "linear " else ", ").join(values) if kind.endswith(" ") else "")


def test_twenty_thousand_texts_read_back_as_they_were_written():
    rng = random.Random(1)
    for _ in range(10_000):
        for text, read, write in (
            (random_schedule(rng), schedule.parse, schedule.to_text),
            (random_layers(rng), layers.parse, layers.to_text),
        ):
            once = read(text)
            assert read(write(once)) == once, text
            assert write(read(write(once))) == write(once)


def test_twenty_thousand_damaged_texts_raise_nothing_but_a_sentence():
    """Some still parse: then they read back too, and give finite strengths."""
    rng = random.Random(2)
    refused = 0
    for _ in range(10_000):
        for make, read, write in (
            (random_schedule, schedule.parse, schedule.to_text),
            (random_layers, layers.parse, layers.to_text),
        ):
            text = list(make(rng))
            for _ in range(rng.randrange(1, 3)):
                at = rng.randrange(len(text) + 1)
                text[at : at + rng.randrange(2)] = rng.choice(
                    "0123456789.:,@|s -einfa\n\u00a0\u0661"
                )
            try:
                once = read("".join(text))
            except TextError:
                refused += 1
                continue
            assert read(write(once)) == once, text
            values = (
                once.weights(13)
                if make is random_layers
                else [once.placed(lambda n: n / 60).at(0.3)]
            )
            assert all(map(math.isfinite, values))
    assert 2_000 < refused < 19_000


def test_sigma_to_percent_inverts_the_hosts_discrete_sampling():
    """The host's discrete sigmas are exp of log sigma, linear between 1000 timesteps.

    Percent p is timestep (1-p)*999.
    """
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


def test_soft_features_are_a1111s():
    """A T2I-Adapter's four features; another base bends them alike."""
    assert layers.parse("soft").feature_weights(4) == pytest.approx([0.25, 0.62, 0.825, 1.0])
    assert layers.parse("soft 0.9").feature_weights(4)[2] == pytest.approx(0.9)
    assert layers.parse("linear 0..3").feature_weights(4) == pytest.approx([0, 1, 2, 3])


def test_soft_spreads_over_any_number_of_blocks():
    """The exponents 12 to 0, evenly: 5 blocks and 19 end alike, 13 are A1111's; one is not weak."""
    soft = layers.parse("soft")
    assert soft.spread_weights(5) == pytest.approx([0.825**e for e in (12, 9, 6, 3, 0)])
    nineteen = soft.spread_weights(19)
    assert (nineteen[0], nineteen[9], nineteen[18]) == pytest.approx((0.825**12, 0.825**6, 1.0))
    assert soft.spread_weights(13) == pytest.approx(soft.weights(13))
    assert soft.spread_weights(1) == (1.0,)
    assert layers.parse("").spread_weights(3) == (1.0,) * 3
    assert layers.parse("blocks 1,0,0.5").spread_weights(3) == (1.0, 0.0, 0.5)


def test_resolution_is_the_papers():
    """The paper's w = 64/h has block heights 64, 32, 16 and 8 at 512 pixels.

    With other heights the ratio is the same.
    """
    assert layers.parse("resolution").weights(13, [64] * 3 + [32] * 3 + [16] * 3 + [8] * 4) == (
        *(1.0,) * 3,
        *(2.0,) * 3,
        *(4.0,) * 3,
        *(8.0,) * 4,
    )
    assert layers.parse("resolution").weights(3, [9, 5, 3]) == (1.0, 9 / 5, 3.0)


@pytest.mark.parametrize(
    ("text", "count", "weights"),
    [
        ("", 3, (1, 1, 1)),
        ("blocks 1,0,0.5", 3, (1, 0, 0.5)),
        ("blocks 1, 0", 5, (1, 0.75, 0.5, 0.25, 0)),
        ("blocks 0, 1, 0", 2, (0, 0)),
        ("blocks 2,1", 1, (2,)),
        ("linear 1..0", 5, (1, 0.75, 0.5, 0.25, 0)),
        ("linear 0.5..1", 1, (0.5,)),
        ("resolution", 1, (1,)),
    ],
)
def test_any_number_of_blocks_has_weights(text, count, weights):
    assert layers.parse(text).weights(count) == pytest.approx(weights)


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("softly", 0, one_of(layers.PROFILES)),
        ("  linear 1.0", 9, "two weights 'a..b'"),
        ("linear 1..", 10, "a number from 0 to 10"),
        ("resolution  64", 12, "nothing after 'resolution'"),
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
    for text in ("", "soft 0.825", "blocks 1, 0.5, 0", "linear 1..0", "resolution"):
        assert layers.to_text(layers.parse(text)) == text
    assert layers.parse("blocks 0,0").is_zero
    assert layers.parse("linear 0..0").is_zero
    assert not layers.parse("linear 0..1").is_zero
    assert not layers.parse("soft 0").is_zero  # 0^0 is 1: the middle block still acts
