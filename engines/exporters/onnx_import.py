"""An ONNX file of the user's → the project's ONNX: static shapes, inferred and checked."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from harness.engine import Exported, Exporter, ExportSpec
from harness.errors import DataError, EngineUnavailable, ExportFailed, Unsupported
from harness.vocabulary import FORMAT_ONNX, FORMAT_ONNX_FILE, Artifact, Precision, TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

_OWN_DOMAINS = frozenset({"", "ai.onnx"})
_LOW_PRECISION_OPS = frozenset({"QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"})


class OnnxImport(Exporter):
    """Make batch and input shape static; the weights and the graph stay as the user gave them."""

    name = "onnx-import"
    source, target = FORMAT_ONNX_FILE, FORMAT_ONNX
    precisions = frozenset({Precision.FP32})
    distributions = ("onnx",)
    install = "pip install 'inference-harness[onnx]'"

    def identify(self, source: Path) -> str | None:
        """Return the hash of the graph and of every file of external data that it names; ``None`` without any."""
        try:
            import onnx
        except ImportError:  # the plan says that it is missing; the bytes identify the file until then
            return None
        try:
            model = onnx.load(source, load_external_data=False)
        except Exception:  # noqa: BLE001 - not readable as ONNX: its bytes are its identity, and the export says why
            return None
        places = _external(onnx, model)
        if not places:
            return None
        hasher = hashlib.sha256(source.read_bytes())
        for place in places:
            try:
                hasher.update(f"\0{place}\0".encode() + _beside(source, place).read_bytes())
            except OSError as error:
                hint = "keep the files of external data beside the ONNX file"
                raise DataError(f"{source.name}: its data file {place}: {error.strerror}", hint) from error
        return hasher.hexdigest()

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Load, fix, infer and check. Raises ``EngineUnavailable``, ``DataError``, ``ExportFailed`` or ``Unsupported``.

        The workload gives (C, H, W); a file whose input only fits as (N, H, W, C) keeps its channels last.
        """
        try:
            import onnx
        except ImportError as error:
            raise EngineUnavailable(f"onnx cannot be imported: {error}", self.install) from error
        model = _loaded(onnx, source.path)
        _check_opset(onnx, model, source.path.name)
        names = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in names]
        if len(inputs) != 1:
            found = ", ".join(value.name for value in inputs) or "none"
            message = f"{source.path.name} has {len(inputs)} inputs ({found})"
            raise Unsupported(message, "one image tensor is supported: export the model with its other inputs fixed")
        last = _fix(inputs[0], (spec.batch, *spec.shape), source.path.name)
        # Value shapes inferred for another batch would contradict the new one.
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        try:
            model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
            # Before the checker, which says of a shape that was not inferred that its field is missing.
            foreign = _foreign(model)
            outputs = tuple(_spec(onnx, value, foreign) for value in model.graph.output)
            onnx.checker.check_model(model)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            hint = f"does the model take a batch of {spec.batch} at {list(spec.shape)}?"
            raise ExportFailed(f"{source.path.name} at this shape: {error}", hint) from error
        onnx.save(model, destination / "model.onnx")
        notes = _notes(onnx, model, channels_last=last)
        return Exported("model.onnx", (_spec(onnx, inputs[0]),), outputs, notes)


