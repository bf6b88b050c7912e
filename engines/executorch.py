"""ExecuTorch: a program of PyTorch's runtime for devices, its graph delegated to XNNPACK."""

from __future__ import annotations

import platform
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines import executorch_program
from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs
from harness.errors import DataError, EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_EXECUTORCH,
    DeviceFacts,
    EngineFacts,
    Execution,
    Level,
    Precision,
    Support,
    TensorSpec,
    Unknowable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.vocabulary import Artifact, Format

_METHOD = "forward"
_NONE = Support(Level.UNSUPPORTED, "no exporter makes such a program for XNNPACK")
_CPU = {
    **{precision.value: _NONE for precision in Precision},
    Precision.FP32.value: Support(Level.NATIVE),
    Precision.INT8.value: Support(Level.NATIVE),
}


class ExecuTorchEngine(Engine):
    """ExecuTorch's Python runtime, which imports torch and holds Python's lock while it runs."""

    name: ClassVar[str] = "executorch"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_EXECUTORCH,)
    modules: ClassVar[tuple[str, ...]] = ("torch", "executorch.runtime")
    distributions: ClassVar[tuple[str, ...]] = ("executorch", "torch")
    install: ClassVar[str] = "pip install 'inference-harness[executorch]'"

    def probe(self) -> EngineFacts:
        """Return the CPU where XNNPACK is among the runtime's backends. Raises ``EngineUnavailable``."""
        from importlib.metadata import version

        torch, runtime = self._import()
        if not runtime.backend_registry.is_available("XnnpackBackend"):
            raise EngineUnavailable("this build of ExecuTorch has no XNNPACK backend", self.install)
        device = DeviceFacts("cpu", f"{platform.machine()}, XNNPACK", _CPU)
        return EngineFacts(self.name, version("executorch"), (device,), {"torch": str(torch.__version__)})

    def load(self, artifact: Artifact, config: SessionConfig) -> _ExecuTorchSession:
        """Load the program. Raises ``EngineUnavailable``, ``Unsupported`` or ``DataError``."""
        torch, runtime = self._import()
        self.refuse_unsupported({"cpu": _CPU}, artifact, config)
        return _ExecuTorchSession(torch, runtime, artifact, config)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:
        """Return the program of the contract; needs executorch, torch and numpy."""
        inputs, outputs = ([spec.name for spec in specs] for specs in (artifact.inputs, artifact.outputs))
        threads = (
            "from executorch.extension.pybindings import portable_lib\n\n"
            f"portable_lib._unsafe_reset_threadpool({config.threads})\n"
            if config.threads
            else ""
        )
        return (
            f"import numpy as np\nimport torch\nfrom executorch.runtime import Runtime\n{threads}"
            'method = Runtime.get().load_program("MODEL").load_method("forward")\n'
            'with np.load("inputs.npz") as archive:\n'
            f"    found = method.execute([torch.from_numpy(archive[name]) for name in {inputs}])\n"
            f"outputs = {{name: value.numpy() for name, value in zip({outputs}, found, strict=True)}}\n"
        )

    def _import(self) -> tuple[Any, Any]:
        try:
            import torch

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the whole Python runtime calls itself experimental
                from executorch.runtime import Runtime
        except (ImportError, OSError) as error:  # OSError: a shared library that the wheel needs is missing
            raise EngineUnavailable(f"executorch cannot be imported: {error}", self.install) from error
        return torch, Runtime.get()


def _pool() -> Any:
    from executorch.extension.pybindings import portable_lib

    return portable_lib


