"""A child process: its environment, its log, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import codec, jobs, process
from harness.system import processor_list
from harness.vocabulary import EngineFacts, Failed, Skipped, Stage


@pytest.fixture
def child(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return process.Child(scratch, tmp_path / "child.log", 30)


def run(child, program):
    return process.wait([sys.executable, "-c", program], child)


def test_thread_variables_are_set_or_absent_and_never_inherited():
    inherited = {"OMP_NUM_THREADS": "7", "PYTHONPATH": "/somewhere", "PYTHONHOME": "/else", "HOME": "/home/user"}
    free = process.environment(inherited, None)
    assert not set(free) & {*process.THREAD_VARIABLES, "PYTHONPATH", "PYTHONHOME"}
    assert free["HOME"] == "/home/user"
    bound = process.environment(inherited, 3)
    assert {bound[name] for name in process.THREAD_VARIABLES} == {"3"}


def test_the_folder_of_the_user_is_not_on_the_path_of_the_child(child, monkeypatch, tmp_path):
    (tmp_path / "scratch" / "shadow.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "scratch"))
    assert run(child, "import shadow").returncode == 1
    assert "No module named 'shadow'" in child.log.read_text()


@pytest.mark.parametrize(
    ("size", "dropped"),
    [
        (1000, False),
        (process.LOG_HEAD_BYTES, False),
        (process.LOG_HEAD_BYTES + process.LOG_TAIL_BYTES, False),
        (8 * (process.LOG_HEAD_BYTES + process.LOG_TAIL_BYTES), True),
    ],
)
def test_a_log_keeps_the_head_and_the_tail(child, size, dropped):
    program = f"import sys; sys.stdout.write('HEAD' + '.' * ({size} - 8) + 'TAIL')"
    assert run(child, program).returncode == 0
    log = child.log.read_bytes()
    assert log.startswith(b"HEAD.")
    assert log.endswith(b".TAIL")
    assert (b"bytes left out" in log) == dropped
    if dropped:
        left_out = int(log.partition(b"\n... ")[2].partition(b" bytes left out")[0])
        kept = len(log) - len(b"\n... %d bytes left out ...\n" % left_out)
        assert kept + left_out == size
        assert kept <= process.LOG_HEAD_BYTES + 2 * process.LOG_TAIL_BYTES
    else:
        assert len(log) == size


def test_a_log_that_cannot_be_written_does_not_stop_the_child(child, tmp_path):
    (tmp_path / "file").write_text("in the way")
    lost = process.Child(child.scratch, tmp_path / "file" / "child.log", 30)
    program = "import sys; sys.stdout.write('x' * 1_000_000); sys.stdout.flush(); open('done', 'w').close()"
    assert run(lost, program).returncode == 0
    assert (child.scratch / "done").exists()


def test_a_child_that_hangs_is_ended_with_all_that_it_started(child):
    program = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    ended = process.wait([sys.executable, "-c", program], process.Child(child.scratch, child.log, 1.5))
    assert ended.timed_out
    assert ended.returncode == -signal.SIGKILL
    assert gone(int(child.log.read_text()))


def gone(pid):
    """Whether a process ends within ten seconds; what it leaves to be reaped by others counts as ended."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_what_a_child_leaves_running_is_ended_and_does_not_hold_its_output(child):
    program = "import subprocess; print(subprocess.Popen(['sleep', '3600']).pid)"
    assert run(child, program).returncode == 0
    assert gone(int(child.log.read_text()))


@pytest.mark.parametrize("begun", [0, 1])
def test_an_interrupt_before_the_threads_are_begun_ends_the_child_too(child, monkeypatch, begun):
    started, start = [], threading.Thread.start

    def interrupted(thread):
        if len(started) == begun:
            raise KeyboardInterrupt
        started.append(thread)
        start(thread)

    made, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: made.append(popen(*args, **kwargs)) or made[-1])
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(child, "import time; time.sleep(60)")
    assert made[0].returncode == -signal.SIGKILL
    if not begun:
        made[0].stdout.close()


