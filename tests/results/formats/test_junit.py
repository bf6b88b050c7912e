"""JUnit XML, read back by a parser of its own and checked against what Jenkins' schemas agree on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.comparison import Verdict
from results.formats.junit import JUnit

junitparser = pytest.importorskip("junitparser")
xmlschema = pytest.importorskip("xmlschema")

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("jenkins.xsd"))


def _cases(text):
    """Return the parsed cases by class and name; none is there twice, or GitLab would leave one out."""
    found = {}
    for suite in junitparser.JUnitXml.fromstring(text.encode()):
        for case in suite:
            assert (case.classname, case.name) not in found
            found[case.classname.rpartition("/")[2], case.name] = case
    return found


def _result(case):
    """Return what a case came to, by the name of its element, with its message."""
    return [(type(result).__name__, result.message) for result in case.result]


def test_both_are_valid_for_jenkins(run, compared):
    for text in (JUnit().of_run(run), JUnit().of_comparison(compared)):
        SCHEMA.validate(text)


def test_a_run_is_what_became_of_each_cell_and_its_figures(run):
    cases = _cases(JUnit().of_run(run))
    assert not cases["fast", "status"].result
    assert not cases["fast", "latency"].result
    assert "median latency: 3.21 [3.19, 3.24] ms" in cases["fast", "latency"].system_out
    assert "noisy launches: 1" in cases["fast", "latency"].system_out
    assert "accuracy (top1): 0.912" in cases["accuracy", "accuracy"].system_out
    [(kind, message)] = _result(cases["broken", "status"])
    assert kind == "Error"
    assert message.startswith("load, crash: model.onnx")
    assert _result(cases["tensorrt", "status"]) == [("Skipped", "no NVIDIA GPU here")]
    assert _result(cases["late", "status"]) == [("Skipped", "not run")]


def test_of_a_comparison_only_what_fails_the_gate_fails(compared):
    cases = _cases(JUnit().of_comparison(compared))
    assert _result(cases["fast", "latency"]) == [("Failure", "latency +5.9 % [+4.1 %, +7.7 %]")]
    [failure] = cases["fast", "latency"].result
    for told in ("3.03 ms → 3.21 ms", "adjusted p: 0.0004", "1 of 5 launches was noisy and left out"):
        assert told in failure.text
    assert failure.text.count("latency +5.9 % [+4.1 %") == 1
    assert not cases["fast", "p99"].result
    assert "regressed (not gated)" in cases["fast", "p99"].system_out
    assert not cases["memory", "memory"].result
    [(kind, message)] = _result(cases["accuracy", "accuracy"])
    assert (kind, message.partition(";")[0]) == ("Skipped", "allowed until 2026-12-01: the new kernel is exact")
    [(kind, message)] = _result(cases["streams", "throughput"])
    assert (kind, "about 24 launches" in message) == ("Skipped", True)
    assert [kind for kind, _ in _result(cases["broken", "status"])] == ["Error"]
    assert [kind for kind, _ in _result(cases["gone", "status"])] == ["Failure"]
    assert not cases["one", "status"].result


def test_an_allowed_crash_fails_nothing(made):
    allowed = made.change("broken", "status", Verdict.REGRESSED, "it fails now", allowance=made.allowance)
    cases = _cases(JUnit().of_comparison(made.comparison([allowed])))
    assert [kind for kind, _ in _result(cases["broken", "status"])] == ["Skipped"]


def test_a_suite_is_a_workload_and_says_what_differs(compared):
    suites = list(junitparser.JUnitXml.fromstring(JUnit().of_comparison(compared).encode()))
    assert [suite.name for suite in suites] == ["yolo11n", "lite0"]
    for suite in suites:
        told = {each.name: each.value for each in suite.properties()}
        assert told["hw_id"] == "0123456789ab"
        assert told["before.run_id"] == "01JBEFORE"
        assert told["differs.versions.onnxruntime"] == "1.30.0 → 1.31.0"
        assert told["differs.governor"] == "absent → powersave"
        assert suite.hostname is None


def test_the_counts_are_those_of_the_cases(compared):
    xml = junitparser.JUnitXml.fromstring(JUnit().of_comparison(compared).encode())
    written = [(suite.tests, suite.failures, suite.errors, suite.skipped) for suite in xml]
    for suite in xml:
        suite.update_statistics()
    assert written == [(suite.tests, suite.failures, suite.errors, suite.skipped) for suite in xml]
    assert (xml.failures, xml.errors) == (2, 1)


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_name_and_any_message_is_well_formed(made_of_text, text):
    SCHEMA.validate(JUnit().of_run(made_of_text(text)))


@pytest.fixture(scope="module")
def made_of_text():
    from results.snapshot import CellState, Snapshot

    def made(text):
        fields = dict.fromkeys(("engine", "precision", "device", "scenario"), text)
        cell = CellState("id", "key", text, workload=text, status="failed", why=text, **fields)
        run = dict.fromkeys(("run_id", "suite", "preset", "hw_id", "env_id", "harness_version"), text)
        return Snapshot(created_at="2026-11-23T01:02:03+00:00", hardware={}, environment={}, cells=(cell,), **run)

    return made
