"""A budget as a user meets it: told by `plan`, refused where it holds nothing, kept by `run`."""

from harness.cli.exit_codes import ExitCode
from harness.vocabulary import Completed


def test_plan_tells_how_a_budget_is_spent(say):
    said = say("plan", "suite.yaml", "--set", "budget=30m", "--set", "launches=3")
    assert said.code == ExitCode.OK
    told = " ".join(said.out.split())
    assert "budget 30m: after 2 launches of each timed cell it is spent where intervals are widest" in told
    assert "on up to 3 launches of one" in told
    assert "budget" not in say("plan", "suite.yaml").out


def test_a_budget_that_does_not_hold_one_launch_is_refused_with_what_it_takes(say, place):
    said = say("run", "suite.yaml", "--set", "budget=3s")
    assert said.code == ExitCode.USAGE
    message = " ".join(said.err.split())
    assert "the budget 3s is shorter than one launch of each cell: 6 s of prove + 6 s of latency = 12 s" in message
    assert place.runs == 0


def test_a_run_keeps_its_budget_and_its_launches(say, place):
    said = say("run", "suite.yaml", "--quiet", "--set", "budget=1h", "--set", "launches=3")
    assert said.code == ExitCode.OK
    records = place.store.records()
    assert [record.launch.index for record in records if record.cell.scenario.name == "latency"] == [0, 1, 2]
    assert all(isinstance(record.outcome, Completed) for record in records)
