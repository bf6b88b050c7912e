"""Data sets on disk: every kind, every selection, and what is wrong said by file and line."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness import codec
from harness.errors import DataError
from harness.tasks import datasets
from harness.tasks.datasets import DataSet, DataSpec, Item, resolve


def save_image(path, shade, size=(40, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), shade, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def yolo(tmp_path):
    """Six images in two splits, one without a label file; image 3 of val is a copy of image 0 of train."""
    for split, shades in (("train", (0, 10)), ("val", (20, 30, 40, 0))):
        for index, shade in enumerate(shades):
            save_image(tmp_path / "set" / "images" / split / f"{index}.png", shade)
            label = tmp_path / "set" / "labels" / split / f"{index}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            if index != 2:
                label.write_text("1 0.5 0.5 0.5 1.0\n\n0 0.25 0.5 0.1 0.2\n1 0.5 0.5 0.5 1.0\n")
    (tmp_path / "data.yaml").write_text("path: set\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n")
    return tmp_path


def names(data):
    return [item.path.name for item in data.items]


def test_yolo_labels_become_pixels(yolo):
    data = resolve(DataSpec("yolo", "data.yaml"), yolo).evaluate
    assert names(data) == ["0.png", "1.png", "2.png", "3.png"]
    assert dict(data.classes) == {0: "cat", 1: "dog"}
    label = data.items[0].label
    assert label["boxes"] == [pytest.approx([10, 0, 30, 20]), pytest.approx([8, 8, 12, 12])]
    assert (label["classes"], label["crowd"]) == ([1, 0], [False, False])
    assert data.items[2].label == {"boxes": [], "classes": [], "crowd": []}


def test_selections_are_slices_of_sorted_items_and_overlap_is_by_content(yolo):
    chosen = resolve(DataSpec("yolo", "data.yaml", calibrate="train:0:1", evaluate="1:"), yolo)
    assert names(chosen.calibrate) == ["0.png"]
    assert names(chosen.evaluate) == ["1.png", "2.png", "3.png"]
    assert chosen.overlap == 1
    assert resolve(DataSpec("yolo", "data.yaml", calibrate="train:1:", evaluate="0:3"), yolo).overlap == 0
    assert resolve(DataSpec("yolo", "data.yaml", evaluate="-2:"), yolo).overlap == 0
    assert names(resolve(DataSpec("yolo", "data.yaml", evaluate="::2"), yolo).evaluate) == ["0.png", "2.png"]
    assert names(resolve(DataSpec("yolo", "data.yaml", split="train"), yolo).evaluate) == ["0.png", "1.png"]


@pytest.mark.parametrize("text", ["", "5", "a:b", "0:64:", "1:2:0", "0..4", "-:3", "1:2:3:4"])
def test_what_is_no_slice_is_refused(yolo, text):
    if text == "0:64:":  # Python allows the empty step
        assert len(resolve(DataSpec("yolo", "data.yaml", evaluate=text), yolo).evaluate.items) == 4
        return
    with pytest.raises(DataError, match="is no slice"):
        resolve(DataSpec("yolo", "data.yaml", evaluate=text), yolo)


@given(st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=2, max_size=3))
def test_a_slice_means_what_it_means_in_python(bounds):
    if bounds[2:] == [0]:
        return
    labels = {f"{index}": None for index in range(6)}
    text = ":".join("" if bound is None else str(bound) for bound in bounds)
    expected = sorted(labels)[slice(*bounds)]
    matched = datasets._SLICE.fullmatch(text)
    parts = [int(part) if part else None for part in (matched["start"], matched["stop"], matched["step"])]
    assert sorted(labels)[slice(*parts)] == expected


def test_an_empty_selection_is_refused(yolo):
    with pytest.raises(DataError, match="'10:20' selects none of 4 images"):
        resolve(DataSpec("yolo", "data.yaml", calibrate="10:20"), yolo)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 0.5 0.5", "4 values"),
        ("1 0.5 0.5 0.5 x", "not numbers"),
        ("2 0.5 0.5 0.5 0.5", "class 2 of 2 classes"),
        ("-1 0.5 0.5 0.5 0.5", "class -1"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5"),
        ("nan 0.5 0.5 0.5 0.5", "class nan"),
        ("1 0.5 0.5 nan 0.5", "outside 0 to 1"),
        ("1 320 240 64 48", "outside 0 to 1"),
        ("1 0.1 0.1 0.2 0.2 0.3", "6 values"),
    ],
)
def test_a_malformed_label_is_named_by_line(yolo, line, message):
    (yolo / "set" / "labels" / "val" / "1.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(DataError, match=message) as caught:
        resolve(DataSpec("yolo", "data.yaml"), yolo)
    assert "1.txt:2:" in caught.value.message


def test_a_polygon_becomes_its_bounding_box(yolo):
    (yolo / "set" / "labels" / "val" / "0.txt").write_text("1 0.25 0.5 0.75 0.25 0.5 1.0\n")
    label = resolve(DataSpec("yolo", "data.yaml"), yolo).evaluate.items[0].label
    assert label["boxes"] == [pytest.approx([10, 5, 30, 20])]


def test_a_split_may_be_a_list_of_files_or_of_folders(yolo):
    (yolo / "set" / "val.txt").write_text("./images/val/1.png\nimages/val/0.png\n\n")
    text = "path: set\nval: {}\nnames: {{0: cat, 1: dog}}\n"
    (yolo / "data.yaml").write_text(text.format("val.txt"))
    assert names(resolve(DataSpec("yolo", "data.yaml"), yolo).evaluate) == ["0.png", "1.png"]
    (yolo / "data.yaml").write_text(text.format("[images/train, images/val]"))
    assert len(resolve(DataSpec("yolo", "data.yaml"), yolo).evaluate.items) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [cat]\nval: nowhere\n", "no such folder"),
        ("names: [cat]\ntrain: set/images/train\n", "no split 'val'"),
        ("val: set/images/val\n", "names is not a list"),
        ("names: {1: cat, 2: dog}\nval: set/images/val\n", "names is not a list"),
        ("just text", "not an Ultralytics data set"),
        ("names: [cat\nval: x\n", "not YAML"),
    ],
)
def test_a_wrong_data_file_is_refused(yolo, text, message):
    (yolo / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        resolve(DataSpec("yolo", "data.yaml"), yolo)
    assert caught.value.hint


def test_images_without_any_label_file_are_refused(yolo):
    (yolo / "set" / "labels").rename(yolo / "set" / "annotations")
    with pytest.raises(DataError, match="none of 4 images has a label file") as caught:
        resolve(DataSpec("yolo", "data.yaml"), yolo)
    assert "labels" in caught.value.hint


def test_a_missing_file_is_refused(tmp_path):
    for kind in ("yolo", "coco"):
        with pytest.raises(DataError, match="No such file"):
            resolve(DataSpec(kind, "absent.file"), tmp_path)


# --- the other kinds ---------------------------------------------------------------------------------------------


def test_imagefolder_takes_the_sorted_folders_for_classes(tmp_path):
    for name, shade in (("zebra", 1), ("ant", 2)):
        save_image(tmp_path / "val" / name / "deep" / "x.png", shade)
    data = resolve(DataSpec("imagefolder", ".", split="val"), tmp_path).evaluate
    assert dict(data.classes) == {0: "ant", 1: "zebra"}
    assert [item.label for item in data.items] == [0, 1]
    with pytest.raises(DataError, match="no such folder"):
        resolve(DataSpec("imagefolder", ".", split="test"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no folder"):
        resolve(DataSpec("imagefolder", "empty"), tmp_path)
    (tmp_path / "empty" / "class").mkdir()
    with pytest.raises(DataError, match="no images"):
        resolve(DataSpec("imagefolder", "empty"), tmp_path)


def coco_document():
    return {
        "images": [{"id": 7, "file_name": "b.png"}, {"id": 9, "file_name": "a.png"}],
        "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "iscrowd": 1},
            {"image_id": 7, "category_id": 3, "bbox": [0, 0, 5, 5]},
        ],
    }


def test_coco_categories_become_contiguous_and_crowds_are_flagged(tmp_path):
    save_image(tmp_path / "pictures" / "a.png", 1)
    save_image(tmp_path / "pictures" / "b.png", 2)
    (tmp_path / "instances.json").write_text(json.dumps(coco_document()))
    data = resolve(DataSpec("coco", "instances.json", images="pictures"), tmp_path).evaluate
    assert dict(data.classes) == {0: "cat", 1: "dog"}
    assert names(data) == ["a.png", "b.png"]
    assert data.items[0].label == {"boxes": [], "classes": [], "crowd": []}
    assert data.items[1].label == {
        "boxes": [[1, 2, 4, 6], [0, 0, 5, 5]],
        "classes": [1, 0],
        "crowd": [True, False],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["annotations"][1].update(image_id=8), r"annotations\[1\]: image 8"),
        (lambda d: d["annotations"][0].update(category_id=1), r"annotations\[0\]: category 1"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2]), "not a COCO annotation file"),
        (lambda d: d.pop("categories"), "not a COCO annotation file: KeyError"),
        (lambda d: d.update(images=3), "not a COCO annotation file: TypeError"),
        (lambda d: d.update(images=[], annotations=[]), "no images"),
        (lambda d: None, r"a\.png: No such file"),
    ],
)
def test_a_wrong_annotation_file_is_refused(tmp_path, change, message):
    document = coco_document()
    change(document)
    (tmp_path / "instances.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=message):
        resolve(DataSpec("coco", "instances.json"), tmp_path)


def test_files_take_their_label_from_the_name(tmp_path):
    for name in ("00_3.png", "01_12.png", "02_7.JPG"):
        save_image(tmp_path / "flat" / name.lower(), int(name[:2])).rename(tmp_path / "flat" / name)
    (tmp_path / "flat" / "README.txt").write_text("no image")
    for spec in (
        DataSpec("files", "flat", label=r"_(\d+)\."),
        DataSpec("files", "flat/*", label=r"_(\d+)\."),
        DataSpec("files", ".", images="**/*.*", label=r"_(\d+)\."),
        DataSpec("files", str(tmp_path / "flat" / "*"), label=r"_(\d+)\."),
    ):
        assert [item.label for item in resolve(spec, tmp_path).evaluate.items] == [3, 12, 7]
    assert resolve(DataSpec("files", "flat"), tmp_path).evaluate.items[0].label is None


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (r"x(\d+)", "no class index"),
        (r"_\d+", "has no group"),
        (r"_(\d+", "no regular expression"),
        (r"(_)", "no class"),
    ],
)
def test_a_label_expression_that_finds_nothing_is_refused(tmp_path, label, message):
    save_image(tmp_path / "00_3.png", 1)
    with pytest.raises(DataError, match=message):
        resolve(DataSpec("files", "*.png", label=label), tmp_path)


def test_files_of_a_package_are_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "pictures_of_nobody"
    save_image(package / "data" / "imagenet_00_5.png", 1)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = DataSpec("files", "data/imagenet_*.png", package=package.name, label=r"imagenet_\d+_(\d+)\.png")
    assert [item.label for item in resolve(spec, tmp_path / "elsewhere").evaluate.items] == [5]
    assert package.name not in sys.modules


def test_a_missing_package_comes_with_its_install_command(tmp_path):
    with pytest.raises(DataError, match="not installed") as caught:
        resolve(DataSpec("files", "*.png", package="pictures_of_somebody_else"), tmp_path)
    assert caught.value.hint == "pip install pictures_of_somebody_else"


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="no images"):
        resolve(DataSpec("files", "*.png"), tmp_path)
    with pytest.raises(DataError, match="has no split 'train'"):
        resolve(DataSpec("files", "*.png", evaluate="train:0:3"), tmp_path)


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        resolve(DataSpec("yollo", "x"), tmp_path)
    assert "did you mean 'yolo'" in caught.value.hint


# --- identity ----------------------------------------------------------------------------------------------------


def test_the_hash_is_of_content_and_labels_alone(tmp_path):
    first = save_image(tmp_path / "one" / "0_1.png", 5)
    save_image(tmp_path / "two" / "elsewhere_1.png", 5)
    spec = DataSpec("files", "one", label=r"_(\d)")
    one = resolve(spec, tmp_path).evaluate
    two = resolve(DataSpec("files", "two", label=r"_(\d)"), tmp_path).evaluate
    assert one.content_hash == two.content_hash
    assert one.content_hash != resolve(DataSpec("files", "one"), tmp_path).evaluate.content_hash
    save_image(first, 6)
    assert resolve(spec, tmp_path).evaluate.content_hash != one.content_hash


def test_a_set_survives_the_way_to_another_process(yolo):
    data = resolve(DataSpec("yolo", "data.yaml"), yolo).evaluate
    arrived = codec.decode(DataSet, json.loads(json.dumps(codec.encode(data))))
    assert arrived == data
    assert arrived.content_hash == data.content_hash
    assert DataSet((Item(yolo, "0" * 64),), {"3": "x"}).classes == {3: "x"}
