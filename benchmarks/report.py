"""How large a report is, how long it takes to make, and how long a browser takes to open and to filter a large one.

The page of 200 rows is made from rows as the records give them: ranked, viewed, drawn, rendered; every row has every
measure and a certificate, some have findings or failed. The large page has 10,000 such rows. Chromium, which has shown
another page before, opens it from disk in a fresh context each time. Times are the page's own, from the start of the
navigation: until its first text or picture is painted (``first-contentful-paint``); until it is interactive, which is
when all that is read stands there, its script has run and offers the filter, the frame after that is painted and the
page takes up what comes next; and, without a limit, until its last byte is loaded, which are the rows in full that only
a download and the facts of a single row need. Filtering goes from the choice in a facet, the first since the page was
opened, until the frame with the result was painted. Needs Playwright and Chromium.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figure import Figure, Limit, Measured
from benchmarks.simulated import LAUNCH_SPREAD
from harness.errors import HarnessError
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
    Stage,
    State,
    TensorSpec,
)
from results.certificate import Asked, Certificate, Contents, Executed, Loaded
from results.row import (
    AccuracyResult,
    Change,
    ColdStart,
    Latency,
    MemoryUse,
    Quantile,
    Row,
    Throughput,
)
from results.statistics import launch_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

SIZE, MAKING = Limit(high=3.0), Limit(high=10.0)
OPENING, FILTERING = Limit(high=200.0), Limit(high=200.0)
ROWS, LARGE, REPEATS = 200, 10_000, 7
_LAUNCHES, _SEED = 5, 20_261_201
_SCENARIOS = ("latency", "throughput", "memory", "accuracy", "prove")
_ENGINES = ("onnxruntime", "openvino", "torch", "litert", "tvm", "executorch", "ncnn", "mnn")
_MS, _MIB = 1e6, 2.0**20
_ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
_WATCH = """new PerformanceObserver(() => requestAnimationFrame(() => setTimeout(() => {
  window.interactiveAt ??= performance.now();
}))).observe({ type: "mark" });"""
_TOLD = f"window.interactiveAt > 0 && {_PAINTED} > 0 && {_LOADED} > 0"
_LONGEST_S, _LOOK_S = 30.0, 0.02
_FILTERED = """([name, value]) => new Promise((resolve) => {
  const select = document.querySelector(`select[name=${name}]`);
  const begin = performance.now();
  select.value = value;
  select.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begin)));
})"""


@dataclass
class _Browsed:
    """Milliseconds of each opening."""

    painted: list[float] = field(default_factory=list)
    interactive: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    filtered: list[float] = field(default_factory=list)


def measure(told: Callable[[str], None], rows: int = ROWS, large: int = LARGE, repeats: int = REPEATS) -> Measured:
    """Return size, seconds to make, and milliseconds to first paint, to use and to filter."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise HarnessError("Chromium is not installed", "install it: the package `chromium` of Debian")
    seconds, page = [], ""
    for repeat in range(repeats):
        told(f"page of {rows} rows, {repeat + 1} of {repeats}")
        made = simulated(rows)
        begin_s = time.perf_counter()
        page = rendered(made)
        seconds.append(time.perf_counter() - begin_s)
    told(f"page of {large} rows")
    with tempfile.TemporaryDirectory() as folder:
        first, path = Path(folder, "first.html"), Path(folder, "report.html")
        first.write_text(page, encoding="utf-8")
        path.write_text(rendered(simulated(large)), encoding="utf-8")
        browsed = _browsed(first, path, chromium, told, repeats)
        megabytes = path.stat().st_size / 1e6
    small = len(page.encode()) / 1e6
    figures = (
        Figure(f"size of a report of {rows:,} rows", small, None, None, "MB", SIZE, 1),
        _over(f"making a report of {rows:,} rows", seconds, "s", MAKING),
        _over(f"opening a report of {large:,} rows: first paint", browsed.painted, "ms", OPENING),
        _over(f"opening a report of {large:,} rows: interactive", browsed.interactive, "ms", OPENING),
        _over(f"opening a report of {large:,} rows: all of it loaded", browsed.loaded, "ms", Limit()),
        _over(f"filtering {large:,} rows", browsed.filtered, "ms", FILTERING),
    )
    return Measured(figures, (f"the page of {large:,} rows has {megabytes:.1f} MB",))


def _over(name: str, values: list[float], unit: str, limit: Limit) -> Figure:
    interval = launch_interval(values)
    return Figure(name, interval.estimate, interval.low, interval.high, unit, limit, len(values))


def rendered(rows: tuple[Row, ...]) -> str:
    """Return the page of rows, from their ranking on."""
    from reports.html import render  # they bring matplotlib
    from reports.view import build
    from results.rank import standings

    manifest = {"run_id": "simulated", "plan": {"suite": "simulated", "preset": "publish"}, "command": "simulated"}
    return render(build(manifest, rows, standings(rows), records=len(rows) * len(_SCENARIOS) * _LAUNCHES))


