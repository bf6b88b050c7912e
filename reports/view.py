"""From rows to everything their page says, of one run or of many: pure, no drawing, no markup."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reports import cost, energy, execution, footprint, pareto, recommendation, runs, scaling, scenarios, slo, speed
from reports.coverage import coverage
from reports.downloads import downloads
from reports.field import fields
from reports.large import leading
from reports.method import launches_phrase, machine, method, methods
from reports.model import Method, View
from reports.names import named, ordered
from reports.steadiness import Steadiness, notes
from reports.text import clamp
from reports.verdict import caveats, verdict
from results.techniques import effects, settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reports.field import Field
    from reports.model import RowName, Section, Sheet, Tag
    from results.merged import Merged
    from results.procurement.offers import Recommendation
    from results.row import Row, Standing
    from results.techniques import Effect

__all__ = ["View", "build", "of_runs"]

_SCREENING = "nothing here is a recommendation"
_FACETS = (
    ("workload", "Workload"),
    ("engine", "Engine"),
    ("precision", "Precision"),
    ("device", "Device"),
    ("machine", "Machine"),
    ("state", "State"),
)


@dataclass(frozen=True)
class _Drawn:
    """The rows of a page, named, in groups."""

    rows: tuple[Row, ...]
    names: tuple[RowName, ...]
    groups: tuple[Field, ...]


@dataclass(frozen=True)
class _Around:
    """What a page says beside its rows."""

    suite: str
    facts: tuple[tuple[str, str], ...]
    stem: str  # of the names of its downloads
    effects: tuple[Effect, ...]
    method: Method
    notes: tuple[Tag, ...]
    logs: Mapping[str, str] = field(default_factory=dict)
    recommendations: Sequence[Recommendation] | None = None  # None: nobody asked
    between: tuple[Section, ...] = ()
    machines: tuple[Sheet, ...] = ()


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
    drawn = _drawn(rows, standings)
    remarks = notes(steadiness or Steadiness())
    return _page(drawn, _of_one(manifest, drawn, records, remarks, logs or {}))


def of_runs(
    merged: Merged, logs: Mapping[str, str] | None = None, recommendations: Sequence[Recommendation] | None = None
) -> View:
    """Return the view of one run or of several, on one machine or on many.

    ``logs`` maps a ``coverage.log_key`` to the path of a log, as in ``build``; with ``recommendations``, one for each
    workload asked for, the page begins with the answer. A page of one run says nothing of several.
    """
    drawn = _drawn(merged.rows, merged.standings)
    if len(merged.sources) == 1:
        source = merged.sources[0]
        remarks = (*runs.together(merged), *runs.source_notes(source))
        around = _of_one(source.manifest, drawn, source.records, remarks, logs or {}, recommendations)
        return _page(drawn, around)
    suites = sorted({source.suite for source in merged.sources})
    name = clamp(", ".join(filter(None, suites)), 80)
    around = _Around(
        suite=name,
        facts=tuple(runs.facts(merged)),
        stem=name,
        effects=tuple(_effects_by_run(drawn, merged)),
        method=methods(merged.sources, leading(drawn.groups)),
        notes=runs.notes(merged),
        logs=logs or {},
        recommendations=recommendations,
        between=runs.between(leading(drawn.groups), merged),
        machines=runs.sheets(merged),
    )
    return _page(drawn, around)


def _drawn(rows: Sequence[Row], standings: Sequence[Standing]) -> _Drawn:
    sequence = ordered(rows, standings)
    names = named(sequence, standings)
    return _Drawn(tuple(sequence), names, fields(sequence, names, standings))


def _of_one(
    manifest: Mapping[str, Any],
    drawn: _Drawn,
    records: int,
    remarks: tuple[Tag, ...],
    logs: Mapping[str, str],
    recommendations: Sequence[Recommendation] | None = None,
) -> _Around:
    plan = manifest.get("plan")
    plan = plan if isinstance(plan, dict) else {}
    return _Around(
        suite=clamp(str(plan.get("suite", "")), 80),
        facts=(
            ("machine", machine(manifest)),
            ("made", runs.date(str(manifest.get("created_at", "")))),
            ("preset", clamp(str(plan.get("preset", "")), 40)),
            ("harness", clamp(str(manifest.get("harness_version", "")), 40)),
            ("run", clamp(str(manifest.get("run_id", "")), 40)),
        ),
        stem=str(manifest.get("run_id", "")),
        effects=effects(drawn.rows, settings(manifest)),
        method=method(manifest, leading(drawn.groups), records),
        notes=remarks,
        logs=logs,
        recommendations=recommendations,
    )


def _effects_by_run(drawn: _Drawn, merged: Merged) -> Iterator[Effect]:
    """Yield what techniques gave within each run: rows of two runs differ in more than one setting."""
    for source in merged.sources:
        mine = [row for row in drawn.rows if row.run_id == source.run_id]
        yield from effects(mine, settings(source.manifest))


def _page(drawn: _Drawn, around: _Around) -> View:
    shown = leading(drawn.groups)
    labels = {name.variant_id: name.label for name in drawn.names}
    asked = around.recommendations
    return View(
        title=f"Inference report: {around.suite}" if around.suite else "Inference report",
        subtitle=around.suite,
        facts=tuple((key, value) for key, value in around.facts if value),
        banner=_banner(drawn),
        rows=drawn.names,
        verdicts=tuple(verdict(group) for group in drawn.groups[: len(shown)]),
        caveats=caveats(drawn.rows) if drawn.rows else (),
        sections=(
            slo.slo(shown),
            pareto.pareto(shown),
            scaling.scaling(shown),
            speed.latency(shown),
            speed.tails(shown),
            speed.throughput(shown),
            *scenarios.under_load(shown),
            footprint.cold_start(shown),
            footprint.memory(shown),
            *energy.energy(shown),
            execution.what_the_engine_did(shown, around.effects),
            cost.cost(asked or (), drawn.groups),
            *around.between,
        ),
        particulars=tuple(
            execution.particulars(name, row, around.effects, labels) for group in shown for name, row in group
        ),
        coverage=coverage(drawn.groups, around.logs),
        method=around.method,
        downloads=downloads(around.stem, drawn.rows),
        notes=around.notes,
        facets=tuple(
            (key, label, values)
            for key, label in _FACETS
            if (values := tuple(dict.fromkeys(str(getattr(name, key)) for name in drawn.names))) != ("",)
        ),
        answer=recommendation.answer(asked, drawn.groups) if asked is not None else None,
        machines=around.machines,
    )


def _banner(drawn: _Drawn) -> str:
    """Return that nothing is recommended, where there were too few launches for that."""
    screening = any(group.standing.screening for group in drawn.groups) or any(
        finding.kind == "screening" for row in drawn.rows if row.latency is None for finding in row.findings
    )
    launches = launches_phrase(drawn.groups)
    return f"Screening: {launches or 'too few launches'} per cell; {_SCREENING}." if screening else ""
