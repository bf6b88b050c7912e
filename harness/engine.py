"""The contract that every inference runtime and every exporter fulfils, built-in or third-party."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - as above
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import DataError, InvalidInput, Unsupported
from harness.system import usable_processors as usable_processors  # noqa: PLC0414 - what engines know comes from here
from harness.vocabulary import Goal, Level, Precision, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from harness.vocabulary import Artifact, EngineFacts, Execution, Format, Support


@dataclass(frozen=True)
class NoOptions:
    """The settings of an engine that has none."""


@dataclass(frozen=True)
class SessionConfig:
    """How a model is to be loaded. ``None`` leaves the choice to the runtime."""

    device: str = "cpu"
    precision: Precision = Precision.FP32
    batch: int = 1
    threads: int | None = None
    streams: int | None = None
    goal: Goal = Goal.LATENCY
    strict: bool = False  # refuse, rather than run some nodes on another device
    options: Any = field(default_factory=NoOptions)  # an instance of the engine's own ``options`` dataclass
    scratch: Path | None = None  # a folder of this launch's own, for runtime caches


class Stream(ABC):
    """An execution context over a loaded model, used by one thread.

    Order of calls: ``bind``, then any number of ``run`` each followed by ``sync``, then ``fetch``.
    """

    depth: int = 1
    """How many ``run`` may be enqueued before ``sync``, on asynchronous devices."""

    @abstractmethod
    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Check names, dtypes and shapes, and copy into fixed buffers (to the device, where there is one).

        Raises ``InvalidInput`` naming the input, what was expected and what was given.
        """

    @abstractmethod
    def run(self) -> None:
        """Start one inference over what is bound."""

    def sync(self) -> None:  # noqa: B027 - a synchronous runtime has nothing to wait for
        """Return when the inference has finished."""

    @abstractmethod
    def fetch(self) -> dict[str, np.ndarray]:
        """Return the outputs of the last inference by name; the arrays belong to the caller and survive later runs."""


def check_inputs(expected: Sequence[TensorSpec], given: Mapping[str, np.ndarray]) -> None:
    """Compare names, dtypes and shapes; raises ``InvalidInput`` at the first difference."""
    specs = {spec.name: spec for spec in expected}
    if given.keys() != specs.keys():
        message = f"the model's inputs are {sorted(specs)}, given were {sorted(given)}"
        raise InvalidInput(message, "bind every input by its name, and nothing else")
    for name, spec in specs.items():
        dtype, shape = given[name].dtype.name, tuple(given[name].shape)
        if (dtype, shape) != (spec.dtype, spec.shape):
            message = f"input {name!r} is {spec.dtype} {spec.shape}, given was {dtype} {shape}"
            raise InvalidInput(message, "shapes are static: convert the array, or export for its shape")


class Session(ABC):
    """A model loaded on a device."""

    @property
    def recommended_streams(self) -> int:
        """Number of streams that the runtime itself would use for throughput, at least 1."""
        return 1

    @abstractmethod
    def stream(self) -> Stream:
        """Return a new execution context, sharing the weights where the runtime can."""

    @abstractmethod
    def describe(self) -> Execution:
        """Read back from the runtime what really executes; only called in a ``prove`` launch, never timed."""

    def close(self) -> None:  # noqa: B027 - most runtimes free on garbage collection
        """Free what can be freed; safe to call twice."""


