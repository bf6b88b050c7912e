"""Hosts by kind, and what is refused before anything runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import pytest

import harness
from harness.fleet import machines
from harness.fleet.contract import About, FleetError, HostLostError
from harness.fleet.machines import Kind, Machine
from harness.vocabulary import (
    Cell,
    DeviceFacts,
    EngineFacts,
    Failed,
    Level,
    Precision,
    Scenario,
    Skipped,
    Stage,
    Support,
)

NATIVE = {"fp32": Support(Level.NATIVE)}


def facts(version="1.0", devices=("cpu",), **versions):
    return EngineFacts("a", version, tuple(DeviceFacts(name, "", NATIVE) for name in devices), versions)


@dataclass
class Host:
    name: str
    hw_id: str = "one"
    version: str = harness.__version__
    engines: dict = field(default_factory=lambda: {"a": facts()})
    meets: object = None

    def about(self):
        if self.meets is not None:
            self.meets.wait(60)
        return About(self.name, self.version, self.hw_id, {}, {})

    def probe(self, engines, cpus):
        return {name: self.engines[name] for name in engines}


def asked(*hosts, engines=("a",)):
    return machines.ask(hosts, engines, None)


def cell(engine="a", device="cpu"):
    return Cell("w", "h", {"name": "raw"}, (3,), engine, Precision.FP32, device, Scenario("latency"))


def test_hosts_are_asked_at_the_same_time():
    meets = threading.Barrier(3)
    found = asked(*(Host(name, meets=meets) for name in ("oak", "ash", "elm")))
    assert [machine.name for machine in found] == ["ash", "elm", "oak"]


def test_a_host_that_is_lost_while_it_is_asked_is_told_of():
    class Lost(Host):
        def probe(self, engines, cpus):
            raise HostLostError("oak does not answer")

    with pytest.raises(HostLostError, match="oak does not answer"):
        asked(Host("elm"), Lost("oak"))


def test_names_versions_and_an_empty_fleet_are_refused():
    with pytest.raises(FleetError, match="no hosts"):
        asked()
    with pytest.raises(FleetError, match="two hosts are called 'oak'"):
        asked(Host("oak"), Host("oak"))
    with pytest.raises(FleetError, match=r"the host oak has harness 0\.0\.1"):
        asked(Host("elm"), Host("oak", version="0.0.1"))


def test_a_kind_is_one_hardware_that_can_do_the_same():
    found = machines.kinds(
        asked(
            Host("ash"),
            Host("elm", "two"),
            Host("fir"),
            Host("oak", engines={"a": facts("2.0")}),
            Host("yew", engines={"a": facts(devices=("cpu", "cuda:0"))}),
        )
    )
    names = [[machine.name for machine in kind.machines] for kind in found]
    assert names == [["ash", "fir"], ["elm"], ["oak"], ["yew"]]
    assert found[0].name == "ash"
    assert found[0].engines == {"a": facts()}


def test_the_words_of_what_is_absent_make_no_kind():
    reasons = [{"a": Skipped(f"not installed on {name}")} for name in ("ash", "elm")]
    assert len(machines.kinds(asked(Host("ash", engines=reasons[0]), Host("elm", engines=reasons[1])))) == 1


def test_what_tells_kinds_of_one_hardware_apart_is_said():
    found = machines.kinds(
        asked(Host("ash"), Host("oak", engines={"a": facts("2.0")}), Host("yew", "other", engines={"a": facts("3.0")}))
    )
    (words,) = machines.differing(found)
    assert words.startswith("ash, oak are of one hardware and differ in a (1.0, 2.0): each measures the whole suite")
    assert machines.differing(found[:1]) == ()


def kind(called="oak", **engines):
    host = Host(called)
    return Kind("one", (Machine(host, host.about(), engines),))


def test_what_no_host_offers_is_refused_by_name():
    absent = Skipped("not installed")
    with pytest.raises(FleetError, match="offers the engine 'b'") as refused:
        machines.check_offered([cell(), cell("b", "auto")], [kind(a=facts(), b=absent)])
    assert "oak: not installed" in refused.value.hint
    with pytest.raises(FleetError, match=r"offers the device 'gpu\.1'") as refused:
        machines.check_offered([cell(device="gpu.1")], [kind(a=facts(devices=("cpu", "gpu.0")))])
    assert "the hosts offer cpu, gpu.0" in refused.value.hint


def test_what_some_host_offers_is_not_refused():
    absent = Skipped("not installed")
    cells = [cell(), cell("b", "gpu.0"), cell("b", "auto")]
    machines.check_offered(cells, [kind(a=facts(), b=absent), kind("elm", a=absent, b=facts(devices=("gpu.0",)))])


def test_an_engine_that_crashed_where_it_was_asked_is_there():
    crashed = Failed(Stage.PROBE, "crash", "killed by SIGABRT")
    machines.check_offered([cell(device="auto"), cell(device="cuda:0")], [kind(a=crashed)])


def test_a_thread_that_breaks_is_heard_of():
    def broken(item):
        raise ZeroDivisionError(item)

    with pytest.raises(ZeroDivisionError, match="1"):
        machines.together([1], broken)
    assert machines.together([3, 1, 2], lambda item: -item) == [-3, -1, -2]


def test_facts_are_compared_whatever_they_say_besides():
    described = replace(facts(), devices=(DeviceFacts("cpu", "3.1 GiB free", NATIVE),))
    assert len(machines.kinds(asked(Host("ash"), Host("elm", engines={"a": described})))) == 1
