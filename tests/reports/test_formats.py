"""The report as Markdown and as pictures: what they say, that hostile text is inert in them, and equal bytes."""

from __future__ import annotations

import html
import io
import re
import warnings
from dataclasses import replace

import pytest
from PIL import Image

from reports.formats import png
from reports.formats.markdown import markdown
from reports.model import (
    Axis,
    Bar,
    BarChart,
    Column,
    Curve,
    DotChart,
    LineChart,
    Panel,
    Path,
    Section,
    Sheet,
    TailChart,
    Track,
    TrackChart,
    Value,
    Verdict,
)
from reports.view import build


def view_of(make, rows, **options):
    return build(make.manifest(), rows, make.standings(rows), **options)


def told(make, rows):
    return markdown(view_of(make, rows), rows)


def table(text, workload):
    """Return the lines of a workload's table as cells, its head first."""
    part = text.split(f"## Table: {workload}\n\n")[1].split("\n\n")[0]
    return [line[2:-2].split(" | ") for line in part.splitlines()]


# --- Markdown ----------------------------------------------------------------------------------------------------


def test_the_verdict_comes_first_in_words(make):
    text = told(make, make.varied())
    assert text.startswith("# Inference report: quickstart\n")
    assert "**openvino int8 is the fastest.**" in text
    said = "- median latency, host→host: 5.00 ms &#91;4.95, 5.05&#93; (95 % interval over 5 launches)"
    assert said in text
    assert text.index("is the fastest") < text.index("## Table: lite0") < text.index("## Coverage")
    assert "- The fastest row shown to keep the accuracy target is onnxruntime fp32" in text


def test_the_table_has_the_shape_of_ultralytics(make):
    head, _, *lines = table(told(make, make.varied()), "lite0")
    assert head == [
        *("Model", "size (pixels)", "top-1 (points)", "latency (ms)", "throughput (items/s)"),
        *("params (M)", "FLOPs (B)", "remarks"),
    ]
    by_model = {line[0]: line for line in lines}
    assert by_model["openvino int8"] == [
        "openvino int8",
        "224",
        "79.0",
        "5.00 ± 0.05",
        "300 ± 3",
        "unknown",
        "unknown",
        "accuracy undecided",
    ]
    assert "torch int8" not in by_model, "what never ran has no line"


def test_what_one_row_tells_of_a_model_is_so_for_all_its_rows(make):
    row = make.row()
    flags = {"parameters": "2616248", "flops": "6500000000"}
    torch = replace(row, execution=replace(row.execution, flags=flags))
    other = make.row(engine="openvino", median_ms=5.0)
    _, _, *lines = table(told(make, [other, torch]), "lite0")
    assert [line[5:7] for line in lines] == [["2.62", "6.50"]] * 2
    smaller = replace(other, cell=replace(other.cell, shape=(3, 96, 96)))
    _, _, *lines = table(told(make, [smaller, torch]), "lite0")
    assert {tuple(line[5:7]) for line in lines} == {("unknown", "unknown"), ("2.62", "6.50")}


def test_only_a_whole_number_is_a_count(make):
    row = make.row()
    _, _, line = table(told(make, [replace(row, execution=replace(row.execution, flags={"flops": "many"}))]), "lite0")
    assert line[5:7] == ["unknown", "unknown"]


def test_one_launch_has_no_interval_and_other_inputs_have_their_shape(make):
    row = make.row(launches=1)
    row = replace(row, cell=replace(row.cell, shape=(3, 480, 640)))
    _, _, line = table(told(make, [row]), "lite0")
    assert line[1:5] == ["480×640", "80.0", "20.0", "75.0"]
    plain = replace(row, cell=replace(row.cell, shape=(128,)), accuracy=None)
    head, _, line = table(told(make, [plain]), "lite0")
    assert (line[1], "top-1 (points)" in head) == ("128", False)


def test_an_uneven_interval_shows_its_wider_half(make):
    row = make.row()
    uneven = replace(row.latency, host_to_host=replace(row.latency.host_to_host, low=19.9e6, high=21.0e6))
    _, _, line = table(told(make, [replace(row, latency=uneven)]), "lite0")
    assert line[3] == "20.0 ± 1.0"


