"""Whatever breaks costs its own cell: real runs, real child processes, faults made on purpose."""

from __future__ import annotations

import sys
from importlib import metadata
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from harness import process
from harness.vocabulary import Completed, Failed, Skipped, Stage

STRUCK = {
    # engine: (the fault of the fake engine, where it strikes) → (stage, kind, part of the message)
    "raises": ("raise", "run", Stage.FIRST, "RuntimeError", "scripted failure"),
    "segfaults": ("segfault", "load", Stage.LOAD, "crash", "SIGSEGV"),
    "aborts": ("abort", "run", Stage.FIRST, "crash", "SIGABRT"),
    "hangs": ("hang", "run", Stage.FIRST, "timeout", "no end after 7 s"),
    "leaves": ("exit", "load", Stage.LOAD, "no-record", "exited 0"),
    "nans": ("nan", "run", Stage.VERIFY, "verify", "not finite"),
    "misshapes": ("shape", "run", Stage.VERIFY, "verify", "has shape [1, 9], not [1, 10]"),
    "constant": ("constant", "run", Stage.VERIFY, "verify", "is constant"),
    "garbage": ("garbage", "run", Stage.VERIFY, "verify", "cosine of -1.000"),
}
PROBED = {
    # engine: what stands in the third-party module → (kind, part of the message)
    "import-raises": ("third_party_broken:Engine", "RuntimeError", "broken on purpose"),
    "import-exits": ("third_party_exits:Engine", "crash", "exited 7"),
    "probe-aborts": ("third_party:AbortsInProbe", "crash", "SIGABRT"),
    "uninstalled": ("no_such_module:Engine", "ModuleNotFoundError", "no_such_module"),
    "no-engine": ("third_party:NoEngine", "HarnessError", "is no harness.engine.Engine"),
    "no-python": ("engines.fake:FakeEngine", "FileNotFoundError", "cannot start"),
}
LIVING = {
    "healthy": "engines.fake:FakeEngine",
    "floods": "engines.fake:FakeEngine",
    "absent": "third_party:Absent",
    "old": "third_party:Old",
    "runtime-raises": "third_party:RuntimeRaises",
    "greedy": "third_party:Greedy",
}
CALM = "latency_us: 3000, asleep: true"  # little noise, so that a launch ends soon
MODULES = {
    "third_party.py": """
        import os
        from engines.fake import FakeEngine
        from harness.errors import EngineUnavailable

        class Absent(FakeEngine):
            def probe(self):
                raise EngineUnavailable("the runtime is not installed", "pip install absent-runtime")

        class AbortsInProbe(FakeEngine):
            def probe(self):
                os.abort()

        class RuntimeRaises(FakeEngine):
            modules = ("third_party_broken",)

        class Old(FakeEngine):
            def probe(self):
                import harness
                harness.__version__ = "0.0.1"
                return super().probe()

        class Greedy(FakeEngine):
            def load(self, artifact, config):
                import numpy, resource
                with open("/proc/self/status") as status:
                    held_kib = int(next(line for line in status if line.startswith("VmSize")).split()[1])
                resource.setrlimit(resource.RLIMIT_AS, ((held_kib << 10) + (1 << 30), resource.RLIM_INFINITY))
                session = super().load(artifact, config)
                opened = session.stream

                def stream():
                    made = opened()
                    made.room = numpy.zeros(300 << 20, numpy.uint8)
                    return made

                session.stream = stream
                return session

        class NoEngine:
            pass
        """,
    "third_party_broken.py": "raise RuntimeError('broken on purpose')\n",
    "third_party_exits.py": "import os\nos._exit(7)\n",
}


