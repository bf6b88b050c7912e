"""How long launches take: when one has measured enough, what one should take, and what is left of a plan."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from harness.jobs import Limits
from harness.presets import BUDGET_FACTOR, PRESETS, SCREENING_LAUNCHES
from harness.scenarios import KINDS
from harness.statistics import ample_samples, minimum_effective_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.presets import Preset
    from harness.suite_model import Suite
    from harness.vocabulary import Cell, Plan, PlannedCell

# Rough, for the first guess of a run's duration alone; what launches took replaces them.
START_S = 4.0  # a fresh process, imports, load, first inference
_PROVE_S = 6.0
_IMAGE_S = 0.2
_INFERENCE_S = 0.02


def launches_of(suite: Suite) -> int:
    """Return how many launches the suite asks of a cell that is replicated."""
    return suite.launches or PRESETS[suite.preset].launches


def certain_launches(suite: Suite) -> int:
    """Return how many launches a replicated cell gets whatever its intervals say: with a budget, the screening."""
    return launches_of(suite) if suite.budget is None else min(SCREENING_LAUNCHES, launches_of(suite))


def most_launches(suite: Suite) -> int:
    """Return how many launches a budget may spend on one cell."""
    return suite.launches or BUDGET_FACTOR * PRESETS[suite.preset].launches


def limits(planned: PlannedCell, suite: Suite) -> Limits:
    """Return when a launch of a cell has measured enough, long enough for the percentiles it must print.

    Samples of all launches count together; a quarter more than for independent samples is taken. For percentiles that
    the suite names the launch may take all the time there is: warm-up and measurement share, one to four, what the
    timeout leaves after the start of a process; with a budget, the launches that are certain must carry them. For the
    preset's own it stays within the preset's time.
    """
    preset = PRESETS[suite.preset]
    spare_s = suite.timeout - START_S
    launches = min(planned.launches, certain_launches(suite)) if suite.percentiles else planned.launches
    needed = max((iterations(percentile, launches) for percentile in planned.percentiles), default=0)
    return Limits(
        minimum_iterations=max(preset.minimum_iterations, needed),
        minimum_s=preset.minimum_s,
        maximum_s=_stretch_s(planned.cell, suite),
        extended_s=0.8 * spare_s if suite.percentiles else 0.0,
        relative_half_width=preset.relative_half_width,
        warmup_iterations=preset.warmup_iterations,
        warmup_s=preset.warmup_s,
        warmup_maximum_s=warmup_maximum_s(suite),
        growth_iterations=_growth(planned.cell, preset),
        quantiles=tuple(
            (percentile / 100, minimum_effective_samples(percentile / 100) / launches)
            for percentile in planned.percentiles
        ),
    )


def warmup_maximum_s(suite: Suite) -> float:
    """Return how long the warm-up of a launch takes at most, of all its streams together."""
    preset = PRESETS[suite.preset]
    return max(preset.warmup_s, min(preset.warmup_maximum_s, 0.2 * (suite.timeout - START_S)))


def iterations(percentile: float, launches: int) -> int:
    """Return how many iterations each of ``launches`` must make for a percentile of all of them together."""
    return math.ceil(ample_samples(percentile / 100) / launches)


def guessed_s(cell: Cell, suite: Suite, images: int) -> float:
    """Return a first guess of how long a launch takes; ``images``: how many an accuracy launch evaluates.

    Of a scenario that lasts as long as its settings say it is the longest that they allow.
    """
    kind, preset = KINDS[cell.scenario.name], PRESETS[suite.preset]
    if kind.name == "prove":
        return _PROVE_S
    if kind.name == "accuracy":
        return START_S + _IMAGE_S * images
    warmup_s = min((cell.streams or 1) * preset.warmup_s, warmup_maximum_s(suite))
    if kind.lasting is not None:
        settings = kind.configured(cell.scenario.parameters)
        least_s = _INFERENCE_S * kind.inferences(settings) if kind.inferences is not None else 0.0
        return START_S + warmup_s + max(lasting_s(cell, suite), least_s)
    return START_S + warmup_s + preset.minimum_s


def lasting_s(cell: Cell, suite: Suite) -> float:
    """Return how long a launch of a scenario with a duration of its own is driven at most.

    What is being worked on when the time is up comes to its end beyond that.
    """
    kind = KINDS[cell.scenario.name]
    settings = kind.configured(cell.scenario.parameters)
    seconds = kind.lasting(settings) if kind.lasting is not None else 0.0
    count, each_s = _stretches(cell)
    return seconds + count * max(0.0, _stretch_s(cell, suite) - each_s)


def evaluation_s(images: int, batch: int, inference_s: float) -> float:
    """Return how long an accuracy launch may take by what one inference took: twice what its images should."""
    return 2 * (_IMAGE_S * images + inference_s * math.ceil(images / batch))


def _stretches(cell: Cell) -> tuple[int, float]:
    """Return how many stretches of a launch may be made longer, and how long each is otherwise."""
    kind = KINDS[cell.scenario.name]
    return kind.lengthened(kind.configured(cell.scenario.parameters)) if kind.lengthened is not None else (0, 0.0)


def _stretch_s(cell: Cell, suite: Suite) -> float:
    """Return how long a launch measures at most, or one of its stretches where it has several.

    These share what is left of the time of driving, so that a launch in which all of them are made longer ends in time.
    """
    preset, spare_s = PRESETS[suite.preset], 0.8 * (suite.timeout - START_S)
    longest_s = max(preset.minimum_s, min(preset.maximum_s, spare_s))
    kind, (count, each_s) = KINDS[cell.scenario.name], _stretches(cell)
    if not count or kind.lasting is None:
        return longest_s
    left_s = spare_s - kind.lasting(kind.configured(cell.scenario.parameters))
    return min(longest_s, each_s + max(0.0, left_s / count))


def seconds_total(plan: Plan) -> float:
    """Return the estimated duration of the whole plan."""
    return seconds_left(plan, {})


def seconds_left(plan: Plan, done: Mapping[tuple[str, int], float]) -> float:
    """Return the estimated duration of the launches that are not in ``done``: (cell_id, index) → seconds it took."""
    estimate = expected(plan, done)
    return math.fsum(estimate(slot.cell_id) for slot in plan.order if (slot.cell_id, slot.index) not in done)


def expected(plan: Plan, done: Mapping[tuple[str, int], float]) -> Callable[[str], float]:
    """Return the function from a cell's id to the seconds that its next launch should take.

    A cell that has run takes what it took on average; another what was estimated, scaled by how well the estimates of
    its scenario did so far: that proofs are quick says nothing of the launches that measure. ``done`` is as for
    ``seconds_left``; what took no time was not launched, and teaches nothing.
    """
    known = {planned.cell.cell_id: planned for planned in plan.cells}
    taken: dict[str, list[float]] = defaultdict(list)
    actual: dict[str, float] = defaultdict(float)
    guessed: dict[str, float] = defaultdict(float)
    for (cell_id, _), seconds in done.items():
        if cell_id in known and seconds > 0:
            scenario = known[cell_id].cell.scenario.name
            taken[cell_id].append(seconds)
            actual[scenario] += seconds
            guessed[scenario] += known[cell_id].seconds

    def estimate(cell_id: str) -> float:
        if cell_id in taken:
            return math.fsum(taken[cell_id]) / len(taken[cell_id])
        scenario = known[cell_id].cell.scenario.name
        scale = actual[scenario] / guessed[scenario] if guessed[scenario] > 0 else 1.0
        return known[cell_id].seconds * scale

    return estimate


def _growth(cell: Cell, preset: Preset) -> int:
    asked = cell.scenario.parameters.get("growth")
    return preset.growth_iterations if asked is None else int(asked)
