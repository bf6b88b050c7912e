"""What the launches of an ``end_to_end`` cell say: the whole way of an image, and its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from results.driven import EndToEnd
from results.measures import PERCENTILES
from results.statistics import launch_interval, pooled_quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.measure.samples import Samples
    from results.launches import Measured
    from results.row import Interval


def end_to_end(launches: Sequence[Measured], percentiles: Sequence[float]) -> EndToEnd:
    """Return the times of a batch over at least one launch; ``percentiles`` in (0, 100), of the total.

    Each is an interval over launch medians, so the three parts add up to the total only as nearly as medians do.
    """
    totals = [launch.samples.response_ns for launch in launches]
    return EndToEnd(
        total=_over(launches, lambda samples: samples.response_ns),
        preparation=_over(launches, lambda samples: samples.start_ns - samples.scheduled_ns),
        inference=_over(launches, lambda samples: samples.synced_ns - samples.start_ns),
        finish=_over(launches, lambda samples: samples.end_ns - samples.synced_ns),
        quantiles=tuple(pooled_quantile(totals, percentile / 100) for percentile in percentiles or PERCENTILES),
        launch_medians_ns=tuple(float(np.median(total)) for total in totals),
        launch_indices=tuple(launch.record.launch.index for launch in launches),
        iterations=sum(len(total) for total in totals),
    )


def _over(launches: Sequence[Measured], column: Callable[[Samples], np.ndarray]) -> Interval:
    # Logarithms need more than nothing: what the clock saw no time pass in took at most one tick.
    return launch_interval([max(float(np.median(column(launch.samples))), 1.0) for launch in launches])
