"""OpenVINO through the harness against the vendor's own ``benchmark_app``: YOLO11n FP32, latency and throughput.

Both run the same IR on the CPU with float32 arithmetic, the same number of threads, batch 1, one input drawn alike. A
pair is a fresh process of each; the two take turns of half a second, stopped while the other runs, so that a slow
spell of the machine meets both alike; who goes first is drawn by lot. Latency is the median of the inference alone,
copies left out (``benchmark_app -hint latency -api sync``; ``run`` + ``sync`` here): an inference that a turn's end
interrupts is slow on both sides. Throughput is inferences per second of wall clock, others' turns included, at the
number of requests that the runtime itself recommends (``-hint throughput``): ``benchmark_app`` infers over inputs set
once, while the harness's streams also copy inputs in and outputs out. The figure is the median of the paired ratios.
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
from benchmarks.turns import Program, taken
from harness.engine import usable_processors
from harness.errors import HarnessError
from harness.jobs import SessionSpec
from harness.vocabulary import Goal, Precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.runner import Bench

LATENCY_LIMIT, THROUGHPUT_LIMIT = Limit(0.97, 1.03), Limit(low=0.98)
_PAIRS = {Goal.LATENCY: 20, Goal.THROUGHPUT: 40}
_TURN_S = 0.5
# Of both sides together, whole rounds of turns. Throughput counts only some 15 inferences a second.
_SECONDS = {Goal.LATENCY: 12, Goal.THROUGHPUT: 24}
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
    threads, count = usable_processors(), _PAIRS[goal]
    unit = "ms" if goal is Goal.LATENCY else "inferences/s"
    pairs = []
    for index, first in enumerate(np.random.default_rng(0).random(count) < 0.5):
        ours, theirs = _pair(bench, goal, threads, ours_first=bool(first))
        pairs.append((ours, theirs))
        told(f"{goal.value} {index + 1}/{count}: harness {ours:.2f}, benchmark_app {theirs:.2f} {unit}")
    ratio = paired_ratio(*np.asarray(pairs).T)
    limit = LATENCY_LIMIT if goal is Goal.LATENCY else THROUGHPUT_LIMIT
    return Figure(f"{goal.value} harness / benchmark_app", ratio.value, ratio.low, ratio.high, "", limit, ratio.samples)


def _pair(bench: Bench, goal: Goal, threads: int, *, ours_first: bool) -> tuple[float, float]:
    """Return median milliseconds, or inferences per second, of the harness's own loops and of ``benchmark_app``."""
    with tempfile.TemporaryDirectory(prefix="pair-") as name:
        ours, theirs = (Path(name, side) for side in ("harness", "benchmark_app"))
        ours.mkdir()
        theirs.mkdir()
        session = SessionSpec("cpu", Precision.FP32, 1, threads, None, goal, strict=False)
        job = Job(bench.engine, bench.artifact, session, float(_SECONDS[goal]))
        programs = [
            Program("the harness", side.asked("benchmarks.benchmark_app_side", job, ours), ours, threads),
            Program("benchmark_app", vendor_arguments(bench.artifact.path, goal, theirs, threads), theirs, threads),
        ]
        taken(programs if ours_first else programs[::-1], _TURN_S, _TIMEOUT_S)
        report = json.loads((theirs / "benchmark_report.json").read_text(encoding="utf-8"))
        return side.answer(float, ours), reported(report, goal)


def vendor_arguments(model: Path, goal: Goal, folder: Path, threads: int) -> list[str]:
    """Return how Python is to be called for ``benchmark_app``, without telemetry, as the engine imports OpenVINO.

    Its settings are left in ``folder``, and it writes its report there.
    """
    # It takes no -nthreads beside a hint, "a benchmark_app UI rule" by its own words: the file says the same.
    settings = {"CPU": {"INFERENCE_NUM_THREADS": threads, "EXECUTION_MODE_HINT": "ACCURACY"}}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    program = "import engines.openvino_module; from openvino.tools.benchmark.main import main; main()"
    api = "sync" if goal is Goal.LATENCY else "async"
    given = {"-m": str(model), "-d": "CPU", "-hint": goal.value, "-api": api, "-t": str(_SECONDS[goal])}
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
