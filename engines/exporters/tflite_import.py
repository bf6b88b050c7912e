"""A ``.tflite`` file of the user's → the project's: checked, shapes static, one signature that names its tensors."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _tflite
from engines.litert import open_interpreter
from engines.litert_graph import Graph, named_tensors
from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed, Unsupported
from harness.vocabulary import FORMAT_TFLITE, FORMAT_TFLITE_FILE, Precision, TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_LOW_PRECISION = ("int8", "uint8", "int16", "float16")


class TFLiteImport(Exporter):
    """Weights and operators stay as the user gave them; channels may be first or last, as the file has them."""

    name: ClassVar[str] = "tflite-import"
    source: ClassVar[Format] = FORMAT_TFLITE_FILE
    target: ClassVar[Format] = FORMAT_TFLITE
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    keeps: ClassVar[frozenset[Precision]] = frozenset({Precision.FP16, Precision.INT8})
    distributions: ClassVar[tuple[str, ...]] = ("ai-edge-litert",)
    install: ClassVar[str] = _tflite.INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Check the file, and fix a dynamic shape to (batch, *shape) or to (batch, H, W, C).

        Raises ``EngineUnavailable``; ``DataError`` where the file is no model; ``Unsupported`` for operators that the
        runtime lacks, several inputs or signatures, an input that is not float32, or another static shape; and
        ``ExportFailed`` where the operators do not take the shape.
        """
        try:
            from ai_edge_litert import interpreter as library
        except ImportError as error:
            raise EngineUnavailable(f"ai_edge_litert cannot be imported: {error}", self.install) from error
        resolver = library.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        opened = open_interpreter(library, source.path, experimental_op_resolver_type=resolver)
        file = source.path.name
        name, index = _single_input(opened, file)
        details = opened.get_input_details()[0]
        if details["dtype"].__name__ != "float32":
            hint = "convert it with float32 inputs and outputs; weights and activations inside may be integers"
            raise Unsupported(f"{file} takes {details['dtype'].__name__}, images are given as float32", hint)
        declared = tuple(int(side) for side in details["shape_signature"])
        shape = _shape(declared, spec, file)
        path = destination / _tflite.ENTRY
        if -1 in declared:
            _resize(opened, index, shape, file)
        if -1 in declared or not opened.get_signature_list():
            _rewrite(opened, source.path, path)
        else:
            shutil.copyfile(source.path, path)
        made = open_interpreter(library, path, experimental_op_resolver_type=resolver)
        outputs = {each["index"]: each for each in made.get_output_details()}
        specs = tuple(
            TensorSpec(output, outputs[place]["dtype"].__name__, tuple(int(side) for side in outputs[place]["shape"]))
            for output, place in named_tensors(made)[1].items()
        )
        return Exported(_tflite.ENTRY, (TensorSpec(name, "float32", shape),), specs, _notes(Graph(made), shape, spec))


def _single_input(interpreter: Any, file: str) -> tuple[str, int]:
    signatures = interpreter.get_signature_list()
    if len(signatures) > 1:
        message = f"{file} has {len(signatures)} signatures ({', '.join(sorted(signatures))}); one is supported"
        raise Unsupported(message, "convert it with one signature")
    inputs, outputs = named_tensors(interpreter)
    main = {int(each["index"]) for each in (*interpreter.get_input_details(), *interpreter.get_output_details())}
    if main != {*inputs.values(), *outputs.values()}:
        raise Unsupported(f"the signature of {file} is not its main graph", "convert it with one signature")
    if len(inputs) != 1:
        message = f"{file} has {len(inputs)} inputs ({', '.join(inputs) or 'none'}); one image tensor is supported"
        raise Unsupported(message, "give a model of one image tensor")
    return next(iter(inputs.items()))


def _shape(declared: tuple[int, ...], spec: ExportSpec, file: str) -> tuple[int, ...]:
    """Return the asked shape in the layout of the file; channels first where both fit."""
    channels, *sides = spec.shape
    for wanted in ((spec.batch, *spec.shape), (spec.batch, *sides, channels)):
        if len(wanted) == len(declared) and all(
            have in (-1, side) for have, side in zip(declared, wanted, strict=True)
        ):
            return wanted
    message = f"{file} takes {list(declared)}, asked was a batch of {spec.batch} at {list(spec.shape)}"
    raise Unsupported(message, "set `input:` and `batch:` to its shape, or convert the model with a dynamic batch")


def _resize(interpreter: Any, index: int, shape: tuple[int, ...], file: str) -> None:
    try:
        interpreter.resize_tensor_input(index, shape, strict=True)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        hint = "its operators hold another shape: convert the model for this one"
        raise ExportFailed(f"{file} cannot take {list(shape)}: {' '.join(str(error).split())}", hint) from error


def _rewrite(interpreter: Any, source: Path, path: Path) -> None:
    """Write the model with the shapes that the runtime inferred, and a signature of its tensors' own names."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph = _tflite.read(source), Graph(interpreter)
    main = model.subgraphs[0]
    for index, tensor in enumerate(main.tensors):
        if tensor.shapeSignature is not None and index in graph.tensors:
            tensor.shape, tensor.shapeSignature = list(graph.tensors[index].shape), None
    if not model.signatureDefs:
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = _tflite.SIGNATURE, 0
        signature.inputs, signature.outputs = (
            [_entry(schema, main.tensors[index].name, index) for index in indices]
            for indices in (main.inputs, main.outputs)
        )
        model.signatureDefs = [signature]
    _tflite.write(model, path)


def _entry(schema: Any, name: bytes, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry


def _notes(graph: Graph, shape: tuple[int, ...], spec: ExportSpec) -> tuple[str, ...]:
    notes = []
    if shape != (spec.batch, *spec.shape):
        notes.append("channels last at the boundary, as in the file")
    low = sorted({tensor.dtype for tensor in graph.tensors.values()} & set(_LOW_PRECISION))
    if low:
        notes.append(f"the file holds {', '.join(low)} tensors: it is quantised already")
    return tuple(notes)
