"""Components of variance: known ones are recovered, none is negative, and what cannot be told apart is not told."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.vocabulary import Launch, Precision
from results.launches import histories
from results.store import RunStore
from results.variance import split, split_of


def simulated(generator, sizes, *, build, launch, iteration, count=60, correlation=0.0):
    """Launches per build in ``sizes``; iterations follow an AR(1) process of the given spread."""
    made = []
    for number, launches in enumerate(sizes):
        of_build = build * generator.standard_normal()
        for _ in range(launches):
            level = of_build + launch * generator.standard_normal()
            steps = generator.standard_normal(count)
            series = np.empty(count)
            series[0] = steps[0]
            for index in range(1, count):
                series[index] = correlation * series[index - 1] + math.sqrt(1 - correlation**2) * steps[index]
            made.append((number, 1e7 * np.exp(level + iteration * series)))
    return made


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3, 3, 3), (1, 2, 5, 2, 4, 1)], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_known_components_are_recovered(sizes, correlation):
    generator = np.random.default_rng(1)
    known = {"build": 0.03, "launch": 0.02, "iteration": 0.05}
    found = [split(simulated(generator, sizes, **known, correlation=correlation)) for _ in range(150)]
    for name, value in known.items():
        # Variances are unbiased, deviations are not; what truncation at 0 adds is small beside these.
        mean = np.mean([getattr(one, name) ** 2 for one in found])
        assert math.sqrt(mean) == pytest.approx(value, rel=0.15), name


def test_what_iterations_alone_do_is_not_taken_for_launches():
    generator = np.random.default_rng(2)
    parts = {"build": 0.0, "launch": 0.0, "iteration": 0.10}
    found = [split(simulated(generator, (4, 4), **parts, correlation=0.8, count=200)) for _ in range(60)]
    naive = [
        np.std([np.log(latencies).mean() for _, latencies in simulated(generator, (8,), **parts, correlation=0.8)])
        for _ in range(60)
    ]
    assert np.mean([one.launch for one in found]) < 0.5 * np.mean(naive)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.lists(st.floats(1.0, 1e9), min_size=1, max_size=8)), max_size=7),
    st.floats(0.001, 1000.0),
)
def test_components_are_never_negative_and_know_no_unit(launches, unit):
    plain = split([(build, np.array(values)) for build, values in launches])
    scaled = split([(build, unit * np.array(values)) for build, values in launches])
    for name in ("build", "launch", "iteration"):
        one, other = getattr(plain, name), getattr(scaled, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one >= 0
            assert math.isfinite(one)
            assert other == pytest.approx(one, rel=1e-5, abs=1e-5)
    assert plain.launches == len(launches)
    assert plain.builds == len({build for build, _ in launches})


FEW = np.array([1.0, 1.1, 0.9, 1.2, 1.0])


@pytest.mark.parametrize(
    ("launches", "build", "launch", "iteration"),
    [
        ([], False, False, False),
        ([("a", FEW[:1])], False, False, False),
        ([("a", FEW)], False, False, True),
        ([("a", FEW), ("a", 1.1 * FEW)], False, True, True),
        ([("a", FEW), ("b", 1.1 * FEW)], False, False, True),  # a build of its own each: one spread, two causes
        ([("a", FEW), ("b", 1.1 * FEW), ("b", 1.2 * FEW)], True, True, True),
        ([("a", FEW[:1]), ("a", FEW[:1])], False, True, False),
        ([("a", FEW), ("a", FEW[:0])], False, False, True),
    ],
)
def test_what_cannot_be_told_is_none(launches, build, launch, iteration):
    found = split(launches)
    assert (found.build is not None, found.launch is not None, found.iteration is not None) == (
        build,
        launch,
        iteration,
    )


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_durations_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError):
        split([("a", np.array([1.0, wrong]))])


def test_a_build_is_known_by_its_artifact(factory, tmp_path):
    recipe = factory.Recipe("lite0", "openvino", Precision.FP32, launches=4, scenarios=("latency", "prove"))
    cell = recipe.cell("latency")
    with RunStore.create(tmp_path, factory.manifest_of((recipe,))) as store:
        for index in range(4):
            launch = Launch(index)
            record = factory.record_of(store, recipe, "latency", launch, seed=index)
            artifact = replace(record.artifact, content_hash=f"build {index % 2}")
            store.started(cell, launch)
            store.finished(replace(record, artifact=artifact))
    history = next(one for one in histories(RunStore.open(store.folder)) if one.planned.cell == cell)
    found = split_of(history.measured)
    assert (found.launches, found.builds) == (4, 2)
    assert found.iteration == pytest.approx(0.022, rel=0.5)
    assert found.build is not None