def test_an_interrupt_ends_the_child_first(child, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    started = []
    popen = process.subprocess.Popen

    def kept(*arguments, **keywords):
        started.append(popen(*arguments, **keywords))
        monkeypatch.setattr(process.threading.Thread, "join", once(interrupted, process.threading.Thread.join))
        return started[0]

    monkeypatch.setattr(process.subprocess, "Popen", kept)
    with pytest.raises(KeyboardInterrupt):
        run(child, "import time; time.sleep(3600)")
    assert started[0].returncode == -signal.SIGKILL


def once(first, then):
    calls = []

    def either(*arguments):
        calls.append(arguments)
        return first(*arguments) if len(calls) == 1 else then(*arguments)

    return either


def test_output_is_echoed_where_that_is_asked(child, capfd):
    process.wait([sys.executable, "-c", "print('hello')"], process.Child(child.scratch, child.log, 30, echo=True))
    assert capfd.readouterr().err == "hello\n"
    assert child.log.read_text() == "hello\n"


def answered(child, monkeypatch, program, timeout_s=30.0):
    """Have ``program`` play the worker; it runs in the scratch folder."""
    wait = process.wait
    played = process.Child(child.scratch, child.log, timeout_s)
    monkeypatch.setattr(process, "wait", lambda _, given: wait([sys.executable, "-c", program], given))
    return process.call("probe", jobs.ProbeJob("x:y"), played, jobs.ProbeAnswer)


ENDS = {
    "segfault": ("import os; os.kill(os.getpid(), 11)", "crash", "killed by SIGSEGV in stage import"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "crash", "want of memory"),
    "real-time signal": ("import os; os.kill(os.getpid(), 36)", "crash", "killed by signal 36"),
    "exit": ("raise SystemExit('out of luck')", "crash", "exited 1 in stage import: out of luck"),
    "silent exit": ("open('stage', 'w').write('load')", "no-record", "exited 0 in stage load without a record"),
    "unknown stage": ("open('stage', 'w').write('?')", "no-record", "stage import"),
    "no JSON": ("open('answer.json', 'w').write('{')", "no-record", "without a record"),
    "a list": ("open('answer.json', 'w').write('[]')", "bad-answer", "cannot be read"),
    "a number": ("open('answer.json', 'w').write('1')", "bad-answer", "cannot be read"),
    "other fields": ("open('answer.json', 'w').write('{\"answer\": {\"x\": 1}}')", "bad-answer", "no field 'x'"),
    "empty refusal": ("open('answer.json', 'w').write('{\"refusal\": {}}')", "bad-answer", "cannot be read"),
}


@pytest.mark.parametrize("how", ENDS)
def test_every_end_without_an_answer_has_a_name_and_a_hint(child, monkeypatch, how):
    program, kind, part = ENDS[how]
    failed = answered(child, monkeypatch, program)
    assert isinstance(failed, Failed)
    assert failed.kind == kind
    assert part in failed.message
    assert failed.hint


def test_a_timeout_says_how_far_it_came(child, monkeypatch):
    program = "import time; open('stage', 'w').write('load'); time.sleep(60)"
    failed = answered(child, monkeypatch, program, timeout_s=1.5)
    assert (failed.stage, failed.kind) == (Stage.LOAD, "timeout")
    assert "1.5 s" in failed.message


def test_an_answer_counts_even_if_the_process_dies_afterwards(child, monkeypatch):
    facts = jobs.ProbeAnswer(facts=EngineFacts("x", "1", ()))
    text = json.dumps({"answer": codec.encode(facts)})
    program = f"import os; open('answer.json', 'w').write({text!r}); os.abort()"
    assert answered(child, monkeypatch, program) == facts


def test_an_answer_of_an_earlier_job_is_not_taken_for_this_one(child, monkeypatch):
    (child.scratch / "answer.json").write_text('{"refusal": {"skipped": {"is": "Skipped", "reason": "old"}}}')
    assert answered(child, monkeypatch, "pass").kind == "no-record"


def test_a_refusal_is_data(child, monkeypatch):
    refusal = json.dumps({"refusal": codec.encode(jobs.Refusal(skipped=Skipped("not here", "install it")))})
    assert answered(child, monkeypatch, f"open('answer.json', 'w').write({refusal!r})") == Skipped(
        "not here", "install it"
    )


def test_an_interpreter_that_does_not_exist_is_named(child):
    lost = process.Child(child.scratch, child.log, 30, interpreter="/no/such/python")
    failed = process.call("probe", jobs.ProbeJob("x:y"), lost, jobs.ProbeAnswer)
    assert (failed.stage, failed.kind) == (Stage.PROBE, "FileNotFoundError")
    assert "/no/such/python" in failed.message
    assert "interpreters" in failed.hint


def test_a_scratch_folder_that_is_gone_is_a_failure_and_no_exception(child):
    child.scratch.rmdir()
    failed = process.call("probe", jobs.ProbeJob("x:y"), child, jobs.ProbeAnswer)
    assert failed.kind == "FileNotFoundError"
    assert "the job cannot be written" in failed.message


def test_a_job_of_another_kind_is_a_mistake_of_the_program(child):
    with pytest.raises(TypeError, match="export takes ExportJob"):
        process.call("export", jobs.ProbeJob("x:y"), child, jobs.ExportAnswer)


def test_the_real_worker_answers(child):
    answer = process.call("probe", jobs.ProbeJob("engines.fake:FakeEngine"), child, jobs.ProbeAnswer)
    assert answer.facts.name == "fake"
    assert not (child.scratch / "answer.json.part").exists()


SAYS_WHERE_IT_RUNS = """
import os, pathlib
from harness import jobs
from harness.worker import __main__ as worker
worker._do = lambda *_: jobs.TextAnswer(",".join(map(str, sorted(os.sched_getaffinity(0)))))
worker.main(pathlib.Path.cwd())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps a process on processors")
@pytest.mark.parametrize("bound", [True, False])
def test_a_child_is_kept_on_the_processors_that_are_asked(child, monkeypatch, bound):
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("this machine has one processor: kept on it or not is the same")
    asked = (allowed[-1],) if bound else None
    wait = process.wait
    monkeypatch.setattr(process, "wait", lambda _, given: wait([sys.executable, "-c", SAYS_WHERE_IT_RUNS], given))
    kept = process.Child(child.scratch, child.log, 30, cpus=asked)
    job = jobs.IdentifyJob("x:y", child.scratch)
    expected = ",".join(map(str, asked or allowed))
    assert process.call("identify", job, kept, jobs.TextAnswer) == jobs.TextAnswer(expected)
    assert sorted(os.sched_getaffinity(0)) == allowed


def test_a_worker_has_not_imported_numpy_where_it_is_bound():
    # OpenBLAS starts its threads at the import of numpy: they would keep the processors of before.
    program = "import sys, harness.worker.__main__; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.fixture
def four_processors(tmp_path, monkeypatch):
    """A machine of four processors, of which 3 is off and 2 is not given to this run."""
    folder = tmp_path / "root/sys/devices/system/cpu"
    folder.mkdir(parents=True)
    (folder / "present").write_text("0-3\n")
    (folder / "online").write_text("0-2\n")
    (tmp_path / "root/proc/self").mkdir(parents=True)
    (tmp_path / "root/proc/self/status").write_text("Name:\tpython\nCpus_allowed_list:\t0-1,3\n")
    monkeypatch.setattr(process.os, "sched_setaffinity", lambda *_: None, raising=False)
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("cpus", "reason"),
    [
        ((0,), None),
        ((0, 1), None),
        ((0, 4, 5, 7), "there is no processor 4-5, 7: this machine has 0-3"),
        ((1, 3), "processor 3 is switched off: of this machine 0-2 are on"),
        ((1, 2), "processor 2 is kept from this run, by its container or by taskset: it may use 0-1"),
    ],
)
def test_processors_that_are_not_to_be_had_are_named_with_the_reason(four_processors, cpus, reason):
    assert process.unusable(cpus, four_processors) == reason


def test_a_machine_that_does_not_tell_its_processors_refuses(four_processors):
    (four_processors / "sys/devices/system/cpu/present").unlink()
    assert "present: No such file" in process.unusable((2,), four_processors)
    assert process.unusable((1,), four_processors) is None
    (four_processors / "proc/self/status").unlink()
    assert "status: No such file" in process.unusable((1,), four_processors)


def test_processors_are_chosen_on_linux_alone(monkeypatch):
    monkeypatch.delattr(process.os, "sched_setaffinity", raising=False)
    monkeypatch.setattr(process.platform, "system", lambda: "Darwin")
    assert "this is Darwin" in process.unusable((0,))


def test_no_process_is_started_for_processors_that_are_not_there(child, monkeypatch):
    monkeypatch.setattr(process, "wait", lambda *_: pytest.fail("a process was started"))
    far = process.Child(child.scratch, child.log, 30, cpus=(100_000,))
    failed = process.call("probe", jobs.ProbeJob("x:y"), far, jobs.ProbeAnswer)
    assert (failed.stage, failed.kind) == (Stage.PREPARE, "processors")
    assert "100000" in failed.message or "Linux" in failed.message
    assert "cpus" in failed.hint


@given(st.sets(st.integers(0, 300), min_size=1))
def test_lists_of_processors_are_written_as_the_kernel_reads_them(numbers):
    assert processor_list(process._ranges(numbers)) == numbers
