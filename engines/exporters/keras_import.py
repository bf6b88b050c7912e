"""A Keras file of the user's → a SavedModel of static shapes, without running code that the file brings."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _tensorflow
from engines.exporters._calibration import options
from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed, Unsupported
from harness.vocabulary import FORMAT_KERAS_FILE, FORMAT_SAVED_MODEL, Precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_DEFAULTS: Mapping[str, Any] = {"freeze": False}  # variables into constants


class KerasImport(Exporter):
    """Loads in Keras' safe mode, in which a file cannot bring Python code, and traces inference at one shape."""

    name: ClassVar[str] = "keras-import"
    source: ClassVar[Format] = FORMAT_KERAS_FILE
    target: ClassVar[Format] = FORMAT_SAVED_MODEL
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    distributions: ClassVar[tuple[str, ...]] = ("tensorflow-cpu", "keras")
    install: ClassVar[str] = _tensorflow.INSTALL
    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Load, trace and save. Raises ``EngineUnavailable``, ``ExportFailed`` or ``Unsupported``."""
        chosen = options(self.name, spec.options, self.defaults)
        tf = _tensorflow.require()
        import keras

        if keras.backend.backend() != "tensorflow":
            message = f"keras runs on {keras.backend.backend()}, and only on tensorflow makes a SavedModel"
            raise EngineUnavailable(message, "unset KERAS_BACKEND, or set it to tensorflow")
        model = _load(keras, source.path)
        if not getattr(model, "inputs", None) or len(model.inputs) != 1:
            names = ", ".join(value.name for value in getattr(model, "inputs", None) or ()) or "none that it declares"
            hint = "one image tensor is supported: build the model by calling it on an input before saving"
            raise Unsupported(f"{source.path.name} has the inputs {names}", hint)
        given = model.inputs[0]
        if given.dtype != "float32":
            raise Unsupported(f"{source.path.name} takes {given.dtype}", "give it an input layer of float32")
        servable = _tensorflow.Servable(
            function=lambda image: _named(keras, model(image, training=False)),
            input_name=given.name,
            shape=_tensorflow.image_shape(tf.TensorShape(given.shape), spec, source.path.name),
            owner=[variable.value for variable in model.variables],
            notes=tuple(_notes(model)),
        )
        return _tensorflow.save(tf, servable, destination, freeze=bool(chosen["freeze"]))


def _load(keras: Any, path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        hint = "write it again with model.save('name.keras'); an .h5 file can be loaded and saved so"
        raise ExportFailed(f"{path.name} is no Keras archive, or a truncated one", hint)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # keras raises many classes, and those of zip and HDF5
        text = str(error)
        if "safe_mode" in text or "unsafe" in text.casefold():
            hint = (
                "what a Lambda layer computes is Python code in the file: write it as keras.ops, or give a SavedModel"
            )
            raise ExportFailed(f"{path.name} brings code of its own, which is not run: {_first(text)}", hint) from error
        if unknown := re.search(r"Could not (?:locate|deserialize) (?:\w+ )?'([^']+)'", text):
            hint = "its class is not part of Keras: export the model where the class is defined, as a SavedModel"
            raise ExportFailed(f"{path.name} needs {unknown[1]!r}, which is unknown here", hint) from error
        hint = "write it again with model.save('name.keras'), with this version of Keras"
        raise ExportFailed(f"{path.name} cannot be read: {type(error).__name__}: {_first(text)}", hint) from error


def _first(text: str) -> str:
    """Return the first sentence: Keras adds the configuration of the whole layer."""
    return text.partition(". ")[0].strip()


def _named(keras: Any, answer: Any) -> Mapping[str, Any]:
    """Return the outputs by the keys of a dictionary, or numbered."""
    if isinstance(answer, dict):
        return answer
    return {f"output_{index}": value for index, value in enumerate(keras.tree.flatten(answer))}


def _notes(model: Any) -> Iterator[str]:
    policies = [layer.dtype_policy for layer in model._flatten_layers()]  # noqa: SLF001 - walks nested models too
    lower = sorted({policy.compute_dtype for policy in policies} - {"float32"})
    if lower:
        yield f"the file as given computes in {', '.join(lower)}: its rows are not FP32 throughout"
    if any(policy.quantization_mode for policy in policies if hasattr(policy, "quantization_mode")):
        yield "the file as given is quantised already: its rows are not FP32"
