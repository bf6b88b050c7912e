"""A SavedModel loaded for one device: its function, its streams, and what it executed."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.tensorflow_graph import graph_operators, holds_stablehlo, loaded_operators, uses_onednn
from engines.tensorflow_hlo import compiled_operators
from harness.engine import Session, SessionConfig, Stream, check_inputs, usable_processors
from harness.errors import DataError, Unsupported
from harness.vocabulary import Execution, Goal, Precision, TensorSpec, Unknowable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from engines.tensorflow_hlo import Operator
    from harness.vocabulary import Artifact

SIGNATURE = "serving_default"
_ALIGNMENT = 64  # bytes; Eigen's kernels abort on a tensor that begins elsewhere
# Grappler's passes that lower the precision of a float32 graph (tf.config.optimizer.set_experimental_options).
_LOWERING: Mapping[tuple[str, Precision], str] = {
    ("cpu", Precision.BF16): "auto_mixed_precision_onednn_bfloat16",
    ("gpu", Precision.FP16): "auto_mixed_precision",
}


def index(device: str) -> int:
    """Return the number of a GPU, of ``gpu:0``."""
    return int(device.partition(":")[2])


def budget(config: SessionConfig) -> tuple[int, int]:
    """Return the sizes of the pools inside and between operators, 0 being TensorFlow's choice for each.

    ``config.threads`` is the whole session's. An operator runs on a thread of the second pool, with the help of the
    first: n inside and k between keep n + k - 1 busy. Streams need a thread between operators each.
    """
    between = config.options.inter_op_threads
    if config.goal is Goal.LATENCY:
        between = between or config.streams or 1
        return (max(1, config.threads - between + 1), between) if config.threads else (0, 0)
    threads = config.threads or usable_processors()
    between = between or _streams(config)
    return max(1, threads - between + 1), between


def _streams(config: SessionConfig) -> int:
    """Return the streams of a session; one for each thread gives most throughput, and TensorFlow recommends none."""
    if config.streams or config.goal is Goal.LATENCY:
        return config.streams or 1
    return config.threads or usable_processors()


def lowering(config: SessionConfig) -> str | None:
    """Return the pass that gives the precision asked, where a pass does."""
    return _LOWERING.get((config.device.partition(":")[0], config.precision))


def passes(config: SessionConfig) -> dict[str, bool]:
    """Return what of the optimiser differs from TensorFlow's own choice, by its names."""
    lowered = lowering(config)
    return {**config.options.passes(), **({lowered: True} if lowered else {})}


