"""The plan: nothing dropped, nothing twice, the same for the same seed."""

import itertools
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from harness.durations import limits, seconds_left, seconds_total
from harness.engine import NoOptions
from harness.errors import PlanError, Unsupported
from harness.plan import Capability, WorkloadFacts, expand, matching, select
from harness.suite import Suite
from harness.vocabulary import (
    DeviceFacts,
    EngineFacts,
    Failed,
    Level,
    Precision,
    Skipped,
    Source,
    Stage,
    Support,
)


@dataclass(frozen=True)
class Settings:
    hint: str = "none"
    level: int = 1


@dataclass(frozen=True)
class Path:
    calibrated: bool = False
    exporters: tuple = ("importer", "quantiser")
    defaults: dict = field(default_factory=lambda: {"quantiser": {"method": "mean", "exclude": []}})


def engine(name, *devices, formats=("onnx",), options=NoOptions):
    supports = {
        "fp32": Support(Level.NATIVE),
        "int8": Support(Level.NATIVE),
        "fp16": Support(Level.EMULATED, "by casts"),
    }
    facts = EngineFacts(name, "1.0", tuple(DeviceFacts(device, device, supports) for device in devices))
    return Capability(facts, formats, options)


ENGINES = {
    "one": engine("one", "cpu", options=Settings),
    "two": engine("two", "cpu", "gpu.0"),
    "absent": Capability(Skipped("absent is not installed", "pip install absent"), ("onnx",), NoOptions),
}
FACTS = WorkloadFacts(
    Source("onnx", "m.onnx", "hash-a"),
    {"name": "classify"},
    (3, 8, 8),
    "ev",
    40,
    labelled=True,
    calibration_hash="cal",
    calibration_images=10,
)
SCENARIOS = ("latency", "throughput", "memory", "accuracy")


def a_suite(*, workloads=("a",), matrix=None, **others):
    entries = {name: {"source": {"onnx": name}, "task": "classify", "input": [3, 8, 8]} for name in workloads}
    matrix = {"engine": "one", **(matrix or {})}
    return Suite.model_validate({"version": 1, "name": "s", "workloads": entries, "matrix": matrix, **others})


def route(format_, formats, precision):
    return Path(calibrated=precision is Precision.INT8)


def facts_of(suite):
    # Two workloads of one content would be one cell: each has its own.
    return {name: replace(FACTS, source=Source("onnx", name, f"hash-{name}")) for name in suite.workloads}


def planned(suite, workloads=None, engines=ENGINES, find_route=route, **other):
    return expand(suite, workloads or facts_of(suite), engines, find_route, **other)


def asked_for(plan):
    """What the suite asks for, and proofs: the sentinel has tests of its own."""
    return [cell for cell in plan.cells if cell.cell.scenario.name != "sentinel"]


def by_label(plan):
    return {cell.cell.label: cell for cell in asked_for(plan)}


def names(plan):
    return sorted(by_label(plan))


def test_every_scenario_and_one_proof():
    plan = planned(a_suite())
    assert names(plan) == sorted(f"a/one/fp32/cpu/b1/{name}" for name in (*SCENARIOS, "prove"))
    launches = {cell.cell.scenario.name: cell.launches for cell in asked_for(plan)}
    assert launches == {"latency": 5, "throughput": 5, "memory": 3, "accuracy": 1, "prove": 1}


@pytest.mark.parametrize(
    ("preset", "launches", "expected"),
    [
        ("quick", None, (2, 2)),
        ("default", None, (5, 3)),
        ("publish", None, (10, 3)),
        ("quick", 7, (7, 2)),
        ("publish", 1, (1, 1)),
    ],
)
def test_launches_by_preset_unless_the_suite_says_otherwise(preset, launches, expected):
    cells = by_label(planned(a_suite(preset=preset, launches=launches)))
    found = tuple(cells[f"a/one/fp32/cpu/b1/{name}"].launches for name in ("latency", "memory"))
    assert found == expected


def test_without_a_timed_scenario_there_is_no_proof():
    assert names(planned(a_suite(matrix={"scenario": "accuracy"}))) == ["a/one/fp32/cpu/b1/accuracy"]


def test_a_proof_is_of_a_variant_not_of_its_streams():
    plan = planned(a_suite(matrix={"scenario": ["latency", "throughput"], "streams": [1, 2]}))
    assert names(plan) == sorted(
        f"a/one/fp32/cpu/b1/{x}" for x in ("latency", "prove", "s1/throughput", "s2/throughput")
    )


def test_auto_is_each_device_that_the_engine_has():
    plan = planned(a_suite(matrix={"engine": ["one", "two", "absent"], "scenario": "latency"}))
    assert {(cell.cell.engine, cell.cell.device) for cell in plan.cells} == {
        ("one", "cpu"),
        ("two", "cpu"),
        ("two", "gpu.0"),
        ("absent", "auto"),
    }


