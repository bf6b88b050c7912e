"""From a stored run to rows: one per variant, everything derived from the records at read time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.vocabulary import Completed, Failed, Level, Skipped
from results.accuracy import TARGET, Evaluated, compared
from results.certificate import certify
from results.findings import Evidence, findings
from results.launches import CellHistory, histories
from results.measures import cold_start, latency, memory_use, throughput, worst_noise
from results.row import Row
from results.scenarios.camera import camera
from results.scenarios.end_to_end import end_to_end
from results.scenarios.energy import energy
from results.scenarios.growth import growth
from results.scenarios.loadgen import loadgen
from results.scenarios.sensors import sensors
from results.scenarios.server import server
from results.scenarios.soak import soak

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.vocabulary import Agreement, Cell, Outcome, Record
    from results.driven import Energy, Sensed, Soak
    from results.launches import Measured
    from results.row import Throughput
    from results.store import RunStore

_WORST = (Failed, Skipped, Completed)
SENTINEL = "sentinel"


def rows(store: RunStore, target: float = TARGET, known: Sequence[CellHistory] | None = None) -> tuple[Row, ...]:
    """Return one row per variant of the plan, in its order; what was skipped or never run is there too.

    ``target``: share of the FP32 metric to keep where the suite of the manifest sets none for the workload.
    ``known``: the histories of the run, where the caller has them already; reading them takes most of the time.
    Raises ``StoreError`` where the run cannot be read.
    """
    by_variant: dict[str, list[CellHistory]] = defaultdict(list)
    for history in histories(store) if known is None else known:
        if _is(history, SENTINEL):
            continue  # it watches the machine, and is no measurement of its row
        by_variant[history.planned.cell.variant_id].append(history)
    labels = _labels({key: group[0].planned.cell for key, group in by_variant.items()})
    drafts = [_draft(store, group, labels[key]) for key, group in by_variant.items()]
    judged = _with_accuracy(store, _certified(store, drafts, by_variant), by_variant, target)
    return tuple(
        replace(row, findings=findings(_evidence(store.manifest, row, by_variant[row.variant_id]))) for row in judged
    )


def _draft(store: RunStore, group: Sequence[CellHistory], label: str) -> Row:
    """Return a row without accuracy and findings."""
    by_scenario: dict[str, list[CellHistory]] = defaultdict(list)
    for history in group:
        by_scenario[history.planned.cell.scenario.name].append(history)
    timed = next((h for h in by_scenario["latency"] if h.measured), None)
    rates = [(throughput(h.measured), h) for h in by_scenario["throughput"] if h.measured]
    fastest: tuple[Throughput, CellHistory] | None = max(rates, key=lambda r: r[0].items_per_s.estimate, default=None)
    shown = {"latency": timed, "throughput": fastest[1] if fastest else None}
    cells = {name: shown.get(name) or among[0] for name, among in by_scenario.items() if among}
    records = [record for history in group for record in history.records]
    remembered = [record for history in by_scenario["memory"] for record in history.completed]
    completed = [record for history in group for record in history.completed]
    watched = timed or next((h for h in group if h.measured), None)
    driven = [history for history in group if history.measured]
    return Row(
        variant_id=group[0].planned.cell.variant_id,
        cell=(cells.get("latency") or group[0]).planned.cell,
        label=label,
        outcomes={name: _worst(among) for name, among in by_scenario.items() if among},
        cell_ids={name: history.planned.cell.cell_id for name, history in cells.items()},
        latency=latency(timed.measured, timed.planned.percentiles) if timed else None,
        throughput=fastest[0] if fastest else None,
        throughputs=tuple(sorted((rate for rate, _ in rates), key=_by_streams)),
        cold_start=cold_start(timed.completed) if timed else None,
        memory=memory_use(remembered),
        end_to_end=next((end_to_end(h.measured, h.planned.percentiles) for h in driven if _is(h, "end_to_end")), None),
        servers=tuple(server(history.measured) for history in driven if _is(history, "server")),
        cameras=tuple(camera(history.measured) for history in driven if _is(history, "camera")),
        soaks=tuple(_soak(store, history) for history in driven if _is(history, "soak")),
        growth=growth(remembered),
        loadgen=tuple(result for history in driven if _is(history, "mlperf") for result in loadgen(history.measured)),
        energy=_energy(store, timed.measured) if timed else (),
        sensors=_sensors(store, watched.measured) if watched else (),
        agreement=_agreement(completed),
        execution=next((r.execution for r in reversed(completed) if r.execution is not None), None),
        artifact=next((r.artifact for r in reversed(records) if r.artifact is not None), None),
        versions={name: version for record in records for name, version in record.versions.items()},
        noise=worst_noise(watched.completed) if watched else {},
    )


def _soak(store: RunStore, history: CellHistory) -> Soak:
    """Return what a soak says, with the energy that its inferences took, of the launch that it is of."""
    return replace(soak(history.measured), energy=_energy(store, history.measured[-1:]))


def _energy(store: RunStore, launches: Sequence[Measured]) -> tuple[Energy, ...]:
    return energy(launches, store.arrays, _at(store.manifest, "telemetry", "absent"))


def _sensors(store: RunStore, launches: Sequence[Measured]) -> tuple[Sensed, ...]:
    return sensors(launches, store.arrays, _at(store.manifest, "telemetry", "absent"))


def _by_streams(rate: Throughput) -> tuple[int, float]:
    return rate.streams, rate.items_per_s.estimate


def _is(history: CellHistory, kind: str) -> bool:
    return history.planned.cell.scenario.name == kind


def _certified(store: RunStore, drafts: Sequence[Row], by_variant: Mapping[str, Sequence[CellHistory]]) -> list[Row]:
    texts = {_attempt(record): text for record, text in zip(store.records(), store.digests(), strict=True)}
    certified = []
    for row in drafts:
        launches = [
            (record, texts[_attempt(record)]) for history in by_variant[row.variant_id] for record in history.completed
        ]
        calibrated = _at(store.manifest, "workloads", row.cell.workload).get("calibration_images", 0)
        certified.append(replace(row, certificate=certify(launches, calibrated)))
    return certified


def _attempt(record: Record) -> tuple[str, int, int]:
    return record.cell_id, record.launch.index, record.launch.attempt


def _with_accuracy(
    store: RunStore, drafts: Sequence[Row], by_variant: Mapping[str, Sequence[CellHistory]], target: float
) -> list[Row]:
    evaluated = {}
    for row in drafts:
        results = [record.accuracy for history in by_variant[row.variant_id] for record in history.completed]
        # One without its headline metric says nothing that could be shown or compared.
        told = [accuracy for accuracy in results if accuracy is not None and accuracy.primary in accuracy.metrics]
        last = told[-1] if told else None
        if last is not None:
            evaluated[row.variant_id] = Evaluated(row.cell, row.label, last)
    everyone = list(evaluated.values())
    judged = []
    for row in drafts:
        subject = evaluated.get(row.variant_id)
        if subject is None:
            judged.append(row)
            continue
        accuracy = _at(store.manifest, "suite", "workloads", row.cell.workload, "accuracy")
        result = compared(store, subject, everyone, accuracy.get("target", target))
        judged.append(replace(row, accuracy=result))
    return judged


def _evidence(manifest: Mapping[str, Any], row: Row, group: Sequence[CellHistory]) -> Evidence:
    workload = row.cell.workload
    overhead_ns = _at(manifest, "overhead").get("1")
    asked, facts = _at(manifest, "suite", "workloads", workload), _at(manifest, "workloads", workload)
    levels = [history.planned.level for history in group]
    return Evidence(
        row=row,
        level=Level.EMULATED if Level.EMULATED in levels else Level.NATIVE,
        histories=tuple(group),
        overhead_ns=float(overhead_ns) if isinstance(overhead_ns, int | float) else None,
        random_inputs=bool(facts.get("random_inputs", asked and not asked.get("data"))),
        calibration_overlap=int(facts.get("calibration_overlap", 0)),
    )


def _at(manifest: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return the mapping at a path of the manifest, empty where there is none."""
    found: object = manifest
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _worst(among: Sequence[CellHistory]) -> Outcome:
    outcomes = [history.outcome for history in among]
    return min(outcomes, key=lambda outcome: _WORST.index(type(outcome)))


def _agreement(records: Sequence[Record]) -> Agreement | None:
    known = [record.agreement for record in records if record.agreement is not None]
    return min(known, key=lambda agreement: agreement.cosine, default=None)


def _labels(cells: Mapping[str, Cell]) -> dict[str, str]:
    """Return a short name by variant, with the options where it would not tell two of one workload apart."""
    short = {key: _label(cell) for key, cell in cells.items()}
    count = Counter((cells[key].workload, label) for key, label in short.items())
    full = {}
    for key, label in short.items():
        options = " ".join(f"{name}={value}" for name, value in sorted(cells[key].options.items()))
        full[key] = f"{label} {options}".strip() if count[cells[key].workload, label] > 1 else label
    return full


def _label(cell: Cell) -> str:
    environment = f"@{cell.environment}" if cell.environment != "default" else ""
    configuration = f"+{cell.configuration}" if cell.configuration != "default" else ""
    threads = f" t{cell.threads}" if cell.threads is not None else ""
    return f"{cell.engine}{environment}{configuration} {cell.precision.value} {cell.device} b{cell.batch}{threads}"
