"""From the rows of one run to everything its page says: pure, no drawing, no markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports import energy, execution, footprint, pareto, scenarios, speed
from reports.coverage import coverage
from reports.downloads import downloads
from reports.field import fields
from reports.method import launches_phrase, machine, method
from reports.model import View
from reports.names import named, ordered
from reports.steadiness import Steadiness, notes
from reports.text import clamp
from reports.verdict import caveats, verdict
from results.techniques import effects, settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from results.row import Row, Standing

__all__ = ["View", "build"]

_SCREENING = "nothing here is a recommendation"


def build(
    manifest: Mapping[str, Any],
    rows: Sequence[Row],
    standings: Sequence[Standing],
    *,
    records: int = 0,
    logs: Mapping[str, str] | None = None,
    steadiness: Steadiness | None = None,
) -> View:
    """Return the view of one run.

    ``records`` is the number of launches on record; ``logs`` maps a cell id to the path of its log relative to the
    folder that the page will lie in (a path that leads out of it is left out); ``steadiness`` is what is known of the
    machine over the run. Keys that the manifest lacks are left out of the page.
    """
    sequence = ordered(rows, standings)
    names = named(sequence, standings)
    groups = fields(sequence, names, standings)
    labels = {name.variant_id: name.label for name in names}
    given = effects(sequence, settings(manifest))
    plan = manifest.get("plan")
    plan = plan if isinstance(plan, dict) else {}
    suite = clamp(str(plan.get("suite", "")), 80)
    facts = (
        ("machine", machine(manifest)),
        ("made", _date(str(manifest.get("created_at", "")))),
        ("preset", clamp(str(plan.get("preset", "")), 40)),
        ("harness", clamp(str(manifest.get("harness_version", "")), 40)),
        ("run", clamp(str(manifest.get("run_id", "")), 40)),
    )
    launches = launches_phrase(groups)
    screening = any(group.standing.screening for group in groups) or any(
        finding.kind == "screening" for row in sequence if row.latency is None for finding in row.findings
    )
    return View(
        title=f"Inference report: {suite}" if suite else "Inference report",
        subtitle=suite,
        facts=tuple((key, value) for key, value in facts if value),
        banner=f"Screening: {launches or 'too few launches'} per cell; {_SCREENING}." if screening else "",
        rows=names,
        verdicts=tuple(verdict(group) for group in groups),
        caveats=caveats(sequence) if sequence else (),
        sections=(
            pareto.pareto(groups),
            speed.latency(groups),
            speed.tails(groups),
            speed.throughput(groups),
            *scenarios.under_load(groups),
            footprint.cold_start(groups),
            footprint.memory(groups),
            *energy.energy(groups),
            execution.what_the_engine_did(groups, given),
        ),
        particulars=tuple(execution.particulars(name, row, given, labels) for group in groups for name, row in group),
        coverage=coverage(groups, logs or {}),
        method=method(manifest, groups, records),
        downloads=downloads(str(manifest.get("run_id", "")), sequence),
        notes=notes(steadiness or Steadiness()),
        facets=tuple(
            (key, label, tuple(dict.fromkeys(str(getattr(name, key)) for name in names)))
            for key, label in (
                ("workload", "Workload"),
                ("engine", "Engine"),
                ("precision", "Precision"),
                ("device", "Device"),
                ("state", "State"),
            )
        ),
    )


def _date(stamp: str) -> str:
    """Return ``2026-02-03 04:05 UTC`` from an ISO 8601 time in UTC, or the text itself where it is none."""
    day, _, clock = stamp.partition("T")
    if len(day) == 10 and clock[:5].count(":") == 1:
        return f"{day} {clock[:5]} UTC"
    return clamp(stamp, 40)
