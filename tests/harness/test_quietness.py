"""What the doctor says of a machine: over folders that stand for its /proc and /sys, and a scripted nvidia-smi."""

import os
import subprocess

import pytest

from harness import busy, nvidia
from harness.quietness import quietness
from harness.vocabulary import State

CPU = "sys/devices/system/cpu"
HZ = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def machine(tmp_path):
    """A fit machine of four processors, of which two are this process's own."""

    def put(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    for number in range(4):
        put(f"{CPU}/cpu{number}/cpufreq/scaling_governor", "performance\n")
    put(f"{CPU}/cpufreq/boost", "0\n")
    put(f"{CPU}/smt/active", "0\n")
    put(f"{CPU}/online", "0-3\n")
    put(f"{CPU}/isolated", "\n")
    put("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
    put("proc/self/status", "Name:\tpython\nCpus_allowed_list:\t2-3,8-15\n")
    put("proc/self/stat", "40 (python) R 1 40 40 0 -1 0 0 0 0 0 900 900 0 0 20 0 1 0 5 0 0\n")
    put("proc/self/cgroup", "0::/job\n")
    put("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    put("sys/fs/cgroup/job/cpu.max", "max 100000\n")
    put("sys/fs/cgroup/job/cpu.stat", "nr_periods 0\nnr_throttled 0\n")
    put("proc/stat", "cpu  1000 0 500 8000 10 0 5 100 0 0\n")
    put("proc/vmstat", "pgfault 7\npswpin 10\npswpout 20\n")
    put("proc/meminfo", "MemTotal: 1 kB\n")
    process(put, 40, "python", 1800)
    process(put, 51, "cc1 (plus) x", 100)
    process(put, 52, "node", 100)
    return put


def process(put, number, name, ticks, start=5):
    put(f"proc/{number}/stat", f"{number} ({name}) R 1 2 2 0 -1 0 0 0 0 0 {ticks - 40} 40 0 0 20 0 1 0 {start} 0 0\n")


@pytest.fixture(autouse=True)
def _idle(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))


def checks(root, during=lambda: None, ask=lambda _: ""):
    return {check.name: check for check in quietness(root, 1.0, lambda _: during(), ask)}


def test_a_fit_machine_needs_no_advice(machine, tmp_path):
    found = checks(tmp_path, lambda: machine("proc/stat", "cpu  1000 0 500 8100 10 0 5 100 0 0\n"))
    assert {check.state for check in found.values()} == {State.OK}
    assert not any(check.advice for check in found.values())
    assert found["pinning"].value == "2 of 4 processors"


def test_an_unfit_machine_is_told_how_to_be_set(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 1.0, 1.0))
    machine(f"{CPU}/cpu1/cpufreq/scaling_governor", "powersave\n")
    machine(f"{CPU}/intel_pstate/no_turbo", "0\n")
    machine(f"{CPU}/smt/active", "1\n")
    machine("proc/pressure/cpu", "some avg10=35.00 avg60=0.00 avg300=0.00 total=0\n")
    machine("proc/self/status", "Cpus_allowed_list:\t0-127\n")
    machine("sys/fs/cgroup/job/cpu.max", "250000 100000\n")
    machine("sys/fs/cgroup/job/cpu.stat", "nr_throttled 12\n")

    def during():
        machine("proc/stat", "cpu  1000 0 500 8090 10 0 5 110 0 0\n")
        machine("proc/vmstat", "pswpin 13\npswpout 20\n")
        process(machine, 52, "node", 100 + HZ)

    found = checks(tmp_path, during)
    assert {check.state for check in found.values()} == {State.BAD}
    assert all(check.advice for check in found.values())
    assert found["governor"].value == "performance, powersave"
    assert found["turbo"].advice == f"echo 1 | sudo tee /{CPU}/intel_pstate/no_turbo"
    assert found["steal"].value == "10.0%"
    assert found["swap"].value == "3 pages while watched"
    assert found["cgroup quota"].value == "2.5 cores for 4 processors, 12 periods cut short so far"
    assert "threads: [2]" in found["cgroup quota"].advice
    assert "--cpus 4" in found["cgroup quota"].advice


def test_a_quota_below_the_processors_is_told_before_it_ever_cut_short(machine, tmp_path):
    machine("sys/fs/cgroup/job/cpu.max", "50000 100000\n")
    check = checks(tmp_path)["cgroup quota"]
    assert (check.state, check.value) == (State.BAD, "0.5 cores for 2 processors, 0 periods cut short so far")
    assert "threads: [1]" in check.advice


def test_a_quota_that_covers_the_processors_is_no_noise(machine, tmp_path):
    machine("sys/fs/cgroup/job/cpu.max", "200000 100000\n")
    assert checks(tmp_path)["cgroup quota"].state is State.OK


def test_the_busiest_others_are_named(machine, tmp_path):
    def during():
        process(machine, 40, "python", 1800 + 9 * HZ)  # ourselves
        process(machine, 51, "cc1 (plus) x", 100 + HZ // 2)
        process(machine, 52, "node", 100 + HZ // 4)
        process(machine, 60, "came", HZ // 10)

    check = checks(tmp_path, during)["other processes"]
    assert check.state is State.BAD
    assert check.value == "0.85 processors while watched: cc1 (plus) x 0.50, node 0.25, came 0.10"
    assert check.advice.endswith("cc1 (plus) x, node, came")


def test_a_number_used_again_is_another_process(machine, tmp_path):
    check = checks(tmp_path, lambda: process(machine, 52, "node", 40 + HZ, start=6))["other processes"]
    assert check.state is State.BAD  # of the former it would be 60 ticks less
    assert "node" in check.value


def test_a_worker_of_the_kernel_that_takes_another_name_is_the_same(machine, tmp_path):
    check = checks(tmp_path, lambda: process(machine, 52, "kworker/1:0-events", 100 + HZ // 10))["other processes"]
    assert (check.state, check.value) == (State.OK, "0.10 processors while watched: kworker/1:0-events 0.10")


def test_a_process_that_ends_meanwhile_is_left_out(machine, tmp_path):
    check = checks(tmp_path, (tmp_path / "proc/51/stat").unlink)["other processes"]
    assert (check.state, check.value) == (State.OK, "0.00 processors while watched")


@pytest.mark.parametrize(
    ("isolated", "advice"),
    [
        ("", "taskset --cpu-list 2-3 harness run ...; to keep others off them too, boot with isolcpus=2-3"),
        ("1,3", "taskset --cpu-list 1,3 harness run ..."),
    ],
)
def test_pinning_names_processors_of_its_own(machine, tmp_path, isolated, advice):
    machine("proc/self/status", "Cpus_allowed_list:\t0-3\n")
    machine(f"{CPU}/isolated", f"{isolated}\n")
    check = checks(tmp_path)["pinning"]
    assert (check.state, check.advice) == (State.BAD, advice)
    assert ("1,3 isolated" in check.value) == bool(isolated)


def test_one_processor_needs_no_pinning(machine, tmp_path):
    machine(f"{CPU}/online", "0\n")
    machine("proc/self/status", "Cpus_allowed_list:\t0\n")
    assert checks(tmp_path)["pinning"].state is State.OK


def test_a_system_that_tells_nothing_is_unavailable_not_ok(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "getloadavg")
    found = checks(tmp_path / "nothing")
    assert {check.state for check in found.values()} == {State.UNAVAILABLE}
    assert all(check.value for check in found.values())


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("proc/52/stat", "52 (node) R 1\n", "other processes"),
        ("proc/52/stat", f"52 (node) R {'x ' * 20}\n", "other processes"),
        ("proc/self/stat", "", "other processes"),
        ("proc/vmstat", "pswpin\n", "swap"),
        ("proc/vmstat", "pgfault 7\n", "swap"),
        ("proc/self/status", "Name:\tpython\n", "pinning"),
        (f"{CPU}/isolated", "none\n", "pinning"),
        (f"{CPU}/online", "a-b\n", "pinning"),
    ],
)
def test_an_unknown_form_is_unavailable_never_an_exception(machine, tmp_path, path, text, name):
    machine(path, text)
    check = checks(tmp_path)[name]
    assert check.state is State.UNAVAILABLE
    assert check.value


def test_on_this_machine():
    found = quietness(watch_s=0.01)
    assert {check.name for check in found} >= {
        "governor",
        "load",
        "other processes",
        "steal",
        "pinning",
        "cgroup quota",
    }


def test_processes_are_read_here_without_this_one():
    ticks = busy.ticks()
    assert ticks
    assert os.getpid() not in {number for number, _ in ticks}


# -- NVIDIA


def smi(gpus, apps=""):
    def ask(arguments):
        return gpus if any(each.startswith("--query-gpu=") for each in arguments) else apps

    return ask


def test_a_gpu_that_does_not_hold_still(machine, tmp_path):
    ask = smi("0, Stand-in, Disabled, 1410, 1980\n", "4711, python, 900 MiB\n")
    found = checks(tmp_path, ask=ask)
    persistence, clocks, others = (found[f"gpu 0 {name}"] for name in ("persistence", "clocks", "other processes"))
    assert (persistence.state, persistence.advice) == (State.BAD, "sudo nvidia-smi -i 0 --persistence-mode=1")
    assert (clocks.state, clocks.value[:34]) == (State.UNAVAILABLE, "Stand-in: 1410 of at most 1980 MHz")
    assert "--lock-gpu-clocks" in clocks.advice
    assert "--reset-gpu-clocks" in clocks.advice
    assert (others.state, others.value) == (State.BAD, "4711, python, 900 MiB")


def test_a_gpu_of_ones_own(machine, tmp_path):
    found = checks(tmp_path, ask=smi("0, A, Enabled, 300, 1980\n1, B, [N/A], 300, [N/A]\n"))
    assert [found[f"gpu {index} persistence"].state for index in (0, 1)] == [State.OK, State.UNAVAILABLE]
    assert found["gpu 1 other processes"].state is State.OK


@pytest.mark.parametrize("said", ["", "No devices were found\n", "Field is not valid\n"])
def test_without_a_gpu_nothing_is_said_of_one(machine, tmp_path, said):
    assert not [name for name in checks(tmp_path, ask=smi(said)) if name.startswith("gpu")]


def test_nvidia_smi_that_is_missing_or_fails_tells_nothing(monkeypatch):
    monkeypatch.setattr(nvidia.shutil, "which", lambda _: None)
    assert nvidia.ask(["-L"]) == ""
    monkeypatch.setattr(nvidia.shutil, "which", lambda name: name)
    for error in (OSError("gone"), subprocess.TimeoutExpired("nvidia-smi", 1), subprocess.CalledProcessError(9, "")):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(nvidia.subprocess, "run", fail)
        assert nvidia.ask(["-L"]) == ""
