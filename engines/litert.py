"""LiteRT, which was TensorFlow Lite: a ``.tflite`` file in one interpreter per stream, on the CPU by XNNPACK."""

from __future__ import annotations

import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engines.litert_graph import Graph, named_tensors
from engines.litert_settings import KERNELS, LiteRTOptions, budget, check
from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs
from harness.errors import DataError, EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_TFLITE,
    Artifact,
    DeviceFacts,
    EngineFacts,
    Execution,
    Format,
    Level,
    Precision,
    Support,
    TensorSpec,
    Unknowable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

_CPU = {
    Precision.FP32: Support(Level.NATIVE),
    Precision.INT8: Support(Level.NATIVE),
    Precision.FP16: Support(
        Level.EMULATED, "the interpreter unpacks weights stored in float16 at load, and computes in float32"
    ),
    Precision.BF16: Support(Level.UNSUPPORTED, "XNNPACK's delegate takes no bfloat16 graph"),
    Precision.TF32: Support(Level.UNSUPPORTED, "TF32 is an arithmetic of NVIDIA's GPUs"),
    Precision.FP8: Support(Level.UNSUPPORTED, "TensorFlow Lite has no float8 operators"),
}
_TASKS = Path("/proc/self/task")  # one entry per thread of this process, the runtime's own among them


class LiteRTEngine(Engine):
    """Google's LiteRT. The interpreter tells operators, types and what the delegate took; so it is the default."""

    name: ClassVar[str] = "litert"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_TFLITE,)
    options: ClassVar[type] = LiteRTOptions
    modules: ClassVar[tuple[str, ...]] = ("ai_edge_litert.interpreter",)
    distributions: ClassVar[tuple[str, ...]] = ("ai-edge-litert",)
    alternatives: ClassVar[tuple[str, ...]] = ("ai-edge-litert-nightly",)
    install: ClassVar[str] = "pip install 'inference-harness[litert]'"

    def probe(self) -> EngineFacts:
        """Return the CPU's facts. Raises ``EngineUnavailable``."""
        self._import()
        precisions = {precision.value: support for precision, support in _CPU.items()}
        device = DeviceFacts("cpu", "XNNPACK, and the runtime's own kernels", precisions)
        return EngineFacts(self.name, metadata.version("ai-edge-litert"), (device,))

    def artifact_precision(self, precision: Precision, options: Any) -> Precision:
        """Float16 arithmetic is made from a float32 graph at load."""
        converts = precision is Precision.FP16 and options.fp16_arithmetic
        return Precision.FP32 if converts else precision

    def load(self, artifact: Artifact, config: SessionConfig) -> Session:
        """Map the file, and let the delegate take what it can.

        Raises ``EngineUnavailable``, ``Unsupported``, or ``DataError`` where the file is no model.
        """
        library = self._import()
        cpu = {precision.value: support for precision, support in _CPU.items()}
        self.refuse_unsupported({"cpu": cpu}, artifact, config)
        check(config)
        if config.options.api == "interpreter":
            return _LiteRTSession(library, artifact, config)
        from engines.litert_compiled import CompiledSession

        return CompiledSession(artifact, config)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:  # noqa: ARG002 - names are in the model
        """Return the program of the contract; needs ai-edge-litert and numpy."""
        if config.options.api == "compiled":
            from engines.litert_compiled import snippet

            return snippet(config)
        kernels = f"experimental_op_resolver_type=OpResolverType.{KERNELS[config.options.kernels]}"
        settings = ["", f"num_threads={budget(config)[1]}", kernels]
        settings += [f"{name}=True" for name, wanted in _switches(config).items() if wanted]
        return (
            "import numpy as np\nfrom ai_edge_litert.interpreter import Interpreter, OpResolverType\n\n\n"
            "def indices(details):\n"
            '    named = details if isinstance(details, dict) else {each["name"]: each for each in details}\n'
            '    return {name: each["index"] for name, each in named.items()}\n\n\n'
            f'interpreter = Interpreter("MODEL"{", ".join(settings)})\n'
            "interpreter.allocate_tensors()\n"
            "signatures = interpreter.get_signature_list()\n"
            "model = interpreter.get_signature_runner(next(iter(signatures))) if signatures else interpreter\n"
            "given, found = indices(model.get_input_details()), indices(model.get_output_details())\n"
            "del model  # while it lives, the interpreter refuses to run\n"
            'with np.load("inputs.npz") as inputs:\n'
            "    for name, index in given.items():\n"
            "        interpreter.set_tensor(index, inputs[name])\n"
            "interpreter.invoke()\n"
            "outputs = {name: interpreter.get_tensor(index) for name, index in found.items()}\n"
        )

    def _import(self) -> Any:
        try:
            from ai_edge_litert import interpreter
        except ImportError as error:
            raise EngineUnavailable(f"ai_edge_litert cannot be imported: {error}", self.install) from error
        return interpreter


def _switches(config: SessionConfig) -> dict[str, bool]:
    return {
        "experimental_disable_delegate_node_fusion": not config.options.fusion,
        "experimental_preserve_all_tensors": not config.options.reuse_memory,
    }


