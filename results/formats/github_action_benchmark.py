"""The custom tools of github-action-benchmark: entries of name, unit, value, range and extra, one file a direction.

Source: its README, "customBiggerIsBetter" and "customSmallerIsBetter".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from results.formats.amounts import unit_name
from results.formats.figures import figures, figures_after
from results.quantities import Better

if TYPE_CHECKING:
    from collections.abc import Iterable

    from results.changes import Comparison
    from results.formats.figures import Figure
    from results.snapshot import Snapshot


class _Custom:
    """Figures of one direction."""

    name: str
    better: Better
    suffix = ".json"
    description: str
    step_file = ""

    def of_run(self, snapshot: Snapshot) -> str:
        """Return every figure of this direction."""
        return self._document(figures(snapshot), snapshot)

    def of_comparison(self, comparison: Comparison) -> str:
        """Return the figures after the change: the action compares with what it has kept."""
        return self._document(figures_after(comparison), comparison.after)

    def _document(self, found: Iterable[Figure], snapshot: Snapshot) -> str:
        entries = [_entry(figure, snapshot) for figure in found if figure.quantity.better is self.better]
        return json.dumps(entries, allow_nan=False, indent=1) + "\n"


class SmallerIsBetter(_Custom):
    """Durations, sizes, misses."""

    name = "gab-smaller"
    better = Better.SMALLER
    description = "github-action-benchmark JSON, tool customSmallerIsBetter: durations, sizes, misses"


class BiggerIsBetter(_Custom):
    """Rates and accuracy."""

    name = "gab-bigger"
    better = Better.LARGER
    description = "github-action-benchmark JSON, tool customBiggerIsBetter: rates, accuracy"


def _entry(figure: Figure, snapshot: Snapshot) -> dict[str, str | float]:
    interval, unit = figure.interval, unit_name(figure.quantity)
    entry: dict[str, str | float] = {
        "name": f"{figure.name}: {figure.quantity.title}",
        "unit": unit,
        "value": interval.estimate,
    }
    if interval.low is not None and interval.high is not None:
        entry["range"] = f"95 % in [{interval.low:.6g}, {interval.high:.6g}]"
    told = [f"launches: {figure.launches}"] if figure.launches else []
    told += [f"run: {snapshot.run_id}", f"hardware: {snapshot.hw_id}", f"environment: {snapshot.env_id}"]
    entry["extra"] = "\n".join(told)
    return entry
