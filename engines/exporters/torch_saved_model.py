"""A ``torch.export`` package → a SavedModel that holds it as StableHLO, which TensorFlow compiles by XLA."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.exporters import _tensorflow, _torch
from engines.exporters._vendor import explained
from harness.engine import Exported, Exporter
from harness.errors import EngineUnavailable, ExportFailed, Unsupported
from harness.vocabulary import FORMAT_SAVED_MODEL, FORMAT_TORCH_EXPORT, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engine import ExportSpec
    from harness.vocabulary import Artifact, Format

_INSTALL = "pip install 'inference-harness[torch,tensorflow,litert]'"
# Of XlaCallModule: the first that knows every attribute given below (xla_call_module_attrs.h of TensorFlow).
_VERSION = 6
_TOLERANCE = 1e-3  # of the largest output; 3e-6 on YOLO11n


class TorchToSavedModel(Exporter):
    """Lowers the graph that torch runs to StableHLO by litert-torch, so that both rows compute the same thing.

    The file holds one operator, ``XlaCallModule``, over variables: TensorFlow has no other way to run it than XLA.
    """

    name: ClassVar[str] = "torch-saved-model"
    source: ClassVar[Format] = FORMAT_TORCH_EXPORT
    target: ClassVar[Format] = FORMAT_SAVED_MODEL
    precisions: ClassVar[frozenset[Precision]] = frozenset({Precision.FP32})
    distributions: ClassVar[tuple[str, ...]] = ("torch", "litert-torch", "tensorflow-cpu")
    install: ClassVar[str] = _INSTALL

    def export(self, source: Artifact, spec: ExportSpec, destination: Path) -> Exported:
        """Lower, save, and compare one run. Raises ``EngineUnavailable``, ``ExportFailed`` or ``Unsupported``.

        ``spec`` gives the seed of that run: shapes were fixed when the source was traced.
        """
        torch = _torch.require("torch", _INSTALL)
        tf = _tensorflow.require()
        from tensorflow.compiler.tf2xla.python import xla  # tf.raw_ops leaves XLA's operators out

        if len(source.inputs) != 1:
            several = ", ".join(tensor.name for tensor in source.inputs)
            raise Unsupported(f"the model has the inputs {several}", "one image tensor is supported")
        (given,) = source.inputs
        with explained(f"{source.path.name} cannot be read as a torch.export package", "is the file complete?"):
            program = torch.export.load(source.path)
        image = torch.rand(given.shape, generator=torch.Generator().manual_seed(spec.seed))
        with explained("torch does not run the model", f"does it take {given.shape}?"), torch.no_grad():
            expected = [value.numpy() for value in program.module()(image)]
        lowered = _lower(program)
        names = [tensor.name for tensor in source.outputs]
        weights = [
            tf.Variable(lowered.state_dict[each.input_spec.name].detach().numpy(), trainable=False)
            for each in lowered.input_signature
            if each.input_spec.is_parameter
        ]
        module = lowered.module.operation.get_asm()

        def call(tensor: Any) -> dict[str, Any]:
            # Parameters come first in a program's signature, then what the user gives.
            answers = xla.call_module(
                (*(weight.read_value() for weight in weights), tensor),
                version=_VERSION,
                module=module,
                Sout=[tensor.shape for tensor in source.outputs],
                Tout=[str(each.dtype).removeprefix("torch.") for each in lowered.output_signature],
                platforms=["CPU"],
                disabled_checks=["platform"],  # nothing in the module depends on the platform
                function_list=[],
                has_token_input_output=False,
            )
            return dict(zip(names, answers, strict=True))

        servable = _tensorflow.Servable(
            call, given.name, given.shape, weights, ("StableHLO by litert-torch, compiled by XLA when it runs",)
        )
        with explained("TensorFlow does not take what litert-torch lowered", "export to ONNX instead"):
            made = _tensorflow.save(tf, servable, destination, freeze=False)
            found = [value.numpy() for value in call(tf.constant(image.numpy())).values()]
        _check(expected, found)
        return made


def _lower(program: Any) -> Any:
    """Return the program as StableHLO, weights as arguments. Raises ``EngineUnavailable`` or ``ExportFailed``."""
    try:
        from litert_torch.backend import export
    except (ImportError, OSError, RuntimeError) as error:  # the latter two: a shared library or an operator is missing
        raise EngineUnavailable(f"litert-torch cannot be imported: {error}", _INSTALL) from error
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it reports its progress
            return export.exported_program_to_mlir(program, inline_constants=False)
    except Exception as error:  # torch's decompositions, litert-torch and MLIR each raise several classes
        hint = "the message names the operator that litert-torch does not lower to StableHLO"
        raise ExportFailed(f"litert-torch failed: {type(error).__name__}: {error}", hint) from error


def _check(expected: list[np.ndarray], found: list[np.ndarray]) -> None:
    """Raise ``ExportFailed`` unless TensorFlow answers as torch does."""
    for index, (want, have) in enumerate(zip(expected, found, strict=True)):
        if have.shape != want.shape or have.dtype != want.dtype:
            message = f"output {index} is {have.dtype} {have.shape}, torch's is {want.dtype} {want.shape}"
            raise ExportFailed(message, "litert-torch lowered it otherwise: export to ONNX instead")
        largest = float(np.abs(want).max(initial=0.0)) or 1.0
        difference = float(np.abs(have.astype(np.float64) - want).max(initial=0.0)) / largest
        if not difference <= _TOLERANCE:
            message = f"output {index} differs from torch's by {difference:.1e} of its largest value"
            raise ExportFailed(message, "litert-torch lowered an operator otherwise: export to ONNX instead")
