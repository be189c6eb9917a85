"""Control Stack Panel over ComfyUI's own API: one node against a graph of single nodes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from workbench import hosts, server

CANNY = "control_v11p_sd15_canny_fp16.safetensors"
SCRIBBLE = "control_v11p_sd15_scribble_fp16.safetensors"
DEPTH = "control_v11f1p_sd15_depth_fp16.safetensors"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "canny": ("ControlStackCanny", {"low_threshold": 60, "high_threshold": 180}),
    "xdog": ("ControlStackXDoG", {"threshold": 40}),
    "scribble": ("ControlStackScribble", {"threshold": 100, "invert": "off"}),
    "tile": ("ControlStackTile", {}),
    "brightness": ("ControlStackBrightness", {"level": "grey"}),
}
"""Methods without weights: their nodes, and settings that are not all of the defaults."""
WIDE, UNION, PLAIN = (f"wide_{name}.safetensors" for name in ("sd15", "union", "canny"))
PANELS = hosts.cross_section(range(20), every=5)
UNION_PANELS = hosts.cross_section(range(3), every=2)


def world(checkpoint: str = "v1-5-pruned-emaonly-fp16.safetensors") -> dict[str, Any]:
    """Return the nodes that a job has around its controls: two pictures and two masks among them.

    "sampler" and "keep" are to be completed by the conditionings and the latents that are kept.
    """
    solid = {"width": 96, "height": 96}
    small = {"upscale_method": "area", "width": 96, "height": 64, "crop": "disabled"}
    return {
        "base": _node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "positive": _node("CLIPTextEncode", text="a house", clip=["base", 1]),
        "negative": _node("CLIPTextEncode", text="blurry", clip=["base", 1]),
        "latent": _node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "photo": _node("LoadImage", image="example.png"),
        "small": _node("ImageScale", image=["photo", 0], **small),
        "grey": _node("ImageToMask", image=["small", 0], channel="red"),
        "half": _node("SolidMask", value=0.5, **solid),
    }


PICTURES, MASKS = (["photo", 0], ["small", 0]), (["grey", 0], ["half", 0])


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def panel(rows: list[dict[str, Any]], **inputs: Any) -> dict[str, Any]:
    """Return the node of a panel with all pictures, masks and prompts connected."""
    sockets = {f"images.image{i}": link for i, link in enumerate(PICTURES)}
    sockets |= {f"masks.mask{i}": link for i, link in enumerate(MASKS)}
    sockets |= {"positive": ["positive", 0], "negative": ["negative", 0]}
    sockets |= {"model": ["base", 0], "vae": ["base", 2]}
    text = json.dumps({"v": 1, "rows": rows})
    return _node("ControlStackPanel", **{"rows": text, **sockets, **inputs})


def single_nodes(rows: list[dict[str, Any]], object_info: dict[str, Any]) -> dict[str, Any]:
    """Return the same job as a graph of single nodes; "apply" is the last of them."""
    graph, stack = dict[str, Any](), None
    for i, row in enumerate(row for row in rows if row.get("on", True)):
        hint = PICTURES[row.get("image", 0)]
        if (method := row.get("method", "none")) != "none":
            kind = METHODS["canny" if method == "auto" else method][0]
            given = {} if method == "auto" else row.get("params", {})
            graph[f"hint{i}"] = _node(kind, image=hint, **_defaults(object_info[kind]["input"]))
            graph[f"hint{i}"]["inputs"] |= {"resolution": row.get("resolution", 0), **given}
            hint = [f"hint{i}", 0]
        graph[f"net{i}"] = _node("ControlStackLoad", control_net_name=row["net"])
        masks = {
            name: MASKS[row[name]]
            for name in ("effect_mask", "inpaint_mask")
            if row.get(name) is not None
        }
        graph[f"add{i}"] = _node(
            "ControlStackAdd",
            control_net=[f"net{i}", 0],
            image=hint,
            strength=row.get("strength", 1.0),
            start_percent=row.get("start", 0.0),
            end_percent=row.get("end", 1.0),
            **{name: row.get(name, default) for name, default in TEXTS.items()},
            **masks,
            **({"stack": stack} if stack else {}),
        )
        stack = [f"add{i}", 0]
    prompts = {"positive": ["positive", 0], "negative": ["negative", 0]}
    graph["apply"] = _node("ControlStackApply", stack=stack, model=["base", 0], **prompts)
    return graph


TEXTS = {"mode": "balanced", "fit": "crop", "union_type": "auto", "schedule": "", "layers": ""}


def _defaults(declared: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a new node has."""
    every = {**declared["required"], **declared.get("optional", {})}
    return {name: rest[0]["default"] for name, (_, *rest) in every.items() if "default" in rest[0]}


