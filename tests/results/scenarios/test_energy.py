"""Joules per inference from scripted counters, and the launches that were throttled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.measure.samples import STEADY, WARMUP, Samples
from harness.telemetry.sensor import Column
from harness.telemetry.table import Table
from harness.vocabulary import (
    Cell,
    Completed,
    Launch,
    NoiseReading,
    Precision,
    Record,
    SamplesRef,
    Scenario,
    State,
)
from results.launches import Measured
from results.scenarios.energy import energy, throttled

SECOND = 10**9
PACKAGE = Column("rapl/intel-rapl:0", "rapl", "energy", "package", "uJ", wraps=262_143_328_850)
SECOND_PACKAGE = Column("rapl/intel-rapl:1", "rapl", "energy", "package", "uJ", wraps=262_143_328_850)
DRAM = Column("rapl/intel-rapl:0:1", "rapl", "energy", "dram", "uJ", wraps=65_712_999_613)
BOARD = Column("board/hwmon0", "acpi", "power", "board", "uW")


def of_gpu(what, unit="", device="0"):
    return Column(f"nvml/{device}/{what}", "nvml", what, "gpu", unit, device)


def samples(latency_ns, seconds, begin_ns=0, streams=1):
    """Inferences back to back on each stream, after one of warm-up."""
    parts = []
    for stream in range(streams):
        start = begin_ns + np.arange(-1, int(seconds * SECOND / latency_ns)) * latency_ns
        phase = np.where(start < begin_ns, WARMUP, STEADY)
        end = start + latency_ns
        parts.append(Samples(phase, np.full(len(start), stream), start, start, start, end, end))
    return Samples.joined(parts)


def table(columns, times_ns, values, absent=None):
    values = np.array(values, dtype=np.float64).reshape(len(columns), len(times_ns)).T
    return Table(tuple(columns), np.array(times_ns, dtype=np.int64), values, absent or {})


def constant(watts, times_ns, begin_uj=0.0, wraps=None):
    counter = begin_uj + np.array(times_ns) / SECOND * watts * 1e6
    return counter % wraps if wraps else counter


class Files:
    """The files of a run, and the launches that name them."""

    def __init__(self):
        self.tables = {}
        self.launches = []

    def add(self, driven, sensed, *, scenario="latency", device="cpu", batch=1, noise=None):
        index = len(self.launches)
        cell = Cell(
            "toy", "hash", {"name": "raw"}, (3, 4, 4), "fake", Precision.FP32, device, Scenario(scenario), batch=batch
        )
        ref = None
        if sensed is not None:
            ref = SamplesRef(f"telemetry/{index}.npz", "", len(sensed))
            self.tables[ref.path] = sensed
        record = Record("run", cell, Launch(index), Completed(), "hw", "env", "", 0, telemetry=ref, noise=noise or {})
        self.launches.append(Measured(record, driven, unsteady=False))
        return self

    def arrays(self, ref, tmp_path):
        self.tables[ref.path].save(tmp_path / "rows.npz")
        with np.load(tmp_path / "rows.npz", allow_pickle=False) as archive:
            return dict(archive)


@pytest.fixture
def files():
    return Files()


@pytest.fixture
def read(files, tmp_path):
    def energies(absent=None):
        return energy(files.launches, lambda ref: files.arrays(ref, tmp_path), absent)

    return energies


SECONDS = [index * SECOND for index in range(-1, 12)]


def test_constant_power_gives_power_times_latency(files, read):
    files.add(samples(10_000_000, 10), table([PACKAGE], SECONDS, constant(20.0, SECONDS)))
    (found,) = read()
    assert (found.scope, found.source, found.reason) == ("package", "rapl", "")
    assert found.joules_per_inference.estimate == pytest.approx(0.2, rel=1e-9)
    assert found.joules_per_inference.launches == 1
    assert found.joules_per_inference.low is None
    assert found.watts == pytest.approx(20.0)


@given(
    latency_ns=st.integers(1_000_000, 900_000_000),
    watts=st.floats(0.5, 500),
    offset_ns=st.integers(0, SECOND - 1),
    begin_uj=st.floats(0, 1e9),
)
def test_no_offset_of_the_samples_and_no_wrap_biases_it(tmp_path_factory, latency_ns, watts, offset_ns, begin_uj):
    wraps = 1e9  # a thousand joules
    times = [offset_ns + second for second in SECONDS]
    sensed = table([Column("c", "rapl", "energy", "package", "uJ", wraps=wraps)], times, [0.0] * len(times))
    sensed.values[:, 0] = constant(watts, times, begin_uj, wraps)
    files = Files().add(samples(latency_ns, 10), sensed)
    folder = tmp_path_factory.getbasetemp()
    (found,) = energy(files.launches, lambda ref: files.arrays(ref, folder))
    assert found.joules_per_inference.estimate == pytest.approx(watts * latency_ns / 1e9, rel=1e-6)


def test_what_the_machine_took_before_and_after_is_not_counted(files, read):
    watts = np.array([500.0 if at < 0 or at >= 10 * SECOND else 20.0 for at in SECONDS])
    counter = np.cumsum(np.concatenate([[0.0], watts[:-1] * 1e6]))
    files.add(samples(10_000_000, 10), table([PACKAGE], SECONDS, counter))
    assert read()[0].joules_per_inference.estimate == pytest.approx(0.2, rel=1e-9)


def test_counters_of_one_scope_add_up_and_scopes_stay_apart(files, read):
    counters = [constant(watts, SECONDS) for watts in (20.0, 30.0, 4.0)]
    files.add(samples(10_000_000, 10), table([PACKAGE, SECOND_PACKAGE, DRAM], SECONDS, counters))
    package, memory = read()
    assert (package.scope, memory.scope) == ("package", "dram")
    assert package.joules_per_inference.estimate == pytest.approx(0.5)
    assert memory.joules_per_inference.estimate == pytest.approx(0.04)


@pytest.mark.parametrize(("scenario", "share"), [("latency", 4), ("throughput", 4), ("soak", 4), ("camera", 1)])
def test_a_row_is_a_batch_where_it_is_one_and_an_item_where_it_is_one(files, read, scenario, share):
    sensed = table([PACKAGE], SECONDS, constant(20.0, SECONDS))
    files.add(samples(10_000_000, 10), sensed, scenario=scenario, batch=4)
    assert read()[0].joules_per_inference.estimate == pytest.approx(0.2 / share)


def test_streams_share_the_energy(files, read):
    sensed = table([PACKAGE], SECONDS, constant(20.0, SECONDS))
    files.add(samples(10_000_000, 10, streams=4), sensed, scenario="throughput")
    assert read()[0].joules_per_inference.estimate == pytest.approx(0.05)


def test_the_interval_is_over_launches(files, read):
    for watts in (19.0, 20.0, 21.0):
        files.add(samples(10_000_000, 10), table([PACKAGE], SECONDS, constant(watts, SECONDS)))
    files.add(samples(10_000_000, 1), table([PACKAGE], SECONDS, constant(20.0, SECONDS)))  # too short to be read
    (found,) = read()
    assert found.joules_per_inference.launches == 3
    assert found.joules_per_inference.low < 0.2 < found.joules_per_inference.high
    assert found.watts == pytest.approx(20.0)


def test_power_is_integrated_where_nothing_counts_energy(files, read):
    rising = [10e6 + 1e6 * index for index in range(len(SECONDS))]  # of a whole board, 11 W at the start
    files.add(samples(10_000_000, 10), table([BOARD], SECONDS, rising, {"rapl": "a container"}))
    package, board = read()
    assert (package.joules_per_inference, package.reason) == (None, "a container")
    assert board.watts == pytest.approx(16.0)
    assert board.joules_per_inference.estimate == pytest.approx(0.16)


def counter_of(trouble):
    counter = constant(20.0, SECONDS)
    if trouble == "unread":
        counter[6] = np.nan
    elif trouble == "begins anew":
        counter[6:] = 0
    elif trouble == "still":
        counter[:] = 7
    return counter


@pytest.mark.parametrize(
    ("seconds", "trouble", "reason"),
    [
        (1.9, "", "too short to read at 1 Hz"),
        (10, "unread", "could not be read throughout"),
        (10, "begins anew", "began anew"),
        (10, "still", "did not move"),
    ],
)
def test_what_cannot_be_read_has_a_reason_and_is_never_nothing(files, read, seconds, trouble, reason):
    endless = Column("c", "rapl", "energy", "package", "uJ")
    files.add(samples(10_000_000, seconds), table([endless], SECONDS, counter_of(trouble)))
    (found,) = read()
    assert found.joules_per_inference is None
    assert found.watts is None
    assert reason in found.reason


def test_launches_without_sensors_take_the_reason_of_the_run(files, read):
    files.add(samples(10_000_000, 10), None)
    assert [(found.scope, found.reason) for found in read({"rapl": "only root may"})] == [("package", "only root may")]
    assert "no sensor was sampled" in read()[0].reason


def test_launches_whose_sensors_could_not_be_read_say_why(files, read):
    files.add(samples(10_000_000, 10), None, device="cuda:0")
    (launch,) = files.launches
    files.launches[:] = [replace(launch, record=replace(launch.record, unsampled="it ended by itself"))]
    assert {each.scope: each.reason for each in read({"nvml": "install it"})} == dict.fromkeys(
        ("package", "gpu"), "it ended by itself"
    )


def test_a_gpu_without_its_library_is_told_where_the_cell_is_on_it(files, read):
    files.add(samples(10_000_000, 10), None, device="cuda:0")
    found = {each.scope: each.reason for each in read({"rapl": "a container", "nvml": "install it"})}
    assert found == {"package": "a container", "gpu": "install it"}


def test_a_file_that_was_changed_costs_its_launch_alone(files, tmp_path):
    for _ in range(2):
        files.add(samples(10_000_000, 10), table([PACKAGE], SECONDS, constant(20.0, SECONDS)))

    def arrays(ref):
        if ref.path == "telemetry/0.npz":
            raise StoreError("it does not match its SHA-256")
        return files.arrays(ref, tmp_path)

    (found,) = energy(files.launches, arrays)
    assert found.joules_per_inference.launches == 1
    (lost,) = energy(files.launches[:1], arrays)
    assert lost.reason == "it does not match its SHA-256"
    (odd,) = energy(files.launches[:1], lambda _: {"time_ns": np.zeros(3)})
    assert "holds no rows" in odd.reason


def gpus(energies, own, absent=None):
    columns = [PACKAGE]
    values = [constant(20.0, SECONDS)]
    for device, (watts, processes) in enumerate(zip(energies, own, strict=True)):
        columns += [of_gpu("energy", "mJ", str(device)), of_gpu("power", "mW", str(device))]
        values += [constant(watts, SECONDS) / 1e3, np.full(len(SECONDS), 1.0)]
        if processes is not None:
            columns.append(of_gpu("own", "processes", str(device)))
            values.append(np.full(len(SECONDS), float(processes)))
    return table(columns, SECONDS, values, absent)


def test_the_gpu_that_held_our_process_is_counted_by_its_counter(files, read):
    files.add(samples(10_000_000, 10), gpus([300.0, 100.0], [0, 1]), device="cuda:0")
    package, gpu = read()
    assert (package.scope, gpu.scope, gpu.source) == ("package", "gpu", "nvml")
    assert gpu.watts == pytest.approx(100.0)
    assert gpu.joules_per_inference.estimate == pytest.approx(1.0)


def test_a_cell_on_the_processor_says_nothing_of_gpus(files, read):
    files.add(samples(10_000_000, 10), gpus([300.0], [0]))
    assert [found.scope for found in read()] == ["package"]


@pytest.mark.parametrize(
    ("sensed", "reason"),
    [
        (gpus([1.0, 2.0], [None, None], {"nvml/0/own": "numbered differently"}), "numbered differently"),
        (gpus([1.0], [0]), "no process of ours"),
        (table([PACKAGE], SECONDS, constant(20.0, SECONDS), {"nvml": "no driver"}), "no driver"),
        (
            table([of_gpu("own")], SECONDS, np.ones(len(SECONDS)), {"nvml/0/energy": "NVML: Not Supported"}),
            "NVML: Not Supported",
        ),
    ],
)
def test_a_gpu_that_is_not_known_or_tells_nothing_has_a_reason(files, read, sensed, reason):
    files.add(samples(10_000_000, 10), sensed, device="cuda:0")
    gpu = next(found for found in read() if found.scope == "gpu")
    assert gpu.joules_per_inference is None
    assert reason in gpu.reason


def test_no_launch_says_nothing():
    assert energy([], lambda _: {}) == ()


def test_throttled_launches_are_named_with_their_cause(files):
    hot = NoiseReading(State.BAD, 14.0, 0.0, "events")
    slow = NoiseReading(State.BAD, 0.5, 0.0, "share", "power brake, up to 91 °C")
    fine = NoiseReading(State.OK, 0.0, 0.0, "share", "at its power limit in 80% of the samples")
    for noise in ({"thermal_throttle": hot}, {"gpu_throttle": slow, "steal": hot}, {"gpu_throttle": fine}, {}):
        files.add(samples(10_000_000, 1), None, noise=noise)
    found = throttled([launch.record for launch in files.launches])
    assert [(each.launch, each.cause) for each in found] == [
        (0, "processor: 14 thermal events"),
        (1, "GPU: power brake, up to 91 °C"),
    ]
