"""An ONNX file of the user's: its shapes made static, its identity that of all its files."""

import numpy as np
import pytest

from engines.exporters.onnx_import import OnnxImport
from harness.engine import ExportSpec
from harness.errors import DataError, ExportFailed, Unsupported
from harness.tiny_model import TINY_ONNX
from harness.vocabulary import FORMAT_ONNX_FILE, Artifact, Precision

onnx = pytest.importorskip("onnx")


def imported(path, folder, batch=1, shape=(3, 16, 16)):
    folder.mkdir()
    source = Artifact(FORMAT_ONNX_FILE, Precision.FP32, path, "hash", 1)
    return OnnxImport().export(source, ExportSpec(Precision.FP32, batch, shape), folder)


@pytest.fixture
def dynamic(tmp_path):
    model = onnx.load(TINY_ONNX)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, tmp_path / "dynamic.onnx")
    return tmp_path / "dynamic.onnx"


@pytest.fixture
def external(tmp_path):
    model = onnx.load(TINY_ONNX)
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


@pytest.mark.parametrize("batch", [1, 4])
def test_a_dynamic_batch_becomes_the_one_asked(dynamic, tmp_path, batch):
    made = imported(dynamic, tmp_path / "out", batch)
    assert made.inputs[0].shape == (batch, 3, 16, 16)
    assert made.outputs[0].shape == (batch, 5)


def test_a_static_batch_is_not_bent(tmp_path):
    with pytest.raises(Unsupported, match="1 as its batch, 4 was asked"):
        imported(TINY_ONNX, tmp_path / "out", batch=4)


def test_another_rank_is_refused(dynamic, tmp_path):
    with pytest.raises(ExportFailed, match="4 dimensions, the workload gives 3"):
        imported(dynamic, tmp_path / "out", shape=(3, 16))


def test_what_is_no_onnx_is_refused(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportFailed, match=r"bad\.onnx cannot be read as ONNX"):
        imported(tmp_path / "bad.onnx", tmp_path / "out")
    assert OnnxImport().identify(tmp_path / "bad.onnx") is None


def test_a_quantised_file_is_noted(dynamic, tmp_path):
    model = onnx.load(dynamic)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.1), "scale"))
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", [model.graph.output[0].name, "scale"], ["q"]))
    onnx.save(model, tmp_path / "q.onnx")
    assert "quantised already" in imported(tmp_path / "q.onnx", tmp_path / "out").notes[0]


def test_a_file_without_external_data_is_its_bytes():
    assert OnnxImport().identify(TINY_ONNX) is None


def test_external_data_is_part_of_the_identity(external, tmp_path):
    before = OnnxImport().identify(external)
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[0] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    retrained = OnnxImport().identify(external)
    assert None not in (before, retrained)
    assert before != retrained


def test_missing_external_data_is_named(external, tmp_path):
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(DataError, match=r"weights\.bin"):
        OnnxImport().identify(external)