def sampled(name: str, source: str, outputs: tuple[int, int], seed: int) -> dict[str, Any]:
    """Return a sampler on the conditionings of a node, and the node that keeps its latents.

    Its three steps stand at the beginning, the middle and the end of sampling, so that ranges and
    schedules matter.
    """
    sampler = _node(
        "KSampler",
        model=["base", 0],
        positive=[source, outputs[0]],
        negative=[source, outputs[1]],
        latent_image=["latent", 0],
        **{"seed": seed, "steps": 3, "cfg": 5.0, "denoise": 1.0},
        **{"sampler_name": "euler", "scheduler": "normal"},
    )
    keep = _node("SaveLatent", samples=[name, 0], filename_prefix=f"panel/{name}")
    return {name: sampler, f"keep_{name}": keep}


def latents(running: server.Server, result: server.Result, name: str):
    """Return the latents that a run kept under a sampler's name."""
    (record,) = result.outputs[f"keep_{name}"]["latents"]
    folder = running.base / "output" / record["subfolder"]
    return load_file(folder / record["filename"])["latent_tensor"]


def random_rows(rng: random.Random) -> list[dict[str, Any]]:
    """Make one to four rows of everything that works with the tiny family; one is on."""
    return [
        {"id": f"r{i}", **_random_row(rng), **({"on": True} if i == 0 else {})}
        for i in range(rng.randrange(1, 5))
    ]


def _random_row(rng: random.Random) -> dict[str, Any]:
    method = rng.choice(("none", *METHODS))
    start = round(rng.uniform(0, 0.4), 2)
    row = {
        "net": rng.choice((CANNY, SCRIBBLE, DEPTH)),
        "on": rng.random() < 0.7,
        "image": rng.randrange(2),
        "method": method,
        "params": METHODS[method][1] if method != "none" and rng.random() < 0.5 else {},
        "resolution": rng.choice((0, 64, 100)),
        "strength": round(rng.uniform(0, 1.5), 2),
        "start": start,
        "end": round(rng.uniform(start, 1), 2),
        "mode": rng.choice(("balanced", "balanced", "prompt", "control", "cond_only")),
        "fit": rng.choice(("crop", "stretch", "pad")),
        "schedule": rng.choice(("", "", "0:1, 0.6:0", "0:0.2, 1:1 | smooth", "1s:0.5 | step")),
        "layers": rng.choice(("", "", "soft 0.7", "linear 1..0", "1,1,0.5")),
        "effect_mask": rng.choice((None, None, 0, 1)),
    }
    if row["net"] == CANNY and method == "none" and rng.random() < 0.5:
        row["method"] = "auto"
    # leave some keys out: the defaults of Add ControlNet
    return {key: value for key, value in row.items() if key == "net" or rng.random() < 0.85}


@pytest.mark.parametrize("seed", PANELS)
def test_panel_gives_the_latents_of_the_same_graph_of_single_nodes(running, object_info, seed):
    rows = random_rows(random.Random(seed))
    prompt = world() | {"panel": panel(rows)} | single_nodes(rows, object_info)
    prompt |= sampled("ours", "panel", (1, 2), seed) | sampled("singly", "apply", (0, 1), seed)
    result = running.run(prompt)
    ours, singly = latents(running, result, "ours"), latents(running, result, "singly")
    assert (ours == singly).all(), json.dumps(rows)
    assert ours.std() > 0.1


