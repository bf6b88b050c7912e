import os
import shutil
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.noise import DETECTORS, NoiseWatch, Stretch, Threads, Times
from harness.system import Unavailable
from harness.vocabulary import State

WALL_NS = 1_000_000_000
TICKS = os.sysconf("SC_CLK_TCK")  # of one processor in that time
OWN = 700  # of this process so far


@pytest.fixture
def machine(tmp_path):
    """A quiet machine under a folder, on which tests change what they are about."""

    def put(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    for thread, ran_ns, waited_ns in ((10, 5_000_000_000, 100_000_000), (11, 1_000_000_000, 50_000_000)):
        ran(put, thread, ran_ns, waited_ns)
    put("sys/devices/system/cpu/online", "0-1\n")
    put("proc/stat", counted(seconds=0))
    put("proc/self/stat", itself())
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


def counted(busy=(0, 0), stolen=0, seconds=1):
    """Return /proc/stat some time later, in which each of two processors worked so many ticks and lost some of one."""
    worked, idle = 1500 + sum(busy), 8000 + seconds * 2 * TICKS - sum(busy) - stolen
    lines = [f"cpu  {worked - 500} 0 500 {idle} 10 0 5 {100 + stolen} 70 0"]
    lines += [f"cpu{number} {500 + ticks} 3 200 4000 5 1 2 50 35 0" for number, ticks in enumerate(busy)]
    return "\n".join([*lines, "intr 5 6", "ctxt 7"]) + "\n"


def itself(ticks=0):
    return f"10 (python (x) y) R 1 1 1 0 -1 4194304 1 0 0 0 {OWN - 100 + ticks} 100 0 0 20 0 2 0 5 1 1\n"


def ran(put, thread, ran_ns, waited_ns, processors="0-1", turns=0):
    """Let a thread have run and waited so long, and had so many turns, since it began."""
    put(f"proc/self/task/{thread}/schedstat", f"{ran_ns} {waited_ns} {turns}\n")
    put(f"proc/self/task/{thread}/status", f"Name:\tpython\nCpus_allowed_list:\t{processors}\n")


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
    readings = watched(lambda: machine("proc/stat", counted()))
    assert set(readings) == set(DETECTORS)
    assert {reading.state for reading in readings.values()} == {State.OK}
    assert readings["run_queue_wait"].value == 0
    assert readings["cpu_frequency"].value == 3000


def test_waiting_threads_are_summed_over_wall_time(watched, machine):
    def change():
        machine("proc/self/task/10/schedstat", "5900000000 115000000 41\n")
        machine("proc/self/task/11/schedstat", "1900000000 60000000 18\n")

    reading = watched(change)["run_queue_wait"]
    assert reading.value == pytest.approx(0.025)
    assert (reading.state, reading.limit) == (State.BAD, 0.02)


def test_threads_that_come_go_or_reuse_a_number(watched, machine, tmp_path):
    def change():
        shutil.rmtree(tmp_path / "proc/self/task/10")
        ran(machine, 11, 600_000_000, 4_000_000)  # less than before: another thread
        ran(machine, 12, 500_000_000, 6_000_000)

    reading = watched(change)["run_queue_wait"]
    assert reading.value == pytest.approx(0.010)
    assert reading.state is State.OK
    assert reading.detail == "1 threads ended meanwhile and are not counted"


def worked(machine, threads, processors="0-1", turns=0):
    """Let threads work for the window: (share of it on a processor, share of it waiting for one) each."""
    for thread, (on, off) in enumerate(threads, 20):
        ran(machine, thread, int(on * WALL_NS), int(off * WALL_NS), processors, turns)


@pytest.mark.parametrize(
    ("threads", "state", "value"),
    [
        ([(0.9, 0.09), (0.9, 0.09)], State.BAD, 0.18),  # as many as processors: others took them
        ([(0.98, 0.005), (0.98, 0.005)], State.OK, 0.01),
        ([(0.5, 0.5)] * 4, State.UNAVAILABLE, None),  # four on two processors, alone on the machine
        ([(1.0, 0.0), (0.5, 0.5), (0.5, 0.5)], State.UNAVAILABLE, None),
        ([(0.25, 0.75)] * 4, State.BAD, 3.0),  # of which they cannot have waited more than 2.0 for each other
        ([(0.5, 0.5), (0.5, 0.5), (0.001, 0.0)], State.BAD, 1.0),  # a third that hardly worked excuses nothing
        ([(0.95, 0.022), (0.95, 0.0), (0.005, 0.0)], State.UNAVAILABLE, None),  # but it may explain so little
        ([(0.9, 0.005)] * 2 + [(0.1, 0.002)] * 4, State.OK, 0.018),  # many that hardly waited
    ],
)
def test_own_threads_that_outnumber_the_processors_convict_nobody(watched, machine, threads, state, value):
    reading = watched(lambda: worked(machine, threads))["run_queue_wait"]
    assert reading.state is state
    assert reading.value == (None if value is None else pytest.approx(value))
    if state is State.UNAVAILABLE:
        assert f"{len(threads)} had work, on 2 processors" in reading.detail


def test_pinned_to_one_processor_two_threads_are_one_too_many(watched, machine):
    for thread in (10, 11):
        ran(machine, thread, 5_000_000_000, 100_000_000, "1")
    reading = watched(lambda: worked(machine, [(0.5, 0.5), (0.5, 0.5)], "1"))["run_queue_wait"]
    assert (reading.state, reading.value) == (State.UNAVAILABLE, None)
    assert "on 1 processors" in reading.detail


def test_what_own_threads_may_have_waited_for_each_other_is_told_beside_a_verdict(watched, machine):
    reading = watched(lambda: worked(machine, [(0.6, 0.4), (0.6, 0.4), (0.1, 0.0)]))["run_queue_wait"]
    assert (reading.state, reading.value) == (State.BAD, pytest.approx(0.8))
    assert reading.detail == "at most 10.0% of it for each other"


def test_a_thread_that_ended_may_have_been_at_work_all_the_time(watched, machine, tmp_path):
    def change():
        worked(machine, [(0.95, 0.05)])
        ran(machine, 11, 1_900_000_000, 100_000_000)
        shutil.rmtree(tmp_path / "proc/self/task/10")

    assert watched(change)["run_queue_wait"].state is State.UNAVAILABLE


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=20, max_size=20), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_alone_on_the_machine_nobody_is_ever_convicted(runnable, processors):
    """A scheduler that keeps every processor busy, over random bursts of work: all waiting is for own threads."""
    times = [[0, 0] for _ in runnable]
    for tick in range(20):
        ready = [thread for thread, plan in enumerate(runnable) if plan[tick]]
        for place, thread in enumerate(ready[tick % len(ready) :] + ready[: tick % len(ready)] if ready else []):
            times[thread][place >= processors] += WALL_NS // 20
    after = Threads({str(thread): Times(*each, 0) for thread, each in enumerate(times)}, frozenset(range(processors)))
    before = Threads(dict.fromkeys(after.times, Times(0, 0, 0)), after.processors)
    try:
        reading = DETECTORS["run_queue_wait"].judge([Stretch(before, after, WALL_NS)])
    except Unavailable:
        return
    assert reading.state is State.OK
    assert reading.value == 0


