"""A ``torch.export`` package in float32 to one in INT8: PT2E static quantisation for oneDNN's kernels on x86."""

from __future__ import annotations

import logging
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from engines import torch_model
from engines.exporters import _torch, _torch_layers
from engines.exporters._calibration import Batches, options
from harness.engine import Exported, Exporter
from harness.errors import ExportFailed
from harness.vocabulary import FORMAT_TORCH_EXPORT, Precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_INSTALL = "pip install 'inference-harness[torch,torch-int8]'"
# Observers of torchao.quantization.pt2e. "mean": of the batches' own smallest and largest values, as onnx-int8 says it.
_METHODS = {
    "mean": "MovingAverageMinMaxObserver",
    "minmax": "MinMaxObserver",
    "histogram": "HistogramObserver",
}
_DEFAULTS: Mapping[str, Any] = {
    "method": "mean",
    "exclude": (),  # regular expressions; a layer whose whole name matches stays in float
    "keep_last": True,
    "reduce_range": True,
}
_SMALLEST_SCALE = 2**-12  # as X86InductorQuantizer's own configuration has it


class TorchInt8(Exporter):
    """Weights signed and per channel, activations unsigned and per tensor, of convolutions and Linear layers alone.

    What the package holds is float layers between quantising and dequantising: inductor, with frozen weights, lowers
    those to INT8 kernels; run eagerly they would compute in float32, which the engine refuses.

    ``reduce_range`` keeps activations to 7 bits, since x86 without VNNI adds products of 8 bits in a sum that saturates
    at 16; ``reduce_range: false`` is the better choice elsewhere. ``keep_last`` leaves the last layers in float.
    """

    name: ClassVar[str] = "torch-int8"
    source: ClassVar[Format] = FORMAT_TORCH_EXPORT
    target: ClassVar[Format] = FORMAT_TORCH_EXPORT
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    calibrated: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    distributions: ClassVar[tuple[str, ...]] = ("torch", "torchao")
    install: ClassVar[str] = _INSTALL
    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Calibrate, quantise, trace anew. Raises ``EngineUnavailable``, ``DataError`` or ``ExportFailed``."""
        torch = _torch.require("torch")
        chosen = options(self.name, spec.options, self.defaults)
        if chosen["method"] not in _METHODS:
            raise ExportFailed(f"there is no method {chosen['method']!r}", f"use one of {', '.join(_METHODS)}")
        batches = Batches(source, spec)
        with _silent():
            flow = _torch.require("torchao.quantization.pt2e.quantize_pt2e", self.install)
        program = torch_model.read_program(torch, source)
        module = program.module(check_guards=False)
        aten = torch.ops.aten  # what inductor lowers to INT8 kernels
        layers = _torch_layers.layers(module.graph, {aten.conv1d.default, aten.conv2d.default, aten.linear.default})
        if not layers:
            raise ExportFailed("the model has no convolution or Linear layer to quantise", "ask for fp32")
        kept = _kept(module.graph, layers, chosen)
        if len(kept) == len(layers):
            raise ExportFailed("every layer of the model is kept in float", "see `exclude` and `keep_last`")
        quantised_names = {node.name for node in layers if node not in kept}
        given = tuple(torch.from_numpy(value) for value in batches[0].values())
        with torch.no_grad(), _silent():
            try:
                prepared = flow.prepare_pt2e(module, _quantizer(chosen, quantised_names, self.install))
                for index in range(len(batches)):
                    prepared(*(torch.from_numpy(value) for value in batches[index].values()))
                converted = flow.convert_pt2e(prepared)
                _forget_unused(converted)
                quantised = torch.export.export(converted, given)
                torch.export.save(quantised, destination / _torch.ENTRY)
            except Exception as error:  # torchao and torch's tracer raise whatever they like
                hint = "name layers under `exclude`, or ask for fp32"
                raise ExportFailed(f"PT2E quantisation failed: {type(error).__name__}: {error}", hint) from error
        bits = "7 bits" if chosen["reduce_range"] else "8 bits"
        notes = [
            batches.note(chosen["method"]),
            f"{len(layers) - len(kept)} of {len(layers)} layers quantised: activations on {bits}, weights per channel",
        ]
        for reason in sorted(set(kept.values())):
            names = ", ".join(layers[node] for node in kept if kept[node] == reason)
            notes.append(f"kept in float ({reason}): {names}")
        return Exported(_torch.ENTRY, source.inputs, source.outputs, (*source.notes, *notes))


def _kept(graph: Any, layers: dict[Any, str], chosen: Mapping[str, Any]) -> dict[Any, str]:
    """Return the layers to leave in float, and why."""
    last, _ = _torch_layers.ending(graph, layers)
    kept = {}
    for node, name in reversed(layers.items()):
        if any(re.fullmatch(pattern, name) for pattern in chosen["exclude"]):
            kept[node] = "as asked"
        elif _torch_layers.weighs_softmax(node):
            kept[node] = "weighs a softmax"
        elif chosen["keep_last"] and node in last:
            kept[node] = "last layer"
    return kept


def _quantizer(chosen: Mapping[str, Any], layers: set[str], install: str) -> Any:
    """Return a quantiser of the inputs and weights of the nodes of those names.

    torchao's own X86InductorQuantizer also quantises what lies between, such as the concatenations of a detection head,
    and refuses graphs in which one call of a module made several nodes (torchao 0.18, YOLO11n).
    """
    torch = _torch.require("torch")
    pt2e = _torch.require("torchao.quantization.pt2e", install)
    base = _torch.require("torchao.quantization.pt2e.quantizer", install)
    activations = base.QuantizationSpec(
        dtype=torch.uint8,
        quant_min=0,
        quant_max=127 if chosen["reduce_range"] else 255,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=getattr(pt2e, _METHODS[chosen["method"]]).with_args(eps=_SMALLEST_SCALE),
    )
    weights = base.QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=pt2e.PerChannelMinMaxObserver.with_args(eps=_SMALLEST_SCALE),
    )
    parent = base.Quantizer

    class Layers(parent):  # type: ignore[misc, valid-type]  # only known here
        def annotate(self, model: Any) -> Any:
            for node in model.graph.nodes:
                if node.name in layers:
                    given = {node.args[0]: activations, node.args[1]: weights}
                    annotation = base.QuantizationAnnotation(input_qspec_map=given, _annotated=True)
                    node.meta["quantization_annotation"] = annotation
            return model

        def validate(self, model: Any) -> None:
            """Nothing is left to check."""

    return Layers()


def _forget_unused(module: Any) -> None:
    """Delete the float weights of which the graph has an INT8 copy, so that the package does not carry both."""
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in used:
            path, _, attribute = name.rpartition(".")
            delattr(module.get_submodule(path), attribute)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep torchao from telling of the libraries that it was built for and does not find, and of what it deprecates."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
