"""The two lines that a newcomer pastes, and the file that runs one of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness import suite

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(text):
    return [block.strip() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]


def test_the_first_line_installs_and_runs_the_quickstart():
    line = _blocks(README)[0]
    assert "\n" not in line
    assert line.startswith("python3 -m venv .venv && ")
    assert "-c constraints.txt -e '.[quickstart]'" in line
    assert line.endswith("harness run quickstart")


def test_the_test_line_stands_alone_between_its_markers():
    between = re.findall(r"<!-- test-command -->\n(.*?)<!-- /test-command -->", README, re.DOTALL)
    assert len(between) == 1
    assert len(_blocks(between[0])) == 1
    assert "\n" not in _blocks(between[0])[0]


def test_ci_runs_the_line_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    extract = re.search(r'readme_line="\$\((.*)\)"', script)[1]
    found = subprocess.run(["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert found == _blocks(re.search(r"<!-- test-command -->(.*?)<!--", README, re.DOTALL)[1])[0]


def test_both_lines_are_valid_shell():
    for line in _blocks(README):
        subprocess.run(["bash", "-n", "-c", line], check=True)


@pytest.mark.parametrize("name", ["docs/images/report-light.png"])
def test_the_picture_is_real_and_small(name):
    data = (ROOT / name).read_bytes()
    assert data.startswith(b"\x89PNG\r\n")
    assert len(data) <= 300_000


def test_the_quickstart_page_has_the_lines_of_the_readme():
    page = _blocks((ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8"))
    assert page == _blocks(README)[:2]


def test_the_suite_of_the_quickstart_page_is_one(tmp_path):
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    assert suite.load(tmp_path / "mine.yaml").workloads["mine"].task["name"] == "detect"
