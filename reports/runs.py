"""What a page of several runs says of them: the runs, their machines side by side, how rows changed between them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from reports import units
from reports.method import flat, run_tells, short_ids
from reports.model import Column, Line, Panel, Section, Sheet, Table, Tag, Value
from reports.speed import estimated
from reports.steadiness import Steadiness
from reports.steadiness import notes as of_steadiness
from reports.text import clamp, counted, listed
from results.comparison import Verdict
from results.sources import mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reports.field import Field
    from reports.model import RowName
    from results.changes import Difference
    from results.merged import Earlier, Merged
    from results.sources import Source

_LONG = 60  # characters of a value that stands beside others
_NAMED = 6  # differences of an environment that a sentence names
_DIFFER = "-differ"  # ending of the id of a sheet of differences
_PAIRS = 4  # pairs of runs of which a panel tells the differences
_WORDS = {
    Verdict.IMPROVED: ("faster now", "good"),
    Verdict.REGRESSED: ("slower now", "bad"),
    Verdict.EQUIVALENT: ("the same", ""),
    Verdict.INCONCLUSIVE: ("cannot be told", "quiet"),
}


def facts(merged: Merged) -> Iterator[tuple[str, str]]:
    """Yield the facts at the head of the page."""
    days = sorted({source.created_at[:10] for source in merged.sources if source.created_at})
    several = len(merged.machines) > 1
    yield ("machines", str(len(merged.machines))) if several else ("machine", clamp(merged.machines[0], 120))
    yield "runs", str(len(merged.sources))
    yield "made", clamp(days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "", 60)
    yield "preset", _all_of(str(mapping(source.manifest.get("plan")).get("preset", "")) for source in merged.sources)
    yield "harness", _all_of(str(source.manifest.get("harness_version", "")) for source in merged.sources)


def _all_of(values: Iterable[str]) -> str:
    return clamp(listed(sorted({value for value in values if value})), 60)


def source_notes(source: Source) -> tuple[Tag, ...]:
    """Return what is to be said of one run as a whole: why it has no rows, what was damaged, whether it drifted."""
    found = []
    if source.trouble:
        found.append(Tag("no rows", "bad", f"{clamp(source.trouble[:1].upper() + source.trouble[1:], 300)}."))
    if source.damage:
        more = f" ({len(source.damage) - 1} more)" if len(source.damage) > 1 else ""
        found.append(Tag("damaged", "bad", f"Not read: {clamp(source.damage[0], 300)}{more}."))
    return (*found, *of_steadiness(Steadiness(source.drift, source.splits)))


def together(merged: Merged) -> tuple[Tag, ...]:
    """Return what is to be said of runs because they were put together."""
    return tuple(Tag("runs", "plain", clamp(note, 600)) for note in merged.notes)


def notes(merged: Merged) -> tuple[Tag, ...]:
    """Return what is to be said of the runs together, then of each that something is the matter with."""
    tells = run_tells(merged.sources)
    alone = [
        Tag(tag.text, tag.tone, f"Run {tells[source.run_id]}: {tag.detail}")
        for source in merged.sources
        for tag in source_notes(source)
        if tag.tone != "plain"
    ]
    return (*together(merged), *alone)


# --- sheets ------------------------------------------------------------------------------------------------------


def sheets(merged: Merged) -> tuple[Sheet, ...]:
    """Return the runs, then what differs between their machines, what is alike, and what differs around the runs."""
    found = [_runs(merged)]
    if len(merged.machines) > 1:
        newest = {source.machine: source for source in merged.sources}
        hardware = {machine: _described(newest[machine], "hardware") for machine in merged.machines}
        found += _side_by_side("machines", "Machines", hardware)
    tells = run_tells(merged.sources)
    around = {tells[source.run_id]: _described(source, "environment") for source in merged.sources}
    differing = [each for each in _side_by_side("environments", "Environments of the runs", around) if _differs(each)]
    return (*found, *differing)


def _differs(sheet: Sheet) -> bool:
    return sheet.id.endswith(_DIFFER)


def _runs(merged: Merged) -> Sheet:
    stands = Counter(row.run_id for row in merged.rows)
    columns = (
        Column("run", numeric=False),
        Column("suite", numeric=False),
        Column("machine", numeric=False),
        Column("made", numeric=False, hint="UTC"),
        Column("environment", numeric=False, hint="env_id: equal ones have the same system, limits and versions"),
        Column("harness", numeric=False),
        Column("record schema"),
        Column("launches", hint="on record"),
        Column("rows here", hint="of all its rows; of a row that a newer run of the machine measured, that one stands"),
        Column("remarks", numeric=False),
    )
    lines = tuple(
        (
            Value(clamp(source.run_id, 40), source.run_id),
            _word(source.suite),
            _word(source.machine),
            Value(date(source.created_at) or units.MISSING, source.created_at or None),
            _word(source.env_id),
            _word(str(source.manifest.get("harness_version", ""))),
            _word(str(source.manifest.get("schema", ""))),
            Value(f"{source.records:,}", source.records),
            Value(f"{stands[source.run_id]:,}", stands[source.run_id], f"of {len(source.rows):,}"),
            _remarks(source),
        )
        for source in merged.sources
    )
    return Sheet("s-runs", "Runs on this page, oldest first", columns, lines)


def _word(text: str) -> Value:
    return Value(clamp(text, _LONG), text) if text else Value(units.MISSING)


def _remarks(source: Source) -> Value:
    words = [tag.text for tag in source_notes(source) if tag.tone != "plain"]
    return Value(listed(words), tone="warn") if words else Value("none", tone="quiet")


def _described(source: Source, part: str) -> dict[str, str]:
    return dict(flat(dict(mapping(mapping(source.manifest.get("host")).get(part)))))


def _side_by_side(anchor: str, title: str, told: Mapping[str, Mapping[str, str]]) -> Iterator[Sheet]:
    """Yield a sheet of the facts that differ, with a column for each, and one of those that all have alike."""
    names = list(dict.fromkeys(name for described in told.values() for name in described))
    names.sort(key=lambda name: (not name.startswith("versions"), name))
    lines = {name: [described.get(name, units.MISSING) for described in told.values()] for name in names}
    differing = {name: values for name, values in lines.items() if len(set(values)) > 1}
    if differing:
        columns = (Column("fact", numeric=False), *(Column(clamp(each, _LONG), numeric=False) for each in told))
        yield Sheet(
            f"s-{anchor}{_DIFFER}",
            f"{title}: what differs",
            columns,
            tuple((_word(name), *map(_word, values)) for name, values in differing.items()),
        )
    if len(differing) < len(lines):
        yield Sheet(
            f"s-{anchor}-alike",
            f"{title}: what is alike",
            (Column("fact", numeric=False), Column("all of them", numeric=False)),
            tuple((_word(name), _word(values[0])) for name, values in lines.items() if name not in differing),
        )


# --- between runs ------------------------------------------------------------------------------------------------


def between(fields: Sequence[Field], merged: Merged) -> tuple[Section, ...]:
    """Return the section on rows that several runs of a machine measured, or nothing where there is none."""
    of_row: dict[str, list[Earlier]] = {}
    for earlier in merged.earlier:
        of_row.setdefault(earlier.variant_id, []).append(earlier)
    short = short_ids(merged.sources)
    panels = tuple(panel for field in fields if (panel := _panel(field, of_row, short)))
    if not panels:
        return ()
    count = Counter(earlier.verdict for earlier in merged.earlier if earlier.verdict)
    said = [f"{count[verdict]} {words}" for verdict, (words, _) in _WORDS.items() if count[verdict]]
    measured = (
        f"{counted(sum(count.values()), 'latency', 'latencies')} measured before: {listed(said)}. " if said else ""
    )
    section = Section(
        id="runs",
        title="Between the runs",
        short="Runs",
        lead=f"{measured}Of a row that several runs of one machine have, the newest that measured anything of it "
        "stands on this page; here is what the others say of it. Ratios are of latencies, by Welch’s test over "
        "launches, judged at a margin of 3 % over all of them (Holm): launches of different runs share no round, and "
        "are never paired.",
        panels=panels,
    )
    return (section,)


def _panel(field: Field, of_row: Mapping[str, Sequence[Earlier]], tells: Mapping[str, str]) -> Panel | None:
    found = [(name, row, earlier) for name, row in field for earlier in of_row.get(name.variant_id, ())]
    if not found:
        return None
    then = [earlier.latency.estimate for _, _, earlier in found if earlier.latency]
    scale = units.durations([*then, *(row.latency.host_to_host.estimate for _, row, _ in found if row.latency)])
    columns = (
        Column("other run", numeric=False),
        Column("median then", scale.unit, hint="host→host, 95 % interval over launches"),
        Column("median here", scale.unit),
        Column("here against then", "×", hint="below 1: faster here"),
        Column("verdict", numeric=False),
    )
    lines = tuple(
        Line(
            name.index,
            (
                Value(tells[earlier.run_id], earlier.run_id, "newer" if earlier.newer else ""),
                estimated(earlier.latency, scale) if earlier.latency else Value(units.MISSING),
                estimated(row.latency.host_to_host, scale) if row.latency else Value(units.MISSING),
                estimated(earlier.ratio, units.PLAIN) if earlier.ratio else Value(units.MISSING),
                _judged(earlier),
            ),
        )
        for name, row, earlier in found
    )
    table = Table(f"t-runs-{field.anchor}", f"Between the runs, {field.workload}", columns, lines)
    return Panel(field.workload, (), (table,), tuple(_causes(found, tells)))


def _judged(earlier: Earlier) -> Value:
    if earlier.verdict is not None:
        words, tone = _WORDS[earlier.verdict]
        return Value(words, words, tone=tone)
    if earlier.state != "completed":
        return Value(f"{earlier.state} there", earlier.state, tone="quiet")
    return Value("latency not in both", "not in both", tone="quiet")


def _causes(found: Sequence[tuple[RowName, object, Earlier]], tells: Mapping[str, str]) -> Iterator[str]:
    """Yield, for each pair of runs, what differs around them: the likeliest causes of a change first."""
    pairs = {(earlier.run_id, earlier.stands_run_id): earlier.differences for _, _, earlier in found}
    for (before, after), differences in list(pairs.items())[:_PAIRS]:
        said = [_difference(each) for each in differences[:_NAMED]]
        more = [f"{len(differences) - _NAMED} more"] if len(differences) > _NAMED else []
        changed = (
            f"the environment changed: {listed([*said, *more])}" if said else "nothing on record changed around them"
        )
        yield f"From {tells[before]} to {tells[after]} {changed}."
    if len(pairs) > _PAIRS:
        yield f"{len(pairs) - _PAIRS} more pairs of runs: their environments stand under Method."


def _difference(difference: Difference) -> str:
    return clamp(f"{difference.place} {_shown(difference.before)} → {_shown(difference.after)}", 160)


def _shown(value: object) -> str:
    return units.MISSING if value is None else clamp(str(value), _LONG)


def date(stamp: str) -> str:
    """Return ``2026-02-03 04:05 UTC`` from an ISO 8601 time in UTC, or the text itself where it is none."""
    day, _, clock = stamp.partition("T")
    if len(day) == 10 and clock[:5].count(":") == 1:
        return f"{day} {clock[:5]} UTC"
    return clamp(stamp, 40)
