"""Clocks, temperatures and memory over the launches of a cell, from what a scripted NVML told beside them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.measure.samples import STEADY, WARMUP, Samples
from harness.telemetry.nvml import nvml
from harness.telemetry.sensor import Column, Sensors
from harness.telemetry.table import Table
from harness.vocabulary import Cell, Completed, Launch, Precision, Record, SamplesRef, Scenario
from results.driven import Sensed
from results.launches import Measured
from results.scenarios.sensors import sensors

SECOND = 10**9
CPU_CLOCK = Column("cpufreq/mean", "cpufreq", "clock", "cpu", "kHz")
ZONES = [Column(f"temperature/zone{index}", "temperature", "temperature", "cpu", "m°C") for index in range(2)]
ABSENT = {"cpufreq": "this machine shows no CPU frequencies", "temperature": "this machine shows no temperature"}


class NvmlError(Exception):
    """As the binding's own: every answer may be one."""


@pytest.fixture
def gpu(monkeypatch):
    """A scripted NVML with one GPU that holds a process of ours; ``now`` is what it tells next."""
    library = SimpleNamespace(
        NVMLError=NvmlError,
        now=SimpleNamespace(sm=1980, memory_clock=2619, celsius=61, used=3 << 30),
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: 5_000,
        nvmlDeviceGetPowerUsage=lambda _: 250_000,
        nvmlDeviceGetTemperatureV=lambda _, sensor: library.now.celsius,
        nvmlDeviceGetClockInfo=lambda _, kind: {1: library.now.sm, 2: library.now.memory_clock}[kind],
        nvmlDeviceGetCurrentClocksEventReasons=lambda _: 0,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=library.now.used),
        nvmlDeviceGetComputeRunningProcesses=lambda _: [SimpleNamespace(pid=70)],
        nvmlDeviceGetGraphicsRunningProcesses=lambda _: [],
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