def _browsed(first: Path, path: Path, chromium: str, told: Callable[[str], None], repeats: int) -> _Browsed:
    """Open ``path`` anew ``repeats`` times, in a browser that has shown ``first``."""
    try:
        from playwright.sync_api import sync_playwright  # an extra of the project
    except ImportError as error:
        raise HarnessError("Playwright is not installed", "pip install playwright") from error
    found = _Browsed()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(_ARGUMENTS))
        for repeat, each in enumerate((first, *[path] * repeats)):
            told(f"browser, {repeat} of {repeats}" if repeat else "browser, begun")
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            page.add_init_script(_WATCH)
            page.goto(each.as_uri(), wait_until="load")
            _await(page)
            if repeat:
                found.painted.append(float(page.evaluate(_PAINTED)))
                found.interactive.append(float(page.evaluate("window.interactiveAt")))
                found.loaded.append(float(page.evaluate(_LOADED)))
                found.filtered.append(float(page.evaluate(_FILTERED, ["precision", "int8"])))
            context.close()
        browser.close()
    return found


def _await(page: Page) -> None:
    """Wait until the page's own clock has told everything: by looks from outside, since its policy forbids `eval`."""
    deadline = time.monotonic() + _LONGEST_S
    while not page.evaluate(_TOLD):
        if time.monotonic() > deadline:
            message = f"the page was not interactive within {_LONGEST_S:.0f} s"
            raise HarnessError(message, "open a report in Chromium and read what its console says")
        page.wait_for_timeout(1000 * _LOOK_S)


def simulated(count: int) -> tuple[Row, ...]:
    """Return rows of two workloads, told apart by engine, precision, batch and threads; always the same."""
    generator = np.random.default_rng(_SEED)
    return tuple(_rows(generator, count))


