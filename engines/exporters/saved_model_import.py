"""A SavedModel of the user's → one with a single signature of static shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _tensorflow
from engines.exporters._calibration import options
from harness.engine import Exported, Exporter
from harness.errors import DataError, ExportFailed, Unsupported
from harness.vocabulary import FORMAT_SAVED_MODEL, FORMAT_SAVED_MODEL_FILE, Precision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_DEFAULTS: Mapping[str, Any] = {
    "signature": "",  # empty: serving_default, or the only one there is
    "freeze": False,  # variables into constants
}


class SavedModelImport(Exporter):
    """Wraps the signature that is served; the graph and its weights stay as the user gave them."""

    name: ClassVar[str] = "saved-model-import"
    source: ClassVar[Format] = FORMAT_SAVED_MODEL_FILE
    target: ClassVar[Format] = FORMAT_SAVED_MODEL
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    distributions: ClassVar[tuple[str, ...]] = ("tensorflow-cpu",)
    install: ClassVar[str] = _tensorflow.INSTALL
    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Restore, trace and save. Raises ``EngineUnavailable``, ``DataError``, ``ExportFailed`` or ``Unsupported``."""
        chosen = options(self.name, spec.options, self.defaults)
        tf = _tensorflow.require()
        model = _restore(tf, source.path)
        signature = _signature(model.signatures, chosen["signature"], source.path.name)
        inputs = signature.structured_input_signature[1]
        if len(inputs) != 1:
            names = ", ".join(inputs) or "none"
            raise Unsupported(f"{source.path.name} has the inputs {names}", "one image tensor is supported")
        ((name, declared),) = inputs.items()
        if declared.dtype != tf.float32:
            hint = "serve a signature that takes float32; images are pre-processed before the model is called"
            raise Unsupported(f"input {name!r} of {source.path.name} is {declared.dtype.name}", hint)
        low = sorted({variable.dtype.name for variable in signature.variables} & {"float16", "bfloat16"})
        servable = _tensorflow.Servable(
            function=lambda image: signature(**{name: image}),
            input_name=name,
            shape=_tensorflow.image_shape(declared.shape, spec, source.path.name),
            owner=model,
            notes=(f"the folder as given holds {', '.join(low)} weights",) if low else (),
        )
        return _tensorflow.save(tf, servable, destination, freeze=bool(chosen["freeze"]))


def _restore(tf: Any, path: Path) -> Any:
    if not any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise DataError(f"{path.name} is no SavedModel: it holds no saved_model.pb", "name the folder that holds it")
    try:
        return tf.saved_model.load(str(path))
    except tf.errors.NotFoundError as error:
        if "registered" in str(error):
            hint = "serve it with operators of TensorFlow alone"
            raise Unsupported(f"{path.name} has an operator that TensorFlow lacks: {error.message}", hint) from error
        hint = "copy the folder whole, variables/ and assets/ included"
        raise DataError(f"{path.name} lacks a file: {error.message}", hint) from error
    except Exception as error:  # protobuf's, Python's and TensorFlow's own classes, by what is broken
        if "registered" in str(error):
            hint = "serve it with operators of TensorFlow alone"
            raise Unsupported(f"{path.name} has an operator that TensorFlow lacks: {error}", hint) from error
        hint = "is it whole? copy the folder again, or save it with this version of TensorFlow"
        raise ExportFailed(f"{path.name} cannot be restored: {type(error).__name__}: {error}", hint) from error


def _signature(signatures: Mapping[str, Any], asked: str, name: str) -> Any:
    """Return the signature to serve. Raises ``Unsupported`` naming those that there are."""
    served = ", ".join(signatures) or "none"
    if asked:
        if asked not in signatures:
            raise Unsupported(f"{name} has no signature {asked!r}", f"it has: {served}")
        return signatures[asked]
    if _tensorflow.SIGNATURE in signatures:
        return signatures[_tensorflow.SIGNATURE]
    if len(signatures) != 1:
        hint = "choose one by `export: {saved-model-import: {signature: ...}}`; saved functions are not called"
        raise Unsupported(f"{name} has the signatures: {served}", hint)
    return next(iter(signatures.values()))