UNION_KEYS: tuple[dict[str, Any], ...] = (
    {"net": PLAIN},
    {"net": UNION, "union_type": "auto", "method": "canny"},
    {"net": UNION, "union_type": "depth"},
    {"net": UNION, "union_type": "canny, depth:0.4"},
    {"net": UNION, "union_type": "repaint", "method": "none", "inpaint_mask": 0},
)


def union_rows(rng: random.Random) -> list[dict[str, Any]]:
    """Make random rows of a union's types and of a plain net; the first is a union that acts."""
    plain = [row | {"method": "none", "params": {}} for row in random_rows(rng)]
    first, *others = [row | {"method": rng.choice(("none", "canny"))} for row in plain]
    acts = {"strength": 0.8, "start": 0.0, "end": 1.0, "schedule": ""}
    return [
        first | rng.choice(UNION_KEYS[1:]) | acts,
        *(row | rng.choice(UNION_KEYS) for row in others),
    ]


@pytest.mark.parametrize("seed", UNION_PANELS)
def test_unions_in_a_panel_give_the_latents_of_single_nodes(running, object_info, seed):
    rows = union_rows(random.Random(seed))
    prompt = world(WIDE) | {"panel": panel(rows)} | single_nodes(rows, object_info)
    prompt |= sampled("ours", "panel", (1, 2), seed) | sampled("singly", "apply", (0, 1), seed)
    prompt |= sampled("plain", "plain", (0, 0), seed)
    prompt["plain"]["inputs"] |= {"positive": ["positive", 0], "negative": ["negative", 0]}
    result = running.run(prompt)
    ours, singly, plain = (latents(running, result, of) for of in ("ours", "singly", "plain"))
    assert (ours == singly).all(), json.dumps(rows)
    assert (ours != plain).any(), json.dumps(rows)


# -- what runs again -------------------------------------------------------------------------------

ROWS = [
    {"id": "a", "net": CANNY, "method": "canny", "strength": 0.9},
    {"id": "b", "net": SCRIBBLE, "method": "xdog", "strength": 0.7, "effect_mask": 0},
    {"id": "c", "net": CANNY, "image": 1, "method": "brightness", "end": 0.8},
]
AROUND = {"panel", "panel.0.0.apply", "ours", "keep_ours"}


def job(rows: list[dict[str, Any]], seed: int = 1, **inputs: Any) -> dict[str, Any]:
    """Return a whole job with one panel, from the checkpoint to latents that are kept."""
    prompt = world() | {"panel": panel(rows, **inputs)}
    return prompt | sampled("ours", "panel", (1, 2), seed)


def changed(row: int, **keys: Any) -> list[dict[str, Any]]:
    """Return ROWS with some keys of one row changed."""
    return [each | keys if i == row else each for i, each in enumerate(ROWS)]


def adds(*ids: str) -> set[str]:
    return {f"panel.0.0.row.{row}.add" for row in ids}


COPY = {**ROWS[1], "id": "d", "image": 1}
CHANGES: dict[str, tuple[list[dict[str, Any]], set[str]]] = {
    "another strength": (changed(1, strength=0.3), adds("b", "c")),
    "another schedule of the last row": (changed(2, schedule="0:1, 0.5:0"), adds("c")),
    "a row off": (changed(1, on=False), adds("c")),
    "rows in another order": ([ROWS[2], ROWS[0], ROWS[1]], adds("a", "b", "c")),
    "a row copied": ([*ROWS, COPY], adds("d") | {"panel.0.0.row.d.hint"}),
    "a row gone": (ROWS[:1], set()),
}
"""A change of ROWS → what it runs again beside the panel and what follows it."""


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_a_change_concerns_runs_again(running, change):
    """No preprocessor and no loading of nets but for a row that is new."""
    rows, expected = CHANGES[change]
    seed = 100 + [*CHANGES].index(change)
    running.free()
    first = running.run(job(ROWS, seed))
    hints = {f"panel.0.0.row.{row}.hint" for row in "abc"}
    nets = [node for node in first.ran if node.startswith("panel.0.0.net.")]
    assert len(nets) == 2, "a file that two rows use is loaded once"
    assert set(first.ran) >= hints | adds("a", "b", "c") | AROUND
    again = running.run(job(rows, seed))
    assert set(again.ran) == expected | AROUND
    if change == "a row off":
        back = running.run(job(changed(1, strength=0.5), seed))
        assert set(back.ran) == adds("b", "c") | AROUND, "turned on again: nothing of it is lost"


