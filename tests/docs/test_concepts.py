"""The words of the project: each explained once, and named as the code names it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest

from harness import vocabulary
from results.procurement import demand, offers, prices

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "concepts.md").read_text(encoding="utf-8")
GLOSSARY = PAGE.partition("## Glossary")[2]
ROWS = re.findall(r"^\| ([^|`]+) \| ([^|]+) \| ([^|]+) \|$", GLOSSARY, re.MULTILINE)
WORDS = [(word, name) for word, _, names in ROWS if word != "word" for name in re.findall(r"`([\w.]+)`", names)]


def _public(module):
    """Return the classes that a module defines, by name."""
    return {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def _exists(path):
    """Return whether a dotted path names a module's member, or a field of one."""
    parts = path.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            holder = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            fields = {field.name for field in dataclasses.fields(holder)} if dataclasses.is_dataclass(holder) else set()
            if not hasattr(holder, part) and part not in fields:
                return False
            holder = getattr(holder, part, None)
        return True
    return False


@pytest.mark.parametrize(("word", "name"), WORDS, ids=[f"{word}: {name}" for word, name in WORDS])
def test_the_code_has_what_a_word_is_said_to_be(word, name):
    assert _exists(name), word


def test_what_does_not_exist_is_found_out():
    assert not _exists("harness.vocabulary.Benchmark")
    assert not _exists("nowhere.at.all")
    assert _exists("results.row.Standing.best")


def test_each_word_is_explained_once_in_one_sentence():
    words = [word.lower() for word, _, _ in ROWS if word != "word"]
    assert len(words) == len(set(words)) > 60
    for word, meaning, _ in ROWS:
        if word != "word":
            assert meaning[0].isupper(), word
            assert meaning.endswith("."), word
            assert ". " not in meaning, word


@pytest.mark.parametrize("module", [vocabulary, demand, offers, prices], ids=lambda module: module.__name__)
def test_every_noun_of_the_vocabulary_is_in_the_glossary(module):
    named = {name.removeprefix(f"{module.__name__}.") for _, name in WORDS}
    # Parts of one of the others, without a meaning of their own.
    parts = {"Span", "Cost", "Excluded", "Match", "Price"}
    assert _public(module) - parts <= named


def test_the_words_that_mean_three_things_are_not_used():
    words = {word.lower() for word, _, _ in ROWS}
    assert words.isdisjoint({"benchmark", "result", "backend", "runner", "manager", "utils"})
