"""A ``torch.export`` package to a LiteRT model, by Google's LiteRT Torch."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.exporters import _tflite, _torch
from engines.litert_graph import Graph, named_tensors
from harness.engine import Exported, Exporter
from harness.errors import ExportFailed
from harness.vocabulary import FORMAT_TFLITE, FORMAT_TORCH_EXPORT, Precision, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

# It pins packages, among them xdsl 0.28 and by that an old typing_extensions, that converting a graph never imports.
_INSTALL = (
    "pip install 'inference-harness[torch,litert]' && pip install --no-deps litert-torch==0.10.0 "
    "litert-converter==0.5.0 jax==0.10.2 jaxlib==0.10.2 opt_einsum==3.4.0 torchao==0.18.0"
)
_TOLERANCE = (
    1e-4  # of the largest output: hundreds of roundings of float32, and far below any change that a user would see
)


class TorchExportToTFLite(Exporter):
    """Translates the graph that torch runs; inputs and outputs keep torch's layout, names and order.

    TensorFlow Lite's convolutions want channels last: the converter puts a transpose behind the input, and before
    outputs that need one. They are part of the graph, and of its time.
    """

    name: ClassVar[str] = "torch-tflite"
    source: ClassVar[Format] = FORMAT_TORCH_EXPORT
    target: ClassVar[Format] = FORMAT_TFLITE
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    distributions: ClassVar[tuple[str, ...]] = (
        "torch",
        "litert-torch",
        "litert-converter",
        "jax",
        "ai-edge-litert",
    )
    install: ClassVar[str] = _INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Convert, name, and compare with torch on one input. Raises ``EngineUnavailable`` or ``ExportFailed``."""
        torch = _torch.require("torch", _INSTALL)
        _torch.require("ai_edge_litert.interpreter", _INSTALL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchao's and torch's words about each other
            litert_torch = _torch.require("litert_torch", _INSTALL)
        generator = torch.Generator().manual_seed(spec.seed)
        given = tuple(
            torch.rand(tensor.shape, generator=generator).to(getattr(torch, tensor.dtype)) for tensor in source.inputs
        )
        path = destination / _tflite.ENTRY
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                module = torch.export.load(source.path).module()
                expected = module(*given)
                litert_torch.signature(_tflite.SIGNATURE, module, given).convert().export(str(path))
        except Exception as error:  # torch, jax and MLIR each raise several classes
            hint = "the message names the operator that has no translation to TensorFlow Lite"
            raise ExportFailed(f"litert-torch failed: {type(error).__name__}: {error}", hint) from error
        _name(path, [tensor.name for tensor in source.inputs], [tensor.name for tensor in source.outputs])
        interpreter, outputs = _check(path, given, expected, source)
        graph = Graph(interpreter)
        turned = sum(node.kind == "TRANSPOSE" for node in graph.nodes)
        notes = [f"boundary in torch's layout; {turned} TRANSPOSE of {len(graph.nodes)} operators inside"]
        notes += [
            f"{made.name} is {made.dtype}, torch's is {asked.dtype}"
            for made, asked in zip(outputs, source.outputs, strict=True)
            if made.dtype != asked.dtype
        ]
        return Exported(_tflite.ENTRY, source.inputs, outputs, tuple(notes))


def _name(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Write our names into the signature, in place of ``args_0``, ``args_1``, ... and ``output_0``, ..."""
    model = _tflite.read(path)
    signature = model.signatureDefs[0]
    for tensors, names in ((signature.inputs, inputs), (signature.outputs, outputs)):
        if len(tensors) != len(names):
            message = f"the LiteRT model has {len(tensors)} tensors where torch has {len(names)}: {names}"
            raise ExportFailed(message, "install the version of litert-torch that docs/engines/litert.md names")
        for tensor in tensors:
            tensor.name = names[int(tensor.name.decode().rpartition("_")[2])]
    _tflite.write(model, path)


def _check(path: Path, given: Sequence[Any], expected: Sequence[Any], source: Artifact) -> tuple[Any, Any]:
    """Return an interpreter of the file, and its outputs' signature.

    Raises ``ExportFailed`` where it answers differently from torch.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    inputs, outputs = named_tensors(interpreter)
    for tensor, value in zip(source.inputs, given, strict=True):
        index = inputs[tensor.name]
        wanted = next(each["dtype"] for each in interpreter.get_input_details() if each["index"] == index)
        interpreter.set_tensor(index, value.numpy().astype(wanted))
    interpreter.invoke()
    specs = []
    for tensor, value in zip(source.outputs, expected, strict=True):
        found, wanted = interpreter.get_tensor(outputs[tensor.name]), value.numpy().astype(np.float64)
        limit = _TOLERANCE * max(float(np.abs(np.nan_to_num(wanted)).max(initial=0)), 1e-12)
        if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=0, atol=limit, equal_nan=True):
            raise ExportFailed(f"{tensor.name} of the LiteRT model differs from torch's", "report it with the model")
        specs.append(TensorSpec(tensor.name, found.dtype.name, tensor.shape))
    return interpreter, tuple(specs)
