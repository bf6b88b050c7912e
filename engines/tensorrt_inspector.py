"""What TensorRT's engine inspector tells of an engine built with detailed verbosity, in the words of ``Execution``.

The exporter marks every layer of the network with the ONNX operators that it comes from, in the layer's metadata, and
TensorRT carries the marks of all that it fuses into the executed layer: ``[ONNX Layer: NAME][Op: TYPE, MACs: N]``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.vocabulary import Unknowable

if TYPE_CHECKING:
    from collections.abc import Mapping

# TensorRT 10 says "Format/Datatype", with words from "Half" to "Channel major FP16 format where channel % 8 == 0"; 11
# says "Datatype" beside "Format".
_DTYPE_KEYS = ("Datatype", "DataType", "Format/Datatype")
_FORMAT_KEYS = ("Format", "Format/Datatype")
_WORDS = {
    "float": "fp32",
    "fp32": "fp32",
    "half": "fp16",
    "fp16": "fp16",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "fp8": "fp8",
    "int8": "int8",
    **{word: word for word in ("uint8", "int32", "int64", "bool", "int4", "fp4")},
}
_WORD = re.compile(rf"\b({'|'.join(_WORDS)})\b", re.IGNORECASE)
_MARK = re.compile(r"\[ONNX Layer: (?P<name>.*?)\]\[Op: (?P<kind>\w+)(?:, MACs: (?P<macs>\d+))?\]", re.DOTALL)
_IDLE = frozenset({"noop", "constant", "signal", "wait"})  # kinds of layers that launch no kernel
_ACCOUNTED = 0.99  # share of the work whose marks must be found again
_UNTOLD = Unknowable("the engine was not built with detailed profiling verbosity")


def mark(name: str, kind: str, macs: int) -> str:
    """Return the metadata of a network layer that comes from an ONNX operator, whose work is ``macs``."""
    return f"[ONNX Layer: {name}][Op: {kind}{f', MACs: {macs}' if macs else ''}]"


@dataclass(frozen=True)
class Inspection:
    """Executed layers, counted; shares of the multiply-accumulates of ONNX's Conv, ConvTranspose, MatMul and Gemm."""

    layers: int | Unknowable
    nodes_by_precision: Mapping[str, int] | Unknowable
    macs_by_precision: Mapping[str, float] | Unknowable
    operators: Mapping[str, int] | Unknowable
    tactics: int = 0  # distinct kernels
    formats: str = ""  # memory layouts of what the layers answer with, most frequent first


def inspect(text: str, *, tf32: bool | None, work: int | None) -> Inspection:
    """Read the JSON of ``EngineInspector.get_engine_information``.

    ``tf32`` is whether the builder was free to use it, ``work`` the multiply-accumulates of the graph that it was
    given; ``None`` where the engine does not tell.

    A layer counts at the type of its first input. Where that is float32 and the layer multiplies, the kernel's name
    tells TF32; one that is silent stays ``fp32 or tf32`` if the builder was free to choose.
    """
    layers = [layer for layer in json.loads(text).get("Layers", []) if isinstance(layer, dict)]
    executed = [layer for layer in layers if str(layer.get("LayerType", "")).lower() not in _IDLE]
    if not executed:
        return Inspection(_UNTOLD, _UNTOLD, _UNTOLD, _UNTOLD)
    nodes: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    counted: set[str] = set()
    for layer in executed:
        marks = [found.groupdict() for found in _MARK.finditer(str(layer.get("Metadata", "")))]
        own = {each["name"]: int(each["macs"]) for each in marks if each["macs"] and each["name"] not in counted}
        counted.update(own)  # one ONNX operator may be carried by several layers
        precision = _precision(layer, multiplies=bool(own), tf32=tf32)
        nodes[precision] += 1
        macs[precision] += sum(own.values())
        kinds["+".join(dict.fromkeys(each["kind"] for each in marks)) or str(layer.get("LayerType", "unnamed"))] += 1
    layouts = Counter(_told(tensor, _FORMAT_KEYS) for layer in executed for tensor in (layer.get("Outputs") or [])[:1])
    return Inspection(
        layers=len(executed),
        nodes_by_precision=dict(nodes),
        macs_by_precision=_shares(macs, work),
        operators=dict(kinds),
        tactics=len({layer["TacticName"] for layer in executed if layer.get("TacticName")}),
        formats=", ".join(f"{count} × {layout}" for layout, count in layouts.most_common(3) if layout),
    )


def _precision(layer: Mapping[str, Any], *, multiplies: bool, tf32: bool | None) -> str:
    tensors = layer.get("Inputs") or layer.get("Outputs") or [{}]
    found = _WORD.search(_told(tensors[0], _DTYPE_KEYS))
    precision = _WORDS[found[1].lower()] if found else "unknown"
    if precision != "fp32" or not multiplies:
        return precision
    tactic = str(layer.get("TacticName", "")).lower()
    if "tf32" in tactic:
        return "tf32"
    # The types of operands and sums are in the name of a library kernel: ..._gemm_f32f32_f32f32_f32_...
    return "fp32" if tf32 is False or "f32f32_f32f32" in tactic else "fp32 or tf32"


def _told(tensor: Any, keys: tuple[str, ...]) -> str:
    """Return the first of several fields that a tensor's description has, or nothing."""
    return next((str(tensor[key]) for key in keys if key in tensor), "") if isinstance(tensor, dict) else ""


def _shares(macs: Mapping[str, int], work: int | None) -> dict[str, float] | Unknowable:
    """Return shares of the work of the whole graph; unknowable where layers that carry their marks did not do it all.

    A fusion that drops a mark would otherwise hide the work that it did, at whatever precision.
    """
    whole = sum(macs.values())
    if not whole:
        return Unknowable("no layer carries the mark of an ONNX operator that multiplies")
    if not work:
        return Unknowable("the engine does not tell the work of the whole graph, of which the marked layers are a part")
    lost = max(0, work - whole)
    if whole < _ACCOUNTED * work:
        return Unknowable(f"the marks of {lost / work:.1%} of the multiply-accumulates were lost in fusions")
    shares = Counter({"unknown": lost}) + Counter(macs)
    return {key: value / (whole + lost) for key, value in shares.items()}
