"""The fake engine: numpy behind the real contract, with scripted latencies and scripted failures.

It measures the harness itself, drives its tests, and shows in a hundred lines what an adapter is.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs
from harness.errors import HarnessError, Unsupported
from harness.vocabulary import (
    FORMAT_FAKE,
    FORMAT_FAKE_BUILT,
    Artifact,
    DeviceFacts,
    EngineFacts,
    Execution,
    Format,
    Level,
    Precision,
    Support,
)

Clock = Callable[[], int]
FAULTS = ("raise", "segfault", "abort", "hang", "exit", "flood", "nan", "shape", "constant", "garbage")


@dataclass(frozen=True)
class FakeOptions:
    """What the fake does. Times are those of one inference, spent by spinning, or asleep where ``asleep`` is set."""

    latency_us: float = 0.0
    load_ms: float = 0.0
    asleep: bool = False  # as an accelerator would leave the processor free
    fault: str = ""  # one of ``FAULTS``
    at: str = "run"  # load | run: where the fault strikes
    executed: str = ""  # the precision that it claims to have executed; empty: the one asked
    placed: str = ""  # the device that it claims to have run on; empty: the one asked
    built: bool = False  # load what the builder made for the device
    spread: float = 0.0  # of the logarithm of the latency from session to session (standard deviation), drawn anew


class FakeEngine(Engine):
    """numpy in the place of a runtime."""

    name = "fake"
    formats = (FORMAT_FAKE, FORMAT_FAKE_BUILT)
    options = FakeOptions

    def __init__(self, clock: Clock = time.perf_counter_ns) -> None:
        self._clock = clock

    def probe(self) -> EngineFacts:
        native, emulated = Support(Level.NATIVE), Support(Level.EMULATED, "rounds FP32 results")
        precisions = {"fp32": native, "int8": native, "fp16": emulated}
        for absent in ("tf32", "bf16", "fp8"):
            precisions[absent] = Support(Level.UNSUPPORTED, f"the fake engine has no {absent.upper()}")
        return EngineFacts(self.name, np.__version__, (DeviceFacts("cpu", "numpy", precisions),))

    def load(self, artifact: Artifact, config: SessionConfig) -> Session:
        if config.device != "cpu":
            raise Unsupported(f"the fake engine has no device {config.device!r}", "use cpu")
        if config.precision not in (Precision.FP32, Precision.FP16, Precision.INT8):
            raise Unsupported(f"the fake engine has no {config.precision.value.upper()}", "use fp32, fp16 or int8")
        if config.options.fault and config.options.fault not in FAULTS:
            raise HarnessError(f"no fault is called {config.options.fault!r}", f"there are: {', '.join(FAULTS)}")
        if config.options.at == "load":
            _strike(config.options.fault)
        _pass_time(self._clock, int(config.options.load_ms * 1e6), asleep=config.options.asleep)
        return FakeSession(artifact, config, self._clock)

    def artifact_formats(self, options: FakeOptions) -> tuple[Format, ...]:
        return (FORMAT_FAKE_BUILT if options.built else FORMAT_FAKE,)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:  # noqa: ARG002 - the same for every artifact
        return (
            "import json, numpy as np\n"
            "from engines.fake import function, rounded\n"
            "script = json.load(open('MODEL'))\n"
            "inputs = dict(np.load('inputs.npz'))\n"
            "outputs = function(script)(inputs)\n"
            f"outputs = {{name: rounded(value, {config.precision.value!r}) for name, value in outputs.items()}}\n"
        )


class FakeSession(Session):
    """The function of an artifact, and the script of what goes wrong."""

    def __init__(self, artifact: Artifact, config: SessionConfig, clock: Clock) -> None:
        self.artifact, self.config, self.clock = artifact, config, clock
        script = json.loads(artifact.path.read_text(encoding="utf-8"))
        self.function = function(script)
        self.latency_us = config.options.latency_us + script.get("slower_us", 0.0)
        if config.options.spread:
            self.latency_us *= math.exp(config.options.spread * float(np.random.default_rng().standard_normal()))

    @property
    def recommended_streams(self) -> int:
        return 2

    def stream(self) -> Stream:
        return FakeStream(self)

    def describe(self) -> Execution:
        precision = self.config.options.executed or self.config.precision.value
        device = self.config.options.placed or self.config.device
        return Execution(
            device=device,
            nodes_by_device={device: 1},
            macs_by_device={device: 1.0},
            nodes_by_precision={precision: 1},
            macs_by_precision={precision: 1.0},
            threads=self.config.threads or 1,
            streams=self.config.streams or 1,
            inputs=self.artifact.inputs,
            outputs=self.artifact.outputs,
        )


class FakeStream(Stream):
    """Fixed input buffers, one result."""

    def __init__(self, session: FakeSession) -> None:
        self._session = session
        self._inputs = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in session.artifact.inputs}
        self._wait_ns = int(session.latency_us * 1000)
        self._outputs: dict[str, np.ndarray] | None = None
        self._fault = session.config.options.fault if session.config.options.at == "run" else ""

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._session.artifact.inputs, inputs)
        for name, value in inputs.items():
            np.copyto(self._inputs[name], value)
        self._outputs = None

    def run(self) -> None:
        _strike(self._fault)
        if self._wait_ns:
            _pass_time(self._session.clock, self._wait_ns, asleep=self._session.config.options.asleep)

    def fetch(self) -> dict[str, np.ndarray]:
        if self._outputs is None:
            self._outputs = self._session.function(self._inputs)
        precision = self._session.config.precision.value
        return {name: _spoilt(self._fault, rounded(value, precision)) for name, value in self._outputs.items()}


def function(script: Mapping[str, Any]) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return what the artifact computes: the function it names by import path, or a seeded projection."""
    if script.get("function"):
        module, _, attribute = script["function"].partition(":")
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
    generator = np.random.default_rng(script.get("seed", 0))
    shapes = {output["name"]: tuple(output["shape"]) for output in script["outputs"]}
    weights = {name: generator.standard_normal((16, int(np.prod(shape[1:])))) for name, shape in shapes.items()}

    def project(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        batch = next(iter(inputs.values()))
        flat = batch.reshape(len(batch), -1)
        features = np.stack([part.mean(axis=1) for part in np.array_split(flat, 16, axis=1)], axis=1)
        return {name: (features @ weights[name]).reshape(shape).astype(np.float32) for name, shape in shapes.items()}

    return project


def rounded(value: np.ndarray, precision: str) -> np.ndarray:
    """Return a copy with the values that ``precision`` has room for."""
    if precision == Precision.INT8.value:
        scale = np.abs(value).max() / 127 or 1.0
        return (np.round(value / scale) * scale).astype(value.dtype)
    if precision == Precision.FP16.value:
        return value.astype(np.float16).astype(value.dtype)
    return value.copy()


def _pass_time(clock: Clock, wait_ns: int, *, asleep: bool) -> None:
    if asleep:
        time.sleep(wait_ns / 1e9)
        return
    until_ns = clock() + wait_ns
    while clock() < until_ns:
        pass


def _spoilt(fault: str, value: np.ndarray) -> np.ndarray:
    if fault == "nan":
        value.flat[0] = np.nan
    elif fault == "shape":
        return value[..., :-1]
    elif fault == "constant":
        value[:] = 1
    elif fault == "garbage":
        return -value
    return value


def _strike(fault: str) -> None:
    """Do what broken runtimes do to their process."""
    if fault == "raise":
        raise RuntimeError("scripted failure")
    if fault == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "abort":
        os.abort()
    if fault == "exit":
        os._exit(0)
    if fault == "hang":
        while True:
            time.sleep(3600)
    if fault == "flood":
        for _ in range(64):
            os.write(1, b"x" * 65535 + b"\n")
