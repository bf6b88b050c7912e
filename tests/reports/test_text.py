"""Text from outside is made showable, short, and inert."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.text import clamp, counted, inert_json, listed, showable

ANY_TEXT = st.text(st.characters(codec=None), max_size=200)


@given(ANY_TEXT)
def test_nothing_unshowable_is_left(text):
    shown = showable(text)
    shown.encode("utf-8")
    assert not {unicodedata.bidirectional(letter) for letter in shown} & {
        "RLO",
        "LRO",
        "RLE",
        "LRE",
        "RLI",
        "LRI",
        "PDF",
    }
    assert not any(unicodedata.category(letter) == "Cc" and letter not in "\n\t" for letter in shown)


@given(ANY_TEXT, st.integers(8, 80))
def test_a_clamped_text_is_one_short_line(text, limit):
    clamped = clamp(text, limit)
    assert len(clamped) <= limit
    assert "\n" not in clamped


def test_a_clamped_text_keeps_both_ends():
    assert clamp("engine " + "x" * 500 + " int8", 30).startswith("engine xxx")
    assert clamp("engine " + "x" * 500 + " int8", 30).endswith(" int8")


@given(
    st.recursive(ANY_TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner))
)
def test_inert_json_means_the_same_and_closes_nothing(value):
    text = inert_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == json.loads(json.dumps(value, ensure_ascii=False))
    assert not set("<>&\u202e\u2028") & set(text)
    text.encode("utf-8")


@pytest.mark.parametrize(("items", "text"), [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b and c")])
def test_listing(items, text):
    assert listed(items) == text


def test_counting():
    assert [counted(1, "row"), counted(1200, "row"), counted(2, "launch", "launches")] == [
        "1 row",
        "1,200 rows",
        "2 launches",
    ]
