"""An Ultralytics model to a ``torch.export`` package; the one process that imports Ultralytics (AGPL-3.0)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _torch, _torch_weights
from engines.exporters._calibration import options
from engines.exporters._ultralytics_definition import copied_definition, defined, is_definition
from harness.engine import Exporter
from harness.errors import DataError, ExportFailed, HarnessError
from harness.vocabulary import FORMAT_TORCH_EXPORT, FORMAT_ULTRALYTICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import Exported, ExportSpec
    from harness.vocabulary import Artifact, Format, Precision

_INPUT = "images"
_INSTALL = "pip install 'inference-harness[torch,ultralytics]'"
_HEADS = ("auto", "raw", "end2end")


class Ultralytics(Exporter):
    """Fuses and prepares the model as Ultralytics' own exporter does, so every row computes what its users run.

    A checkpoint is a pickle and runs code when it is loaded: the core asks for ``trust`` before this is called. A
    definition, such as ``yolo11n-seg.yaml``, is built with weights that are drawn, and runs no code of its own.

    Options: ``head`` is ``raw``, whose boxes are left to non-maximum suppression, ``end2end``, where the model has such
    a head (YOLO26, YOLOv10), or ``auto``: raw where there is one, as Ultralytics (8.4.190) exports by default.
    """

    name: ClassVar[str] = "ultralytics"
    source: ClassVar[Format] = FORMAT_ULTRALYTICS
    target: ClassVar[Format] = FORMAT_TORCH_EXPORT
    precisions: ClassVar[frozenset[Precision]] = _torch.PRECISIONS
    distributions: ClassVar[tuple[str, ...]] = ("torch", "ultralytics")
    install: ClassVar[str] = _INSTALL
    defaults: ClassVar[Mapping[str, Any]] = {"head": "auto"}

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Write ``model.pt2``, input ``images``.

        ``output0`` of a detector is (batch, 4 + classes + extra, anchors), boxes in pixels, or at the end-to-end head
        (batch, 300, 6 + extra); a segmenter has its prototypes in ``output1``; a classifier answers probabilities.
        Raises ``EngineUnavailable``, ``DataError`` where the file is no Ultralytics model, or ``ExportFailed``.
        """
        _ultralytics()
        head = options(self.name, spec.options, self.defaults)["head"]
        if head not in _HEADS:
            raise ExportFailed(f"{self.name}: head is {head!r}", f"it is one of {', '.join(_HEADS)}")
        drawn = is_definition(source.path)
        model = defined(source.path) if drawn else _loaded(source.path)
        stride = int(max(model.stride))
        if any(side % stride for side in spec.shape[1:]):
            raise ExportFailed(
                f"input {spec.shape} does not fit the model's stride",
                f"make height and width multiples of {stride}",
            )
        notes = [_torch_weights.DRAWN] if drawn else []
        notes += _choose_head(model, head)
        notes.append("Conv and BatchNorm folded by Ultralytics' fuse(), as its own predict and export do")
        if spec.precision.value != "fp32":
            notes.append(f"boxes are decoded in {spec.precision.value} too, as a cast model does")
        heads = _prepare(model)
        return _torch.export(_torch.Traceable(model, _INPUT, tuple(notes), lambda: _settle(heads)), spec, destination)

    def identify(self, source: Path) -> str | None:
        """Return SHA-256 over a definition and every tensor drawn for it; of a checkpoint its bytes say it all."""
        if not is_definition(source):
            return None
        _ultralytics()
        model = defined(source)
        definition = {key: value for key, value in model.yaml.items() if key != "yaml_file"}
        return _torch_weights.fingerprint({"definition": json.loads(json.dumps(definition, default=str))}, model)

    def fetch(self, reference: str, destination: Path) -> Path:
        """Obtain an official checkpoint or definition by name, such as ``yolo11n.pt`` or ``yolo11n-seg.yaml``.

        A definition comes out of the installed package; a checkpoint by Ultralytics' own downloader, with one attempt,
        so that a machine without a network hears of it at once. Raises ``DataError``.
        """
        _ultralytics()
        if is_definition(Path(reference)):
            return copied_definition(reference, destination)
        downloads = _torch.require("ultralytics.utils.downloads", _INSTALL)
        if reference not in downloads.GITHUB_ASSETS_NAMES:
            hint = "give the path of a checkpoint, or an official name such as yolo11n.pt"
            raise DataError(f"{reference!r} is neither a file nor a checkpoint that Ultralytics publishes", hint)
        try:
            downloads.attempt_download_asset(destination / reference, retry=0, progress=False)
        except (OSError, RuntimeError) as error:  # requests' and urllib3's errors are OSErrors
            hint = (
                f"download {reference} on a machine that can, put it beside the suite file, "
                f"and name it there: source: {{ultralytics: ./{reference}, trust: true}}"
            )
            raise DataError(f"{reference} could not be downloaded: {error}", hint) from error
        return destination / reference


def _ultralytics() -> None:
    """Import Ultralytics. Raises ``EngineUnavailable``; ``HarnessError`` where it would install packages by itself."""
    if _torch.require("ultralytics.utils", _INSTALL).AUTOINSTALL:
        hint = "set YOLO_AUTOINSTALL=false in the environment of this process"
        raise HarnessError("Ultralytics would install packages while it runs, and change what is measured", hint)


def _loaded(path: Path) -> Any:
    """Return the model of a checkpoint. Raises ``DataError``."""
    tasks = _torch.require("ultralytics.nn.tasks", _INSTALL)
    try:
        return tasks.load_checkpoint(path)[0]
    except Exception as error:  # unpickling raises whatever the pickle leads to
        hint = "give a checkpoint that Ultralytics saved; a newer one may need a newer ultralytics"
        raise DataError(f"{path.name} is no Ultralytics checkpoint: {error}", hint) from error


def _choose_head(model: Any, asked: str) -> list[str]:
    """Choose the one-to-many or the one-to-one head; return the note on where the graph ends.

    Raises ``ExportFailed`` where the model lacks what was asked.
    """
    if not hasattr(model, "end2end"):
        return []
    model.end2end = asked == "end2end"
    given = "end2end" if model.end2end else "raw"
    if asked not in ("auto", given):
        raise ExportFailed(f"the model has no {asked} head", f"set export: {{ultralytics: {{head: {given}}}}}")
    if given == "raw":
        return ["the graph ends at the raw head: duplicates are left to non-maximum suppression"]
    return ["the graph ends behind the end-to-end head: the best boxes are chosen inside, and nothing is suppressed"]


def _prepare(model: Any) -> list[Any]:
    """Fuse ``model`` and set its modules for export, in place; return its heads.

    Follows ``ultralytics.engine.exporter.Exporter.__call__`` (8.4.190).
    """
    block = _torch.require("ultralytics.nn.modules", _INSTALL)
    model.requires_grad_(requires_grad=False).float().eval()
    model.fuse(verbose=False)
    heads = []
    for module in model.modules():
        if hasattr(module, "export"):
            module.export, module.format, module.dynamic, module.shape = True, "onnx", False, None
            heads.append(module)
        elif isinstance(module, block.C2f):
            module.forward = module.forward_split  # a cleaner graph than chunk
    return heads


def _settle(heads: list[Any]) -> None:
    """Make what a head cached at its first run contiguous: else each run transposes it again."""
    for head in heads:
        for name in ("anchors", "strides"):
            if hasattr(head, name):
                setattr(head, name, getattr(head, name).contiguous())