@pytest.fixture(scope="module")
def broken_engines(tmp_path_factory, new_place):
    """One run over one healthy engine and every broken one: third-party distributions made on the fly."""
    place = new_place(tmp_path_factory.mktemp("engines"))
    for name, text in MODULES.items():
        place.write(f"site/{name}", text)
    targets = LIVING | dict.fromkeys(STRUCK, "engines.fake:FakeEngine") | {name: row[0] for name, row in PROBED.items()}
    place.write("site/third_party-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    points = "\n".join(f"{name} = {target}" for name, target in targets.items())
    place.write("site/third_party-1.0.dist-info/entry_points.txt", f"[harness.engines]\n{points}\n")
    place.environment["PYTHONPATH"] = str(place.folder / "site")
    wrapper = place.write("python", f'#!/bin/sh\nPYTHONPATH={place.folder}/site exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    options = "\n".join(f"  {name}: {{fault: {row[0]}, at: {row[1]}}}" for name, row in STRUCK.items())
    wrapped = "\n".join(f"  {name}: python" for name in targets if targets[name].startswith("third_party"))
    place.write(
        "suite.yaml",
        f"version: 1\nworkloads:\n  toy: {{source: {{file: model.json, format: fake-script}}, task: raw, "
        f"input: [3, 8, 8]}}\nmatrix: {{engine: [{', '.join(targets)}], scenario: [latency]}}\npreset: quick\n"
        "include:\n  - {engine: [greedy], scenario: [throughput], streams: [1, 8]}\n"
        f"launches: 1\ntimeout: 7\noptions:\n{options}\n  healthy: {{{CALM}}}\n"
        f"  floods: {{fault: flood, at: load, {CALM}}}\n  greedy: {{{CALM}}}\n"
        f"interpreters:\n{wrapped}\n  no-python: no/such/python\n",
    )
    said = place.run("run", "suite.yaml")
    return place, said, place.records()


def test_the_healthy_engine_is_measured_among_broken_ones(broken_engines):
    _, said, records = broken_engines
    assert said.code == 3, said.err
    assert isinstance(records["toy/healthy/latency"].outcome, Completed)
    assert records["toy/healthy/latency"].samples.rows >= 36
    assert "Traceback" not in said.err + said.out


@pytest.mark.parametrize("engine", STRUCK)
def test_a_fault_of_an_engine_is_named_and_not_repeated(broken_engines, engine):
    place, _, records = broken_engines
    *_, stage, kind, part = STRUCK[engine]
    outcome = records[f"toy/{engine}/prove"].outcome
    assert isinstance(outcome, Failed), outcome
    assert (outcome.stage, outcome.kind) == (stage, kind)
    assert part in outcome.message
    assert outcome.hint
    told = records[f"toy/{engine}/latency"].outcome
    assert isinstance(told, Skipped)
    assert outcome.message in told.reason
    assert outcome.message in place.page
    attempts = [attempt for attempt in place.store.attempts() if attempt.label.startswith(f"toy/{engine}/")]
    assert len([attempt for attempt in attempts if attempt.label.endswith("/prove")]) == (2 if kind == "crash" else 1)


@pytest.mark.parametrize("engine", PROBED)
def test_an_engine_that_cannot_be_asked_fails_by_name(broken_engines, engine):
    place, said, records = broken_engines
    _, kind, part = PROBED[engine]
    for scenario in ("prove", "latency"):
        outcome = records[f"toy/{engine}/{scenario}"].outcome
        assert isinstance(outcome, Failed), outcome
        assert (outcome.stage, outcome.kind) == (Stage.PROBE, kind)
        assert part in outcome.message
        assert outcome.hint
        assert outcome.message in place.page
    assert f"toy {engine}" in said.out


@pytest.mark.parametrize(
    ("engine", "reason", "hint"),
    [
        ("absent", "the runtime is not installed", "pip install absent-runtime"),
        ("old", "has harness 0.0.1", "install the same version there"),
    ],
)
def test_an_engine_that_is_not_to_be_had_is_skipped(broken_engines, engine, reason, hint):
    place, *_ = broken_engines
    planned = [cell for cell in place.store.plan.cells if cell.cell.engine == engine]
    assert len(planned) == 2
    for cell in planned:
        assert reason in cell.skipped.reason
        assert hint in cell.skipped.hint
    assert reason in place.page


def test_a_runtime_that_raises_when_it_is_imported_fails_in_the_stage_import(broken_engines):
    _, _, records = broken_engines
    outcome = records["toy/runtime-raises/prove"].outcome
    assert (outcome.stage, outcome.kind, outcome.message) == (Stage.IMPORT, "RuntimeError", "broken on purpose")


def test_an_engine_that_floods_its_output_is_measured_and_its_log_is_bounded(broken_engines):
    place, _, records = broken_engines
    record = records["toy/floods/latency"]
    assert isinstance(record.outcome, Completed)
    size = (place.store.folder / record.log).stat().st_size
    assert process.LOG_HEAD_BYTES < size <= process.LOG_HEAD_BYTES + 2 * process.LOG_TAIL_BYTES + 100


def test_more_streams_than_the_memory_holds_are_told_with_what_to_do(broken_engines):
    place, said, _ = broken_engines
    driven = [record for record in place.store.records() if record.cell.scenario.name == "throughput"]
    found = {record.cell.streams: record.outcome for record in driven}
    assert isinstance(found[1], Completed), found[1]
    assert (found[8].stage, found[8].kind) == (Stage.LOAD, "out-of-memory")
    assert "memory ran out in stage load: Unable to allocate 300. MiB" in found[8].message
    assert "fewer `streams`" in found[8].hint
    assert found[8].message in place.page
    assert "memory ran out" in said.out


def test_every_planned_cell_has_a_record_or_a_reason(broken_engines):
    place, *_ = broken_engines
    recorded = {record.cell_id for record in place.store.records()}
    for planned in place.store.plan.cells:
        assert (planned.cell.cell_id in recorded) != (planned.skipped is not None)


def test_no_scratch_is_left_and_the_logs_of_the_probes_are_kept(broken_engines):
    place, *_ = broken_engines
    assert not [file for file in place.store.folder.iterdir() if file.name.startswith(".")]
    assert "broken on purpose" in (place.store.folder / "logs" / "probe-import-raises.log").read_text()


def test_the_third_party_distribution_was_none_of_this_process(broken_engines):
    assert "third-party" not in {each.name for each in metadata.distributions()}
    assert broken_engines is not None


PREPARED = {
    # workload: (stage, kind, part of the message, part of the hint)
    "export-raises": (Stage.EXPORT, "ExportFailed", "fake-import: scripted failure", "take the fault out"),
    "export-aborts": (Stage.EXPORT, "crash", "fake-import: killed by SIGABRT", "log"),
    "missing": (Stage.IDENTIFY, "DataError", "nowhere.json does not exist", "check the path"),
    "pickle": (Stage.IDENTIFY, "DataError", "is a pickle", "trust: true"),
    "corrupt": (Stage.PREPARE, "DataError", "2.png: not a readable image", "replace the file"),
    "labels": (Stage.PREPARE, "DataError", "labels.json", ""),
    "quantise": (Stage.EXPORT, "ExportFailed", "fake-quantiser: scripted failure", "take the fault out"),
}


@pytest.fixture(scope="module")
def broken_models(tmp_path_factory, new_place):
    """One run over one healthy workload and every broken one."""
    place = new_place(tmp_path_factory.mktemp("models"))
    place.model("raises.json", export_fault="raise")
    place.model("aborts.json", export_fault="abort")
    place.model("quantise.json", quantise_fault="raise")
    place.write("pickle.pt", "never opened")
    place.write("labels.json", "{")
    for folder in ("good", "bad"):
        for index in range(4):
            file = place.folder / folder / f"{index}.png"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 60 * index, np.uint8)).save(file)
    (place.folder / "bad" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nno more than that")
    place.write(
        "suite.yaml",
        r"""
        version: 1
        workloads:
          healthy: {source: {file: model.json, format: fake-script}, task: raw, input: [3, 8, 8]}
          export-raises: {source: {file: raises.json, format: fake-script}, task: raw, input: [3, 8, 8]}
          export-aborts: {source: {file: aborts.json, format: fake-script}, task: raw, input: [3, 8, 8]}
          missing: {source: {file: nowhere.json, format: fake-script}, task: raw, input: [3, 8, 8]}
          pickle: {source: {file: pickle.pt, format: torch-export}, task: raw, input: [3, 8, 8]}
          corrupt:
            source: {file: model.json, format: fake-script}
            task: classify
            input: [3, 8, 8]
            data: {files: bad, label: '(\d)\.png'}
          labels:
            source: {file: model.json, format: fake-script}
            task: classify
            input: [3, 8, 8]
            data: {coco: labels.json, calibrate: '0:1'}
          quantise:
            source: {file: quantise.json, format: fake-script}
            task: classify
            input: [3, 8, 8]
            data: {files: good, label: '(\d)\.png', calibrate: '0:2', evaluate: '2:4'}
        matrix:
          workload: [healthy, export-raises, export-aborts, missing, corrupt]
          engine: [fake]
          scenario: [latency]
        include:
          - {workload: quantise, precision: [fp32, int8]}
          - {workload: labels, precision: [fp32, int8], scenario: [latency, accuracy]}
          - {workload: [pickle], engine: [onnxruntime]}
        preset: quick
        launches: 1
        options: {fake: {latency_us: 3000, asleep: true}}
        """,
    )
    said = place.say("run", "suite.yaml")
    return place, said


def test_what_is_healthy_is_measured_among_broken_models(broken_models):
    place, said = broken_models
    records = place.store.records()
    completed = {(r.cell.workload, r.cell.precision.value) for r in records if isinstance(r.outcome, Completed)}
    assert completed == {("healthy", "fp32"), ("quantise", "fp32")}
    assert said.code == 3, said.err
    assert "Traceback" not in said.err + said.out


@pytest.mark.parametrize("workload", PREPARED)
def test_a_broken_model_or_data_set_fails_its_own_cells_by_name(broken_models, workload):
    place, said = broken_models
    stage, kind, part, hint = PREPARED[workload]
    if workload == "pickle" and not (find_spec("onnxruntime") and find_spec("torch")):
        pytest.skip("no engine here would load it: onnxruntime and torch are not installed")
    planned = [cell for cell in place.store.plan.cells if cell.cell.workload == workload]
    failed = [r for r in place.store.records() if r.cell.workload == workload and isinstance(r.outcome, Failed)]
    healthy = 2 if workload == "quantise" else 0  # its FP32 cells
    assert len(failed) == len(planned) - healthy >= 2
    for record in failed:
        assert (record.outcome.stage, record.outcome.kind) == (stage, kind)
        assert part in record.outcome.message
        assert hint in record.outcome.hint
    assert failed[0].outcome.message in place.page
    assert part in said.out


def test_the_log_of_an_export_that_crashed_is_kept_with_the_run(broken_models):
    place, _ = broken_models
    logs = place.store.folder / "logs"
    assert "scripted failure of the export" in (logs / "export-fake-import.log").read_text()


def test_plan_says_beforehand_what_will_fail(broken_models):
    place, _ = broken_models
    said = place.say("plan", "suite.yaml")
    assert said.code == 0
    assert "missing will fail: nowhere.json does not exist" in said.out
    assert place.runs == 1
