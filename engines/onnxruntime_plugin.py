"""Execution providers that live in libraries of their own, from ONNX Runtime 1.22 on: registered and looked up."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from engines.onnxruntime_providers import CPU, Device, short
from harness.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "onnxruntime-ep-"  # of the distributions that hold one, by ONNX Runtime's guide to packaging them


def installed() -> Iterator[str]:
    """Yield the paths of the libraries that installed distributions bring; one that cannot say its path is left out."""
    found = {str(one.metadata["Name"]).casefold().replace("_", "-") for one in importlib.metadata.distributions()}
    for name in sorted(found):
        path = _packaged(name.removeprefix(_PREFIX)) if name.startswith(_PREFIX) else ""
        if path:
            yield path


def devices(ort: Any, library: str, ep_name: str = "") -> dict[str, Any]:
    """Return the devices that a library offers on this machine by name, such as ``openvino:npu``.

    It stays registered. ``ep_name`` leaves out what is not of that provider. Raises ``Unsupported`` for what is no such
    library.
    """
    try:
        ort.register_execution_provider_library(library, library)
    except Exception as error:  # the runtime's own classes, which derive from nothing else
        if "already registered" not in str(error):
            hint = "`ep_library` is the path of a plug-in provider built for this version of onnxruntime"
            raise Unsupported(f"onnxruntime cannot use {library}: {error}", hint) from error
    named: dict[str, Any] = {}
    for one in ort.get_ep_devices():
        if one.ep_name == CPU or (ep_name and one.ep_name != ep_name):
            continue
        base = f"{short(one.ep_name)}:{one.device.type.name.casefold()}"
        number = sum(name.partition(".")[0] == base for name in named)
        named[f"{base}.{number}" if number else base] = one
    return named


def device(ort: Any, asked: Device, library: str, ep_name: str) -> Any:
    """Return the runtime's object for a device. Raises ``Unsupported`` where the plug-in offers none such here."""
    kind = asked.name.partition(":")[0]
    path = library or _packaged(kind)
    if not path:
        hint = f"install a build that has it, or `pip install {_PREFIX}{kind}`, or name its library in `ep_library`"
        raise Unsupported(f"this build of onnxruntime has no provider for {asked.name!r}", hint)
    offered = devices(ort, path, ep_name)
    if asked.name not in offered:
        there = f"it offers {', '.join(offered)}" if offered else "it offers no device on this machine"
        raise Unsupported(f"the plug-in provider has no device {asked.name!r}", there)
    return offered[asked.name]


def _packaged(kind: str) -> str:
    """Return the path that the package of a plug-in gives, empty where it is not installed or holds no library."""
    try:
        return str(importlib.import_module(f"{_PREFIX}{kind}".replace("-", "_")).get_library_path())
    except (ImportError, AttributeError, FileNotFoundError):
        return ""
