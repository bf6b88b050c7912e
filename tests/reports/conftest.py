"""Rows by hand: every kind that a page must show, without a run on disk."""

from __future__ import annotations

import hashlib
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.vocabulary import (
    Agreement,
    Artifact,
    Cell,
    Completed,
    Execution,
    Failed,
    Finding,
    NoiseReading,
    Precision,
    Scenario,
    Skipped,
    Stage,
    State,
    Unknowable,
)
from reports.html import render
from reports.model import RowName
from reports.view import build, of_runs
from results.merged import merged
from results.row import (
    AccuracyResult,
    Change,
    ColdStart,
    Interval,
    Latency,
    MemoryUse,
    Quantile,
    Row,
    Standing,
    Throughput,
)
from results.sources import Source

MS, MIB = 1e6, 2.0**20
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"'><b>&amp;",
    "a\u202egnp.exe\u2066x",
    "$\\frac{1}{2}$ {{ 7*7 }} ${x}",
    "nul\x00esc\x1b[31m\ud800\ufffe",
    "x" * 10_000,
)
SCENARIOS = ("latency", "throughput", "memory", "accuracy", "prove")


def interval(estimate, spread=0.01, launches=5):
    if launches < 2:
        return Interval(estimate, None, None, launches)
    return Interval(estimate, estimate * (1 - spread), estimate * (1 + spread), launches)


def latency(median_ms, launches=5, iterations=1000):
    median = median_ms * MS
    quantiles = tuple(
        Quantile(q, median * factor, median * factor * 0.99, median * factor * 1.02, iterations / 2, need)
        if iterations / 2 >= need
        else Quantile(q, None, None, None, iterations / 2, need)
        for q, factor, need in ((0.5, 1.0, 6), (0.9, 1.05, 36), (0.99, 1.2, 368))
    )
    tail = tuple((median * (1 + 0.02 * step), math.exp(-step)) for step in range(8))
    return Latency(
        host_to_host=interval(median, launches=launches),
        compute=interval(median * 0.9, launches=launches),
        bind=interval(median * 0.02, launches=launches),
        finish=interval(median * 0.08, launches=launches),
        quantiles=quantiles,
        mean_ns=median * 1.01,
        minimum_ns=median * 0.95,
        maximum_ns=median * 1.5,
        iqr_ns=median * 0.03,
        iterations=iterations,
        launch_medians_ns=(median,) * launches,
        tail=tail,
        unsteady_launches=0,
    )


def accuracy(metric=0.8, change=None, verdict="reference"):
    found = Change(*change, "paired score interval (Tango)", 200, "torch fp32 cpu b1") if change else None
    return AccuracyResult({"top1": metric, "top5": 0.95}, "top1", 200, (), found, 0.99, verdict)


def row(workload="lite0", engine="torch", precision=Precision.FP32, median_ms=20.0, **changes):
    """Return a completed row; ``median_ms`` None leaves every measurement out."""
    cell = Cell(
        workload=workload,
        source_hash=hashlib.sha256(workload.encode("utf-8", "surrogatepass")).hexdigest(),
        task={"name": "classify"},
        shape=(3, 224, 224),
        engine=engine,
        precision=precision,
        device=changes.pop("device", "cpu"),
        scenario=Scenario("latency"),
        batch=changes.pop("batch", 1),
        threads=changes.pop("threads", None),
    )
    launches = changes.pop("launches", 5)
    bare = Row(
        variant_id=cell.variant_id,
        cell=cell,
        label=f"{engine} {precision} {cell.device} b{cell.batch}",
        outcomes=dict.fromkeys(SCENARIOS, Completed()),
        cell_ids={name: replace(cell, scenario=Scenario(name)).cell_id for name in SCENARIOS},
    )
    if median_ms is None:
        return replace(bare, **changes)
    measured = {
        "latency": latency(median_ms, launches, 1000 if launches >= 5 else 60),
        "throughput": Throughput(interval(1500 / median_ms, launches=launches), 2),
        "cold_start": ColdStart(interval(400 * MS), interval(200 * MS), interval(3 * median_ms * MS)),
        "memory": MemoryUse(40 * MIB, 120 * MIB, 250 * MIB, 260 * MIB, 280 * MIB, launches),
        "accuracy": accuracy() if precision is Precision.FP32 else accuracy(0.8, (0.0, -0.004, 0.004), "passes"),
        "agreement": Agreement(0.99991, 0.01, 40.0, 8),
        "execution": Execution(cell.device, {"cpu": 310}, {"cpu": 1.0}, {}, {str(precision): 1.0}, 2, 1),
        "artifact": Artifact(
            {"torch": "torch-export", "openvino": "openvino-ir"}.get(engine, "onnx"),
            precision,
            Path("cache/model"),
            "a" * 64,
            int(20 * MIB),
            route=("torch-export-onnx",),
            versions={"onnx": "1.20"},
        ),
        "versions": {engine: "1.2.3"},
        "noise": {
            "run_queue_wait": NoiseReading(State.OK, 0.004, 0.02, "share"),
            "thermal": NoiseReading(State.UNAVAILABLE, detail="none"),
        },
    }
    return replace(bare, **{**measured, **changes})


