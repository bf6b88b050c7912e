"""What Linux tells of processors, over folders that stand for its /proc and /sys."""

from __future__ import annotations

import os

import pytest

from harness import engine
from harness.system import allowed_processors, processor_list, usable_processors


@pytest.fixture
def machine(tmp_path):
    """Four processors, of which two are this process's own, and a control group that limits nothing."""

    def put(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    put("sys/devices/system/cpu/online", "0-3\n")
    put("proc/self/status", "Name:\tpython\nCpus_allowed_list:\t2-3,8-15\n")
    put("proc/self/cgroup", "0::/job\n")
    put("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    put("sys/fs/cgroup/job/cpu.max", "max 100000\n")
    return put


@pytest.mark.parametrize(
    ("text", "numbers"), [("", set()), ("0", {0}), ("0-2,8", {0, 1, 2, 8}), ("3-3,5-6\n", {3, 5, 6})]
)
def test_lists_of_processors(text, numbers):
    assert processor_list(text) == numbers


def test_processors_that_are_not_there_are_not_allowed(machine, tmp_path):
    assert allowed_processors(tmp_path) == {2, 3}
    (tmp_path / "sys/devices/system/cpu/online").unlink()
    assert allowed_processors(tmp_path) == {2, 3, *range(8, 16)}


@pytest.mark.parametrize(
    ("quota", "usable"), [("max 100000", 4), ("150000 100000", 1), ("250000 100000", 2), ("20000 100000", 1)]
)
def test_usable_processors_keep_within_affinity_and_quota(machine, tmp_path, quota, usable):
    machine("proc/self/status", "Cpus_allowed_list:\t0-63\n")
    machine("sys/fs/cgroup/job/cpu.max", f"{quota}\n")
    assert usable_processors(tmp_path) == usable


def test_the_quota_of_an_outer_group_and_of_version_1_counts(machine, tmp_path):
    machine("proc/self/status", "Cpus_allowed_list:\t0-3\n")
    machine("proc/self/cgroup", "3:cpu,cpuacct:/a/b\n0::/\n")
    machine("proc/self/mountinfo", "33 23 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n")
    machine("sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "-1\n")
    machine("sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n")
    machine("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "350000\n")
    machine("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
    assert usable_processors(tmp_path) == 3


def test_without_control_groups_affinity_alone_counts(machine, tmp_path):
    (tmp_path / "proc/self/cgroup").unlink()
    assert usable_processors(tmp_path) == 2


@pytest.mark.parametrize("place", ["proc/self/status", "proc/self/cgroup", "proc/self/mountinfo"])
def test_what_has_an_unknown_form_limits_nothing(machine, tmp_path, monkeypatch, place):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3}, raising=False)
    machine(place, "Cpus_allowed_list:\tall\n")
    assert usable_processors(tmp_path) == 2


def test_without_proc_the_kernel_is_asked_and_without_affinity_all_count(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5}, raising=False)
    assert usable_processors(tmp_path) == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_processors(tmp_path) == 7


def test_engines_are_told_the_same():
    assert engine.usable_processors is usable_processors