class _ExecuTorchSession(Session):
    """One program a stream: methods of one program share the memory of their tensors.

    ``threads`` is XNNPACK's pool, of the whole process, and stays as it is set: a loaded method holds on to it.
    Python's lock is held during a run, so streams take turns and one is recommended.
    """

    def __init__(self, torch: Any, runtime: Any, artifact: Artifact, config: SessionConfig) -> None:
        self._torch, self._runtime, self._artifact, self._config = torch, runtime, artifact, config
        if config.threads and _pool()._threadpool_get_thread_count() != config.threads:  # noqa: SLF001 - the only way
            _pool()._unsafe_reset_threadpool(config.threads)  # noqa: SLF001 - as above
        # The first stream's, made now so that its preparation is part of the load.
        self._spare: Any = self._method()

    def _method(self) -> Any:
        name = self._artifact.path.name
        try:
            program = self._runtime.load_program(self._artifact.path)
            metadata = program.metadata(_METHOD)
        except (RuntimeError, KeyError) as error:
            message = f"ExecuTorch cannot read {name}: {error}"
            raise DataError(message, "the file may be cut short: export the model again") from error
        found = [tuple(metadata.input_tensor_meta(index).sizes()) for index in range(metadata.num_inputs())]
        expected = [spec.shape for spec in self._artifact.inputs]
        if found != expected:
            raise Unsupported(f"the program's inputs are {found}, expected were {expected}", "export it for this shape")
        try:
            return program, program.load_method(_METHOD)
        except RuntimeError as error:
            message = f"ExecuTorch cannot prepare {name}: {error}"
            raise Unsupported(message, "its log names the kernel or backend that this build lacks") from error

    def stream(self) -> Stream:
        """Return a program of its own."""
        held, self._spare = self._spare or self._method(), None
        return _ExecuTorchStream(self._torch, held, self._artifact)

    def describe(self) -> Execution:
        """Read the file: what is delegated, as XNNPACK gets it, and which of ExecuTorch's own kernels are called."""
        parts, nodes = executorch_program.nodes(self._artifact.path, self._config.scratch)
        macs: Counter[str] = Counter()
        for node in nodes:
            macs[node.precision] += node.macs
        kernels = Counter(node.kind for node in nodes if not node.delegated)
        uncounted = sorted(kernels.keys() & executorch_program.UNCOUNTED)
        reason = f"the work of {', '.join(uncounted)} is not counted" if uncounted else "no operator multiplies"
        known = macs.total() and not uncounted
        shares = {key: count / macs.total() for key, count in macs.items() if count}
        return Execution(
            device="cpu",
            nodes_by_device={"cpu": len(nodes)},
            macs_by_device={"cpu": 1.0} if known else Unknowable(reason),
            nodes_by_precision=dict(Counter(node.precision for node in nodes)),
            macs_by_precision=shares if known else Unknowable(reason),
            threads=int(_pool()._threadpool_get_thread_count()),  # noqa: SLF001 - the only way to know
            streams=self._config.streams or 1,
            inputs=self._artifact.inputs,
            outputs=self._artifact.outputs,
            operators=dict(Counter(node.kind for node in nodes)),
            graph_nodes=len(nodes),
            flags={
                "delegated": f"{sum(node.delegated for node in nodes)} of {len(nodes)} operators to XNNPACK, "
                f"in {parts} parts",
                "own kernels": ", ".join(f"{count} {kind}" for kind, count in sorted(kernels.items())) or "none",
            },
        )

    def close(self) -> None:
        """Let go of the program; streams that are still held keep theirs."""
        self._spare = None


class _ExecuTorchStream(Stream):
    """Fixed input tensors over one method, which answers with copies."""

    def __init__(self, torch: Any, held: Any, artifact: Artifact) -> None:
        self._program, self._method = held
        self._artifact = artifact
        self._inputs = [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in artifact.inputs]
        self._found: list[Any] = []

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._artifact.inputs, inputs)
        for tensor, spec in zip(self._inputs, self._artifact.inputs, strict=True):
            np.copyto(tensor.numpy(), inputs[spec.name])

    def run(self) -> None:
        self._found = self._method.execute(self._inputs)

    def fetch(self) -> dict[str, np.ndarray]:
        outputs: tuple[TensorSpec, ...] = self._artifact.outputs
        return {spec.name: value.numpy().copy() for spec, value in zip(outputs, self._found, strict=True)}
