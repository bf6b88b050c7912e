"""Folders of small runs to index."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from harness.vocabulary import Failed, Precision, Skipped, Stage

if TYPE_CHECKING:
    from pathlib import Path

CRASH = Failed(Stage.STEADY, "crash", "the worker ended by signal 11", "see its log")


@pytest.fixture(scope="session")
def recipes(factory):
    """Three variants: one whole with a noisy launch, one that failed, one that was skipped."""
    recipe = factory.Recipe
    return (
        recipe("lite0", "torch", Precision.FP32, launches=3, noisy_launches=(1,), scenarios=("latency", "memory")),
        recipe("lite0", "onnxruntime", Precision.FP32, launches=2, failure=CRASH, scenarios=("latency",)),
        recipe(
            "lite0", "openvino", Precision.INT8, skipped=Skipped("no int8 here", "buy some"), scenarios=("latency",)
        ),
    )


@pytest.fixture(scope="session")
def written_runs(factory, recipes, tmp_path_factory) -> Path:
    """A folder with two runs of the same cells: to be copied."""
    root = tmp_path_factory.mktemp("indexed") / "runs"
    for _ in range(2):
        factory.write_run(root, recipes)
    return root


@pytest.fixture
def root(written_runs, tmp_path) -> Path:
    """A folder of runs of the test's own."""
    return shutil.copytree(written_runs, tmp_path / "runs")
