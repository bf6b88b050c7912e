"""The machine's sensors: which are found, what their rows hold, and the process that samples them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.system import Unavailable
from harness.telemetry import beside, files, noise
from harness.telemetry.beside import Beside
from harness.telemetry.sensor import Column
from harness.telemetry.sources import opened, survey
from harness.telemetry.table import Table
from harness.vocabulary import State


def written(root, **values):
    for place, value in values.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(f"{value}\n")


def zone(root, name, label, energy_uj=1_000_000, wraps=262_143_328_850):
    place = f"sys/class/powercap/{name}"
    written(root, **{f"{place}/name": label, f"{place}/energy_uj": energy_uj, f"{place}/max_energy_range_uj": wraps})


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.fixture
def root(tmp_path):
    """The files of a machine with one package, a chassis meter and two clocks."""
    folder = tmp_path / "root"
    zone(folder, "intel-rapl:0", "package-0")
    zone(folder, "intel-rapl:0:0", "core")
    zone(folder, "intel-rapl:0:1", "dram", 500_000, 65_712_999_613)
    zone(folder, "intel-rapl-mmio:0", "package-0")
    written(
        folder,
        **{
            "sys/class/hwmon/hwmon0/name": "power_meter",
            "sys/class/hwmon/hwmon0/power1_average": 180_000_000,
            "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp",
            "sys/class/thermal/thermal_zone0/temp": 61_000,
            "sys/class/thermal/thermal_zone1/type": "acpitz",
            "sys/class/thermal/thermal_zone1/temp": 27_800,
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": 3_000_000,
            "sys/devices/system/cpu/cpufreq/policy1/scaling_cur_freq": 2_000_000,
        },
    )
    return folder


def told(sensors):
    return dict(zip((s.column.name for s in sensors.found), sensors.read(), strict=True))


def test_each_sensor_of_the_machine_is_found_once_and_energy_is_read_first(root):
    with opened(root) as sensors:
        values = told(sensors)
        columns = {sensor.column.name: sensor.column for sensor in sensors.found}
    assert values == {
        "rapl/intel-rapl:0": 1_000_000,
        "rapl/intel-rapl:0:1": 500_000,
        "board/hwmon0": 180_000_000,
        "temperature/thermal_zone0 x86_pkg_temp": 61_000,
        "cpufreq/mean": 2_500_000,
    }
    assert list(values)[:2] == ["rapl/intel-rapl:0", "rapl/intel-rapl:0:1"]
    package, memory = columns["rapl/intel-rapl:0"], columns["rapl/intel-rapl:0:1"]
    assert (package.scope, package.unit, package.wraps) == ("package", "uJ", 262_143_328_850)
    assert (memory.scope, memory.wraps) == ("dram", 65_712_999_613)


def test_a_sensor_is_read_anew_each_time_and_says_so_where_it_does_not_answer(root):
    with opened(root) as sensors:
        counter = root / "sys/class/powercap/intel-rapl:0/energy_uj"
        counter.write_text("2000000\n")
        assert told(sensors)["rapl/intel-rapl:0"] == 2_000_000
        counter.write_text("no number\n")
        assert told(sensors)["rapl/intel-rapl:0"] is None


def test_sensors_leave_no_file_open(root):
    before = psutil.Process().num_fds()
    with opened(root):
        assert psutil.Process().num_fds() > before
    assert psutil.Process().num_fds() == before


def test_a_counter_that_only_root_may_read_says_how_to_open_it(root, monkeypatch):
    real = os.open

    def refused(path, flags):
        if str(path).endswith("energy_uj"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr(files.os, "open", refused)
    with opened(root) as sensors:
        assert not any(name.startswith("rapl/") for name in told(sensors))
    assert "CVE-2020-8694" in sensors.absent["rapl"]
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in sensors.absent["rapl"]
    assert "udev" in sensors.absent["rapl"]


@pytest.mark.parametrize("trouble", ["energy_uj", "max_energy_range_uj"])
def test_a_zone_that_is_not_whole_is_left_out(root, trouble):
    (root / "sys/class/powercap/intel-rapl:0" / trouble).write_text("")
    with opened(root) as sensors:
        assert [name for name in told(sensors) if name.startswith("rapl/")] == ["rapl/intel-rapl:0:1"]


def test_an_empty_machine_tells_why_of_every_source(tmp_path):
    found = survey(tmp_path)
    assert found["columns"] == []
    assert set(found["absent"]) == {"rapl", "nvml", "board", "temperature", "cpufreq"}
    assert "inference-harness[energy]" in found["absent"]["nvml"]
    assert all(found["absent"].values())


def test_the_input_rail_of_a_jetson_is_the_power_of_its_board(tmp_path):
    chip = "sys/class/hwmon/hwmon3"
    written(
        tmp_path,
        **{
            f"{chip}/name": "ina3221",
            f"{chip}/in1_label": "VDD_IN",
            f"{chip}/in1_input": 5_000,
            f"{chip}/curr1_input": 1_200,
            f"{chip}/in2_label": "VDD_CPU_GPU_CV",
            f"{chip}/in2_input": 5_000,
            f"{chip}/curr2_input": 700,
        },
    )
    with opened(tmp_path) as sensors:
        assert told(sensors) == {"board/hwmon3/1": 6_000_000}  # microwatts
        assert sensors.found[0].column.scope == "board"


class NvmlError(Exception):
    """As the binding's own: every answer may be one."""