@pytest.mark.parametrize(
    ("matrix", "changes", "reason", "hint"),
    [
        ({"engine": "absent"}, {}, "absent is not installed", "pip install absent"),
        ({"device": "npu"}, {}, "one has no device npu here", "it has cpu"),
        ({"precision": "bf16"}, {}, "one bf16 on cpu: unsupported", ""),
        ({"precision": "int8"}, {"calibration_images": 0}, "names no calibration images", "data.calibrate"),
        ({"precision": "fp16"}, {}, "no exporter", "install it"),
        ({"scenario": "accuracy"}, {"evaluation_images": 0}, "names no images to evaluate on", "workloads.a.data"),
        ({"scenario": "accuracy"}, {"labelled": False}, "carry no labels", "label"),
    ],
)
def test_what_cannot_run_is_kept_with_its_reason(matrix, changes, reason, hint):
    def only_some(format_, formats, precision):
        return (
            Skipped("no exporter", "install it") if precision is Precision.FP16 else route(format_, formats, precision)
        )

    suite = a_suite(matrix={"scenario": ["latency"], **matrix})
    plan = planned(suite, {"a": replace(FACTS, **changes)}, find_route=only_some)
    assert plan.cells
    for cell in plan.cells:
        assert reason in cell.skipped.reason
        assert hint in cell.skipped.hint
    assert plan.order == ()


def test_a_workload_that_could_not_be_identified_costs_only_its_own_cells():
    suite = a_suite(workloads=("a", "b", "c"), matrix={"scenario": "latency"})
    outcomes = {"a": FACTS, "b": Failed(Stage.IDENTIFY, "DataError", "no such file", "give it"), "c": Skipped("later")}
    cells = by_label(planned(suite, outcomes))
    assert cells["a/one/fp32/cpu/b1/latency"].skipped is None
    assert cells["b/one/fp32/cpu/b1/latency"].skipped == Skipped("identify: no such file", "give it")
    assert cells["c/one/fp32/cpu/b1/latency"].skipped == Skipped("later")


def test_an_emulated_precision_runs_and_is_marked():
    plan = planned(a_suite(matrix={"precision": "fp16"}))
    assert {cell.level for cell in plan.cells} == {Level.EMULATED}
    assert len(plan.order) > 0


def test_calibration_is_identity_only_where_it_is_used():
    cells = by_label(planned(a_suite(matrix={"precision": ["fp32", "int8"], "scenario": "latency"})))
    assert cells["a/one/fp32/cpu/b1/latency"].cell.calibration_hash is None
    assert cells["a/one/int8/cpu/b1/latency"].cell.calibration_hash == "cal"
    assert cells["a/one/int8/cpu/b1/prove"].cell.variant_id == cells["a/one/int8/cpu/b1/latency"].cell.variant_id


def test_include_takes_absent_keys_from_the_matrix_and_exclude_drops_what_matches():
    suite = a_suite(
        matrix={"engine": ["one", "two"], "device": "cpu", "precision": ["fp32", "int8"], "scenario": "latency"},
        include=[{"engine": "two", "batch": [4, 8]}],
        exclude=[{"engine": ["one", "x"], "precision": "int8"}, {"batch": 8, "precision": "int8"}],
    )
    assert [name for name in names(planned(suite)) if name.endswith("latency")] == [
        "a/one/fp32/cpu/b1/latency",
        "a/two/fp32/cpu/b1/latency",
        "a/two/fp32/cpu/b4/latency",
        "a/two/fp32/cpu/b8/latency",
        "a/two/int8/cpu/b1/latency",
        "a/two/int8/cpu/b4/latency",
    ]


def test_exclude_sees_devices_by_their_own_names_and_null_as_a_value():
    suite = a_suite(
        matrix={"engine": "two", "scenario": "latency", "threads": [None, 2]}, exclude=[{"device": "gpu.0"}]
    )
    assert {cell.cell.device for cell in planned(suite).cells} == {"cpu"}
    suite = a_suite(matrix={"scenario": "latency", "batch": [1, 4]}, exclude=[{"device": "auto", "batch": 4}])
    assert {cell.cell.batch for cell in planned(suite).cells} == {1}
    suite = a_suite(matrix={"scenario": "latency", "threads": [None, 2]}, exclude=[{"threads": None}])
    assert {cell.cell.threads for cell in planned(suite).cells} == {2}


def test_identical_cells_are_one():
    suite = a_suite(matrix={"batch": [1, 1], "device": ["auto", "cpu"]}, include=[{}])
    assert len(asked_for(planned(suite))) == 5


