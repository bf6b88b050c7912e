import getpass
import json
import os
import platform
import subprocess
import sys
import types
from pathlib import Path

import pytest

from harness import host
from harness.system import cpu_quota_cores, memory_limit_bytes

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8480+
stepping\t: 8
microcode\t: 0x2b0005c0
flags\t\t: fpu sse4_2 smep avx2 fma avx512_vnni avx512_bf16 amx_tile amx_int8 hypervisor

processor\t: 1
model name\t: another
"""
ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd asimddp asimdhp sve sve2 i8mm bf16 crc32
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd40
CPU revision\t: 1
"""


@pytest.fixture
def machine(tmp_path):
    def put(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    put("proc/cpuinfo", X86)
    put("proc/meminfo", "MemTotal:       65839428 kB\nMemAvailable:   33554432 kB\n")
    cpu = "sys/devices/system/cpu"
    for number in range(4):
        put(f"{cpu}/cpu{number}/topology/physical_package_id", "0\n")
        put(f"{cpu}/cpu{number}/topology/core_id", f"{number // 2}\n")
        for index, (level, kind, size, shared) in enumerate(
            [
                ("1", "Data", "48K", number // 2),
                ("1", "Instruction", "32K", number // 2),
                ("3", "Unified", "105M", "all"),
            ]
        ):
            put(f"{cpu}/cpu{number}/cache/index{index}/level", level)
            put(f"{cpu}/cpu{number}/cache/index{index}/type", kind)
            put(f"{cpu}/cpu{number}/cache/index{index}/size", size)
            put(f"{cpu}/cpu{number}/cache/index{index}/shared_cpu_list", str(shared))
        put(f"{cpu}/cpu{number}/cpufreq/scaling_governor", "powersave\n")
        put(f"{cpu}/cpu{number}/cpufreq/scaling_cur_freq", "2100000\n")
    put(f"{cpu}/intel_pstate/no_turbo", "0\n")
    put(f"{cpu}/smt/active", "1\n")
    (tmp_path / "sys/devices/system/node/node0").mkdir(parents=True)
    put("sys/class/dmi/id/sys_vendor", "QEMU\n")
    put("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n")
    put("sys/class/thermal/thermal_zone0/temp", "47000\n")
    put("proc/stat", "cpu  1000 0 500 8000 10 0 5 100 0 0\n")
    put("proc/pressure/cpu", "some avg10=1.00 avg60=0.00 avg300=0.00 total=0\n")
    put("proc/self/cgroup", "0::/job\n")
    put("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    put("sys/fs/cgroup/job/cpu.max", "250000 100000\n")
    put("sys/fs/cgroup/job/cpu.stat", "nr_throttled 12\n")
    put("sys/fs/cgroup/job/memory.max", "8589934592\n")
    return put


def test_an_x86_machine(machine, tmp_path):
    found = host.hardware(tmp_path)
    assert found["cpu"] == {
        "vendor": "GenuineIntel", "family": "6", "model": "143", "name": "Intel(R) Xeon(R) Platinum 8480+",
        "stepping": "8",
    }  # fmt: skip
    assert found["topology"] == {"sockets": 1, "cores": 2, "threads": 4}
    assert found["caches"] == {"L1d": "48K x 2", "L1i": "32K x 2", "L3": "105M x 1"}
    assert found["isa"] == ["amx_int8", "amx_tile", "avx2", "avx512_bf16", "avx512_vnni", "fma", "sse4_2"]
    assert (found["numa_nodes"], found["memory_gib"], found["hypervisor"]) == (1, 63, "QEMU")
    assert found["accelerators"] == []


def test_an_arm_machine(machine, tmp_path):
    machine("proc/cpuinfo", ARM)
    machine("proc/device-tree/model", "NVIDIA Jetson AGX Orin\0")
    found = host.hardware(tmp_path)
    assert found["cpu"] == {"vendor": "0x41", "family": "8", "model": "0xd40", "stepping": "1"}
    assert found["isa"] == ["asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2"]
    assert found["board"] == "NVIDIA Jetson AGX Orin"


def test_bare_metal_has_no_hypervisor(machine, tmp_path):
    machine("proc/cpuinfo", X86.replace(" hypervisor", ""))
    assert host.hardware(tmp_path)["hypervisor"] == "none"


def test_memory_to_the_nearest_gib_does_not_change_the_machine(machine, tmp_path):
    before = host.short_id(host.hardware(tmp_path))
    machine("proc/meminfo", "MemTotal:       65839000 kB\n")
    assert host.short_id(host.hardware(tmp_path)) == before
    machine("proc/meminfo", "MemTotal:       32919714 kB\n")
    assert host.short_id(host.hardware(tmp_path)) != before
    assert len(before) == 12


def test_a_system_without_proc_and_sys_tells_reasons(tmp_path):
    for facts in (host.hardware(tmp_path), host.environment({}, root=tmp_path), host.conditions(tmp_path)):
        json.dumps(facts, allow_nan=False)
    assert host.hardware(tmp_path)["cpu"].startswith("unavailable: /proc/cpuinfo")
    assert host.environment({}, root=tmp_path)["governor"].startswith("unavailable: ")
    assert host.conditions(tmp_path)["temperatures_c"].startswith("unavailable: ")


@pytest.mark.parametrize("name", ["sched_getaffinity", "getloadavg"])
def test_calls_that_another_system_lacks_are_unavailable(tmp_path, monkeypatch, name):
    monkeypatch.delattr(os, name)
    facts = {**host.environment({}, root=tmp_path), **host.conditions(tmp_path)}
    key = {"sched_getaffinity": "affinity", "getloadavg": "load_average"}[name]
    assert facts[key].startswith("unavailable: AttributeError")


def test_garbage_is_unavailable(machine, tmp_path):
    machine("proc/meminfo", "MemTotal: lots\n")
    machine("sys/class/thermal/thermal_zone0/temp", "hot\n")
    assert host.hardware(tmp_path)["memory_gib"].startswith("unavailable")
    assert host.conditions(tmp_path)["temperatures_c"].startswith("unavailable")


def test_the_environment_explains(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("LD_PRELOAD", "/home/somebody/lib/libjemalloc.so.2")
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    found = host.environment({"numpy": "2", "a": "1"}, root=tmp_path)
    assert (found["governor"], found["turbo"], found["smt"]) == ("powersave", "on", "1")
    assert (found["cpu_quota_cores"], found["memory_limit_bytes"]) == (2.5, 8 << 30)
    assert found["thread_variables"]["OMP_NUM_THREADS"] == "2"
    assert found["preloaded"] == ["libjemalloc.so.2"]
    assert list(found["versions"]) == ["a", "numpy"]
    assert found["microcode"] == "0x2b0005c0"
    text = json.dumps(found)
    assert "hidden" not in text
    assert "somebody" not in text


def test_nothing_personal_is_told(monkeypatch):
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    text = json.dumps(host.fingerprint({}))
    assert platform.node() not in text or len(platform.node()) < 4  # a name such as "vm" is in any text
    assert f"/{getpass.getuser()}/" not in text
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text


def test_conditions_are_not_in_the_hashes(machine, tmp_path):
    before = host.fingerprint({}, root=tmp_path)
    machine("sys/class/thermal/thermal_zone0/temp", "90000\n")
    machine("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "800000\n")
    after = host.fingerprint({}, root=tmp_path)
    assert (before["hw_id"], before["env_id"]) == (after["hw_id"], after["env_id"])
    assert before["conditions"] != after["conditions"]
    assert after["conditions"]["temperatures_c"] == {"thermal_zone0 x86_pkg_temp": 90.0}
    assert before["env_id"] != host.fingerprint({"numpy": "2"}, root=tmp_path)["env_id"]


def test_the_revision_of_a_repository(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert host.environment({}, tmp_path)["revision"].startswith("unavailable")
    git("init")
    (tmp_path / "suite.yaml").write_text("version: 1\n")
    git("add", ".")
    git("commit", "-m", "first")
    clean = host.environment({}, tmp_path)["revision"]
    assert (len(clean["sha"]), clean["dirty"]) == (40, False)
    (tmp_path / "suite.yaml").write_text("version: 2\n")
    assert host.environment({}, tmp_path)["revision"] == {**clean, "dirty": True}


def test_the_revision_is_that_of_the_folder_within_a_hook_of_another_repository(tmp_path, monkeypatch):
    for name in ("own", "other"):
        folder = tmp_path / name
        subprocess.run(["git", "init", "-q", folder], check=True)
        author = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", "-C", folder, *author, "commit", "-q", "--allow-empty", "-m", name], check=True)
    own = host.environment({}, tmp_path / "own")["revision"]
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert host.environment({}, tmp_path / "own")["revision"] == own
    assert len(own["sha"]) == 40


def test_without_git_the_revision_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert host.environment({}, tmp_path)["revision"] == "unavailable: git: FileNotFoundError"


def nvml(**changes):
    """A stand-in for pynvml with one device."""
    module = types.ModuleType("pynvml")
    module.NVMLError = type("NVMLError", (Exception,), {})
    module.nvmlInit = module.nvmlShutdown = lambda: None
    module.nvmlDeviceGetCount = lambda: 1
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetName = lambda device: b"NVIDIA L4"
    module.nvmlDeviceGetMemoryInfo = lambda device: types.SimpleNamespace(total=24 << 30)
    module.nvmlDeviceGetEnforcedPowerLimit = lambda device: 72_000
    for name, value in changes.items():
        setattr(module, name, value)
    return module


def test_nvidia_devices(machine, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    expected = [{"name": "NVIDIA L4", "memory_gib": 24, "power_limit_w": 72}]
    assert host.hardware(tmp_path)["accelerators"] == expected


def test_a_driver_that_cannot_be_asked_is_unavailable_and_none_is_none(machine, tmp_path, monkeypatch):
    module = nvml()

    def broken(*_):
        raise module.NVMLError("Driver Not Loaded")

    module.nvmlInit = broken
    for stand_in in (module, None):
        monkeypatch.setitem(sys.modules, "pynvml", stand_in)
        assert host.hardware(tmp_path)["accelerators"] == []
    machine("proc/driver/nvidia/version", "NVRM version: 570\n")
    assert "nvidia-ml-py" in host.hardware(tmp_path)["accelerators"]
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert "Driver Not Loaded" in host.hardware(tmp_path)["accelerators"]


def test_a_power_limit_that_is_not_told_is_unavailable(machine, tmp_path, monkeypatch):
    module = nvml()

    def refuse(device):
        raise module.NVMLError("Not Supported")

    module.nvmlDeviceGetEnforcedPowerLimit = refuse
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert host.hardware(tmp_path)["accelerators"][0]["power_limit_w"] == "unavailable: Not Supported"


def test_limits_of_version_1_groups_and_of_outer_groups(machine, tmp_path):
    machine("proc/self/cgroup", "3:cpu,cpuacct:/a/b\n4:memory:/a/b\n0::/\n")
    machine(
        "proc/self/mountinfo",
        "33 23 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "34 23 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    )
    machine("sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "-1\n")
    machine("sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n")
    machine("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "150000\n")
    machine("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
    machine("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n")
    assert cpu_quota_cores(tmp_path) == 1.5
    assert memory_limit_bytes(tmp_path) is None
    machine("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824\n")
    assert memory_limit_bytes(tmp_path) == 1 << 30