@pytest.fixture
def gpu(monkeypatch, root):
    """A scripted NVML with one GPU, on which process 70 is ours and 71 a stranger's."""
    library = SimpleNamespace(
        NVMLError=NvmlError,
        closed=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: f"handle {index}",
        nvmlDeviceGetTotalEnergyConsumption=lambda _: 5_000,
        nvmlDeviceGetPowerUsage=lambda _: 250_000,
        nvmlDeviceGetTemperatureV=lambda _, sensor: 64,
        nvmlDeviceGetClockInfo=lambda _, kind: {1: 1980, 2: 2619}[kind],
        nvmlDeviceGetCurrentClocksEventReasons=lambda _: 0x40,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=1 << 30),
        nvmlDeviceGetComputeRunningProcesses=lambda _: [SimpleNamespace(pid=70), SimpleNamespace(pid=71)],
        nvmlDeviceGetGraphicsRunningProcesses=lambda _: [SimpleNamespace(pid=72)],
    )

    def shutdown():
        library.closed += 1

    library.nvmlShutdown = shutdown
    monkeypatch.setitem(sys.modules, "pynvml", library)
    # A process may call itself anything, brackets and spaces included.
    written(root, **{"proc/70/stat": "70 (python) (x) 1) S 60 70", "proc/60/stat": "60 (sh) S 50 60"})
    written(root, **{"proc/71/stat": "71 (other) S 1 71", "proc/72/stat": "72 (Xorg) S 1 72"})
    namespace = root / "proc/self/ns/pid"
    namespace.parent.mkdir(parents=True)
    namespace.symlink_to("pid:[4026531836]")
    return library


def refusal(*_):
    raise NvmlError("Not Supported")


def of_gpu(sensors):
    return {name[len("nvml/0/") :]: value for name, value in told(sensors).items() if name.startswith("nvml/")}


def test_a_gpu_tells_its_energy_its_clocks_and_whose_processes_it_holds(gpu, root):
    with opened(root, ancestor=50) as sensors:
        assert of_gpu(sensors) == {
            "energy": 5_000,
            "power": 250_000,
            "temperature": 64,
            "clock": 1980,
            "memory-clock": 2619,
            "reasons": 0x40,
            "memory": 1 << 30,
            "own": 1,
            "foreign": 1,
        }
        assert [s.column.quantity for s in sensors.found[:3]] == ["energy"] * 3
        assert gpu.closed == 0
    assert gpu.closed == 1


def test_what_a_gpu_does_not_tell_is_absent_by_name_and_the_rest_is_read(gpu, root):
    gpu.nvmlDeviceGetTotalEnergyConsumption = refusal
    with opened(root) as sensors:
        assert "energy" not in of_gpu(sensors)
        assert of_gpu(sensors)["power"] == 250_000
    assert sensors.absent["nvml/0/energy"] == "NVML: Not Supported"


