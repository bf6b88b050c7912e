"""Synthetic runs on disk, written through the real store: every kind of row that a report must show.

``python tests/results/factory.py FOLDER`` writes one, for looking at.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from harness.measure.samples import STEADY, WARMUP, Samples
from harness.tasks.coco_map import match, mean_average_precision
from harness.tasks.task import Evaluation
from harness.vocabulary import (
    Accuracy,
    Agreement,
    Artifact,
    Cell,
    Completed,
    DeviceFacts,
    EngineFacts,
    Execution,
    Failed,
    Launch,
    Level,
    Memory,
    NoiseReading,
    Plan,
    PlannedCell,
    Precision,
    Record,
    SamplesRef,
    Scenario,
    Skipped,
    Slot,
    Stage,
    State,
    Support,
    TensorSpec,
    Timing,
    Unknowable,
)
from results.store import RunStore

HOSTILE = "<script>alert(1)</script>"
IMAGES, DETECT_IMAGES = 200, 24
MIB = 1 << 20
VERSIONS = {"torch": "2.13.0", "onnxruntime": "1.31.0", "openvino": "2026.4.0"}
SHAPES = {"lite0": (3, 224, 224), "yolo11n": (3, 320, 320), HOSTILE: (3, 32, 32)}


@dataclass(frozen=True)
class Recipe:
    """One variant: what is asked of it, and what the machine is to have answered."""

    workload: str
    engine: str
    precision: Precision
    median_ms: float = 10.0
    score: float | None = 0.8  # share of images that are right; None: accuracy not asked
    device: str = "cpu"
    batch: int = 1
    launches: int = 5
    threads: int | None = None
    level: Level = Level.NATIVE
    skipped: Skipped | None = None
    failure: Failed | None = None  # of every launch
    failing_launches: dict[int, Failed] = field(default_factory=dict)
    scenarios: tuple[str, ...] = ("latency", "throughput", "memory", "accuracy", "prove")
    ran_on: str = "cpu"
    ran_at: dict[str, float] | Unknowable | None = None  # MAC share by precision; None: as asked
    noisy_launches: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    level_shift: float = 1.0  # last third of the steady phase is slower by this factor
    inputs_count: int = 64

    def cell(self, scenario: str) -> Cell:
        return Cell(
            workload=self.workload,
            source_hash=hashlib.sha256(self.workload.encode()).hexdigest(),
            task={"name": "detect" if self.workload == "yolo11n" else "classify"},
            shape=SHAPES[self.workload],
            engine=self.engine,
            precision=self.precision,
            device=self.device,
            scenario=Scenario(scenario),
            batch=self.batch,
            threads=self.threads,
            streams={"latency": 1}.get(scenario),
            evaluation_hash="e" * 64,
            calibration_hash="c" * 64 if self.precision is Precision.INT8 else None,
        )


CRASH = Failed(Stage.STEADY, "crash", "the worker ended by signal 11", "see its log")
NONSENSE = Failed(
    Stage.VERIFY, "VerifyFailed", f"cosine 0.12 against the reference for output {HOSTILE}", "quantise fewer layers"
)
FP32, FP16, INT8 = Precision.FP32, Precision.FP16, Precision.INT8

RECIPES = (
    Recipe("lite0", "torch", FP32, 20.0, 0.80),
    Recipe("lite0", "onnxruntime", FP32, 14.0, 0.80),
    Recipe("lite0", "onnxruntime", INT8, 9.0, 0.62, notes=("quantised per tensor",)),
    Recipe("lite0", "openvino", FP32, 14.02, 0.80),
    Recipe("lite0", "openvino", INT8, 5.0, 0.80),
    Recipe("lite0", "openvino", FP16, 14.1, 0.80, level=Level.EMULATED, ran_at={"fp32": 1.0}),
    Recipe("lite0", "torch", INT8, skipped=Skipped("torch does not execute int8 on cpu", "use onnxruntime")),
    Recipe("yolo11n", "torch", FP32, 60.0, 0.45),
    Recipe("yolo11n", "onnxruntime", FP32, 45.0, 0.45, ran_at=Unknowable("the provider does not tell")),
    Recipe("yolo11n", "onnxruntime", INT8, failure=NONSENSE),
    Recipe("yolo11n", "openvino", FP32, 44.0, 0.45, device="gpu.0"),
    Recipe("yolo11n", "openvino", INT8, 21.0, 0.30, noisy_launches=(1, 3), failing_launches={2: CRASH}),
    Recipe("yolo11n", "onnxruntime", FP16, 70.0, 0.45, launches=2, level_shift=1.2),
    Recipe("yolo11n", "openvino", FP32, 300.0, None, batch=8, scenarios=("latency", "throughput", "prove")),
    Recipe(HOSTILE, "onnxruntime", FP32, 1.5, 0.5, notes=(f"note {HOSTILE}",), inputs_count=8),
)


def plan_of(recipes: tuple[Recipe, ...]) -> Plan:
    cells, order = [], []
    for recipe in recipes:
        for scenario in recipe.scenarios:
            cell, launches = recipe.cell(scenario), 1 if scenario in {"accuracy", "prove"} else recipe.launches
            percentiles = (50.0, 90.0, 99.0) if scenario == "latency" else ()
            cells.append(PlannedCell(cell, launches, 4.0, recipe.skipped, recipe.level, percentiles))
            if recipe.skipped is None:
                order += [Slot(cell.cell_id, index, index) for index in range(launches)]
    order.sort(key=lambda slot: slot.round)
    return Plan(suite="synthetic", preset="default", seed=7, cells=tuple(cells), order=tuple(order))


def manifest_of(recipes: tuple[Recipe, ...]) -> dict[str, object]:
    names = sorted({recipe.engine for recipe in recipes})
    every = {p.value: Support(Level.NATIVE) for p in Precision}
    return {
        "suite": {
            "version": 1,
            "preset": "default",
            "workloads": {
                recipe.workload: {
                    "data": None if recipe.workload == HOSTILE else {"files": "images", "evaluate": "0:200"},
                    "accuracy": {"target": 0.97},
                }
                for recipe in recipes
            },
            "gate": {},
        },
        "suite_text": f"version: 1\n# {HOSTILE}\n",
        "plan": plan_of(recipes),
        "host": {
            "hw_id": "hw-0123456789ab",
            "env_id": "env-0123456789ab",
            "hardware": {"cpu_model": "AMD EPYC", "cores": 2, "threads": 2, "ram_gib": 24, "isa": ["avx2", "fma"]},
            "environment": {"kernel": "6.18.44", "governor": "unavailable: no cpufreq", "versions": VERSIONS},
            "conditions": {"load_1min": 0.2},
        },
        "engines": {
            **{n: EngineFacts(n, VERSIONS[n], (DeviceFacts("cpu", "AMD EPYC", every),), VERSIONS) for n in names},
            "tensorrt": Skipped("tensorrt is not installed", "pip install tensorrt"),
        },
        "command": ["harness", "run", "synthetic.yaml"],
        "overhead": {"1": 330.0, "2": 2000.0},
        "harness_version": "0.1.0",
    }


def write_run(root: Path, recipes: tuple[Recipe, ...] = RECIPES) -> Path:
    """Write a whole run of the recipes under ``root`` and return its folder."""
    with RunStore.create(root, manifest_of(recipes)) as store:
        for number, recipe in enumerate(recipes):
            if recipe.skipped is not None:
                continue
            for scenario in recipe.scenarios:
                launches = 1 if scenario in {"accuracy", "prove"} else recipe.launches
                for index in range(launches):
                    noisy = scenario == "latency" and index in recipe.noisy_launches
                    for attempt in range(2 if noisy else 1):  # noise is retried once
                        launch = Launch(index=index, attempt=attempt, round=index, seed=7)
                        store.started(recipe.cell(scenario), launch)
                        store.finished(record_of(store, recipe, scenario, launch, seed=1000 * number + index))
        return store.folder


def record_of(store: RunStore, recipe: Recipe, scenario: str, launch: Launch, seed: int) -> Record:
    """Return the record of one launch, after writing the files that it refers to."""
    cell, rng = recipe.cell(scenario), np.random.default_rng(seed)
    base = Record(
        run_id=store.run_id,
        cell=cell,
        launch=launch,
        outcome=recipe.failure or Completed(),
        hw_id="hw-0123456789ab",
        env_id="env-0123456789ab",
        started_at="2026-01-02T03:04:05.678+00:00",
        duration_ns=4_000_000_000,
        cell_id=cell.cell_id,
        variant_id=cell.variant_id,
        versions={recipe.engine: VERSIONS[recipe.engine], "numpy": "2.4.6"},
        artifact=artifact_of(recipe),
        inputs_hash="i" * 64,
        inputs_count=recipe.inputs_count,
        log=f"logs/{cell.cell_id[:12]}-{launch.index}.log",
    )
    if recipe.failure is not None:
        return base
    if scenario == "latency" and launch.index in recipe.failing_launches:
        return replace(base, outcome=recipe.failing_launches[launch.index])
    if scenario in {"latency", "throughput"}:
        samples, timing = drive(recipe, rng, streams=1 if scenario == "latency" else 2)
        name = f"samples/{cell.cell_id[:12]}-{launch.index}-{launch.attempt}.npz"
        agreement = Agreement(0.9999 if recipe.precision is FP32 else 0.97, 0.02, 34.0, 8)
        return replace(
            base,
            samples=save(store.folder, name, samples),
            timing=timing,
            agreement=agreement,
            noise=noise_of(bad=scenario == "latency" and launch.index in recipe.noisy_launches),
        )
    if scenario == "memory":
        steps = (MIB * np.array([40, 120, 260, 270, 280]) + rng.integers(0, MIB, 5)).tolist()
        return replace(base, memory=Memory(*steps))
    if scenario == "prove":
        return replace(base, execution=execution_of(recipe))
    return replace(base, accuracy=accuracy_of(store.folder, recipe, cell))


def drive(recipe: Recipe, rng: np.random.Generator, streams: int) -> tuple[Samples, Timing]:
    """Return what a worker would have timed: slower while warming up, skewed, a little different in every launch."""
    warm, steady = 10, 120
    launch_factor = rng.normal(1.0, 0.01)
    columns: dict[str, list[np.ndarray]] = {}
    for stream in range(streams):
        factor = np.concatenate([np.linspace(2.0, 1.1, warm), np.ones(steady)])
        factor[warm + 2 * steady // 3 :] *= recipe.level_shift
        noise = rng.lognormal(0.0, 0.02, warm + steady) + rng.exponential(0.01, warm + steady)
        total = (1e6 * recipe.median_ms * launch_factor * factor * noise).astype(np.int64)
        end = np.cumsum(total)
        start = end - total
        parts = {
            "phase": np.repeat([WARMUP, STEADY], [warm, steady]),
            "stream": np.full(warm + steady, stream),
            "scheduled_ns": start,
            "start_ns": start,
            "bound_ns": start + total // 20,
            "synced_ns": end - total // 10,
            "end_ns": end,
        }
        for name, values in parts.items():
            columns.setdefault(name, []).append(values)
    samples = Samples(**{name: np.concatenate(parts) for name, parts in columns.items()})
    window = samples.steady()
    timing = Timing(
        import_ns=int(rng.normal(4e8, 1e7)),
        load_ns=int(rng.normal(2e8, 1e7)),
        first_ns=int(3e6 * recipe.median_ms),
        warmup_iterations=warm * streams,
        steady_iterations=steady * streams,
        steady_ns=int(window.end_ns.max() - window.start_ns.min()),
        streams=streams,
        stop_reason="max_iterations",
    )
    return samples, timing


def artifact_of(recipe: Recipe) -> Artifact:
    kind = {"torch": "torch-export", "onnxruntime": "onnx", "openvino": "openvino-ir"}[recipe.engine]
    name = f"{recipe.workload}-{kind}-{recipe.precision.value}-{recipe.batch}"
    size = (4 if recipe.precision is FP32 else 1) * 5 * MIB
    return Artifact(
        format=kind,
        precision=recipe.precision,
        path=Path("cache") / "model.bin",
        content_hash=hashlib.sha256(name.encode()).hexdigest(),
        size_bytes=size,
        inputs=(TensorSpec("images", "float32", (recipe.batch, *SHAPES[recipe.workload])),),
        exporter="onnx-openvino" if recipe.engine == "openvino" else "",
        versions={"onnx": "1.20.0"},
        route=("torch-export-onnx", "onnx-openvino") if recipe.engine == "openvino" else (),
        notes=recipe.notes,
        export_ns=3_000_000_000,
    )


def execution_of(recipe: Recipe) -> Execution:
    ran_at = {recipe.precision.value: 1.0} if recipe.ran_at is None else recipe.ran_at
    shared = isinstance(ran_at, Unknowable)
    return Execution(
        device=recipe.ran_on,
        nodes_by_device={recipe.ran_on: 310},
        macs_by_device={recipe.ran_on: 1.0},
        nodes_by_precision=ran_at if shared else {name: int(310 * share) for name, share in ran_at.items()},
        macs_by_precision=ran_at,
        threads=2,
        streams=1,
        inputs=artifact_of(recipe).inputs,
        flags={"fused nodes": "112"},
    )


def accuracy_of(folder: Path, recipe: Recipe, cell: Cell) -> Accuracy:
    """Return the accuracy over images of which the same ones are hard for every engine."""
    evaluation = _detections(recipe.score) if cell.task["name"] == "detect" else _classes(recipe.score)
    path = folder / f"samples/{cell.cell_id[:16]}-0-0.npz"
    with path.open("wb") as file:
        np.savez_compressed(file, **evaluation.per_image)
    ref = reference(folder, path, len(evaluation.per_image))
    images = DETECT_IMAGES if cell.task["name"] == "detect" else IMAGES
    return Accuracy(evaluation.metrics, evaluation.primary, images, ref, evaluation.notes)


def _classes(score: float) -> Evaluation:
    difficulty = np.random.default_rng(11).permutation(IMAGES)
    top1, top5 = difficulty < score * IMAGES, difficulty < (score + 0.15) * IMAGES
    facts = {"kind": np.array("classify"), "label": np.arange(IMAGES) % 10, "top1": top1, "top5": top5}
    return Evaluation({"top1": float(top1.mean()), "top5": float(top5.mean())}, "top1", facts)


def _detections(score: float) -> Evaluation:
    """One object an image, found by a box that is the worse the harder the image is."""
    rng = np.random.default_rng(12)
    labels, predictions = [], []
    for difficulty in rng.permutation(DETECT_IMAGES) / DETECT_IMAGES:
        left, top = rng.uniform(0, 200, 2)
        labels.append({"boxes": [[left, top, left + 100, top + 100]], "classes": [0], "crowd": [False]})
        shift = 100.0 if difficulty > score else 10.0 * difficulty
        box = [left + shift, top, left + 100 + shift, top + 100, 0.9 - 0.5 * difficulty, 0]
        predictions.append(np.array([box]))
    facts = match(predictions, labels)
    by_threshold = mean_average_precision(facts, np.ones((1, DETECT_IMAGES)))[0]
    return Evaluation({"map50_95": float(by_threshold.mean()), "map50": float(by_threshold[0])}, "map50_95", facts)


def noise_of(*, bad: bool) -> dict[str, NoiseReading]:
    wait = NoiseReading(State.BAD, 0.08, 0.02, "share") if bad else NoiseReading(State.OK, 0.004, 0.02, "share")
    return {
        "run_queue_wait": wait,
        "steal": NoiseReading(State.OK, 0.01, 0.05, "share"),
        "thermal_throttle": NoiseReading(State.UNAVAILABLE, detail="no thermal_throttle counters on this machine"),
    }


def save(folder: Path, name: str, samples: Samples) -> SamplesRef:
    path = folder / name
    samples.save(path)
    return reference(folder, path, len(samples))


def reference(folder: Path, path: Path, rows: int) -> SamplesRef:
    return SamplesRef(str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest(), rows)


if __name__ == "__main__":
    sys.stdout.write(f"{write_run(Path(sys.argv[1]))}\n")
