"""The detector: heads, thresholds and the way back to image pixels."""

import dataclasses

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.tasks import heads
from harness.tasks.detect import Detect, DetectParameters
from harness.tasks.heads import Selection
from harness.tasks.task import Frame

FRAME = Frame(width=200, height=100, scale_x=2.0, scale_y=2.0, pad_x=0.0, pad_y=100.0)


def yolo_output(rows, classes=3, boxes=20):
    """(1, 4 + C, N) with the given (cx, cy, w, h, {class: score}) first, and silence after."""
    output = np.zeros((1, 4 + classes, boxes), dtype=np.float32)
    for column, (*box, scores) in enumerate(rows):
        output[0, :4, column] = box
        for index, score in scores.items():
            output[0, 4 + index, column] = score
    return {"output0": output}


def test_decodes_suppresses_and_maps_back():
    outputs = yolo_output(
        [
            (100, 200, 40, 20, {1: 0.5}),
            (101, 200, 40, 20, {1: 0.9}),  # the same object, seen better
            (100, 200, 40, 20, {2: 0.4}),  # another class at the same place
            (300, 200, 40, 20, {0: 0.2}),  # too faint
        ]
    )
    (found,) = Detect(DetectParameters()).postprocess(outputs, [FRAME])
    assert found.dtype == np.float32
    expected = [[40.5, 45, 60.5, 55, 0.9, 1], [40, 45, 60, 55, 0.4, 2]]
    assert found == pytest.approx(np.array(expected))


def test_agnostic_suppresses_across_classes():
    outputs = yolo_output([(100, 200, 40, 20, {1: 0.9}), (100, 200, 40, 20, {2: 0.4})])
    (found,) = Detect(DetectParameters(agnostic=True)).postprocess(outputs, [FRAME])
    assert found[:, 5].tolist() == [1]


def test_evaluation_takes_every_label_of_a_box_down_to_a_thousandth():
    outputs = yolo_output([(100, 200, 40, 20, {1: 0.9, 2: 0.002, 0: 0.0005})])
    task = Detect(DetectParameters(iou=0.6, max_detections=50))
    assert len(task.postprocess(outputs, [FRAME])[0]) == 1
    validation = task.for_evaluation()
    assert validation.postprocess(outputs, [FRAME])[0][:, 5].tolist() == [1, 2]
    assert validation.parameters == dataclasses.replace(
        task.parameters, confidence=0.001, multi_label=True, max_detections=300
    )


def test_no_detection_is_an_empty_prediction():
    (found,) = Detect(DetectParameters()).postprocess(yolo_output([]), [FRAME])
    assert found.shape == (0, 6)


def test_each_frame_of_a_batch_gets_its_own():
    one, two = yolo_output([(100, 200, 40, 20, {1: 0.9})]), yolo_output([(300, 200, 40, 20, {0: 0.8})])
    batch = {"output0": np.concatenate([one["output0"], two["output0"], two["output0"]])}
    found = Detect(DetectParameters()).postprocess(batch, [FRAME, FRAME])  # the third row only fills the batch
    assert [prediction[:, 5].tolist() for prediction in found] == [[1], [0]]


def test_half_precision_outputs_are_read():
    outputs = {name: array.astype(np.float16) for name, array in yolo_output([(100, 200, 40, 20, {1: 0.5})]).items()}
    (found,) = Detect(DetectParameters()).postprocess(outputs, [FRAME])
    assert found.tolist() == [[40, 45, 60, 55, 0.5, 1]]


def test_candidates_are_capped_to_the_best(monkeypatch):
    monkeypatch.setattr(heads, "MAX_CANDIDATES", 4)
    scores = np.linspace(0.9, 0.3, 10, dtype=np.float32)
    output = np.concatenate([np.arange(40, dtype=np.float32).reshape(4, 10) * 50, scores[None]])
    found = heads.decode_yolo(output, Selection(0.1, multi_label=True))
    assert found.scores.tolist() == scores[:4].tolist()


