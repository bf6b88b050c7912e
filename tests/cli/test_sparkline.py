"""A series as one line: as wide as it may be, flat where it is quiet, in letters that the terminal has."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.sparkline import ASCII, BLOCKS, carries, line, plain


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=300),
    st.integers(1, 120),
    st.sampled_from([BLOCKS, ASCII]),
)
def test_a_line_is_as_long_as_its_series_or_as_wide_as_it_may_be(values, width, ramp):
    drawn = line(values, {0: "^", len(values) - 1: "+"}, width, ramp)
    assert len(drawn.drawn) == min(width, len(values))
    assert set(drawn.drawn) <= set(ramp)
    assert drawn.low <= drawn.high
    assert len(drawn.marks) == len(drawn.drawn)
    assert drawn.marks[-1] == "+"


def test_a_rise_rises_and_a_step_stands_above_its_mark():
    assert line([1, 2, 3, 4, 5, 6, 7, 8], {}, 80).drawn == BLOCKS
    drawn = line([1.0] * 10 + [2.0] * 10, {10: "^"}, 80)
    assert drawn.drawn == BLOCKS[0] * 10 + BLOCKS[-1] * 10
    assert drawn.marks == " " * 10 + "^"


def test_several_values_in_a_column_are_drawn_by_their_median():
    drawn = line([1, 1, 9, 9, 9, 1], {3: "^"}, 2)
    assert drawn.drawn == BLOCKS[0] + BLOCKS[-1]
    assert drawn.marks == " ^"


def test_a_quiet_series_is_flat():
    assert len(set(line([100.0, 100.5, 99.8, 100.1] * 5, {}, 80).drawn)) <= 2
    assert len(set(line([7.0] * 5, {}, 80).drawn)) == 1
    assert len(set(line([0.0] * 5, {}, 80).drawn)) == 1


def test_one_outlier_does_not_flatten_the_rest():
    drawn = line([10.0, 11.0, 12.0, 13.0] * 6 + [1000.0], {}, 80)
    assert drawn.high < 20
    assert len(set(drawn.drawn[:-1])) >= 3
    assert drawn.drawn[-1] == BLOCKS[-1]


@pytest.mark.parametrize(("values", "width"), [([], 10), ([1.0], 0)])
def test_nothing_has_no_line(values, width):
    with pytest.raises(ValueError, match="column"):
        line(values, {}, width)


@pytest.mark.parametrize(
    ("encoding", "can"),
    [("utf-8", True), ("UTF8", True), ("ascii", False), ("latin-1", False), (None, False), ("no such", False)],
)
def test_what_a_terminal_shows_is_asked_of_its_encoding(encoding, can):
    assert carries(encoding) is can


def test_typography_gives_way_to_its_nearest():
    text = "10 µs → 11 µs, −1 × 2 – “x”"
    assert plain(text, "utf-8") == text
    assert plain(text, "ascii") == r"10 us -> 11 us, -1 x 2 - \u201cx\u201d"
    assert plain("plain", None) == "plain"


@given(st.text(), st.sampled_from(["ascii", "latin-1", "cp437", "utf-16", None]))
def test_whatever_is_said_can_be_printed(text, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding or "ascii")
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        stream.write(plain(text, encoding))
        stream.flush()
