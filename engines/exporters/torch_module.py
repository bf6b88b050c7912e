"""A ``torch.nn.Module`` that a factory makes, named by import path, to a ``torch.export`` package."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _torch, _torch_weights
from harness.engine import Exporter
from harness.errors import DataError, ExportFailed
from harness.vocabulary import FORMAT_TORCH_EXPORT, FORMAT_TORCH_MODULE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import Exported, ExportSpec
    from harness.vocabulary import Artifact, Format, Precision

_INPUT = "input"
_CALL_HINT = 'write "package.module:callable", or "package.module:Class.method"'


@dataclass(frozen=True)
class _Description:
    """The source file: JSON with these keys."""

    factory: str  # "package.module:callable", dots after the colon for attributes
    arguments: Mapping[str, Any] = field(default_factory=dict)  # {"call": "module:callable"} stands for its result
    path: tuple[str, ...] = ()  # folders where the factory's module is looked for first
    weights: str | None = None  # a state dict that torch.save wrote
    fingerprint_note: str = ""  # part of the identity; change it where the code changed and the weights did not


class TorchModule(Exporter):
    """Calls the factory, loads the weights where some are named, and traces the module as it is.

    Nothing is folded: what its users run eagerly has its BatchNorm layers too.
    """

    name: ClassVar[str] = "torch-module"
    source: ClassVar[Format] = FORMAT_TORCH_MODULE
    target: ClassVar[Format] = FORMAT_TORCH_EXPORT
    precisions: ClassVar[frozenset[Precision]] = _torch.PRECISIONS
    distributions: ClassVar[tuple[str, ...]] = ("torch",)
    install: ClassVar[str] = _torch.INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Write ``model.pt2``, input ``input``. Raises ``EngineUnavailable``, ``DataError`` or ``ExportFailed``."""
        notes = ("traced as the factory made it: where BatchNorm is folded, a later step or the runtime does it",)
        return _torch.export(_torch.Traceable(_build(_read(source.path)), _INPUT, notes), spec, destination)

    def identify(self, source: Path) -> str:
        """Return SHA-256 over the factory, its arguments as written, the note and every tensor of the state dict.

        A retrained model is another source; a moved weights file is the same. Raises as ``export`` does.
        """
        description = _read(source)
        head = {
            "factory": description.factory,
            "arguments": description.arguments,
            "note": description.fingerprint_note,
        }
        return _torch_weights.fingerprint(head, _build(description))


def _read(path: Path) -> _Description:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _Description(**data)
    except (OSError, ValueError, TypeError) as error:
        keys = ", ".join(_Description.__dataclass_fields__)
        raise DataError(f"{path} describes no torch module: {error}", f"it is a JSON object with {keys}") from error


def _build(description: _Description) -> Any:
    """Return the module in eval mode, float32, on the CPU."""
    torch = _torch.require("torch")
    for folder in reversed(description.path):
        if folder not in sys.path:
            sys.path.insert(0, folder)  # an exporter has its process to itself
    module = _torch_weights.seeded(lambda: _call(description.factory, _resolved(description.arguments)))
    if not isinstance(module, torch.nn.Module):
        raise ExportFailed(f"{description.factory} returned a {type(module).__name__}", "return a torch.nn.Module")
    if description.weights is not None:
        _torch_weights.load(module, Path(description.weights))
    return module.float().eval().requires_grad_(requires_grad=False)


def _resolved(value: Any) -> Any:
    """Return ``value`` with what ``{"call": target}`` gives in its place; ``arguments`` may stand beside ``call``."""
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "call" in value and value.keys() <= {"call", "arguments"}:
        return _call(value["call"], _resolved(value.get("arguments", {})))
    return {key: _resolved(item) for key, item in value.items()}


def _call(target: str, arguments: Mapping[str, Any]) -> Any:
    name, separator, attributes = target.partition(":")
    if not (name and separator and attributes):
        raise ExportFailed(f"{target!r} names no callable", _CALL_HINT)
    try:
        found: Any = importlib.import_module(name)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except (ImportError, AttributeError) as error:
        hint = "install its package, or add its folder to `path`"
        raise ExportFailed(f"{target} cannot be imported: {error}", hint) from error
    try:
        return found(**arguments)
    except Exception as error:  # a user's code raises whatever it likes
        raise ExportFailed(f"{target} raised {type(error).__name__}: {error}", "check its `arguments`") from error