class TensorFlowSession(Session):
    """One concrete function and the variables that it reads, shared by the session's streams."""

    def __init__(self, tf: Any, artifact: Artifact, config: SessionConfig) -> None:
        self._tf, self._artifact, self._config = tf, artifact, config
        self._undo = ExitStack()  # gives back what belongs to the process
        try:
            self._configure()
            self._model, self._function = self._restore()
            signature = self._model.signatures[SIGNATURE]
            self._inputs = _specs(signature.structured_input_signature[1])
            self._outputs = _specs(signature.structured_outputs)
            self._by_xla = config.options.xla or holds_stablehlo(signature.graph.as_graph_def())
            if self._by_xla:
                # XLA compiles at the first run, for seconds: that is load time, as of every engine that compiles.
                stream = self.stream()
                stream.bind({spec.name: np.zeros(spec.shape, spec.dtype) for spec in self._inputs})
                stream.run()
                stream.sync()
        except BaseException:
            self._undo.close()
            raise

    def _configure(self) -> None:
        """Set threads and visible devices, which a process decides once, and Grappler's passes, which it can undo."""
        tf, config = self._tf, self._config
        gpus = tf.config.list_physical_devices("GPU")
        intra, inter = budget(config)
        try:
            if intra:
                tf.config.threading.set_intra_op_parallelism_threads(intra)
                tf.config.threading.set_inter_op_parallelism_threads(inter)
            if gpus:
                tf.config.set_visible_devices([gpus[index(config.device)]] if config.device != "cpu" else [], "GPU")
        except RuntimeError as error:
            hint = "load it in a process of its own, as the harness does"
            raise Unsupported(f"this process runs TensorFlow with other settings already: {error}", hint) from error
        if chosen := passes(config):
            held = tf.config.optimizer.get_experimental_options()
            before = {name: held.get(name, not on) for name, on in chosen.items()}
            self._undo.callback(tf.config.optimizer.set_experimental_options, before)
            tf.config.optimizer.set_experimental_options(chosen)
        if config.device != "cpu":
            switch = tf.config.experimental.enable_tensor_float_32_execution
            self._undo.callback(switch, tf.config.experimental.tensor_float_32_execution_enabled())
            switch(config.precision is Precision.TF32)
            self._undo.callback(tf.config.set_soft_device_placement, tf.config.get_soft_device_placement())
            tf.config.set_soft_device_placement(not config.strict)

    def _restore(self) -> tuple[Any, Any]:
        """Return the restored object, which owns the variables, and the function to call by the names of its inputs."""
        tf, name = self._tf, self._artifact.path.name
        try:
            model = tf.saved_model.load(str(self._artifact.path))
            signature = model.signatures[SIGNATURE]
        except KeyError as error:
            raise Unsupported(f"{name} has no signature {SIGNATURE!r}", "import it through the exporters") from error
        except (OSError, ValueError, tf.errors.OpError) as error:
            hint = "the folder must hold saved_model.pb and variables/, of operators that this build has"
            raise DataError(f"{name} cannot be restored: {error}", hint) from error
        if not self._config.options.xla:
            return model, signature
        return model, self._jitted(signature).get_concrete_function(**signature.structured_input_signature[1])

    def _jitted(self, signature: Any) -> Any:
        def call(**inputs: Any) -> Any:
            return signature(**inputs)

        return self._tf.function(call, jit_compile=True, autograph=False)

    @property
    def recommended_streams(self) -> int:
        return _streams(self._config)

    def stream(self) -> TensorFlowStream:
        """Return a context with input tensors of its own."""
        return TensorFlowStream(self._tf, self._model, self._function, self._inputs, self._config.device)

    def describe(self) -> Execution:
        """Restore the model anew and collect the graph that its first run makes, or compile it anew by XLA."""
        config = self._config
        loaded = self._model.signatures[SIGNATURE].graph.as_graph_def()
        opaque = holds_stablehlo(loaded)
        operators = [self._as_executed(each) for each in (self._compiled() if self._by_xla else self._optimised())]
        unread = next((operator.unread for operator in operators if operator.unread), "")
        intra, inter = self._threads()
        flags = {
            "compiled by": "XLA" if self._by_xla else "none",
            "optimiser": _words(passes(config)),
            "oneDNN": "on" if uses_onednn() else "off",
        }
        if intra:
            flags |= {"threads in an operator": str(intra), "operators at once": str(inter)}
        return Execution(
            device=config.device,
            nodes_by_device=dict(Counter(operator.device for operator in operators)),
            macs_by_device=Unknowable(unread) if unread else _shares((o.device, o.macs) for o in operators),
            nodes_by_precision=dict(Counter(operator.precision for operator in operators)),
            macs_by_precision=Unknowable(unread) if unread else _shares((o.precision, o.macs) for o in operators),
            threads=intra + inter - 1 if intra else _pool(),
            streams=_streams(config),
            inputs=self._inputs,
            outputs=self._outputs,
            operators=dict(Counter(operator.kind for operator in operators)),
            graph_nodes=Unknowable("the graph is one StableHLO module") if opaque else loaded_operators(loaded),
            flags=flags,
        )

    def _compiled(self) -> list[Operator]:
        signature = self._model.signatures[SIGNATURE]
        hlo = self._jitted(signature).experimental_get_compiler_ir(**self._zeros())(stage="optimized_hlo")
        return compiled_operators(hlo, self._config.device)

    def _optimised(self) -> list[Operator]:
        # TensorFlow optimises a function once, at its first call, and only then hands the graph out.
        model, function = self._restore()
        zeros = self._zeros()
        operators = graph_operators(self._tf, lambda: function(**zeros))
        del model  # it owned the variables
        return operators

    def _zeros(self) -> dict[str, Any]:
        return {spec.name: self._tf.zeros(spec.shape, spec.dtype) for spec in self._inputs}

    def _threads(self) -> tuple[int, int]:
        """Return the sizes of the pools inside and between operators, 0 where TensorFlow chose them."""
        threading = self._tf.config.threading
        return threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads()

    def _as_executed(self, operator: Operator) -> Operator:
        """Name the device as the suite does, and what float32 products are while TF32 is on."""
        tf32 = self._tf.config.experimental.tensor_float_32_execution_enabled()
        device = self._config.device if operator.device == self._config.device.partition(":")[0] else operator.device
        lowered = tf32 and device.startswith("gpu") and operator.precision == "fp32" and operator.macs
        return operator._replace(device=device, precision="tf32" if lowered else operator.precision)

    def close(self) -> None:
        """Let go of the model, and give the optimiser's switches back."""
        self._undo.close()
        self._model = self._function = None


