"""The section a buyer reads first: what each row carries within the service level that the suite asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.arrivals import judged, service_level
from reports.held import cameras
from reports.model import Column, Dot, DotChart, Figure, Line, Panel, Section, Table, Value, Verdict
from reports.speed import DRAWN, axis_of, drawn_of, estimated, percentile
from reports.text import NAMED, counted, listed, who
from reports.workloads import called, workloads
from results.scenarios.server import MEETS, highest_met
from results.served import lowest_missed, served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reports.field import Field
    from reports.model import RowName
    from results.driven import Server
    from results.served import Served

_ARRIVALS = ("server", "camera")


def slo(fields: Sequence[Field]) -> Section:
    """Return the highest rates of arrivals within each service level, and the cameras held within each deadline."""
    return Section(
        id="slo",
        title="Throughput at the SLO",
        short="SLO",
        lead="The highest rate of arrivals at which the response still kept the service level, waiting included: what "
        "a machine can be planned with. Batches compete, since a rate is of queries. Brackets are 95 % intervals over "
        "launches. Every rate and every deadline in detail stand under “How it behaves under load”.",
        panels=tuple(panel for group in workloads(fields) for kind in (_levels, cameras) for panel in kind(group)),
        empty=_nothing(fields),
    )


def _nothing(fields: Sequence[Field]) -> str:
    asked = [kind for kind in _ARRIVALS if any(kind in row.outcomes for field in fields for _, row in field)]
    if asked or not fields:
        return "No row completed a measurement under arrivals; every reason is under Coverage."
    return (
        "No row was measured under arrivals. The suite does not ask for the scenario “server”, which searches for the "
        "highest rate within an SLO, nor for “camera”, which counts missed deadlines: name them in matrix.scenario, "
        "and the limit as scenarios.server.slo_ms."
    )


# --- rates within an SLO -----------------------------------------------------------------------------------------


def _levels(group: Sequence[Field]) -> Iterator[Panel]:
    pairs = {name.variant_id: (name, row) for field in group for name, row in field}
    for place, level in enumerate(served([row for _, row in pairs.values()])):
        labels = {key: called(*pairs[key], group) for key in level.servers}
        names = {key: pairs[key][0] for key in level.servers}
        anchor = f"{group[0].anchor}-{place}"
        met = [key for key, server in level.servers.items() if server.verdict == MEETS]
        chart = (_chart(anchor, level, met[:DRAWN], names, labels),) if len(met) > 1 else ()
        yield Panel(
            group[0].workload,
            chart,
            (_table(anchor, level, names, group[0].workload),),
            drawn_of(len(met)),
            called_level(level),
            _card(level, names, labels, group[0].workload),
        )


def called_level(level: Served) -> str:
    """Return ``p99 ≤ 50.0 ms``."""
    return service_level(level.percentile, level.limit_ms)


def _card(level: Served, names: Mapping[str, RowName], labels: Mapping[str, str], workload: str) -> Verdict:
    return Verdict(
        workload=workload,
        about=f"response {called_level(level)}",
        headline=_headline(level, labels),
        leaders=tuple(names[key].index for key in level.best),
        figures=tuple(_figures(level, labels)),
        sentences=tuple(_sentences(level, labels)),
    )


def _headline(level: Served, labels: Mapping[str, str]) -> str:
    within = f"within {called_level(level)}"
    if not level.best:
        return f"No row is shown to carry any rate {within}."
    first = labels[level.best[0]]
    if len(level.best) == 1:
        others = sum(server.verdict == MEETS for server in level.servers.values()) - 1
        most = "carries the most" if others else "alone is shown to carry a rate"
        return f"{first} {most} {within}: {_rate(level.servers[level.best[0]])} queries/s."
    tied = [labels[key] for key in level.best]
    if not level.tested:
        return f"Equal: {who(tied)} carry the same {within}."
    if len(level.best) > NAMED:
        return f"A tie of {len(level.best)} rows: {first} carries the most {within}, and they cannot be told apart."
    return f"A tie: {listed(tied)} carry the most {within}, and cannot be told apart."


def _figures(level: Served, labels: Mapping[str, str]) -> Iterator[Figure]:
    if not level.best:
        return
    server = level.servers[level.best[0]]
    assert server.rate_hz is not None, "what meets the level has a rate"
    launches = counted(server.rate_hz.launches, "launch", "launches")
    bounds = units.PLAIN.bounds(server.rate_hz)
    note = f"95 % interval over {launches}" if bounds else f"{launches}: no interval"
    if not server.searched:
        note = "the rate that the suite gives; more was not tried"
    yield Figure(f"{labels[level.best[0]]}, {called_level(level)}", _rate(server), "queries/s", bounds, note)
    runner_up = next((key for key in level.ratio_to_best if key not in level.best), None)
    if runner_up is not None:
        share = level.ratio_to_best[runner_up]
        yield Figure(
            f"of that rate: {labels[runner_up]}",
            units.significant(share.estimate),
            "×",
            units.PLAIN.bounds(share),
            "the next highest",
        )


def _sentences(level: Served, labels: Mapping[str, str]) -> Iterator[str]:
    ahead = [key for key in level.servers if _leads(level, key)]
    for key in ahead[:NAMED]:
        yield f"{labels[key]} carried {_rate(level.servers[key])} queries/s, but is left out of the ranking."
    if level.best and len(level.servers) > 1 and not level.tested:
        yield "Rates that the suite gives, or of one launch, have no spread: they are compared as they are."
    open_ended = [labels[key] for key in level.best[:NAMED] if lowest_missed(level.servers[key]) is None]
    if open_ended:
        verb = "was" if len(open_ended) == 1 else "were"
        yield f"{listed(open_ended)} {verb} tried at no rate that missed: there may be more."
    for verdict in ("undecided", "misses"):
        told = [labels[key] for key, server in level.servers.items() if server.verdict == verdict]
        if told:
            yield f"{verdict.capitalize()}: {who(told)}."
    if level.screening:
        yield "Screening: fewer than five launches; nothing here is a recommendation."


def _leads(level: Served, key: str) -> bool:
    """Return whether a row that may not be the best met a higher rate than the best: the reader would see it anyway."""
    if key in level.best or level.servers[key].verdict != MEETS or key in level.ratio_to_best:
        return False
    rates = [server.rate_hz.estimate for each in level.best if (server := level.servers[each]).rate_hz]
    mine = level.servers[key].rate_hz
    return mine is not None and (not rates or mine.estimate > rates[0])


def _rate(server: Server) -> str:
    return units.significant(server.rate_hz.estimate) if server.rate_hz else units.MISSING


def _chart(
    anchor: str, level: Served, keys: Sequence[str], names: Mapping[str, RowName], labels: Mapping[str, str]
) -> DotChart:
    dots = []
    for key in keys:
        rate = level.servers[key].rate_hz
        assert rate is not None, "what meets the level has a rate"
        shown = units.significant(rate.estimate)
        tip = f"{labels[key]}: {shown} queries/s {units.PLAIN.bounds(rate)}".rstrip()
        other = "" if labels[key] == names[key].label else labels[key]
        dots.append(Dot(names[key].index, rate.estimate, rate.low, rate.high, tip, f"{shown}\u00a0/s", label=other))
    return DotChart(
        id=f"slo-{anchor}",
        title=f"Highest rate within {called_level(level)}",
        description=f"{counted(len(dots), 'row')}, highest first, with 95 % intervals over launches. "
        "The table below holds the same numbers, and the rows that met no rate.",
        axis=axis_of("queries per second", [dot.value for dot in dots]),
        dots=tuple(dots),
    )


def _table(anchor: str, level: Served, names: Mapping[str, RowName], workload: str) -> Table:
    scale = units.durations([level.limit_ms * 1e6])
    columns = (
        Column("rate within the SLO", "queries/s", hint="highest, 95 % interval over launches"),
        Column("of the best", "×", hint="ratio of rates; “tie”: no test tells it from the best"),
        Column(percentile(level.percentile / 100), scale.unit, hint="at that rate, in the launch where it was highest"),
        Column("missed at", "queries/s", hint="the lowest rate above it that missed; a dash: none was tried"),
        Column("streams"),
        Column("batch", hint="queries that a batch may hold"),
        Column("launches"),
        Column("verdict", numeric=False),
    )
    lines = tuple(Line(names[key].index, _values(level, key, scale)) for key in level.servers)
    return Table(f"t-slo-{anchor}", f"Rates within {called_level(level)}, {workload}", columns, lines)


def _values(level: Served, key: str, scale: units.Scale) -> tuple[Value, ...]:
    server = level.servers[key]
    missed = lowest_missed(server)
    best = highest_met(server.tried).values()
    responses = [tried.response.value_ns for tried in best if tried.response.value_ns is not None]
    response = max(responses, default=None) if server.rate_hz else None
    launches = server.rate_hz.launches if server.rate_hz else len({tried.launch for tried in server.tried})
    return (
        estimated(server.rate_hz, units.PLAIN) if server.rate_hz else Value("none", None, tone="quiet"),
        _share(level, key),
        Value(scale.number(response), response),
        Value(units.PLAIN.number(missed), missed),
        Value(str(server.streams), server.streams),
        Value(str(server.batch), server.batch),
        Value(str(launches), launches),
        judged(server.verdict),
    )


def _share(level: Served, key: str) -> Value:
    if key in level.best[:1]:
        return Value("1.00", 1.0, "best")
    share = level.ratio_to_best.get(key)
    tie = key in level.best
    if share is None:
        return Value("equal", 1.0) if tie else Value("not ranked", tone="quiet")
    aside = f"{units.PLAIN.bounds(share)}{', tie' if tie else ''}".removeprefix(", ")
    return Value(units.significant(share.estimate), share.estimate, aside)
