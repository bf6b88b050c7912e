"""ONNX in float32 to ONNX in bfloat16, inputs and outputs kept in float32."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed, Unsupported
from harness.vocabulary import FORMAT_ONNX, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_OPSET = 22  # the first where Conv and the poolings know bfloat16
_FLOAT, _BF16 = "tensor(float)", "tensor(bfloat16)"


class OnnxBFloat16(Exporter):
    """Weights and activations in bfloat16, as far as ONNX's own definition of each operator allows.

    An operator that ONNX defines for float32 alone stays there, between casts.
    """

    name: ClassVar[str] = "onnx-bf16"
    source: ClassVar[Format] = FORMAT_ONNX
    target: ClassVar[Format] = FORMAT_ONNX
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.BF16})
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "ml_dtypes")
    install: ClassVar[str] = "pip install 'inference-harness[onnx]'"

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:  # noqa: ARG002 - in the source
        """Bring to opset 22, convert. Raises ``EngineUnavailable``, ``ExportFailed`` or ``Unsupported``."""
        try:
            import onnx
        except ImportError as error:
            raise EngineUnavailable(f"onnx-bf16 cannot import what it needs: {error}", self.install) from error
        try:
            given = onnx.load(source.path)
        except Exception as error:  # protobuf's own classes
            raise ExportFailed(
                f"{source.path.name} cannot be read as ONNX: {error}", "is the file complete?"
            ) from error
        _check_operators(onnx, given)
        model = _modern(onnx, given)
        conversion = _Conversion(onnx, model)
        conversion.run()
        try:
            checked = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
            onnx.checker.check_model(checked, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            hint = "the message names the operator whose types do not fit: report it with the model's name"
            raise ExportFailed(f"the converted model is not valid ONNX: {error}", hint) from error
        onnx.save(checked, destination / "model.onnx")
        kept = ", ".join(f"{count} {kind}" for kind, count in sorted(conversion.kept.items()))
        notes = [f"inputs and outputs kept in float32, opset {_OPSET}"]
        if kept:
            notes.append(f"kept in float32, since ONNX has no bfloat16 for them: {kept}")
        return Exported("model.onnx", source.inputs, source.outputs, tuple(notes))


def _check_operators(onnx: Any, model: Any) -> None:
    """Raise ``Unsupported`` for an operator whose types ONNX does not define, such as a custom one."""
    version = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), _OPSET)
    unknown = set()
    for node in model.graph.node:
        node.domain = "" if node.domain == "ai.onnx" else node.domain  # two names of one domain
        if node.domain or not onnx.defs.has(node.op_type, version):
            unknown.add(f"{node.domain}.{node.op_type}".removeprefix("."))
    if unknown:
        hint = "ONNX does not say which of their values may be bfloat16: export the model without them"
        raise Unsupported(f"onnx-bf16 does not know the types of {', '.join(sorted(unknown))}", hint)


def _modern(onnx: Any, model: Any) -> Any:
    """Return the model at an opset that has bfloat16. Raises ``ExportFailed`` or ``Unsupported``."""
    if any(node.op_type in {"If", "Loop", "Scan"} for node in model.graph.node):
        raise Unsupported("onnx-bf16 does not convert loops and conditions", "export the model without control flow")
    version = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    if version >= _OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OPSET)
    except RuntimeError as error:
        hint = f"export the model at opset {_OPSET}"
        raise ExportFailed(f"the model of opset {version} cannot be brought to {_OPSET}: {error}", hint) from error


class _Conversion:
    """One pass over a graph in topological order, which knows the float type that each value has by now."""

    def __init__(self, onnx: Any, model: Any) -> None:
        self._onnx, self._graph = onnx, model.graph
        self._opset = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._types: dict[str, str] = {}
        self._nodes: list[Any] = []
        self._casts: dict[tuple[str, str], str] = {}
        self.kept: Counter[str] = Counter()

    def run(self) -> None:
        """Convert in place."""
        types = self._onnx.TensorProto
        for value in self._graph.input:
            if value.type.tensor_type.elem_type == types.FLOAT:
                self._types[value.name] = _FLOAT
        for tensor in self._graph.initializer:
            if tensor.data_type == types.FLOAT:
                self._types[tensor.name] = _FLOAT
        outputs = {value.name for value in self._graph.output}
        for node in self._graph.node:
            self._convert(node, outputs)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input} | outputs
        left = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(left)
        del self._graph.value_info[:]

    def _convert(self, node: Any, outputs: set[str]) -> None:
        schema = self._onnx.defs.get_schema(node.op_type, self._opset, node.domain)
        allowed = {each.type_param_str: set(each.allowed_type_strs) for each in schema.type_constraints}
        lower = node.op_type == "Constant" or self._lowers(node, schema, allowed)
        for index, name in enumerate(node.input):
            if name not in self._types:
                continue
            formal = schema.inputs[min(index, len(schema.inputs) - 1)].type_str
            takes = lower and (formal in allowed and _BF16 in allowed[formal])
            node.input[index] = self._as(name, _BF16 if takes else _FLOAT)
        self._attributes(node, lower=lower)
        given = list(node.output)
        for index, name in enumerate(given):
            formal = schema.outputs[min(index, len(schema.outputs) - 1)].type_str
            if not name or not self._floats(node, formal, allowed):
                continue
            made = _BF16 if lower and (formal not in allowed or _BF16 in allowed[formal]) else _FLOAT
            if name in outputs and made == _BF16:
                node.output[index] = f"{name}.bf16"
            self._types[node.output[index]] = made
        self._nodes.append(node)
        for index, name in enumerate(given):
            if node.output[index] != name:
                self._cast(node.output[index], name, _FLOAT)

    def _lowers(self, node: Any, schema: Any, allowed: dict[str, set[str]]) -> bool:
        """Whether the operator is defined for bfloat16 at all its float values that are not fixed to float32."""
        formals = [schema.inputs[min(index, len(schema.inputs) - 1)].type_str for index in range(len(node.input))]
        free = [
            formal
            for formal, name in zip(formals, node.input, strict=True)
            if name in self._types and formal in allowed and _FLOAT in allowed[formal]
        ]
        if all(_BF16 in allowed[formal] for formal in free):
            return True
        self.kept[node.op_type] += 1
        return False

    def _floats(self, node: Any, formal: str, allowed: dict[str, set[str]]) -> bool:
        """Whether an output is of a float type, which follows from the inputs or from an attribute."""
        types = self._onnx.TensorProto
        to = next((entry for entry in node.attribute if entry.name in {"to", "dtype"}), None)
        if to is not None:
            return bool(to.i in (types.FLOAT, types.BFLOAT16))
        value = next((entry for entry in node.attribute if entry.name == "value"), None)
        if value is not None:
            return bool(value.t.data_type in (types.FLOAT, types.BFLOAT16))
        if formal not in allowed:
            return formal == _FLOAT
        schema = self._onnx.defs.get_schema(node.op_type, self._opset, node.domain)
        return any(
            name in self._types and schema.inputs[min(index, len(schema.inputs) - 1)].type_str == formal
            for index, name in enumerate(node.input)
        )

    def _attributes(self, node: Any, *, lower: bool) -> None:
        """Lower what an attribute says of the type: a constant, the target of a cast."""
        types = self._onnx.TensorProto
        if not lower:
            return
        for entry in node.attribute:
            if entry.name == "to" and entry.i == types.FLOAT:
                entry.i = types.BFLOAT16
            elif entry.name == "value" and entry.t.data_type == types.FLOAT:
                entry.t.CopyFrom(self._rounded(entry.t, entry.t.name))

    def _as(self, name: str, wanted: str) -> str:
        """Return the name of the value in the wanted type, rounded or cast once."""
        if self._types[name] == wanted:
            return name
        key = (name, wanted)
        if key not in self._casts:
            self._casts[key] = f"{name}.{'bf16' if wanted == _BF16 else 'fp32'}"
            if name in self._weights:
                self._graph.initializer.append(self._rounded(self._weights[name], self._casts[key]))
                self._types[self._casts[key]] = wanted
            else:
                self._cast(name, self._casts[key], wanted)
        return self._casts[key]

    def _cast(self, name: str, made: str, wanted: str) -> None:
        types = self._onnx.TensorProto
        to = types.BFLOAT16 if wanted == _BF16 else types.FLOAT
        self._nodes.append(self._onnx.helper.make_node("Cast", [name], [made], name=f"cast to {made}", to=to))
        self._types[made] = wanted

    def _rounded(self, tensor: Any, name: str) -> Any:
        """Return a float32 tensor in bfloat16, rounded to the nearest."""
        import ml_dtypes

        value = self._onnx.numpy_helper.to_array(tensor).astype(np.float32)
        return self._onnx.numpy_helper.from_array(value.astype(ml_dtypes.bfloat16), name)
