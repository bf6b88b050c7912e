"""A ``torch.export`` package to an ExecuTorch program for XNNPACK, in float32 or quantised to INT8."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _torch, _torch_layers
from engines.exporters._calibration import Batches, options
from harness.engine import Exported, Exporter
from harness.errors import ExportFailed, HarnessError
from harness.vocabulary import FORMAT_EXECUTORCH, FORMAT_TORCH_EXPORT, Precision

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_ENTRY = "model.pte"
_AFTER = "after the last layers"
_INSTALL = "pip install 'inference-harness[executorch]'"
_DEFAULTS: Mapping[str, Any] = {
    "per_channel": True,  # a scale per output channel of the weights
    "exclude": (),  # regular expressions; an operator of the graph whose whole name matches stays in float
    "keep_last": True,
}


class TorchExportToExecuTorch(Exporter):
    """Gives XNNPACK what it takes; ExecuTorch's own kernels run the rest.

    INT8 is static PT2E quantisation by ``XNNPACKQuantizer``: symmetric weights, activations by their histogram. What
    follows the last layers stays in float: there a detector joins boxes in pixels and scores below 1 in one tensor, of
    which one scale leaves no score. ``keep_last`` leaves those layers in float too.
    """

    name: ClassVar[str] = "torch-export-executorch"
    source: ClassVar[Format] = FORMAT_TORCH_EXPORT
    target: ClassVar[Format] = FORMAT_EXECUTORCH
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32, Precision.INT8})
    calibrated: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    distributions: ClassVar[tuple[str, ...]] = ("torch", "executorch", "torchao")
    install: ClassVar[str] = _INSTALL
    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Write ``model.pte``, inputs and outputs in the source's order.

        Raises ``EngineUnavailable`` or ``ExportFailed``.
        """
        torch = _torch.require("torch", _INSTALL)
        chosen = options(self.name, spec.options, self.defaults)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch, torchao and ExecuTorch use what they deprecate
            exir = _torch.require("executorch.exir", _INSTALL)
            partitioner = _torch.require("executorch.backends.xnnpack.partition.xnnpack_partitioner", _INSTALL)
            try:
                module = _canonical(torch, torch.export.load(source.path).module())
                given = tuple(torch.zeros(t.shape, dtype=getattr(torch, t.dtype)) for t in source.inputs)
                notes: tuple[str, ...] = ()
                if spec.precision is Precision.INT8:
                    module, notes = _quantise(torch, module, source, spec, chosen)
                program = torch.export.export(module, given)
                lowered = exir.to_edge_transform_and_lower(program, partitioner=[partitioner.XnnpackPartitioner()])
                made = lowered.to_executorch()
            except HarnessError:
                raise
            except Exception as error:  # torch's loader, torchao and ExecuTorch's passes raise several classes
                hint = "the message names the operator, unless the package is cut short"
                raise ExportFailed(f"ExecuTorch cannot lower it: {type(error).__name__}: {error}", hint) from error
            plan = made.executorch_program.execution_plan[0]
            _check([f"{each.name}.{each.overload}" for each in plan.operators])
        (destination / _ENTRY).write_bytes(made.buffer)
        kernels = sorted({each.name for each in plan.operators})
        if kernels:
            notes += (f"not delegated to XNNPACK: {', '.join(kernels)}",)
        return Exported(_ENTRY, source.inputs, source.outputs, notes)


def _canonical(torch: Any, module: Any) -> Any:
    """Give every tensor the strides of a fresh one.

    A weight (N, C, 1, 1) may bear those of a channels-last one, which are as good to torch; ExecuTorch 1.5 then plans
    channels-last outputs that its own kernels refuse (pytorch/executorch issue 7444).
    """
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.data)
    return module


def _quantise(
    torch: Any, module: Any, source: Artifact, spec: ExportSpec, chosen: Mapping[str, Any]
) -> tuple[Any, tuple[str, ...]]:
    """Return the module with quantised operators, and notes on how. Raises as ``export`` does."""
    batches = Batches(source, spec)
    pt2e = _torch.require("torchao.quantization.pt2e.quantize_pt2e", _INSTALL)
    xnnpack = _torch.require("executorch.backends.xnnpack.quantizer.xnnpack_quantizer", _INSTALL)
    config = xnnpack.get_symmetric_quantization_config(is_per_channel=bool(chosen["per_channel"]))
    kept = _kept(torch, module.graph, chosen)
    quantizer = _sparing(xnnpack.XNNPACKQuantizer, {node.name for nodes in kept.values() for node in nodes})
    prepared = pt2e.prepare_pt2e(module, quantizer.set_global(config))
    with torch.no_grad():
        for batch in batches:
            prepared(*(torch.from_numpy(value) for value in batch.values()))
    made = pt2e.convert_pt2e(prepared)
    if not any(_multiplies_int8(torch, node) for node in made.graph.nodes):
        raise ExportFailed(
            "XNNPACK's quantiser left every layer of the model in float",
            "see what `exclude` matches, and set `keep_last: false` for a model of one layer",
        )
    return made, (batches.note("histograms of PT2E"), *_why(kept))


