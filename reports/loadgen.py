"""What the official LoadGen said: scores in its own words, never among ours, never without their reservation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.field import grouped
from reports.model import Column, Line, Panel, Table, Value
from reports.speed import percentile
from reports.text import clamp
from results.scenarios.loadgen import NOT_VERIFIED, UNVERIFIED, headline, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.vocabulary import LoadGenRun
    from reports.field import Field
    from reports.model import RowName
    from results.driven import Beside, LoadGenResult

_SHORTENED = (
    "Seconds, queries or samples are fewer than the official settings ask for: compare these scores with each other, "
    "and with none that was published."
)


def loadgen(field: Field) -> Iterator[Panel]:
    """Yield one panel per way that LoadGen drove; one that is shorter than the rules ask bears no other name."""
    found = [(name, result) for name, row in field for result in row.loadgen]
    for place, pairs in enumerate(grouped(found, lambda result: (_called(result.run), result.run.mode))):
        run, anchor = pairs[0][1].run, f"{field.anchor}-{place}"
        title = f"{_called(run)}, {clamp(run.mode, 40)}"
        tables = (
            Table(f"t-loadgen-{anchor}", f"{title}, {field.workload}", *_scores(pairs)),
            Table(f"t-figures-{anchor}", f"{title}, every figure, {field.workload}", *_figures(pairs)),
        )
        # What results say of a shortened run names the benchmark to deny it; here it is not named at all.
        notes = words(run) if run.official else (NOT_VERIFIED, _SHORTENED)
        said = tuple(note if note.endswith(".") else f"{note}." for note in notes)
        yield Panel(field.workload, (), tables, said, title)


def _called(run: LoadGenRun) -> str:
    settings = "official MLPerf settings" if run.official else "shortened"
    return f"LoadGen {clamp(run.scenario, 40)}, {settings}, {UNVERIFIED}"


def _scores(pairs: Sequence[tuple[RowName, LoadGenResult]]) -> tuple[tuple[Column, ...], tuple[Line, ...]]:
    asked = sorted({beside.q for _, result in pairs for beside in result.beside})
    scale = units.durations(each.theirs_ns for _, result in pairs for each in result.beside)
    columns = (
        Column("score", hint="in LoadGen’s own words"),
        Column("status", numeric=False),
        Column("LoadGen says", numeric=False),
        *(Column(f"{percentile(q)}, LoadGen’s", scale.unit, hint="and ours, of the same queries") for q in asked),
        Column("version", numeric=False, hint="of LoadGen"),
    )
    lines = []
    for name, result in pairs:
        run, beside = result.run, {each.q: each for each in result.beside}
        values = (
            _score(run),
            Value(UNVERIFIED, UNVERIFIED, NOT_VERIFIED, tone="warn"),
            _verdict(run),
            *(_both(beside.get(q), scale) for q in asked),
            Value(run.version, run.version),
        )
        lines.append(Line(name.index, values))
    return columns, tuple(lines)


def _score(run: LoadGenRun) -> Value:
    found = headline(run)
    if found is None:
        return Value(units.MISSING)
    what, value, unit = found
    shown = f"{value:,.0f}" if unit == "samples" else units.significant(value)
    return Value(f"{shown}\u00a0{unit}", value, f"{what}, {UNVERIFIED}")


def _verdict(run: LoadGenRun) -> Value:
    if run.valid:
        return Value("VALID", "VALID", tone="good")
    return Value("INVALID", "INVALID", clamp("; ".join(run.reasons), 300), tone="bad")


def _both(beside: Beside | None, scale: units.Scale) -> Value:
    if beside is None:
        return Value(units.MISSING)
    return Value(scale.number(beside.theirs_ns), beside.theirs_ns, f"ours {scale.number(beside.ours_ns)}")


def _figures(pairs: Sequence[tuple[RowName, LoadGenResult]]) -> tuple[tuple[Column, ...], tuple[Line, ...]]:
    columns = (Column("figure", numeric=False, hint="in LoadGen’s own words"), Column("value"))
    lines = []
    for name, result in pairs:
        for key, value in result.run.figures.items():
            said, text = _figure(key, value)
            lines.append(Line(name.index, (Value(said, said), Value(text, value))))
    return columns, tuple(lines)


def _figure(key: str, value: float) -> tuple[str, str]:
    """Return the words of a figure, and its value with a unit where the words tell one."""
    said = clamp(key, 80)
    if "(ns)" in said or said.endswith("percentile estimate"):
        return " ".join(said.replace("(ns)", "").split()), units.duration(value)
    return said, units.significant(value)
