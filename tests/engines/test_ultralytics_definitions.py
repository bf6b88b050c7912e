"""Ultralytics models by definition: every task's head, drawn weights, where the graph ends, and what is refused."""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]

PRELUDE = """
    import json, sys
    from pathlib import Path
    import numpy as np
    import torch
    from engines.exporters import ultralytics as module
    from engines.exporters.torch_onnx import TorchExportToOnnx
    from engines.exporters.ultralytics import Ultralytics
    from harness.engine import ExportSpec
    from harness.errors import DataError, ExportFailed
    from harness.vocabulary import Artifact, Precision
    folder = Path(sys.argv[1])
    exporter = Ultralytics()
    def source(path):
        return Artifact("ultralytics", Precision.FP32, path, "", 0)
    def answer(value):
        print("RESULT" + json.dumps(value))
"""

HEADS = (
    PRELUDE
    + """
    found = {}
    for head, names in (
        ("raw", ("yolo11n-seg", "yolo11n-pose", "yolo11n-obb", "yolo11n-cls", "yolo26n")),
        ("end2end", ("yolo26n", "yolo26n-seg", "yolo26n-pose", "yolo26n-obb", "yolov10n")),
    ):
        for name in names:
            model = module.defined(exporter.fetch(name + ".yaml", folder))
            module._choose_head(model, head)
            module._prepare(model)
            with torch.no_grad():
                outputs = model(torch.rand(1, 3, 64, 96))
            outputs = outputs if isinstance(outputs, (tuple, list)) else [outputs]
            found[name + " " + head] = [list(output.shape) for output in outputs]
    answer(found)
"""
)

IDENTITY = (
    PRELUDE
    + """
    path = exporter.fetch("yolo11n-cls.yaml", folder)
    first = exporter.identify(path)
    torch.rand(3)
    (folder / "elsewhere").mkdir()
    moved = folder / "elsewhere" / "yolo11n-cls.yaml"
    moved.write_text(path.read_text())
    same = exporter.identify(moved)
    moved.write_text(path.read_text().replace("nc: 1000", "nc: 10"))
    changed = exporter.identify(moved)
    torch.set_num_threads(2 if torch.get_num_threads() == 1 else 1)
    answer([first, same, exporter.identify(path), changed, exporter.identify(folder / "yolo11n.pt")])
"""
)

REFUSED = (
    PRELUDE
    + """
    def refused(act):
        try:
            act()
        except (DataError, ExportFailed) as error:
            return [type(error).__name__, error.message, error.hint]
        return None
    text = exporter.fetch("yolo11n.yaml", folder).read_text()
    def changed(old, new):
        path = folder / "yolo11n-changed.yaml"
        path.write_text(text.replace(old, new))
        return refused(lambda: exporter.identify(path))
    def exported(**settings):
        spec = ExportSpec(Precision.FP32, 1, (3, 64, 64), **settings)
        return refused(lambda: exporter.export(source(folder / "yolo11n.yaml"), spec, folder))
    answer({
        "unknown": refused(lambda: exporter.fetch("yolo11n-sgm.yaml", folder)),
        "folder": refused(lambda: exporter.fetch("../yolo11n.yaml", folder)),
        "function": changed("Concat, [1]]", "load_checkpoint, ['/etc/passwd']]"),
        "code": changed("nc: 80", "nc: 80\\nactivation: __import__('os').getcwd()"),
        "layer": changed("SPPF", "SPQR"),
        "head": changed("Detect, [nc]", "Conv, [nc]"),
        "empty": changed(text, "- 1"),
        "option": exported(options={"haed": "raw"}),
        "choice": exported(options={"head": "cooked"}),
        "missing": exported(options={"head": "end2end"}),
    })
"""
)

EXPORT = (
    PRELUDE
    + """
    spec = ExportSpec(Precision.FP32, 1, (3, 64, 96), options={"head": "end2end"})
    made = exporter.export(source(exporter.fetch("yolo26n-seg.yaml", folder)), spec, folder)
    program = Artifact("torch-export", Precision.FP32, folder / made.entry, "", 0, made.inputs, made.outputs)
    TorchExportToOnnx().export(program, spec, folder)
    answer([made.notes, [[output.name, list(output.shape)] for output in made.outputs]])
"""
)


