"""The page of several runs: machines as a word of every label, runs side by side, what changed between them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from harness.vocabulary import Completed, Failed, Precision, Stage
from reports.html import render
from reports.legend import legend
from reports.names import SERIES, named, ordered
from reports.view import build, of_runs
from results.driven import RateTried, Server, Share
from results.merged import merged
from results.row import Interval, Quantile
from results.sources import NO_PLAN, Source

EPYC, XEON = "AMD EPYC 7B13, 2 cores", "Intel Xeon, 8 cores, NVIDIA L4"


@pytest.fixture
def run(make):
    """Return a maker of runs."""

    def made(rows, run_id="01A", machine=EPYC, hw_id="aaaaaaaaaaaa", **changes):
        host = {
            "hw_id": hw_id,
            "env_id": f"e{run_id}",
            "hardware": {"cpu": {"name": machine}, "memory_gib": 24},
            "environment": {"kernel": f"6.{run_id[-1]}", "python": "CPython 3.11"},
        }
        known = {
            "run_id": run_id,
            "created_at": f"2026-01-{ord(run_id[-1]) - 54:02d}T01:02:03+00:00",
            "suite": "quickstart",
            "hw_id": hw_id,
            "env_id": f"e{run_id}",
            "machine": machine,
            "manifest": make.manifest(run_id=run_id, host=host, command=f"harness run {run_id}"),
            "rows": tuple(rows),
            "records": 9,
            "folder": Path("runs") / run_id,
        }
        return Source(**{**known, **changes})

    return made


@pytest.fixture
def two_machines(make, run):
    """The view of one suite on two machines."""
    rows = make.varied()
    return of_runs(merged([run(rows), run([faster(row) for row in rows], "01B", XEON, "bbbbbbbbbbbb")]))


@pytest.fixture
def two_runs(make, run):
    """The view of two runs of one machine."""
    rows = make.varied()
    return of_runs(merged([run(rows), run([faster(row) for row in rows], "01B")]))


def faster(row, factor=0.5):
    found = row.latency
    if found is None:
        return row
    whole = dataclasses.replace(found.host_to_host, estimate=found.host_to_host.estimate * factor)
    medians = tuple(median * factor for median in found.launch_medians_ns)
    return dataclasses.replace(row, latency=dataclasses.replace(found, host_to_host=whole, launch_medians_ns=medians))


def section(view, name):
    return next((part for part in view.sections if part.id == name), None)


def texts(sheet):
    return [[value.text for value in line] for line in sheet.lines]


# --- one run -----------------------------------------------------------------------------------------------------


def test_the_page_of_one_run_is_that_of_its_rows(make, run):
    rows = make.varied()
    source = run(rows)
    alone = merged([source])
    assert of_runs(alone) == build(source.manifest, alone.rows, alone.standings, records=9)


def test_one_run_says_nothing_of_several(make, run):
    view = of_runs(merged([run(make.varied())]))
    assert (view.machines, section(view, "runs")) == ((), None)
    assert "machine" not in {key for key, _, _ in view.facets}
    assert {name.machine for name in view.rows} == {""}


# --- machines ----------------------------------------------------------------------------------------------------


def test_the_machine_is_a_word_of_every_label(two_machines):
    labels = [name.label for name in two_machines.rows if name.workload == "lite0"]
    assert all(label.endswith((" on AMD EPYC 7B13", " on Intel Xeon")) for label in labels)
    assert len(set(labels)) == len(labels)
    assert {name.machine for name in two_machines.rows} == {EPYC, XEON}


def test_the_machine_has_a_colour_of_its_own(two_machines):
    drawn = {}
    for name in two_machines.rows:
        drawn.setdefault((name.engine, name.machine), set()).add(name.series)
    assert all(len(series) == 1 for series in drawn.values())
    assert len(set.union(*drawn.values())) == len(drawn) <= SERIES
    chart = next(chart for panel in section(two_machines, "pareto").panels for chart in panel.charts)
    blocks = {words: classes for symbol, classes, words in legend(chart, two_machines.rows) if symbol == "block"}
    assert blocks["openvino on AMD EPYC 7B13, 2 cores"] != blocks["openvino on Intel Xeon, 8 cores, NVIDIA L4"]


def test_the_machine_is_a_facet(two_machines):
    facets = {key: values for key, _, values in two_machines.facets}
    assert set(facets["machine"]) == {EPYC, XEON}


def test_machines_of_one_processor_are_told_apart_by_more(make):
    rows = [dataclasses.replace(make.row(), variant_id=each, machine=f"AMD EPYC, {each} cores") for each in "24"]
    stands = make.standings(rows)
    labels = [name.label for name in named(ordered(rows, stands), stands)]
    assert sorted(labels) == ["torch fp32 on AMD EPYC, 2 cores", "torch fp32 on AMD EPYC, 4 cores"]


def test_long_names_of_machines_stay_apart(make):
    machines = [f"{'x' * 200} {place}" for place in range(12)]
    rows = [
        dataclasses.replace(make.row(), variant_id=f"{'a' * 64}-{place:06d}", machine=machine)
        for place, machine in enumerate(machines)
    ]
    stands = make.standings(rows)
    labels = [name.label for name in named(ordered(rows, stands), stands)]
    assert len(set(labels)) == len(labels)
    assert max(map(len, labels)) <= 60


def test_the_verdict_is_over_all_machines(two_machines):
    first = two_machines.verdicts[0]
    assert first.headline == "openvino int8 on Intel Xeon is the fastest."
    assert any("torch fp32 on Intel Xeon" in figure.label for figure in first.figures), "the baseline of its machine"


def test_machines_stand_side_by_side_what_differs_first(two_machines):
    sheets = {sheet.id: sheet for sheet in two_machines.machines}
    assert list(sheets) == ["s-runs", "s-machines-differ", "s-machines-alike", "s-environments-differ"]
    differ = sheets["s-machines-differ"]
    assert [column.title for column in differ.columns] == ["fact", EPYC, XEON]
    assert texts(differ) == [["cpu · name", EPYC, XEON]]
    assert texts(sheets["s-machines-alike"]) == [["memory gib", "24"]]
    assert all(len(line) == len(sheet.columns) for sheet in sheets.values() for line in sheet.lines)


def test_the_runs_are_listed(two_machines):
    runs = two_machines.machines[0]
    assert [line[:4] for line in texts(runs)] == [
        ["01A", "quickstart", EPYC, "2026-01-11 01:02 UTC"],
        ["01B", "quickstart", XEON, "2026-01-12 01:02 UTC"],
    ]
    head = [column.title for column in runs.columns]
    assert [line[head.index("rows here")].aside for line in runs.lines] == ["of 13", "of 13"]


def test_the_head_says_how_many(two_machines):
    facts = dict(two_machines.facts)
    assert (facts["machines"], facts["runs"], facts["made"]) == ("2", "2", "2026-01-11 to 2026-01-12")


def test_each_command_and_fingerprint_says_whose_it_is(two_machines):
    method = two_machines.method
    assert method.command.splitlines() == [
        f"# run 01A ({EPYC})",
        "harness run 01A",
        f"# run 01B ({XEON})",
        "harness run 01B",
    ]
    titles = [title for title, _ in method.fingerprint]
    assert f"Hardware: run 01A ({EPYC})" in titles
    assert method.suite_text == "version: 1\n", "said once where all have it"
    assert dict(method.engines)["torch"].startswith("2.13")


def test_techniques_are_told_within_a_machine(make, run):
    int8 = make.row(precision=Precision.INT8, median_ms=5.0)
    rows = [make.row(), int8]
    view = of_runs(merged([run(rows), run([faster(row, 0.1) for row in rows], "01B", XEON, "bbbbbbbbbbbb")]))
    panel = next(
        panel
        for panel in section(view, "executed").panels
        if any(each.id.startswith("t-technique") for each in panel.tables)
    )
    assert len(panel.tables[0].lines) == 2


# --- runs of one machine -----------------------------------------------------------------------------------------


def test_what_changed_between_runs_has_a_section(two_runs):
    found = section(two_runs, "runs")
    assert found.lead.startswith("9 latencies measured before: 9 faster now.")
    line = found.panels[0].tables[0].lines[0]
    assert [value.text for value in line.values] == ["01A", "4.00", "2.00", "0.500", "faster now"]
    assert "kernel 6.A → 6.B" in found.panels[0].notes[0]


def test_one_machine_is_no_word_and_no_facet(two_runs):
    assert not [name.label for name in two_runs.rows if " on " in name.label]
    assert "machine" not in {key for key, _, _ in two_runs.facets}
    assert dict(two_runs.facts)["machine"] == EPYC
    assert "s-machines-differ" not in {sheet.id for sheet in two_runs.machines}


def test_what_a_newer_run_lost_is_said(make, run):
    lost = Failed(Stage.LOAD, "crash", "it crashed", "")
    row = make.row()
    gone = dataclasses.replace(row, latency=None, outcomes=dict.fromkeys(row.outcomes, lost))
    found = section(of_runs(merged([run([row]), run([gone], "01B")])), "runs")
    values = found.panels[0].tables[0].lines[0].values
    assert (values[0].text, values[0].aside, values[-1].text) == ("01B", "newer", "failed there")


# --- bad input ---------------------------------------------------------------------------------------------------


def test_runs_without_rows_are_said_in_words(make, run):
    bare = run((), "01B", trouble=NO_PLAN, manifest={}, machine="unnamed machine", hw_id="")
    view = of_runs(merged([run([make.row()]), bare]))
    assert [tag.detail for tag in view.notes if tag.text == "no rows"] == [
        f"Run 01B (unnamed machine): {NO_PLAN[:1].upper()}{NO_PLAN[1:]}."
    ]
    assert texts(view.machines[0])[1][-1] == "no rows"
    assert render(view)


def test_damage_is_said_also_of_one_run(make, run):
    view = of_runs(merged([run(make.varied(), damage=("records.jsonl:3: no JSON", "records.jsonl:4: no JSON"))]))
    assert [(tag.text, tag.detail) for tag in view.notes] == [
        ("damaged", "Not read: records.jsonl:3: no JSON (1 more).")
    ]


def test_nothing_completed_anywhere(make, run):
    rows = make.varied()[6:9]
    view = of_runs(merged([run(rows), run(rows, "01B", XEON, "bbbbbbbbbbbb")]))
    assert view.verdicts[0].headline == "Nothing can be said about speed."
    assert render(view)


def test_no_rows_at_all_are_a_page_too(run):
    view = of_runs(merged([run((), trouble=NO_PLAN, manifest={}), run((), "01B", trouble=NO_PLAN, manifest={})]))
    assert view.rows == ()
    assert render(view)


def test_manifests_without_anything_are_a_page_too(make, run):
    rows = [make.row()]
    sources = [run(rows, f"01{letter}", manifest={}, created_at="", suite="") for letter in "AB"]
    view = of_runs(merged(sources))
    assert view.title == "Inference report"
    assert render(view)


def test_schemas_of_several_versions_are_told_apart(make, run):
    rows = make.varied()
    old = run(rows, "01B", manifest=make.manifest(schema=0, harness_version="0.0.9"))
    view = of_runs(merged([run(rows), old]))
    head = [column.title for column in view.machines[0].columns]
    told = [(line[head.index("harness")], line[head.index("record schema")]) for line in texts(view.machines[0])]
    assert told == [("0.1.0", "1"), ("0.0.9", "0")]
    assert dict(view.facts)["harness"] == "0.0.9 and 0.1.0"


def test_hostile_runs_stay_text(make, run):
    worst = "".join(make.HOSTILE[:-1])
    sources = [
        run(
            make.hostile_rows()[:6],
            f"{worst}{place}",
            worst + place,
            worst + place,
            manifest=make.hostile_manifest(),
            suite=worst,
            damage=(worst,),
            created_at=worst,
        )
        for place in "AB"
    ]
    page = render(of_runs(merged(sources)))
    assert not re.search(r"<script>alert|<img", page)
    assert not set("\u202e\u2066\x00\x1b\ufffe") & set(page)


def test_completed_scenarios_of_other_runs_are_named(make, run):
    """A row whose newest run has no latency says that another has one."""
    row = make.row()
    only = dataclasses.replace(row, latency=None, outcomes={"memory": Completed()})
    found = section(of_runs(merged([run([row]), run([only], "01B")])), "runs")
    assert found.panels[0].tables[0].lines[0].values[-1].text == "latency not in both"


def test_a_launch_bears_its_number_in_its_own_run(make, run):
    response = Quantile(0.99, 3e7, None, None, 900.0, 368)
    tried = tuple(
        RateTried(launch, 60.0, response, Share(0, 900, 0.0, 0.01), stable=True, offered=900, answered=900)
        for launch in range(2)
    )
    rate = Interval(60.0, 59.0, 61.0, 2)
    server = Server(
        "s",
        "",
        1,
        1,
        50.0,
        99.0,
        searched=True,
        rate_hz=rate,
        tried=tried,
        lateness_ns=0.0,
        verdict="meets",
        message="",
    )
    runs = [run([make.row(engine=name, servers=(server,))], f"01{name.upper()}") for name in ("a", "b")]
    view = of_runs(merged(runs))
    (table,) = (
        table for panel in section(view, "load").panels for table in panel.tables if "every rate" in table.caption
    )
    place = [column.title for column in table.columns].index("launch")
    assert [line.values[place].text for line in table.lines] == ["0", "1"] * 2
