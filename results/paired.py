"""The change of accuracy between two rows on the same images, with its 95 % interval over images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from harness.errors import HarnessError
from harness.tasks.coco_map import mean_average_precision

if TYPE_CHECKING:
    from collections.abc import Mapping

RESAMPLES = 1000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedChange:
    """Candidate minus reference, in units of the metric (0.01 = one point), with a 95 % interval."""

    estimate: float
    low: float
    high: float
    method: str
    images: int
    metric: str


def change(reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray], *, seed: int = 0) -> PairedChange:
    """Return the change of the headline metric from the per-image facts of two evaluations.

    Top-1 takes Tango's score interval, mAP a bootstrap of the images, seeded by ``seed``. Raises ``HarnessError`` where
    the two were not evaluated on the same images, or hold no facts per image.
    """
    kind = str(reference.get("kind", ""))
    if kind != str(candidate.get("kind", "")) or kind not in _SAME:
        raise HarnessError(
            "the accuracy of these rows cannot be compared image by image",
            "only the built-in metrics of one task keep facts per image",
        )
    for name in _SAME[kind]:
        if not np.array_equal(reference[name], candidate[name]):
            raise HarnessError("the two rows were evaluated on other images", "evaluate both on the same data set")
    if kind == "classify":
        return _top1(reference["top1"].astype(bool), candidate["top1"].astype(bool))
    return _map(reference, candidate, seed)


_SAME = {"classify": ("label",), "detect": ("n_images", "gt_image", "gt_class")}
"""Facts that depend on the images alone, by kind: equal in both, or the images differ."""


# --- difference of paired proportions ----------------------------------------------------------------------------


def _top1(reference: np.ndarray, candidate: np.ndarray) -> PairedChange:
    gained, lost = int((~reference & candidate).sum()), int((reference & ~candidate).sum())
    low, high = tango(gained, lost, len(reference))
    return PairedChange(
        estimate=(gained - lost) / len(reference),
        low=low,
        high=high,
        method="paired score interval (Tango)",
        images=len(reference),
        metric="top1",
    )


def tango(gained: int, lost: int, n: int, confidence: float = _CONFIDENCE) -> tuple[float, float]:
    """Return the score interval of (gained - lost) / n, of n pairs of which ``gained`` and ``lost`` disagree.

    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17 (1998) 891-908. With no disagreement it is ± z² / (n + z²), never zero.
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    estimate = (gained - lost) / n

    def excess(delta: float) -> float:
        """Return the score statistic of the difference ``delta``."""
        linear = (2 * n - gained + lost) * delta - gained - lost
        root = math.sqrt(max(linear * linear + 8 * n * lost * delta * (1 - delta), 0.0))
        share = (root - linear) / (4 * n)  # of pairs lost, by maximum likelihood under delta
        variance = n * (2 * share + delta * (1 - delta))
        distance = gained - lost - n * delta
        if variance <= 0:
            return math.copysign(math.inf, distance) if distance else 0.0
        return distance / math.sqrt(variance)

    # The statistic falls from above z to below -z over (-1, 1), except where a bound is the end itself.
    end = 1 - 1e-12
    low = -1.0 if excess(-end) < z else float(brentq(lambda delta: excess(delta) - z, -end, estimate))
    high = 1.0 if excess(end) > -z else float(brentq(lambda delta: excess(delta) + z, estimate, end))
    return low, high


# --- mAP ---------------------------------------------------------------------------------------------------------


def _map(reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray], seed: int) -> PairedChange:
    """Bootstrap the images as weights over matches made once, the same weights in both arms.

    Both arms always average over the same classes: those of the full set that the resample drew an object of. The
    percentile interval covered the truth in 93 % of 150 simulated samples of 128 images for a change of 4 points, in
    89 % for one of 11 points between two models; basic and bias-corrected intervals covered less. What it misses is the
    bias of mAP itself, which grows as images become few.
    """
    images = int(reference["n_images"])
    resamples = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, images)), resamples])
    difference = mean_average_precision(candidate, weights).mean(axis=1) - mean_average_precision(
        reference, weights
    ).mean(axis=1)
    tail = (1 - _CONFIDENCE) / 2
    # A resample without a single object has no mAP; it takes a set of a few, mostly empty images to draw one.
    low, high = np.nanquantile(difference[1:], [tail, 1 - tail])
    return PairedChange(
        estimate=float(difference[0]),
        low=float(low),
        high=float(high),
        method=f"bootstrap by image multiplicity, {RESAMPLES} resamples",
        images=images,
        metric="map50_95",
    )
