"""What many inferences do: to speed under full load for long, and to memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.arrivals import titled
from reports.field import grouped
from reports.model import Axis, Column, Line, LineChart, Panel, Path, Table, Value
from reports.speed import CURVES, estimated
from reports.text import counted
from results.procurement.power import of_device
from results.row import Interval
from results.scenarios.soak import SLOWED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.field import Field
    from reports.model import RowName
    from reports.units import Scale
    from results.driven import Growth, Soak

_MINUTES_FROM_S = 300.0
_PER = 1000
"""Inferences that growth is told over."""
_METERED = (
    Column(
        "energy", "J per inference", hint="at full load, by the counter that sees most of the device, of one launch"
    ),
    Column("power", "W", hint="at full load, idle draw included"),
)


# --- speed -------------------------------------------------------------------------------------------------------


def soaks(field: Field) -> Iterator[Panel]:
    """Yield one panel per soak that the suite names."""
    found = [(name, soak) for name, row in field for soak in row.soaks]
    for place, pairs in enumerate(grouped(found, lambda soak: soak.title)):
        pairs.sort(key=lambda pair: -pair[1].sustained)
        anchor, title = f"{field.anchor}-{place}", titled("Soak", pairs[0][1].title)
        metered = any(of_device(soak.energy, name.device) for name, soak in pairs)
        columns = (
            Column("sustained", "items/s", hint="over the last third"),
            Column("burst", "items/s", hint="over the first 10 seconds"),
            Column("sustained of burst", "×", hint="95 % interval over time, of one launch"),
            Column("slower after", "s", hint="below 97 % of the burst from then to the end"),
            Column("lasted", "s"),
            Column("streams"),
            *(_METERED if metered else ()),
        )
        lines = tuple(
            Line(name.index, (*_soak_values(soak), *(_energy_values(name, soak) if metered else ())))
            for name, soak in pairs
        )
        table = Table(f"t-soak-{anchor}", f"{title}, {field.workload}", columns, lines)
        watched = [(name, soak) for name, soak in pairs if soak.series]
        drawn = watched[:CURVES]
        notes = ["Every stream at work without a pause. One launch: its interval is over time, not over launches."]
        if len(watched) < len(pairs):
            notes.append(f"The course over time of {counted(len(pairs) - len(watched), 'row')} is not on record.")
        if len(drawn) < len(watched):
            notes.append(f"The {len(drawn)} fastest of {len(watched)} rows are drawn.")
        charts = (_soak_chart(anchor, drawn),) if drawn else ()
        yield Panel(field.workload, charts, (table,), tuple(notes), title)


def _soak_values(soak: Soak) -> tuple[Value, ...]:
    slowed = soak.slowed_after_s
    return (
        Value(units.significant(soak.sustained), soak.sustained),
        Value(units.significant(soak.burst), soak.burst),
        estimated(soak.ratio, units.PLAIN),
        Value(units.significant(slowed), slowed, tone="warn") if slowed is not None else _not_slowed(soak),
        Value(f"{soak.seconds:,.0f}", soak.seconds),
        Value(str(soak.streams), soak.streams),
    )


def _energy_values(name: RowName, soak: Soak) -> tuple[Value, ...]:
    found = of_device(soak.energy, name.device)
    if found is None or found.joules_per_inference is None:
        return Value(units.MISSING), Value(units.MISSING)
    joules = found.joules_per_inference
    return (
        Value(units.significant(joules.estimate), joules.estimate, f"{found.scope}, {found.source}"),
        Value(units.PLAIN.number(found.watts), found.watts),
    )


def _not_slowed(soak: Soak) -> Value:
    """Return that the rate never fell, or that nothing of the kind was shown."""
    kept = soak.ratio.low is not None and soak.ratio.low >= SLOWED
    return Value("never", None, tone="good") if kept else Value("not shown", None)


def _soak_chart(anchor: str, drawn: Sequence[tuple[RowName, Soak]]) -> LineChart:
    minutes = max(soak.seconds for _, soak in drawn) >= _MINUTES_FROM_S
    unit, divisor = ("min", 60.0) if minutes else ("s", 1.0)
    paths = tuple(
        Path(
            name.index,
            tuple((time_s / divisor, rate) for time_s, rate in soak.series),
            f"{name.label}: {units.significant(soak.burst)} items/s at first, {units.significant(soak.sustained)} "
            f"in the last third, × {units.ratio(soak.ratio).replace('×', '')}",
        )
        for name, soak in drawn
    )
    return LineChart(
        id=f"soak-{anchor}",
        title="Items per second over time",
        description=f"{counted(len(paths), 'row')} under full load. Burst and sustained rates are in the table below.",
        x=Axis(f"time since the start, {unit}"),
        y=Axis("items per second"),
        paths=paths,
    )


# --- memory ------------------------------------------------------------------------------------------------------


def growth(field: Field) -> Iterator[Panel]:
    """Yield the panel of memory over many inferences, where a row watched it."""
    pairs = [(name, row.growth) for name, row in field if row.growth]
    if not pairs:
        return
    pairs.sort(key=lambda pair: -pair[1].bytes_per_inference.estimate)
    scale = units.sizes(abs(_PER * found.bytes_per_inference.estimate) for _, found in pairs)
    columns = (
        Column("verdict", numeric=False),
        Column(f"over {_PER:,} inferences", scale.unit, hint="slope of the resident set, 95 % interval"),
        Column("inferences", hint="watched in each launch"),
        Column("launches"),
    )
    lines = tuple(Line(name.index, _growth_values(found, scale)) for name, found in pairs)
    table = Table(f"t-growth-{field.anchor}", f"Memory over many inferences, {field.workload}", columns, lines)
    note = (
        f"A row leaks where the whole interval of its slope lies above zero and {_PER:,} inferences come to more than "
        "1\u00a0MiB. The first tenth of the readings, in which buffers fill, is left out."
    )
    yield Panel(field.workload, (), (table,), (note,), "Memory over many inferences")


def _growth_values(found: Growth, scale: Scale) -> tuple[Value, ...]:
    slope = found.bytes_per_inference
    low, high = (None if bound is None else _PER * bound for bound in (slope.low, slope.high))
    shown, bounds = units.signed(Interval(_PER * slope.estimate, low, high, slope.launches), scale)
    return (
        Value("leaks", "leaks", tone="bad") if found.leaks else Value("no leak shown", "no leak shown"),
        Value(shown, slope.estimate, bounds or "no interval"),
        Value(f"{found.inferences:,}", found.inferences),
        Value(str(slope.launches), slope.launches),
    )