def test_yolox_decodes_its_grid():
    side, classes = 64, 2
    cells = [(x, y, stride) for stride in (8, 16, 32) for y in range(side // stride) for x in range(side // stride)]
    output = np.zeros((1, len(cells), 5 + classes), dtype=np.float32)
    at = cells.index((1, 2, 16))
    output[0, at] = [0.5, 0.25, np.log(2), np.log(1), 0.8, 0.1, 0.5]
    output[0, cells.index((0, 0, 8))] = [0, 0, 0, 0, 0.2, 0, 1]  # likely a class, unlikely an object
    task = Detect(DetectParameters(head="yolox", scale=1))
    (found,) = task.postprocess({"output": output}, [Frame(64, 64)])
    assert found == pytest.approx(np.array([[24 - 16, 36 - 8, 24 + 16, 36 + 8, 0.4, 1]]))


def test_yolox_takes_the_size_of_an_input_that_is_not_square():
    count = sum((96 // stride) * (64 // stride) for stride in (8, 16, 32))
    outputs = {"output": np.zeros((1, count, 6), dtype=np.float32)}
    with pytest.raises(HarnessError, match="yolox head"):
        Detect(DetectParameters(head="yolox")).postprocess(outputs, [FRAME])
    (found,) = Detect(DetectParameters(head="yolox", input_size=(64, 96))).postprocess(outputs, [FRAME])
    assert len(found) == 0


def test_an_end_to_end_head_is_only_filtered_and_ranked():
    rows = np.array([[[0, 100, 40, 120, 0.3, 1], [0, 100, 40, 120, 0.9, 1], [0, 100, 40, 120, 0.1, 1]]], np.float32)
    (found,) = Detect(DetectParameters(head="end2end")).postprocess({"out": rows}, [FRAME])
    assert found == pytest.approx(np.array([[0, 0, 20, 10, 0.9, 1], [0, 0, 20, 10, 0.3, 1]]))


def test_the_default_head_reads_an_end_to_end_answer_as_one():
    rows = np.array([[[0, 100, 40, 120, 0.9, 1], [1, 100, 40, 120, 0.8, 1]]], np.float32)  # nothing is suppressed
    default, said = (Detect(DetectParameters(head=head)) for head in ("yolo", "end2end"))
    (found,) = default.postprocess({"out": rows}, [FRAME])
    assert len(found) == 2
    assert np.array_equal(found, said.postprocess({"out": rows}, [FRAME])[0])


def test_an_output_of_another_shape_is_refused():
    with pytest.raises(HarnessError, match=r"shape \(1, 8400\)"):
        Detect(DetectParameters()).postprocess({"out": np.zeros((1, 8400), np.float32)}, [FRAME])


def test_preprocess_scales_and_orders_the_channels():
    pytest.importorskip("cv2")
    image = np.empty((32, 64, 3), dtype=np.uint8)
    image[:] = (255, 51, 0)
    tensor, frame = Detect(DetectParameters()).preprocess(image, (3, 64, 64))
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert tensor[:, 32, 32] == pytest.approx([1, 0.2, 0])
    assert tensor[:, 0, 0] == pytest.approx([114 / 255] * 3)
    assert frame == Frame(64, 32, 1.0, 1.0, 0.0, 16.0)
    yolox = DetectParameters(channels="bgr", scale=1, letterbox="topleft", pad=7)
    tensor, frame = Detect(yolox).preprocess(image, (3, 64, 64))
    assert tensor[:, 0, 0].tolist() == [0, 51, 255]
    assert tensor[:, 63, 63].tolist() == [7, 7, 7]
    assert frame.pad_y == 0


@pytest.mark.parametrize(
    "wrong",
    [{"confidence": 1.5}, {"iou": -0.1}, {"max_detections": 0}, {"pad": 300}, {"scale": 0.0}, {"letterbox": "centre"}],
)
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(HarnessError, match=next(iter(wrong))) as caught:
        DetectParameters(**wrong)
    assert caught.value.hint
