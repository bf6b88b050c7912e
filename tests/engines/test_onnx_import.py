"""An ONNX file of the user's: its shapes made static, its identity that of all its files."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.exporters.onnx_import import OnnxImport, _beside
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


# --- a model that names files elsewhere


def _naming(external, place):
    model = onnx.load(external, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
    external.write_bytes(model.SerializeToString())
    return external


@pytest.mark.parametrize(
    "place",
    [
        "../secret.bin",
        "../../etc/passwd",
        "/etc/passwd",
        "folder/../../secret.bin",
        "..\\secret.bin",
        "C:\\secret.bin",
        "link.bin",
        "linked/secret.bin",
    ],
)
@pytest.mark.parametrize("step", ["identify", "export"])
def test_external_data_outside_the_folder_is_never_read(external, tmp_path, place, step):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.bin").write_bytes(bytes(4096))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.bin").symlink_to(outside / "secret.bin")
    (inside / "linked").symlink_to(outside)
    moved = _naming(external.rename(inside / "model.onnx"), place)
    with pytest.raises(DataError, match="not inside its own folder") as caught:
        OnnxImport().identify(moved) if step == "identify" else imported(moved, tmp_path / "out")
    assert caught.value.hint
    assert place in caught.value.message.replace("\\\\", "\\")


@given(place=st.text(st.sampled_from("./\\abC:~"), max_size=12))
def test_what_is_read_lies_inside_the_folder(place):
    """Whatever a model writes as a location, of the characters that paths are made of."""
    source = Path(tempfile.gettempdir()) / "no-such-folder" / "model.onnx"
    try:
        path = _beside(source, place)
    except DataError:
        return
    assert path.resolve().is_relative_to(source.parent.resolve())


def test_external_data_in_a_folder_below_is_read(external, tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "weights.bin").rename(tmp_path / "below" / "weights.bin")
    moved = _naming(external, "below/weights.bin")
    assert OnnxImport().identify(moved)
    assert imported(moved, tmp_path / "out").inputs[0].shape == (1, 3, 16, 16)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.onnx"}  # with the weights in it


@pytest.mark.parametrize("fault", ["missing", "short"])
def test_external_data_cut_off_is_told(external, tmp_path, fault):
    weights = tmp_path / "weights.bin"
    if fault == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:10])
    with pytest.raises(DataError, match="its external data cannot be read"):
        imported(external, tmp_path / "out")


# --- shapes and operators


def _channels_last(tmp_path, dims):
    h, tensor = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        h.make_node("Transpose", ["images"], ["turned"], perm=[0, 3, 1, 2]),
        h.make_node("Relu", ["turned"], ["y"]),
    ]
    inputs = [h.make_tensor_value_info("images", tensor, dims)]
    outputs = [h.make_tensor_value_info("y", tensor, None)]
    path = tmp_path / "last.onnx"
    onnx.save(h.make_model(h.make_graph(nodes, "last", inputs, outputs), opset_imports=[h.make_opsetid("", 18)]), path)
    return path


@pytest.mark.parametrize(
    ("dims", "taken"),
    [
        ([1, 16, 24, 3], (2, 16, 24, 3)),
        (["N", "H", "W", 3], (2, 16, 24, 3)),
        (["N", 16, 24, "C"], (2, 16, 24, 3)),
        (["N", "a", "b", "c"], (2, 3, 16, 24)),  # both would fit: as the workload gives it
    ],
)
def test_channels_last_is_taken_where_only_that_fits(tmp_path, dims, taken):
    if dims[0] == 1:
        dims = [2, *dims[1:]]
    made = imported(_channels_last(tmp_path, dims), tmp_path / "out", batch=2, shape=(3, 16, 24))
    assert made.inputs[0].shape == taken
    assert any("channels last" in note for note in made.notes) == (taken[-1] == 3)


def test_a_size_that_fits_neither_way_is_named(tmp_path):
    with pytest.raises(Unsupported, match="has 20 as its axis 1, 3 was asked"):
        imported(_channels_last(tmp_path, ["N", 20, 24, 3]), tmp_path / "out", shape=(3, 16, 24))


def test_an_opset_newer_than_onnx_is_refused(dynamic, tmp_path):
    model = onnx.load(dynamic)
    model.opset_import[0].version = 999
    onnx.save(model, dynamic)
    with pytest.raises(Unsupported, match="has opset 999, onnx here knows those up to") as caught:
        imported(dynamic, tmp_path / "out")
    assert "earlier opset" in caught.value.hint


def test_a_custom_operator_is_named(dynamic, tmp_path):
    model = onnx.load(dynamic)
    model.graph.node[1].op_type, model.graph.node[1].domain = "Zap", "acme"
    model.opset_import.append(onnx.helper.make_opsetid("acme", 1))
    onnx.save(model, dynamic)
    with pytest.raises(Unsupported, match=r"cannot be inferred through acme\.Zap") as caught:
        imported(dynamic, tmp_path / "out")
    assert "custom operators" in caught.value.hint


def test_outputs_of_a_size_that_depends_on_the_data_are_refused(tmp_path):
    h, tensor = onnx.helper, onnx.TensorProto
    nodes = [h.make_node("NonZero", ["images"], ["found"])]
    inputs = [h.make_tensor_value_info("images", tensor.FLOAT, ["N", 3, 16, 16])]
    outputs = [h.make_tensor_value_info("found", tensor.INT64, None)]
    path = tmp_path / "nms.onnx"
    onnx.save(h.make_model(h.make_graph(nodes, "nms", inputs, outputs), opset_imports=[h.make_opsetid("", 18)]), path)
    with pytest.raises(Unsupported, match="'found' is not static") as caught:
        imported(path, tmp_path / "out")
    assert "NMS" in caught.value.hint


@pytest.mark.parametrize("kept", [0, 100, 1000])
def test_a_file_cut_off_is_told(tmp_path, kept):
    (tmp_path / "cut.onnx").write_bytes(TINY_ONNX.read_bytes()[:kept])
    with pytest.raises(ExportFailed, match=r"cut\.onnx") as caught:
        imported(tmp_path / "cut.onnx", tmp_path / "out")
    assert caught.value.hint