@pytest.fixture
def machine(tmp_path):
    """The files by which a process is told to be ours."""
    root = tmp_path / "machine"
    (root / "proc/70").mkdir(parents=True)
    (root / "proc/70/stat").write_text("70 (python) S 50 70")
    (root / "proc/self/ns").mkdir(parents=True)
    (root / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
    return root


def recorded(library, root, told):
    """The rows of a launch, one for each second from -1 on, as the sampling process writes them."""
    with Sensors() as found:
        nvml(found, root, 50)
        values = []
        for each in told:
            library.now = SimpleNamespace(sm=each[0], memory_clock=each[1], celsius=each[2], used=each[3])
            values.append([np.nan if value is None else value for value in found.read()])
    times_ns = np.arange(-1, len(values) - 1) * SECOND
    return Table(tuple(each.column for each in found.found), times_ns, np.array(values), {**found.absent, **ABSENT})


def table(columns, values, absent=None):
    """Columns of values, one for each second from -1 on."""
    values = np.array(values, dtype=np.float64).reshape(len(columns), -1).T
    return Table(tuple(columns), np.arange(-1, len(values) - 1) * SECOND, values, absent or {})


def launch(sensed, index=0, device="cuda:0", seconds=4.5, unsampled=""):
    """A launch of inferences back to back from 0 on, after one of warm-up, and the name of its file."""
    start = np.arange(-1, int(seconds * 10)) * (SECOND // 10)
    phase, end = np.where(start < 0, WARMUP, STEADY), start + SECOND // 10
    cell = Cell("toy", "hash", {"name": "raw"}, (3, 4, 4), "fake", Precision.FP32, device, Scenario("latency"))
    ref = SamplesRef(f"telemetry/{index}.npz", "", len(sensed)) if sensed is not None else None
    record = Record("run", cell, Launch(index), Completed(), "hw", "env", "", 0, telemetry=ref, unsampled=unsampled)
    return Measured(record, Samples(phase, np.zeros(len(start)), start, start, start, end, end), unsteady=False)


@pytest.fixture
def read(tmp_path):
    """Return what is said of launches with these rows, by sensor; a fault in place of rows is raised."""

    def of(*tables, absent=None, **changes):
        def arrays(ref):
            rows = tables[int(ref.path.removeprefix("telemetry/").removesuffix(".npz"))]
            if isinstance(rows, Exception):
                raise rows
            rows.save(tmp_path / "rows.npz")
            with np.load(tmp_path / "rows.npz", allow_pickle=False) as archive:
                return dict(archive)

        launches = [
            launch(() if isinstance(rows, Exception) else rows, index, **changes) for index, rows in enumerate(tables)
        ]
        return {each.name: each for each in sensors(launches, arrays, absent)}

    return of


def test_a_gpu_tells_its_clocks_temperature_and_memory_over_the_launches(gpu, machine, read):
    idle, warm = (345, 2619, 40, 1 << 20), (1980, 2619, 61, 3 << 30)
    first = recorded(gpu, machine, [idle, warm, (1965, 2619, 64, 3 << 30), warm, warm, warm, idle])
    second = recorded(gpu, machine, [idle, (1755, 2619, 70, 4 << 30), *[warm] * 4, idle])
    found = read(first, second)
    assert found["GPU clock"] == Sensed("GPU clock", "MHz", (1755, 1980, 1980), 10, 2)
    assert found["GPU memory clock"].spread == (2619, 2619, 2619)
    assert found["GPU temperature"] == Sensed("GPU temperature", "°C", (61, 61, 70), 10, 2)
    assert found["GPU memory"] == Sensed("GPU memory", "B", (3 << 30, 3 << 30, 4 << 30), 10, 2)
    assert found["CPU clock"] == Sensed("CPU clock", "MHz", reason=ABSENT["cpufreq"])
    assert found["CPU temperature"].reason == ABSENT["temperature"]


def test_what_a_gpu_does_not_tell_has_its_reason_and_the_rest_is_read(gpu, machine, read):
    def refused(*_):
        raise NvmlError("Not Supported")

    gpu.nvmlDeviceGetClockInfo = refused
    found = read(recorded(gpu, machine, [(0, 0, 61, 3 << 30)] * 6))
    assert found["GPU clock"] == Sensed("GPU clock", "MHz", reason="NVML: Not Supported")
    assert found["GPU memory"].spread == (3 << 30,) * 3


def test_a_sensor_that_falls_silent_is_told_of_the_samples_it_gave(gpu, machine, read):
    silent = recorded(gpu, machine, [(1980, 2619, 61, 1)] * 6)
    clock = [column.name for column in silent.columns].index("nvml/0/clock")
    silent.values[1:4, clock] = np.nan
    assert read(silent)["GPU clock"].samples == 2
    silent.values[:, clock] = np.nan
    assert "did not answer" in read(silent)["GPU clock"].reason


def test_processors_tell_in_the_units_of_a_reader_and_by_their_hottest_zone(read):
    rows = table([CPU_CLOCK, *ZONES], [[2_500_000] * 6, [50_000] * 6, [np.nan, 49_000, 71_500, *[49_000] * 3]])
    found = read(rows, device="cpu")
    assert list(found) == ["CPU clock", "CPU temperature"], "a cell on the processor says nothing of GPUs"
    assert (found["CPU clock"].unit, found["CPU clock"].spread) == ("MHz", (2500, 2500, 2500))
    assert found["CPU temperature"].spread == (50, 50, 71.5)


def test_a_phase_between_two_samples_is_too_short(read):
    rows = table([CPU_CLOCK], [[2_500_000] * 6])
    late = Table(rows.columns, rows.time_ns + SECOND // 2, rows.values, rows.absent)
    assert "once a second" in read(late, device="cpu", seconds=0.4)["CPU clock"].reason
    assert "once a second" in read(rows, device="cpu", seconds=0)["CPU clock"].reason, "nothing was timed"


@pytest.mark.parametrize(
    ("sensed", "reason"),
    [
        (table([CPU_CLOCK], [[1.0] * 6], {"nvml": "no driver"}), "no driver"),
        (table([Column("nvml/0/own", "nvml", "own", "gpu", "", "0")], [[0.0] * 6]), "no process of ours"),
        (
            table(
                [Column(f"nvml/{gpu}/clock", "nvml", "clock", "gpu", "MHz", gpu) for gpu in "01"],
                [[1980.0] * 6] * 2,
                {"nvml/0/own": "numbered differently"},
            ),
            "numbered differently",
        ),
    ],
)
def test_a_gpu_that_is_not_known_has_a_reason(read, sensed, reason):
    found = read(sensed)
    assert all(reason in found[name].reason for name in ("GPU clock", "GPU memory clock", "GPU temperature"))
    assert found["GPU memory"].spread is None


def test_two_gpus_at_work_are_told_apart(read):
    columns = [
        Column(f"nvml/{gpu}/{what}", "nvml", what, "gpu", unit, gpu)
        for gpu in "01"
        for what, unit in (("own", ""), ("clock", "MHz"))
    ]
    found = read(table(columns, [[1.0] * 6, [1980.0] * 6, [1.0] * 6, [1500.0] * 6]))
    assert [found[f"GPU {gpu} clock"].spread[1] for gpu in (0, 1)] == [1980, 1500]
    assert found["GPU 1 memory"].reason


def test_launches_without_rows_take_the_reason_of_the_run_or_their_own(read):
    assert {each.reason for each in read(None, absent=ABSENT, device="cpu").values()} == set(ABSENT.values())
    found = read(None, absent={**ABSENT, "nvml": "install it"})
    assert found["GPU clock"].reason == "install it"
    ended = read(None, absent=ABSENT, unsampled="the process ended by itself")
    assert {each.reason for each in ended.values()} == {"the process ended by itself"}
    assert len(ended) == 6


def test_a_run_that_says_nothing_of_sensors_has_none(read):
    assert read(None) == {}


def test_a_file_that_was_changed_costs_its_launch_alone(read):
    whole, damaged = table([CPU_CLOCK], [[2_500_000] * 6]), StoreError("it does not match its SHA-256")
    assert read(damaged, whole, device="cpu")["CPU clock"].launches == 1
    assert read(damaged, device="cpu")["CPU clock"].reason == "it does not match its SHA-256"
    told = read(damaged, recorded_gpu())
    assert (told["GPU clock"].spread, told["GPU clock"].launches) == ((1980, 1980, 1980), 1)


def recorded_gpu():
    columns = [Column(f"nvml/0/{what}", "nvml", what, "gpu", "", "0") for what in ("own", "clock")]
    return table(columns, [[1.0] * 6, [1980.0] * 6])


@given(st.lists(st.lists(st.floats(1, 9e6), min_size=6, max_size=6), min_size=1, max_size=4))
def test_the_spread_holds_every_sample_of_a_steady_phase(tmp_path_factory, clocks):
    path = tmp_path_factory.getbasetemp() / "rows.npz"
    tables = [table([CPU_CLOCK], [each]) for each in clocks]

    def arrays(ref):
        tables[int(ref.path.removeprefix("telemetry/").removesuffix(".npz"))].save(path)
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)

    found = sensors([launch(rows, index, "cpu") for index, rows in enumerate(tables)], arrays)[0]
    inside = np.array([each[1:6] for each in clocks]) / 1e3  # from 0 to 4 seconds
    assert found.spread == pytest.approx((inside.min(), np.median(inside), inside.max()))
    assert (found.samples, found.launches) == (inside.size, len(clocks))
