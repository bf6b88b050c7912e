"""Bencher Metric Format: benchmark → measure → value with its bounds.

Source: bencher.dev, reference "Bencher Metric Format (BMF)". Bencher's own measures are ``latency`` in nanoseconds,
``throughput`` in operations per second and ``file-size`` in bytes; others are made when they are first seen.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from results.formats.figures import figures, figures_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    from results.changes import Comparison
    from results.formats.figures import Figure
    from results.quantities import Quantity
    from results.snapshot import Snapshot

_SLUGS = {
    "load": "load-time",
    "first": "first-inference-time",
    "rate": "rate-within-slo",
    "sustained": "sustained-throughput",
    "misses": "deadline-misses",
    "memory": "peak-memory",
    "size": "file-size",
}


class Bencher:
    """What ``bencher run --adapter json --file`` takes."""

    name = "bencher"
    suffix = ".json"
    description = "Bencher Metric Format JSON, for `bencher run --adapter json --file FILE`"
    step_file = ""

    def of_run(self, snapshot: Snapshot) -> str:
        """Return every figure; bounds are of the 95 % interval."""
        return _document(figures(snapshot))

    def of_comparison(self, comparison: Comparison) -> str:
        """Return the figures after the change: what was before is in Bencher already, or is none of its business."""
        return _document(figures_after(comparison))


def slug(known: Quantity) -> str:
    """Return the slug of the measure that a quantity is; lower case, digits and hyphens alone."""
    if known.name in _SLUGS:
        return _SLUGS[known.name]
    return f"latency-{known.name.replace('.', '-')}" if known.rule_name == "tail" else known.name


def _document(found: Iterable[Figure]) -> str:
    benchmarks: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for figure in found:
        interval = figure.interval
        metric = {"value": interval.estimate, "lower_value": interval.low, "upper_value": interval.high}
        measures = benchmarks[figure.name]
        measures[slug(figure.quantity)] = {key: value for key, value in metric.items() if value is not None}
    return json.dumps(benchmarks, allow_nan=False, indent=1, sort_keys=True) + "\n"
