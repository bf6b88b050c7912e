"""Masks: what is computed inside a box is what would be computed everywhere, and run lengths are COCO's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks import masks
from harness.tasks.masks import Crop
from harness.tasks.task import Frame


@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_run_lengths_are_those_of_coco(height, width, data):
    library = pytest.importorskip("faster_coco_eval.core.mask")
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(0, height - top)), data.draw(st.integers(0, width - left))
    bits = data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    crop = Crop(top, left, np.array(bits, dtype=bool).reshape(rows, columns))
    (painted,) = masks.paint([crop], (height, width))
    found = masks.run_lengths(crop, (height, width))
    plain = {"size": found["size"], "counts": found["counts"].tolist()}
    assert sum(plain["counts"]) == height * width
    assert all(plain["counts"][1:-1])  # no run is empty but the first and the last
    assert np.array_equal(library.decode(library.frPyObjects(plain, height, width)), painted)


def test_enlarging_weighs_the_two_nearest_pixels_and_repeats_the_edge():
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert masks._bilinear(2, 4).tolist() == expected
    assert masks._bilinear(1, 3).tolist() == [[1], [1], [1]]


def test_a_mask_is_where_the_mix_is_above_zero_inside_the_box():
    prototypes = np.zeros((2, 4, 4), np.float32)
    prototypes[0] = -1
    prototypes[0, 1:3, 1:3] = 1
    prototypes[1] = 1
    boxes = np.array([[0, 0, 16, 16], [5.5, 0, 8.0, 16], [12, 12, 4, 4], [-9, 3, 99, 5.2]], np.float32)
    coefficients = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    found = masks.crops(prototypes, coefficients, boxes, masks.to_input(4, 4))
    whole = masks.paint(found, (16, 16))
    rows, columns = np.nonzero(whole[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 11, 4, 11)
    assert np.argwhere(whole[1].any(axis=0)).ravel().tolist() == [6, 7]  # 5.5 begins with pixel 6, 8.0 ends before 8
    assert not whole[2].any()
    assert np.argwhere(whole[3].any(axis=1)).ravel().tolist() == [3, 4, 5]
    assert whole[3, 3].all()


@given(seed=st.integers(0, 2**32 - 1), width=st.integers(3, 90), height=st.integers(3, 90))
def test_what_a_box_covers_is_a_part_of_the_whole(seed, width, height):
    generator = np.random.default_rng(seed)
    prototypes = generator.normal(size=(3, 16, 16)).astype(np.float32)
    mix = generator.normal(size=(1, 3)).astype(np.float32)
    scale = min(64 / width, 64 / height)
    inner = max(round(width * scale), 1), max(round(height * scale), 1)
    spare = (64 - inner[0]) // 2, (64 - inner[1]) // 2
    frame = Frame(width, height, inner[0] / width, inner[1] / height, float(spare[0]), float(spare[1]))
    way = masks.to_image(16, 16, frame)
    assert way.shape == (height, width)
    assert way.rows.sum(axis=1) == pytest.approx(1, abs=1e-5)
    (whole,) = masks.crops(prototypes, mix, np.array([[0, 0, width, height]]), way)
    left, top = generator.integers(0, width), generator.integers(0, height)
    right, bottom = generator.integers(left, width) + 1, generator.integers(top, height) + 1
    (part,) = masks.crops(prototypes, mix, np.array([[left, top, right, bottom]]), way)
    assert (part.inside != whole.inside[top:bottom, left:right]).mean() < 0.01  # sums of another order, at zero
