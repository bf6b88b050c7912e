"""The reference evaluator of the onnx package as an engine: numpy, one operator after the other."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from harness import vocabulary
from harness.engine import Engine, Session, SessionConfig, Stream, check_inputs
from harness.errors import EngineUnavailable, Unsupported
from harness.vocabulary import FORMAT_ONNX, Artifact, DeviceFacts, EngineFacts, Execution, Level, Precision, Support

_UNTOLD = vocabulary.Unknowable("the reference evaluator does not tell")


class OnnxReferenceEngine(Engine):
    """Runs ONNX in FP32 on the CPU."""

    name = "onnxreference"
    formats = (FORMAT_ONNX,)
    modules = ("onnx.reference",)
    distributions = ("onnx",)
    install = "pip install harness-onnxreference"

    def probe(self) -> EngineFacts:
        try:
            import onnx.reference
        except ImportError as error:
            raise EngineUnavailable(f"onnx cannot be imported: {error}", self.install) from error
        cpu = DeviceFacts("cpu", "numpy", {Precision.FP32.value: Support(Level.NATIVE)})
        return EngineFacts(self.name, onnx.__version__, (cpu,))

    def load(self, artifact: Artifact, config: SessionConfig) -> Session:
        asked = (config.device, config.precision.value, artifact.precision.value)
        if asked not in [(cpu.name, held, held) for cpu in self.probe().devices for held in cpu.precisions]:
            raise Unsupported(f"{asked[2]} as {asked[1]} on {asked[0]} is nothing onnxreference has", "use fp32 on cpu")
        return _Session(artifact)

    def snippet(self, artifact: Artifact, config: SessionConfig) -> str:  # noqa: ARG002 - names are in the model
        return (
            "import numpy as np\nfrom onnx.reference import ReferenceEvaluator\n\n"
            'model = ReferenceEvaluator("MODEL")\n'
            'outputs = dict(zip(model.output_names, model.run(None, dict(np.load("inputs.npz")))))\n'
        )


class _Session(Session):
    def __init__(self, artifact: Artifact) -> None:
        from onnx.reference import ReferenceEvaluator

        self.artifact, self.evaluator = artifact, ReferenceEvaluator(str(artifact.path))

    def stream(self) -> Stream:
        return _Stream(self)

    def describe(self) -> Execution:
        nodes = self.evaluator.nodes_
        placed = {"nodes_by_device": {"cpu": len(nodes)}, "macs_by_device": {"cpu": 1.0}}
        untold = {"nodes_by_precision": _UNTOLD, "macs_by_precision": _UNTOLD, "threads": _UNTOLD}
        graph = {"operators": Counter(node.op_type for node in nodes), "graph_nodes": len(nodes)}
        boundary = {"inputs": self.artifact.inputs, "outputs": self.artifact.outputs}
        return Execution("cpu", streams=1, **placed, **untold, **graph, **boundary)


class _Stream(Stream):
    def __init__(self, session: _Session) -> None:
        self._session = session
        self._inputs = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in session.artifact.inputs}

    def bind(self, inputs: Mapping[str, np.ndarray]) -> None:
        check_inputs(self._session.artifact.inputs, inputs)
        for name, buffer in self._inputs.items():
            np.copyto(buffer, inputs[name])

    def run(self) -> None:
        self._found = self._session.evaluator.run(None, self._inputs)

    def fetch(self) -> dict[str, np.ndarray]:
        names = (spec.name for spec in self._session.artifact.outputs)
        return {name: value.copy() for name, value in zip(names, self._found, strict=True)}
