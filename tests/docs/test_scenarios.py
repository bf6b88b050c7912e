"""The pages on scenarios, held against the scenarios."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from harness.scenarios import ASKED, KINDS

ROOM = Path(__file__).resolve().parents[2] / "docs" / "scenarios"
SETTINGS = [(name, field.name) for name in ASKED for field in dataclasses.fields(KINDS[name].settings)]


def page(name):
    return (ROOM / f"{name.replace('_', '-')}.md").read_text(encoding="utf-8")


def test_every_scenario_has_a_page_and_is_in_the_index():
    index = (ROOM / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[`(\w+)`\]\(([\w-]+)\.md\)", index, re.MULTILINE)
    assert {name for name, _ in listed} == set(ASKED)
    assert {file.stem for file in ROOM.glob("*.md")} - {"README"} == {target for _, target in listed}
    for name, target in listed:
        assert page(name).startswith(f"# `{name}`")
        assert target == name.replace("_", "-")


@pytest.mark.parametrize(("name", "setting"), SETTINGS, ids=[f"{name}.{setting}" for name, setting in SETTINGS])
def test_every_setting_is_in_the_table_of_its_page(name, setting):
    rows = [row for row in page(name).splitlines() if row.startswith(f"| `{setting}` |")]
    assert len(rows) == 1
    default = next(f.default for f in dataclasses.fields(KINDS[name].settings) if f.name == setting)
    shown = rows[0].split("|")[2].strip().strip("`")
    if isinstance(default, bool):
        assert shown == str(default).lower()
    elif isinstance(default, float):
        assert float(shown) == default
    elif default is not None:
        assert shown == str(default)


@pytest.mark.parametrize("name", [name for name in ASKED if name != "mlperf"])
def test_a_page_says_what_is_driven_counted_and_left_out(name):
    for head in ("**Driven**", "**Counted**", "**Formulas**", "**It does not say**"):
        assert head in page(name)
