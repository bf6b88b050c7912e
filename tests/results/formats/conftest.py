"""Runs and comparisons in small, with everything in them that a format must show, and some that it must not."""

from __future__ import annotations

from datetime import date

import pytest

from results.changes import STATUS, Allowance, Change, Comparison, Difference, Rules
from results.comparison import Verdict
from results.row import Interval
from results.snapshot import COMPLETED, FAILED, NOT_RUN, SKIPPED, CellState, Reading, Snapshot

HOSTILE = "<b>|`@everyone`|</b> #7 \x1b[31m\x00\u202e =1+1"
"""Names come from suites and messages from libraries: anything may be in them."""

HARDWARE = {"architecture": "x86_64", "cpu": {"name": "A Processor", "vendor": "Maker"}, "memory_gib": 16}
ENVIRONMENT = {
    "kernel": "6.1.0",
    "python": "CPython 3.11.2",
    "system": "Linux, Debian 12",
    "versions": {"onnxruntime": "1.31.0"},
    "revision": {"sha": "a" * 40, "dirty": True},
}


def cell(name, *readings, status=COMPLETED, why="", workload="yolo11n", engine="onnxruntime", **fields):
    """Return a cell by a word that its identity is made of."""
    scenario = fields.pop("scenario", "latency")
    state = {
        "cell_id": f"{name}-id".ljust(64, "0"),
        "key": f"{name}-key",
        "label": f"{workload}/{engine}/int8/cpu/b1/{name}",
        "workload": workload,
        "engine": engine,
        "precision": "int8",
        "device": "cpu",
        "scenario": scenario,
        "status": status,
        "why": why,
        "readings": readings,
        "planned": 5,
    }
    return CellState(**{**state, **fields})


def of_launches(quantity, *values, noisy=()):
    """Return a reading with a value per launch."""
    return Reading(quantity, tuple(map(float, values)), tuple(range(len(values))), noisy)


CELLS = (
    cell(
        "fast",
        of_launches("latency", 3.20e6, 3.21e6, 3.24e6, 3.19e6, 3.22e6, noisy=(2,)),
        of_launches("load", 1.2e9, 1.3e9, 1.25e9, 1.21e9, 1.22e9),
        of_launches("first", 9e6, 9.5e6, 9.1e6, 9.2e6, 9.3e6),
        Reading("p99", (4.1e6,), low=4.0e6, high=4.4e6),
        Reading("p99.9", (5.1e6,), low=4.9e6, high=6.4e6),
        findings=("noisy",),
    ),
    cell("streams", of_launches("throughput", 310.0, 312.0, 309.5), scenario="throughput"),
    cell("memory", of_launches("memory", 2**28, 2**28 + 4096), scenario="memory"),
    cell("accuracy", Reading("accuracy", (0.912,), name="top1"), scenario="accuracy"),
    cell("size", Reading("size", (6_400_000.0,)), scenario="prove"),
    cell("camera", Reading("misses", (0.0,), low=0.0, high=0.003), scenario="camera"),
    cell("server", of_launches("rate", 40.0, 42.0, 41.0), scenario="server"),
    cell("soak", of_launches("sustained", 0.0, 290.0), scenario="soak"),
    cell("one", of_launches("latency", 7e6), workload="lite0", engine="openvino"),
    cell("broken", status=FAILED, why=f"load, crash: /home/ann/secret/model.onnx {HOSTILE}"),
    cell("tensorrt", status=SKIPPED, why="no NVIDIA GPU here"),
    cell("late", status=NOT_RUN),
)


def snapshot(cells=CELLS, **fields):
    """Return a run of these cells."""
    state = {
        "run_id": "01JAFTER",
        "created_at": "2026-11-23T01:02:03.456789+00:00",
        "suite": "ci",
        "preset": "default",
        "hw_id": "0123456789ab",
        "env_id": "ba9876543210",
        "harness_version": "0.5.0",
        "hardware": HARDWARE,
        "environment": ENVIRONMENT,
        "cells": tuple(cells),
    }
    return Snapshot(**{**state, **fields})


def change(name, quantity, verdict, message="", *, workload="yolo11n", **fields):
    """Return a change of the cell that ``cell`` makes for the same word."""
    key = f"{name}-id".ljust(64, "0")  # what cells of runs made apart answer by
    known = {each.cell_id: each.label for each in CELLS}
    label = known.get(key, f"{workload}/onnxruntime/int8/cpu/b1/{name}")
    return Change(key, label, quantity, verdict, message, **{"gated": True, **fields})


ALLOWANCE = Allowance("*/accuracy", date(2026, 12, 1), reason="the new kernel is exact")
CHANGES = (
    change(
        "size", "size", Verdict.EQUIVALENT, "the same", before=6.4e6, after=6.4e6, effect=Interval(1.0, None, None, 1)
    ),
    change(
        *("streams", "throughput", Verdict.INCONCLUSIVE),
        "this machine cannot tell 3 % from none; about 24 launches would",
        before=312.0,
        after=310.5,
        effect=Interval(0.995, 0.95, 1.04, 3),
        adjusted_p=0.4,
        power=0.31,
        launches_needed=24,
        margin=0.03,
    ),
    change(
        *("fast", "latency", Verdict.REGRESSED),
        "latency +5.9 % [+4.1 %, +7.7 %]",
        before=3.03e6,
        after=3.212e6,
        effect=Interval(1.059, 1.041, 1.077, 5),
        adjusted_p=0.0004,
        power=0.97,
        margin=0.03,
        notes=("1 of 5 launches was noisy and left out",),
    ),
    change("fast", "p99", Verdict.REGRESSED, "p99 +20 %", gated=False, before=3.4e6, after=4.1e6),
    change(
        *("accuracy", "accuracy", Verdict.REGRESSED),
        "accuracy −0.8 points",
        before=0.92,
        after=0.912,
        effect=Interval(-0.008, -0.012, -0.004, 1),
        margin=0.005,
        allowance=ALLOWANCE,
    ),
    change("memory", "memory", Verdict.IMPROVED, "peak memory −6.0 %", before=2.85e8, after=2.68e8),
    change("broken", STATUS, Verdict.REGRESSED, f"it passed and fails now: {HOSTILE}"),
    change("one", STATUS, Verdict.EQUIVALENT, "it passed and passes"),
    change("gone", STATUS, Verdict.REGRESSED, "it is not there any more"),
)


def comparison(changes=CHANGES, **fields):
    """Return a comparison with one of every kind of change."""
    gone = cell("gone", of_launches("latency", 1e6, 1.1e6))
    state = {
        "before": snapshot((*CELLS, gone), run_id="01JBEFORE"),
        "after": snapshot(),
        "rules": Rules(),
        "changes": tuple(changes),
        "removed": (gone.label,),
        "causes": (Difference("versions.onnxruntime", "1.30.0", "1.31.0"), Difference("governor", None, "powersave")),
        "family": 2,
    }
    return Comparison(**{**state, **fields})


@pytest.fixture
def run():
    """A run alone."""
    return snapshot()


@pytest.fixture
def compared():
    """A comparison."""
    return comparison()


@pytest.fixture
def made():
    """The makers of both, for inputs of a test's own."""
    return Makers


class Makers:
    """What other inputs are made by."""

    cell = staticmethod(cell)
    of_launches = staticmethod(of_launches)
    snapshot = staticmethod(snapshot)
    change = staticmethod(change)
    comparison = staticmethod(comparison)
    hostile = HOSTILE
    allowance = ALLOWANCE
