"""An ONNX file of the user's → the project's ONNX: static shapes, inferred and checked."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from harness.engine import Exported, Exporter, ExportSpec
from harness.errors import DataError, ExportFailed, Unsupported
from harness.vocabulary import FORMAT_ONNX, FORMAT_ONNX_FILE, Artifact, Precision, TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

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
        places = {
            entry.value
            for tensor in onnx.external_data_helper._get_all_tensors(model)  # noqa: SLF001 - walks subgraphs too
            for entry in tensor.external_data
            if entry.key == "location"
        }
        if not places:
            return None
        hasher = hashlib.sha256(source.read_bytes())
        for place in sorted(places):
            try:
                hasher.update(f"\0{place}\0".encode() + (source.parent / place).read_bytes())
            except OSError as error:
                hint = "keep the files of external data beside the ONNX file"
                raise DataError(f"{source.name}: its data file {place}: {error.strerror}", hint) from error
        return hasher.hexdigest()

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        import onnx

        try:
            model = onnx.load(source.path)
        except Exception as error:
            hint = "is it an ONNX file, with its external data beside it?"
            raise ExportFailed(f"{source.path.name} cannot be read as ONNX: {error}", hint) from error
        names = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in names]
        if len(inputs) != 1:
            found = ", ".join(value.name for value in inputs) or "none"
            raise Unsupported(f"{source.path.name} has {len(inputs)} inputs ({found}); one image tensor is supported")
        _fix(inputs[0], (spec.batch, *spec.shape), source.path.name)
        # Value shapes inferred for another batch would contradict the new one.
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        try:
            model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
            onnx.checker.check_model(model)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            hint = f"does the model take a batch of {spec.batch} at {list(spec.shape)}?"
            raise ExportFailed(f"{source.path.name} at this shape: {error}", hint) from error
        onnx.save(model, destination / "model.onnx")
        outputs = tuple(_spec(onnx, value) for value in model.graph.output)
        return Exported("model.onnx", (_spec(onnx, inputs[0]),), outputs, _notes(onnx, model))


def _fix(value: Any, shape: tuple[int, ...], name: str) -> None:
    dims = value.type.tensor_type.shape.dim
    if len(dims) != len(shape):
        hint = "set `input:` of the workload to the shape of one item, without the batch"
        raise ExportFailed(f"{name} takes {len(dims)} dimensions, the workload gives {len(shape)}", hint)
    for index, (dim, wanted) in enumerate(zip(dims, shape, strict=True)):
        if dim.HasField("dim_value") and dim.dim_value not in (0, wanted):
            axis = "batch" if index == 0 else f"axis {index}"
            hint = "its shape is fixed: set `input:` and `batch:` to it, or export the model with dynamic axes"
            raise Unsupported(f"{name} has {dim.dim_value} as its {axis}, {wanted} was asked", hint)
        dim.dim_value = wanted


def _spec(onnx: Any, value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    dims = tuple(dim.dim_value for dim in tensor.shape.dim)
    if not dims or 0 in dims:
        hint = "outputs whose size depends on the data, such as those of an NMS in the graph, are not supported"
        raise Unsupported(f"the shape of output {value.name!r} is not static: {list(dims)}", hint)
    return TensorSpec(value.name, str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)), dims)


def _notes(onnx: Any, model: Any) -> tuple[str, ...]:
    kinds = {node.op_type for node in model.graph.node}
    if kinds & _LOW_PRECISION_OPS:
        return ("the file as given is quantised already: its rows are not FP32",)
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        return ("the file as given holds FP16 weights",)
    return ()
