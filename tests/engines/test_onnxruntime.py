"""ONNX Runtime's adapter: the contract, and what is this engine's own."""

import pytest

from engines.onnxruntime import OnnxRuntimeEngine
from harness.conformance import EngineConformance
from harness.tiny_model import tiny_artifact, tiny_onnx
from harness.vocabulary import FORMAT_ONNX, Precision

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.engine


class TestOnnxRuntime(EngineConformance):
    engine = OnnxRuntimeEngine
    precisions = (Precision.FP32,)

    def artifact(self, precision, folder):
        return tiny_onnx(folder)
