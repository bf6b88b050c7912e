"""What the engine did: precision and device by share of the arithmetic, the graph, techniques, every row in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.proof import MAC_SHARE
from harness.vocabulary import State, Unknowable
from reports import sensors, techniques, units
from reports.model import Column, Line, Panel, Particulars, Section, Table, Value
from results.techniques import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.vocabulary import Execution, NoiseReading, TensorSpec
    from reports.field import Field
    from reports.model import RowName
    from results.certificate import Certificate
    from results.row import Row
    from results.techniques import Effect

_NOT_TOLD = "not told"
_TABLED = frozenset({"MACs by device", "MACs by precision", "threads", "streams"})
"""What the table above the particulars has, where it was told."""
_LEAD = (
    f"Read back from each runtime, not taken from the suite. A row is a precision only where at least "
    f"{100 * MAC_SHARE:.0f} % of its multiply-accumulates ran at it, on the device asked for."
)


def what_the_engine_did(fields: Sequence[Field], effects: Sequence[Effect]) -> Section:
    """Return what each runtime said about itself, beside what was asked of it, and what its techniques gave."""
    panels = (
        panel
        for field in fields
        for panel in (_what_ran(field), techniques.graphs(field), techniques.given(field, effects))
        if panel is not None
    )
    return Section(
        id="executed",
        title="What the engine did",
        short="Engine",
        lead=f"{_LEAD} {techniques.READING}" if effects else _LEAD,
        panels=tuple(panels),
        empty="No runtime could be asked what it executed.",
    )


def _what_ran(field: Field) -> Panel | None:
    pairs = [(name, row) for name, row in field if row.execution or row.artifact]
    if not pairs:
        return None
    columns = (
        Column("asked", numeric=False),
        Column("at asked precision", "% of MACs"),
        Column("executed", numeric=False, hint="share of multiply-accumulates by precision"),
        Column("device", numeric=False, hint="share of multiply-accumulates by device"),
        Column("threads"),
        Column("streams"),
        Column("route", numeric=False, hint="exporters from the source to the artifact"),
        Column("agreement", "cosine", hint="with the FP32 reference, lowest over outputs"),
    )
    table = Table(
        f"t-executed-{pairs[0][0].index}",
        f"What ran, {field.workload}",
        columns,
        tuple(_line(name, row) for name, row in pairs),
    )
    return Panel(field.workload, (), (table,), title="What ran")


def _line(name: RowName, row: Row) -> Line:
    execution, artifact, agreement = row.execution, row.artifact, row.agreement
    route = (*artifact.route, artifact.format) if artifact else ()
    values = (
        Value(f"{name.precision} on {name.device}", name.precision),
        _asked_share(name.precision, execution),
        _shares(execution.macs_by_precision if execution else None),
        _shares(execution.macs_by_device if execution else None),
        _count(execution.threads if execution else None),
        _count(execution.streams if execution else None),
        Value(" → ".join(route) or units.MISSING, " ".join(route) or None),
        Value(_cosine(agreement.cosine), agreement.cosine) if agreement else Value(units.MISSING),
    )
    return Line(name.index, values)


def _asked_share(precision: str, execution: Execution | None) -> Value:
    if execution is None:
        return Value(units.MISSING)
    if isinstance(execution.macs_by_precision, Unknowable):
        return Value(_NOT_TOLD, tone="quiet")
    share = execution.macs_by_precision.get(precision, 0.0)
    return Value(percent(share), share, tone="" if share >= MAC_SHARE else "bad")


def _shares(shares: Mapping[str, float] | Unknowable | None) -> Value:
    if shares is None:
        return Value(units.MISSING)
    if isinstance(shares, Unknowable):
        return Value(_NOT_TOLD, tone="quiet")
    text = share_text(shares)
    return Value(text, text)


def share_text(shares: Mapping[str, float]) -> str:
    """Return ``int8 97 %, fp32 3 %``, largest first."""
    parts = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    if len(parts) == 1:
        return parts[0][0]
    return ", ".join(f"{key} {percent(share)}\u00a0%" for key, share in parts) or units.MISSING


def percent(share: float) -> str:
    """Return a share in percent; 100 only where nothing is missing, 0 only where there is nothing."""
    if share in (0.0, 1.0):
        return f"{share * 100:.0f}"
    return f"{min(max(share * 100, 0.1), 99.9):.1f}"


def _cosine(cosine: float) -> str:
    """Return a cosine to the digits that tell it from 1."""
    return f"{cosine:.6f}" if cosine < 1 - 5e-7 else "1.000000"


def _count(value: int | Unknowable | None) -> Value:
    if value is None:
        return Value(units.MISSING)
    if isinstance(value, Unknowable):
        return Value(_NOT_TOLD, tone="quiet")
    return Value(str(value), value)


def particulars(name: RowName, row: Row, effects: Sequence[Effect], labels: Mapping[str, str]) -> Particulars:
    """Return every longer fact of one row, to unfold under its name; ``labels``: of every row, by variant id."""
    cells = ", ".join(f"{scenario} {cell_id[:12]}" for scenario, cell_id in sorted(row.cell_ids.items()))
    facts = [("row", row.label), ("variant", row.variant_id[:12]), ("cells", cells)]
    if row.certificate:
        facts.append(("certificate", f"sha256 {row.certificate.digest}"))
    if row.cell.configuration != DEFAULT:
        facts.append(("configuration", row.cell.configuration))
    if row.cell.options:
        facts.append(("options", _mapping(row.cell.options)))
    facts += [(f"export options, {step}", _mapping(options)) for step, options in sorted(row.cell.export.items())]
    facts += techniques.particulars(row, effects, labels)
    if row.versions:
        facts.append(("versions", _mapping(row.versions)))
    facts += _artifact(row)
    facts += _execution(row)
    facts += _inputs(row.certificate)
    if row.agreement:
        agreement = row.agreement
        parts = (
            f"cosine {_cosine(agreement.cosine)}",
            f"largest relative difference {units.significant(agreement.max_relative)}",
            f"signal to noise {agreement.snr_db:.1f} dB",
            f"over {agreement.inputs:,} inputs",
        )
        facts.append(("agreement with FP32", ", ".join(parts)))
    if row.accuracy:
        metrics = ", ".join(f"{key} {value:.4f}" for key, value in sorted(row.accuracy.metrics.items()))
        facts.append(("accuracy", metrics))
        if row.accuracy.change:
            change = row.accuracy.change
            facts.append(
                ("accuracy interval", f"{change.method}; {change.images:,} images; against {change.reference}")
            )
        facts += [("accuracy note", note) for note in row.accuracy.notes]
    if row.latency:
        medians = ", ".join(units.duration(median) for median in row.latency.launch_medians_ns)
        facts.append(("median of each launch", medians))
        if row.latency.unsteady_launches:
            facts.append(("unsteady launches", str(row.latency.unsteady_launches)))
    facts += sensors.facts(row)
    facts += [(f"finding, {finding.kind}", finding.message) for finding in row.findings]
    return Particulars(name.index, tuple((key, value) for key, value in facts if value))


def _artifact(row: Row) -> list[tuple[str, str]]:
    artifact = row.artifact
    if artifact is None:
        return []
    size = units.sizes([artifact.size_bytes]).quantity(artifact.size_bytes)
    facts = [
        ("artifact", f"{artifact.format}, {artifact.precision}, {size}, sha256 {artifact.content_hash[:16]}"),
        ("exporter versions", _mapping(artifact.versions)),
    ]
    if artifact.export_ns:
        facts.append(("export took", units.duration(artifact.export_ns)))
    return [*facts, *(("artifact note", note) for note in artifact.notes)]


def _execution(row: Row) -> list[tuple[str, str]]:
    """Return what the runtime told of itself beyond the tables, and once for each reason what it did not tell."""
    execution = row.execution
    if execution is None:
        return []
    told: tuple[tuple[str, Mapping[str, Any] | int | Unknowable], ...] = (
        ("nodes by device", execution.nodes_by_device),
        ("MACs by device", execution.macs_by_device),
        ("nodes by precision", execution.nodes_by_precision),
        ("MACs by precision", execution.macs_by_precision),
        ("threads", execution.threads),
        ("streams", execution.streams),
        ("nodes loaded", execution.graph_nodes),
        ("operators executed", execution.operators),
    )
    facts = [("device", execution.device)]
    untold: dict[str, list[str]] = {}
    for key, value in told:
        if isinstance(value, Unknowable):
            untold.setdefault(value.reason, []).append(key)
        elif key in _TABLED:
            continue
        elif isinstance(value, int):
            facts.append((key, str(value)))
        elif key.startswith("operators"):
            facts.append((key, ", ".join(techniques.ranked_kinds(value))))
        else:
            facts.append((key, _mapping(value)))
    facts += [(", ".join(keys), f"not told: {reason}") for reason, keys in untold.items()]
    if execution.inputs or execution.outputs:
        ends = (", ".join(map(_tensor, specs)) or "not told" for specs in (execution.inputs, execution.outputs))
        facts.append(("boundary as read back", " → ".join(ends)))
    return [*facts, *((key, value) for key, value in sorted(execution.flags.items()))]


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} {'×'.join(map(str, spec.shape))}"


def _inputs(certificate: Certificate | None) -> list[tuple[str, str]]:
    """Return which tensors and images a row was made with."""
    if certificate is None:
        return []
    told = (
        ("inputs in rotation", certificate.inputs),
        ("evaluated on", certificate.evaluation),
        ("calibrated on", certificate.calibration),
    )
    return [(key, f"{each.count:,}, sha256 {each.content_hash[:16]}") for key, each in told if each]


def _mapping(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(values.items()))


def noise(field: Field) -> Table | None:
    """Return the worst reading of every detector, or ``None`` where no row has any."""
    pairs = [(name, row.noise) for name, row in field if row.noise]
    detectors = sorted({detector for _, readings in pairs for detector in readings})
    if not detectors:
        return None
    limits = {
        detector: _measure(reading.limit, reading)
        for _, readings in pairs
        for detector, reading in readings.items()
        if reading.limit is not None
    }
    columns = tuple(
        Column(detector.replace("_", " "), f"limit {limits[detector]}" if detector in limits else "")
        for detector in detectors
    )
    lines = tuple(
        Line(name.index, tuple(_reading(readings.get(detector)) for detector in detectors)) for name, readings in pairs
    )
    return Table(f"t-noise-{pairs[0][0].index}", f"Noise, worst reading, {field.workload}", columns, lines)


def _reading(reading: NoiseReading | None) -> Value:
    if reading is None:
        return Value(units.MISSING)
    if reading.state is State.UNAVAILABLE:
        return Value("unavailable", None, tone="quiet")
    tone = "bad" if reading.state is State.BAD else ""
    if reading.value is None:
        return Value(str(reading.state.value), None, tone=tone)
    text = _measure(reading.value, reading)
    return Value(f"{text}, bad" if tone else text, reading.value, tone=tone)


def _measure(value: float, reading: NoiseReading) -> str:
    """Return a value in the unit of its reading; shares in percent."""
    if reading.unit == "share":
        return f"{units.significant(value * 100, 2)}\u00a0%"
    return f"{units.significant(value)}\u00a0{reading.unit}".strip()
