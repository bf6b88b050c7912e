"""The documentation, held against what it documents."""

from __future__ import annotations

import configparser
import dataclasses
import importlib
import importlib.util
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer

import harness
from harness import registry, suite
from harness.cli.app import app
from harness.cli.exit_codes import ExitCode
from harness.measure.noise import DETECTORS
from harness.presets import PRESETS
from harness.tasks import catalog

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    page for page in (*ROOT.glob("*.md"), *DOCS.rglob("*.md")) if "_build" not in page.relative_to(ROOT).parts
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
OURS = [
    [entry.name for entry in registry.registered(group).values() if entry.distribution == "inference-harness"]
    for group in (registry.ENGINES_GROUP, registry.EXPORTERS_GROUP)
]
ENGINES, EXPORTERS = ([name for name in names if not name.startswith("fake")] for names in OURS)

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
_COMMAND = re.compile(r"(?:^|`|/)harness ([a-z]+)(?: ([a-z]+))?", re.MULTILINE)
_BLOCK = re.compile(r"^```(?:sh|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def _anchors(page):
    """Return the anchors that a forge makes of a page's headings."""
    plain = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _fields(kind):
    return {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    for found in _LINK.finditer(page.read_text(encoding="utf-8")):
        target = unquote(found[1] or found[2])
        if re.match(r"https?:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), f"{page.name}: {target}"
        assert file.is_relative_to(ROOT), f"{page.name}: {target} leads out of the repository"
        assert not anchor or anchor in _anchors(file), f"{page.name}: no heading {anchor!r}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_commands_named_exist(page):
    command = typer.main.get_command(app)
    for first, second in _COMMAND.findall(page.read_text(encoding="utf-8")):
        assert first in command.commands, f"{page.name}: harness {first}"
        inner = getattr(command.commands[first], "commands", None)
        assert inner is None or not second or second in inner, f"{page.name}: harness {first} {second}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_options_named_beside_a_command_are_its_own(page):
    command = typer.main.get_command(app)
    for line in re.findall(r"`(?:[\w./]*/)?(harness [^`]+)`", page.read_text(encoding="utf-8")):
        words = line.split()[1:]
        holder = command
        while words and words[0] in getattr(holder, "commands", {}):
            holder = holder.commands[words.pop(0)]
        known = {option for parameter in holder.params for option in parameter.opts} | {"--help"}
        asked = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert asked <= known, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_command_lines_in_blocks_are_taken_by_the_command_line(page, take_commands):
    take_commands(_BLOCK.findall(page.read_text(encoding="utf-8")))


def test_there_are_command_lines_in_blocks(take_commands):
    assert take_commands(block for page in PAGES for block in _BLOCK.findall(page.read_text(encoding="utf-8"))) > 20


def test_every_command_is_in_the_readme():
    for name in typer.main.get_command(app).commands:
        assert f"`harness {name} " in _text("README.md") or f"`harness {name}`" in _text("README.md"), name


def test_the_tables_of_the_suite_are_those_of_its_schema():
    spec = importlib.util.spec_from_file_location("schema_tables", DOCS / "schema_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for made in tables.PAGES:
        page = made.read_text(encoding="utf-8")
        assert tables.updated(page) == page, "run `python docs/schema_tables.py`"
    page = _text("docs/suites.md")
    shown = set(re.findall(r"<!-- schema: (\w+) -->", page))
    # ``Excluded`` has the keys of ``Selection``.
    assert shown == tables.models_of(suite.schema()).keys() - {"Excluded"}


@pytest.mark.parametrize("task", catalog.NAMES)
def test_every_setting_of_a_task_is_documented(task):
    page = _text("docs/suites.md")
    assert {name for name in _fields(catalog.parameters(task)) if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("name", ENGINES)
def test_every_setting_of_an_engine_is_on_its_page(name):
    engine = registry.engine(registry.registered(registry.ENGINES_GROUP)[name].target)
    text = _text(f"docs/engines/{name}.md")
    assert {setting for setting in _fields(engine.options) if f"`{setting}" not in text} == set()


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_setting_of_an_exporter_is_on_some_page(name):
    exporter = registry.exporter(registry.registered(registry.EXPORTERS_GROUP)[name].target)
    pages = [*(DOCS / "engines").glob("*.md"), DOCS / "suites.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert {setting for setting in exporter.defaults if f"`{setting}" not in text} == set()


@pytest.mark.parametrize("name", ENGINES)
def test_an_engines_page_says_what_it_loads_and_how_it_is_installed(name):
    engine = registry.engine(registry.registered(registry.ENGINES_GROUP)[name].target)
    text = _text(f"docs/engines/{name}.md")
    assert engine.install in text
    assert all(f"`{each}`" in text for each in engine.formats)
    if not _fields(engine.options):
        assert "| options | none |" in text


@pytest.mark.parametrize(
    "name", [name for name in ENGINES if name != "tensorrt-rtx"]
)  # whose page refers to its sibling's
def test_an_engines_page_says_what_is_measured_how_it_is_read_back_and_its_limits(name):
    text = _text(f"docs/engines/{name}.md").lower()
    assert all(head in text for head in ("what is measured", "how execution is read back", "known limits"))


def test_presets_are_as_documented():
    pages = _text("docs/measurement.md"), _text("docs/suites.md")
    for name, preset in PRESETS.items():
        for page in pages:
            line = next(line for line in page.splitlines() if line.startswith(f"| `{name}` | {preset.launches} |"))
            assert f"≥ {preset.minimum_s:g} s" in line
        shown = ", ".join(f"p{percentile:g}" for percentile in preset.percentiles)
        line = next(line for line in pages[0].splitlines() if line.startswith(f"| `{name}` |"))
        assert shown in line
        assert f"| {preset.memory_launches} |" in line
        assert f"≤ {preset.maximum_s:g} s" in line


def test_every_section_of_a_report_is_on_the_page_that_reads_it():
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "reports").glob("*.py")))
    titles = re.findall(r"Section\(\s+id=\"[\w-]+\",\s+title=\"([^\"]+)\"", source)
    assert len(titles) > 10
    page = _text("docs/reading-a-report.md")
    assert [title for title in titles if f"**{title}**" not in page] == []


def test_every_finding_is_explained():
    source = (ROOT / "results" / "findings.py").read_text(encoding="utf-8")
    kinds = set(re.findall(r'Finding\("([a-z-]+)"', source))
    assert kinds, "the findings are named where they are made"
    page = _text("docs/reading-a-report.md")
    unranked = set(re.findall(r'Finding\("([a-z-]+)",[^\n]*unranked=True', source))
    for kind in kinds:
        line = next((line for line in page.splitlines() if line.startswith("|") and f"`{kind}`" in line), None)
        assert line is not None, f"no line about {kind}"
        assert line.endswith("| no |") == (kind in unranked), kind


def test_every_detector_of_noise_is_explained():
    page = _text("docs/measurement.md").lower()
    words = {"run_queue_wait": "run-queue wait", "psi_cpu": "psi", "cpu_frequency": "cpu frequency"}
    assert [name for name in DETECTORS if words.get(name, name.replace("_", " ")) not in page] == []


def test_the_layers_shown_are_in_the_order_that_is_held():
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    held = contracts["importlinter:contract:layers"]["layers"].split("\n")
    place = {module.strip(): index for index, layer in enumerate(held) for module in layer.split(":")}
    block = re.search(r"```\n(harness\.cli, .*?)```", _text("docs/architecture.md"), re.DOTALL)[1]
    lines = [re.findall(r"[\w.]+", re.split(r"  +", line)[0]) for line in block.splitlines()]
    shown = [[place[module] for module in line] for line in lines]
    assert all(max(above) < min(below) for above, below in pairwise(shown)), shown


def test_every_exit_code_is_explained():
    page = _text("docs/architecture.md")
    for code in ExitCode:
        assert f"\n| {code.value} |" in page


def test_decisions_are_numbered_and_listed():
    files = sorted(file.name for file in (DOCS / "adr").glob("[0-9]*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    index = _text("docs/adr/README.md")
    for name in files:
        assert f"]({name})" in index
        text = _text(f"docs/adr/{name}")
        assert text.startswith(f"# {int(name[:4])}. ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences"))


def test_the_changelog_has_this_version():
    assert re.search(rf"^#+ \[?{re.escape(harness.__version__)}\b", _text("CHANGELOG.md"), re.MULTILINE)


def test_every_direct_dependency_is_pinned_once():
    pins = [line.partition("==")[0].lower() for line in _text("constraints.txt").splitlines() if "==" in line]
    assert len(set(pins)) == len(pins)
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = {re.split(r"[\[<>=!~ ]", each)[0].lower() for each in wanted} - {"inference-harness"}
    # The first is for processors other than x86, the second needs a GPU: neither is tested with.
    untested = {"tensorflow", "tensorrt"}
    assert names - untested <= {pin.replace("_", "-") for pin in pins}, "pin every direct dependency"