def test_settings_are_checked_by_the_engine_and_defaults_written_out_change_nothing():
    plain = planned(a_suite())
    assert planned(a_suite(options={"one": {"hint": "none"}})).cells == plain.cells
    other = planned(a_suite(options={"one": {"level": 2}}))
    assert {cell.cell.options["level"] for cell in other.cells} == {2}
    assert not {c.cell.cell_id for c in other.cells} & {c.cell.cell_id for c in plain.cells}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": {"engine": "onee"}}, "matrix: no engine is called 'onee'; did you mean 'one'?"),
        ({"include": [{"engine": "tow"}]}, "matrix: no engine is called 'tow'"),
        ({"options": {"oen": {}}}, "options: no engine is called 'oen'; did you mean 'one'?"),
        ({"configurations": {"zzz": {"x": {"options": {"a": 1}}}}}, "configurations: no engine is called 'zzz'"),
        ({"configurations": {"one": {"x": {"options": {"hnt": 1}}}}}, "configurations.one.x.options.hnt: unknown"),
        (
            {"configurations": {"one": {"default": {"options": {"level": 2}}}}},
            "'default' is what the engine is without",
        ),
        ({"configurations": {"one": {"x": {"options": {"level": 1}}}}}, "configurations.one.x changes nothing"),
        ({"configurations": {"one": {"x": {"export": {"other": {"a": 1}}}}}}, "configurations.one.x changes nothing"),
        ({"matrix": {"configuration": "lvl"}}, "no configuration is called 'lvl'"),
        (
            {"configurations": {"one": {"level": {"options": {"level": 2}}}}, "exclude": [{"configuration": "levle"}]},
            "no configuration is called 'levle'; did you mean 'level'?",
        ),
        ({"options": {"one": {"hnt": 1}}}, "options.one.hnt: unknown setting 'hnt'; did you mean 'hint'?"),
        ({"options": {"one": {"level": "x"}}}, "options.one.level: "),
        ({"options": {"two": {"a": 1}}}, "options.two.a: unknown setting 'a'"),
        ({"exclude": [{"workload": "a"}]}, "the matrix is empty"),
        ({"matrix": {"batch": list(range(1, 30_000))}}, "the matrix has 119,996 cells; the limit is 100,000"),
        ({"preset": "quick", "percentiles": 99.9999}, "p99.9999 takes 2,305,549 iterations in each of 2 launches"),
        ({"preset": "publish", "timeout": 30}, "a launch of the preset publish measures for 60 s, the timeout is 30 s"),
        (
            {"scenarios": {"door": {"kind": "camera"}}, "matrix": {"scenario": ["camera", "door"]}},
            "the scenarios camera and door are one: the same kind with the same settings",
        ),
        (
            {"scenarios": {"server": {"rate": 20}}, "matrix": {"scenario": "server"}},
            "server: 20 queries/s for 10 s are 200, p99 takes 460",
        ),
        (
            {"percentiles": 99.9, "scenarios": {"camera": {"fps": 30}}, "matrix": {"scenario": "camera"}},
            "camera: 30 frames/s for 10 s are 300, p99.9 takes 922 in each of 5 launches",
        ),
        (
            {"scenarios": {"long": {"kind": "soak", "seconds": 700}}, "matrix": {"scenario": "long"}},
            "a launch of long may take 714 s, the timeout is 600 s",
        ),
        (
            {"budget": "20s", "matrix": {"scenario": ["latency", "accuracy"]}},
            "the budget 20s is shorter than one launch of each cell: 6 s of prove + 8 s of latency + 12 s of accuracy",
        ),
        ({"budget": "20m", "percentiles": 99.999}, "p99.999 takes 230,555 iterations in each of 2 launches"),
    ],
)
def test_what_no_plan_can_give_is_refused(changes, message):
    with pytest.raises(PlanError) as caught:
        planned(a_suite(**changes))
    assert message in caught.value.message
    assert caught.value.hint


def test_machines_that_share_the_cells_have_the_budget_each():
    suite = a_suite(budget="10s", matrix={"scenario": ["latency"]})
    with pytest.raises(PlanError, match=r"= 14 s\n"):
        planned(suite)
    assert planned(suite, machines=2).cells
    with pytest.raises(PlanError, match=r"= 14 s, shared by 2 machines\n"):
        planned(suite.model_copy(update={"budget": "6s"}), machines=2)


def test_what_changes_the_work_is_identity_and_what_does_not_is_not():
    plain = {cell.cell.cell_id for cell in asked_for(planned(a_suite()))}
    for same in ({"preset": "quick"}, {"launches": 9}, {"seed": 4}, {"timeout": 99}, {"percentiles": 90}):
        assert {cell.cell.cell_id for cell in asked_for(planned(a_suite(**same)))} == plain
    for other in ({"cache": "warm"}, {"fallback": "strict"}, {"export": {"quantiser": {"method": "minmax"}}}):
        assert not {cell.cell.cell_id for cell in planned(a_suite(**other)).cells} & plain


def test_settings_of_exporters_that_a_cell_does_not_go_through_are_none_of_its_own():
    plain = {cell.cell.cell_id for cell in asked_for(planned(a_suite()))}
    assert {cell.cell.cell_id for cell in asked_for(planned(a_suite(export={"elsewhere": {"a": 1}})))} == plain


