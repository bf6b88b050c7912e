"""An Ultralytics checkpoint to a ``torch.export`` package; the one process that imports Ultralytics (AGPL-3.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _torch
from harness.engine import Exporter
from harness.errors import DataError, ExportFailed, HarnessError
from harness.vocabulary import FORMAT_TORCH_EXPORT, FORMAT_ULTRALYTICS

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import Exported, ExportSpec
    from harness.vocabulary import Artifact, Format, Precision

_INPUT = "images"
_INSTALL = "pip install 'inference-harness[torch,ultralytics]'"


class Ultralytics(Exporter):
    """Fuses and prepares the model as Ultralytics' own exporter does, so every row computes what its users run.

    A checkpoint is a pickle and runs code when it is loaded: the core asks for ``trust`` before this is called.
    """

    name: ClassVar[str] = "ultralytics"
    source: ClassVar[Format] = FORMAT_ULTRALYTICS
    target: ClassVar[Format] = FORMAT_TORCH_EXPORT
    precisions: ClassVar[frozenset[Precision]] = _torch.PRECISIONS
    distributions: ClassVar[tuple[str, ...]] = ("torch", "ultralytics")
    install: ClassVar[str] = _INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Write ``model.pt2``, input ``images``; a detector answers (batch, 4 + classes, anchors), boxes in pixels.

        Raises ``EngineUnavailable``, ``DataError`` where the file is no checkpoint, or ``ExportFailed``.
        """
        _ultralytics()
        tasks = _torch.require("ultralytics.nn.tasks", _INSTALL)
        try:
            model, _ = tasks.load_checkpoint(source.path)
        except Exception as error:  # unpickling raises whatever the pickle leads to
            hint = "give a checkpoint that Ultralytics saved; a newer one may need a newer ultralytics"
            raise DataError(f"{source.path.name} is no Ultralytics checkpoint: {error}", hint) from error
        stride = int(max(model.stride))
        if any(side % stride for side in spec.shape[1:]):
            raise ExportFailed(
                f"input {spec.shape} does not fit the model's stride",
                f"make height and width multiples of {stride}",
            )
        notes = ["Conv and BatchNorm folded by Ultralytics' fuse(), as its own predict and export do"]
        if spec.precision.value != "fp32":
            notes.append(f"boxes are decoded in {spec.precision.value} too, as a cast model does")
        heads = _prepare(model)
        return _torch.export(_torch.Traceable(model, _INPUT, tuple(notes), lambda: _settle(heads)), spec, destination)

    def fetch(self, reference: str, destination: Path) -> Path:
        """Download an official checkpoint such as ``yolo11n.pt`` by Ultralytics' own downloader into a folder.

        One attempt, so that a machine without a network hears of it at once. Raises ``DataError``.
        """
        _ultralytics()
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


def _prepare(model: Any) -> list[Any]:
    """Fuse ``model`` and set its modules for export, in place; return its heads.

    Follows ``ultralytics.engine.exporter.Exporter.__call__`` (8.4.190): one-to-many outputs, left to an external NMS.
    """
    block = _torch.require("ultralytics.nn.modules", _INSTALL)
    if hasattr(model, "end2end"):
        model.end2end = False
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