def _rows(generator: np.random.Generator, count: int) -> Iterator[Row]:
    precisions = (Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8)
    for index in range(count):
        place = index // 2
        cell = Cell(
            workload=("classifier", "detector")[index % 2],
            source_hash=_hash(f"source {index % 2}"),
            task={"name": "classify" if index % 2 == 0 else "detect"},
            shape=(3, 640, 640),
            engine=_ENGINES[place % len(_ENGINES)],
            precision=precisions[place // len(_ENGINES) % len(precisions)],
            device="cpu",
            scenario=Scenario("latency"),
            threads=1 + place // (len(_ENGINES) * len(precisions)),
        )
        bare = Row(
            variant_id=cell.variant_id,
            cell=cell,
            label=f"{cell.engine} {cell.precision} cpu b1 t{cell.threads}",
            outcomes=dict.fromkeys(_SCENARIOS, Completed()),
            cell_ids={name: replace(cell, scenario=Scenario(name)).cell_id for name in _SCENARIOS},
        )
        if index % 20 == 19:
            crash = Failed(Stage.LOAD, "crash", f"the worker ended by signal 11 at {index}", "see its log")
            yield replace(bare, outcomes=dict.fromkeys(_SCENARIOS, crash))
        else:
            yield replace(bare, **_measured(cell, index, generator))


def _measured(cell: Cell, index: int, generator: np.random.Generator) -> dict[str, Any]:
    level_ns = math.exp(generator.uniform(math.log(2.0), math.log(80.0))) * _MS
    medians = level_ns * np.exp(LAUNCH_SPREAD * generator.standard_normal(_LAUNCHES))
    accuracy = _accuracy(cell, generator)
    findings = []
    if accuracy.verdict == "fails":
        findings.append(Finding("accuracy", "misses 99 % of the accuracy of FP32", unranked=True))
    if index % 9 == 4:
        share = generator.uniform(0.05, 0.2)
        findings.append(Finding("noisy", f"2 of {_LAUNCHES} launches: run-queue wait {share:.1%}, limit 2 %"))
    tensors = (TensorSpec("images", "float32", (1, *cell.shape)),), (TensorSpec("output0", "float32", (1, 84, 8400)),)
    artifact = Artifact(
        "onnx",
        cell.precision,
        Path("model.onnx"),
        _hash(f"artifact {index}"),
        int(generator.uniform(3, 40) * _MIB),
        *tensors,
        route=("torch-export", "onnx"),
        versions={"onnx": "1.20.0", "torch": "2.13.0", "onnxslim": "0.1.80"},
        notes=("Detection head kept in float.",),
        export_ns=int(4e9),
    )
    execution = Execution(
        "cpu",
        {"cpu": 233},
        {"cpu": 1.0},
        {str(cell.precision): 180, "fp32": 53},
        {str(cell.precision): 0.97, "fp32": 0.03} if cell.precision is not Precision.FP32 else {"fp32": 1.0},
        cell.threads or 1,
        1,
        *tensors,
        operators={"Conv+Sigmoid+Mul": 57, "Concat": 14, "MatMul": 4, "Resize": 2, "Softmax": 3, "Transpose": 9},
        graph_nodes=320,
    )
    agreement = Agreement(0.99991, 0.012, 41.0, 8)
    versions = {cell.engine: "1.31.0", "numpy": "2.3.1", "python": "3.12.3"}
    return {
        "latency": _latency(medians, generator),
        "throughput": Throughput(launch_interval((1.6e9 / medians).tolist()), 2),
        "cold_start": ColdStart(*(launch_interval((base * medians / level_ns).tolist()) for base in (4e8, 2e8, 9e7))),
        "memory": MemoryUse(40 * _MIB, 120 * _MIB, 250 * _MIB, 262 * _MIB, 281.5 * _MIB, _LAUNCHES),
        "accuracy": accuracy,
        "agreement": agreement,
        "execution": execution,
        "artifact": artifact,
        "versions": versions,
        "noise": {
            "run_queue_wait": NoiseReading(State.OK, 0.0042, 0.02, "share"),
            "steal": NoiseReading(State.OK, 0.0001, 0.01, "share"),
            "thermal": NoiseReading(State.UNAVAILABLE, detail="no sensor"),
        },
        "findings": tuple(findings),
        "certificate": _certificate(cell, artifact, execution, agreement, versions),
    }


def _latency(medians_ns: np.ndarray, generator: np.random.Generator) -> Latency:
    middle = float(np.exp(np.mean(np.log(medians_ns))))
    reach = np.cumsum(generator.exponential(0.004, 60))
    tail = tuple((middle * (1 + float(step)), 0.93**place) for place, step in enumerate(reach))
    quantiles = tuple(
        Quantile(q, middle * factor, middle * factor * 0.99, middle * factor * 1.02, 900.0, need)
        for q, factor, need in ((0.5, 1.0, 6), (0.9, 1.05, 36), (0.95, 1.08, 72), (0.99, 1.2, 368))
    )
    whole, compute, bind, finish = (launch_interval((share * medians_ns).tolist()) for share in (1.0, 0.9, 0.02, 0.08))
    return Latency(
        host_to_host=whole,
        compute=compute,
        bind=bind,
        finish=finish,
        quantiles=quantiles,
        mean_ns=middle * 1.01,
        minimum_ns=middle * 0.95,
        maximum_ns=middle * 1.5,
        iqr_ns=middle * 0.03,
        iterations=1000,
        launch_medians_ns=tuple(medians_ns.tolist()),
        tail=tail,
        unsteady_launches=0,
        launch_indices=tuple(range(_LAUNCHES)),
    )


def _accuracy(cell: Cell, generator: np.random.Generator) -> AccuracyResult:
    metrics = {"map50_95": 0.392, "map50": 0.551}
    if cell.precision is Precision.FP32:
        return AccuracyResult(metrics, "map50_95", 500)
    change = -abs(float(generator.normal(0, 0.004)))
    low, high = change - 0.002, change + 0.002
    verdict = "passes" if low > -0.0039 else "fails" if high < -0.0039 else "undecided"
    found = Change(change, low, high, "bootstrap by image multiplicity, 1000 resamples", 500, "torch fp32 cpu b1")
    metrics = {name: value + change for name, value in metrics.items()}
    return AccuracyResult(metrics, "map50_95", 500, (), found, 0.99, verdict)


def _certificate(
    cell: Cell, artifact: Artifact, execution: Execution, agreement: Agreement, versions: dict[str, str]
) -> Certificate:
    boundary: dict[str, Any] = {"inputs": artifact.inputs, "outputs": artifact.outputs}
    kept = ("format", "precision", "content_hash", "size_bytes", "route", "versions", "notes")
    told = ("device", "nodes_by_device", "macs_by_device", "nodes_by_precision", "macs_by_precision")
    asked = ("workload", "source_hash", "task", "shape", "engine", "environment", "configuration", "options", "export")
    return Certificate(
        run_id="simulated",
        variant_id=cell.variant_id,
        hw_id=_hash("hardware"),
        env_id=_hash("environment"),
        asked=Asked(
            **{name: getattr(cell, name) for name in (*asked, "precision", "device", "batch", "threads")},
        ),
        versions=versions,
        artifacts=(Loaded(**{name: getattr(artifact, name) for name in kept}, **boundary),),
        executed=Executed(
            **{name: getattr(execution, name) for name in (*told, "threads", "streams")},
            **boundary,
        ),
        inputs=Contents(_hash("inputs"), 8),
        evaluation=Contents(_hash("evaluation"), 500),
        calibration=Contents(_hash("calibration"), 128) if cell.precision is Precision.INT8 else None,
        agreement=agreement,
        launches=Contents(_hash(cell.variant_id), len(_SCENARIOS) * _LAUNCHES),
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
