"""The fake engine passes what the real ones pass, and its faults are the faults that it says."""

import json

import numpy as np
import pytest

from engines.fake import FakeEngine, FakeOptions
from harness.conformance import EngineConformance
from harness.engine import SessionConfig
from harness.errors import HarnessError
from harness.tiny_model import TINY_OUTPUTS, tiny_artifact, tiny_inputs
from harness.vocabulary import FORMAT_FAKE, Precision


def artifact(precision, folder):
    outputs = [{"name": output.name, "shape": output.shape} for output in TINY_OUTPUTS]
    file = folder / "model.json"
    file.write_text(json.dumps({"outputs": outputs, "function": "harness.tiny_model:tiny_reference"}))
    return tiny_artifact(file, FORMAT_FAKE, precision)


class TestFake(EngineConformance):
    engine = FakeEngine
    precisions = (Precision.FP32, Precision.FP16, Precision.INT8)
    converted = frozenset({Precision.FP16, Precision.INT8})  # it rounds what the function gives

    def artifact(self, precision, folder):
        return artifact(precision, folder)


class Clock:
    """A clock that moves by a fixed step at each look."""

    def __init__(self, step_ns):
        self.now_ns, self.step_ns, self.looks = 0, step_ns, 0

    def __call__(self):
        self.looks += 1
        self.now_ns += self.step_ns
        return self.now_ns


def test_latency_is_spent_on_the_injected_clock(tmp_path):
    clock = Clock(step_ns=1000)
    session = FakeEngine(clock).load(
        artifact(Precision.FP32, tmp_path), SessionConfig(options=FakeOptions(latency_us=50))
    )
    stream = session.stream()
    stream.bind(tiny_inputs())
    before = clock.now_ns
    stream.run()
    assert 50_000 <= clock.now_ns - before <= 53_000


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        ("nan", lambda value: np.isnan(value).any()),
        ("shape", lambda value: value.shape == (1, 4)),
        ("constant", lambda value: (value == value.flat[0]).all()),
    ],
)
def test_a_fault_of_the_outputs_is_what_it_is_called(tmp_path, fault, broken):
    options = FakeOptions(fault=fault)
    stream = FakeEngine().load(artifact(Precision.FP32, tmp_path), SessionConfig(options=options)).stream()
    stream.bind(tiny_inputs())
    stream.run()
    assert broken(stream.fetch()["logits"])


def test_a_fault_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="no fault is called 'explode'"):
        FakeEngine().load(artifact(Precision.FP32, tmp_path), SessionConfig(options=FakeOptions(fault="explode")))


def test_sessions_spread_as_they_are_told_and_not_otherwise(tmp_path):
    made = artifact(Precision.FP32, tmp_path)

    def latencies(spread):
        config = SessionConfig(options=FakeOptions(latency_us=100, spread=spread))
        return np.array([FakeEngine().load(made, config).latency_us for _ in range(200)])

    assert set(latencies(0.0)) == {100}
    assert np.std(np.log(latencies(0.1))) == pytest.approx(0.1, rel=0.3)
