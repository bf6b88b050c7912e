"""How a run was made: what the harness itself took, of every scenario that was driven."""

from __future__ import annotations

from harness.cli.campaign import overhead_facts
from harness.jobs import OverheadAnswer
from harness.vocabulary import Failed, Stage
from reports.method import method


def test_what_the_harness_takes_is_told_of_each_scenario_and_number_of_streams():
    answer = OverheadAnswer(330.0, {"2": 5100.0}, {"server": 41_000.0, "end_to_end": 900.0})
    told = method({"overhead": overhead_facts(answer)}, (), 0).overhead
    assert told == (
        ("with 1 stream", "330\u00a0ns per inference"),
        ("with 2 streams", "5.10\u00a0µs per inference"),
        ("server", "41.0\u00a0µs"),
        ("end to end", "900\u00a0ns"),
    )


def test_why_it_is_not_known_is_told():
    failed = Failed(Stage.STEADY, "timeout", "no end after 60 s", "")
    assert method({"overhead": overhead_facts(failed)}, (), 0).overhead == (("not measured", "no end after 60 s"),)
