"""A graph opened by ONNX Runtime: its streams, and what it says of itself."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines import onnxruntime_providers as providers
from engines.onnxruntime_profile import Placement, Profile
from harness.engine import Session, Stream, check_inputs
from harness.errors import HarnessError, Unsupported
from harness.vocabulary import Execution, TensorSpec, Unknowable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.onnxruntime_opening import Opening

_DTYPES = {"float": "float32", "double": "float64"}  # the words of ONNX Runtime that are not numpy's
_OWN_POOL = frozenset({"openvino", "xnnpack"})


class OrtSession(Session):
    """One graph and one thread pool, shared by the session's streams."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._streams = opening.budget[0]
        self._session = opening.session()
        self._inputs = tuple(_spec(value) for value in self._session.get_inputs())
        self._outputs = tuple(_spec(value) for value in self._session.get_outputs())

    @property
    def recommended_streams(self) -> int:
        return self._streams

    def stream(self) -> Stream:
        """Return an IO binding with buffers of its own, in the memory of the provider where it has one."""
        memory = self._opening.device.provider.memory
        place = (memory, self._opening.device.number) if memory else ("cpu", 0)
        return _OrtStream(self._opening.ort, self._session, self._inputs, self._outputs, place)

    def describe(self) -> Execution:
        """Open the graph again and profile one run of it on zeros, in ``scratch``.

        Weights stay unpacked in that session, since packed ones are missing from the profile's shapes. Of a provider
        that compiles what it takes the profile shows one node each time: what lies in it is learnt from the placement,
        and its work from a run on the CPU provider of the same graph as it was placed.
        """
        opening = self._opening
        session, profile = self._profiled(opening.settings(), on_cpu=False)
        placement = Placement(session.get_provider_graph_assignment_info())
        compiling = placement.compiling(profile)
        work: Mapping[str, float] | Unknowable = profile.macs_by_provider()
        precision: Mapping[str, float] | Unknowable = profile.macs_by_precision(self._words(session))
        types: Mapping[str, int] | Unknowable = profile.nodes_by_precision()
        if compiling:
            work = self._placed_work(placement)
            names = ", ".join(sorted(providers.short(name) for name in compiling))
            reason = f"{names} compiles its part of the graph and does not tell the types of its kernels"
            precision = types = Unknowable(reason)
        threads, told = self._threads(session, profile)
        device = {providers.CPU: "cpu", self._provider_name(session): opening.config.device}
        return Execution(
            device=opening.config.device,
            nodes_by_device={device.get(name, providers.short(name)): n for name, n in placement.nodes().items()},
            macs_by_device=work
            if isinstance(work, Unknowable)
            else {device.get(name, providers.short(name)): share for name, share in work.items()},
            nodes_by_precision=types,
            macs_by_precision=precision,
            threads=threads,
            streams=self._streams,
            inputs=self._inputs,
            outputs=self._outputs,
            operators=profile.operators(placement),
            graph_nodes=self._graph_nodes(),
            flags={"executed nodes": str(profile.nodes), **told, **self._flags(session), **profile.flags()},
        )

    def _profiled(self, settings: Any, *, on_cpu: bool) -> tuple[Any, Profile]:
        settings.enable_profiling = True
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings.add_session_config_entry("session.disable_prepacking", "1")
        with tempfile.TemporaryDirectory(dir=self._opening.config.scratch) as folder:
            settings.profile_file_prefix = str(Path(folder) / "profile")
            opening = self._opening
            session = opening.on_cpu(settings) if on_cpu else opening.session(settings, capture=False)
            session.run(None, {spec.name: np.zeros(spec.shape, spec.dtype) for spec in self._inputs})
            return session, Profile(json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")))

    def _placed_work(self, placement: Placement) -> Mapping[str, float] | Unknowable:
        """Return the share of the multiply-accumulates by provider where providers compile."""
        settings = self._opening.settings()
        levels = self._opening.ort.GraphOptimizationLevel
        # Graphs are placed after the basic optimisations and before the others, so that here nodes have the same names.
        if self._opening.config.options.graph_optimization != "disabled":
            settings.graph_optimization_level = levels.ORT_ENABLE_BASIC
        try:
            _, reference = self._profiled(settings, on_cpu=True)
        except HarnessError as error:
            return Unknowable(f"its nodes have no shapes outside the provider: {error.message}")
        return placement.shares(reference.macs_by_node())

    def _words(self, session: Any) -> Mapping[str, str]:
        """Return the word for the FP32 work of a provider that multiplies it in another way."""
        cuda = providers.PROVIDERS["cuda"].name
        tf32 = session.get_provider_options().get(cuda, {}).get("use_tf32") == "1"
        return {cuda: "tf32"} if tf32 else {}

    def _provider_name(self, session: Any) -> str:
        """Return the first provider of the session, which the device stands for: those after it are its fallback."""
        return str(session.get_providers()[0])

    def _threads(self, session: Any, profile: Profile) -> tuple[int | Unknowable, dict[str, str]]:
        kind = providers.short(self._provider_name(session))
        if kind in _OWN_POOL or not self._opening.built_in:
            return Unknowable(f"{kind} has threads of its own and does not tell their number"), {}
        # Where the runtime chose, the profile tells: of a short run it may miss a thread that had not started yet.
        threads = session.get_session_options().intra_op_num_threads or profile.threads
        return threads + self._streams - 1, {"intra-op threads": str(threads)}

    def _graph_nodes(self) -> int | Unknowable:
        """Return the nodes of the file, constants not counted: those placed where nothing is optimised."""
        settings = self._opening.settings()
        settings.graph_optimization_level = self._opening.ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        try:
            session = self._opening.on_cpu(settings)
        except HarnessError as error:
            return Unknowable(f"the CPU provider cannot open the graph as it is: {error.message}")
        return sum(Placement(session.get_provider_graph_assignment_info()).nodes().values())

    def _flags(self, session: Any) -> dict[str, str]:
        """Say how the session really is set, as it tells itself."""
        made = session.get_session_options()
        memory = {
            "arena": made.enable_cpu_mem_arena,
            "pattern": made.enable_mem_pattern,
            "reuse": made.enable_mem_reuse,
        }
        flags = {
            "graph optimization": made.graph_optimization_level.name,
            "memory": ", ".join(name for name, on in memory.items() if on) or "none of arena, pattern, reuse",
        }
        told = session.get_provider_options().get(self._provider_name(session), {})
        return flags | ({"provider options": ", ".join(f"{k}={v}" for k, v in sorted(told.items()))} if told else {})

    def close(self) -> None:
        """Let go of the graph; streams that are still held keep it alive."""
        self._session = None


class _OrtStream(Stream):
    """Fixed buffers, bound once: in host memory, or on the device with a copy in ``bind`` and one in ``fetch``.

    ``run`` returns when its own work is done: the runtime waits for its device stream at the end of a run, whereas a
    wait of the binding's would be for every stream of the device.
    """

    def __init__(
        self,
        ort: Any,
        session: Any,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        place: tuple[str, int],
    ) -> None:
        self._session, self._specs, self._host = session, inputs, place[0] == "cpu"
        self._binding = session.io_binding()
        self._inputs = {spec.name: _buffer(ort, spec, place) for spec in inputs}
        self._outputs = {spec.name: _buffer(ort, spec, place) for spec in outputs}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._specs, inputs)
        for name, value in self._inputs.items():
            if self._host:
                np.copyto(value.numpy(), inputs[name])
            else:
                value.update_inplace(np.ascontiguousarray(inputs[name]))

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def fetch(self) -> dict[str, np.ndarray]:
        if self._host:
            return {name: value.numpy().copy() for name, value in self._outputs.items()}
        return {name: value.numpy() for name, value in self._outputs.items()}  # copied to the host by the runtime


def _buffer(ort: Any, spec: TensorSpec, place: tuple[str, int]) -> Any:
    return ort.OrtValue.ortvalue_from_shape_and_type(spec.shape, np.dtype(spec.dtype), *place)


def _spec(value: Any) -> TensorSpec:
    """Return the signature of a model's input or output. Raises ``Unsupported`` where its shape is not static."""
    if not all(isinstance(side, int) for side in value.shape):
        raise Unsupported(f"{value.name!r} has the dynamic shape {value.shape}", "export the model with static shapes")
    word = value.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(value.name, _DTYPES.get(word, word), tuple(value.shape))