class Engine(ABC):
    """One inference runtime. Importing or constructing it must not import the runtime."""

    name: ClassVar[str]
    formats: ClassVar[tuple[Format, ...]]
    """Artifact formats that it loads, best first."""
    options: ClassVar[type] = NoOptions
    """A frozen dataclass of its own settings, checked against the suite's ``options:``."""
    modules: ClassVar[tuple[str, ...]] = ()
    """The vendor's modules, imported by the worker before ``load`` so that import time is told from load time."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """PyPI distributions whose presence and version ``harness doctor`` reports."""
    alternatives: ClassVar[tuple[str, ...]] = ()
    """Other distributions that bring the same runtime, each in the place of the first of ``distributions``."""
    install: ClassVar[str] = ""
    """The command that installs it."""

    @abstractmethod
    def probe(self) -> EngineFacts:
        """Import the runtime and say what it can execute here. Raises ``EngineUnavailable``."""

    @abstractmethod
    def load(self, artifact: Artifact, config: SessionConfig) -> Session:
        """Load, compile or build the artifact. Raises ``Unsupported`` for what the device cannot do."""

    def artifact_formats(self, options: Any) -> tuple[Format, ...]:  # noqa: ARG002 - for those that override it
        """Return the formats to load with these settings, best first; a setting may choose one of ``formats``."""
        return self.formats

    def artifact_precision(self, precision: Precision, options: Any) -> Precision:  # noqa: ARG002 - as above
        """Return what the artifact must hold for the arithmetic to be ``precision``.

        They differ where the runtime converts at load or at run: TF32 computes on FP32 weights.
        """
        return precision

    def refuse_unsupported(
        self, devices: Mapping[str, Mapping[str, Support]], artifact: Artifact, config: SessionConfig
    ) -> None:
        """Raise ``Unsupported`` for a device or precision that is not there, or an artifact of another precision.

        For use in ``load``. ``devices``: by name, what ``probe`` says of each precision's value.
        """
        if config.device not in devices:
            raise Unsupported(f"{self.name} has no device {config.device!r} here", f"it has {', '.join(devices)}")
        support = devices[config.device].get(config.precision.value)
        if support is None or support.level is Level.UNSUPPORTED:
            reason = support.reason if support else "`harness doctor` lists what it executes"
            raise Unsupported(f"{self.name} cannot run {config.precision} on {config.device}", reason)
        stored = self.artifact_precision(config.precision, config.options)
        if artifact.precision is not stored:
            message = f"the artifact holds {artifact.precision} arithmetic, {config.precision} was asked"
            raise Unsupported(message, f"export it at {stored}")

    @abstractmethod
    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:
        """Return a short Python program that loads the artifact with these settings using the runtime alone.

        It reads the artifact ``MODEL`` and the inputs ``inputs.npz`` beside it, and binds ``outputs`` to a dict of
        numpy arrays by name. ``MODEL`` stands for the artifact's file or folder name.
        """


@dataclass(frozen=True)
class Calibration:
    """Pre-processed calibration images: ``path`` is an ``.npy`` of float32 (N, C, H, W), memory-mappable."""

    path: Path
    content_hash: str
    images: int


@dataclass(frozen=True)
class ExportSpec:
    """What an exporter is asked for."""

    precision: Precision
    batch: int
    shape: tuple[int, ...]  # one item: (C, H, W)
    calibration: Calibration | None = None  # given where the precision is calibrated
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"  # the device that a ``bound`` artifact is made for
    build: int = 0  # number of this build of a ``bound`` artifact: builds of one model may differ in speed


@dataclass(frozen=True)
class Exported:
    """What an exporter made inside its destination folder."""

    entry: str  # file or folder name, relative to the destination, that the engine loads ("." for the folder itself)
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...] = ()


class Exporter(ABC):
    """One step from a format to another, or from a precision to another; runs in a process of its own."""

    name: ClassVar[str]
    source: ClassVar[Format]
    target: ClassVar[Format]
    precisions: ClassVar[frozenset[Precision]]
    """Precisions it can give from an FP32 source."""
    calibrated: ClassVar[frozenset[Precision]] = frozenset()
    """Those of them that need calibration images."""
    keeps: ClassVar[frozenset[Precision]] = frozenset()
    """Precisions other than FP32 that it carries over unchanged from a source that holds them already."""
    bound: ClassVar[bool] = False
    """Whether what it makes runs only on a machine or device like that which made it: ``binding`` says on which."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """PyPI distributions whose versions are part of the artifact's key."""
    install: ClassVar[str] = ""
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Its options with the values that they have when left out: one that is given its default is no other artifact."""

    @abstractmethod
    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Make the artifact inside ``destination``, an existing empty folder; write nowhere else.

        Raises ``EngineUnavailable`` where its library is missing, ``ExportFailed`` or ``Unsupported`` otherwise.
        """

    def binding(self, device: str) -> Mapping[str, str]:  # noqa: ARG002 - for those that are ``bound``
        """Return the facts of this machine and ``device`` that a ``bound`` artifact depends on; part of its key.

        Called in a process of its own. Raises ``EngineUnavailable`` or ``Unsupported``.
        """
        return {}

    def identify(self, source: Path) -> str | None:  # noqa: ARG002 - for those that override it
        """Return a content hash of a source whose file does not hold its content, such as an import path.

        ``None``: the hash of the file's bytes says it all.
        """
        return None

    def fetch(self, reference: str, destination: Path) -> Path:  # noqa: ARG002 - as above
        """Obtain a source that is no local file inside ``destination``, an existing folder, and return its path.

        Calling it is the permission to use the network. Raises ``DataError``.
        """
        raise DataError(f"{reference} does not exist", f"{self.name} downloads nothing: give the path of a file")