LEVELS = {
    "one": {"high": {"options": {"level": 3}, "technique": "fusion"}, "made": {"export": {"quantiser": {"a": 1}}}}
}


def test_a_configuration_makes_rows_of_its_own_beside_the_default():
    plan = planned(
        a_suite(matrix={"engine": ["one", "two"], "device": "cpu", "scenario": "latency"}, configurations=LEVELS)
    )
    cells = {label: cell.cell for label, cell in by_label(plan).items()}
    assert sorted(cells) == sorted(
        f"a/{engine}/fp32/cpu/b1/{scenario}"
        for engine in ("one", "one+high", "one+made", "two")
        for scenario in ("latency", "prove")
    )
    assert cells["a/one+high/fp32/cpu/b1/latency"].options == {"level": 3}
    assert cells["a/one+made/fp32/cpu/b1/latency"].export == {"quantiser": {"a": 1}}
    assert len({cell.variant_id for cell in cells.values()}) == 4


def test_a_configuration_of_what_cannot_run_here_is_skipped_by_its_name():
    """The route of an engine that is not installed is not known, nor are the exporters that it goes through."""
    absent = {"one": replace(ENGINES["one"], facts=Skipped("not installed", "pip install one"))}
    plan = planned(a_suite(configurations=LEVELS), engines=absent)
    ids = defaultdict(set)
    for cell in plan.cells:
        ids[cell.cell.configuration].add(cell.cell.variant_id)
        assert cell.skipped == Skipped("not installed", "pip install one")
    assert set(ids) == {"default", "high", "made"}
    assert len(set().union(*ids.values())) == 3


def test_a_configuration_goes_over_what_holds_for_every_cell():
    suite = a_suite(configurations=LEVELS, options={"one": {"level": 2, "hint": "x"}}, export={"quantiser": {"b": 2}})
    cells = {cell.cell.configuration: cell.cell for cell in planned(suite).cells}
    assert cells["default"].options == {"level": 2, "hint": "x"}
    assert cells["high"].options == {"level": 3, "hint": "x"}
    assert cells["made"].export == {"quantiser": {"a": 1, "b": 2}}
    assert cells["high"].export == {"quantiser": {"b": 2}}


def test_exporter_options_at_their_defaults_make_no_other_cell():
    plain = planned(a_suite())
    written_out = planned(a_suite(export={"quantiser": {"method": "mean", "exclude": []}}))
    assert written_out.cells == plain.cells
    other = planned(a_suite(export={"quantiser": {"method": "minmax", "exclude": []}}))
    assert {str(cell.cell.export) for cell in other.cells} == {"{'quantiser': {'method': 'minmax'}}"}
    back = planned(
        a_suite(
            export={"quantiser": {"method": "minmax"}},
            configurations={"one": {"back": {"export": {"quantiser": {"method": "mean"}}}}},
        )
    )
    assert {cell.cell.configuration: dict(cell.cell.export) for cell in asked_for(back)} == {
        "default": {"quantiser": {"method": "minmax"}},
        "back": {},
    }


AS_USUAL = {"one": {"usual": {"export": {"quantiser": {"method": "mean"}}}, "level": {"options": {"level": 2}}}}
TWINS = {"one": {"x": {"options": {"level": 2}}, "y": {"options": {"level": 2, "hint": "none"}}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"configurations": AS_USUAL}, "configurations.one.usual changes nothing"),
        ({"configurations": AS_USUAL, "exclude": [{"batch": 7}]}, "configurations.one.usual changes nothing"),
        (
            {"configurations": AS_USUAL, "matrix": {"configuration": ["default", "usual"]}},
            "configurations.one.usual changes nothing",
        ),
        (
            {"configurations": AS_USUAL, "matrix": {"configuration": ["usual", "default"]}},
            "configurations.one.usual changes nothing",
        ),
        ({"configurations": TWINS}, "configurations.one: x and y are one in every cell"),
        (
            {"configurations": TWINS, "exclude": [{"configuration": "default"}]},
            "configurations.one: x and y are one in every cell",
        ),
        ({"workloads": ("a", "b"), "exclude": [{"batch": 7}]}, "the workload b is one of a under another name"),
    ],
    ids=str,
)
def test_names_of_one_thing_are_refused_whatever_else_is_chosen(changes, message):
    with pytest.raises(PlanError) as caught:
        planned(a_suite(**changes), {"a": FACTS, "b": FACTS})
    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_a_name_whose_cells_are_of_several_others_is_refused_and_accuses_none_of_these():
    read, made = {"importer": {"a": 1}}, {"quantiser": {"method": "minmax"}}
    twins = {"one": {"both": {"export": {**read, **made}}, "read": {"export": read}}}

    def route_of_one(_format, _formats, precision):
        calibrated = precision is Precision.INT8
        return Path(calibrated, ("quantiser",) if calibrated else ("importer",))

    suite = a_suite(configurations=twins, matrix={"precision": ["fp32", "int8"]})
    with pytest.raises(
        PlanError, match=r"configurations\.one: read has no cell of its own, each is one of both or def"
    ):
        planned(suite, find_route=route_of_one)


