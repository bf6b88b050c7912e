"""ONNX Runtime: one graph, placed on the execution provider that the device names."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the codec evaluates annotations at run time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from engines import onnxruntime_plugin as plugin
from engines import onnxruntime_providers as providers
from engines.onnxruntime_opening import OPTIMIZATION, Opening
from engines.onnxruntime_session import OrtSession
from harness.engine import Engine, SessionConfig
from harness.errors import EngineUnavailable, HarnessError, Unsupported
from harness.vocabulary import FORMAT_ONNX, DeviceFacts, EngineFacts, Format, Level, Precision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.vocabulary import Artifact

# A model of one Relu over float32 (1,), as ``onnx`` 1.23 writes it: opens a provider without a file and without onnx.
_ONE_NODE = (
    b'\x08\x08:3\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01pZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


@dataclass(frozen=True)
class OnnxRuntimeOptions:
    """Settings of a session; null leaves a choice to the runtime."""

    graph_optimization: str = "all"  # all | layout | extended | basic | disabled
    execution_mode: str = "sequential"  # sequential | parallel
    allow_spinning: bool | None = None
    arena: bool = True
    memory_pattern: bool = True
    memory_reuse: bool = True
    prepacking: bool = True
    cuda_graph: bool = False
    provider_options: Mapping[str, Any] = field(default_factory=dict)  # in the provider's own words
    session_config: Mapping[str, str] = field(default_factory=dict)  # ONNX Runtime's own keys, "session...." and others
    ep_library: str = ""  # path of a plug-in provider
    ep_name: str = ""  # which provider of that library, where it holds several


class OnnxRuntimeEngine(Engine):
    """Microsoft's ONNX Runtime, through its IO binding."""

    name: ClassVar[str] = "onnxruntime"
    formats: ClassVar[tuple[Format, ...]] = (FORMAT_ONNX,)
    options: ClassVar[type] = OnnxRuntimeOptions
    modules: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    distributions: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    alternatives: ClassVar[tuple[str, ...]] = tuple(
        f"onnxruntime-{build}" for build in ("gpu", "openvino", "directml", "qnn", "rocm", "migraphx", "training")
    )
    install: ClassVar[str] = "pip install 'inference-harness[onnx]'"

    def probe(self) -> EngineFacts:
        """Return the devices on which a model of one node could be opened. Raises ``EngineUnavailable``."""
        ort = self._import()
        return EngineFacts(self.name, ort.__version__, tuple(_devices(ort)))

    def artifact_precision(self, precision: Precision, options: Any) -> Precision:  # noqa: ARG002 - of the contract
        return Precision.FP32 if precision is Precision.TF32 else precision

    def load(self, artifact: Artifact, config: SessionConfig) -> OrtSession:
        """Read the graph, place and optimise it.

        Raises ``EngineUnavailable``, ``Unsupported``, or ``DataError`` for a file that is no whole model.
        """
        ort = self._import()
        device = providers.parse(config.device)
        support = device.precisions[config.precision.value]
        if support.level is Level.UNSUPPORTED:
            raise Unsupported(f"onnxruntime cannot run {config.precision} on {config.device}", support.reason)
        wanted = self.artifact_precision(config.precision, config.options)
        if artifact.precision is not wanted:
            message = f"the model holds {artifact.precision} arithmetic, {config.precision} was asked"
            raise Unsupported(message, f"export it at {wanted}: the runtime casts nothing at load")
        return OrtSession(Opening(ort, str(artifact.path), device, config))

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:  # noqa: ARG002 - names are in the model
        """Return the program of the contract; needs onnxruntime, the provider's package and numpy."""
        device, options = providers.parse(config.device), config.options
        streams, threads = providers.budget(device, config, 1)
        made = providers.settings(device, config, streams, threads)
        lines = ["import numpy as np", "import onnxruntime as ort", "", "options = ort.SessionOptions()"]
        level = OPTIMIZATION[options.graph_optimization]
        lines.append(f"options.graph_optimization_level = ort.GraphOptimizationLevel.{level}")
        if config.threads:
            lines.append(f"options.intra_op_num_threads = {config.threads}")
        if options.ep_library:
            lines += [
                f"ort.register_execution_provider_library({options.ep_library!r}, {options.ep_library!r})",
                "found = [one for one in ort.get_ep_devices() if one.ep_name != 'CPUExecutionProvider']",
                f"options.add_provider_for_devices(found[:1], {made})",
                'session = ort.InferenceSession("MODEL", options, enable_fallback=False)',
            ]
        else:
            chosen = [(device.provider.name, made)] if made else [device.provider.name]
            lines.append(f'session = ort.InferenceSession("MODEL", options, providers={chosen}, enable_fallback=False)')
        lines += [
            'with np.load("inputs.npz") as inputs:',
            "    found = session.run(None, dict(inputs))",
            "outputs = dict(zip((value.name for value in session.get_outputs()), found))",
        ]
        return "\n".join(lines) + "\n"

    def _import(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineUnavailable(f"onnxruntime cannot be imported: {error}", self.install) from error
        return onnxruntime


def _devices(ort: Any) -> Iterator[DeviceFacts]:
    """Yield the built-in providers' devices, then those of installed plug-ins, each opened to see that it is there.

    A provider in the build whose driver or library is missing opens as the CPU's, with a warning and no error.
    """
    seen = set()
    for series in providers.names(tuple(ort.get_available_providers())):
        for name in series:
            if not _opens(ort, name):
                break
            seen.add(name)
            device = providers.parse(name)
            yield DeviceFacts(name, device.provider.name, device.precisions)
    for library in plugin.installed():
        try:
            offered = plugin.devices(ort, library)
        except Unsupported:  # built for another version of onnxruntime: none of its devices can be had
            continue
        for name, one in offered.items():
            if name not in seen:
                told = ", ".join(f"{key}={value}" for key, value in sorted(one.ep_metadata.items()))
                description = f"{one.ep_name} of {one.ep_vendor}, a plug-in, on {one.device.vendor}: {told}"
                yield DeviceFacts(name, description, providers.parse(name).precisions)


def _opens(ort: Any, name: str) -> bool:
    device = providers.parse(name)
    runs = next(word for word, support in device.precisions.items() if support.level is not Level.UNSUPPORTED)
    config = SessionConfig(name, Precision(runs), options=OnnxRuntimeOptions())
    try:
        Opening(ort, _ONE_NODE, device, config).session()
    except HarnessError:
        return False
    return True
