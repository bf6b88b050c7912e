"""The same rows give the same page and pictures: in any process, folder, time zone, or style of the user's charts."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reports.formats import png
from reports.view import build

# What a user may have told matplotlib for charts of their own.
OF_THE_USER = """
axes.grid.axis: x
axes.prop_cycle: cycler('color', ['r', 'g'])
axes.xmargin: 0.4
backend: pdf
figure.facecolor: red
font.family: serif
grid.linestyle: ":"
legend.fontsize: 30
lines.markersize: 20
lines.solid_capstyle: round
path.sketch: 1, 100, 2
savefig.bbox: tight
savefig.dpi: 30
text.usetex: True
xtick.labelsize: 30
"""
PROGRAM = """
import hashlib, importlib.util, sys
from reports.formats import png
from reports.view import build
spec = importlib.util.spec_from_file_location("makers", sys.argv[1])
makers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(makers)
rows = makers.varied()[:5]
view = build(makers.manifest(), rows, makers.standings(rows))
chart, workload = png.frontiers(view)[0]
for data in (makers.page(rows).encode(), png.picture(chart, view.rows, workload)):
    print(hashlib.sha256(data).hexdigest())
"""


def digests(make):
    rows = make.varied()[:5]
    view = build(make.manifest(), rows, make.standings(rows))
    chart, workload = png.frontiers(view)[0]
    made = (make.page(rows).encode(), png.picture(chart, view.rows, workload))
    return [hashlib.sha256(data).hexdigest() for data in made]


@pytest.mark.parametrize(
    "around",
    [
        {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
        {"PYTHONHASHSEED": "2", "MATPLOTLIBRC": "matplotlibrc", "COLUMNS": "40", "PYTHONUTF8": "0"},
    ],
    ids=["elsewhere", "styled"],
)
def test_a_page_and_a_picture_are_the_same_wherever_they_are_made(make, around, tmp_path):
    (tmp_path / "matplotlibrc").write_text(OF_THE_USER)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).with_name("conftest.py"))],
        cwd=tmp_path if "MATPLOTLIBRC" in around else None,
        env={**os.environ, **around},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == digests(make)