@pytest.mark.parametrize(
    "changes",
    [
        {"matrix": {"configuration": "usual"}},
        {"exclude": [{"configuration": "default"}]},
        {"exclude": [{"configuration": "usual"}]},
    ],
    ids=str,
)
def test_a_configuration_that_changes_nothing_may_stand_alone_or_be_left_out(changes):
    plan = planned(a_suite(configurations=AS_USUAL, **changes))
    assert len({cell.cell.variant_id for cell in plan.cells}) == len({cell.cell.configuration for cell in plan.cells})


def test_configurations_are_chosen_and_left_out_by_name():
    chosen = planned(a_suite(configurations=LEVELS, matrix={"configuration": "high"}))
    assert {cell.cell.configuration for cell in chosen.cells} == {"high"}
    left = planned(a_suite(configurations=LEVELS, exclude=[{"configuration": ["high", "default"]}]))
    assert {cell.cell.configuration for cell in left.cells} == {"made"}


def test_auto_leaves_out_a_device_that_is_there_on_request():
    facts = ENGINES["two"].facts
    gpu = replace(facts.devices[1], on_request=True)
    engines = {"two": replace(ENGINES["two"], facts=replace(facts, devices=(facts.devices[0], gpu)))}
    auto = planned(a_suite(matrix={"engine": "two"}), engines=engines)
    assert {cell.cell.device for cell in auto.cells} == {"cpu"}
    named = planned(a_suite(matrix={"engine": "two", "device": "gpu.0"}), engines=engines)
    assert {(cell.cell.device, cell.skipped) for cell in named.cells} == {("gpu.0", None)}


def test_a_setting_may_choose_what_is_loaded():
    asked = []

    def find(format_, formats, precision):
        asked.append((formats, precision))
        return Path()

    def wanted(precision, options):
        if options.get("level") == 9:
            raise Unsupported("level 9 is for the brave", "take 3")
        return ("packed",) if options else ("onnx",), Precision.FP32

    engines = {"one": replace(ENGINES["one"], wanted=wanted)}
    levels = {"one": {"high": {"options": {"level": 3}}, "top": {"options": {"level": 9}}}}
    plan = planned(a_suite(matrix={"precision": "fp16"}, configurations=levels), engines=engines, find_route=find)
    assert asked == [(("onnx",), Precision.FP32), (("packed",), Precision.FP32)]
    skipped = {cell.skipped for cell in plan.cells if cell.cell.configuration == "top"}
    assert skipped == {Skipped("level 9 is for the brave", "take 3")}


def test_launches_are_long_enough_for_the_percentiles_asked():
    suite = a_suite(preset="quick", percentiles=[50, 99])
    latency = by_label(planned(suite))["a/one/fp32/cpu/b1/latency"]
    assert limits(latency, suite).minimum_iterations * latency.launches >= 368
    assert limits(latency, suite).extended_s > limits(latency, suite).maximum_s == 10
    usual = a_suite(preset="quick")
    found = limits(by_label(planned(usual))["a/one/fp32/cpu/b1/latency"], usual)
    assert (found.minimum_iterations, found.minimum_s, found.maximum_s, found.extended_s) == (36, 1.0, 10.0, 0.0)
    default = a_suite()
    assert limits(by_label(planned(default))["a/one/fp32/cpu/b1/latency"], default).minimum_iterations == 100


def test_proofs_come_first_and_accuracy_last_and_rounds_in_between():
    plan = planned(a_suite(matrix={"engine": ["one", "two"], "device": "cpu"}))
    scenario = {cell.cell.cell_id: cell.cell.scenario.name for cell in plan.cells}
    sequence = [scenario[slot.cell_id] for slot in plan.order]
    assert sequence[:2] == ["prove"] * 2
    assert sequence[-2:] == ["accuracy"] * 2
    rounds = [slot.round for slot in plan.order]
    assert rounds == sorted(rounds)
    timed = [slot for slot in plan.order if scenario[slot.cell_id] == "latency"]
    assert all(slot.index == slot.round for slot in timed)


def test_the_seed_draws_the_order_and_rounds_differ():
    matrix = {"batch": [1, 2, 3, 4, 5, 6], "scenario": "latency"}
    first, second = planned(a_suite(matrix=matrix)), planned(a_suite(matrix=matrix, seed=1))
    assert first.cells == second.cells
    assert first.order != second.order
    rounds = {number: [s.cell_id for s in first.order if s.round == number and s.index == number] for number in (1, 2)}
    assert rounds[1] != rounds[2]


