"""The figures of one record made again from the files it names, on a path of their own."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import numpy as np

from harness.measure.samples import STEADY
from harness.tasks.coco_map import mean_average_precision
from results.statistics import steady_segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.measure.samples import Samples
    from harness.vocabulary import Accuracy, Timing

_CLOSE = 1e-9
"""Relative difference that the order of a sum in floating point explains."""


def timing_differences(timing: Timing | None, samples: Samples, *, thinned: bool = False) -> Iterator[str]:
    """Yield what a record says of its steady phase and its raw samples do not.

    ``thinned``: of a long soak every so manieth inference alone has a row, and the record counts them all.
    """
    if timing is None:
        yield "has samples and no timing"
        return
    rows = samples.phase == STEADY
    count = int(rows.sum())
    window_ns = int(samples.end_ns[rows].max() - samples.start_ns[rows].min()) if count else 0
    for what, said, found in (
        ("steady inferences", timing.steady_iterations, count),
        ("nanoseconds of steady phase", timing.steady_ns, window_ns),
    ):
        # Half of them are left out, then half of what is left: the rest may be one short of the quotient.
        fewer = thinned and what == "steady inferences" and found and said / found < said
        if said != found and not (fewer and said > found):
            yield f"says {said:,} {what}, its samples {found:,}"


def median_ns(samples: Samples) -> float:
    """Return the median of the last level, from Python's integers alone but for where that level begins."""
    rows = np.flatnonzero(samples.phase == STEADY)
    pairs = sorted(zip(samples.start_ns[rows].tolist(), samples.end_ns[rows].tolist(), strict=True))
    latencies = [end - start for start, end in pairs]
    begin, _ = steady_segment(np.array(latencies))
    return float(statistics.median(latencies[begin:]))


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of durations in nanoseconds, none of them below one tick."""
    return math.exp(math.fsum(math.log(max(value, 1.0)) for value in values) / len(values))


def accuracy_differences(accuracy: Accuracy, facts: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yield what a record says of its accuracy and the facts per image do not; nothing of a metric of the user's."""
    said = accuracy.metrics.get(accuracy.primary)
    kind = str(facts.get("kind", ""))
    if kind == "classify":
        images, found = len(facts["top1"]), float(facts["top1"].mean())
    elif kind == "detect":
        images = int(facts["n_images"])
        found = float(mean_average_precision(facts, np.ones((1, images)))[0].mean())
    else:
        return
    if images != accuracy.images:
        yield f"says {accuracy.images} images, its facts per image {images}"
    if not alike(said, found):
        yield f"says {accuracy.primary} {said}, its facts per image {found}"


def alike(one: float | None, other: float | None) -> bool:
    """Return whether two figures are there and equal, but for rounding."""
    return one is not None and other is not None and math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)