def standing(rows, workload="lite0", ties=1):
    """Return the standing that the fields of the rows imply: ranked by latency, the first ``ties`` not told apart."""
    mine = [item for item in rows if item.cell.workload == workload]
    ranked = sorted((item for item in mine if item.ranked), key=lambda item: item.latency.host_to_host.estimate)
    ids = tuple(item.variant_id for item in ranked)
    fastest = ranked[0].latency.host_to_host.estimate if ranked else 1.0
    screening = bool(ranked) and all(item.latency.host_to_host.launches < 5 for item in ranked)
    return Standing(
        workload=workload,
        best=ids[:ties],
        rest=ids[ties:],
        frontier=ids[:1],
        excluded=tuple(item.variant_id for item in mine if item.variant_id not in ids),
        screening=screening,
        ratio_to_best={item.variant_id: interval(item.latency.host_to_host.estimate / fastest) for item in ranked},
    )


def standings(rows, ties=1):
    return tuple(standing(rows, workload, ties) for workload in dict.fromkeys(item.cell.workload for item in rows))


def varied():
    """Return rows of every kind, two workloads."""
    int8 = Precision.INT8
    noisy = {"run_queue_wait": NoiseReading(State.BAD, 0.08, 0.02, "share")}
    segfault = Failed(Stage.STEADY, "crash", "the worker ended by signal 11 (segmentation fault)", "see its log")
    timeout = Failed(Stage.LOAD, "timeout", "loading took longer than 600 s", "raise the limit with timeout:")
    export = Failed(Stage.EXPORT, "ExportFailed", "operator aten::grid_sampler has no ONNX form", "use opset 20")
    absent = Skipped("tensorrt is not installed", "pip install tensorrt")
    mixed = {**dict.fromkeys(SCENARIOS, Completed()), "accuracy": timeout}
    return (
        row(engine="torch", median_ms=20.0),
        row(engine="onnxruntime", median_ms=14.0, outcomes=mixed),
        row(engine="openvino", median_ms=14.1),
        row(
            engine="openvino",
            precision=int8,
            median_ms=5.0,
            accuracy=accuracy(0.79, (-0.012, -0.031, 0.006), "undecided"),
            findings=(Finding("accuracy-undecided", "−1.2 points on 200 images do not settle it"),),
        ),
        row(
            engine="onnxruntime",
            precision=int8,
            median_ms=4.0,
            accuracy=accuracy(0.62, (-0.18, -0.24, -0.13), "fails"),
            findings=(Finding("accuracy", "−18.0 points: misses 99 %", unranked=True),),
        ),
        row(
            engine="openvino",
            precision=Precision.FP16,
            median_ms=14.2,
            execution=Execution("cpu", {"cpu": 9}, {"cpu": 1.0}, {}, {"fp32": 0.98, "fp16": 0.02}, 2, 1),
            findings=(Finding("other-precision", "ran fp32: 2 % of the MACs ran at fp16", unranked=True),),
        ),
        row(engine="torch", precision=int8, median_ms=None, outcomes=dict.fromkeys(SCENARIOS, segfault)),
        row(engine="tensorrt", median_ms=None, outcomes=dict.fromkeys(SCENARIOS, absent)),
        row(engine="tensorrt", precision=int8, median_ms=None, outcomes=dict.fromkeys(SCENARIOS, absent)),
        row("yolo", engine="torch", median_ms=60.0),
        row("yolo", engine="onnxruntime", median_ms=45.0, noise=noisy, findings=(Finding("noisy", "2 of 5 noisy"),)),
        row(
            "yolo",
            engine="openvino",
            median_ms=44.0,
            device="gpu.0",
            execution=Execution("cpu", {"cpu": 310}, {"cpu": 1.0}, {}, Unknowable("it does not tell"), 2, 1),
            findings=(Finding("fell-back", "fell back to cpu", unranked=True),),
        ),
        row("yolo", engine="openvino", precision=int8, median_ms=None, outcomes=dict.fromkeys(SCENARIOS, export)),
    )


def manifest(**changes):
    return {
        "schema": 1,
        "run_id": "01JABCDEF",
        "created_at": "2026-02-03T04:05:06.789+00:00",
        "suite": {},
        "suite_text": "version: 1\n",
        "plan": {"suite": "quickstart", "preset": "default", "seed": 7},
        "host": {
            "hw_id": "hw0123",
            "env_id": "env0123",
            "hardware": {
                "cpu": {"vendor": "AuthenticAMD", "name": "AMD EPYC"},
                "topology": {"cores": 2},
                "memory_gib": 24,
                "accelerators": [{"name": "NVIDIA L4", "memory_gib": 24}],
            },
            "environment": {"kernel": "6.1", "memory_limit_bytes": 2**31},
            "conditions": {"load_average": [0.1, 0.2, 0.3]},
        },
        "engines": {
            "torch": {"name": "torch", "version": "2.13", "versions": {"numpy": "2"}},
            "tensorrt": {"is": "Skipped", "reason": "not installed", "hint": "pip install tensorrt"},
        },
        "command": "harness run quickstart",
        "overhead": {"1": 330.0},
        "harness_version": "0.1.0",
        **changes,
    }


