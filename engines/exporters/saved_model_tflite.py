"""A SavedModel → a TensorFlow Lite file in float32, which the quantisers take."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from engines.exporters import _tensorflow
from engines.exporters._vendor import explained
from harness.engine import Exported, Exporter
from harness.errors import ExportFailed
from harness.vocabulary import FORMAT_SAVED_MODEL, FORMAT_TFLITE, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_ENTRY = "model.tflite"


class SavedModelToTflite(Exporter):
    """TensorFlow's own converter, with TensorFlow Lite's operators alone; names and shapes stay as the source's."""

    name: ClassVar[str] = "saved-model-tflite"
    source: ClassVar[Format] = FORMAT_SAVED_MODEL
    target: ClassVar[Format] = FORMAT_TFLITE
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    distributions: ClassVar[tuple[str, ...]] = ("tensorflow-cpu",)
    install: ClassVar[str] = _tensorflow.INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:  # noqa: ARG002 - see below
        """Convert the folder. Raises ``EngineUnavailable`` or ``ExportFailed``.

        ``spec`` adds nothing: shapes were fixed when the source was traced.
        """
        tf = _tensorflow.require()
        with explained(f"{source.path.name} cannot be read as a SavedModel", "is the folder complete? export it again"):
            converter = tf.lite.TFLiteConverter.from_saved_model(
                str(source.path), signature_keys=[_tensorflow.SIGNATURE]
            )
        try:
            content = converter.convert()
        except Exception as error:  # the converter's own class, and those of MLIR below it
            hint = "the message names the operator that TensorFlow Lite lacks"
            raise ExportFailed(f"{source.path.name} cannot be converted: {_brief(error)}", hint) from error
        (destination / _ENTRY).write_bytes(content)
        return Exported(_ENTRY, source.inputs, source.outputs)


def _brief(error: Exception) -> str:
    """Return the lines that name operators; the rest are places in MLIR."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Ops:" in line or "op" in line.casefold()]
    return "; ".join((telling or lines)[:3])[:600]
