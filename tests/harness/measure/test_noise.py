import shutil
import threading

import pytest

from harness.measure.noise import DETECTORS, NoiseWatch
from harness.vocabulary import State

WALL_NS = 1_000_000_000


@pytest.fixture
def machine(tmp_path):
    """A quiet machine under a folder, on which tests change what they are about."""

    def put(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    put("proc/self/task/10/schedstat", "5000000000 100000000 40\n")
    put("proc/self/task/11/schedstat", "1000000000 50000000 7\n")
    put("proc/stat", "cpu  1000 0 500 8000 10 0 5 100 0 0\ncpu0 1 2 3\n")
    put("proc/self/cgroup", "0::/app/bench\n")
    put("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n")
    put("sys/fs/cgroup/app/bench/cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 9\n")
    put("sys/fs/cgroup/app/cpu.stat", "usage_usec 5\nnr_throttled 0\n")
    put("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\nfull avg10=0 total=0\n")
    for cpu in range(2):
        put(f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count", "4\n")
        put(f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle/package_throttle_count", "6\n")
        put(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", "3000000\n")
    return put


@pytest.fixture
def watched(machine, tmp_path):
    """Return the readings around a change of the machine that takes one second."""

    def run(change=lambda: None):
        times = iter([0, WALL_NS])
        watch = NoiseWatch(tmp_path, clock=lambda: next(times))
        watch.start()
        change()
        return watch.stop()

    return run


def test_a_quiet_machine_is_ok_everywhere(watched, machine):
    readings = watched(lambda: machine("proc/stat", "cpu  1100 0 500 8100 10 0 5 100 0 0\n"))
    assert set(readings) == set(DETECTORS)
    assert {reading.state for reading in readings.values()} == {State.OK}
    assert readings["run_queue_wait"].value == 0
    assert readings["cpu_frequency"].value == 3000


def test_waiting_threads_are_summed_over_wall_time(watched, machine):
    def change():
        machine("proc/self/task/10/schedstat", "5900000000 115000000 41\n")
        machine("proc/self/task/11/schedstat", "1900000000 60000000 8\n")

    reading = watched(change)["run_queue_wait"]
    assert reading.value == pytest.approx(0.025)
    assert (reading.state, reading.limit) == (State.BAD, 0.02)


def test_threads_that_come_go_or_reuse_a_number(watched, machine, tmp_path):
    def change():
        shutil.rmtree(tmp_path / "proc/self/task/10")
        machine("proc/self/task/11/schedstat", "1000 4000000 1\n")  # less than before: another thread
        machine("proc/self/task/12/schedstat", "1000 6000000 1\n")

    reading = watched(change)["run_queue_wait"]
    assert reading.value == pytest.approx(0.010)
    assert reading.state is State.OK
    assert reading.detail == "1 threads ended meanwhile and are not counted"


@pytest.mark.parametrize(("stolen", "state"), [(4, State.OK), (5, State.OK), (6, State.BAD)])
def test_steal_is_a_share_of_cpu_time(watched, machine, stolen, state):
    text = f"cpu  1000 0 500 {8100 - stolen} 10 0 5 {100 + stolen} 70 0\n"  # guest time is in user time already
    reading = watched(lambda: machine("proc/stat", text))["steal"]
    assert reading.value == pytest.approx(stolen / 100)
    assert reading.state is state


def test_a_window_below_a_tick_tells_nothing_of_steal(watched):
    assert watched()["steal"].state is State.UNAVAILABLE


def test_any_throttled_period_is_bad_here_and_further_out(watched, machine):
    inner = watched(lambda: machine("sys/fs/cgroup/app/bench/cpu.stat", "nr_throttled 4\n"))["cgroup_throttle"]
    assert (inner.state, inner.value) == (State.BAD, 1)
    outer = watched(lambda: machine("sys/fs/cgroup/app/cpu.stat", "nr_throttled 2\n"))["cgroup_throttle"]
    assert (outer.state, outer.value) == (State.BAD, 2)


def test_version_1_groups(watched, machine):
    machine("proc/self/cgroup", "4:memory:/m\n2:cpu,cpuacct:/docker/abc\n0::/\n")
    machine(
        "proc/self/mountinfo",
        "31 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "33 23 0:30 /docker/abc /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n",
    )
    machine("sys/fs/cgroup/cpu/cpu.stat", "nr_periods 1\nnr_throttled 7\nthrottled_time 3\n")
    reading = watched(lambda: machine("sys/fs/cgroup/cpu/cpu.stat", "nr_throttled 9\n"))["cgroup_throttle"]
    assert (reading.state, reading.value) == (State.BAD, 2)


def test_thermal_events_count_each_core_and_the_package_once(watched, machine):
    def change():
        for cpu in range(2):
            machine(f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count", f"{4 + cpu}\n")
            machine(f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle/package_throttle_count", "7\n")

    reading = watched(change)["thermal_throttle"]
    assert (reading.state, reading.value, reading.unit) == (State.BAD, 2, "events")


def test_pressure_and_frequency_explain_without_a_limit(watched, machine):
    def change():
        machine("proc/pressure/cpu", "some avg10=9.00 avg60=0.00 avg300=0.00 total=1500000\n")
        machine("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2000000\n")

    readings = watched(change)
    assert (readings["psi_cpu"].value, readings["psi_cpu"].limit) == (pytest.approx(0.5), None)
    assert (readings["cpu_frequency"].value, readings["cpu_frequency"].unit) == (2500, "MHz")
    assert "3000 before" in readings["cpu_frequency"].detail


def test_a_system_that_tells_nothing_is_unavailable_with_a_reason(tmp_path):
    watch = NoiseWatch(tmp_path / "nothing")
    watch.start()
    readings = watch.stop()
    assert set(readings) == set(DETECTORS)
    assert {reading.state for reading in readings.values()} == {State.UNAVAILABLE}
    assert all(reading.detail for reading in readings.values())
    assert all(reading.value is None for reading in readings.values())


@pytest.mark.parametrize("text", ["", "x y z\n", "cpu 1 2\n", "some\n", "1:2\n"])
@pytest.mark.parametrize(
    "path", ["proc/self/task/10/schedstat", "proc/stat", "proc/self/cgroup", "proc/self/mountinfo", "proc/pressure/cpu"]
)
def test_an_unknown_form_is_unavailable_never_an_exception(watched, machine, path, text):
    machine(path, text)
    readings = watched()
    assert any(reading.state is State.UNAVAILABLE for reading in readings.values())


def test_a_kernel_without_scheduling_statistics(watched, machine):
    for thread in (10, 11):
        machine(f"proc/self/task/{thread}/schedstat", "0 0 0\n")
    assert "scheduling statistics" in watched()["run_queue_wait"].detail


def test_stop_needs_a_start():
    with pytest.raises(RuntimeError, match="before start"):
        NoiseWatch().stop()


def test_on_this_machine_with_threads_that_end_meanwhile():
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    watch = NoiseWatch()
    watch.start()
    release.set()
    thread.join()
    readings = watch.stop()
    assert set(readings) == set(DETECTORS)
    for reading in readings.values():
        assert reading.detail if reading.state is State.UNAVAILABLE else reading.value >= 0
