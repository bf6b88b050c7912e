"""What is published names files, not places."""

import pytest

from harness.places import published, unplaced
from harness.vocabulary import Completed, Failed, Skipped, Stage


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Load model from /root/.cache/x/model.onnx failed: bad", "Load model from model.onnx failed: bad"),
        ("[Errno 2] No such file: '/tmp/a b/scratch 1/x'", "[Errno 2] No such file: 'x'"),
        ("harness run s.yaml --set w.source.onnx=/home/me/m.onnx --runs=/home/me/runs", None),
        ('source: {onnx: "/home/me/my models/x.onnx"}  # ~/notes/x.txt', 'source: {onnx: "x.onnx"}  # x.txt'),
        (r"C:\Users\me\x.onnx is bad", "x.onnx is bad"),
    ],
)
def test_of_a_path_the_last_part_stays(text, left):
    assert unplaced(text) == (left or "harness run s.yaml --set w.source.onnx=m.onnx --runs=runs")


@pytest.mark.parametrize(
    "text",
    ["yolo11n/onnxruntime/int8/cpu/b1", "3 / 4 and/or 1/2", "https://docs.example.org/a/b", r"imagenet_\d+_(\d+)\.jpg"],
)
def test_what_is_no_path_stays(text):
    assert unplaced(text) == text


def test_an_outcome_is_told_without_places():
    assert published(Failed(Stage.LOAD, "X", "/a/b/c is bad", "see /d/e/f")) == Failed(
        Stage.LOAD, "X", "c is bad", "see f"
    )
    assert published(Skipped("/a/b/c", "/d/e/f")) == Skipped("c", "f")
    assert published(Completed()) == Completed()
