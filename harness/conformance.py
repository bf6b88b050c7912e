"""The tests that every engine passes, built-in or third-party: subclass ``EngineConformance`` in a test module.

class TestMyEngine(EngineConformance):
    engine = MyEngine
    precisions = (Precision.FP32, Precision.INT8)

    def artifact(self, precision, folder):
        ...  # export the model of ``harness.tiny_model`` into ``folder``, and return ``tiny_artifact(...)``
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from harness import codec, proof
from harness.engine import Engine, Session, SessionConfig
from harness.errors import EngineUnavailable, InvalidInput, Unsupported
from harness.tiny_model import tiny_inputs, tiny_reference
from harness.vocabulary import EngineFacts, Goal, Level, Precision, TensorSpec, Unknowable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.vocabulary import Artifact, DeviceFacts

# Largest |difference| over largest |reference| of an output. Float: a few hundred roundings of eps; INT8: of 1/127.
TOLERANCES = {Precision.FP32: 1e-5, Precision.FP16: 1e-2, Precision.BF16: 5e-2, Precision.INT8: 5e-2}


def relative_difference(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """Return max|found - expected| / max|expected|, the highest over outputs, once names, shapes and dtypes agree."""
    signatures = [{name: (value.shape, value.dtype) for name, value in arrays.items()} for arrays in (found, expected)]
    assert signatures[0] == signatures[1]
    return max(float(np.max(np.abs(found[name] - value)) / np.max(np.abs(value))) for name, value in expected.items())


def _infer(session: Session, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    stream = session.stream()
    stream.bind(inputs)
    stream.run()
    stream.sync()
    return stream.fetch()


def watch(given: str) -> None:
    """Load, infer and describe as the pickle at ``given`` says, and assert that the process is left as it was."""
    kind, artifact, config, inputs = pickle.loads(Path(given).read_bytes())  # noqa: S301 - written by the test above
    engine = kind()
    engine.probe()

    def state() -> dict[str, object]:
        legacy: Any = np.random.get_state()  # noqa: NPY002 - the global state is what is watched
        return {
            "environment": dict(os.environ),
            "working directory": (Path.cwd(), sorted(Path.cwd().iterdir())),
            "random": random.getstate(),
            "numpy.random": (legacy[1].tobytes(), *legacy[2:]),
        }

    before = state()
    session = engine.load(artifact, config)
    _infer(session, inputs)
    session.describe()
    session.close()
    changed = [name for name, value in state().items() if value != before[name]]
    assert not changed, f"changed: {', '.join(changed)}"


class EngineConformance:
    """What the contract of an engine promises. ``engine`` and ``artifact`` are the subclass's; the rest may be."""

    engine: ClassVar[type[Engine]]
    device: ClassVar[str] = "cpu"
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.FP32,)
    tolerances: ClassVar[Mapping[Precision, float]] = TOLERANCES
    converted: ClassVar[frozenset[Precision]] = frozenset()
    """Precisions that the runtime itself makes of an FP32 artifact at load, so that nothing is wrong with one."""

    def artifact(self, precision: Precision, folder: Path) -> Artifact:
        """Return the tiny model at ``precision`` in a format of this engine's, made inside ``folder``, which is empty.

        Where the engine computes another function, override ``inputs`` and ``reference`` too.
        """
        raise NotImplementedError

    def inputs(self, seed: int) -> dict[str, np.ndarray]:
        """Return the inputs of one inference, different for every seed."""
        return tiny_inputs(seed)

    def reference(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what the artifact answers in exact arithmetic."""
        return tiny_reference(inputs)

    # -- machinery

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run the tests that ask for a ``precision`` once for each of the class's."""
        if "precision" in metafunc.fixturenames:
            metafunc.parametrize("precision", self.precisions, ids=str)

    @pytest.fixture(scope="class")
    @classmethod
    def facts(cls) -> EngineFacts:
        """What ``probe`` found; skips every test where the runtime is not installed."""
        try:
            return cls.engine().probe()
        except EngineUnavailable as error:
            pytest.skip(str(error))

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, tmp_path_factory: pytest.TempPathFactory, facts: EngineFacts) -> Callable[[Precision], Artifact]:
        """Return a function that exports each precision once."""
        assert facts, "the runtime is there"
        artifacts: dict[Precision, Artifact] = {}

        def make(precision: Precision) -> Artifact:
            if precision not in artifacts:
                artifacts[precision] = cls().artifact(precision, tmp_path_factory.mktemp(str(precision)))
            return artifacts[precision]

        return make

    @pytest.fixture
    def load(self, made: Callable[[Precision], Artifact], tmp_path: Path) -> Iterator[Callable[..., Session]]:
        """Return a function that loads the artifact of a precision, with changes to the usual configuration."""
        sessions: list[Session] = []

        def load(exported: Precision = Precision.FP32, **changes: Any) -> Session:
            session = self.engine().load(made(exported), self.config(exported, **{"scratch": tmp_path, **changes}))
            sessions.append(session)
            return session

        yield load
        for session in sessions:
            session.close()

    def config(self, exported: Precision, **changes: Any) -> SessionConfig:
        """Return the configuration for this device and the artifact's precision, with ``changes``."""
        return replace(SessionConfig(self.device, exported, threads=1, options=self.engine.options()), **changes)

    def _device(self, facts: EngineFacts) -> DeviceFacts:
        return next(device for device in facts.devices if device.name == self.device)

    # -- what is declared

    def test_importing_and_constructing_the_engine_loads_no_other_library(self) -> None:
        """A fresh interpreter holds the standard library, numpy, harness and the engine's own package, nothing else."""
        module, name = self.engine.__module__, self.engine.__qualname__
        program = (
            "import sys\nbefore = set(sys.modules)\nimport importlib\n"
            f"getattr(importlib.import_module({module!r}), {name!r})()\n"
            "loaded = {key.partition('.')[0] for key in set(sys.modules) - before}\n"
            f"own = {{'numpy', 'harness', {module.partition('.')[0]!r}}} | set(sys.stdlib_module_names)\n"
            "print(*sorted(loaded - own))"
        )
        done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.split() == []

    def test_options_are_a_frozen_dataclass_with_defaults(self) -> None:
        """The suite's ``options:`` are checked against it and written into the record."""
        assert dataclasses.is_dataclass(self.engine.options)
        options = self.engine.options()
        assert codec.decode(self.engine.options, codec.encode(options)) == options
        for field in dataclasses.fields(options):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(options, field.name, None)

    def test_the_facts_of_probe_are_well_formed(self, facts: EngineFacts) -> None:
        """Unique devices, known precisions, and a reason for whatever is not native."""
        assert facts.name == self.engine.name
        assert facts.version
        assert self.engine.formats
        assert codec.decode(EngineFacts, codec.encode(facts)) == facts
        names = [device.name for device in facts.devices]
        assert self.device in names
        assert len(set(names)) == len(names)
        for device in facts.devices:
            assert device.description
            for precision, support in device.precisions.items():
                assert Precision(precision)
                assert support.level is Level.NATIVE or support.reason

    # -- what is computed

    def test_outputs_equal_the_reference(self, load: Callable[..., Session], precision: Precision) -> None:
        """Within the precision's tolerance, for several inputs through one stream."""
        stream = load(precision).stream()
        for seed in range(3):
            inputs = self.inputs(seed)
            stream.bind(inputs)
            stream.run()
            stream.sync()
            assert relative_difference(stream.fetch(), self.reference(inputs)) <= self.tolerances[precision]

    def test_two_runs_agree(self, load: Callable[..., Session], precision: Precision) -> None:
        """Running again over what is bound, and binding it anew, gives the same outputs."""
        session = load(precision)
        stream = session.stream()
        stream.bind(self.inputs(0))
        found = []
        for _ in range(2):
            stream.run()
            stream.sync()
            found.append(stream.fetch())
        found.append(_infer(session, self.inputs(0)))
        assert relative_difference(found[1], found[0]) <= 1e-6
        assert relative_difference(found[2], found[0]) <= 1e-6

    def test_what_was_fetched_belongs_to_the_caller(self, load: Callable[..., Session]) -> None:
        """It survives later runs, and writing into it changes nothing of theirs."""
        stream = load().stream()
        stream.bind(self.inputs(0))
        stream.run()
        stream.sync()
        first = stream.fetch()
        kept = {name: value.copy() for name, value in first.items()}
        stream.bind(self.inputs(1))
        stream.run()
        stream.sync()
        second = stream.fetch()
        assert relative_difference(first, kept) == 0
        assert relative_difference(second, kept) > 0
        for value in second.values():
            value[...] = 0
        assert relative_difference(stream.fetch(), self.reference(self.inputs(1))) <= self.tolerances[Precision.FP32]

    def test_bind_copies(self, load: Callable[..., Session]) -> None:
        """The caller's array may change before the run, and need be neither contiguous nor writeable."""
        stream = load().stream()
        inputs = self.inputs(0)
        expected = self.reference(inputs)
        given = {name: np.asfortranarray(value) for name, value in inputs.items()}
        for value in given.values():
            value.flags.writeable = False
        stream.bind(given)
        for value in given.values():
            value.flags.writeable = True
            value[...] = 0
        stream.run()
        stream.sync()
        assert relative_difference(stream.fetch(), expected) <= self.tolerances[Precision.FP32]

    @pytest.mark.parametrize("fault", ["missing", "unknown", "dtype", "shape", "rank"])
    def test_bind_refuses_what_the_model_does_not_take(self, load: Callable[..., Session], fault: str) -> None:
        """Names, dtypes and shapes are checked with a hint, and the stream stays usable."""
        stream = load().stream()
        inputs = self.inputs(0)
        name, value = next(iter(inputs.items()))
        wrong: dict[str, dict[str, np.ndarray]] = {
            "missing": {key: array for key, array in inputs.items() if key != name},
            "unknown": {**inputs, "no-such-input": value},
            "dtype": {**inputs, name: value.astype(np.float64)},
            "shape": {**inputs, name: np.concatenate([value, value])},
            "rank": {**inputs, name: value[0]},
        }
        with pytest.raises(InvalidInput) as caught:
            stream.bind(wrong[fault])
        assert caught.value.hint
        assert name in caught.value.message
        stream.bind(inputs)
        stream.run()
        stream.sync()
        assert relative_difference(stream.fetch(), self.reference(inputs)) <= self.tolerances[Precision.FP32]

    def test_two_streams_run_at_once_and_agree(self, load: Callable[..., Session], precision: Precision) -> None:
        """Two threads over one session tuned for throughput, each with inputs of its own."""
        session = load(precision, goal=Goal.THROUGHPUT, threads=2, streams=2)
        alone = {seed: _infer(session, self.inputs(seed)) for seed in (0, 1)}

        def drive(seed: int) -> list[dict[str, np.ndarray]]:
            return [_infer(session, self.inputs(seed)) for _ in range(20)]

        with ThreadPoolExecutor(2) as pool:
            for seed, found in enumerate(pool.map(drive, (0, 1))):
                assert all(relative_difference(each, alone[seed]) <= 1e-6 for each in found)

    def test_streams_are_recommended(self, load: Callable[..., Session]) -> None:
        """At least one, also where the runtime is left to choose its threads."""
        session = load(goal=Goal.THROUGHPUT, threads=None)
        assert session.recommended_streams >= 1

    # -- what is refused

    def test_an_unknown_device_is_unsupported(self, load: Callable[..., Session]) -> None:
        """It is refused at load, with what to ask instead."""
        with pytest.raises(Unsupported) as caught:
            load(device="no-such-device:7")
        assert caught.value.hint

    def test_what_probe_calls_unsupported_is_refused(self, facts: EngineFacts, load: Callable[..., Session]) -> None:
        """For every precision that the device does not have; a precision it has but this artifact lacks likewise."""
        levels = self._device(facts).precisions
        absent = [p for p in Precision if p.value not in levels or levels[p.value].level is Level.UNSUPPORTED]
        if not absent:
            pytest.skip(f"{self.device} executes every precision")
        for precision in absent:
            with pytest.raises(Unsupported) as caught:
                load(Precision.FP32, precision=precision)
            assert caught.value.hint

    # -- what is reported

    @pytest.mark.parametrize("threads", [1, 2])
    def test_what_was_asked_shows_in_the_execution(self, load: Callable[..., Session], threads: int) -> None:
        """Device, threads and signature, read back from the runtime."""
        execution = load(threads=threads).describe()
        assert execution.device == self.device
        assert execution.threads == threads or isinstance(execution.threads, Unknowable)
        assert execution.streams == 1 or isinstance(execution.streams, Unknowable)
        assert {spec.name: spec for spec in execution.inputs} == {
            name: TensorSpec(name, value.dtype.name, value.shape) for name, value in self.inputs(0).items()
        }
        assert {spec.name for spec in execution.outputs} == self.reference(self.inputs(0)).keys()

    def test_shares_of_the_work_sum_to_one(
        self, load: Callable[..., Session], facts: EngineFacts, precision: Precision
    ) -> None:
        """By device and by precision; a native precision really has its nine tenths of the work."""
        execution = load(precision).describe()
        for shares in (execution.macs_by_device, execution.macs_by_precision):
            assert isinstance(shares, Unknowable) or sum(shares.values()) == pytest.approx(1)
        for counts in (execution.nodes_by_device, execution.nodes_by_precision):
            assert isinstance(counts, Unknowable) or sum(counts.values()) >= 1
        native = self._device(facts).precisions[precision.value].level is Level.NATIVE
        if native and not isinstance(execution.macs_by_precision, Unknowable):
            assert execution.macs_by_precision.get(precision.value, 0) >= 0.9

    def test_a_mislabelled_artifact_is_found_out(
        self, made: Callable[[Precision], Artifact], tmp_path: Path, precision: Precision
    ) -> None:
        """FP32 arithmetic under another name is refused, shown by ``describe``, or said to be unknowable."""
        stored = self.engine().artifact_precision(precision, self.config(precision).options)
        if Precision.FP32 in (precision, stored) or precision in self.converted:
            pytest.skip(f"an FP32 artifact is what {precision} is loaded from")
        mislabelled = replace(made(Precision.FP32), precision=precision)
        try:
            session = self.engine().load(mislabelled, self.config(precision, scratch=tmp_path))
        except Unsupported:
            return
        execution = session.describe()
        session.close()
        found = proof.differences(execution, self.device, precision)
        unknowable = isinstance(execution.macs_by_precision, Unknowable)
        assert unknowable or [difference.kind for difference in found] == ["other-precision"]

    def test_the_snippet_reproduces_the_outputs(
        self, load: Callable[..., Session], made: Callable[[Precision], Artifact], tmp_path: Path, precision: Precision
    ) -> None:
        """The program runs by itself in a folder with the artifact and ``inputs.npz``."""
        artifact, inputs = made(precision), self.inputs(0)
        folder = Path(shutil.copytree(artifact.path.parent, tmp_path / "snippet"))
        np.savez(folder / "inputs.npz", allow_pickle=False, **inputs)
        program = self.engine().snippet(artifact, self.config(precision))
        saved = program.replace("MODEL", artifact.path.name) + "\nimport numpy\nnumpy.savez('outputs.npz', **outputs)\n"
        subprocess.run([sys.executable, "-c", saved], cwd=folder, check=True)
        with np.load(folder / "outputs.npz") as archive:
            assert relative_difference(dict(archive), _infer(load(precision), inputs)) <= 1e-5

    # -- what is left behind

    def test_close_twice_is_safe(self, load: Callable[..., Session]) -> None:
        """Closing is idempotent, with and without a stream."""
        session = load()
        stream = session.stream()
        stream.bind(self.inputs(0))
        stream.run()
        stream.sync()
        session.close()
        session.close()

    def test_the_process_is_left_as_it_was(self, made: Callable[[Precision], Artifact], tmp_path: Path) -> None:
        """Environment, working directory and its files, and the global random states are unchanged.

        In a fresh process, once the runtime is imported: here, the other tests would have hidden the change.
        """
        folder, scratch = tmp_path / "cwd", tmp_path / "scratch"
        folder.mkdir()
        scratch.mkdir()
        config = self.config(Precision.FP32, scratch=scratch)
        given = tmp_path / "given.pickle"
        given.write_bytes(pickle.dumps((self.engine, made(Precision.FP32), config, self.inputs(0))))
        program = f"from harness.conformance import watch\nwatch({str(given)!r})"
        done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_strict_changes_nothing_where_nothing_falls_back(self, load: Callable[..., Session]) -> None:
        """``strict`` refuses another device; the one asked carries the tiny model whole."""
        inputs = self.inputs(0)
        found = _infer(load(strict=True), inputs)
        assert relative_difference(found, self.reference(inputs)) <= self.tolerances[Precision.FP32]
