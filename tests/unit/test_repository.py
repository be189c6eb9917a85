"""Check what the repository says about itself: README, help pages, changelog, licences, package."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from pack.control.stack import MODES
from pack.preprocessors import CATALOGUE
from workbench import brand, third_party

ROOT = Path(__file__).resolve().parents[2]
NODES = json.loads((ROOT / "tests" / "node_surface.json").read_text(encoding="utf-8"))
TITLES = {
    **{node_id: node["shown_as"] for node_id, node in NODES.items()},
    **{row.node_id: row.title for row in CATALOGUE},
}
TEMPLATES = sorted(file.stem for file in (ROOT / "example_workflows").glob("*.json"))
HELP = ROOT / "js" / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "THIRD_PARTY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(HELP.glob("*.md")),
]
BUILT_HERE = {"node_modules", "__pycache__"}

every_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix()
)


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its level."""
    level = heading.partition(" ")[0]
    _, _, below = text.partition(f"\n{heading}\n")
    assert below, f"there is no heading {heading!r}"
    return re.split(rf"^{level} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def folders() -> set[str]:
    return {
        entry.name
        for entry in ROOT.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in BUILT_HERE
    }


def test_the_map_of_the_readme_names_every_folder_and_no_other():
    table = section(read("README.md"), "## For contributors")
    named = re.findall(r"^\| `(\w+)/` \|", table, re.MULTILINE)
    assert sorted(named) == sorted(folders())


def test_every_template_in_the_readme_exists_and_every_template_is_there():
    text = read("README.md")
    assert [
        name for name in TEMPLATES if f"*{name}*" not in text and f"→ {name}*" not in text
    ] == []
    listed = text[text.index("More templates:") :].partition("\n\n")[0]
    assert set(re.findall(r"\*(\d\d [^*]+)\*", listed)) <= set(TEMPLATES)


def test_every_help_page_belongs_to_a_node_and_every_node_has_one():
    pages = {page.stem for page in HELP.glob("*.md")}
    missing = sorted(TITLES.keys() - pages)
    assert missing == [], f"write js/docs/{missing[0]}.md" if missing else ""
    strays = sorted(pages - TITLES.keys())
    assert strays == [], (
        f"add the row of {strays[0]} to its file in preprocessors/" if strays else ""
    )


@pytest.mark.parametrize("node_id", sorted(TITLES))
def test_a_help_page_has_its_nodes_title_and_a_pitfall(node_id):
    page = (HELP / f"{node_id}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {TITLES[node_id]}\n"), f"begin js/docs/{node_id}.md with its title"
    assert "**Pitfall" in page, f"js/docs/{node_id}.md: name the most likely mistake"


@pytest.mark.parametrize("node_id", sorted(TITLES))
def test_the_changelog_names_every_node(node_id):
    """Allow new rows of the catalogue to wait for the release, when Unreleased is emptied."""
    is_waiting = "### Added" in section(read("CHANGELOG.md"), "## Unreleased")
    is_row = node_id in {row.node_id for row in CATALOGUE}
    if not (is_waiting and is_row):
        assert TITLES[node_id] in read("CHANGELOG.md"), (
            f"{TITLES[node_id]} is not in CHANGELOG.md: add a line under Added"
        )


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.key)
def test_a_preprocessor_is_tested_against_its_reference(row):
    module = row.run.__module__.rpartition(".")[2]
    call = rf'\b{module}\.{row.run.__name__}\b|catalogue\("{row.key}"\)'
    tests = (ROOT / "tests" / "unit").glob("test_*.py")
    assert any(re.search(call, test.read_text(encoding="utf-8")) for test in tests), (
        f"{row.key}: add a test of {module}.{row.run.__name__} to a file of tests/unit"
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_help_of_add_control_names_every_mode(mode):
    listed = section(read("js/docs/ControlStackAdd.md"), "## mode")
    assert f"\n- `{mode}`: " in listed, f"add {mode} to the list in js/docs/ControlStackAdd.md"


def test_each_version_of_the_changelog_has_each_kind_once():
    versions = re.split(r"^## ", read("CHANGELOG.md"), flags=re.MULTILINE)[1:]
    assert [version.partition("\n")[0] for version in versions][:2] == ["Unreleased", "0.1.0"]
    for version in versions:
        kinds = re.findall(r"^### (.+)$", version, re.MULTILINE)
        allowed = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
        assert kinds == [kind for kind in allowed if kind in kinds]


def test_no_entry_of_the_changelog_stands_twice():
    entries = re.findall(r"^- (.{1,40}?)[:.]", read("CHANGELOG.md"), re.MULTILINE)
    assert sorted(set(entries)) == sorted(entries)


@every_page
def test_pages_are_plain_english(page):
    private = r"\b(is|are|holds) no\b|\banew\b|\bthe very\b|\bwhose word\b|\bpainted anew\b"
    text = page.read_text(encoding="utf-8")
    assert re.findall(rf".*(?:{private}).*", text) == []


@every_page
def test_links_between_pages_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for address in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not address.startswith(("http", "/api/")):
            assert (page.parent / unquote(address)).exists(), address


# Licences


def test_third_party_is_what_the_generator_writes():
    assert read("THIRD_PARTY.md") == third_party.page(), f"run {third_party.COMMAND}"


@pytest.mark.parametrize("network", third_party.networks(CATALOGUE), ids=lambda net: net.module)
def test_the_header_of_a_network_names_paper_and_upstream(network):
    for label in third_party.FORMS:
        assert third_party.labelled(network.header, label), (
            f"preprocessors/nets/{network.module}.py: its header must say"
            f" '{label.rstrip('s?')}: …', in the form that workbench/third_party.py reads"
        )


def test_labels_of_a_header_are_read():
    header = '\nPaper: A. Bc et al.,\n"T", 2020. Upstream: a/b (MIT), ours. Keys are those.'
    assert third_party.labelled(header, "Papers?") == 'A. Bc et al., "T", 2020.'
    assert third_party.labelled(header, "Upstream") == "a/b (MIT), ours."
    assert third_party.labelled("nothing", "Upstream") == ""


# What is published


def ignored() -> set[str]:
    """Return the paths of .comfyignore; the tests read only this form of a pattern."""
    lines = [line for line in read(".comfyignore").splitlines() if line and line[0] != "#"]
    assert [line for line in lines if not re.fullmatch(r"/[\w./-]+", line)] == []
    return {line.strip("/") for line in lines}


def imported_by(path: Path) -> set[Path]:
    """List the files of the pack that a file imports, by their relative imports."""
    files: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for place in (base, *(base / alias.name for alias in node.names)):
                files |= {place.with_suffix(".py"), place / "__init__.py"}
    return {file for file in files if file.is_file()}


def reached() -> set[Path]:
    """List every file that ComfyUI imports, from the entrypoint on."""
    todo, files = [ROOT / "__init__.py"], set[Path]()
    while todo:
        file = todo.pop()
        if file not in files:
            files.add(file)
            todo += imported_by(file)
    return files


def test_what_comfyui_imports_and_serves_is_published():
    python = {file.relative_to(ROOT) for file in reached()}
    assert {file.parts[0] for file in python} >= {"nodes", "control", "host", "preprocessors"}
    served = ("js", "locales", "example_workflows", "subgraphs")
    files = [file for folder in served for file in (ROOT / folder).rglob("*") if file.is_file()]
    named = ("README.md", "LICENSE", "THIRD_PARTY.md", "CHANGELOG.md", "docs/training.md")
    needed = [
        *python,
        *(file.relative_to(ROOT) for file in files),
        *map(Path, (*named, "requirements.txt", "pyproject.toml")),
    ]
    assert all((ROOT / file).exists() for file in needed)
    hidden = ignored()
    lost = [file for file in needed for at in (file, *file.parents) if at.as_posix() in hidden]
    assert lost == []


def test_what_only_contributors_need_is_not_published():
    assert {"tests", "benchmarks", "workbench", "demo", ".ci", ".github"} <= ignored()
    assert [path for path in ignored() if not (ROOT / path).exists()] == []


def test_the_published_metadata_invents_nothing():
    """The owner adds the publisher and the address of the repository (CONTRIBUTING.md)."""
    text = read("pyproject.toml")
    for key in ("PublisherId", "Repository", "Icon", "Banner"):
        value = re.search(rf"^{key}\s*=\s*(.+)$", text, re.MULTILINE)
        assert value is None or re.search(r"\w", value[1]), f"{key} is empty"
        assert key in read("CONTRIBUTING.md")


@pytest.mark.parametrize(("name", "size"), [("icon.png", (400, 400)), ("banner.png", (1260, 540))])
def test_icon_and_banner_have_the_registrys_sizes(name, size):
    assert Image.open(ROOT / "docs" / name).size == size
    assert brand.PICTURES[name]().size == size


def test_the_workflow_of_public_hosts_runs_the_test_command():
    text = read(".github/workflows/test.yml")
    assert re.search(r"^\s+run: python3 tests$", text, re.MULTILINE)
    assert all(f'"3.{minor}"' in text for minor in range(10, 14))