def _kept(torch: Any, graph: Any, chosen: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the operators to leave in float, in order, by reason."""
    aten = torch.ops.aten
    kinds = {aten.conv1d.default, aten.conv2d.default, aten.conv_transpose2d.input, aten.linear.default}
    last, after = _torch_layers.ending(graph, _torch_layers.layers(graph, kinds))
    kept: dict[str, list[Any]] = {_AFTER: [], "last layer": [], "as asked": []}
    for node in graph.nodes:
        if any(re.fullmatch(pattern, node.name) for pattern in chosen["exclude"]):
            kept["as asked"].append(node)
        elif node in after:
            kept[_AFTER].append(node)
        elif node in last and chosen["keep_last"]:
            kept["last layer"].append(node)
    return {reason: nodes for reason, nodes in kept.items() if nodes}


def _sparing(base: Any, names: Collection[str]) -> Any:
    """Return XNNPACK's quantiser, here ``base``, that leaves the operators of those names alone.

    Its own filter is not asked about concatenations (ExecuTorch 1.5.1, ``_annotate_cat``). Of a layer with a limit
    behind it, such as ReLU6, it quantises the answer before that is limited, by a range of which little is left; here
    the two are quantised together, as it does with ReLU.
    """
    marks = _torch.require("torchao.quantization.pt2e.quantizer", _INSTALL)
    aten = _torch.require("torch", _INSTALL).ops.aten
    limits = {aten.hardtanh.default, aten.hardtanh_.default, aten.relu6.default, aten.relu6_.default}
    layers = {aten.conv1d.default, aten.conv2d.default, aten.linear.default}

    def limited(layer: Any, limit: Any, config: Any) -> None:
        given = {layer.args[0]: config.input_activation, layer.args[1]: config.weight}
        marked = marks.QuantizationAnnotation(input_qspec_map=given, _annotated=True)
        layer.meta["quantization_annotation"] = marked
        marked = marks.QuantizationAnnotation(output_qspec=config.output_activation, _annotated=True)
        limit.meta["quantization_annotation"] = marked

    class Sparing(base):  # type: ignore[misc]  # only known here
        def annotate(self, model: Any) -> Any:
            for node in model.graph.nodes:
                if node.name in names:
                    node.meta["quantization_annotation"] = marks.QuantizationAnnotation(_annotated=True)
            for node in model.graph.nodes:
                if node.target not in limits or {node.name, node.args[0].name}.intersection(names):
                    continue
                layer = node.args[0]
                if layer.target in layers and len(layer.users) == 1:
                    limited(layer, node, self.global_config)
            return super().annotate(model)

    return Sparing()


def _why(kept: Mapping[str, list[Any]]) -> Iterator[str]:
    for reason, nodes in kept.items():
        said = f"{len(nodes)} operators" if reason == _AFTER else ", ".join(node.name for node in nodes)
        yield f"kept in float ({reason}): {said}"


def _multiplies_int8(torch: Any, node: Any) -> bool:
    """Whether a node is a convolution or a matrix product of dequantised values, which XNNPACK multiplies in INT8."""
    aten = torch.ops.aten
    products = {aten.conv1d, aten.conv2d, aten.conv_transpose2d, aten.linear, aten.addmm, aten.mm, aten.bmm}
    if getattr(node.target, "overloadpacket", None) not in products:
        return False
    return all("dequantize" in str(before.target) for before in node.all_input_nodes[:2])


def _check(operators: list[str]) -> None:
    """Raise ``ExportFailed`` where the runtime lacks a kernel that the program calls."""
    runtime = _torch.require("executorch.runtime", _INSTALL).Runtime.get()
    missing = sorted(set(operators) - runtime.operator_registry.operator_names)
    if missing:
        message = f"ExecuTorch has no kernel for {', '.join(missing)}"
        raise ExportFailed(message, "another engine may run this model")
