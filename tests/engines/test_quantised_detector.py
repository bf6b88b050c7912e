"""INT8 of a real detector, YOLOX-nano on COCO images: close enough to FP32 for its boxes to be of use."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.exporters.onnx_int8 import OnnxInt8
from engines.exporters.onnx_openvino import OnnxToOpenVINO
from engines.exporters.openvino_int8 import OpenVINOInt8
from engines.onnxruntime import OnnxRuntimeEngine
from engines.openvino import OpenVINOEngine
from harness.engine import Calibration, ExportSpec, SessionConfig
from harness.vocabulary import FORMAT_ONNX, FORMAT_OPENVINO_IR, Artifact, Precision, TensorSpec

onnx = pytest.importorskip("onnx")
for library in ("onnxruntime", "openvino", "nncf"):
    pytest.importorskip(library)
Image = pytest.importorskip("PIL.Image")
ASSETS = Path(os.environ.get("HARNESS_ASSETS", "no-assets"))
MODEL = ASSETS / "models" / "yolox_nano.onnx"
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not MODEL.is_file(), reason="HARNESS_ASSETS names no folder with models/yolox_nano.onnx"),
]
SIDE = 416
STRIDES = (8, 16, 32)


def _tensor(path):
    """BGR, 0 to 255, scaled to fit into the top left of a grey square: YOLOX's own pre-processing."""
    with Image.open(path) as image:
        scale = SIDE / max(image.size)
        small = image.convert("RGB").resize([round(side * scale) for side in image.size])
    canvas = np.full((SIDE, SIDE, 3), 114, np.uint8)
    pixels = np.asarray(small)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1), np.float32)


@pytest.fixture(scope="module")
def images():
    paths = sorted((ASSETS / "coco128-val" / "images").rglob("*.jpg"))[:20]
    return np.stack([_tensor(path) for path in paths])


@pytest.fixture(scope="module")
def source():
    inputs = (TensorSpec("images", "float32", (1, 3, SIDE, SIDE)),)
    outputs = (TensorSpec("output", "float32", (1, 3549, 85)),)
    return Artifact(FORMAT_ONNX, Precision.FP32, MODEL, "", 0, inputs, outputs)


def _run(engine, artifact, images):
    config = SessionConfig(precision=artifact.precision, threads=2, options=engine.options())
    session = engine.load(artifact, config)
    stream = session.stream()
    found = []
    for image in images:
        stream.bind({"images": image[None]})
        stream.run()
        stream.sync()
        found.append(stream.fetch()["output"])
    return np.concatenate(found), session.describe()


def _export(exporter, source, spec, folder, form):
    folder.mkdir()
    made = exporter.export(source, spec, folder)
    return replace(source, format=form, precision=spec.precision, path=folder / made.entry)


@pytest.mark.parametrize("engine", [OnnxRuntimeEngine(), OpenVINOEngine()], ids=lambda engine: engine.name)
def test_boxes_and_scores_of_int8_stay_close(engine, source, images, tmp_path):
    np.save(tmp_path / "images.npy", images[:12])
    calibration = Calibration(tmp_path / "images.npy", "0" * 64, 12)
    spec = ExportSpec(Precision.INT8, 1, (3, SIDE, SIDE), calibration)
    if engine.name == "onnxruntime":
        # The stem of this model has outliers of 30 standard deviations before its activations, where ONNX Runtime must
        # round: in INT8 its boxes are 5 px off. OpenVINO rounds after the activation that it fuses.
        nodes = onnx.load(source.path).graph.node
        stem = [node.name for node in nodes if node.op_type == "Conv"][:8]
        chosen = replace(spec, options={"exclude": stem})
        quantised = _export(OnnxInt8(), source, chosen, tmp_path / "int8", FORMAT_ONNX)
    else:
        fp32 = replace(spec, precision=Precision.FP32)
        ir = _export(OnnxToOpenVINO(), source, fp32, tmp_path / "ir", FORMAT_OPENVINO_IR)
        quantised = _export(OpenVINOInt8(), ir, spec, tmp_path / "int8", FORMAT_OPENVINO_IR)
    expected, _ = _run(OnnxRuntimeEngine(), source, images[12:])
    found, execution = _run(engine, quantised, images[12:])
    assert execution.macs_by_precision["int8"] >= 0.6
    scores = expected[..., 4:5] * expected[..., 5:]
    sure = scores.max(axis=-1) > 0.3
    strides = np.repeat(STRIDES, [(SIDE // stride) ** 2 for stride in STRIDES])[None, :, None]
    centres = np.abs(found - expected)[..., :2] * strides  # pixels
    assert sure.sum() > 50
    assert centres[sure].mean() < 2
    assert np.abs(found[..., 4] - expected[..., 4])[sure].mean() < 0.1
