"""Whatever is raised for a user says what to do next."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from harness import errors

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("engines", "harness/worker", "harness/measure", "harness/tasks", "harness/telemetry")
FILES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HarnessError)]
NAMES = {kind.__name__ for kind in KINDS}


def raised(tree):
    """Yield what is raised of ours in a module, with how many arguments it is given; ``*given`` counts as enough."""
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in NAMES:
            several = any(isinstance(each, ast.Starred) for each in call.args)
            yield node.lineno, 2 if several else len(call.args) + len(call.keywords)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_refusal_has_a_hint(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert [line for line, given in raised(tree) if given < 2] == []


def test_refusals_are_seen():
    assert sum(len(list(raised(ast.parse(file.read_text(encoding="utf-8"))))) for file in FILES) > 200


def test_one_without_a_hint_is_found():
    text = "raise Unsupported('no')\nraise Unsupported('no', 'do that')\nraise DataError(*given)\n"
    assert list(raised(ast.parse(text))) == [(1, 1), (2, 2), (3, 2)]