def open_interpreter(library: Any, path: Path, **settings: Any) -> Any:
    """Return an interpreter with its tensors allocated.

    Raises ``DataError`` where the file is no model, ``Unsupported`` for operators that the runtime does not have.
    """
    try:
        interpreter = library.Interpreter(str(path), **settings)
    except ValueError as error:  # its verifier's word on a file that is cut off, empty or something else
        hint = "is it a whole .tflite file? Export or copy it again"
        raise DataError(f"{path.name} cannot be read as a LiteRT model: {error}", hint) from error
    try:
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        hint = "the message names the operator; the runtime has TensorFlow Lite's own ones, no custom or Flex operators"
        raise Unsupported(f"litert cannot prepare {path.name}: {' '.join(str(error).split())}", hint) from error
    return interpreter


class _LiteRTSession(Session):
    """Interpreters over one mapped file; the first is made at load and serves the first stream."""

    def __init__(self, library: Any, artifact: Artifact, config: SessionConfig) -> None:
        self._library, self._artifact, self._config = library, artifact, config
        self._streams, self._threads = budget(config)
        first = self._open()
        self._inputs, self._input_indices = _match(first, artifact.inputs, "inputs", artifact.path.name)
        self._outputs, self._output_indices = _match(first, artifact.outputs, "outputs", artifact.path.name)
        self._spare = [first]

    def _open(self) -> Any:
        resolver = self._library.OpResolverType[KERNELS[self._config.options.kernels]]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors.*", UserWarning)  # as it was asked
            return open_interpreter(
                self._library,
                self._artifact.path,
                num_threads=self._threads,
                experimental_op_resolver_type=resolver,
                **_switches(self._config),
            )

    @property
    def recommended_streams(self) -> int:
        """One single-threaded interpreter per thread for throughput; the runtime itself has no word on it."""
        return self._streams

    def stream(self) -> Stream:
        """Return an interpreter of its own: the file is mapped once, packed weights are each interpreter's."""
        try:
            interpreter = self._spare.pop()
        except IndexError:
            interpreter = self._open()
        return _LiteRTStream(interpreter, self._inputs, self._input_indices, self._output_indices)

    def describe(self) -> Execution:
        """Read operators and delegated partitions from an interpreter of the same settings."""
        before = _count_tasks()
        interpreter = self._open()
        graph = Graph(interpreter)
        threads = self._read_threads(graph, before)
        del interpreter  # its threads were to be counted
        nodes = len(graph.nodes)
        macs = graph.macs_by_precision() or Unknowable("no operator is of a type known to multiply and accumulate")
        return Execution(
            device=self._config.device,
            nodes_by_device={"cpu": nodes},
            macs_by_device=macs if isinstance(macs, Unknowable) else {"cpu": 1.0},
            nodes_by_precision=graph.nodes_by_precision(),
            macs_by_precision=macs,
            threads=threads,
            streams=self._streams,
            inputs=self._inputs,
            outputs=self._outputs,
            operators=graph.operators(),
            graph_nodes=nodes,
            flags={"api": "interpreter", **graph.flags()},
        )

    def _read_threads(self, graph: Graph, before: int | None) -> int | Unknowable:
        """Return the threads of all streams, by those that one more interpreter started."""
        after = _count_tasks()
        if before is None or after is None:
            return Unknowable("the interpreter does not tell, and this system lists no threads of a process")
        if not graph.partitions:
            return Unknowable("the interpreter does not tell, and its own kernels start several pools when first run")
        return (1 + after - before) * self._streams

    def close(self) -> None:
        """Let go of the interpreter that no stream has; the others go with their streams."""
        self._spare.clear()


class _LiteRTStream(Stream):
    """One interpreter; numpy views of its tensors are never held, since they would keep it from running."""

    def __init__(
        self,
        interpreter: Any,
        specs: tuple[TensorSpec, ...],
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
    ) -> None:
        self._interpreter, self._specs = interpreter, specs
        self._inputs, self._outputs = inputs, outputs

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._specs, inputs)
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, inputs[name])

    def run(self) -> None:
        self._interpreter.invoke()

    def fetch(self) -> dict[str, np.ndarray]:
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _match(
    interpreter: Any, wanted: tuple[TensorSpec, ...], role: str, file: str
) -> tuple[tuple[TensorSpec, ...], dict[str, int]]:
    """Return signature and tensor indices of the inputs or outputs, in the order of ``wanted``.

    Raises ``Unsupported`` where names differ, or a shape is not static.
    """
    indices = dict(zip(("inputs", "outputs"), named_tensors(interpreter), strict=True))[role]
    names = [spec.name for spec in wanted] or list(indices)
    if set(names) != set(indices):
        message = f"{file} has the {role} {sorted(indices)}, the artifact names {sorted(names)}"
        raise Unsupported(message, "bring the file in through an exporter, which names what it holds")
    details = {each["index"]: each for each in (interpreter.get_input_details() + interpreter.get_output_details())}
    specs = []
    for name in names:
        found = details[indices[name]]
        if -1 in found["shape_signature"]:
            shape = [int(side) for side in found["shape_signature"]]
            raise Unsupported(f"{name!r} has the dynamic shape {shape}", "export the model with static shapes")
        specs.append(TensorSpec(name, found["dtype"].__name__, tuple(int(side) for side in found["shape"])))
    return tuple(specs), {name: indices[name] for name in names}


def _count_tasks() -> int | None:
    return sum(1 for _ in _TASKS.iterdir()) if _TASKS.is_dir() else None
