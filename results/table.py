"""Rows as one flat table: a data frame, CSV, JSON; units in the column names, empty where nothing was measured."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.codec import encode
from harness.vocabulary import Completed, Failed
from results.driven_columns import driven, interval, scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.vocabulary import Outcome
    from results.row import Row

SCENARIOS = ("latency", "throughput", "memory", "accuracy", "prove")
"""Scenarios with an outcome column of their own, whether or not the run has them; others have one where it does."""

_INTEGERS = {"batch", "threads", "latency_launches", "latency_iterations", "throughput_streams", "accuracy_images"}
_COUNTS = ("_iterations", "_launches", "_streams", "_frames", "_missed", "_dropped", "_overruns", "_inferences")
_WORDS = ("_outcome", "_verdict", "_status", "_name", "_counter", "_unavailable")
_TEXTS = {
    *("machine", "run_id"),
    *("workload", "engine", "environment", "configuration", "precision", "device", "options", "engine_version"),
    *("findings", "accuracy_metric", "accuracy_reference", "accuracy_verdict", "certificate_sha256", "variant_id"),
}


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return one line per row, in their order; columns depend on the rows through quantiles, scenarios and runs alone.

    Columns have nullable types: what was not measured is ``pd.NA``, never zero and never NaN.
    """
    columns, lines = _lines(rows)
    table = pd.DataFrame(lines, columns=columns, dtype=object)
    return table.astype({name: _type(name) for name in table.columns})


def to_csv(rows: Sequence[Row]) -> str:
    """Return the table as CSV with a header, an empty cell where nothing was measured.

    Text that a spreadsheet would take for a formula is preceded by an apostrophe (OWASP, CSV injection).
    """
    columns, lines = _lines(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _no_formula(value) for name, value in line.items()} for line in lines)
    return text.getvalue()


def to_json(rows: Sequence[Row]) -> str:
    """Return ``records`` as a JSON array of objects, one per row; ``null`` where nothing was measured, never NaN."""
    return json.dumps(records(rows), ensure_ascii=False, allow_nan=False, indent=1)


def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the table as one JSON-able mapping per row, every column in each; ``None`` where nothing was measured.

    ``certificate``, which no flat table has room for, is what ``certificate_sha256`` is the digest of.
    """
    columns, lines = _lines(rows)
    return [
        {**{name: line.get(name) for name in columns}, "certificate": encode(row.certificate)}
        for row, line in zip(rows, lines, strict=True)
    ]


def _type(column: str) -> str:
    if column in _INTEGERS or column.endswith(_COUNTS):
        return "Int64"
    if column == "ranked" or column.endswith(("_leaks", "_valid")):
        return "boolean"
    return "string" if column in _TEXTS or column.endswith(_WORDS) else "Float64"


def _lines(rows: Sequence[Row]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the columns and the line of each row; columns are those of the fullest, then what only others have."""
    lines = [_line(row) for row in rows]
    fullest = sorted(lines, key=len, reverse=True)
    return list(dict.fromkeys(name for line in fullest for name in line)), lines


def _line(row: Row) -> dict[str, Any]:
    cell = row.cell
    return {
        "workload": cell.workload,
        **{name: value for name, value in (("machine", row.machine), ("run_id", row.run_id)) if value},
        "engine": cell.engine,
        "environment": cell.environment,
        "configuration": cell.configuration,
        "precision": cell.precision.value,
        "device": cell.device,
        "batch": cell.batch,
        "threads": cell.threads,
        "options": json.dumps(dict(cell.options), sort_keys=True) if cell.options else None,
        "engine_version": row.versions.get(cell.engine),
        "ranked": row.ranked,
        **{f"{name}_outcome": _outcome(row.outcomes.get(name)) for name in SCENARIOS},
        **_driven_outcomes(row),
        **_latency(row),
        **interval("throughput_items_per_s", row.throughput.items_per_s if row.throughput else None),
        "throughput_streams": row.throughput.streams if row.throughput else None,
        **_cold_start(row),
        **_memory(row),
        **_accuracy(row),
        **driven(row),
        "artifact_mib": row.artifact.size_bytes / (1 << 20) if row.artifact else None,
        "findings": "; ".join(f"{finding.kind}: {finding.message}" for finding in row.findings) or None,
        "certificate_sha256": row.certificate.digest if row.certificate else None,
        "variant_id": row.variant_id,
    }


def _driven_outcomes(row: Row) -> dict[str, str | None]:
    """Return those of the scenarios without a column of their own; LoadGen's does not bear the benchmark's name."""
    others = {name: outcome for name, outcome in row.outcomes.items() if name not in SCENARIOS}
    return {f"{'loadgen' if name == 'mlperf' else name}_outcome": _outcome(outcome) for name, outcome in others.items()}


def _latency(row: Row) -> dict[str, Any]:
    found = row.latency
    columns = {
        **interval("latency_ms", found.host_to_host if found else None, 1e-6),
        "latency_launches": found.host_to_host.launches if found else None,
        "latency_iterations": found.iterations if found else None,
        "compute_ms": scaled(found.compute.estimate if found else None, 1e-6),
        "latency_mean_ms": scaled(found.mean_ns if found else None, 1e-6),
        "latency_min_ms": scaled(found.minimum_ns if found else None, 1e-6),
        "latency_max_ms": scaled(found.maximum_ns if found else None, 1e-6),
    }
    for quantile in found.quantiles if found else ():
        columns[f"latency_p{100 * quantile.q:g}_ms"] = scaled(quantile.value_ns, 1e-6)
    return columns


def _cold_start(row: Row) -> dict[str, Any]:
    found = row.cold_start
    return {
        "import_ms": scaled(found.imported.estimate if found else None, 1e-6),
        "load_ms": scaled(found.load.estimate if found else None, 1e-6),
        "first_inference_ms": scaled(found.first.estimate if found else None, 1e-6),
    }


def _memory(row: Row) -> dict[str, Any]:
    found = row.memory
    names = ("baseline", "imported", "loaded", "first", "peak")
    return {f"memory_{name}_mib": scaled(getattr(found, name, None), 1 / (1 << 20)) for name in names}


def _accuracy(row: Row) -> dict[str, Any]:
    found = row.accuracy
    change = found.change if found else None
    return {
        "accuracy_metric": found.primary if found else None,
        "accuracy": found.metrics.get(found.primary) if found else None,
        "accuracy_images": found.images if found else None,
        "accuracy_change": change.estimate if change else None,
        "accuracy_change_low": change.low if change else None,
        "accuracy_change_high": change.high if change else None,
        "accuracy_reference": change.reference if change else None,
        "accuracy_verdict": found.verdict if found else None,
        "agreement_cosine": row.agreement.cosine if row.agreement else None,
    }


def _outcome(outcome: Outcome | None) -> str | None:
    if outcome is None:
        return None
    if isinstance(outcome, Completed):
        return "completed"
    if isinstance(outcome, Failed):
        return f"failed at {outcome.stage.value}: {outcome.kind}"
    return f"skipped: {outcome.reason}"


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value