@pytest.mark.parametrize("older", ["a binding without it", "a driver without it"])
def test_the_older_names_are_asked_where_the_newer_ones_are_not_known(gpu, root, older):
    for name in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons"):
        if older == "a binding without it":
            delattr(gpu, name)
        else:
            setattr(gpu, name, refusal)
    gpu.nvmlDeviceGetTemperature = lambda _, sensor: 65
    gpu.nvmlDeviceGetCurrentClocksThrottleReasons = lambda _: 0x08
    with opened(root) as sensors:
        assert (of_gpu(sensors)["temperature"], of_gpu(sensors)["reasons"]) == (65, 0x08)


def test_processes_are_not_told_apart_in_a_container_with_numbers_of_its_own(gpu, root):
    namespace = root / "proc/self/ns/pid"
    namespace.unlink()
    namespace.symlink_to("pid:[4026532281]")
    with opened(root) as sensors:
        assert not {"own", "foreign"} & set(of_gpu(sensors))
    assert "--pid=host" in sensors.absent["nvml/0/own"]


def test_a_driver_that_does_not_start_is_named(gpu, root):
    gpu.nvmlInit = refusal
    with opened(root) as sensors:
        assert not of_gpu(sensors)
    assert sensors.absent["nvml"] == "NVML: Not Supported"
    assert gpu.closed == 0


# The process.


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    (folder / "logs").mkdir(parents=True)
    return folder


def gone(pid):
    """Whether a process ends within ten seconds; what it leaves to be reaped by others counts as ended."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_rows_are_taken_at_both_ends_of_a_launch_and_nothing_is_left(root, run_folder):
    with Beside(run_folder, root) as sensors:
        pid = sensors._process.pid
        tables = []
        for energy_uj in (3_000_000, 4_000_000):
            before_ns = time.monotonic_ns()
            sensors.begin()
            begun_ns = time.monotonic_ns()
            (root / "sys/class/powercap/intel-rapl:0/energy_uj").write_text(f"{energy_uj}\n")
            ended_ns = time.monotonic_ns()
            table = sensors.end()
            assert before_ns <= table.time_ns[0] <= begun_ns
            assert ended_ns <= table.time_ns[-1] <= time.monotonic_ns()
            assert np.all(np.diff(table.time_ns) > 0)
            tables.append(table)
        assert psutil.Process(pid).nice() == 19
    assert tables[0].columns[0].name == "rapl/intel-rapl:0"
    assert [list(table.values[[0, -1], 0]) for table in tables] == [[1e6, 3e6], [3e6, 4e6]]
    assert "nvml" in tables[0].absent or tables[0].gpus
    assert gone(pid)
    assert [path.name for path in run_folder.rglob("*")] == ["logs"]


def test_rows_come_by_themselves_while_nobody_asks(root, run_folder):
    with Beside(run_folder, root) as sensors:
        sensors.begin()
        until = time.monotonic() + 30
        while len((run_folder / beside.ROWS).read_bytes().splitlines()) < 4:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert len(sensors.end()) >= 4  # the header's line makes way for that of the end


def test_no_process_is_started_where_nothing_can_be_read(tmp_path, run_folder, monkeypatch):
    monkeypatch.setattr(beside.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with Beside(run_folder, tmp_path / "empty") as sensors:
        assert not sensors.sampling
        sensors.begin()
        assert sensors.end() is None
        assert "rapl" in sensors.absent
    assert not sensors.trouble


ORPHAN = """
import sys, time
from pathlib import Path
from harness.telemetry.beside import Beside
with Beside(Path(sys.argv[1]), Path(sys.argv[2])) as sensors:
    sensors.begin()
    print(sensors._process.pid, flush=True)
    time.sleep(3600)
