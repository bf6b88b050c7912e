"""The section on scenarios that look like production: what each says, and that absent ones say nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from harness.vocabulary import LoadGenRun
from reports.html import render
from reports.steadiness import Steadiness
from reports.view import build
from results.drift import Drift
from results.driven import (
    Beside,
    Camera,
    EndToEnd,
    Energy,
    Growth,
    LoadGenResult,
    RateTried,
    Server,
    Share,
    Soak,
)
from results.row import Interval, Quantile
from results.variance import Split

MS = 1e6


def quantile(q, value_ms, required=368, effective=1000.0):
    if value_ms is None:
        return Quantile(q, None, None, None, effective, required)
    return Quantile(q, value_ms * MS, 0.98 * value_ms * MS, 1.03 * value_ms * MS, effective, required)


def interval(estimate, spread=0.02, launches=5):
    return Interval(estimate, estimate * (1 - spread), estimate * (1 + spread), launches)


def end_to_end(total_ms):
    return EndToEnd(
        total=interval(total_ms * MS),
        preparation=interval(0.3 * total_ms * MS),
        inference=interval(0.6 * total_ms * MS),
        finish=interval(0.08 * total_ms * MS),
        quantiles=(quantile(0.5, total_ms), quantile(0.9, 1.1 * total_ms), quantile(0.99, None, effective=120.0)),
        launch_medians_ns=(total_ms * MS,) * 5,
        launch_indices=tuple(range(5)),
        iterations=500,
    )


def camera(missed=0, of=1500, **changes):
    low, high = (0.0, 0.002) if not missed else (missed / of * 0.8, min(1.0, missed / of * 1.2))
    made = Camera(
        cell_id="c",
        title="",
        cameras=1,
        fps=30.0,
        deadline_ms=33.3333,
        phase="staggered",
        drop="stale",
        decode=True,
        streams=1,
        launches=5,
        missed=Share(missed, of, low, high),
        launch_misses=(missed / of,) * 5,
        dropped=missed // 2,
        overruns=missed // 3,
        response=interval(20 * MS),
        quantiles=(quantile(0.5, 20.0), quantile(0.999, None, required=3688, effective=1400.0)),
        worst_lateness_ns=4 * MS if missed else 0.0,
        verdict="misses" if missed else "holds",
    )
    return replace(made, **changes)


def tried(rate, value_ms, launch=0, *, stable=True, late=0):
    of = int(10 * rate)
    return RateTried(
        launch=launch,
        rate_hz=rate,
        response=quantile(0.99, value_ms),
        late=Share(late, of, 0.0, min(1.0, (late + 5) / of)),
        stable=stable,
        offered=of,
        answered=of - late,
    )


def server(**changes):
    made = Server(
        cell_id="s",
        title="",
        streams=2,
        batch=4,
        slo_ms=50.0,
        slo_percentile=99.0,
        searched=True,
        rate_hz=interval(80.0),
        tried=(tried(60, 31.0), tried(80, 44.0), tried(100, 73.0, late=40), tried(140, None, stable=False, late=900)),
        lateness_ns=0.08 * MS,
        verdict="meets",
        message="p99 ≤ 50 ms up to 80 queries per second",
    )
    return replace(made, **changes)


NONE_MEETS = "no rate meets p99 ≤ 5 ms; the lowest seen was 21 ms"


def soak(burst, sustained, slowed=None, **changes):
    ratio = sustained / burst
    series = tuple((10.0 * step + 5, burst if step < 3 else sustained) for step in range(60))
    made = Soak("k", "", 2, 600.0, burst, sustained, Interval(ratio, 0.98 * ratio, 1.02 * ratio, 1), slowed, series)
    return replace(made, **changes)


def loadgen(*, official, scenario="SingleStream", valid=True):
    run = LoadGenRun(
        scenario=scenario,
        mode="PerformanceOnly",
        valid=valid,
        reasons=() if valid else ("Min duration satisfied: NO",),
        figures={"90.0th percentile latency (ns)": 21_400_000.0, "Early stopping 90.0th percentile estimate": 2.2e7},
        settings={},
        official=official,
        version="5.1",
        summary="MLPerf Results Summary",
    )
    return LoadGenResult("m", "mlperf", run, (Beside(0.5, 20.1 * MS, 20.2 * MS),))


@pytest.fixture
def rows(make):
    """Two rows of one workload with everything, and one with nothing of it."""
    first = make.row(
        engine="openvino",
        median_ms=14.0,
        end_to_end=end_to_end(19.0),
        cameras=(camera(), camera(title="night", cameras=8, phase="synchronous", drop="never", decode=False)),
        servers=(server(), server(title="strict", slo_ms=5.0, rate_hz=None, verdict="misses", message=NONE_MEETS)),
        soaks=(soak(140.0, 112.0, 60.0),),
        growth=Growth(1000, Interval(2100.0, 1900.0, 2300.0, 3), leaks=True),
        loadgen=(loadgen(official=False),),
        energy=(
            Energy("package", "rapl", interval(0.42), 9.5),
            Energy("gpu", "nvml", None, None, "no GPU is here"),
        ),
    )
    second = make.row(
        engine="torch",
        median_ms=20.0,
        end_to_end=end_to_end(26.0),
        cameras=(camera(120),),
        servers=(server(rate_hz=interval(55.0), verdict="undecided"),),
        soaks=(soak(100.0, 99.0),),
        growth=Growth(1000, Interval(-12.0, -80.0, 60.0, 3), leaks=False),
        loadgen=(loadgen(official=False, valid=False),),
        energy=(
            Energy("package", "rapl", interval(0.66), 11.0),
            Energy("gpu", "nvml", None, None, "no GPU is here"),
        ),
    )
    return first, second, make.row(engine="onnxruntime", median_ms=16.0)


def section(view, name="load"):
    return next((part for part in view.sections if part.id == name), None)


def view_of(make, rows, **options):
    return build(make.manifest(), rows, make.standings(rows), **options)


def panel(view, title):
    return next(part for part in section(view).panels if part.title == title)


def lines(view, title, table=0):
    """Return [(label, {column: value})] of a table, in its order."""
    found = panel(view, title).tables[table]
    heads = [column.title for column in found.columns]
    return [(view.rows[line.row].label, dict(zip(heads, line.values, strict=True))) for line in found.lines]


def test_there_is_no_section_where_nothing_of_it_was_measured(make):
    view = view_of(make, make.varied())
    assert section(view) is None
    assert "under load" not in render(view)


def test_panels_are_those_that_some_row_fills(make, rows):
    assert [part.title for part in section(view_of(make, rows)).panels] == [
        "End to end",
        "Camera",
        "Camera, night",
        "Server",
        "Server, strict",
        "Soak",
        "Memory over many inferences",
        "LoadGen SingleStream, shortened, unverified, PerformanceOnly",
    ]
    one = view_of(make, [replace(rows[0], **dict.fromkeys(("servers", "soaks", "loadgen"), ()), growth=None)])
    assert [part.title for part in section(one).panels] == ["End to end", "Camera", "Camera, night"]
    assert all(part.tables for part in section(one).panels)


def test_every_table_and_chart_has_an_id_of_its_own(make, rows):
    other = [replace(row, cell=replace(row.cell, workload="yolo"), variant_id=f"y{row.variant_id}") for row in rows]
    view = view_of(make, (*rows, *other))
    every = [part for group in view.sections for one in group.panels for part in (*one.tables, *one.charts)]
    assert len({part.id for part in every}) == len(every)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", part.id) for part in every)
    page = render(view)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_end_to_end_is_told_by_stage_with_intervals(make, rows):
    (label, told), _ = lines(view_of(make, rows), "End to end")
    assert label == "openvino fp32"
    assert (told["total"].text, told["total"].aside) == ("19.0", "[18.6, 19.4]")
    assert (told["preparation"].text, told["preparation"].aside) == ("5.70", "[5.59, 5.81]")
    assert (told["p99"].text, told["p99"].aside) == ("n too small", "120 of 368")
    assert (told["samples"].text, told["samples"].aside) == ("500", "5 launches")


def test_a_camera_has_its_verdict_and_its_bound(make, rows):
    view = view_of(make, rows)
    (first, held), (second, missed) = lines(view, "Camera")
    assert (first, second) == ("openvino fp32", "torch fp32"), "those that hold come first"
    assert (held["verdict"].text, held["verdict"].tone) == ("holds", "good")
    assert (held["missed"].text, held["missed"].aside) == ("0", "≤ 0.200")
    assert (missed["verdict"].text, missed["verdict"].tone) == ("misses", "bad")
    assert (missed["missed"].text, missed["missed"].aside) == ("8.00", "[6.40, 9.60]")
    assert (missed["frames"].text, missed["frames"].aside) == ("120", "of 1,500")
    assert (missed["dropped"].text, missed["overruns"].text, missed["worst excess"].text) == ("60", "40", "4.00")
    assert missed["p99.9"].aside == "1,400 of 3,688"
    said = panel(view, "Camera").notes[0]
    assert "1 camera at 30\u00a0frames/s; every frame is due 33.3\u00a0ms after it arrives" in said
    assert "decoding the image is part of the work" in said
    night = panel(view, "Camera, night").notes[0]
    assert "8 cameras at 30\u00a0frames/s, all at the same moment" in night
    assert "no frame is left out; frames come decoded" in night


def test_misses_are_drawn_where_rows_differ_in_them(make, rows):
    view = view_of(make, rows)
    (chart,) = panel(view, "Camera").charts
    assert [(dot.value, dot.shown) for dot in chart.dots] == [(0.0, "0\u00a0%"), (pytest.approx(8.0), "8.00\u00a0%")]
    assert panel(view, "Camera, night").charts == ()


def test_a_server_names_the_rate_that_meets_its_slo(make, rows):
    view = view_of(make, rows)
    (first, met), (_, undecided) = lines(view, "Server")
    assert first == "openvino fp32"
    assert (met["rate that meets it"].text, met["rate that meets it"].aside) == ("80.0", "[78.4, 81.6]")
    assert (met["verdict"].tone, undecided["verdict"].tone) == ("good", "warn")
    assert met["in words"].text == "p99 ≤ 50 ms up to 80 queries per second"
    assert "p99 ≤ 50.0\u00a0ms. The highest rate that meets it was searched for." in panel(view, "Server").notes[0]
    ((_, none),) = lines(view, "Server, strict")
    assert (none["rate that meets it"].text, none["in words"].text) == ("none", NONE_MEETS)
    assert none["verdict"].tone == "bad"


def test_every_rate_tried_is_told(make, rows):
    told = [line for label, line in lines(view_of(make, rows), "Server", 1) if label == "openvino fp32"]
    assert [line["rate tried"].text for line in told] == ["60.0", "80.0", "100", "140"]
    assert told[1]["p99"].text == "44.0"
    assert told[3]["p99"].text == "n too small"
    assert (told[3]["backlog"].text, told[3]["backlog"].tone) == ("grows", "bad")
    assert (told[2]["queries"].text, told[2]["queries"].aside) == ("960", "of 1,000")


def test_the_slo_is_a_line_in_the_chart_of_rates(make, rows):
    (chart,) = panel(view_of(make, rows), "Server").charts
    assert (chart.rule, chart.rule_label) == (50.0, "SLO, p99 ≤ 50.0\u00a0ms")
    assert chart.paths[0].points == ((60, 31.0), (80, 44.0), (100, 73.0)), "what grew without end has no place in it"


def test_one_rate_makes_no_chart(make, rows):
    given = server(searched=False, tried=(tried(60, 31.0, 0), tried(60, 33.0, 1)))
    view = view_of(make, [replace(rows[0], servers=(given,))])
    assert panel(view, "Server").charts == ()
    assert panel(view, "Server").notes[0].endswith("The rate is the suite’s.")


def test_a_soak_without_its_course_is_told_without_a_chart(make, rows):
    bare = replace(rows[1], soaks=(soak(100.0, 99.0, series=()),))
    view = view_of(make, [rows[0], bare])
    assert [path.row for path in panel(view, "Soak").charts[0].paths] == [0]
    assert "The course over time of 1 row is not on record." in panel(view, "Soak").notes
    alone = view_of(make, [bare])
    assert panel(alone, "Soak").charts == ()
    assert "is not on record" in render(alone)


def test_a_soak_that_was_metered_shows_what_it_took(make, rows):
    energy = (Energy("dram", "rapl", interval(0.05), 3.0), Energy("package", "rapl", interval(0.31), 42.0))
    told = [replace(rows[0], soaks=(replace(rows[0].soaks[0], energy=energy),)), rows[1]]
    columns = panel(view_of(make, told), "Soak").tables[0].columns
    assert [(column.title, column.unit) for column in columns[-2:]] == [("energy", "J per inference"), ("power", "W")]
    (_, first), (_, second) = lines(view_of(make, told), "Soak")
    assert (first["energy"].text, first["energy"].aside, first["power"].text) == ("0.310", "package, rapl", "42.0")
    assert (second["energy"].text, second["power"].text) == ("—", "—")
    assert "energy" not in lines(view_of(make, rows), "Soak")[0][1]


def test_a_soak_shows_what_is_left_and_since_when(make, rows):
    view = view_of(make, rows)
    (first, slower), (_, steady) = lines(view, "Soak")
    assert first == "openvino fp32"
    assert (slower["sustained"].text, slower["burst"].text) == ("112", "140")
    assert (slower["sustained of burst"].text, slower["sustained of burst"].aside) == ("0.800", "[0.784, 0.816]")
    assert (slower["slower after"].text, slower["slower after"].tone) == ("60.0", "warn")
    assert (steady["slower after"].text, steady["slower after"].tone) == ("never", "good")
    (chart,) = panel(view, "Soak").charts
    assert chart.x.title == "time since the start, min"
    assert chart.paths[0].points[0] == (pytest.approx(5 / 60), 140.0)
    assert "× 0.800 [0.784, 0.816]" in chart.paths[0].tip


def test_growth_is_signed_and_judged(make, rows):
    (first, leaks), (_, flat) = lines(view_of(make, rows), "Memory over many inferences")
    assert first == "openvino fp32"
    assert (leaks["verdict"].text, leaks["verdict"].tone) == ("leaks", "bad")
    column = next(iter(panel(view_of(make, rows), "Memory over many inferences").tables)).columns[1]
    assert (column.title, column.unit) == ("over 1,000 inferences", "KiB")
    assert leaks["over 1,000 inferences"].text == "+2,051"
    assert flat["verdict"].text == "no leak shown"
    assert flat["over 1,000 inferences"].text.startswith("−11.7")


def test_scopes_of_energy_are_never_in_one_table(make, rows):
    view = view_of(make, rows)
    package, gpu = section(view, "energy").panels
    (found,) = package.tables
    told = [(view.rows[line.row].label, line.values[0].text, line.values[0].aside) for line in found.lines]
    assert told == [("openvino fp32", "0.420", "[0.412, 0.428]"), ("torch fp32", "0.660", "[0.647, 0.673]")]
    assert (gpu.tables, gpu.notes) == ((), ("Not to be had for 2 rows: no GPU is here.",))
    assert "By the package" in render(view)


def test_energy_that_was_not_to_be_had_is_one_line_with_its_reason(make, rows):
    absent = Energy("package", "rapl", None, None, "this machine shows no powercap")
    view = view_of(make, [replace(row, energy=(absent,)) for row in rows])
    found = section(view, "energy")
    assert found.panels == ()
    assert found.empty == "No energy was to be had, of the package: this machine shows no powercap."
    assert section(view_of(make, [replace(row, energy=()) for row in rows]), "energy") is None


def test_scores_of_loadgen_are_unverified_and_shortened_ones_bear_no_other_name(make, rows):
    page = render(view_of(make, rows))
    start, end = page.index('<section id="load"'), page.index('<section id="cold-start"')
    assert "Result not verified by MLCommons Association." in page
    assert "mlperf" not in page[start:end].casefold()
    view = view_of(make, rows)
    told = dict(lines(view, "LoadGen SingleStream, shortened, unverified, PerformanceOnly"))
    assert {line["status"].text for line in told.values()} == {"unverified"}
    good, bad = told["openvino fp32"], told["torch fp32"]
    assert good["score"].text == "22.0\u00a0ms"
    assert good["score"].aside == "p90 latency, early-stopping estimate, unverified"
    assert (good["LoadGen says"].text, bad["LoadGen says"].text) == ("VALID", "INVALID")
    assert bad["LoadGen says"].aside == "Min duration satisfied: NO"
    assert (good["p50, LoadGen’s"].text, good["p50, LoadGen’s"].aside) == ("20.2", "ours 20.1")


def test_an_official_run_bears_the_name_and_its_reservation(make, rows):
    view = view_of(make, [replace(rows[0], loadgen=(loadgen(official=True),))])
    title = "LoadGen SingleStream, official MLPerf settings, unverified, PerformanceOnly"
    assert panel(view, title).notes[0] == "Result not verified by MLCommons Association."
    figures = [line["figure"].text for _, line in lines(view, title, 1)]
    assert figures == ["90.0th percentile latency", "Early stopping 90.0th percentile estimate"]
    assert [line["value"].text for _, line in lines(view, title, 1)] == ["21.4\u00a0ms", "22.0\u00a0ms"]


def test_the_page_draws_all_of_it(make, rows):
    page = render(view_of(make, rows))
    assert page == render(view_of(make, rows)), "the same bytes"
    assert '<a href="#load">Under load</a>' in page
    for title in ("p99 of the response against the rate of arrivals", "Items per second over time"):
        figure = page[page.index(title) - 200 :]
        assert 'role="img"' in figure[:4000]
    assert "SLO, p99 ≤ 50.0" in page


def test_titles_of_the_suite_are_shown_as_text(make, rows):
    hostile = make.HOSTILE[0]
    row = replace(
        rows[0],
        cameras=(camera(title=hostile),),
        servers=(server(title=hostile),),
        soaks=(soak(9.0, 8.0, title=hostile),),
    )
    assert hostile not in render(view_of(make, [row]))


@pytest.mark.parametrize(
    ("count", "of", "low", "high", "told"),
    [
        (0, 1000, 0.0, 0.003, ("0", "≤ 0.300")),
        (1000, 1000, 0.997, 1.0, ("100", "≥ 99.70")),
        (999, 1000, 0.9944, 0.99997, ("99.90", "[99.44, 100.00]")),
        (3, 1000, 0.0006, 0.0087, ("0.300", "[0.060, 0.870]")),
    ],
)
def test_only_nothing_reads_0_and_only_all_reads_100(count, of, low, high, told):
    from reports.units import percent

    assert percent(Share(count, of, low, high)) == told


def test_the_run_is_told_to_drift_or_not(make, rows):
    drifted = Drift(found=True, message="the machine drifted: the sentinel became 8.0% slower", ratio=None, points=())
    splits = [Split(None, 0.02, 0.05, 5, 1), Split(None, 0.04, 0.07, 5, 1)]
    view = view_of(make, rows, steadiness=Steadiness(drifted, splits))
    first, second = view.notes
    assert (first.text, first.tone) == ("drift", "warn")
    assert first.detail == "The machine drifted: the sentinel became 8.0% slower."
    assert second.detail == (
        "Latency varies by 3.0\u00a0% from launch to launch and 6.0\u00a0% from iteration to iteration: standard "
        "deviations over 2 latency cells, the middle one of each."
    )
    assert "the sentinel became 8.0% slower" in render(view)
    steady = Drift(found=False, message="no drift in 8 launches", ratio=None, points=())
    assert view_of(make, rows, steadiness=Steadiness(steady)).notes[0].tone == "plain"
    assert view_of(make, rows).notes == ()
    assert view_of(make, rows, steadiness=Steadiness(None, [Split(None, None, None, 1, 1)])).notes == ()


def test_a_camera_whose_frames_were_all_dropped_has_no_response(make, rows):
    none = camera(1500, response=None, quantiles=(), dropped=1500)
    view = view_of(make, [replace(rows[0], cameras=(none,)), replace(rows[1], cameras=(camera(),))])
    _, (_, told) = lines(view, "Camera")
    assert (told["missed"].text, told["response"].text) == ("100", "—")


def test_the_verdict_says_which_deadlines_and_slos_its_leader_does_not_hold(make):
    broken = [replace(row, cameras=(camera(missed=120),), servers=(server(verdict="misses"),)) for row in make.varied()]
    said = "\n".join(text for each in view_of(make, broken).verdicts for text in each.sentences)
    assert "misses the deadline of" in said
    assert "in 8.00\u00a0% of the frames (95\u00a0%: [" in said
    assert "under server: misses, " in said
    kept = [replace(row, cameras=(camera(),), servers=(server(),)) for row in make.varied()]
    assert not any("deadline" in text for each in view_of(make, kept).verdicts for text in each.sentences)
