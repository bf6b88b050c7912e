"""How ONNX Runtime opens a graph on a device: its settings, and its refusals in plain words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines import onnxruntime_plugin as plugin
from engines import onnxruntime_providers as providers
from harness.engine import usable_processors
from harness.errors import DataError, HarnessError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import SessionConfig

OPTIMIZATION = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
_MODES = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}


@dataclass(frozen=True)
class Opening:
    """What is to be opened, where and how. ``model`` is a path or the bytes of a model."""

    ort: Any
    model: str | bytes
    device: providers.Device
    config: SessionConfig

    @property
    def budget(self) -> tuple[int, int]:
        """Streams and intra-op threads."""
        return providers.budget(self.device, self.config, usable_processors())

    def settings(self) -> Any:
        """Return new session options as the configuration says. Raises ``Unsupported``."""
        ort, options = self.ort, self.config.options
        _, threads = self.budget
        made = ort.SessionOptions()
        level = _choice("graph_optimization", options.graph_optimization, OPTIMIZATION)
        made.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        mode = _choice("execution_mode", options.execution_mode, _MODES)
        made.execution_mode = getattr(ort.ExecutionMode, mode)
        made.intra_op_num_threads = 1 if self.device.provider is providers.PROVIDERS["xnnpack"] else threads
        made.inter_op_num_threads = 1 if options.execution_mode == "sequential" else threads
        made.enable_cpu_mem_arena = options.arena
        # DirectML refuses a session with it (onnxruntime.ai, DirectML provider, "Configuration options").
        made.enable_mem_pattern = options.memory_pattern and self.device.provider is not providers.PROVIDERS["dml"]
        made.enable_mem_reuse = options.memory_reuse
        for key, value in self._entries().items():
            made.add_session_config_entry(key, value)
        return made

    def _entries(self) -> dict[str, str]:
        options = self.config.options
        entries = {}
        spins = options.allow_spinning
        if spins is None and self.device.provider is providers.PROVIDERS["xnnpack"]:
            spins = False  # beside its own pool, as its documentation recommends
        if spins is not None:
            entries["session.intra_op.allow_spinning"] = str(int(spins))
        if not options.prepacking:
            entries["session.disable_prepacking"] = "1"
        if self.config.strict and self.device.provider.name != providers.CPU:
            entries["session.disable_cpu_ep_fallback"] = "1"
        return entries | {key: str(value) for key, value in options.session_config.items()}

    def session(self, settings: Any = None, *, capture: bool = True) -> Any:
        """Return the runtime's session on this device, and never silently on another.

        ``capture``: whether runs are captured as CUDA graphs, where that was asked. Raises ``Unsupported`` or
        ``DataError``.
        """
        settings = settings or self.settings()
        streams, threads = self.budget
        own = providers.settings(self.device, self.config, streams, threads)
        if not capture:
            own.pop(self.device.provider.graph, None)
        name = self.device.provider.name
        chain: list[Any] | None = [(name, own)] if own else [name]
        if not self.built_in:
            options = self.config.options
            one = plugin.device(self.ort, self.device, options.ep_library, options.ep_name)
            settings.add_provider_for_devices([one], own)
            name, chain = one.ep_name, None
        elif self.device.provider.partner:
            partner = providers.PROVIDERS[self.device.provider.partner].name
            chain = [*(chain or []), (partner, {"device_id": str(self.device.number)})]
        session = self._opened(settings, chain)
        if name not in session.get_providers():
            hint = "its driver or one of its libraries is missing; what the runtime printed says which"
            raise Unsupported(f"onnxruntime could not open {name} for {self.device.name!r}", hint)
        return session

    @property
    def built_in(self) -> bool:
        """Whether the provider is in this build; a library that the suite names goes before."""
        held = self.ort.get_available_providers()
        return not self.config.options.ep_library and self.device.provider.name in held

    def on_cpu(self, settings: Any) -> Any:
        """Return the same graph opened on the CPU provider, to learn of it."""
        return self._opened(settings, [providers.CPU])

    def _opened(self, settings: Any, chain: list[Any] | None) -> Any:
        # Without ``enable_fallback=False`` the Python class opens the graph on the CPU where the provider fails.
        given = {} if chain is None else {"providers": chain}
        try:
            return self.ort.InferenceSession(self.model, settings, enable_fallback=False, **given)
        except Exception as error:  # the runtime's own classes, one for each of its status codes
            raise _refused(error, "the model" if isinstance(self.model, bytes) else Path(self.model).name) from error


_OPERATOR = "custom operators and those newer than this runtime are not supported: export the model without it"
_KERNEL = "try another precision or opset"
_STRICT = "set `fallback: allow` to run those on the CPU, shown as such, or take another device"
_OPSET = "export the model at an earlier opset, or install a newer onnxruntime"
_FILE = "was it cut off while it was copied? make it again"
# What ONNX Runtime's messages match, the first of several; what went wrong; what to do about it.
_REASONS: tuple[tuple[str, type[HarnessError], str, str], ...] = (
    ("fallback to CPU EP has been explicitly disabled", Unsupported, "the provider does not take every node", _STRICT),
    (r"(\S+)\(-?\d+\) is not a registered function/op", Unsupported, "it does not know the operator {0}", _OPERATOR),
    (r"No Op registered for (\S+) with", Unsupported, "it does not know the operator {0}", _OPERATOR),
    (r"implementation for (\S+?)\(\d+\)", Unsupported, "it has no kernel for {0} at these types", _KERNEL),
    (r"Opset (\d+) is under development", Unsupported, "opset {0} is newer than it knows", _OPSET),
    (
        r"Unsupported model IR version: (\d+)",
        Unsupported,
        "version {0} of the file format is newer than it knows",
        _OPSET,
    ),
    ("INVALID_PROTOBUF|No graph was found|does not have a graph", DataError, "it is no whole ONNX file", _FILE),
    (
        "NO_SUCHFILE|external (?:data|initializer)",
        DataError,
        "a file of it is missing or not as long as it should be",
        _FILE,
    ),
)


def _refused(error: Exception, model: str) -> HarnessError:
    """Return the project's error for one of the runtime's, whose text it keeps without its places in the C++ source."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error)).strip()
    text = re.sub(r"\S+\.(?:cc|h):\d+ .*\) (?=[A-Z])", "", text)
    for pattern, kind, what, hint in _REASONS:
        found = re.search(pattern, str(error), re.IGNORECASE)
        if found:
            return kind(f"onnxruntime cannot open {model}: {what.format(*found.groups())} ({text})", hint)
    return Unsupported(f"onnxruntime cannot open {model}: {text}", "the message names what it does not take")


def _choice(option: str, value: str, choices: Mapping[str, str]) -> str:
    if value not in choices:
        raise Unsupported(f"onnxruntime: {option} cannot be {value!r}", f"it is one of {', '.join(choices)}")
    return choices[value]
