"""OpenVINO's adapter: the contract, and what is this engine's own."""

import pytest

from engines.exporters.onnx_openvino import OnnxToOpenVINO
from engines.openvino import OpenVINOEngine
from harness.conformance import EngineConformance
from harness.engine import ExportSpec
from harness.tiny_model import tiny_artifact, tiny_onnx
from harness.vocabulary import FORMAT_OPENVINO_IR, Precision

pytest.importorskip("openvino")
pytestmark = pytest.mark.engine


class TestOpenVINO(EngineConformance):
    engine = OpenVINOEngine
    precisions = (Precision.FP32,)

    def artifact(self, precision, folder):
        source = tiny_onnx(folder)
        spec = ExportSpec(precision, 1, (3,16,16))
        made = OnnxToOpenVINO().export(source, spec, folder)
        return tiny_artifact(folder / made.entry, FORMAT_OPENVINO_IR, precision)