class TensorFlowStream(Stream):
    """Fixed input tensors over a shared function; on a CPU they lie in memory that numpy writes."""

    def __init__(self, tf: Any, model: Any, function: Any, specs: tuple[TensorSpec, ...], device: str) -> None:
        self._tf, self._function, self._specs, self._on_gpu = tf, function, specs, device != "cpu"
        self._model = model  # owns the variables, which the function only borrows
        self._buffers = {spec.name: _aligned(spec) for spec in specs}
        self._hosts = {
            name: tf.experimental.dlpack.from_dlpack(buffer.__dlpack__()) for name, buffer in self._buffers.items()
        }
        self._inputs = self._hosts
        self._found: Mapping[str, Any] = {}

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._specs, inputs)
        for name, buffer in self._buffers.items():
            np.copyto(buffer, inputs[name])
        if self._on_gpu:
            with self._tf.device("/GPU:0"):  # the one that is visible
                self._inputs = {name: self._tf.identity(host) for name, host in self._hosts.items()}
            self.sync()

    def run(self) -> None:
        try:
            self._found = self._function(**self._inputs)
        except self._tf.errors.OpError as error:  # what has no kernel, or cannot be compiled, shows at the first run
            hint = "the message names the operator; a convolution of NCHW, for example, runs on GPUs alone"
            raise Unsupported(f"tensorflow cannot execute the model: {error.message}", hint) from error

    def sync(self) -> None:
        if self._on_gpu:
            self._tf.test.experimental.sync_devices()

    def fetch(self) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self._found.items()}  # numpy() copies


def _pool() -> int | Unknowable:
    """Return the size that TensorFlow chose for both of its pools: the threads of one have a name."""
    try:
        names = [task.read_text(encoding="utf-8").strip() for task in Path("/proc/self/task").glob("*/comm")]
    except OSError:  # a thread that ended meanwhile
        names = []
    return names.count("tf_Compute") or Unknowable("TensorFlow chose, and does not tell")


def _aligned(spec: TensorSpec) -> np.ndarray:
    size = math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
    room = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(spec.dtype).reshape(spec.shape)


def _specs(tensors: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """Return names, dtypes and shapes. Raises ``Unsupported`` where a shape is not static."""
    for name, tensor in tensors.items():
        if not tensor.shape.is_fully_defined():
            raise Unsupported(f"{name!r} has the dynamic shape {tensor.shape}", "export the model with static shapes")
    return tuple(TensorSpec(name, tensor.dtype.name, tuple(tensor.shape)) for name, tensor in tensors.items())


def _words(passes: Mapping[str, bool]) -> str:
    return ", ".join(f"{name} {'on' if on else 'off'}" for name, on in passes.items()) or "TensorFlow's default"


def _shares(counted: Iterable[tuple[str, int]]) -> dict[str, float] | Unknowable:
    macs: Counter[str] = Counter()
    for key, count in counted:
        macs[key] += count
    whole = macs.total()
    if not whole:
        return Unknowable("no executed operator is of a kind known to multiply and accumulate")
    return {key: count / whole for key, count in macs.items() if count}
