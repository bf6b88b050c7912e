"""A model of timm or torchvision, by name, to a ``torch.export`` package."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _torch, _torch_weights
from harness.engine import Exporter
from harness.errors import DataError, EngineUnavailable, ExportFailed
from harness.vocabulary import FORMAT_TORCH_EXPORT, FORMAT_TORCH_ZOO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import Exported, ExportSpec
    from harness.vocabulary import Artifact, Format, Precision

PRETRAINED = "pretrained"
_INPUT = "input"
_INSTALL = "pip install 'inference-harness[torch,zoo]'"


@dataclass(frozen=True)
class _Description:
    """The source file: JSON with these keys."""

    library: str  # timm | torchvision
    name: str  # as the library lists it
    weights: str | None = None  # None: drawn | "pretrained": the library's own | a state dict that torch.save wrote
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the library's factory


class TorchZoo(Exporter):
    """Builds the model by the library's own factory, and traces it as it is: nothing is folded."""

    name: ClassVar[str] = "torch-zoo"
    source: ClassVar[Format] = FORMAT_TORCH_ZOO
    target: ClassVar[Format] = FORMAT_TORCH_EXPORT
    precisions: ClassVar[frozenset[Precision]] = _torch.PRECISIONS
    distributions: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "timm")
    install: ClassVar[str] = _INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Write ``model.pt2``, input ``input``; a classifier answers (batch, classes), logits.

        Raises ``EngineUnavailable``, ``DataError`` or ``ExportFailed``.
        """
        description = _read(source.path)
        module, note = _build(description)
        notes = (f"{description.name} of {description.library}", note)
        return _torch.export(_torch.Traceable(module, _INPUT, notes), spec, destination)

    def identify(self, source: Path) -> str:
        """Return SHA-256 over library, name, arguments and every tensor of the state dict. Raises as ``export``."""
        description = _read(source)
        head = {"library": description.library, "name": description.name, "arguments": dict(description.arguments)}
        return _torch_weights.fingerprint(head, _build(description)[0])


def _read(path: Path) -> _Description:
    try:
        description = _Description(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        keys = ", ".join(_Description.__dataclass_fields__)
        raise DataError(f"{path} describes no model: {error}", f"it is a JSON object with {keys}") from error
    if description.library not in _LIBRARIES:
        raise DataError(f"no library {description.library!r}", f"it is one of {', '.join(_LIBRARIES)}")
    return description


def _build(description: _Description) -> tuple[Any, str]:
    """Return the module in eval mode, float32, on the CPU, and where its weights are from."""
    library = _library(description.library)
    known, make = _LIBRARIES[description.library](library, description)
    base = description.name.partition(".")[0] if description.library == "timm" else description.name
    if base not in known:
        near = difflib.get_close_matches(base, known, n=3)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        hint = f"{meant}{description.library} {library.__version__} lists {len(known)} by its list_models()"
        raise DataError(f"{description.library} has no model {description.name!r}", hint)
    pretrained = description.weights == PRETRAINED
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library about itself: slow or future initialisation
            module = _torch_weights.seeded(make)
    except OSError as error:  # requests', urllib's and huggingface_hub's errors of the network are OSErrors
        raise DataError(f"the weights of {description.name} could not be had: {error}", _OFFLINE) from error
    except Exception as error:  # a library raises what it likes of its arguments
        if pretrained and not isinstance(error, TypeError):
            raise DataError(f"{description.name} has no pretrained weights: {error}", _OFFLINE) from error
        hint = "check its `arguments` against the library's documentation"
        raise ExportFailed(f"{description.name} raised {type(error).__name__}: {error}", hint) from error
    note = f"weights as {description.library} publishes them" if pretrained else _torch_weights.DRAWN
    if description.weights is not None and not pretrained:
        _torch_weights.load(module, Path(description.weights))
        note = "weights of a state dict of the user's"
    return module.float().eval().requires_grad_(requires_grad=False), note


_OFFLINE = (
    "where there is no network, save model.state_dict() with torch.save on a machine that has one and name the file as "
    "`weights`, or leave `weights` out for drawn ones"
)


def _library(name: str) -> Any:
    """Import timm or torchvision. Raises ``EngineUnavailable``.

    A torchvision built for another torch than this one (PyPI's, beside torch's CPU build) has no compiled operators and
    refuses to be imported. Its classifiers need none: what it looks for is declared, without an implementation, so that
    a model which calls it fails by the operator's name.
    """
    torch = _torch.require("torch", _INSTALL)
    try:
        importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise EngineUnavailable(f"{name} cannot be imported: {error}", _INSTALL) from error
        declared = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(declared)  # what is declared lasts as long as the object
    except ImportError:
        pass  # told below
    return _torch.require(name, _INSTALL)


_KEPT: list[Any] = []


def _timm(library: Any, description: _Description) -> tuple[list[str], Any]:
    """Return timm's names and what makes the model; a tag after a dot says which pretrained weights are meant."""
    pretrained = description.weights == PRETRAINED
    return library.list_models(), lambda: library.create_model(
        description.name, pretrained=pretrained, **description.arguments
    )


def _torchvision(library: Any, description: _Description) -> tuple[list[str], Any]:
    """Return torchvision's names and what makes the model; without ``pretrained`` its backbone is drawn as well."""
    models = library.models
    arguments = dict(description.arguments)
    if description.weights == PRETRAINED:
        arguments.setdefault("weights", "DEFAULT")
    else:
        arguments["weights"] = None
    names = models.list_models()
    if description.name in names and arguments["weights"] is None:
        builder = models.get_model_builder(description.name)
        if "weights_backbone" in inspect.signature(builder).parameters:
            arguments.setdefault("weights_backbone", None)
    return names, lambda: models.get_model(description.name, **arguments)


_LIBRARIES: Mapping[str, Any] = {"timm": _timm, "torchvision": _torchvision}
