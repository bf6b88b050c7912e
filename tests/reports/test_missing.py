"""Records with missing parts: whatever a row or a manifest lacks, there is a page, and it says the rest."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.formats.markdown import markdown
from reports.html import render
from reports.view import build, of_runs
from results.merged import merged
from results.rank import standings
from results.row import Row

MISSING = {
    field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    for field in dataclasses.fields(Row)
    if field.name not in {"variant_id", "cell", "label", "machine", "run_id"}
}
"""What each part of a row is where its records do not tell it."""
MANIFEST = (
    *("run_id", "created_at", "suite", "suite_text", "plan", "host", "engines", "command", "overhead"),
    *("harness_version", "schema", "telemetry"),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
INNER = {
    "plan": ("suite", "preset", "seed"),
    "host": ("hw_id", "env_id", "hardware", "environment", "conditions"),
    "engines": ("torch",),
    "overhead": ("1", "not measured"),
}


@st.composite
def manifests(draw):
    """Manifests of whatever JSON can hold, the right keys often among it."""
    made = draw(st.dictionaries(st.sampled_from(MANIFEST), ANYTHING, max_size=6))
    for name, keys in INNER.items():
        if draw(st.booleans()):
            made[name] = draw(st.dictionaries(st.sampled_from(keys), ANYTHING, max_size=3))
    return json.loads(json.dumps(made))


@pytest.fixture(scope="module")
def rows(make):
    return make.varied()[:4]


@pytest.mark.parametrize("part", MISSING)
def test_a_part_that_no_row_has_leaves_a_page_of_the_others(make, rows, part):
    poor = [dataclasses.replace(row, **{part: MISSING[part]}) for row in rows]
    view = build(make.manifest(), poor, standings(poor))
    assert len(view.rows) == len(poor)
    assert all(section.panels or section.empty for section in view.sections)
    assert markdown(view, poor)


def test_parts_that_single_rows_lack_leave_a_page_of_all(make):
    whole = [make.row(engine=f"lacks-{part.replace('_', '-')}", median_ms=10.0 + at) for at, part in enumerate(MISSING)]
    poor = [dataclasses.replace(row, **{part: MISSING[part]}) for row, part in zip(whole, MISSING, strict=True)]
    page = render(build(make.manifest(), poor, standings(poor)))
    assert all(f"lacks-{part.replace('_', '-')}" in page for part in MISSING)


def test_what_completed_and_told_nothing_is_a_row_that_says_nothing_of_speed(make):
    row = make.row(median_ms=None)
    view = build(make.manifest(), [row], standings([row]))
    assert view.rows[0].state == "completed"
    assert view.verdicts[0].headline == "Nothing can be said about speed."
    assert "The run has no rows" not in render(view)


@given(manifests())
def test_any_manifest_has_a_page(make, manifest):
    row = make.row()
    view = build(manifest, [row], make.standings([row]), records=1)
    assert [name.label for name in view.rows] == ["torch fp32"]
    of_one = of_runs(merged([make.source([row], manifest=manifest)]))
    of_two = of_runs(merged([make.source([row], manifest=manifest), make.source([row], run_id="01B")]))
    assert len(of_one.rows) == len(of_two.rows) == 1
    for each in (view, of_one, of_two):
        assert isinstance(each.method.command, str)
        assert isinstance(each.method.suite_text, str)