def test_what_failed_and_what_to_doubt_is_told_with_its_hint(make):
    text = told(make, make.varied())
    assert "13 rows: " in text
    crash = next(line for line in text.splitlines() if "segmentation fault" in line)
    assert crash.startswith("- **failed** (steady: crash): the worker ended by signal 11")
    assert crash.endswith("lite0: torch int8. What to do: see its log")
    assert "- **other precision** (left out of the ranking): ran fp32" in text


def test_the_command_ends_it(make):
    text = told(make, make.varied())
    assert text.endswith("## To reproduce\n\n<code>harness run quickstart</code>\n")


def test_what_a_command_is_of_is_no_part_of_it(make):
    view = view_of(make, make.varied())
    two = "# run 01A\nharness run a.yaml\n# run 01B\nharness run b.yaml"
    text = markdown(replace(view, method=replace(view.method, command=two)), ())
    commands = "run 01A:\n\n<code>harness run a.yaml</code>\n\nrun 01B:\n\n<code>harness run b.yaml</code>\n"
    assert text.endswith(f"## To reproduce\n\n{commands}")


def test_a_screening_says_so_and_nothing_at_all_is_a_text_too(make):
    from harness.vocabulary import Finding

    rows = [make.row(launches=2, findings=(Finding("screening", "2 launches"),))]
    assert "**Screening: 2 launches per cell; nothing here is a recommendation.**" in told(make, rows)
    assert markdown(build({}, (), ()), ()).startswith("# Inference report\n")


def test_many_incidents_are_cut_and_counted(make):
    from harness.vocabulary import Failed, Stage

    rows = [
        make.row(engine=f"e{place}", median_ms=None, outcomes={"latency": Failed(Stage.LOAD, "k", f"reason {place}")})
        for place in range(45)
    ]
    text = told(make, rows)
    assert "\n- and 5 more" in text
    assert text.count("**failed**") == 40


def test_the_answer_and_the_machines_come_before_the_verdict(make):
    card = Verdict("lite0", "8 cameras", "Buy two.", (), (), ("One is too few.",))
    columns = (Column("limit", numeric=False), Column("saves", "%"))
    sheet = Sheet("s", "What each limit costs", columns, ((Value("p99|p"), Value("12", 12, "[9, 14]")),))
    answer = Section("recommendation", "Recommendation", "Answer", "", (Panel("lite0", card=card, sheets=(sheet,)),))
    rows = make.varied()
    text = markdown(replace(view_of(make, rows), answer=answer, machines=(sheet,)), rows)
    assert text.index("**Buy two.**") < text.index("is the fastest")
    assert "| limit | saves (%) |\n| --- | --: |\n| p99&#124;p | 12 &#91;9, 14&#93; |" in text
    assert text.count("What each limit costs:") == 2


def test_hostile_text_means_itself(make):
    rows = make.hostile_rows()
    view = build(make.hostile_manifest(), rows, make.standings(rows))
    text = markdown(view, rows)
    assert not set("\u202e\u2066\x00\x1b\ufffe`") & set(text)
    text.encode()
    assert not re.search(r"<(?!/?code>)", text)
    for workload in dict.fromkeys(name.workload for name in view.rows):
        assert workload
    heads = [line for line in text.splitlines() if line.startswith("| Model")]
    assert heads
    widths = {len(line.split(" | ")) for line in text.splitlines() if line.startswith("| ")}
    assert widths == {len(heads[0].split(" | "))}
    assert "&#60;script&#62;alert(1)&#60;/script&#62;" in text
    assert max(map(len, text.splitlines())) < 6000


def test_a_parser_sees_tables_and_no_element_of_a_stranger(make):
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table")
    rows = make.hostile_rows()
    page = parser.render(markdown(build(make.hostile_manifest(), rows, make.standings(rows)), rows))
    elements = set(re.findall(r"<([a-z0-9]+)", page))
    known = {
        "h1",
        "h2",
        "h3",
        "p",
        "strong",
        "ul",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "em",
        "ol",
    }
    assert elements <= known
    assert "<script>alert(1)</script>" in html.unescape(page)