"""


def test_the_process_ends_with_a_parent_that_is_killed(root, run_folder):
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, run_folder, root], stdout=subprocess.PIPE)
    with parent:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.send_signal(signal.SIGKILL)
    assert gone(pid)


@pytest.mark.parametrize("program", ["import time; time.sleep(3600)", "raise SystemExit('broken')"])
def test_a_process_that_does_not_answer_costs_the_samples_and_nothing_else(root, run_folder, monkeypatch, program):
    popen, started = subprocess.Popen, []

    def broken(_, **keywords):
        started.append(popen([sys.executable, "-c", program], **keywords))
        return started[0]

    monkeypatch.setattr(beside.subprocess, "Popen", broken)
    monkeypatch.setattr(beside, "_PATIENCE_S", 1.0)
    with Beside(run_folder, root) as sensors:
        sensors.begin()
        assert not sensors.sampling
        assert sensors.end() is None
    assert started[0].returncode is not None
    broken = "ended by itself" if "broken" in program else "did not answer within 1 s"
    assert broken in sensors.trouble
    log = run_folder / beside.LOG
    assert log.read_text() == "broken\n" if "broken" in program else not log.exists()


def test_a_row_that_is_cut_short_ends_the_sampling(root, run_folder):
    with Beside(run_folder, root) as sensors:
        sensors.begin()
        with (run_folder / beside.ROWS).open("ab") as file:
            file.write(b"[12,")
        assert sensors.end() is None
        assert not sensors.sampling
        assert "cut short" in sensors.trouble
        sensors.begin()
        assert sensors.end() is None


# The rows of a launch.

PACKAGE = Column("rapl/intel-rapl:0", "rapl", "energy", "package", "uJ", wraps=1e9)


def column(what, quantity, device="0"):
    return Column(f"nvml/{device}/{what}", "nvml", quantity, "gpu", "", device)


def table(columns, rows, times=None, absent=None):
    times = range(len(rows)) if times is None else times
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(columns))
    return Table(tuple(columns), np.array(times, dtype=np.int64), values, absent or {})


def test_rows_are_kept_with_their_hash_and_read_again(tmp_path):
    kept = table([PACKAGE, column("own", "own")], [[1.0, 0.0], [2.0, np.nan]], [10, 20], {"board": "none"})
    sha256 = kept.save(tmp_path / "rows.npz")
    assert hashlib.sha256((tmp_path / "rows.npz").read_bytes()).hexdigest() == sha256
    with np.load(tmp_path / "rows.npz", allow_pickle=False) as archive:
        again = Table.of_arrays(archive)
    assert (again.columns, again.absent) == (kept.columns, kept.absent)
    np.testing.assert_array_equal(again.time_ns, kept.time_ns)
    np.testing.assert_array_equal(again.values, kept.values)


def test_arrays_that_do_not_fit_their_columns_are_refused(tmp_path):
    kept = table([PACKAGE], [[1.0], [2.0]])
    kept.save(tmp_path / "rows.npz")
    with np.load(tmp_path / "rows.npz", allow_pickle=False) as archive:
        arrays = dict(archive)
    with pytest.raises(ValueError, match="1 columns at 1 times"):
        Table.of_arrays({**arrays, "time_ns": arrays["time_ns"][:1]})


def test_what_a_sensor_did_not_answer_is_no_number():
    header = json.dumps({"columns": [{"name": "a", "source": "b", "quantity": "c", "scope": "d", "unit": "e"}]})
    lines = [b"[1,2.5]", b"[2,null]"]
    read = Table.of_lines(header.replace("}]}", '}], "absent": {}}').encode(), lines)
    assert list(read.time_ns) == [1, 2]
    assert read.values[0, 0] == 2.5
    assert np.isnan(read.values[1, 0])


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=30, unique=True).map(sorted),
    st.integers(-10, 1010),
    st.integers(0, 500),
)
def test_around_is_within_and_one_row_on_either_side(times, begin, length):
    whole, end = table([PACKAGE], [[0.0]] * len(times), times), begin + length
    inside, about = set(whole.within(begin, end).time_ns), list(whole.around(begin, end).time_ns)
    assert inside <= set(about)
    assert sum(t < begin for t in about) <= 1
    assert sum(t > end for t in about) <= 1
    assert (min(about) <= begin) or times[0] > begin
    assert (max(about) >= end) or times[-1] < end
    places = [times.index(t) for t in about]
    assert all(after == before + 1 for before, after in itertools.pairwise(places))


def test_the_gpu_at_work_is_the_one_that_holds_our_process():
    both = [column("own", "own", "0"), column("own", "own", "1")]
    assert table(both, [[0, 0], [0, 1]]).at_work("cuda:0") == ("1",)
    assert table(both, [[0, 0], [0, np.nan]]).at_work("cpu") == ()


def test_where_processes_are_not_told_a_single_gpu_is_the_one():
    one, why = [column("power", "power")], {"nvml/0/own": "numbered differently"}
    assert table(one, [[1]], absent=why).at_work("cuda:0") == ("0",)
    assert table(one, [[1]], absent=why).at_work("cpu") == ()
    with pytest.raises(Unavailable, match="numbered differently"):
        table(one, [[1]], absent=why).at_work("gpu.0")
    with pytest.raises(Unavailable, match="which of 2 GPUs"):
        table([*one, column("power", "power", "1")], [[1, 1]], absent=why).at_work("cuda:0")


WATCHED = [column(what, what) for what in ("own", "foreign", "reasons", "temperature")]


@pytest.mark.parametrize(
    ("bits", "state", "part"),
    [
        (0x00, State.OK, ""),
        (0x01, State.OK, ""),  # idle
        (0x04, State.OK, "at its power limit in 50% of the samples"),
        (0x08, State.BAD, "hardware slowdown"),
        (0x20, State.BAD, "software thermal slowdown, up to 91 °C"),
        (0x44, State.BAD, "hardware thermal slowdown"),
        (0x80, State.BAD, "power brake"),
    ],
)
def test_a_gpu_that_was_slowed_is_noise_and_one_at_its_power_limit_is_not(bits, state, part):
    reading = noise.readings(table(WATCHED, [[1, 0, 0, 60], [1, 0, bits, 91]]), "cuda:0")[noise.GPU_THROTTLE]
    assert (reading.state, reading.limit, reading.unit) == (state, 0.0, "share")
    assert part in reading.detail
    assert reading.value == (0.5 if state is State.BAD else 0.0)


def test_only_what_was_seen_around_the_steady_phase_counts():
    rows = [[1, 3, 0x40, 60], [1, 0, 0, 60], [1, 0, 0, 60], [1, 0, 0, 60]]
    whole = table(WATCHED, rows, [0, 10, 20, 30])
    assert {r.state for r in noise.readings(whole, "cuda:0", (15, 25)).values()} == {State.OK}
    assert {r.state for r in noise.readings(whole, "cuda:0", (5, 25)).values()} == {State.BAD}
    assert noise.readings(whole, "cuda:0")[noise.GPU_FOREIGN].value == 3


def test_no_gpu_or_none_at_work_gives_no_reading():
    assert noise.readings(table([PACKAGE], [[1.0]]), "cpu") == {}
    assert noise.readings(table(WATCHED, [[0, 1, 0x40, 60]]), "cpu") == {}


def test_what_is_not_told_of_a_gpu_is_unavailable_and_not_ok():
    why = {"nvml/0/own": "numbered differently", "nvml/0/foreign": "numbered differently"}
    found = noise.readings(table([column("reasons", "reasons")], [[0]], absent=why), "cuda:0")
    assert found[noise.GPU_THROTTLE].state is State.OK
    assert found[noise.GPU_FOREIGN].state is State.UNAVAILABLE
    assert found[noise.GPU_FOREIGN].detail == "numbered differently"
    silent = noise.readings(table(WATCHED, [[1, 0, np.nan, 60]]), "cuda:0")
    assert silent[noise.GPU_THROTTLE].state is State.UNAVAILABLE
    two = table([column("reasons", "reasons", gpu) for gpu in "01"], [[0, 0]], absent=why)
    assert {r.state for r in noise.readings(two, "cuda:0").values()} == {State.UNAVAILABLE}
