"""TensorFlow: a SavedModel's signature, run operator by operator or compiled whole by XLA."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engines.tensorflow_session import SIGNATURE, TensorFlowSession, budget, index, lowering, passes
from harness.engine import Engine, SessionConfig
from harness.errors import EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_SAVED_MODEL,
    Artifact,
    DeviceFacts,
    EngineFacts,
    Format,
    Level,
    Precision,
    Support,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_NATIVE = Support(Level.NATIVE)
_INT8 = Support(
    Level.UNSUPPORTED,
    "TensorFlow's kernels multiply no INT8 for a SavedModel: quantised models are LiteRT's (`litert`)",
)
_FP8 = Support(Level.UNSUPPORTED, "TensorFlow has no FP8 kernels for convolutions")
_CONVERTED = frozenset({Precision.TF32, Precision.FP16, Precision.BF16})  # at load, from float32
_BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True)
class TensorFlowOptions:
    """Settings of a session. All but ``xla`` and ``inter_op_threads`` are passes of Grappler, the graph optimiser."""

    xla: bool = False  # compile the whole signature, as tf.function(jit_compile=True)
    grappler: bool = True  # false: the graph runs as it was saved
    fusion: bool = True  # Conv2D+BiasAdd+Relu and the like as one operator (remapping)
    layout: bool = True
    constant_folding: bool = True
    arithmetic: bool = True  # simplification of arithmetic
    inter_op_threads: int | None = None  # operators run at once; null: one a stream

    def passes(self) -> dict[str, bool]:
        """Return what differs from TensorFlow's own choice, by its names."""
        chosen = {
            "remapping": self.fusion,
            "layout_optimizer": self.layout,
            "constant_folding": self.constant_folding,
            "arithmetic_optimization": self.arithmetic,
        }
        off = {name: False for name, on in chosen.items() if not on}
        return off if self.grappler else {**off, "disable_meta_optimizer": True}


class TensorFlowEngine(Engine):
    """Google's TensorFlow; a stream is a calling thread over one concrete function."""

    name: ClassVar[str] = "tensorflow"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_SAVED_MODEL,)
    options: ClassVar[type] = TensorFlowOptions
    modules: ClassVar[tuple[str, ...]] = ("tensorflow",)
    distributions: ClassVar[tuple[str, ...]] = ("tensorflow-cpu",)
    alternatives: ClassVar[tuple[str, ...]] = ("tensorflow", "tf-nightly")
    install: ClassVar[str] = "pip install 'inference-harness[tensorflow]'"

    def probe(self) -> EngineFacts:
        """Return the CPU and every GPU that this build sees. Raises ``EngineUnavailable``."""
        tf = self._import()
        return EngineFacts(self.name, tf.__version__, tuple(_devices(tf)))

    def artifact_precision(self, precision: Precision, options: Any) -> Precision:  # noqa: ARG002 - whatever they are
        """Return FP32 for what is computed from float32 weights by a pass over the graph, or by a switch."""
        return Precision.FP32 if precision in _CONVERTED else precision

    def load(self, artifact: Artifact, config: SessionConfig) -> TensorFlowSession:
        """Restore the SavedModel. Raises ``EngineUnavailable``, ``Unsupported`` or ``DataError``."""
        tf = self._import()
        devices = {device.name: device.precisions for device in _devices(tf)}
        self.refuse_unsupported(devices, artifact, config)
        if config.options.xla and (lowering(config) or config.options.passes()):
            hint = "drop `xla`, or ask for FP32 and leave Grappler's switches alone"
            raise Unsupported("XLA takes the graph before Grappler, whose passes would have no effect", hint)
        return TensorFlowSession(tf, artifact, config)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:  # noqa: ARG002 - names are in the model
        """Return the program of the contract; needs tensorflow and numpy."""
        intra, inter = budget(config)
        lines = ["import numpy as np", "import tensorflow as tf", ""]
        if intra:
            lines.append(f"tf.config.threading.set_intra_op_parallelism_threads({intra})")
            lines.append(f"tf.config.threading.set_inter_op_parallelism_threads({inter})")
        if config.device != "cpu":
            lines.append(f'gpu = tf.config.list_physical_devices("GPU")[{index(config.device)}]')
            lines.append('tf.config.set_visible_devices([gpu], "GPU")')
            tf32 = config.precision is Precision.TF32
            lines.append(f"tf.config.experimental.enable_tensor_float_32_execution({tf32})")
        if chosen := passes(config):
            lines.append(f"tf.config.optimizer.set_experimental_options({chosen})")
        lines.append('model = tf.saved_model.load("MODEL")')
        lines.append(f'run = model.signatures["{SIGNATURE}"]')
        if config.options.xla:
            lines.append("signature = run")
            lines.append("run = tf.function(lambda **inputs: signature(**inputs), jit_compile=True, autograph=False)")
        lines += [
            'with np.load("inputs.npz") as inputs:',
            "    found = run(**{name: tf.constant(value) for name, value in inputs.items()})",
            "outputs = {name: value.numpy() for name, value in found.items()}",
        ]
        return "\n".join(lines) + "\n"

    def _import(self) -> Any:
        try:
            import tensorflow as tf
        except (ImportError, OSError) as error:  # OSError: a shared library that the wheel needs is missing
            raise EngineUnavailable(f"tensorflow cannot be imported: {error}", self.install) from error
        return tf


def _devices(tf: Any) -> list[DeviceFacts]:
    """Return what is there; initialises nothing, so that threads and devices can still be chosen."""
    lacking = Support(Level.UNSUPPORTED, f"oneDNN computes bfloat16 on CPUs with {' or '.join(sorted(_BF16_FEATURES))}")
    cpu = {
        Precision.FP32: _NATIVE,
        Precision.TF32: Support(Level.UNSUPPORTED, "TF32 is a format of NVIDIA's GPUs"),
        Precision.FP16: Support(Level.UNSUPPORTED, "TensorFlow lowers a graph to FP16 on GPUs alone"),
        Precision.BF16: _NATIVE if _BF16_FEATURES & _cpu_features() else lacking,
        Precision.FP8: _FP8,
        Precision.INT8: _INT8,
    }
    devices = [_device_facts("cpu", "CPU", cpu)]
    for number, device in enumerate(tf.config.list_physical_devices("GPU")):
        details = tf.config.experimental.get_device_details(device)
        capability = details.get("compute_capability", (0, 0))
        # Volta and Ampere, as tf.config.optimizer and enable_tensor_float_32_execution document them.
        floors = {Precision.FP32: (0, 0), Precision.FP16: (7, 0), Precision.TF32: (8, 0)}
        old = Support(Level.UNSUPPORTED, f"compute capability {'.'.join(map(str, capability))} lacks it")
        gpu = {precision: _NATIVE if capability >= floor else old for precision, floor in floors.items()}
        gpu[Precision.BF16] = Support(Level.UNSUPPORTED, "TensorFlow lowers a graph to BF16 on CPUs alone")
        gpu |= {Precision.FP8: _FP8, Precision.INT8: _INT8}
        devices.append(_device_facts(f"gpu:{number}", details.get("device_name", "GPU"), gpu))
    return devices


def _device_facts(name: str, description: str, precisions: Mapping[Precision, Support]) -> DeviceFacts:
    return DeviceFacts(name, description, {precision.value: support for precision, support in precisions.items()})


def _cpu_features() -> frozenset[str]:
    """Return the flags that Linux shows of the first processor; TensorFlow tells nobody what it found."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(flags[1].split()) if flags else frozenset()
