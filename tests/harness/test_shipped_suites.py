"""The suites that ship: each loads where its files are, and plans what it says."""

import json
from collections import Counter
from dataclasses import fields
from typing import Any, ClassVar

import pytest

from harness import registry, suite
from harness.errors import SuiteError
from harness.plan import Capability, WorkloadFacts, expand
from harness.scenarios import KINDS
from harness.vocabulary import DeviceFacts, EngineFacts, Level, Precision, Source, Support

NATIVE = {precision.value: Support(Level.NATIVE) for precision in Precision}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a shipped suite in a folder where every file that it may name is there."""
    for name in ("models/yolo11n-int8rounded.pt", "coco128-val/data.yaml", "imagenet-250/7_n01440764.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return lambda name, *overrides: suite.load(suite.find(name), overrides, {"HARNESS_ASSETS": str(tmp_path)})


def planned(loaded):
    """Return the cells of a suite on a machine where every engine runs every precision, and nothing is missing."""

    def facts(name, workload):
        source = Source(workload.source.kind, name, f"hash of {name}")
        return WorkloadFacts(source, workload.task, workload.input, "ev", 64, labelled=True)

    def engine(name):
        device = DeviceFacts("cpu", "cpu", NATIVE)
        return Capability(EngineFacts(name, "1.0", (device,)), ("anything",), registry.engine(target(name)).options)

    class Route:
        calibrated = False
        exporters = tuple(
            exporter for named in loaded.configurations.values() for one in named.values() for exporter in one.export
        )
        defaults: ClassVar[dict[str, Any]] = {name: exporter(name).defaults for name in exporters}

    workloads = {name: facts(name, workload) for name, workload in loaded.workloads.items()}
    engines = {name: engine(name) for name in {*loaded.matrix.engine, *loaded.options, *loaded.configurations}}
    cells = expand(loaded, workloads, engines, lambda *_: Route()).cells
    return [entry for entry in cells if entry.cell.scenario.name != "sentinel"]


def exporter(name):
    return registry.exporter(registry.named(registry.EXPORTERS_GROUP, name).target)


def target(name):
    return registry.registered(registry.ENGINES_GROUP)[name].target


@pytest.mark.parametrize("name", suite.shipped())
def test_a_shipped_suite_loads_round_trips_and_plans(load, name):
    loaded = load(name)
    assert loaded.name == name
    assert loaded.description
    assert suite.Suite.model_validate(json.loads(json.dumps(loaded.resolved()))) == loaded
    assert [cell for cell in planned(loaded) if cell.skipped is None]


def test_driving_is_one_camera_under_its_deadline(load):
    loaded = load("driving")
    kind, said = loaded.scenario("camera")
    camera = kind.configured(said)
    assert (camera.cameras, camera.fps, camera.deadline_ms, camera.decode) == (1, 30.0, 33.0, False)
    frames = camera.fps * camera.seconds
    assert 5 * frames >= 3688, "five launches carry p99.9"
    assert 10 * frames >= 6636, "ten launches are what MLPerf Automotive asks for"
    cells = [cell.cell for cell in planned(loaded)]
    assert {cell.scenario.name for cell in cells} == {"latency", "end_to_end", "camera", "accuracy", "prove"}
    assert {cell.streams for cell in cells} == {None}


def test_inspection_is_eight_cameras_in_two_phases_a_sweep_and_an_slo(load):
    loaded = load("inspection", "matrix.engine=onnxruntime", "matrix.precision=fp32")
    cells = [entry.cell for entry in planned(loaded) if entry.skipped is None]
    kinds = Counter(cell.scenario.name for cell in cells)
    assert kinds == {"latency": 2, "camera": 4, "server": 2, "throughput": 9, "accuracy": 1, "prove": 3}
    phases = {
        (cell.scenario.label, KINDS["camera"].configured(cell.scenario.parameters).phase, cell.batch)
        for cell in cells
        if cell.scenario.name == "camera"
    }
    assert phases == {(f"{phase}-8", phase, batch) for phase in ("staggered", "synchronous") for batch in (1, 8)}
    assert len({cell.cell_id for cell in cells}) == len(cells)
    server = KINDS["server"].configured(next(c for c in cells if c.scenario.name == "server").scenario.parameters)
    assert (server.slo_ms, server.slo_percentile, server.rate) == (100.0, 99.0, None)


def test_no_cameras_are_refused_where_the_suite_says_so(load):
    with pytest.raises(SuiteError, match="cameras: it must be 1 or above"):
        load("inspection", "scenarios.staggered-8.cameras=0")


def test_techniques_are_told_of_every_engine_that_has_settings(load):
    loaded = load("techniques")
    without = {name for name in loaded.matrix.engine if not fields(registry.engine(target(name)).options)}
    assert without == {"executorch"}
    assert set(loaded.matrix.engine) - loaded.configurations.keys() == without
    told = {name: {one.technique for one in named.values()} for name, named in loaded.configurations.items()}
    assert all(all(kinds) for kinds in told.values())
    assert set().union(*told.values()) == {"fusion", "tuning", "memory", "threads", "layout"}
    # Precision and threads are the rows' own: no configuration tells them.
    cells = [entry.cell for entry in planned(loaded) if entry.cell.configuration == "default"]
    assert {cell.precision.value for cell in cells} == {"fp32", "fp16", "bf16", "int8"}
    assert {cell.threads for cell in cells} == {1, 2}