def test_the_same_rows_give_the_same_text(make):
    rows = make.varied()
    assert told(make, rows) == markdown(view_of(make, rows), tuple(reversed(rows)))


# --- pictures ----------------------------------------------------------------------------------------------------


AXIS = Axis("latency, ms")
OTHERS = (
    TailChart(
        "t", "Tail", "d", AXIS, (Curve(0, ((5.0, 1.0), (6.0, 0.1)), "tip"), Curve(1, ((5.0, 1.0), (8.0, 0.5)), ""))
    ),
    BarChart("b", "Bars", "d", AXIS, ("import", "load", "first"), (Bar(0, (1.0, 2.0, 3.0), "tip"),)),
    TrackChart("m", "Tracks", "d", AXIS, ("a", "b", "c", "d"), (Track(0, (1.0, 2.0, 3.0, 3.5), "tip"),)),
    LineChart("l", "Lines", "d", AXIS, AXIS, (Path(0, ((1.0, 2.0), (3.0, 4.0)), "tip"),), rule=3.0, rule_label="SLO"),
)


def opened(data):
    return Image.open(io.BytesIO(data))


def colours(data):
    image = opened(data).convert("RGB")
    return {f"#{red:02x}{green:02x}{blue:02x}" for _, (red, green, blue) in image.getcolors(1 << 24)}


def test_every_chart_of_the_page_is_a_picture_with_a_safe_name(make):
    view = view_of(make, [make.row(engine="a"), make.row(engine="b", median_ms=14.0)])
    made = dict(png.pictures(view))
    expected = [chart for section in view.sections for panel in section.panels for chart in panel.charts]
    assert len(made) == len(expected) > 5
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*\.png", name) for name in made)
    for data in made.values():
        image = opened(data)
        assert image.format == "PNG"
        assert image.width == png.SCALE * (960 + 28)
        assert not {key.casefold() for key in image.info} & {"software", "date", "creation time"}


def test_the_same_chart_gives_the_same_bytes(make):
    first, second = (view_of(make, make.varied()) for _ in range(2))
    (chart, workload), (again, _) = png.frontiers(first)[0], png.frontiers(second)[0]
    assert png.picture(chart, first.rows, workload) == png.picture(again, second.rows, workload)


def test_the_colours_are_those_of_the_light_page(make):
    ((chart, workload), *_) = png.frontiers(view_of(make, make.varied()))
    data = png.picture(chart, view_of(make, make.varied()).rows, workload)
    seen = colours(data)
    light = set(png._light().values())
    assert "#ffffff" in seen
    assert len(seen & light) > 5
    assert not any(colour.startswith(("#0101", "#0102")) for colour in seen), "a token was left unpainted"


@pytest.mark.parametrize("chart", OTHERS, ids=lambda chart: type(chart).__name__)
def test_every_kind_of_chart_is_painted(make, chart):
    names = view_of(make, make.varied()).rows
    seen = colours(png.picture(chart, names, "lite0"))
    assert not any(colour.startswith(("#0101", "#0102")) for colour in seen)


def test_charts_of_one_id_do_not_overwrite_each_other(make):
    view = view_of(make, make.varied()[:3])
    found = next(part for part in view.sections if part.id == "latency")
    chart = found.panels[0].charts[0]
    assert isinstance(chart, DotChart)
    twice = replace(found, panels=(replace(found.panels[0], charts=(chart, replace(chart, id="../LATENCY x"))),) * 2)
    names = [name for name, _ in png.pictures(replace(view, sections=(twice,)))]
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*\.png", name) for name in names)


def test_hostile_names_are_drawn_as_text(make):
    rows = make.hostile_rows()
    view = build(make.hostile_manifest(), rows, make.standings(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for chart, workload in png.frontiers(view)[:2]:
            opened(png.picture(chart, view.rows, workload)).verify()
        latency = next(part for part in view.sections if part.id == "latency")
        chart = latency.panels[0].charts[0]
        opened(png.picture(chart, view.rows, make.HOSTILE[4])).verify()
