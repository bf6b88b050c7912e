"""The conformance suite must be able to fail: for each promise an engine that breaks it, and one that keeps all."""

import os
import re
import subprocess
import sys

import pytest

# A correct engine in numpy; each subclass breaks one promise.
ENGINES = """
import os, random, time
from dataclasses import dataclass, replace
import numpy as np
from harness.engine import Engine, NoOptions, Session, Stream, check_inputs
from harness.errors import Unsupported
from harness.tiny_model import TINY_INPUTS, TINY_OUTPUTS, tiny_reference
from harness.vocabulary import DeviceFacts, EngineFacts, Execution, Level, Precision, Support

class Good(Engine):
    name, formats = "good", ("onnx",)
    def probe(self):
        lacking = {p.value: Support(Level.UNSUPPORTED, "float32 only") for p in list(Precision)[1:]}
        device = DeviceFacts("cpu", "numpy", {"fp32": Support(Level.NATIVE), **lacking})
        return EngineFacts(self.name, "1", (device,))
    def load(self, artifact, config):
        if config.device != "cpu" or config.precision is not Precision.FP32:
            raise Unsupported("numpy has the cpu and fp32", "ask for these")
        return self.session(config)
    def session(self, config):
        return GoodSession(config)
    def snippet(self, artifact, config):
        return ("import numpy as np\\nfrom harness.tiny_model import tiny_reference\\n"
                "assert open('MODEL', 'rb')\\noutputs = tiny_reference(np.load('inputs.npz'))\\n")

class GoodSession(Session):
    make = None
    def __init__(self, config):
        self.config, self.closed = config, False
    def stream(self):
        return (self.make or GoodStream)()
    def describe(self):
        one = {"cpu": 1.0}
        asked = self.config.threads
        return Execution("cpu", {"cpu": 5}, one, {"fp32": 5}, {"fp32": 1.0}, asked, 1, TINY_INPUTS, TINY_OUTPUTS)

class GoodStream(Stream):
    def __init__(self):
        self.bound, self.found = {}, {}
    def bind(self, inputs):
        check_inputs(TINY_INPUTS, inputs)
        self.bound = {name: value.copy() for name, value in inputs.items()}
    def run(self):
        self.found = tiny_reference(self.bound)
    def fetch(self):
        return {name: value.copy() for name, value in self.found.items()}

def broken(stream=None, session=None, **attributes):
    kind = type("S", (GoodSession,), {"make": stream, **(session or {})})
    return {"session": lambda self, config: kind(config), **attributes}

class _Wrong(GoodStream):
    def fetch(self): return {name: value * 1.001 for name, value in self.found.items()}
class _Drifting(GoodStream):
    factor = 1.0
    def run(self):
        super().run()
        self.factor += 3e-6
        self.found = {name: (value * self.factor).astype(value.dtype) for name, value in self.found.items()}
class _Lending(GoodStream):
    buffer = np.zeros((1, 5), np.float32)
    def __init__(self):
        super().__init__()
        self.buffer = np.zeros((1, 5), np.float32)
    def run(self): np.copyto(self.buffer, tiny_reference(self.bound)["logits"])
    def fetch(self): return {"logits": self.buffer}
class _Aliasing(GoodStream):
    def bind(self, inputs):
        check_inputs(TINY_INPUTS, inputs)
        self.bound = dict(inputs)
class _Trusting(GoodStream):
    def bind(self, inputs): self.bound = {name: np.array(value) for name, value in inputs.items()}
class _Sharing(GoodStream):
    shared = {}
    def bind(self, inputs):
        check_inputs(TINY_INPUTS, inputs)
        self.shared.update({name: value.copy() for name, value in inputs.items()})
    def run(self):
        time.sleep(0.001)
        self.found = tiny_reference(self.shared)

def _described(**changes):
    return {"describe": lambda self: replace(GoodSession.describe(self), **changes)}
def _close(self):
    assert not self.closed
    self.closed = True
def _seeding(self):
    np.random.seed(1)
    return GoodStream()
def _exporting(self):
    os.environ["BROKEN_ENGINE"] = "1"
    return GoodStream()
def _littering(self):
    open("litter", "w").close()
    return GoodStream()
@dataclass
class Loose:
    level: int = 1
def _unexplained(self):
    return EngineFacts("good", "1", (DeviceFacts("cpu", "numpy", {"fp32": Support(Level.EMULATED)}),))

def _any(self, artifact, config): return GoodSession(config)
def _other_device(self, artifact, config):
    if config.device != "cpu": raise Unsupported("the cpu alone", "ask for it")
    return GoodSession(config)

def _claiming(self):
    given = GoodSession.describe(self)
    asked = self.config.precision.value
    return replace(given, nodes_by_precision={asked: 5}, macs_by_precision={asked: 1.0})

BROKEN = {
    "outputs_equal": broken(_Wrong),
    "a_mislabelled_artifact": {**broken(session={"describe": _claiming}), "load": lambda s, a, c: s.session(c)},
    "two_runs": broken(_Drifting),
    "what_was_fetched": broken(_Lending),
    "bind_copies": broken(_Aliasing),
    "bind_refuses": broken(_Trusting),
    "two_streams": broken(_Sharing),
    "an_unknown_device": {"load": _any},
    "what_probe_calls": {"load": _other_device},
    "what_was_asked": broken(session=_described(threads=7)),
    "shares_of_the_work": broken(session=_described(macs_by_precision={"fp32": 0.7})),
    "close_twice": broken(session={"close": _close}),
    "streams_are": broken(session={"recommended_streams": 0}),
    "options_are": {"options": Loose},
    "the_facts": {"probe": _unexplained},
    "the_snippet": {"snippet": lambda *_: "import numpy\\noutputs = {'logits': numpy.zeros((1, 5), 'f')}"},
    "the_process_random": broken(session={"stream": _seeding}),
    "the_process_environ": broken(session={"stream": _exporting}),
    "the_process_litter": broken(session={"stream": _littering}),
}
globals().update({name: type(name, (Good,), attributes) for name, attributes in BROKEN.items()})
"""
HEAVY = "import numpy, PIL.Image\nfrom engines_under_test import Good\nclass importing(Good): pass\n"
SUITE = """
import engines_under_test, heavy
from harness.vocabulary import Precision
from harness.conformance import EngineConformance
from harness.tiny_model import tiny_onnx

class Base(EngineConformance):
    def artifact(self, precision, folder):
        return tiny_onnx(folder)

class TestGood(Base):
    engine = engines_under_test.Good
class Test_importing(Base):
    engine = heavy.importing
for name in engines_under_test.BROKEN:
    more = {"precisions": (Precision.FP32, Precision.FP16)} if name == "a_mislabelled_artifact" else {}
    globals()["Test_" + name] = type("Test_" + name, (Base,), {"engine": getattr(engines_under_test, name), **more})
"""
FAULTS = re.findall(r'^    "(\w+)": ', ENGINES, re.MULTILINE)


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The tests that fail, by engine, in one run of the suite over all of them."""
    folder = tmp_path_factory.mktemp("conformance")
    for name, text in (("engines_under_test", ENGINES), ("heavy", HEAVY), ("test_suite", SUITE)):
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-p", "no:cacheprovider", "-c", os.devnull]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command += ["--rootdir", folder, folder / "test_suite.py"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR) \S*::(Test\w+)::test_(\w+)", done.stdout, re.MULTILINE)
    found = {engine: set() for _, engine, _ in outcomes}
    for outcome, engine, test in outcomes:
        if outcome != "PASSED":
            found[engine].add(test)
    return found


def test_an_engine_that_keeps_every_promise_passes(failed):
    assert failed["TestGood"] == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_an_engine_that_breaks_a_promise_fails_its_test(failed, fault):
    promise = "the_process" if fault.startswith("the_process") else fault
    assert [test for test in failed[f"Test_{fault}"] if test.startswith(promise)]


def test_an_engine_that_imports_its_library_early_fails(failed):
    assert failed["Test_importing"] == {"importing_and_constructing_the_engine_loads_no_other_library"}
