"""Every engine at every precision on YOLO11n (640) and EfficientNet-Lite0: latency, accuracy, memory, as executed.

The suite ``engines`` as ``harness run`` makes it, on every device that is found. For each row that ran: the median
host→host latency with its interval over launches, the accuracy (for a row below FP32 its change, with the paired
interval), the peak resident memory, and, as a note, the share of the multiply-accumulates by executed precision. What
did not run is a note with its reason. These figures describe a machine and have no limit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figure import Figure, Limit, Measured
from harness import runner, suite
from harness.cli import campaign as campaigns
from harness.vocabulary import Failed, Skipped, Unknowable
from results.rows import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from results.row import Row

_EXPORT_TIMEOUT_S = 1800.0
_UNLIMITED = Limit()


def measure(told: Callable[[str], None], engines: Sequence[str]) -> Measured:
    """Return the figures of every row. Raises ``HarnessError`` where the model or the images are absent."""
    path = suite.find("engines")
    # A screening, since the whole table takes an hour as it is; `harness run engines` gives the five launches.
    overrides = ["preset=quick", "launches=3", *([f"matrix.engine=[{', '.join(engines)}]"] if engines else [])]
    with (
        tempfile.TemporaryDirectory(prefix="engines-") as runs,
        campaigns.opened_workshop(_EXPORT_TIMEOUT_S) as workshop,
    ):
        campaign = campaigns.look(suite.load(path, overrides), path.absolute().parent, workshop, told)
        benches = campaigns.prepared(campaign, campaigns.runnable(campaign.plan), told)
        with campaigns.create(campaign, Path(runs), suite_text="", command="") as store:
            setting = campaigns.setting(campaign, store, benches)
            for event in runner.run(campaigns.order_of(campaign, store), store, setting):
                if isinstance(event, runner.Started):
                    told(event.cell.label)
            found = rows(store)
    figures = [figure for row in found for figure in _figures(row)]
    return Measured(tuple(figures), tuple(note for row in found for note in _notes(row)))


def _name(row: Row) -> str:
    return f"{row.cell.workload} {row.label}"


def _figures(row: Row) -> Iterator[Figure]:
    if row.latency is not None:
        found = row.latency.host_to_host
        low, high = (bound / 1e6 if bound is not None else None for bound in (found.low, found.high))
        name = f"{_name(row)}: latency"
        yield Figure(name, found.estimate / 1e6, low, high, "ms", _UNLIMITED, found.launches)
    if row.accuracy is not None:
        result = row.accuracy
        value = result.metrics[result.primary]
        name = f"{_name(row)}: {result.primary}"
        yield Figure(name, value, None, None, "", _UNLIMITED, result.images)
        if result.change is not None:
            change = result.change
            name = f"{_name(row)}: change of {result.primary}"
            yield Figure(name, change.estimate, change.low, change.high, "", _UNLIMITED, change.images)
    if row.memory is not None:
        yield Figure(
            f"{_name(row)}: peak memory", row.memory.peak / 2**20, None, None, "MiB", _UNLIMITED, row.memory.launches
        )


def _notes(row: Row) -> Iterator[str]:
    if row.execution is not None:
        shares = row.execution.macs_by_precision
        if isinstance(shares, Unknowable):
            yield f"{_name(row)}: executed precision unknowable: {shares.reason}"
        else:
            yield f"{_name(row)}: executed {', '.join(f'{share:.0%} {name}' for name, share in sorted(shares.items()))}"
    for scenario, outcome in row.outcomes.items():
        if isinstance(outcome, Skipped):
            yield f"{_name(row)}: not run: {outcome.reason}"
            return
        if isinstance(outcome, Failed):
            yield f"{_name(row)}: {scenario} failed: {outcome.message}"
            return