def _external(onnx: Any, model: Any) -> list[str]:
    """Return the places of external data that a model names, in its subgraphs too."""
    places = {
        entry.value
        for tensor in onnx.external_data_helper._get_all_tensors(model)  # noqa: SLF001 - walks subgraphs too
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sorted(places)


def _beside(source: Path, place: str) -> Path:
    """Return the file of a place. Raises ``DataError`` where it is not inside the folder of the ONNX file.

    A model is a file from anywhere: what it names must not be read from elsewhere, by a path or through a link.
    """
    folder = source.parent.resolve()
    within = not any(
        kind(place).is_absolute() or ".." in kind(place).parts for kind in (PurePosixPath, PureWindowsPath)
    )
    path = source.parent / place
    if not place or not within or not path.resolve().is_relative_to(folder):
        message = f"{source.name} names the data file {place!r}, which is not inside its own folder"
        raise DataError(
            message, "a model that reads other files is not loaded: put its data beside it and save it anew"
        )
    return path


def _loaded(onnx: Any, source: Path) -> Any:
    """Return the model with its external data. Raises ``DataError`` or ``ExportFailed``."""
    try:
        model = onnx.load(source, load_external_data=False)
    except Exception as error:
        hint = "is it an ONNX file, and whole?"
        raise ExportFailed(f"{source.name} cannot be read as ONNX: {error}", hint) from error
    if not model.graph.node:
        raise ExportFailed(f"{source.name} holds no graph", "was it cut off while it was copied?")
    for place in _external(onnx, model):
        _beside(source, place)
    try:
        onnx.load_external_data_for_model(model, str(source.parent))
    except Exception as error:
        hint = "keep the files of external data beside the ONNX file, whole"
        raise DataError(f"{source.name}: its external data cannot be read: {error}", hint) from error
    return model


def _check_opset(onnx: Any, model: Any, name: str) -> None:
    """Raise ``Unsupported`` for operators newer than ``onnx`` knows, which it could neither check nor infer."""
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in _OWN_DOMAINS and entry.version > newest:
            hint = "export the model at an earlier opset, or install a newer onnx"
            raise Unsupported(f"{name} has opset {entry.version}, onnx here knows those up to {newest}", hint)


def _foreign(model: Any) -> str:
    """Return the operators that are not ONNX's own, such as ``acme.Zap``, in one line."""
    kinds = {f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in _OWN_DOMAINS}
    return ", ".join(sorted(kinds))


def _fix(value: Any, shape: tuple[int, ...], name: str) -> bool:
    """Make the shape of an input static, as given or, where only that fits, with the channels last; return whether so.

    Raises ``ExportFailed`` for another rank, ``Unsupported`` for another size.
    """
    dims = value.type.tensor_type.shape.dim
    if len(dims) != len(shape):
        hint = "set `input:` of the workload to the shape of one item, without the batch"
        raise ExportFailed(f"{name} takes {len(dims)} dimensions, the workload gives {len(shape)}", hint)
    last = (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape
    misfit = _misfit(dims, shape)
    channels_last = misfit is not None and _misfit(dims, last) is None
    if misfit is not None and not channels_last:
        axis = "batch" if misfit == 0 else f"axis {misfit}"
        hint = "its shape is fixed: set `input:` and `batch:` to it, or export the model with dynamic axes"
        raise Unsupported(f"{name} has {dims[misfit].dim_value} as its {axis}, {shape[misfit]} was asked", hint)
    for dim, wanted in zip(dims, last if channels_last else shape, strict=True):
        dim.dim_value = wanted
    return channels_last


def _misfit(dims: Any, shape: tuple[int, ...]) -> int | None:
    """Return the first axis whose size is fixed and another."""
    pairs = enumerate(zip(dims, shape, strict=True))
    return next((index for index, (dim, wanted) in pairs if dim.dim_value not in (0, wanted)), None)


def _spec(onnx: Any, value: Any, foreign: str = "") -> TensorSpec:
    tensor = value.type.tensor_type
    dims = tuple(dim.dim_value for dim in tensor.shape.dim)
    if not dims or 0 in dims:
        if foreign:
            hint = "custom operators are not supported: export the model without them"
            raise Unsupported(f"the shape of output {value.name!r} cannot be inferred through {foreign}", hint)
        hint = "outputs whose size depends on the data, such as those of an NMS in the graph, are not supported"
        raise Unsupported(f"the shape of output {value.name!r} is not static: {list(dims)}", hint)
    return TensorSpec(value.name, str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)), dims)


def _notes(onnx: Any, model: Any, *, channels_last: bool) -> tuple[str, ...]:
    notes = ["the input has its channels last: images are transposed for it"] if channels_last else []
    if {node.op_type for node in model.graph.node} & _LOW_PRECISION_OPS:
        notes.append("the file as given is quantised already: its rows are not FP32")
    elif any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        notes.append("the file as given holds FP16 weights")
    return tuple(notes)