def run(code, folder):
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")
    variables = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(folder)],
        env={**os.environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rsplit("RESULT", 1)[1])


def test_every_head_ends_where_it_is_asked_to(tmp_path):
    found = run(HEADS, tmp_path)
    anchors = 126  # of 64 x 96: 96 + 24 + 6
    prototypes = [1, 32, 16, 24]
    assert found == {
        "yolo26n raw": [[1, 84, anchors]],
        "yolo11n-seg raw": [[1, 84 + 32, anchors], prototypes],
        "yolo11n-pose raw": [[1, 84 + 51, anchors]],
        "yolo11n-obb raw": [[1, 84 + 1, anchors]],
        "yolo11n-cls raw": [[1, 1000]],
        "yolo26n end2end": [[1, anchors, 6]],  # 300 of a larger input
        "yolo26n-seg end2end": [[1, anchors, 6 + 32], prototypes],
        "yolo26n-pose end2end": [[1, anchors, 6 + 51]],
        "yolo26n-obb end2end": [[1, anchors, 6 + 1]],
        "yolov10n end2end": [[1, anchors, 6]],
    }


def test_a_definition_is_identified_by_its_layers_and_what_is_drawn_for_them(tmp_path):
    first, moved, otherwise_threaded, changed, checkpoint = run(IDENTITY, tmp_path)
    assert first == moved == otherwise_threaded
    assert changed not in (first, None)
    assert checkpoint is None  # the bytes of the file say it all


def test_what_is_no_definition_is_refused_and_runs_no_code(tmp_path):
    found = run(REFUSED, tmp_path)
    expected = {
        "unknown": ("DataError", "yolo11n-sgm.yaml", "did you mean yolo11-seg.yaml"),
        "folder": ("DataError", "../yolo11n.yaml", "official name"),
        "function": ("DataError", "load_checkpoint", "name layers"),
        "code": ("DataError", "getcwd", "nn.SiLU()"),
        "layer": ("DataError", "SPQR", "name layers"),
        "head": ("DataError", "Conv", "its last layer is one of"),
        "empty": ("DataError", "describes no Ultralytics model", "backbone"),
        "option": ("ExportFailed", "haed", "head"),
        "choice": ("ExportFailed", "cooked", "end2end"),
        "missing": ("ExportFailed", "no end2end head", "head: raw"),
    }
    for case, (kind, message, hint) in expected.items():
        assert found[case] is not None, case
        assert found[case][0] == kind, found[case]
        assert message in found[case][1], found[case]
        assert hint in found[case][2], found[case]


def test_an_end_to_end_segmenter_goes_through_torch_and_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    torch = pytest.importorskip("torch")
    from harness.tasks import catalog
    from harness.tasks.task import Frame

    notes, outputs = run(EXPORT, tmp_path)
    assert outputs == [["output0", [1, 126, 38]], ["output1", [1, 32, 16, 24]]]
    assert notes[0] == "random weights: drawn, seed 0"
    assert "end-to-end head" in notes[1]
    value = np.random.default_rng(0).random((1, 3, 64, 96), dtype=np.float32)
    with torch.no_grad():
        program = torch.export.load(tmp_path / "model.pt2").module()
        expected = [part.numpy() for part in program(torch.from_numpy(value))]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["output0", "output1"], {"images": value})
    assert len(np.unique(expected[0][..., 4])) > 100
    assert found[0][..., 4] == pytest.approx(expected[0][..., 4], rel=1e-3)
    apart = np.abs(found[0][0, :, np.newaxis] - expected[0][0]).max(axis=2)
    # Two boxes whose scores differ in the last digit may change places, and the last two may be one or the other.
    assert (apart.min(axis=0) <= 1e-4 * np.abs(expected[0]).max()).mean() > 0.95
    assert np.abs(found[1] - expected[1]).max() <= 1e-4 * np.abs(expected[1]).max()
    task = catalog.create({"name": "segment", "confidence": 1e-6})
    (prediction,) = task.postprocess(dict(zip(["output0", "output1"], found, strict=True)), [Frame(96, 64)])
    assert prediction.masks.shape == (len(prediction.boxes), 64, 96)
    assert len(prediction.boxes) > 0
    assert "ultralytics" not in sys.modules
