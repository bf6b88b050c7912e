"""OpenMetrics text: gauges in base units, for Prometheus, GitLab's metrics reports and what else scrapes files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from results.changes import STATUS
from results.formats.figures import figures_of, named, named_after, names_of
from results.formats.words import line
from results.quantities import Rule, quantity
from results.snapshot import COMPLETED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from results.changes import Change, Comparison
    from results.formats.figures import Figure, Named
    from results.quantities import Quantity
    from results.row import Interval
    from results.snapshot import CellState, Snapshot


class _Base(NamedTuple):
    """The base unit that the specification asks for, and how many of ours make one."""

    name: str
    divisor: float


_BASES = {
    "ns": _Base("seconds", 1e9),
    "bytes": _Base("bytes", 1.0),
    "1/s": _Base("items_per_second", 1.0),
    "1": _Base("ratio", 1.0),
}
_STEMS = {
    "load": "load",
    "first": "first_inference",
    "rate": "rate_within_slo",
    "sustained": "sustained_throughput",
    "misses": "deadline_misses",
    "memory": "peak_memory",
    "size": "artifact_size",
}


class _Sample(NamedTuple):
    labels: Mapping[str, str]
    value: float


class _Family(NamedTuple):
    name: str  # without the unit
    unit: str
    help: str


class OpenMetrics:
    """One exposition; times are the scraper's, so it holds none."""

    name = "openmetrics"
    suffix = ".txt"
    description = "OpenMetrics text, for Prometheus, the Pushgateway and GitLab's metrics reports"
    step_file = ""

    def of_run(self, snapshot: Snapshot) -> str:
        """Return gauges of every figure with its bounds, and whether each cell completed."""
        return _document(snapshot, _of_cells(named(snapshot)))

    def of_comparison(self, comparison: Comparison) -> str:
        """Return the gauges after the change, and besides of each change its effect and whether it fails the gate."""
        names = names_of(comparison.changes)
        families = _of_cells(named_after(comparison))
        identity = comparison.rules.identity
        known = {identity(cell): cell for side in (comparison.before, comparison.after) for cell in side.cells}
        for change in comparison.changes:
            labels = _labels(names[change.key], known.get(change.key)) | {"quantity": change.quantity}
            for family, value in _of_change(change):
                families.setdefault(family, []).append(_Sample(labels, value))
        return _document(comparison.after, families)


def _of_cells(cells: Iterable[Named]) -> dict[_Family, list[_Sample]]:
    families: dict[_Family, list[_Sample]] = {}
    completed = _Family("harness_cell_completed", "", "Whether every launch of the cell that counts completed.")
    for each in cells:
        labels = _labels(each.name, each.cell)
        families.setdefault(completed, []).append(_Sample(labels, float(each.cell.status == COMPLETED)))
        for figure in figures_of(each):
            for family, value in _of_figure(figure):
                families.setdefault(family, []).append(_Sample(labels | _kind(figure), value))
    return families


def _of_figure(figure: Figure) -> list[tuple[_Family, float]]:
    base, interval = _BASES[figure.quantity.unit], figure.interval
    title = figure.quantity.title[0].upper() + figure.quantity.title[1:]
    stem = f"harness_{_stem(figure.quantity)}"
    parts = (
        (stem, f"{title}.", interval.estimate),
        (f"{stem}_lower", f"{title}: lower end of the 95 % interval.", interval.low),
        (f"{stem}_upper", f"{title}: upper end of the 95 % interval.", interval.high),
    )
    return [(_Family(name, base.name, told), value / base.divisor) for name, told, value in parts if value is not None]


def _of_change(change: Change) -> list[tuple[_Family, float]]:
    found = [(_Family("harness_change_fails_gate", "", "Whether the change fails the gate."), float(change.fails))]
    if change.effect is None or change.quantity == STATUS:
        return found
    if quantity(change.quantity).rule is Rule.POINTS:
        return [*found, *_bounded("harness_change_difference", "", "After minus before, a share", change.effect)]
    return [*found, *_bounded("harness_change", "ratio", "After over before", change.effect)]


def _bounded(stem: str, unit: str, told: str, effect: Interval) -> list[tuple[_Family, float]]:
    parts = (
        (stem, "", effect.estimate),
        (f"{stem}_lower", ", lower end of the 95 % interval", effect.low),
        (f"{stem}_upper", ", upper end of the 95 % interval", effect.high),
    )
    return [(_Family(name, unit, f"{told}{end}."), value) for name, end, value in parts if value is not None]


def _stem(known: Quantity) -> str:
    if known.rule_name == "tail":
        return f"latency_{known.name.replace('.', '_')}"
    return _STEMS.get(known.name, known.name)


def _labels(name: str, cell: CellState | None) -> dict[str, str]:
    labels = {"cell": name}
    if cell is None:
        return labels
    fields = ("workload", "engine", "precision", "device", "scenario")
    return labels | {field: getattr(cell, field) for field in fields}


def _kind(figure: Figure) -> dict[str, str]:
    return {"kind": figure.reading.name} if figure.reading.name else {}


def _document(snapshot: Snapshot, families: Mapping[_Family, Sequence[_Sample]]) -> str:
    facts = ("run_id", "created_at", "suite", "preset", "hw_id", "env_id", "harness_version")
    lines = ["# TYPE harness_run info", "# HELP harness_run The run that the other metrics are of."]
    lines.append(f"harness_run_info{_set({fact: getattr(snapshot, fact) for fact in facts})} 1")
    for family, samples in sorted(families.items()):
        name = f"{family.name}_{family.unit}" if family.unit else family.name
        lines.append(f"# TYPE {name} gauge")
        lines += [f"# UNIT {name} {family.unit}"] if family.unit else []
        lines.append(f"# HELP {name} {family.help}")
        lines += [f"{name}{_set(sample.labels)} {sample.value!r}" for sample in samples]
    return "\n".join([*lines, "# EOF", ""])


def _set(labels: Mapping[str, str]) -> str:
    """Return the labels of a sample; of their values, backslashes, quotes and line ends are escaped."""
    quoted = (f'{name}="{_escaped(line(value, 1000))}"' for name, value in labels.items())
    return f"{{{','.join(quoted)}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
