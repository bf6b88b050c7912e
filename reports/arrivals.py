"""What happens to work that arrives by a clock of its own: frames of cameras, queries of callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.field import grouped
from reports.model import Axis, Column, Dot, DotChart, Line, LineChart, Panel, Path, Table, Value
from reports.speed import CURVES, DRAWN, axis_of, drawn_of, estimated, percentile, quantiled
from reports.text import clamp, counted
from results.merged import own_launch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.field import Field
    from reports.model import RowName
    from reports.units import Scale
    from results.driven import Camera, RateTried, Server

TONES = {"holds": "good", "meets": "good", "misses": "bad", "undecided": "warn"}
"""How a verdict is coloured; every verdict is also a word."""
_PHASES = {"staggered": "staggered", "synchronous": "all at the same moment", "random": "each at a random phase"}
_DROPS = {"stale": "a frame gives way to its camera’s next one", "never": "no frame is left out"}
_VERDICTS = ("meets", "undecided", "misses")


def titled(kind: str, title: str) -> str:
    """Return the name of a panel: the kind of scenario, and what the suite calls it where that says more."""
    same = title.casefold() in {"", kind.casefold()}
    return kind if same else f"{kind}, {clamp(title, 60)}"


# --- cameras -----------------------------------------------------------------------------------------------------


def cameras(field: Field) -> Iterator[Panel]:
    """Yield one panel per setting of cameras."""
    found = [(name, camera) for name, row in field for camera in row.cameras]
    for place, pairs in enumerate(grouped(found, _setting)):
        pairs.sort(key=lambda pair: (pair[1].verdict != "holds", pair[1].missed.estimate, _response_ns(pair[1]) or 0.0))
        anchor = f"{field.anchor}-{place}"
        # A chart in which every row stands at nothing would decide nothing.
        drawn = len(pairs) > 1 and any(camera.missed.count for _, camera in pairs)
        yield Panel(
            field.workload,
            (_camera_chart(anchor, pairs[:DRAWN]),) if drawn else (),
            (_camera_table(field, anchor, pairs),),
            (_camera_note(pairs[0][1]), *(drawn_of(len(pairs)) if drawn else ())),
            titled("Camera", pairs[0][1].title),
        )


def _setting(camera: Camera) -> object:
    asked = (camera.cameras, camera.fps, camera.deadline_ms, camera.phase, camera.drop, camera.decode)
    return camera.title, *asked


def _camera_note(camera: Camera) -> str:
    several = f", {_PHASES.get(camera.phase, camera.phase)}" if camera.cameras > 1 else ""
    decoding = "decoding the image is part of the work" if camera.decode else "frames come decoded and pre-processed"
    return (
        f"{counted(camera.cameras, 'camera')} at {camera.fps:g}\u00a0frames/s{several}; every frame is due "
        f"{units.significant(camera.deadline_ms)}\u00a0ms after it arrives; {_DROPS.get(camera.drop, camera.drop)}; "
        f"{decoding}."
    )


def _camera_chart(anchor: str, pairs: Sequence[tuple[RowName, Camera]]) -> DotChart:
    dots = []
    for name, camera in pairs:
        shown, bounds = units.percent(camera.missed)
        tip = f"{name.label}: {shown} % missed {bounds}, {camera.missed.count:,} of {camera.missed.of:,} frames"
        missed = camera.missed
        dots.append(Dot(name.index, 100 * missed.estimate, 100 * missed.low, 100 * missed.high, tip, f"{shown}\u00a0%"))
    return DotChart(
        id=f"camera-{anchor}",
        title="Frames that missed their deadline",
        description=f"{counted(len(dots), 'row')}, fewest misses first, with exact 95 % intervals over frames. "
        "The table below holds the same numbers.",
        axis=Axis("share of frames missed, %"),
        dots=tuple(dots),
    )


def _camera_table(field: Field, anchor: str, pairs: Sequence[tuple[RowName, Camera]]) -> Table:
    scale = units.durations(_response_ns(camera) for _, camera in pairs)
    asked = sorted({quantile.q for _, camera in pairs for quantile in camera.quantiles if quantile.q > 0.5})
    columns = (
        Column("verdict", numeric=False),
        Column("missed", "%", hint="not done by the deadline, dropped frames included; exact 95 % interval"),
        Column("frames", hint="missed of all"),
        Column("dropped", hint="frames never worked on"),
        Column("overruns", hint="frames not done when their camera’s next one arrived"),
        Column("response", scale.unit, hint="median from arrival to final output, 95 % interval over launches"),
        *(Column(percentile(q), scale.unit, hint="of the response; only with enough samples") for q in asked),
        Column("worst excess", scale.unit, hint="of the latest frame beyond its deadline"),
        Column("streams"),
        Column("launches", hint="and the share of frames missed in the best and the worst of them"),
    )
    lines = tuple(Line(name.index, _camera_values(camera, asked, scale)) for name, camera in pairs)
    return Table(f"t-camera-{anchor}", f"{titled('Camera', pairs[0][1].title)}, {field.workload}", columns, lines)


def _camera_values(camera: Camera, asked: Sequence[float], scale: Scale) -> tuple[Value, ...]:
    missed, quantiles = camera.missed, {quantile.q: quantile for quantile in camera.quantiles}
    shown, bounds = units.percent(missed)
    by_launch = [units.significant(100 * share, 2) for share in sorted(camera.launch_misses)]
    spread = f"{by_launch[0]} to {by_launch[-1]} %" if len(set(by_launch)) > 1 else ""
    return (
        judged(camera.verdict),
        Value(shown, missed.estimate, bounds),
        Value(f"{missed.count:,}", missed.count, f"of {missed.of:,}"),
        Value(f"{camera.dropped:,}", camera.dropped),
        Value(f"{camera.overruns:,}", camera.overruns),
        estimated(camera.response, scale) if camera.response else Value(units.MISSING),
        *(quantiled(quantiles.get(q), scale) for q in asked),
        Value(scale.number(camera.worst_lateness_ns), camera.worst_lateness_ns),
        Value(str(camera.streams), camera.streams),
        Value(str(camera.launches), camera.launches, spread),
    )


def _response_ns(camera: Camera) -> float | None:
    return camera.response.estimate if camera.response else None


def judged(verdict: str) -> Value:
    """Return a verdict as a cell of its colour."""
    return Value(verdict, verdict, tone=TONES.get(verdict, ""))


# --- servers -----------------------------------------------------------------------------------------------------


def servers(field: Field) -> Iterator[Panel]:
    """Yield one panel per service level."""
    found = [(name, server) for name, row in field for server in row.servers]
    for place, pairs in enumerate(grouped(found, _level)):
        pairs.sort(key=lambda pair: (_order(pair[1]), -(pair[1].rate_hz.estimate if pair[1].rate_hz else 0.0)))
        anchor, first = f"{field.anchor}-{place}", pairs[0][1]
        title = titled("Server", first.title)
        scale = units.durations([first.slo_ms * 1e6])
        chart = _server_chart(anchor, pairs, scale)
        tables = (
            Table(f"t-server-{anchor}", f"{title}, {field.workload}", *_server_table(pairs)),
            Table(f"t-rates-{anchor}", f"{title}, every rate, {field.workload}", *_rates_table(pairs, scale)),
        )
        yield Panel(field.workload, (chart,) if chart else (), tables, (_server_note(first),), title)


def _level(server: Server) -> object:
    return server.title, server.slo_ms, server.slo_percentile, server.searched


def _order(server: Server) -> int:
    return _VERDICTS.index(server.verdict) if server.verdict in _VERDICTS else len(_VERDICTS)


def service_level(percent: float, limit_ms: float) -> str:
    """Return ``p99 ≤ 50.0 ms``; ``percent``: of the responses, 99 for p99."""
    return f"{percentile(percent / 100)} ≤ {units.significant(limit_ms)}\u00a0ms"


def _server_note(server: Server) -> str:
    found = "The highest rate that meets it was searched for" if server.searched else "The rate is the suite’s"
    return (
        f"Queries arrive at random and independently (Poisson). A response counts from when its query was due, waiting "
        f"included, and is to keep {service_level(server.slo_percentile, server.slo_ms)}. {found}."
    )


def _server_table(pairs: Sequence[tuple[RowName, Server]]) -> tuple[tuple[Column, ...], tuple[Line, ...]]:
    late = units.durations(server.lateness_ns for _, server in pairs)
    columns = (
        Column("verdict", numeric=False),
        Column("rate that meets it", "queries/s", hint="highest, 95 % interval over launches"),
        Column("streams"),
        Column("batch", hint="queries that a batch may hold"),
        Column("rates", hint="tried, over all launches"),
        Column("launches"),
        Column("generator late", late.unit, hint="99th percentile of how late queries were offered"),
        Column("in words", numeric=False),
    )
    lines = []
    for name, server in pairs:
        launches = len({tried.launch for tried in server.tried})
        rate = Value("none", None, tone="bad" if server.verdict == "misses" else "quiet")
        values = (
            judged(server.verdict),
            estimated(server.rate_hz, units.PLAIN) if server.rate_hz else rate,
            Value(str(server.streams), server.streams),
            Value(str(server.batch), server.batch),
            Value(f"{len(server.tried):,}", len(server.tried)),
            Value(str(launches), launches),
            Value(late.number(server.lateness_ns), server.lateness_ns),
            Value(server.message or units.MISSING, server.message or None),
        )
        lines.append(Line(name.index, values))
    return columns, tuple(lines)


def _rates_table(pairs: Sequence[tuple[RowName, Server]], scale: Scale) -> tuple[tuple[Column, ...], tuple[Line, ...]]:
    columns = (
        Column("rate tried", "queries/s"),
        Column(percentile(pairs[0][1].slo_percentile / 100), scale.unit, hint="of the response, 95 % interval"),
        Column("beyond the SLO", "%", hint="queries given up included; exact 95 % interval"),
        Column("queries", hint="answered, of those that were due"),
        Column("backlog", numeric=False),
        Column("launch", hint="counted from 0"),
    )
    lines = tuple(
        Line(name.index, _rate_values(tried, scale))
        for name, server in pairs
        for tried in sorted(server.tried, key=lambda tried: (tried.rate_hz, tried.launch))
    )
    return columns, lines


def _rate_values(tried: RateTried, scale: Scale) -> tuple[Value, ...]:
    shown, bounds = units.percent(tried.late)
    backlog = Value("has an end", "has an end") if tried.stable else Value("grows", "grows", tone="bad")
    return (
        Value(units.significant(tried.rate_hz), tried.rate_hz),
        quantiled(tried.response, scale),
        Value(shown, tried.late.estimate, bounds),
        Value(f"{tried.answered:,}", tried.answered, f"of {tried.offered:,}"),
        backlog,
        Value(str(own_launch(tried.launch)), own_launch(tried.launch)),
    )


def _server_chart(anchor: str, pairs: Sequence[tuple[RowName, Server]], scale: Scale) -> LineChart | None:
    """Return response against rate; ``None`` where no row was tried at two rates that it could stand."""
    points = {name.index: _points(server, scale) for name, server in pairs}
    drawn = [(name, server) for name, server in pairs if len({rate for rate, _ in points[name.index]}) > 1][:CURVES]
    if not drawn:
        return None
    first = drawn[0][1]
    slo = first.slo_ms * 1e6 / scale.divisor
    asked = percentile(first.slo_percentile / 100)
    paths = tuple(
        # Rates that launches tried are no course that anything took: joined, they would zigzag from launch to launch.
        Path(name.index, points[name.index], f"{name.label}: {server.message or server.verdict}", joined=False)
        for name, server in drawn
    )
    return LineChart(
        id=f"server-{anchor}",
        title=f"{asked} of the response against the rate of arrivals",
        description=f"{counted(len(paths), 'row')}, one mark per rate and launch, the SLO as a line. Rates at which "
        "the backlog grew, or with too few queries for the percentile, are in the table below alone.",
        x=Axis("queries per second"),
        y=axis_of(f"{asked} of the response, {scale.unit}", [slo, *(y for path in paths for _, y in path.points)]),
        paths=paths,
        rule=slo,
        rule_label=f"SLO, {service_level(first.slo_percentile, first.slo_ms)}",
    )


def _points(server: Server, scale: Scale) -> tuple[tuple[float, float], ...]:
    carried = (tried for tried in server.tried if tried.stable and tried.response.value_ns is not None)
    return tuple(sorted((tried.rate_hz, (tried.response.value_ns or 0.0) / scale.divisor) for tried in carried))
