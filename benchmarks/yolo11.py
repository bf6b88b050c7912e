"""YOLO11n FP32 at 640 pixels: COCO mAP of every engine, and its agreement with torch on real images.

The suite yolo11, with all 128 images to evaluate on: each engine's accuracy launch as ``harness run`` makes it, by
COCO's protocol at confidence 0.001 and IoU 0.7. Agreement is max|a-b| / max|b| of the raw outputs, b being torch's, the
highest over the images. Neither figure has anything random in it: the same artifacts and images give the same value.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figure import Figure, Limit, Measured
from benchmarks.side import session_of
from harness import jobs, runner
from harness.artifacts import in_child
from harness.errors import HarnessError
from harness.measure.verify import Comparison
from harness.vocabulary import Completed, Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.preparation import Prepared
    from harness.runner import Bench
    from harness.vocabulary import Cell, Record

ACCURACY_LIMIT, AGREEMENT_LIMIT = Limit(0.44, 0.46), Limit(high=1e-3)
_IMAGES, _COMPARED_IMAGES = 128, 8
_REFERENCE = "torch"
_NOTE = (
    "with HARNESS_ASSETS the checkpoint is not the official yolo11n.pt: its weights were rounded to INT8 once, and "
    "these are not the official one's figures"
)


def measure(told: Callable[[str], None], engines: Sequence[str]) -> Measured:
    """Return mAP and agreement by engine. Raises ``HarnessError`` where the assets or an engine are absent."""
    from benchmarks.preparation import prepared

    chosen = sorted({*engines, _REFERENCE}) if engines else ()
    overrides = [
        "matrix.scenario=[accuracy]",
        f'workloads.yolo11n.data.evaluate="0:{_IMAGES}"',
        "workloads.yolo11n.data.calibrate=null",
    ]
    with prepared("yolo11", overrides, chosen, told) as ready:
        cells = ready.cells("accuracy")
        agreements = _agreements(cells, ready, told)
        figures = [_accuracy(record) for record in _records(ready, told)]
        return Measured((*figures, *agreements), (_NOTE, *ready.absent))


def _records(ready: Prepared, told: Callable[[str], None]) -> list[Record]:
    """Return the accuracy record of each engine, in order of name. Raises ``HarnessError`` where a launch failed."""
    from harness.cli import campaign as campaigns

    campaign, found = ready.campaign, []
    with (
        tempfile.TemporaryDirectory(prefix="yolo11-") as runs,
        campaigns.create(campaign, Path(runs), suite_text="", command="") as store,
    ):
        setting = campaigns.setting(campaign, store, ready.benches)
        for event in runner.run(campaigns.order_of(campaign, store), store, setting):
            if isinstance(event, runner.Started):
                told(event.cell.label)
            elif isinstance(event.record.outcome, Completed):
                found += [event.record] if event.record.accuracy else []
            else:
                raise HarnessError(f"{event.record.cell.label}: {event.record.outcome}")
    return sorted(found, key=lambda record: record.cell.engine)


def _accuracy(record: Record) -> Figure:
    accuracy = record.accuracy
    if accuracy is None or accuracy.images != _IMAGES:
        raise HarnessError(f"{record.cell.label}: {accuracy.images if accuracy else 0} images, not {_IMAGES}")
    name = f"{record.cell.engine} mAP50-95"
    return Figure(name, accuracy.metrics["map50_95"], None, None, "", ACCURACY_LIMIT, accuracy.images)


def _agreements(
    cells: Sequence[tuple[Cell, Bench]], ready: Prepared, told: Callable[[str], None]
) -> tuple[Figure, ...]:
    outputs = {}
    for cell, bench in cells:
        told(f"{cell.engine}: outputs of {_COMPARED_IMAGES} images")
        outputs[cell.engine] = _outputs(cell, bench, ready)
    if _REFERENCE not in outputs:
        raise HarnessError(f"{_REFERENCE}, which the others are compared with, is not to be had", "pip install torch")
    reference = outputs.pop(_REFERENCE)
    return tuple(_agreement(engine, found, reference) for engine, found in outputs.items())


def _agreement(
    engine: str, found: Mapping[int, dict[str, np.ndarray]], reference: Mapping[int, dict[str, np.ndarray]]
) -> Figure:
    comparison = Comparison()
    for index, wanted in reference.items():
        comparison.add(found[index], wanted)
    agreement = comparison.agreement()
    name = f"{engine} against {_REFERENCE}"
    return Figure(name, agreement.max_relative, None, None, "", AGREEMENT_LIMIT, agreement.inputs)


def _outputs(cell: Cell, bench: Bench, ready: Prepared) -> dict[int, dict[str, np.ndarray]]:
    """Return an engine's raw outputs by image and name, made in a process of its own."""
    workshop = ready.campaign.workshop
    workshop.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workshop.scratch) as folder:
        destination = Path(folder) / "outputs.npz"
        job = jobs.ReferenceJob(
            bench.engine, bench.artifact, session_of(cell), bench.inputs, _COMPARED_IMAGES, destination
        )
        answer = in_child("reference", job, jobs.TextAnswer, workshop, cell.engine)
        if not isinstance(answer, jobs.TextAnswer):
            reason = answer.message if isinstance(answer, Failed) else answer.reason
            raise HarnessError(f"{cell.engine}: {reason}", answer.hint)
        found: dict[int, dict[str, np.ndarray]] = {}
        with np.load(destination) as archive:
            for key in archive.files:
                index, _, name = key.partition("/")
                found.setdefault(int(index), {})[name] = archive[key]
        return found
