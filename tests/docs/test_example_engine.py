"""The engine that CONTRIBUTING shows: whole, and conformant."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "onnxreference"


@pytest.mark.engine
def test_the_example_conforms(tmp_path):
    pytest.importorskip("onnx")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE)}
    done = subprocess.run(
        [*command, EXAMPLE / "tests"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\d{2} passed", done.stdout), done.stdout[-400:]


def test_contributing_shows_the_example_as_it_is():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sources = [
        file.read_text(encoding="utf-8") for file in sorted(EXAMPLE.rglob("*")) if file.suffix in {".py", ".toml"}
    ]
    lines = {re.split(r"  # noqa", line.strip())[0] for source in sources for line in source.splitlines()}
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    for line in (line for block in blocks for line in block.splitlines()):
        assert line.strip().removesuffix(" ...") in lines, line
    named = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"pip install {named['name']}" in "".join(sources)
