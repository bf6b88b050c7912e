"""OpenVINO through the harness against the vendor's own ``benchmark_app``: YOLO11n FP32, latency and throughput.

Both run the same IR on the CPU with float32 arithmetic, the same number of threads, batch 1, one input drawn alike,
each in fresh processes: a pair is one process of each, who goes first drawn by lot. Latency is the median of the
inference alone, copies left out (``benchmark_app -hint latency -api sync``; ``run`` + ``sync`` here). Throughput is
inferences per second at the number of requests that the runtime itself recommends (``-hint throughput``):
``benchmark_app`` infers over inputs set once, while the harness's streams also copy inputs in and outputs out. The
figure is the median of the paired ratios.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import side
from benchmarks.benchmark_app_side import Job
from benchmarks.estimate import paired_ratio
from benchmarks.figure import Figure, Limit, Measured
from harness.engine import usable_processors
from harness.errors import HarnessError
from harness.jobs import SessionSpec
from harness.vocabulary import Goal, Precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.runner import Bench

LATENCY_LIMIT, THROUGHPUT_LIMIT = Limit(0.97, 1.03), Limit(low=0.98)
_PAIRS = 16
_SECONDS = 3
_TIMEOUT_S = 120.0
_NOTE = (
    "throughput of the harness includes copies of inputs and outputs; benchmark_app sets inputs once, reads no output"
)


def measure(told: Callable[[str], None]) -> Measured:
    """Return the two ratios. Raises ``HarnessError`` where OpenVINO or the model is absent."""
    from benchmarks.preparation import prepared

    overrides = ["matrix.scenario=[latency]", "workloads.yolo11n.data.calibrate=null"]
    try:
        with prepared("yolo11", overrides, ["openvino"], told) as ready:
            ((_, bench),) = ready.cells("latency")
            figures = tuple(_figure(bench, goal, told) for goal in (Goal.LATENCY, Goal.THROUGHPUT))
    except HarnessError as error:
        raise HarnessError(f"not measured: {error.message}", error.hint) from error
    return Measured(figures, (_NOTE,))


def _figure(bench: Bench, goal: Goal, told: Callable[[str], None]) -> Figure:
    threads = usable_processors()
    ours_first = np.random.default_rng(0).random(_PAIRS) < 0.5
    pairs = []
    for index, first in enumerate(ours_first):
        sides = (_harness, _vendor) if first else (_vendor, _harness)
        values = {side: side(bench, goal, threads) for side in sides}
        pairs.append((values[_harness], values[_vendor]))
        unit = "ms" if goal is Goal.LATENCY else "inferences/s"
        told(f"{goal.value} {index + 1}/{_PAIRS}: harness {pairs[-1][0]:.2f}, benchmark_app {pairs[-1][1]:.2f} {unit}")
    ratio = paired_ratio(*np.asarray(pairs).T)
    limit = LATENCY_LIMIT if goal is Goal.LATENCY else THROUGHPUT_LIMIT
    return Figure(f"{goal.value} harness / benchmark_app", ratio.value, ratio.low, ratio.high, "", limit, ratio.samples)


def _harness(bench: Bench, goal: Goal, threads: int) -> float:
    """Return median milliseconds or inferences per second of the harness's own loops, in a process of their own."""
    session = SessionSpec("cpu", Precision.FP32, 1, threads, None, goal, strict=False)
    job = Job(bench.engine, bench.artifact, session, float(_SECONDS))
    return side.answered("benchmarks.benchmark_app_side", job, float, "the harness", _TIMEOUT_S)


def _vendor(bench: Bench, goal: Goal, threads: int) -> float:
    """Return the same of ``benchmark_app``, from the report that it writes."""
    with tempfile.TemporaryDirectory(prefix="benchmark-app-") as name:
        folder = Path(name)
        # It takes no -nthreads beside a hint, "a benchmark_app UI rule" by its own words: the file says the same.
        settings = {"CPU": {"INFERENCE_NUM_THREADS": threads, "EXECUTION_MODE_HINT": "ACCURACY"}}
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        arguments = vendor_arguments(bench.artifact.path, goal, folder)
        side.run("benchmark_app", arguments, folder, threads, _TIMEOUT_S)
        report = json.loads((folder / "benchmark_report.json").read_text(encoding="utf-8"))
    return reported(report, goal)


def vendor_arguments(model: Path, goal: Goal, folder: Path) -> list[str]:
    """Return how Python is to be called for ``benchmark_app``, without telemetry, as the engine imports OpenVINO.

    ``folder`` holds ``settings.json``, and the report is written there.
    """
    program = "import engines.openvino_module; from openvino.tools.benchmark.main import main; main()"
    api = "sync" if goal is Goal.LATENCY else "async"
    given = {"-m": str(model), "-d": "CPU", "-hint": goal.value, "-api": api, "-t": str(_SECONDS)}
    equal = {"-infer_precision": "f32", "-inference_only": "true", "-load_config": str(folder / "settings.json")}
    kept = {"-report_type": "no_counters", "-json_stats": "true", "-report_folder": str(folder)}
    return ["-c", program, *(word for pair in (given | equal | kept).items() for word in pair)]


def reported(report: dict[str, dict[str, str]], goal: Goal) -> float:
    """Return the figure of a ``benchmark_report.json``. Raises ``HarnessError`` where it has none."""
    key = "latency (ms)" if goal is Goal.LATENCY else "throughput"
    try:
        return float(report["execution_results"][key])
    except (KeyError, ValueError) as error:
        raise HarnessError(f"benchmark_app reports no {key!r}", "is it of another version of OpenVINO?") from error
