"""The JSON of pytest-benchmark: a round is a launch, so that its own commands compare what was really replicated."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from results.formats.amounts import unit_name
from results.formats.benchmark_statistics import stored
from results.formats.figures import figures, figures_after

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from results.changes import Comparison
    from results.formats.figures import Figure
    from results.snapshot import Snapshot

_TIMED = ("latency", "throughput", "load", "first")
"""Quantities that launches have values of in nanoseconds, or in items per second: then the time of one item."""


class PytestBenchmark:
    """What ``pytest-benchmark compare FILE`` and ``pytest --benchmark-compare`` read."""

    name = "pytest-benchmark"
    suffix = ".json"
    description = "pytest-benchmark JSON, for `pytest-benchmark compare FILE`; a round is a launch"
    step_file = ""

    def of_run(self, snapshot: Snapshot) -> str:
        """Return every timed quantity, grouped by what it is; what has no launches to compare is in ``extra_info``."""
        return _document(snapshot, figures(snapshot))

    def of_comparison(self, comparison: Comparison) -> str:
        """Return the figures after the change: export each side to compare two files."""
        return _document(comparison.after, figures_after(comparison))


def machine_info(
    hw_id: str, env_id: str, hardware: Mapping[str, Any], environment: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fingerprint in the form that machines have there, the hardware's id in place of the host's name."""
    processor = hardware.get("cpu")
    name = processor.get("name", "") if isinstance(processor, dict) else ""
    return {
        "node": hw_id,
        "processor": name,
        "machine": hardware.get("architecture", ""),
        "python_version": environment.get("python", ""),
        "release": environment.get("kernel", ""),
        "system": environment.get("system", ""),
        "cpu": dict(hardware),
        "env_id": env_id,
    }


def _document(snapshot: Snapshot, found: Sequence[Figure]) -> str:
    among: dict[int, list[Figure]] = defaultdict(list)
    for figure in found:
        among[id(figure.cell)].append(figure)
    value = {
        "machine_info": machine_info(snapshot.hw_id, snapshot.env_id, snapshot.hardware, snapshot.environment),
        "commit_info": _commit_info(snapshot),
        "benchmarks": [_benchmark(figure, among[id(figure.cell)]) for figure in found if _is_timed(figure)],
        "datetime": snapshot.created_at,
        "version": f"inference-harness {snapshot.harness_version}",
    }
    return json.dumps(value, allow_nan=False, indent=1, sort_keys=True) + "\n"


def _commit_info(snapshot: Snapshot) -> dict[str, Any]:
    told = snapshot.environment.get("revision")
    revision = told if isinstance(told, dict) else {}
    return {
        "id": revision.get("sha", "unversioned"),
        "dirty": bool(revision.get("dirty", False)),
        "time": None,
        "author_time": None,
        "project": snapshot.suite,
        "branch": "(unknown)",
    }


def _is_timed(figure: Figure) -> bool:
    return figure.quantity.name in _TIMED and min(figure.reading.values) > 0  # no rate of nothing has a time


def _benchmark(figure: Figure, among: Sequence[Figure]) -> dict[str, Any]:
    rates = figure.quantity.unit == "1/s"
    data = [1 / value if rates else value / 1e9 for value in figure.reading.values]
    interval = figure.interval
    about: dict[str, Any] = {
        "quantity": figure.quantity.title,
        "unit": unit_name(figure.quantity),
        "estimate": interval.estimate,
        "interval_95": [interval.low, interval.high],
        "noisy_launches": len(figure.reading.noisy),
        "findings": list(figure.cell.findings),
    }
    beside = {
        each.quantity.name: {"value": each.interval.estimate, "unit": unit_name(each.quantity)}
        for each in among
        if each.quantity.name not in _TIMED
    }
    return {
        "group": figure.quantity.title,
        "name": figure.name,
        "fullname": f"{figure.name}: {figure.quantity.name}",
        "params": None,
        "param": None,
        "options": {},
        "extra_info": about | beside,
        "stats": stored(data),
    }