@pytest.mark.parametrize(("stolen", "state"), [(4, State.OK), (5, State.OK), (6, State.BAD)])
def test_steal_is_a_share_of_cpu_time(watched, machine, stolen, state):
    reading = watched(lambda: machine("proc/stat", counted(stolen=2 * TICKS * stolen // 100)))["steal"]
    assert reading.value == pytest.approx(stolen / 100)
    assert reading.state is state


def percent(share):
    return TICKS * share // 100


@pytest.mark.parametrize(
    ("busy", "own", "state", "value"),
    [
        ((0, 0), 0, State.OK, 0),
        ((100, 0), 100, State.OK, 0),  # one thread, alone
        ((100, 100), 200, State.OK, 0),
        ((100, 100), 100, State.BAD, 0.5),  # nobody waits, and the other processor is somebody else's
        ((100, 10), 100, State.OK, 0.05),
        ((100, 12), 100, State.BAD, 0.06),
        ((30, 20), 10, State.BAD, 0.2),  # mostly idle itself
        ((98, 0), 100, State.OK, 0),  # columns are rounded down
        ((0, 0), 100, State.UNAVAILABLE, None),
    ],
)
def test_what_others_work_counts_wherever_own_threads_may_be(watched, machine, busy, own, state, value):
    def change():
        machine("proc/stat", counted(tuple(map(percent, busy))))
        machine("proc/self/stat", itself(percent(own)))

    reading = watched(change)["other_processes"]
    assert reading.state is state
    assert reading.value == (None if value is None else pytest.approx(value))
    assert ("other processors" in reading.detail) == (state is State.UNAVAILABLE)


def test_others_where_own_threads_may_not_be_do_not_count(watched, machine):
    for thread in (10, 11):
        ran(machine, thread, 5_000_000_000, 100_000_000, "1")

    def change(busy):
        machine("proc/stat", counted(busy))
        machine("proc/self/stat", itself(percent(90)))

    alone = watched(lambda: change((percent(100), percent(90))))["other_processes"]
    assert (alone.state, alone.value) == (State.OK, 0)
    machine("proc/stat", counted(seconds=0))
    machine("proc/self/stat", itself())
    shared = watched(lambda: change((0, percent(100))))["other_processes"]
    assert (shared.state, shared.value) == (State.BAD, pytest.approx(0.1))


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("proc/stat", "cpu  1 2 3 4 5 6 7 8 9 0\n", "no time of single processors"),
        ("proc/stat", "cpu0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0\n", "no time of single processors"),
        ("proc/stat", "cpu0 1 2 3 4 5 6 7\n", "no line of some processor"),
        ("proc/stat", "cpu0 1 2\n", "unknown form"),
        ("proc/self/stat", "10 (python", "unknown form"),
    ],
)
def test_work_of_others_that_the_kernel_does_not_tell(watched, machine, path, text, reason):
    machine(path, text)
    reading = watched()["other_processes"]
    assert reading.state is State.UNAVAILABLE
    assert reason in reading.detail


def test_a_window_of_few_ticks_tells_nothing_of_others(machine, tmp_path):
    times = iter([0, WALL_NS // 20])
    watch = NoiseWatch(tmp_path, clock=lambda: next(times))
    watch.start()
    assert "too short" in watch.stop()["other_processes"].detail


@pytest.mark.parametrize(
    ("on", "off", "state", "value"),
    [
        (0.297, 0.003, State.OK, 0.01),  # of the time that it had work
        (0.117, 0.003, State.BAD, 0.025),
        (0.010, 0.003, State.BAD, 0.03),  # a tenth of the time counts at least
        (0.010, 0.0005, State.OK, 0.005),
    ],
)
def test_an_engine_that_idles_is_judged_by_the_time_that_it_had_work(watched, machine, on, off, state, value):
    reading = watched(lambda: worked(machine, [(on, off)]))["run_queue_wait"]
    assert (reading.state, reading.value) == (state, pytest.approx(value))


@pytest.mark.parametrize(
    ("threads", "turns", "state", "value"),
    [
        ([(0.100, 0.010)], 0, State.BAD, 0.010 / 0.11),
        ([(0.100, 0.010)], 100, State.BAD, 0.00555 / 0.11),  # 5 ms by waking up, of which 89 % are idle time's
        ([(0.100, 0.010)], 200, State.OK, 0.0011 / 0.11),
        ([(0.100, 0.010), (0.100, 0.000)], 200, State.OK, 0.0021 / 0.21),  # who did not wait has nothing to give
        ([(0.005, 0.060)], 200, State.BAD, 0.5065),  # each time behind a time slice of somebody's
        ([(0.900, 0.090), (0.900, 0.090)], 100_000, State.BAD, 0.18),  # always at work
        ([(0.700, 0.250)], 100, State.BAD, 0.24975 / 0.95),  # a turn for each time slice of two that share
    ],
)
def test_waking_up_is_taken_off_as_far_as_an_engine_idles(watched, machine, threads, turns, state, value):
    reading = watched(lambda: worked(machine, threads, turns=turns))["run_queue_wait"]
    assert (reading.state, reading.value) == (state, pytest.approx(value))
    assert ("by waking up" in reading.detail) == (state is State.OK)


SECONDS = 10
SLICE_MS = 3.0
"""For which a task that spins may keep a processor before another has its turn (Linux, base_slice_ns of EEVDF)."""


def idling(machine, tmp_path, generator, frames, busy_ms, *, disturbed):
    """Return the reading of a camera's stream that sleeps between frames, over ten seconds.

    To wake up on an idle processor takes microseconds. Where others spin, every second wake-up finds it taken.
    """
    count = frames * SECONDS
    waits_ms = generator.exponential(0.02, count)
    if disturbed:
        waits_ms += generator.uniform(0, SLICE_MS, count) * (generator.random(count) < 0.5)
    times = iter([0, SECONDS * WALL_NS])
    watch = NoiseWatch(tmp_path, clock=lambda: next(times))
    ran(machine, 20, 0, 0)
    watch.start()
    ran(machine, 20, round(count * busy_ms * 1e6), round(waits_ms.sum() * 1e6), turns=count)
    return watch.stop()["run_queue_wait"]


@pytest.mark.parametrize(
    ("frames", "busy_ms"),
    [(5, 2.0), (30, 1.7), (30, 0.5), (60, 1.5), (240, 0.1), (240, 0.8), (500, 0.4)],
    ids=["1 % busy", "5 % busy", "30 short frames", "9 % busy", "8 cameras", "8 cameras, 19 % busy", "500 frames"],
)
def test_a_camera_that_hardly_loads_the_machine_is_flagged_where_it_is_disturbed(machine, tmp_path, frames, busy_ms):
    """Some are busy for less than the tenth of the time that counts at least, some wake up hundreds of times a second.

    240 times 20 µs, which is nobody's doing, are 5 % of that tenth.
    """
    generator = np.random.default_rng(frames)
    states = {
        disturbed: [idling(machine, tmp_path, generator, frames, busy_ms, disturbed=disturbed).state for _ in range(20)]
        for disturbed in (False, True)
    }
    assert set(states[False]) == {State.OK}
    assert states[True].count(State.BAD) >= 19


def test_stretches_are_judged_together(machine, tmp_path):
    """As of a search for a rate, which has threads of its own at each rate."""
    times = iter([0, WALL_NS, 5 * WALL_NS, 6 * WALL_NS])
    watch = NoiseWatch(tmp_path, clock=lambda: next(times))
    for stretch, thread in enumerate((20, 21)):
        ran(machine, thread, 0, 0)
        watch.start()
        ran(machine, thread, 970_000_000, 30_000_000 * stretch)
        machine("proc/stat", counted((percent(97), percent(10 * stretch))))
        machine("proc/self/stat", itself(percent(97)))
        readings = watch.stop()
        shutil.rmtree(tmp_path / f"proc/self/task/{thread}")
        # What happens between them is nobody's.
        machine("proc/stat", counted(seconds=0))
        machine("proc/self/stat", itself())
    wait, others = readings["run_queue_wait"], readings["other_processes"]
    assert (wait.state, wait.value, wait.detail) == (State.OK, pytest.approx(0.03 / 1.97), "")
    assert (others.state, others.value) == (State.OK, pytest.approx(0.025))
    assert readings["steal"].value == 0


def test_a_stretch_is_stopped_once(machine, tmp_path):
    watch = NoiseWatch(tmp_path)
    watch.start()
    watch.stop()
    with pytest.raises(RuntimeError, match="before start"):
        watch.stop()


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
    "path",
    [
        "proc/self/task/10/schedstat",
        "proc/self/task/10/status",
        "proc/stat",
        "proc/self/cgroup",
        "proc/self/mountinfo",
        "proc/pressure/cpu",
    ],
)
def test_an_unknown_form_is_unavailable_never_an_exception(watched, machine, path, text):
    machine(path, text)
    readings = watched()
    assert any(reading.state is State.UNAVAILABLE for reading in readings.values())


def test_a_kernel_without_scheduling_statistics(watched, machine):
    for thread in (10, 11):
        ran(machine, thread, 0, 0)
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
