"""A float32 LiteRT model to float16 weights, or to 8-bit integers, by Google's AI Edge Quantizer."""

from __future__ import annotations

import contextlib
import importlib
import re
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.exporters import _graph_tail, _tflite
from engines.exporters._calibration import Batches, options
from engines.exporters._vendor import explained
from engines.litert_graph import Graph
from harness.engine import Exported, Exporter, usable_processors
from harness.errors import EngineUnavailable, ExportFailed
from harness.vocabulary import FORMAT_TFLITE, Precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from engines.litert_graph import Node
    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_DISTRIBUTIONS = ("ai-edge-litert", "ai-edge-quantizer")
_ACTIVATIONS = ("static", "dynamic")
_METHODS = ("mean", "minmax")
_INT8_DEFAULTS: Mapping[str, Any] = {
    "activations": "static",  # quantised by calibrated ranges; "dynamic": at run, by each tensor's own
    # Range of an activation: "mean" of the batches' own extremes, so that one image does not stretch it; or "minmax".
    "method": "mean",
    "exclude": (),  # regular expressions; an operator whose whole first output's name matches stays in float
    "keep_last": True,
}


class TFLiteFloat16(Exporter):
    """Stores weights in float16, with a DEQUANTIZE behind each; what computes in them is the runtime's choice."""

    name: ClassVar[str] = "tflite-fp16"
    source: ClassVar[Format] = FORMAT_TFLITE
    target: ClassVar[Format] = FORMAT_TFLITE
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP16})
    distributions: ClassVar[tuple[str, ...]] = _DISTRIBUTIONS
    install: ClassVar[str] = _tflite.INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Cast the weights of layers. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        quantizer = _import(self.name, "ai_edge_quantizer.quantizer")
        recipes = _import(self.name, "ai_edge_quantizer.recipe_manager")
        types = _import(self.name, "ai_edge_quantizer.qtyping")
        options(self.name, spec.options, self.defaults)
        _float_graph(source.path)
        half = types.OpQuantizationConfig(
            weight_tensor_config=types.TensorQuantizationConfig(num_bits=16, dtype=types.TensorDataType.FLOAT),
            compute_precision=types.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        recipe = recipes.RecipeManager()
        for kind in ("CONV_2D", "CONV_2D_TRANSPOSE", "DEPTHWISE_CONV_2D", "EMBEDDING_LOOKUP", "FULLY_CONNECTED"):
            recipe.add_quantization_config(".*", types.TFLOperationName(kind), half, "float_casting")
        path = destination / _tflite.ENTRY
        path.write_bytes(_quantise(_worker(quantizer, source.path, recipe), None))
        graph = _graph(path)
        cast = sum(
            node.kind == "DEQUANTIZE" and graph.tensors[node.inputs[0]].dtype == "float16" for node in graph.nodes
        )
        if not cast:
            raise ExportFailed("the model has no layer with weights that could be float16", "ask for fp32")
        return Exported(_tflite.ENTRY, source.inputs, source.outputs, (f"{cast} weights stored in float16",))


class TFLiteInt8(Exporter):
    """Quantises every operator but what follows the last layers; weights signed and per channel.

    Behind the last layers a detector decodes boxes and scores in pixels, which 8 bits make wrong by several of them.
    ``keep_last`` leaves those layers in float too. Inputs and outputs of the model stay as they were.
    """

    name: ClassVar[str] = "tflite-int8"
    source: ClassVar[Format] = FORMAT_TFLITE
    target: ClassVar[Format] = FORMAT_TFLITE
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    calibrated: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    distributions: ClassVar[tuple[str, ...]] = _DISTRIBUTIONS
    install: ClassVar[str] = _tflite.INSTALL
    defaults: ClassVar[Mapping[str, Any]] = _INT8_DEFAULTS

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Calibrate and quantise. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        quantizer = _import(self.name, "ai_edge_quantizer.quantizer")
        recipes = _import(self.name, "ai_edge_quantizer.recipe_manager")
        types = _import(self.name, "ai_edge_quantizer.qtyping")
        chosen = options(self.name, spec.options, self.defaults)
        for option, words in (("activations", _ACTIVATIONS), ("method", _METHODS)):
            if chosen[option] not in words:
                raise ExportFailed(f"{option} cannot be {chosen[option]!r}", f"it is one of {', '.join(words)}")
        graph = _float_graph(source.path)
        kept = _kept(graph, chosen)
        _require_layers(graph, kept)
        recipe, everything = recipes.RecipeManager(), types.TFLOperationName.ALL_SUPPORTED
        if chosen["activations"] == "static":
            recipe.add_static_config(".*", everything, activation_num_bits=8, weight_num_bits=8)
        else:
            recipe.add_dynamic_config(".*", everything, num_bits=8)
        scopes = [f"^{re.escape(_scope(graph, node))}$" for nodes in kept.values() for node in nodes]
        if scopes:
            recipe.add_quantization_config("|".join(scopes), everything, algorithm_key="no_quantize")
        for boundary in (types.TFLOperationName.INPUT, types.TFLOperationName.OUTPUT):
            recipe.add_quantization_config("^", boundary, algorithm_key="no_quantize")
        worker = _worker(quantizer, source.path, recipe)
        if chosen["activations"] == "static":
            batches = Batches(source, spec)
            ranges = _calibrate(source.path, recipe, batches, chosen["method"])
            said = batches.note(chosen["method"])
        else:
            ranges, said = None, "activations are quantised at run: the calibration images were not used"
        path = destination / _tflite.ENTRY
        path.write_bytes(_quantise(worker, ranges))
        return Exported(_tflite.ENTRY, source.inputs, source.outputs, (said, _count(_graph(path)), *_why(kept)))


def _import(exporter: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EngineUnavailable(f"{exporter} cannot import what it needs: {error}", _tflite.INSTALL) from error


def _graph(path: Path) -> Graph:
    """Return the graph as the file holds it. Raises ``ExportFailed`` where it is no model."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        return Graph(
            Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
        )
    except ValueError as error:
        raise ExportFailed(f"{path.name} cannot be read as a LiteRT model: {error}", "export it again") from error


def _float_graph(path: Path) -> Graph:
    """Return the graph. Raises ``ExportFailed`` where it is no model, or holds narrower numbers already."""
    graph = _graph(path)
    narrow = sorted({tensor.dtype for tensor in graph.tensors.values()} & {"int8", "uint8", "int16", "float16"})
    if narrow:
        hint = "quantise the float32 model that it was made from"
        raise ExportFailed(f"{path.name} holds {', '.join(narrow)} tensors: it is quantised already", hint)
    return graph


def _require_layers(graph: Graph, kept: Mapping[str, Sequence[Node]]) -> None:
    """Raise ``ExportFailed`` where every layer is kept in float."""
    in_float = {id(node) for nodes in kept.values() for node in nodes}
    if all(id(node) in in_float for node in graph.nodes if graph.is_layer(node)):
        hint = "see what `exclude` matches, and set `keep_last: false` for a model of one layer"
        raise ExportFailed("every layer of the model would stay in float", hint)


def _worker(quantizer: Any, path: Path, recipe: Any) -> Any:
    """Return the vendor's quantiser of one file."""
    with explained(f"AI Edge Quantizer does not take {path.name}", "convert the model to TensorFlow Lite anew"):
        return quantizer.Quantizer(path, recipe.get_quantization_recipe())


def _quantise(worker: Any, ranges: Any) -> bytes:
    hint = "leave the operator that the message names in float: `exclude`"
    with explained("AI Edge Quantizer failed", hint), _unwarned():
        made = worker.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        return bytes(made.quantized_model)


@contextlib.contextmanager
def _unwarned() -> Iterator[None]:
    """Silence the interpreter's warning that keeping all tensors takes memory: a calibrator must."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors.*", UserWarning)
        yield


def _calibrate(path: Path, recipe: Any, batches: Batches, method: str) -> Any:
    """Return the ranges of the activations over the batches."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import calibrator

    interpreter = Interpreter(str(path))
    signature = next(iter(interpreter.get_signature_list()), None)
    if signature is None:
        raise ExportFailed("the model has no signature", "bring the file in through tflite-import, which adds one")
    hint = "do the calibration images hold numbers that the model can take?"
    with explained("AI Edge Quantizer could not calibrate the model", hint), _unwarned():
        calibration = calibrator.Calibrator(
            str(path),
            num_threads=usable_processors(),
            qsv_update_func=_mean if method == "mean" else _extremes,
        )
        calibration.calibrate({signature: batches}, recipe)
        return calibration.get_model_qsvs()


def _extremes(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    if not known:
        return new
    return {"min": np.minimum(known["min"], new["min"]), "max": np.maximum(known["max"], new["max"])}


def _mean(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the mean of all batches' extremes; the library's own moving average is nearly the first batch's."""
    if not known:
        return {**new, "num_samples": 1}
    count = known["num_samples"]
    means = {key: (count * known[key] + new[key]) / (count + 1) for key in ("min", "max")}
    return {**means, "num_samples": count + 1}


def _kept(graph: Graph, chosen: Mapping[str, Any]) -> dict[str, list[Node]]:
    """Return the operators to leave in float, by reason."""
    asked = [
        node
        for node in graph.nodes
        if any(re.fullmatch(pattern, graph.tensors[node.outputs[0]].name) for pattern in chosen["exclude"])
    ]
    last, after = _graph_tail.ending(
        graph.nodes,
        reads=lambda node: (tensor for tensor in node.inputs if tensor >= 0),
        gives=lambda node: node.outputs,
        is_layer=graph.is_layer,
    )
    others = {id(node) for node in asked}
    kept = {
        "after the last layers": [node for node in after if id(node) not in others],
        "last layer": [node for node in last if chosen["keep_last"] and id(node) not in others],
        "as asked": asked,
    }
    return {reason: nodes for reason, nodes in kept.items() if nodes}


def _scope(graph: Graph, node: Node) -> str:
    """Return what the library matches an operator by: ``get_op_scope`` of its tfl_flatbuffer_utils."""
    return "".join(f"{graph.tensors[output].name};" for output in node.outputs)


def _why(kept: Mapping[str, Sequence[Node]]) -> Iterator[str]:
    for reason, nodes in kept.items():
        kinds = Counter(node.kind for node in nodes)
        yield f"kept in float ({reason}): {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}"


def _count(graph: Graph) -> str:
    """Say which layers hold 8-bit weights. Raises ``ExportFailed`` where none does."""
    layers = [(node, graph.weight(node)) for node in graph.nodes if graph.is_layer(node)]
    done = [node for node, weight in layers if weight is not None and weight.dtype == "int8"]
    if not done:
        raise ExportFailed("AI Edge Quantizer quantised no layer of the model", "it knows none of its operators")
    total = Counter(node.kind for node, _ in layers)
    counts = ", ".join(
        f"{sum(node.kind == kind for node in done)} of {count} {kind}" for kind, count in sorted(total.items())
    )
    return f"weights in 8 bits, per channel: {counts}"