def test_the_order_is_the_same_in_every_process():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_plan as t\n"
        "from harness.vocabulary import digest\n"
        "plan = t.planned(t.a_suite(matrix={'engine': ['one', 'two'], 'batch': [1, 2]}))\n"
        "print(digest([[s.cell_id, s.index, s.round] for s in plan.order]))"
    )
    folder = str(__file__).rpartition("/")[0]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, folder],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_selection_keeps_the_order_and_brings_its_proof():
    plan = planned(a_suite(matrix={"engine": ["one", "two"], "device": "cpu"}))
    part = select(plan, ["a/two/*/latency"])
    assert names(part) == ["a/two/fp32/cpu/b1/latency", "a/two/fp32/cpu/b1/prove"]
    assert list(part.order) == [slot for slot in plan.order if slot.cell_id in {c.cell.cell_id for c in part.cells}]
    cell_id = by_label(plan)["a/one/fp32/cpu/b1/memory"].cell.cell_id
    assert names(select(plan, [cell_id[:8]])) == ["a/one/fp32/cpu/b1/memory"]
    assert select(plan, ["*"]) == plan


def test_a_pattern_that_matches_nothing_lists_what_is_near():
    with pytest.raises(PlanError, match="no cell matches") as caught:
        select(planned(a_suite()), ["a/one/fp32/cpu/b1/latencey"])
    assert "a/one/fp32/cpu/b1/latency" in caught.value.hint
    with pytest.raises(PlanError):
        select(planned(a_suite()), ["*", "nothing"])


def test_what_is_left_shrinks_and_learns_from_what_was_taken():
    plan = planned(a_suite(launches=2, matrix={"scenario": "latency", "batch": [1, 2]}))
    total = seconds_total(plan)
    assert total == pytest.approx(sum({c.cell.cell_id: c.seconds for c in plan.cells}[s.cell_id] for s in plan.order))
    estimates = {cell.cell.cell_id: cell.seconds for cell in plan.cells}
    # Two proofs come first; the third launch is the first of its scenario, and teaches about the others of it.
    done = {(slot.cell_id, slot.index): 3 * estimates[slot.cell_id] for slot in plan.order[:3]}
    left = seconds_left(plan, done)
    assert left == pytest.approx(3 * sum(estimates[slot.cell_id] for slot in plan.order[3:]))
    proofs = {(slot.cell_id, slot.index): 0.1 for slot in plan.order[:2]}
    assert seconds_left(plan, proofs) == pytest.approx(sum(estimates[slot.cell_id] for slot in plan.order[2:]))
    assert seconds_left(plan, {(slot.cell_id, slot.index): 1.0 for slot in plan.order}) == 0.0


def test_what_was_settled_without_a_launch_teaches_nothing():
    plan = planned(a_suite(launches=2, matrix={"scenario": "latency", "batch": [1, 2]}))
    estimates = {cell.cell.cell_id: cell.seconds for cell in plan.cells}
    done = {(slot.cell_id, slot.index): 0.0 for slot in plan.order[:3]}
    assert seconds_left(plan, done) == pytest.approx(sum(estimates[slot.cell_id] for slot in plan.order[3:]))


@st.composite
def suites(draw):
    def some(values, **limits_):
        return st.lists(st.sampled_from(values), min_size=1, max_size=3, **limits_)

    keys = {
        "engine": some(["one", "two", "absent"]),
        "precision": some(["fp32", "fp16", "bf16", "int8"]),
        "device": some(["auto", "cpu", "gpu.0", "npu"]),
        "batch": some([1, 2, 8]),
        "threads": some([None, 1, 2]),
        "streams": some([None, 1, 4]),
        "scenario": some([*SCENARIOS, "prove"]),
    }
    partial = st.fixed_dictionaries({}, optional=keys)
    return a_suite(
        workloads=draw(st.sampled_from([("a",), ("a", "b")])),
        matrix={"engine": draw(keys["engine"]), **draw(partial)},
        include=draw(st.lists(partial, max_size=2)),
        exclude=draw(st.lists(partial.filter(bool), max_size=1)),
        preset=draw(st.sampled_from(["quick", "default"])),
        seed=draw(st.integers(0, 5)),
    )


def asked(suite):
    """What the suite asks for, worked out the slow way: (workload, engine, precision, device, batch, ...)."""
    keys = ("workload", "engine", "precision", "device", "batch", "threads", "streams", "scenario")
    matrix = {key: getattr(suite.matrix, key) or tuple(suite.workloads) for key in keys}
    found = set()
    for entry in (None, *suite.include):
        lists = {key: (getattr(entry, key) if entry else None) or matrix[key] for key in keys}
        combos = [()]
        for key in keys:
            combos = [(*combo, value) for combo in combos for value in lists[key]]
        for combo in combos:
            facts = ENGINES[combo[1]].facts
            there = [device.name for device in facts.devices] if isinstance(facts, EngineFacts) else ["auto"]
            for device in there if combo[3] == "auto" else [combo[3]]:
                one = (*combo[:3], device, *combo[4:])
                if not any(
                    all(
                        getattr(e, key) is None or one[i] in getattr(e, key) or (key == "device" and "auto" in e.device)
                        for i, key in enumerate(keys)
                    )
                    for e in suite.exclude
                ):
                    streams = one[6] if one[7] == "throughput" else None
                    found.add((*one[:6], streams, one[7]))
    return found


