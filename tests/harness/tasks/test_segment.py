"""Instance segmentation: reading of two outputs, and COCO's figure of masks with the same from our own matches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError, HarnessError
from harness.tasks import catalog, coco_map
from harness.tasks.masks import Crop, run_lengths
from harness.tasks.segment import Instances, Segment, SegmentParameters
from harness.tasks.task import Frame

CLASSES = {0: "a", 1: "b"}
SIZE = (40, 60)


def outputs(boxes=((32, 32, 20, 20),), scores=(0.9,), *, end2end=False):
    """A head of 2 classes and 2 coefficients over 64 x 64; the first prototype is 1 on the left half of the input."""
    prototypes = np.full((1, 2, 16, 16), -1, np.float32)
    prototypes[0, 0, :, :8] = 1
    if end2end:
        head = np.zeros((1, 5, 8), np.float32)
        for row, ((x, y, w, h), score) in enumerate(zip(boxes, scores, strict=True)):
            head[0, row] = [x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, 1, 1, 0]
    else:
        head = np.zeros((1, 8, 84), np.float32)
        for column, (box, score) in enumerate(zip(boxes, scores, strict=True)):
            head[0, :4, column], head[0, 5, column], head[0, 6, column] = box, score, 1
    return {"predictions": head, "prototypes": prototypes}


@pytest.mark.parametrize("end2end", [False, True])
def test_a_mask_comes_with_its_box(end2end):
    (found,) = Segment(SegmentParameters()).postprocess(outputs(end2end=end2end), [Frame(64, 64)])
    assert found.boxes == pytest.approx(np.array([[22, 22, 42, 42, 0.9, 1]]))
    assert found.masks.shape == (1, 64, 64)
    rows, columns = np.nonzero(found.masks[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (22, 41, 22, 31)


def test_duplicates_are_suppressed_unless_the_model_did():
    boxes, scores = ((32, 32, 20, 20), (32, 33, 20, 20)), (0.8, 0.9)
    task = Segment(SegmentParameters())
    for end2end, count in ((False, 1), (True, 2)):
        (found,) = task.postprocess(outputs(boxes, scores, end2end=end2end), [Frame(64, 64)])
        assert len(found.boxes) == len(found.masks) == count
        assert found.boxes[0, 4] == pytest.approx(0.9)


def test_what_has_an_empty_mask_is_not_found():
    (found,) = Segment(SegmentParameters()).postprocess(outputs(((50, 32, 8, 8),)), [Frame(64, 64)])
    assert found.boxes.shape == (0, 6)
    assert found.masks.shape == (0, 64, 64)


def test_masks_of_the_image_and_their_run_lengths_are_the_same():
    library = pytest.importorskip("faster_coco_eval.core.mask")
    frame = Frame(32, 16, 2.0, 2.0, 0.0, 16.0)
    (painted,) = Segment(SegmentParameters(masks="image")).postprocess(outputs(), [frame])
    (runs,) = Segment(SegmentParameters()).for_evaluation().postprocess(outputs(), [frame])
    assert painted.masks.shape == (1, 16, 32)
    counts = {"size": [16, 32], "counts": runs.masks[0]["counts"].tolist()}
    assert np.array_equal(library.decode(library.frPyObjects(counts, 16, 32)), painted.masks[0])
    assert painted.boxes == pytest.approx(np.array([[11, 3, 21, 13, 0.9, 1]]))


def test_the_order_of_the_outputs_does_not_matter_but_both_are_needed():
    given_ = outputs()
    turned = dict(reversed(given_.items()))
    task = Segment(SegmentParameters())
    first, second = (task.postprocess(one, [Frame(64, 64)])[0] for one in (given_, turned))
    assert np.array_equal(first.masks, second.masks)
    with pytest.raises(HarnessError, match=r"\(1, 8, 84\)"):
        task.postprocess({"predictions": given_["predictions"]}, [Frame(64, 64)])


def test_a_head_of_another_task_is_refused():
    given_ = outputs()
    given_["prototypes"] = np.zeros((1, 32, 16, 16), np.float32)
    with pytest.raises(HarnessError, match="no class score"):
        Segment(SegmentParameters()).postprocess(given_, [Frame(64, 64)])


# --- the metric --------------------------------------------------------------------------------------------------


def rectangle(x1, y1, x2, y2):
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def label(boxes, classes=None, crowd=None):
    return {
        "boxes": [list(map(float, box)) for box in boxes],
        "classes": classes or [0] * len(boxes),
        "crowd": crowd or [False] * len(boxes),
        "segments": [rectangle(*map(float, box)) for box in boxes],
        "size": list(SIZE),
    }


def found(rows):
    """Instances whose masks are rectangles: (x1, y1, x2, y2, score, class)."""
    shapes = [
        Crop(int(row[1]), int(row[0]), np.ones((int(row[3] - row[1]), int(row[2] - row[0])), bool)) for row in rows
    ]
    boxes = np.array(rows, np.float32).reshape(-1, 6)
    return Instances(boxes, [run_lengths(shape, SIZE) for shape in shapes])


def evaluate(predictions, labels):
    pytest.importorskip("faster_coco_eval")
    return catalog.create({"name": "segment"}).evaluate(predictions, labels, CLASSES)


def test_a_perfect_segmenter_scores_one():
    result = evaluate(
        [found([(5, 5, 20, 20, 0.9, 0), (30, 5, 50, 30, 0.8, 1)])], [label([(5, 5, 20, 20), (30, 5, 50, 30)], [0, 1])]
    )
    assert result.metrics == {"map50_95": 1, "map50": 1, "box_map50_95": 1, "box_map50": 1}
    assert result.primary == "map50_95"


def test_a_mask_counts_by_its_pixels_not_its_box():
    """Half of a 20 x 20 square found, with the box of the whole: IoU 0.5, one of ten thresholds."""
    half = Instances(
        np.array([[10, 10, 30, 30, 0.9, 0]], np.float32), [run_lengths(Crop(10, 10, np.ones((20, 10), bool)), SIZE)]
    )
    result = evaluate([half], [label([(10, 10, 30, 30)])])
    assert result.metrics["box_map50_95"] == 1
    assert result.metrics["map50_95"] == pytest.approx(0.1)
    assert result.metrics["map50"] == 1


def test_a_polygon_and_its_run_lengths_are_one_object():
    written = label([(10, 10, 30, 30)])
    runs = run_lengths(Crop(10, 10, np.ones((20, 20), bool)), SIZE)
    written["segments"] = [{"size": list(SIZE), "counts": runs["counts"].tolist()}]
    assert evaluate([found([(10, 10, 30, 30, 0.9, 0)])], [written]).metrics["map50_95"] == 1


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_our_matches_give_cocos_figure(seed):
    pytest.importorskip("faster_coco_eval")
    rng = np.random.default_rng(seed)
    predictions, labels = [], []
    for _ in range(4):
        count = int(rng.integers(0, 6))
        corner = rng.integers(0, 20, (count, 2))
        boxes = np.concatenate([corner, corner + rng.integers(6, 20, (count, 2))], axis=1)
        classes = rng.integers(0, 2, count).tolist()
        labels.append(label(boxes.tolist(), classes, (rng.random(count) < 0.2).tolist()))
        shifted = np.clip(boxes + rng.integers(-2, 3, (count, 4)), 0, 39)
        rows = [(*box, rng.integers(1, 9) / 8, index) for box, index in zip(shifted, classes, strict=True)]
        predictions.append(found([*rows, *rows[:2]]))
    if not any(not crowd for each in labels for crowd in each["crowd"]):
        return
    result = evaluate(predictions, labels)
    own = coco_map.mean_average_precision(result.per_image, np.ones((1, len(labels))))[0]
    assert own.mean() == pytest.approx(result.metrics["map50_95"], abs=1e-6)
    assert own[0] == pytest.approx(result.metrics["map50"], abs=1e-6)


def test_labels_without_polygons_are_refused():
    bare = {"boxes": [[0, 0, 9, 9]], "classes": [0], "crowd": [False]}
    with pytest.raises(DataError, match="carry no segments") as caught:
        evaluate([found([])], [bare])
    assert caught.value.hint
