"""Tasks by name, their parameters, and the user's own functions."""

import subprocess
import sys

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.tasks import catalog
from harness.tasks.classify import Classify
from harness.tasks.detect import Detect
from harness.tasks.task import Frame

OWN = """
def halve(outputs, frames):
    return [float(row.sum()) / 2 for row in outputs["x"]][: len(frames)]

def short(outputs, frames):
    return []

def score(predictions, labels, classes):
    return {"error": abs(sum(predictions) - sum(labels)), "n": len(labels)}

def nothing(predictions, labels, classes):
    return {}

def nan(predictions, labels, classes):
    return {"error": float("nan")}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a module of the user's, its name unique to the test."""
    name = f"own_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / "raises_at_import.py").write_text("raise OSError('no licence')")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield name, str(tmp_path)
    sys.modules.pop(name, None)


def test_a_task_has_the_parameters_of_its_spec():
    task = catalog.create({"name": "detect", "confidence": 0.5, "head": "yolox", "input_size": [64, 96]})
    assert isinstance(task, Detect)
    assert (task.parameters.confidence, task.parameters.input_size) == (0.5, (64, 96))


@pytest.mark.parametrize(("mean", "expected"), [(127, 127.0), ([1, 2, 3], (1.0, 2.0, 3.0)), ((1, 2, 3), (1, 2, 3))])
def test_a_value_for_all_channels_or_one_each(mean, expected):
    task = catalog.create({"name": "classify", "mean": mean})
    assert isinstance(task, Classify)
    assert task.parameters.mean == expected


@pytest.mark.parametrize("name", catalog.NAMES)
def test_every_task_is_made_from_its_name_alone(name):
    assert catalog.create({"name": name}).name == name
    assert catalog.parameters(name) is type(catalog.validate({"name": name}))


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ({"name": "detekt"}, "no task 'detekt'", "did you mean 'detect'"),
        ({}, "without a name", "classify, detect, obb, pose, raw, segment"),
        ({"name": "detect", "confidense": 0.1}, "no parameter 'confidense'", "did you mean 'confidence'"),
        (
            {"name": "detect", "confidence": "high"},
            "detect.confidence: expected float",
            "parameters of the task detect",
        ),
        ({"name": "detect", "agnostic": 1}, "detect.agnostic: expected bool", "parameters of the task detect"),
        ({"name": "detect", "head": "yolo_x"}, "head is 'yolo_x'", "did you mean 'yolox'"),
        ({"name": "raw", "confidence": 0.1}, "raw: no parameter", "postprocess"),
    ],
)
def test_what_is_wrong_is_said(spec, message, hint):
    with pytest.raises(HarnessError) as caught:
        catalog.create(spec)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_users_functions_take_the_place_of_the_built_in_ones(own):
    module, path = own
    spec = {"name": "raw", "postprocess": f"{module}:halve", "metric": f"{module}:score", "path": path}
    task = catalog.create(spec).for_evaluation()
    predictions = task.postprocess({"x": np.array([[1.0, 3.0], [2.0, 6.0]])}, [Frame(), Frame()])
    assert predictions == [2.0, 4.0]
    result = task.evaluate(predictions, [2, 5], {})
    assert (dict(result.metrics), result.primary) == ({"error": 1.0, "n": 2.0}, "error")


def test_without_a_metric_of_the_user_the_tasks_own_is_used(own):
    module, path = own
    task = catalog.create({"name": "classify", "postprocess": f"{module}:halve", "path": path})
    assert task.evaluate([[(1, 0.5)]], [1], {}).metrics["top1"] == 1
    tensor, _ = task.preprocess(np.zeros((256, 256, 3), np.uint8), (3, 224, 224))
    assert tensor.shape == (3, 224, 224)


def test_a_metric_is_imported_only_when_it_is_asked(own):
    module, path = own
    task = catalog.create({"name": "raw", "metric": f"{module}:score", "path": path})
    task.postprocess({"x": np.zeros((1, 1))}, [Frame()])
    assert module not in sys.modules


