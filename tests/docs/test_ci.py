"""The files for CIs: valid by the schemas that their makers publish, and their commands are those of the harness."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from results.formats import registry

yaml = pytest.importorskip("ruamel.yaml")

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "ci"
SCHEMAS = {
    "github-actions.yml": "vendor.github-workflows",
    "github-actions-runner.yml": "vendor.github-workflows",
    "gitlab-ci.yml": "vendor.gitlab-ci",
}
FILES = pytest.mark.parametrize("name", SCHEMAS)


def _loaded(name):
    return yaml.YAML(typ="safe", pure=True).load(FOLDER / name)


def _scripts(value, key=""):
    """Yield every piece of shell: what a step runs, or the lines of a job's script."""
    if isinstance(value, dict):
        for inner, held in value.items():
            yield from _scripts(held, inner)
    elif isinstance(value, list) and key in {"script", "before_script", "after_script"}:
        yield "\n".join(value)
    elif isinstance(value, list):
        for held in value:
            yield from _scripts(held)
    elif key == "run":
        yield value


def test_every_file_is_checked():
    assert {file.name for file in FOLDER.glob("*.yml")} == set(SCHEMAS)


@FILES
def test_it_is_valid_by_the_published_schema(name):
    pytest.importorskip("check_jsonschema")
    # Its own copy of the schema: nothing is fetched.
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name], FOLDER / name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@FILES
def test_its_shell_is_valid(name):
    scripts = [re.sub(r"\$\{\{.*?\}\}", "expression", script) for script in _scripts(_loaded(name))]
    assert scripts
    for script in scripts:
        subprocess.run(["bash", "-n", "-c", script], check=True)


@FILES
def test_its_commands_are_taken_by_the_command_line(name, take_commands):
    assert take_commands(_scripts(_loaded(name)))


@FILES
def test_its_formats_exist(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    named = re.findall(r"--(?:export|format) ([\w-]+)", text)
    assert named
    assert set(named) <= set(registry.FORMATS)


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name.startswith("github")])
def test_no_expression_of_github_stands_inside_a_script(name):
    """Text of a pull request in a script would be run: it comes by environment variables."""
    assert not [script for script in _scripts(_loaded(name)) if "${{" in script]


def test_every_format_is_on_the_page():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE) == list(registry.FORMATS)


def test_the_page_links_every_file():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in page for name in SCHEMAS)
