"""Labels beyond boxes: polygons, keypoints and corners, from text files and from COCO's JSON."""

import json

import numpy as np
import pytest
from PIL import Image

from harness.errors import DataError
from harness.tasks import catalog
from harness.tasks.datasets import DataSpec, resolve


@pytest.fixture
def yolo(tmp_path):
    """One image of 40 x 20 pixels; the function writes its label and the rest of the YAML, and reads them."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(tmp_path / "images" / "0.png")

    def read(text, form, more=""):
        (tmp_path / "labels" / "0.txt").write_text(text)
        (tmp_path / "data.yaml").write_text(f"val: images\nnames: [cat, dog]\n{more}")
        return resolve(DataSpec("yolo", "data.yaml"), tmp_path, form).evaluate.items[0].label

    return read


def test_a_polygon_is_kept_in_pixels(yolo):
    label = yolo("1 0.25 0.5 0.75 0.25 0.5 1.0\n", "segments")
    assert label["boxes"] == [pytest.approx([10, 5, 30, 20])]
    assert label["segments"] == [[pytest.approx([10, 10, 30, 5, 20, 20])]]
    assert (label["classes"], label["crowd"], label["size"]) == ([1], [False], [20, 40])


def test_corners_are_kept_in_pixels(yolo):
    label = yolo("0 0.25 0.5 0.75 0.5 0.75 1.0 0.25 1.0\n", "corners")
    assert label["corners"] == [pytest.approx([10, 10, 30, 10, 30, 20, 10, 20])]
    assert label["boxes"] == [pytest.approx([10, 10, 30, 20])]


def test_keypoints_are_kept_with_their_visibility(yolo):
    label = yolo("0 0.5 0.5 0.5 1.0 0.25 0.5 2 0.75 0.5 0\n", "keypoints", "kpt_shape: [2, 3]")
    assert label["keypoints"] == [[[10, 10, 2], [30, 10, 0]]]
    assert label["boxes"] == [pytest.approx([10, 0, 30, 20])]
    assert label["areas"] == [pytest.approx(0.53 * 20 * 20)]


def test_without_visibility_a_point_outside_the_image_is_not_labelled(yolo):
    label = yolo("0 0.5 0.5 0.5 1.0 0.25 0.5 -1 -1\n", "keypoints", "kpt_shape: [2, 2]")
    assert [point[2] for point in label["keypoints"][0]] == [1, 0]


def test_a_detector_reads_the_boxes_of_labels_with_more(yolo):
    posed = "0 0.5 0.5 0.5 1.0 0.25 0.5 2 0.75 0.5 0\n"
    assert yolo(posed, "boxes", "kpt_shape: [2, 3]")["boxes"] == [pytest.approx([10, 0, 30, 20])]
    assert yolo("0 0.25 0.5 0.75 0.5 0.75 1.0 0.25 1.0\n", "boxes")["boxes"] == [pytest.approx([10, 10, 30, 20])]


@pytest.mark.parametrize("form", ["segments", "corners", "keypoints"])
def test_an_image_without_objects_has_empty_lists(yolo, form):
    label = yolo("", form, "kpt_shape: [2, 3]" if form == "keypoints" else "")
    assert label.pop("size", [20, 40]) == [20, 40]
    assert not any(label.values())


@pytest.mark.parametrize(
    ("line", "form", "message"),
    [
        ("0 0.5 0.5 0.5 0.5", "segments", "5 values"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3", "corners", "7 values"),
        ("0 0.5 0.5 0.5 0.5", "keypoints", "5 values"),
        ("0 0.5 0.5 0.5 0.5 0.2 7 2 0.1 0.1 1", "keypoints", "outside 0 to 1"),
        ("0 0.1 0.1 0.2 0.2 0.3 nan 0.1 0.1", "corners", "outside 0 to 1"),
    ],
)
def test_a_line_of_another_form_is_named(yolo, line, form, message):
    with pytest.raises(DataError, match=message) as caught:
        yolo(f"\n{line}\n", form, "kpt_shape: [2, 3]" if form == "keypoints" else "")
    assert "0.txt:2:" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("more", ["", "kpt_shape: 17", "kpt_shape: [17, 4]", "kpt_shape: [x, 3]"])
def test_keypoints_need_their_shape(yolo, more):
    with pytest.raises(DataError, match="kpt_shape"):
        yolo("", "keypoints", more)


def coco(folder, annotation, form, **image):
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(folder / "a.png")
    document = {
        "images": [{"id": 7, "file_name": "a.png", "height": 20, "width": 40, **image}],
        "categories": [{"id": 3, "name": "person"}],
        "annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 10], "iscrowd": 0, **annotation}],
    }
    (folder / "a.json").write_text(json.dumps(document))
    return resolve(DataSpec("coco", "a.json"), folder, form).evaluate.items[0].label


def test_coco_has_polygons_run_lengths_and_keypoints(tmp_path):
    polygon = coco(tmp_path, {"segmentation": [[1, 2, 11, 2, 11, 12]]}, "segments")
    assert polygon["segments"] == [[[1, 2, 11, 2, 11, 12]]]
    assert polygon["size"] == [20, 40]
    runs = {"size": [20, 40], "counts": [700, 100]}
    assert coco(tmp_path, {"segmentation": runs, "iscrowd": 1}, "segments")["segments"] == [runs]
    posed = coco(tmp_path, {"keypoints": [1, 2, 2, 0, 0, 0], "area": 50}, "keypoints")
    assert (posed["keypoints"], posed["areas"]) == ([[[1, 2, 2], [0, 0, 0]]], [50])
    assert set(coco(tmp_path, {}, "boxes")) == {"boxes", "classes", "crowd"}


@pytest.mark.parametrize(
    ("annotation", "form", "message"),
    [
        ({}, "segments", "segmentation"),
        ({"keypoints": [1, 2, 2]}, "keypoints", "area"),
        ({}, "corners", "no corners"),
    ],
)
def test_a_coco_file_without_it_is_refused(tmp_path, annotation, form, message):
    with pytest.raises(DataError, match=message) as caught:
        coco(tmp_path, annotation, form)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("task", "form"), [("detect", "boxes"), ("segment", "segments"), ("pose", "keypoints"), ("obb", "corners")]
)
def test_each_task_says_what_its_metric_needs(task, form):
    assert catalog.labels({"name": task}) == form