def test_the_users_folder_comes_after_what_is_installed(own, tmp_path):
    _, path = own
    (tmp_path / "colorsys.py").write_text("rgb_to_hsv = 'mine'")
    sys.modules.pop("colorsys", None)
    with pytest.raises(HarnessError, match="no function 'absent'"):
        catalog.create({"name": "raw", "postprocess": "colorsys:absent", "path": path})
    assert callable(sys.modules["colorsys"].rgb_to_hsv)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("halve", "no import path"),
        (":halve", "no import path"),
        ("absent_module_of_nobody:f", "cannot be imported: ModuleNotFoundError"),
        ("raises_at_import:f", "no licence"),
    ],
)
def test_a_wrong_import_path_is_said_at_once(own, reference, message):
    with pytest.raises(HarnessError, match=message) as caught:
        catalog.create({"name": "raw", "postprocess": reference, "path": own[1]})
    assert caught.value.hint


@pytest.mark.parametrize(("metric", "message"), [("nothing", "returned dict"), ("nan", "error is nan")])
def test_a_metric_that_is_no_number_is_refused(own, metric, message):
    module, path = own
    task = catalog.create({"name": "raw", "metric": f"{module}:{metric}", "path": path})
    with pytest.raises(HarnessError, match=message):
        task.evaluate([], [], {})


def test_a_prediction_for_each_frame_is_demanded(own):
    module, path = own
    task = catalog.create({"name": "raw", "postprocess": f"{module}:short", "path": path})
    with pytest.raises(HarnessError, match="0 predictions for 1 frames"):
        task.postprocess({"x": np.zeros((1, 1))}, [Frame()])


def test_the_users_code_is_part_of_the_identity_and_its_place_is_not(own, tmp_path):
    module, path = own
    spec = {"name": "raw", "postprocess": f"{module}:halve", "path": path}
    first = catalog.identified(spec, tmp_path)
    assert first.keys() == {"name", "postprocess", "code"}
    assert module not in sys.modules
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / f"{module}.py").write_text(OWN)
    assert catalog.identified({**spec, "path": "elsewhere"}, tmp_path) == first
    (other / f"{module}.py").write_text(OWN.replace("/ 2", "/ 3"))
    assert catalog.identified({**spec, "path": "elsewhere"}, tmp_path)["code"] != first["code"]
    assert catalog.create({**first, "path": path}).name == "customised"


def test_of_a_package_every_file_counts(tmp_path):
    package = tmp_path / "ownpackage"
    package.mkdir()
    (package / "__init__.py").write_text("raise OSError('never run')")
    (package / "metric.py").write_text("from ownpackage.helper import score")
    (package / "helper.py").write_text("score = max")
    spec = {"name": "detect", "metric": "ownpackage.metric:score", "path": "."}
    first = catalog.identified(spec, tmp_path)
    (package / "helper.py").write_text("score = min")
    assert catalog.identified(spec, tmp_path)["code"] != first["code"]


def test_identity_without_code_of_the_users_is_the_spec_itself(tmp_path):
    assert catalog.identified({"name": "detect", "iou": 0.6}, tmp_path) == {"name": "detect", "iou": 0.6}
    assert "code" not in catalog.identified({"name": "raw", "path": "."}, tmp_path)


def test_code_that_is_not_there_is_named(tmp_path):
    with pytest.raises(HarnessError, match="there is no absent_module_of_nobody") as caught:
        catalog.identified({"name": "raw", "metric": "absent_module_of_nobody:f"}, tmp_path)
    assert caught.value.hint


def test_a_measured_process_loads_numpy_and_nothing_else():
    code = """
import sys
before = set(sys.modules)
import numpy
from harness.tasks import catalog, datasets
from harness.tasks.task import Frame
scores = numpy.random.default_rng(0).random((1, 84, 800), dtype=numpy.float32)
catalog.create({"name": "detect"}).postprocess({"o": scores}, [Frame(640, 640)])
catalog.create({"name": "obb"}).postprocess({"o": scores}, [Frame(640, 640)])
catalog.create({"name": "pose"}).postprocess({"o": scores}, [Frame(640, 640)])
catalog.create({"name": "segment"}).postprocess({"o": scores, "p": scores[:, :32, :64].reshape(1, 32, 8, 8)}, [Frame()])
catalog.create({"name": "classify"}).postprocess({"o": scores[0]}, [Frame()] * 84)
allowed = {*sys.stdlib_module_names, "numpy", "cython_runtime", "harness"}  # numpy's compiled parts make the third
print(sorted({name.split(".")[0] for name in set(sys.modules) - before if name[0] != "_"} - allowed))
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
