"""The whole detection pipeline on real weights and images, against Ultralytics' own validation."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from harness.tasks import catalog
from harness.tasks.datasets import DataSpec, resolve
from harness.tasks.images import decode

pytestmark = pytest.mark.engine

IMAGES = 40  # of 128: the figures agree as well on all of them, in three times the time

# Runs Ultralytics' validator and returns its metrics with the raw outputs' file. torchvision's operators are stood in
# for by Ultralytics' own: with the CPU build of torch, torchvision from PyPI has none.
VALIDATION = """
import json, os, sys
import torch
torch.set_num_threads(1)
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    try:
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:
        pass  # a torchvision that works
from ultralytics import YOLO
from ultralytics.utils.nms import TorchNMS
import torchvision
torchvision.ops.nms = TorchNMS.nms
weights, data, folder, exported = sys.argv[1:]
result = YOLO(weights).val(data=data, imgsz=640, batch=1, rect=False, conf=0.001, iou=0.7, plots=False, verbose=False,
                           workers=0, device="cpu", project=folder)
os.rename(YOLO(weights).export(format="onnx", imgsz=640, simplify=False), exported)
print("RESULT" + json.dumps([float(result.box.map), float(result.box.map50)]))
"""

# Scores predictions with Ultralytics' matching and average precision.
SCORING = """
import json, sys
import numpy as np, torch
from ultralytics.engine.validator import BaseValidator
from ultralytics.utils.metrics import ap_per_class, box_iou
class Levels:
    iouv = torch.linspace(0.5, 0.95, 10)
predictions = np.load(sys.argv[1])
hits, scores, classes, targets = [], [], [], []
for name, label in json.load(open(sys.argv[2])).items():
    found = torch.from_numpy(predictions[name])
    boxes = torch.tensor(label["boxes"], dtype=torch.float32).reshape(-1, 4)
    target = torch.tensor(label["classes"], dtype=torch.float32)
    hits.append(BaseValidator.match_predictions(Levels(), found[:, 5], target, box_iou(boxes, found[:, :4])).numpy())
    scores.append(found[:, 4].numpy()), classes.append(found[:, 5].numpy()), targets.append(target.numpy())
ap = ap_per_class(*map(np.concatenate, (hits, scores, classes, targets)))[5]
print("RESULT" + json.dumps([float(ap.mean()), float(ap[:, 0].mean())]))
"""


def run(code, *arguments, folder):
    environment = {**os.environ, "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rsplit("RESULT", 1)[1])


def predict(task, session, data, shape):
    (entry,) = session.get_inputs()
    (output,) = session.get_outputs()
    predictions = []
    for item in data.items:
        tensor, frame = task.preprocess(decode(item.path), shape)
        (raw,) = session.run([output.name], {entry.name: tensor[np.newaxis]})
        predictions += task.postprocess({output.name: raw}, [frame])
    return predictions


def test_yolo11n_equals_ultralytics_own_validation(assets, tmp_path):
    """Our COCO mAP within 0.005 of Ultralytics' figure, and our predictions by its own metric within 0.001.

    The two differ by 0.004 on the same predictions: Ultralytics integrates the curve by trapezoids.
    """
    runtime = pytest.importorskip("onnxruntime")
    for name in ("ultralytics", "torchvision", "onnx", "faster_coco_eval", "cv2"):
        if importlib.util.find_spec(name) is None:  # never imported here: Ultralytics replaces functions of Pillow
            pytest.skip(f"{name} is not installed")
    weights = tmp_path / "model.pt"
    weights.write_bytes((assets / "models" / "yolo11n-int8rounded.pt").read_bytes())
    source = assets / "coco128-val"
    (tmp_path / "set").mkdir()
    for folder in ("images", "labels"):  # Ultralytics writes a cache beside the labels
        (tmp_path / "set" / folder).mkdir()
        for file in sorted((source / folder).iterdir())[:IMAGES]:
            (tmp_path / "set" / folder / file.name).write_bytes(file.read_bytes())
    yaml = (source / "data.yaml").read_text().replace("path: .", f"path: {tmp_path / 'set'}")
    (tmp_path / "data.yaml").write_text(yaml)
    theirs = run(VALIDATION, weights, tmp_path / "data.yaml", tmp_path, tmp_path / "model.onnx", folder=tmp_path)

    data = resolve(DataSpec("yolo", "data.yaml"), tmp_path).evaluate
    task = catalog.create({"name": "detect"}).for_evaluation()
    predictions = predict(task, runtime.InferenceSession(tmp_path / "model.onnx"), data, (3, 640, 640))
    labels = [item.label for item in data.items]
    ours = task.evaluate(predictions, labels, data.classes).metrics
    assert len(data.items) == IMAGES
    assert ours["map50_95"] == pytest.approx(theirs[0], abs=0.005)
    assert ours["map50"] == pytest.approx(theirs[1], abs=0.005)

    stems = [item.path.stem for item in data.items]
    np.savez(tmp_path / "predictions.npz", **dict(zip(stems, predictions, strict=True)))
    (tmp_path / "labels.json").write_text(json.dumps(dict(zip(stems, labels, strict=True))))
    scored = run(SCORING, tmp_path / "predictions.npz", tmp_path / "labels.json", folder=tmp_path)
    assert scored == pytest.approx(theirs, abs=0.001)


def test_yolox_nano_scores_what_its_assets_say(assets):
    """0.336 mAP50-95 and 0.494 mAP50 over the 128 images (README of the assets, whose thresholds it does not state)."""
    runtime = pytest.importorskip("onnxruntime")
    for name in ("faster_coco_eval", "cv2"):
        pytest.importorskip(name)
    data = resolve(DataSpec("yolo", "coco128-val/data.yaml"), assets).evaluate
    spec = {"name": "detect", "head": "yolox", "letterbox": "topleft", "channels": "bgr", "scale": 1}
    task = catalog.create({**spec, "confidence": 0.01, "iou": 0.6})
    session = runtime.InferenceSession(assets / "models" / "yolox_nano.onnx")
    predictions = predict(task, session, data, (3, 416, 416))
    result = task.evaluate(predictions, [item.label for item in data.items], data.classes)
    assert result.metrics["map50_95"] == pytest.approx(0.336, abs=0.002)
    assert result.metrics["map50"] == pytest.approx(0.494, abs=0.002)