def test_nothing_runs_again_with_another_seed(running):
    running.run(job(ROWS, 201))
    assert running.run(job(ROWS, 202)).ran == ["ours", "keep_ours"]


# -- with less connected ---------------------------------------------------------------------------


def test_a_stack_alone_and_no_rows(running):
    """The stack serves Apply ControlNet Stack; without rows the prompts pass unchanged."""
    prompt = world() | single_apply(ROWS) | sampled("ours", "panel", (1, 2), 3)
    for name, seed in (("singly", 3), ("plain", 4), ("bare", 4)):
        prompt |= sampled(name, "apply", (0, 1), seed)
    prompt["panel"] = panel(ROWS)
    prompt["empty"] = panel([{"net": CANNY, "on": False}])
    prompt["plain"]["inputs"] |= {"positive": ["empty", 1], "negative": ["empty", 2]}
    prompt["bare"]["inputs"] |= {"positive": ["positive", 0], "negative": ["negative", 0]}
    result = running.run(prompt)
    ended = {name: latents(running, result, name) for name in ("ours", "singly", "plain", "bare")}
    assert (ended["ours"] == ended["singly"]).all()
    assert (ended["plain"] == ended["bare"]).all()
    assert (ended["ours"] != ended["plain"]).any()


def single_apply(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a panel without prompts, and Apply ControlNet Stack behind it."""
    alone = panel(rows)
    for name in ("positive", "negative", "model", "vae"):
        del alone["inputs"][name]
    prompts = {"positive": ["positive", 0], "negative": ["negative", 0]}
    return {"alone": alone, "apply": _node("ControlStackApply", stack=["alone", 0], **prompts)}


# -- sentences -------------------------------------------------------------------------------------


def text_of(*rows: Any) -> str:
    return json.dumps({"v": 1, "rows": rows})


TEXTS_REFUSED = {
    '{"v":1,': "rows: expected JSON, but it breaks off at character 8",
    '{"v":2,"rows":[]}': "rows: this panel was saved by a newer ControlStack",
}
CHOOSE = "choose from low_threshold, high_threshold"
ROWS_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"strength": "1"}, "strength is '1': give a number from 0 to 10"),
    ({"end": 2}, "end is 2: give a number from 0 to 1"),
    ({"image": 7}, "nothing is connected to image7: connect a picture"),
    ({"effect_mask": 5}, "effect_mask: nothing is connected to mask5: connect a mask"),
    ({"net": "gone.pth"}, "the file is not in models/controlnet: put it there"),
    ({"net": "../x.pth"}, "the file is not in models/controlnet"),
    ({"net": "model_patches/z.sft"}, "the file is not in models/model_patches"),
    ({"method": "cany"}, "there is no method 'cany': choose one of none, auto, canny"),
    ({"method": "canny", "params": {"low": 1}}, f"Canny Edge has no setting 'low': {CHOOSE}"),
    ({"method": "canny", "params": {"low_threshold": 300}}, "low_threshold is 300: give a whole"),
    ({"schedule": "x"}, "schedule: expected 'position:strength' at character 1"),
    ({"layers": "softly"}, "layers: expected 'soft'"),
    ({"union_type": "cany"}, "union_type: expected 'auto' or one of"),
    ({"strenght": 1}, "a row has no 'strenght': write 'strength'"),
    ({"net": ""}, "it has no ControlNet: choose one, or turn the row off"),
]


def refusal(running, text: str) -> str:
    """Return the sentence with which ComfyUI refuses a panel before anything runs."""
    prompt = job([])
    prompt["panel"]["inputs"]["rows"] = text
    with pytest.raises(server.RefusedError) as refused:
        running.run(prompt)
    assert set(refused.value.node_errors) == {"panel"}
    errors = refused.value.node_errors["panel"]["errors"]
    (sentence,) = {error["details"].partition(" - ")[2] for error in errors}
    return sentence


@pytest.mark.parametrize("text", TEXTS_REFUSED)
def test_a_text_is_refused_before_anything_runs(running, text):
    assert refusal(running, text).startswith(TEXTS_REFUSED[text])


@pytest.mark.parametrize(("keys", "sentence"), ROWS_REFUSED, ids=[each[1] for each in ROWS_REFUSED])
def test_a_row_is_refused_before_anything_runs_and_named(running, keys, sentence):
    row = {"net": DEPTH, **keys}
    named = f"row 2 ({row['net']}): " if row["net"] else "row 2: "
    assert refusal(running, text_of({"net": CANNY}, row)).startswith(named + sentence)


def test_a_row_that_is_off_may_lack_everything(running):
    rows = [*ROWS[:1], {"id": "z", "on": False, "net": "gone.pth", "image": 9, "method": "later"}]
    assert not running.run(job(rows, 301)).interrupted


def failure(running, prompt: dict[str, Any]) -> str:
    """Return the sentence of a run that fails, and check that ComfyUI shows it on the panel."""
    with pytest.raises(server.HostError) as failed:
        running.run(prompt)
    place, _, sentence = str(failed.value).partition(" failed: ")
    assert place == "node panel (ControlStackPanel)"
    return sentence.partition("\n")[0]


def test_an_error_inside_a_row_names_the_row(running):
    """Of a file, a preprocessor's weights, a setting and a net for another model, as they run."""
    folder = running.base / "models" / "controlnet"
    (folder / "cut.safetensors").write_bytes(b"no header")
    narrow(folder, "narrow_canny.safetensors")
    cases = [
        ({"net": "cut.safetensors"}, "row 2 (cut.safetensors): cut.safetensors: not a"),
        ({"net": DEPTH, "method": "depth"}, f"row 2 ({DEPTH}): "),
        ({"net": CANNY, "union_type": "canny"}, f"row 2 ({CANNY}): ControlNet"),
        ({"net": "narrow_canny.safetensors"}, "row 2 (narrow_canny.safetensors): ControlNet"),
    ]
    for row, sentence in cases:
        assert failure(running, job([ROWS[0], row], 401)).startswith(sentence)
    for name in ("cut.safetensors", "narrow_canny.safetensors"):
        (folder / name).unlink()  # other tests list what is here


def narrow(folder, name: str) -> None:
    """Write a ControlNet for text of another width than the tiny model's."""
    weights = load_file(folder / SCRIBBLE)
    for key in weights:
        if ".attn2.to_k." in key or ".attn2.to_v." in key:
            weights[key] = weights[key][:, :48].copy()
    save_file(weights, folder / name)


def test_a_net_that_gives_nan_while_sampling_names_its_row(running):
    folder = running.base / "models" / "controlnet"
    name = "nan_scribble.safetensors"
    weights = load_file(folder / SCRIBBLE)
    key = next(key for key in weights if key.endswith("input_blocks.4.0.in_layers.2.weight"))
    weights[key].reshape(-1)[0] = float("nan")
    save_file(weights, folder / name)
    running.run(job([ROWS[0], {"net": name}], 402))
    (folder / name).unlink()
    assert f"row 2 ({name}): ControlNet '{name}' (ControlNet for " in running.tail(200)


def test_wired_text_is_read_when_it_comes(running):
    prompt = job([], 501)
    rows = changed(0, strength=0.31)  # which no run has cached
    prompt["text"] = _node("PrimitiveString", value=text_of(*rows))
    prompt["panel"]["inputs"]["rows"] = ["text", 0]
    assert set(running.run(prompt).ran) >= adds("a", "b", "c")
    prompt["text"]["inputs"]["value"] = text_of({"net": CANNY, "mode": "loud"})
    assert failure(running, prompt).startswith(
        f"row 1 ({CANNY}): mode is 'loud': choose 'balanced'"
    )
    prompt["text"]["inputs"]["value"] = text_of(*rows[:1])
    del prompt["panel"]["inputs"]["positive"]
    assert failure(running, prompt).startswith("positive is not connected, but negative is")