@hypothesis_settings(deadline=None, max_examples=80)
@given(suites())
def test_plans_of_any_suite(suite):
    wanted = asked(suite)
    if not wanted:
        with pytest.raises(PlanError, match="empty"):
            planned(suite)
        return
    plan = planned(suite)
    cells = [one.cell for one in plan.cells]
    got = {
        (c.workload, c.engine, c.precision, c.device, c.batch, c.threads, c.streams, c.scenario.name): p
        for c, p in zip(cells, plan.cells, strict=True)
    }
    # Every combination is planned or skipped with a reason; what is more is a proof.
    assert wanted <= got.keys()
    assert {key[7] for key in got.keys() - wanted} <= {"prove", "sentinel"}
    assert all(one.skipped is None or one.skipped.reason for one in plan.cells)
    timed = {c.variant_id for c in cells if c.scenario.name in {"latency", "throughput"}}
    assert timed <= {c.variant_id for c in cells if c.scenario.name == "prove"}

    ids = [c.cell_id for c in cells]
    assert len(ids) == len(set(ids))

    # The order is a permutation of the launches of what can run.
    launches = {one.cell.cell_id: one.launches for one in plan.cells if one.skipped is None}
    assert sorted((s.cell_id, s.index) for s in plan.order) == sorted(
        (cell_id, index) for cell_id, count in launches.items() for index in range(count)
    )
    sentinel = {c.cell_id for c in cells if c.scenario.name == "sentinel"}
    assert len(sentinel) <= 1
    assert max(Counter((s.cell_id, s.round) for s in plan.order if s.cell_id not in sentinel).values(), default=1) == 1
    assert planned(suite) == plan


def test_more_streams_than_threads_are_skipped_with_the_reason():
    plan = planned(a_suite(matrix={"threads": [2], "streams": [1, 4], "scenario": ["throughput"]}))
    reasons = {cell.cell.streams: cell.skipped.reason for cell in plan.cells if cell.skipped}
    assert reasons == {4: "4 streams cannot share 2 threads"}


def test_a_workload_that_is_another_under_a_second_name_is_refused():
    suite = a_suite(workloads=("a", "b"))
    facts = facts_of(suite)
    with pytest.raises(PlanError, match="the workload b is one of a under another name"):
        planned(suite, {"a": facts["a"], "b": facts["a"]})


def test_a_suite_says_how_much_longer_a_scenario_must_last():
    with pytest.raises(PlanError) as caught:
        planned(a_suite(scenarios={"server": {"rate": 20}}, matrix={"scenario": "server"}))
    assert "scenarios.server.seconds: 23" in caught.value.hint
    planned(a_suite(scenarios={"server": {"rate": 20, "seconds": 23}}, matrix={"scenario": "server"}))
    planned(a_suite(scenarios={"camera": {"seconds": 31}}, percentiles=99.9, matrix={"scenario": "camera"}))
    planned(a_suite(matrix={"scenario": "camera"}))  # the percentiles of the preset are no promise for frames


def test_named_scenarios_are_cells_of_their_own_with_what_differs_from_the_defaults():
    scenarios = {"door": {"kind": "camera", "fps": 15}, "camera": {"cameras": 4}}
    plan = planned(a_suite(scenarios=scenarios, percentiles=90, matrix={"scenario": ["camera", "door"]}))
    cells = by_label(plan)
    assert sorted(cells) == [f"a/one/fp32/cpu/b1/{name}" for name in ("camera", "door", "prove")]
    assert cells["a/one/fp32/cpu/b1/door"].cell.scenario.name == "camera"
    assert cells["a/one/fp32/cpu/b1/door"].cell.scenario.parameters == {"fps": 15.0}
    assert cells["a/one/fp32/cpu/b1/camera"].cell.scenario.parameters == {"cameras": 4}
    assert cells["a/one/fp32/cpu/b1/door"].percentiles == (90.0,)
    assert cells["a/one/fp32/cpu/b1/door"].seconds == pytest.approx(14.5)


@pytest.mark.parametrize("scenario", ["end_to_end", "door"])
def test_what_decodes_images_needs_some(scenario):
    suite = a_suite(scenarios={"door": {"kind": "camera", "decode": True}}, matrix={"scenario": scenario})
    cell = by_label(planned(suite, {"a": replace(FACTS, evaluation_images=0)}))[f"a/one/fp32/cpu/b1/{scenario}"]
    assert cell.skipped.reason == "the workload a names no images to decode"
    assert by_label(planned(suite))[f"a/one/fp32/cpu/b1/{scenario}"].skipped is None


def test_processors_are_part_of_what_is_measured():
    cells = planned(a_suite(cpus=["0-1"])).cells
    assert all(cell.cell.scenario.parameters == {"cpus": [0, 1]} for cell in cells)


