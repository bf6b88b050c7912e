"""What a technique gave: each row of a named setting, or of a lower precision, against the row it differs from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from harness.statistics import CONFIDENCE
from harness.vocabulary import Precision
from results.rank import by_launch, launch_ratio
from results.row import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.vocabulary import Cell
    from results.row import MemoryUse, Row, Throughput

TECHNIQUES = ("fusion", "precision", "tuning", "memory", "threads", "layout")
"""Words that a suite has for a technique, in the order they are told."""
DEFAULT = "default"
PRECISION, THREADS = "precision", "threads"


@dataclass(frozen=True)
class Setting:
    """Named settings of an engine, as the suite of a run has them."""

    technique: str  # one of ``TECHNIQUES``; empty where the suite does not say
    description: str = ""


@dataclass(frozen=True)
class Points:
    """A change of the headline metric, 0.01 = one point; bounds where it was compared image by image."""

    estimate: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Effect:
    """Figures of a row with a setting, against those of the row without; ``None`` where not measured on both sides."""

    technique: str
    name: str  # of the configuration, or the precision
    base: str  # variant id
    subject: str  # variant id
    latency: Interval | None  # ratio subject / base: above 1 is slower
    throughput: Interval | None  # ratio subject / base: above 1 is more
    peak_bytes: Interval | None  # difference of mean peaks, subject - base
    accuracy: Points | None  # subject - base


def settings(manifest: Mapping[str, Any]) -> dict[tuple[str, str], Setting]:
    """Return the named settings of a run's suite by engine and name; what has another form is left out."""
    suite = manifest.get("suite")
    engines = suite.get("configurations") if isinstance(suite, Mapping) else None
    return {
        (str(engine), str(name)): Setting(str(told.get("technique") or ""), str(told.get("description") or ""))
        for engine, named in (engines.items() if isinstance(engines, Mapping) else ())
        if isinstance(named, Mapping)
        for name, told in named.items()
        if isinstance(told, Mapping)
    }


def effects(rows: Sequence[Row], known: Mapping[tuple[str, str], Setting]) -> tuple[Effect, ...]:
    """Return the effect of every row that differs from another by one setting, by technique, in the order of the rows.

    A configured row is held against the default one of its precision, a default one of another precision against
    FP32; workload, engine, environment, device, batch and threads are the same, threads only where they are not the
    technique. Left out are pairs of which nothing was measured on both sides, and those of which one ran elsewhere or
    at another precision than asked and the other did not: a row that did not run at INT8 tells no effect of INT8.
    """
    plain: dict[tuple[object, ...], Row] = {}
    for row in rows:
        if row.cell.configuration == DEFAULT:
            place = _place(row.cell, row.cell.precision)
            plain.setdefault(place, row)
            plain.setdefault((*place, row.cell.threads), row)
    found = []
    for row in rows:
        cell = row.cell
        if cell.configuration != DEFAULT:
            technique = known.get((cell.engine, cell.configuration), Setting("")).technique
            base = _base(cell, cell.precision, plain, any_threads=technique == THREADS)
            fair = base is not None and _astray(base) == _astray(row)
            effect = _effect(technique, cell.configuration, base, row) if base and fair else None
        elif cell.precision is not Precision.FP32:
            base = _base(cell, Precision.FP32, plain, any_threads=False)
            fair = base is not None and not _astray(base) and not _astray(row)
            effect = _effect(PRECISION, cell.precision.value, base, row) if base and fair else None
        else:
            continue
        if effect is not None:
            found.append(effect)
    order = {technique: place for place, technique in enumerate(TECHNIQUES)}
    return tuple(sorted(found, key=lambda effect: order.get(effect.technique, len(order))))


def _base(
    cell: Cell, precision: Precision, plain: Mapping[tuple[object, ...], Row], *, any_threads: bool
) -> Row | None:
    """Return the row to compare with: of the same threads where there is one."""
    place = _place(cell, precision)
    same = plain.get((*place, cell.threads))
    return plain.get(place) if same is None and any_threads else same


def _astray(row: Row) -> frozenset[str]:
    """Return how a row did not run as asked."""
    return frozenset(finding.kind for finding in row.findings) & {"fell-back", "other-precision"}


def _place(cell: Cell, precision: Precision) -> tuple[object, ...]:
    """Return what two rows have in common that differ by one setting: where they ran, and at which precision."""
    shared = cell.workload, cell.source_hash, cell.shape, cell.engine, cell.environment, cell.device, cell.batch
    return *shared, precision


def _effect(technique: str, name: str, base: Row, subject: Row) -> Effect | None:
    measured = (
        launch_ratio(by_launch(base.latency), by_launch(subject.latency)) if base.latency and subject.latency else None,
        _rate_ratio(base.throughput, subject.throughput) if base.throughput and subject.throughput else None,
        difference(_peaks(base.memory), _peaks(subject.memory)) if base.memory and subject.memory else None,
        _points(base, subject),
    )
    if not any(measured):
        return None
    return Effect(technique, name, base.variant_id, subject.variant_id, *measured)


def _rate_ratio(base: Throughput, subject: Throughput) -> Interval | None:
    rates = [dict(zip(each.launch_indices, each.launch_rates, strict=True)) for each in (base, subject)]
    if not all(each and min(each.values()) > 0 for each in rates):
        return None
    return launch_ratio(*rates)


def _peaks(use: MemoryUse) -> tuple[float, ...]:
    return use.launch_peaks or (use.peak,)


def difference(base: Sequence[float], other: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the difference of means, ``other`` - ``base``, with Welch's interval; one value a side gives no bounds.

    Launches of the memory scenario share nothing that a pair would cancel. Source: Welch, Biometrika 34, 1947.
    """
    first, second = np.asarray(base, dtype=np.float64), np.asarray(other, dtype=np.float64)
    estimate, launches = float(second.mean() - first.mean()), min(len(first), len(second))
    if launches < 2:
        return Interval(estimate, None, None, launches)
    parts = np.array([first.var(ddof=1) / len(first), second.var(ddof=1) / len(second)])
    total = float(parts.sum())
    if total == 0:
        return Interval(estimate, estimate, estimate, launches)
    # Of shares, whose squares do not vanish however small the variances are.
    degrees = 1 / float(((parts / total) ** 2 / (np.array([len(first), len(second)]) - 1)).sum())
    reach = float(special.stdtrit(degrees, (1 + confidence) / 2)) * math.sqrt(total)
    return Interval(estimate, estimate - reach, estimate + reach, launches)


def _points(base: Row, subject: Row) -> Points | None:
    one, other = base.accuracy, subject.accuracy
    if one is None or other is None or one.primary != other.primary or one.images != other.images:
        return None
    if base.cell.evaluation_hash != subject.cell.evaluation_hash:
        return None
    estimate = other.metrics[other.primary] - one.metrics[one.primary]
    change = other.change
    if change is not None and change.reference == base.label:
        return Points(estimate, change.low, change.high)
    return Points(estimate)
