"""OpenVINO IR in float32 to IR in INT8, by NNCF's post-training quantisation."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, ClassVar

from engines.exporters import _graph_tail
from engines.exporters._calibration import Batches, options
from engines.exporters._vendor import explained
from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed
from harness.vocabulary import FORMAT_OPENVINO_IR, Precision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_WEIGHTED = frozenset({"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"})
_STRUCTURE = frozenset({"Constant", "Parameter", "Result"})
_PRESETS = ("mixed", "performance")
_OVERFLOW_FIXES = ("first_layer_only", "enable", "disable")
_DEFAULTS: Mapping[str, Any] = {
    # Activations asymmetric where they are signed, as after SiLU; "performance", symmetric ones, gives YOLO11n four
    # times the error.
    "preset": "mixed",
    # Where weights are kept to 7 bits, against the 16-bit sums of x86 without VNNI.
    "overflow_fix": "first_layer_only",
    "exclude": (),  # regular expressions; an operation whose whole name matches stays in float
    "keep_last": False,
}


class OpenVINOInt8(Exporter):
    """Quantises every layer but what follows the last ones with weights.

    In a detector that is the decoding of boxes and scores (concatenations, softmax and its expectation, arithmetic on
    pixels), which INT8 makes wrong by several pixels; in a classifier it is at most a softmax. ``keep_last`` leaves
    those layers in float too: off by default, since NNCF quantises what goes into a layer, and its answer is float.
    """

    name: ClassVar[str] = "openvino-int8"
    source: ClassVar[Format] = FORMAT_OPENVINO_IR
    target: ClassVar[Format] = FORMAT_OPENVINO_IR
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    calibrated: ClassVar[frozenset[Precision]] = frozenset({Precision.INT8})
    distributions: ClassVar[tuple[str, ...]] = ("openvino", "nncf")
    install: ClassVar[str] = "pip install 'inference-harness[openvino]'"
    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Calibrate, quantise, correct the biases. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        try:
            from engines.openvino_module import openvino

            core = openvino.Core()
            import nncf  # after the other, which keeps it from reporting its use
        except ImportError as error:
            raise EngineUnavailable(f"openvino-int8 cannot import what it needs: {error}", self.install) from error
        chosen = options(self.name, spec.options, self.defaults)
        for option, words in (("preset", _PRESETS), ("overflow_fix", _OVERFLOW_FIXES)):
            if chosen[option] not in words:
                raise ExportFailed(f"{option} cannot be {chosen[option]!r}", f"it is one of {', '.join(words)}")
        batches = Batches(source, spec)
        with explained(
            f"{source.path.name} cannot be read as OpenVINO IR", "is the file complete, and its .bin beside it?"
        ):
            model = core.read_model(source.path)
        last, tail = _ending(model)
        names = {node.get_friendly_name() for node in model.get_ops()} - tail
        matched = {name for name in names if any(re.fullmatch(pattern, name) for pattern in chosen["exclude"])}
        kept = (last if chosen["keep_last"] else set()) - matched
        nncf.set_log_level(logging.WARNING)  # it names each ignored operation, on standard output
        with explained("NNCF could not quantise the model", "leave what the message names in float: `exclude`"):
            quantised = nncf.quantize(
                model,
                nncf.Dataset(batches),
                preset=nncf.QuantizationPreset[chosen["preset"].upper()],
                subset_size=len(batches),
                ignored_scope=nncf.IgnoredScope(names=sorted(tail | kept | matched)),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    overflow_fix=nncf.OverflowFix(chosen["overflow_fix"])
                ),
            )
        with explained("the quantised model cannot be written", "is there room on the disk?"):
            openvino.save_model(quantised, destination / "model.xml", compress_to_fp16=False)
        notes = [batches.note("NNCF"), _count(quantised)]
        notes.append(f"kept in float (after the last layers): {len(tail)} operations")
        for reason, found in (("last layer", kept), ("as asked", matched)):
            if found:
                notes.append(f"kept in float ({reason}): {', '.join(sorted(found))}")
        return Exported("model.xml", source.inputs, source.outputs, tuple(notes))


def _ending(model: Any) -> tuple[set[str], set[str]]:
    """Return the names of the last layers with weights, which lead to no other, and of the operations after them."""
    last, after = _graph_tail.ending(
        model.get_ordered_ops(),
        reads=lambda node: [value.get_node().get_friendly_name() for value in node.input_values()],
        gives=lambda node: (node.get_friendly_name(),),
        is_layer=_is_layer,
    )
    computed = [node for node in after if node.get_type_name() not in _STRUCTURE and not _is_bias(node)]
    return {node.get_friendly_name() for node in last}, {node.get_friendly_name() for node in computed}


def _is_layer(node: Any) -> bool:
    """Whether the node is a layer with weights of its own, other than the expectation of a softmax."""
    if node.get_type_name() not in _WEIGHTED:
        return False
    source = _graph_tail.source_of(node, _before, lambda each: each.get_type_name() in {"Reshape", "Transpose"})
    return source is None or bool(source.get_type_name() != "Softmax")


def _before(node: Any) -> Any:
    """Return what makes the node's first input; ``None`` for what has none."""
    values = node.input_values()
    return values[0].get_node() if values else None


def _is_bias(node: Any) -> bool:
    return node.get_type_name() == "Add" and any(_is_layer(value.get_node()) for value in node.input_values())


def _count(model: Any) -> str:
    """Say how many layers were quantised. Raises ``ExportFailed`` where none was."""
    layers = [node for node in model.get_ops() if _is_layer(node)]
    done = sum(_is_quantised(layer.input_value(1).get_node()) for layer in layers)
    if not done:
        hint = "see what `exclude` matches, and leave `keep_last` out for a model of one layer"
        raise ExportFailed("no layer of the model was quantised", hint)
    return f"{done} of {len(layers)} layers with weights quantised"


def _is_quantised(weight: Any) -> bool:
    """Whether a weight passes through a FakeQuantize or is stored in 8 bits."""
    while weight.get_type_name() not in {"FakeQuantize", "Constant"} and weight.inputs():
        weight = weight.input_value(0).get_node()
    return weight.get_type_name() == "FakeQuantize" or weight.get_element_type().get_type_name() in {"i8", "u8"}
