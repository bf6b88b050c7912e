"""The whole test of an engine: what the contract promises, on a tiny model that the harness brings."""

from pathlib import Path

import pytest

from harness.conformance import EngineConformance
from harness.tiny_model import tiny_onnx
from harness.vocabulary import Artifact, Precision
from harness_onnxreference import OnnxReferenceEngine

pytest.importorskip("onnx")


class TestOnnxReference(EngineConformance):
    """FP32, the one precision that this engine has."""

    engine = OnnxReferenceEngine
    precisions = (Precision.FP32,)

    def artifact(self, precision: Precision, folder: Path) -> Artifact:  # noqa: ARG002 - there is but one
        """Return the tiny model as ONNX."""
        return tiny_onnx(folder)