def test_with_a_budget_the_launches_that_are_certain_carry_the_percentiles():
    usual, tight = a_suite(percentiles=99), a_suite(percentiles=99, budget="30m")
    found = [limits(by_label(planned(one))["a/one/fp32/cpu/b1/latency"], one) for one in (usual, tight)]
    assert found[0].minimum_iterations == 100
    assert found[1].minimum_iterations == 230
    assert found[1].quantiles == ((0.99, 184.0),)


def sentinel_of(plan):
    return next((cell for cell in plan.cells if cell.cell.scenario.name == "sentinel"), None)


def places(plan):
    """Where the sentinel's launches stand among the timed and memory launches."""
    name = {cell.cell.cell_id: cell.cell.scenario.name for cell in plan.cells}
    middle = [slot for slot in plan.order if name[slot.cell_id] not in {"prove", "accuracy"}]
    return [place for place, slot in enumerate(middle) if name[slot.cell_id] == "sentinel"], len(middle)


@pytest.mark.parametrize(
    ("batches", "launches", "expected"),
    [(1, 5, 0), (2, 4, 4), (8, 1, 0), (4, 10, 5), (6, 20, 12), (30, 10, 12)],
)
def test_a_sentinel_runs_first_last_and_evenly_between(batches, launches, expected):
    matrix = {"scenario": "latency", "batch": list(range(1, batches + 1))}
    plan = planned(a_suite(matrix=matrix, launches=launches))
    found, among = places(plan)
    assert len(found) == expected
    if not expected:
        assert sentinel_of(plan) is None
        return
    assert sentinel_of(plan).launches == expected
    assert (found[0], found[-1]) == (0, among - 1)
    gaps = [after - before for before, after in itertools.pairwise(found)]
    assert max(gaps) - min(gaps) <= 1
    slots = [slot for slot in plan.order if slot.cell_id == sentinel_of(plan).cell.cell_id]
    assert [slot.index for slot in slots] == list(range(expected))


def test_the_sentinel_is_the_cheapest_and_surest_latency():
    matrix = {
        "engine": ["absent", "two", "one"],
        "precision": ["fp16", "int8", "fp32"],
        "batch": [4, 1],
        "scenario": ["throughput", "latency"],
    }
    plan = planned(a_suite(matrix=matrix, configurations=LEVELS, fallback="strict"))
    cell = sentinel_of(plan).cell
    assert (cell.precision, cell.batch, cell.device, cell.configuration) == (Precision.FP32, 1, "cpu", "default")
    latency = next(
        c.cell for c in plan.cells if c.cell.scenario.name == "latency" and c.cell.variant_id == cell.variant_id
    )
    assert cell.scenario.parameters == latency.scenario.parameters == {"fallback": "strict"}
    assert cell.cell_id != latency.cell_id
    turned = a_suite(
        matrix={key: value[::-1] for key, value in matrix.items()}, configurations=LEVELS, fallback="strict"
    )
    assert sentinel_of(planned(turned)).cell == cell


def test_what_may_not_run_is_no_sentinel():
    crashed = replace(ENGINES["one"], facts=Failed(Stage.PROBE, "crash", "killed"))
    matrix = {"engine": ["one", "two"], "device": "cpu", "batch": [1, 2]}
    plan = planned(a_suite(matrix=matrix), engines={**ENGINES, "one": crashed})
    assert sentinel_of(plan).cell.engine == "two"
    suite = a_suite(matrix=matrix)
    assert sentinel_of(planned(suite, {"a": replace(FACTS, troubled=True)})) is None
    assert sentinel_of(planned(a_suite(matrix={**matrix, "scenario": "throughput"}))) is None


def test_the_sentinel_comes_along_with_its_row_where_enough_is_left():
    plan = planned(a_suite(matrix={"engine": ["one", "two"], "device": "cpu"}))
    watch = sentinel_of(plan)
    mine, other = (watch.cell.engine, "two" if watch.cell.engine == "one" else "one")
    assert sentinel_of(select(plan, [f"a/{other}/*"])) is None
    assert sentinel_of(select(plan, [f"a/{mine}/*/latency"])) is None
    assert sentinel_of(select(plan, [f"a/{mine}/*/accuracy"])) is None
    part = select(plan, [f"a/{mine}/*"])
    assert sentinel_of(part).cell == watch.cell
    found, among = places(part)
    assert (len(found), found[0], found[-1]) == (4, 0, among - 1)


def test_the_sentinel_is_meant_only_by_its_name():
    plan = planned(a_suite(matrix={"engine": ["one", "two"], "device": "cpu"}))
    cell = sentinel_of(plan).cell
    assert cell not in matching(plan, "a/*")
    for pattern in (cell.label, "*/sentinel", cell.cell_id[:12]):
        assert matching(plan, pattern) == [cell]
        part = select(plan, [pattern])
        assert sorted(c.cell.scenario.name for c in part.cells) == ["prove", "sentinel"]
        assert len(part.order) == 1 + sentinel_of(plan).launches
