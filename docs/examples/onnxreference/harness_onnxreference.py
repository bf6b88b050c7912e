"""The reference evaluator of the onnx package: numpy, one operator after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs
from harness.errors import EngineUnavailable, Unsupported
from harness.vocabulary import (
    FORMAT_ONNX,
    DeviceFacts,
    EngineFacts,
    Execution,
    Level,
    Precision,
    Support,
    Unknowable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.vocabulary import Artifact

_UNTOLD = Unknowable("the reference evaluator does not tell")


class OnnxReferenceEngine(Engine):
    """Runs ONNX in FP32 on the CPU."""

    name = "onnxreference"
    formats = (FORMAT_ONNX,)
    modules = ("onnx.reference",)
    distributions = ("onnx",)
    install = "pip install harness-onnxreference"

    def probe(self) -> EngineFacts:
        """Return the one device. Raises ``EngineUnavailable``."""
        onnx = self._import()
        fp32 = {Precision.FP32.value: Support(Level.NATIVE)}
        return EngineFacts(self.name, onnx.__version__, (DeviceFacts("cpu", "numpy", fp32),))

    def load(self, artifact: Artifact, config: SessionConfig) -> Session:
        """Read the file. Raises ``EngineUnavailable`` or ``Unsupported``."""
        if config.device != "cpu":
            raise Unsupported(f"onnxreference has no device {config.device!r}", "use cpu")
        if config.precision is not Precision.FP32:
            raise Unsupported(f"onnxreference has no {config.precision}", "use fp32")
        return _Session(self._import().reference.ReferenceEvaluator(str(artifact.path)), artifact)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:  # noqa: ARG002 - names are in the model
        """Return the program of the contract; needs onnx and numpy."""
        return (
            "import numpy as np\n"
            "from onnx.reference import ReferenceEvaluator\n\n"
            'model = ReferenceEvaluator("MODEL")\n'
            'outputs = dict(zip(model.output_names, model.run(None, dict(np.load("inputs.npz")))))\n'
        )

    def _import(self) -> Any:
        try:
            import onnx.reference
        except ImportError as error:
            raise EngineUnavailable(f"onnx cannot be imported: {error}", self.install) from error
        return onnx


class _Session(Session):
    def __init__(self, evaluator: Any, artifact: Artifact) -> None:
        self.evaluator, self.artifact = evaluator, artifact

    def stream(self) -> Stream:
        return _Stream(self)

    def describe(self) -> Execution:
        return Execution(
            device="cpu",
            nodes_by_device={"cpu": len(self.evaluator.nodes_)},
            macs_by_device={"cpu": 1.0},
            nodes_by_precision=_UNTOLD,
            macs_by_precision=_UNTOLD,
            threads=_UNTOLD,
            streams=1,
            inputs=self.artifact.inputs,
            outputs=self.artifact.outputs,
        )


class _Stream(Stream):
    def __init__(self, session: _Session) -> None:
        self._session = session
        self._inputs = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in session.artifact.inputs}
        self._found: list[np.ndarray] = []

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._session.artifact.inputs, inputs)
        for name, buffer in self._inputs.items():
            np.copyto(buffer, inputs[name])

    def run(self) -> None:
        self._found = self._session.evaluator.run(None, self._inputs)

    def fetch(self) -> dict[str, np.ndarray]:
        names = (spec.name for spec in self._session.artifact.outputs)
        return {name: value.copy() for name, value in zip(names, self._found, strict=True)}