def page(rows, made=None, ties=1, **options):
    return render(build(made or manifest(), rows, standings(rows, ties), **options))


def source(rows, suite="quickstart", run_id="01A", **changes):
    """Return a run of ``rows``."""
    known = {
        "run_id": run_id,
        "created_at": "2026-02-03T04:05:06+00:00",
        "suite": suite,
        "hw_id": "aaaaaaaaaaaa",
        "env_id": "e",
        "machine": "AMD EPYC, 2 cores",
        "manifest": manifest(plan={"suite": suite, "preset": "default", "seed": 7}, run_id=run_id),
        "rows": tuple(rows),
        "records": 9,
        "folder": Path("runs") / run_id,
    }
    return Source(**{**known, **changes})


def recommended(offered, rows):
    """Return a recommendation about ``varied`` rows with everything that there can be in one."""
    best, other, misled, failed = (rows[place].variant_id for place in (3, 2, 5, 6))
    return offered.recommendation(
        offered.offer(best, spares=1),
        offered.offer(other, cost=offered.cost(2000.0, "Other box"), capacity=offered.capacity(at_least=True)),
        excluded=(
            offered.excluded(failed, trust="latency failed at steady: signal 11"),
            offered.excluded(misled, trust="ran fp32", slo="no rate met it"),
        ),
        relaxations=(offered.relaxation(misled),),
        sensitivities=(
            offered.sensitivity(),
            offered.sensitivity(other, holds=False, of="load", words="stays the choice up to 300 per second"),
        ),
    )


def answered(offered):
    """Return the view of a run that begins with what to buy, as ``harness report`` makes it."""
    rows = varied()
    return of_runs(merged([source(rows)]), None, [recommended(offered, rows)])


def many(count=200):
    """Return ``count`` measured rows of two workloads, told apart by threads."""
    engines = ("torch", "onnxruntime", "openvino", "litert", "tvm")
    precisions = tuple(Precision)
    return tuple(
        row(
            ("lite0", "yolo")[index % 2],
            engine=engines[index // 2 % 5],
            precision=precisions[index // 10 % 4],
            threads=1 + index // 40,
            median_ms=5.0 + 1.7 * (index * 7919 % count),
        )
        for index in range(count)
    )


def hostile_rows():
    """Return rows in which every text that comes from outside is hostile."""
    rows = []
    for index, text in enumerate(HOSTILE):
        failed = Failed(Stage.LOAD, text, text, text)
        findings = (Finding(text, text, unranked=bool(index % 2)),)
        rows.append(row(text, engine=text, median_ms=10.0 + index, device=text, findings=findings, label=text))
        rows.append(row(text, engine=f"b{text}", median_ms=12.0, versions={text: text}, label=text))
        rows.append(row(text, engine=f"c{text}", median_ms=None, outcomes={text: failed}, label=text))
    return tuple(rows)


def hostile_manifest():
    worst = "".join(HOSTILE[:-1])
    host = {"hw_id": worst, "env_id": worst, "hardware": {"cpu": {"name": worst}, worst: [worst]}, "conditions": {}}
    return manifest(
        suite_text=worst,
        command=worst,
        run_id=worst,
        harness_version=worst,
        plan={"suite": worst, "preset": worst},
        host=host,
        engines={worst: {"version": worst, "versions": {worst: worst}}, f"x{worst}": worst},
        overhead={worst: worst},
    )


def with_findings(item, *findings):
    return replace(item, findings=findings)


def named_row(variant_id):
    """Return the name of a row with an id of any kind."""
    return RowName(0, variant_id, "w", "label", "torch", "fp32", "cpu", 0, "circle", "completed")


@pytest.fixture(scope="session")
def make():
    """The makers above, for tests that cannot import a conftest."""
    makers = (
        row,
        with_findings,
        named_row,
        accuracy,
        interval,
        latency,
        standing,
        standings,
        varied,
        manifest,
        page,
        many,
        source,
        answered,
    )
    named = {maker.__name__: maker for maker in (*makers, hostile_rows, hostile_manifest)}
    return SimpleNamespace(**named, HOSTILE=HOSTILE, SCENARIOS=SCENARIOS, INT8=Precision.INT8)


@pytest.fixture(scope="session")
def varied_page(make):
    """The page of every kind of row."""
    rows = make.varied()
    logs = {cell_id: f"logs/{cell_id[:12]}-0.log" for item in rows for cell_id in item.cell_ids.values()}
    return make.page(rows, records=321, logs=logs)


_CHROMIUM = shutil.which("chromium")
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser():
    """Chromium, or the reason why there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if _CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=_CHROMIUM, args=list(_ARGUMENTS))
        yield found
        found.close()


@pytest.fixture
def visit(browser):
    """Open a file, and at the end insist that it said nothing to the console and fetched nothing but itself."""
    contexts, complaints = [], []

    def open_page(path, fragment="", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        own = (path.as_uri(), "blob:null/")
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(own) or complaints.append(request.url))
        page.goto(path.as_uri() + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
