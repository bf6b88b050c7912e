"""Every formula that the code owes to a paper stands on the page of formulas, with that paper and that code."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "formulas.md").read_text(encoding="utf-8")
NAMED = re.findall(r"\| `((?:harness|results)[\w.]+)` \|$", PAGE, re.MULTILINE)
MODULES = sorted(
    path
    for pattern in ("results/*.py", "results/scenarios/*.py", "harness/*.py", "harness/measure/*.py")
    for path in ROOT.glob(pattern)
    if path.name != "open_loop.py"  # which cites a pattern of threads, and no formula
)
# A journal's volume, its number perhaps, and the year, as in ``JASA 63, 1968`` or ``74(366), 1979``.
_CITED = re.compile(r"[A-Z][A-Za-z]+ (\d+)(?:\(\d+\))?, (?:\d+-\d+, )?((?:19|20)\d\d)\b")


def _docstrings(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield " ".join((ast.get_docstring(node) or "").split())


@pytest.mark.parametrize("name", sorted(set(NAMED)))
def test_the_code_of_a_formula_exists(name):
    module, _, member = name.rpartition(".")
    assert hasattr(importlib.import_module(module), member)


def test_every_row_names_its_code():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| what |")]
    assert len(rows) == len(NAMED) > 35


def test_every_paper_that_the_code_cites_is_on_the_page():
    cited = {
        (volume, year): path.name
        for path in MODULES
        for text in _docstrings(path)
        for volume, year in _CITED.findall(text)
    }
    assert len(cited) > 12
    shown = set(_CITED.findall(re.sub(r"[*]", "", PAGE)))
    assert {key: name for key, name in cited.items() if key not in shown} == {}


@pytest.mark.parametrize("module", ["statistics", "comparison", "gate", "change_points", "resolution", "judged"])
def test_the_modules_that_judge_are_on_the_page(module):
    assert f"`results.{module}." in PAGE
