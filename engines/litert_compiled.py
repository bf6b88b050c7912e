"""LiteRT's ``CompiledModel``: another way to run the same file, which tells less of what it does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.engine import Session, Stream, check_inputs, usable_processors
from harness.errors import DataError, Unsupported
from harness.vocabulary import Execution, Goal, TensorSpec, Unknowable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import SessionConfig
    from harness.vocabulary import Artifact

_MODES = {"xnnpack": "DELEGATE", "builtin": "BUILTIN", "reference": "REFERENCE"}
# TFLITE_XNNPACK_DELEGATE_FLAG_QS8 and _QU8, which are on by default, and _FORCE_FP16, of xnnpack_delegate.h.
_INTEGERS, _FORCE_FP16 = 1 | 2, 4
_SILENT = Unknowable("CompiledModel tells no operators; `api: interpreter` does")


class CompiledSession(Session):
    """One ``CompiledModel`` with one stream: its binding holds Python's lock while it runs."""

    def __init__(self, artifact: Artifact, config: SessionConfig) -> None:
        if (config.streams or 1) > 1:
            message = f"litert's CompiledModel cannot run {config.streams} streams at once: it holds Python's lock"
            raise Unsupported(message, "set `api: interpreter`, which does not, or ask for one stream")
        self._artifact, self._config = artifact, config
        self._model = self._open(fp16=config.options.fp16_arithmetic)
        self._signature = next(iter(self._model.get_signature_list()))
        self._inputs = self._specs(self._model.get_input_tensor_details(self._signature), artifact.inputs)
        self._outputs = self._specs(self._model.get_output_tensor_details(self._signature), artifact.outputs)

    def _open(self, *, fp16: bool) -> Any:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.cpu_kernel_mode import CpuKernelMode
        from ai_edge_litert.options import CpuOptions, Options

        cache = ""
        if self._config.options.weight_cache:
            if self._config.scratch is None:
                raise Unsupported("litert: weight_cache needs a scratch folder", "the harness gives each launch one")
            cache = str(self._config.scratch / "xnnpack-weights")
        cpu = CpuOptions(
            num_threads=self._threads,
            kernel_mode=CpuKernelMode[_MODES[self._config.options.kernels]],
            xnnpack_flags=_INTEGERS | _FORCE_FP16 if fp16 else None,
            xnnpack_weight_cache_path=cache,
        )
        try:
            return CompiledModel.from_file(str(self._artifact.path), options=Options(cpu_options=cpu))
        except (RuntimeError, ValueError) as error:
            hint = "load it with `api: interpreter`, whose message says more"
            message = f"{self._artifact.path.name} cannot be compiled by LiteRT: {' '.join(str(error).split())}"
            raise DataError(message, hint) from error

    @property
    def _threads(self) -> int:
        if self._config.threads or self._config.goal is Goal.LATENCY:
            return self._config.threads or 1
        return usable_processors()

    def _specs(self, details: Mapping[str, Any], wanted: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        names = [spec.name for spec in wanted] or list(details)
        if set(names) != set(details):
            message = f"{self._artifact.path.name} has {sorted(details)}, the artifact names {sorted(names)}"
            raise Unsupported(message, "bring the file in through an exporter, which names what it holds")
        return tuple(TensorSpec(name, details[name]["dtype"], tuple(details[name]["shape"])) for name in names)

    def stream(self) -> Stream:
        """Return buffers of its own over the one model; streams must take turns."""
        return _CompiledStream(self._model, self._signature, self._inputs, self._outputs)

    def describe(self) -> Execution:
        """Say whether the delegate took everything, and no more: operators and types are not told."""
        flags = {"api": "compiled", "fully accelerated": "yes" if self._model.is_fully_accelerated() else "no"}
        if self._config.options.fp16_arithmetic:
            same = self._outputs_on_noise(fp16=True) == self._outputs_on_noise(fp16=False)
            flags["fp16 arithmetic"] = "outputs as without it" if same else "outputs differ from those without it"
        return Execution(
            device=self._config.device,
            nodes_by_device=_SILENT,
            macs_by_device=_SILENT,
            nodes_by_precision=_SILENT,
            macs_by_precision=_SILENT,
            threads=_SILENT,
            streams=1,
            inputs=self._inputs,
            outputs=self._outputs,
            operators=_SILENT,
            graph_nodes=_SILENT,
            flags=flags,
        )

    def _outputs_on_noise(self, *, fp16: bool) -> list[bytes]:
        stream = _CompiledStream(self._open(fp16=fp16), self._signature, self._inputs, self._outputs)
        generator = np.random.default_rng(0)
        stream.bind({spec.name: generator.random(spec.shape).astype(spec.dtype) for spec in self._inputs})
        stream.run()
        return [value.tobytes() for value in stream.fetch().values()]

    def close(self) -> None:
        """Let go of the model; streams that are still held keep it alive."""
        self._model = None


class _CompiledStream(Stream):
    """The model's own tensor buffers, written and read through copies."""

    def __init__(
        self, model: Any, signature: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> None:
        self._model, self._signature = model, signature
        self._specs, self._answers = inputs, outputs
        self._inputs = {spec.name: model.create_input_buffer_by_name(signature, spec.name) for spec in inputs}
        self._outputs = {spec.name: model.create_output_buffer_by_name(signature, spec.name) for spec in outputs}

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._specs, inputs)
        for name, buffer in self._inputs.items():
            buffer.write(inputs[name])

    def run(self) -> None:
        self._model.run_by_name(self._signature, self._inputs, self._outputs)

    def fetch(self) -> dict[str, np.ndarray]:
        return {
            spec.name: self._outputs[spec.name].read(math.prod(spec.shape), np.dtype(spec.dtype)).reshape(spec.shape)
            for spec in self._answers
        }


def snippet(config: SessionConfig) -> str:
    """Return the program of ``Engine.snippet`` for this API, without the weight cache, which changes no output."""
    flags = f", xnnpack_flags={_INTEGERS | _FORCE_FP16}" if config.options.fp16_arithmetic else ""
    mode = f"CpuKernelMode.{_MODES[config.options.kernels]}"
    return (
        "import math\n\nimport numpy as np\n"
        "from ai_edge_litert.compiled_model import CompiledModel, CpuKernelMode, CpuOptions, Options\n\n"
        f"cpu = CpuOptions(num_threads={config.threads or 1}, kernel_mode={mode}{flags})\n"
        'model = CompiledModel.from_file("MODEL", options=Options(cpu_options=cpu))\n'
        "signature = next(iter(model.get_signature_list()))\n"
        'with np.load("inputs.npz") as inputs:\n'
        "    given = {name: model.create_input_buffer_by_name(signature, name) for name in inputs}\n"
        "    for name, buffer in given.items():\n"
        "        buffer.write(inputs[name])\n"
        "details = model.get_output_tensor_details(signature)\n"
        "found = {name: model.create_output_buffer_by_name(signature, name) for name in details}\n"
        "model.run_by_name(signature, given, found)\n"
        "outputs = {\n"
        '    name: found[name].read(math.prod(each["shape"]), np.dtype(each["dtype"])).reshape(each["shape"])\n'
        "    for name, each in details.items()\n"
        "}\n"
    )
