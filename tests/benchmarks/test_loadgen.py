"""The comparison with LoadGen: who goes first, what is made of the pairs, and a small one that really runs."""

import sys

import numpy as np
import pytest

from benchmarks import loadgen, loadgen_side
from benchmarks.figure import Verdict
from harness.errors import EngineUnavailable
from harness.jobs import Inputs, SessionSpec
from harness.vocabulary import Artifact, Goal, Precision, TensorSpec


def test_pairs_keep_together_whoever_goes_first():
    order = []

    def side(name):
        def block():
            order.append(name)
            return (float(len(order)),)

        return block

    pairs = loadgen_side._taking_turns(side("ours"), side("theirs"), 40, seed=0)
    assert len(pairs) == 40
    assert all({pair[0][0], pair[1][0]} == {2 * index + 1, 2 * index + 2} for index, pair in enumerate(pairs))
    assert 10 < order[::2].count("ours") < 30


def test_the_figures_are_ratios_of_pairs():
    generator = np.random.default_rng(0)
    level = 8e6 * np.exp(np.cumsum(generator.normal(0, 0.05, 60)))
    theirs = np.stack([level, 1.2 * level], axis=1)
    ours = theirs * np.array([0.998, 1.5]) * generator.normal(1, 1e-4, (60, 2))
    answer = loadgen_side.Answer(tuple(map(tuple, ours)), tuple(map(tuple, theirs)), "6.0")
    half, most, added = loadgen.measured(answer).figures
    assert half.value == pytest.approx(0.998, abs=1e-3)
    assert (half.verdict, most.verdict, added.verdict) == (Verdict.PASS, Verdict.FAIL, Verdict.NONE)
    assert added.value > 0
    assert half.samples == 60


def test_without_loadgen_nothing_is_prepared(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(EngineUnavailable) as caught:
        loadgen.measure(lambda _: None)
    assert caught.value.hint == "pip install mlcommons-loadgen"


def test_both_sides_time_the_same_session(tmp_path):
    """The fake engine spins for 2 ms: LoadGen adds no more than that to it, and neither can be faster."""
    pytest.importorskip("mlperf_loadgen")
    (tmp_path / "model.json").write_text('{"outputs": [{"name": "scores", "shape": [1, 5]}]}')
    np.save(tmp_path / "inputs.npy", np.zeros((4, 3, 4, 4), np.float32))
    (tmp_path / "frames.json").write_text("[{}, {}, {}, {}]")
    artifact = Artifact(
        "fake",
        Precision.FP32,
        tmp_path / "model.json",
        "hash",
        1,
        (TensorSpec("input", "float32", (1, 3, 4, 4)),),
        (TensorSpec("scores", "float32", (1, 5)),),
    )
    session = SessionSpec("cpu", Precision.FP32, 1, None, 1, Goal.LATENCY, strict=False, options={"latency_us": 2000})
    job = loadgen_side.Job("engines.fake:FakeEngine", artifact, session, Inputs(tmp_path, "hash", 4), 0.1, 3, 70, 0)
    answer = loadgen_side.alternated(job, tmp_path)
    assert answer.version
    for side in (answer.ours_ns, answer.theirs_ns):
        assert np.shape(side) == (3, len(loadgen_side.PERCENTILES))
        assert np.min(side) >= 2e6
    assert (np.diff(answer.theirs_ns, axis=1) >= 0).all()
