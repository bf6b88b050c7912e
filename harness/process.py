"""A child process: started in its own session, waited for without polling, its output kept to a bounded log."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeVar

from harness import codec, jobs
from harness.errors import HarnessError
from harness.system import ROOT, Unavailable, allowed_processors, processor_list, read
from harness.vocabulary import Failed, Skipped, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

Answer = TypeVar("Answer")

LOG_HEAD_BYTES = 512 * 1024
LOG_TAIL_BYTES = 256 * 1024
_PUMP_GRACE_S = 2.0

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


_PROCESSORS = "sys/devices/system/cpu"
RAISE_TIMEOUT = "raise `timeout:` in the suite"
CHOOSE_CPUS = "see `cpus:` in the suite"


_OWN_FOLDERS = ("CUDA_CACHE_PATH", "KERAS_HOME", "YOLO_CONFIG_DIR")
"""Where libraries keep settings and compiled kernels: not in the user's home, where the next launch would find them."""


@dataclass(frozen=True)
class Child:
    """How to start a child. ``interpreter`` is the Python of the engine's environment."""

    scratch: Path  # an existing folder of its own: working directory, job and answer
    log: Path
    timeout_s: float
    interpreter: str = sys.executable
    threads: int | None = None
    echo: bool = False  # show its output as it comes, besides keeping it
    remedy: str = RAISE_TIMEOUT  # what helps against the timeout
    cpus: tuple[int, ...] | None = None  # the processors that it is kept on; see ``unusable``
    descriptors: tuple[int, ...] = ()  # of this process, which it inherits under the same numbers


@dataclass(frozen=True)
class Ended:
    """How a process ended. ``returncode`` is negative for a signal, as subprocess has it."""

    returncode: int
    timed_out: bool
    duration_ns: int


def environment(base: Mapping[str, str], threads: int | None) -> dict[str, str]:
    """Return a child's environment: the thread variables set or absent, never inherited; no surprise installs.

    The user's current folder is kept off the child's import path; ``PYTHONPATH`` is dropped for the same reason.
    """
    kept = {key: value for key, value in base.items() if key not in {*THREAD_VARIABLES, "PYTHONPATH", "PYTHONHOME"}}
    if threads is not None:
        kept |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    kept |= {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0", "YOLO_AUTOINSTALL": "false", "PYTHONUTF8": "1"}
    # From 1.29 on, importing ONNX Runtime starts a thread that reports each session to its maker, by way of a database
    # in the user's ~/.cache; only a variable that is there before keeps it from that (its telemetry_1ds.cc).
    kept |= {"ORT_DISABLE_TELEMETRY": "1"}
    return kept


def call(kind: str, job: object, child: Child, answer: type[Answer]) -> Answer | Failed | Skipped:
    """Have a worker process do ``job`` and return its answer, or why there is none. Never raises for what it did."""
    job_class, answer_class = jobs.KINDS[kind]
    if not isinstance(job, job_class) or answer is not answer_class:
        raise TypeError(f"{kind} takes {job_class.__name__} and answers {answer_class.__name__}")
    if child.cpus is not None and (why := unusable(child.cpus)) is not None:
        return Failed(Stage.PREPARE, "processors", why, CHOOSE_CPUS)
    text = json.dumps({"kind": kind, "job": codec.encode(job), "cpus": child.cpus}, allow_nan=False)
    answer_file = child.scratch / jobs.ANSWER_FILE
    try:
        (child.scratch / jobs.JOB_FILE).write_text(text, encoding="utf-8")
        answer_file.unlink(missing_ok=True)
    except OSError as error:
        message = f"the job cannot be written to {child.scratch.parent}: {error.strerror}"
        return Failed(Stage.PREPARE, type(error).__name__, message, "free some space there")
    command = [child.interpreter, "-m", "harness.worker", str(child.scratch)]
    try:
        ended = wait(command, child)
    except OSError as error:
        hint = "check `interpreters:` in the suite; it must name a Python executable"
        return Failed(Stage.PROBE, type(error).__name__, f"cannot start {child.interpreter}: {error.strerror}", hint)
    return _read_answer(answer_file, ended, child, answer)


def unusable(cpus: Sequence[int], root: Path = ROOT) -> str | None:
    """Return why a child cannot be kept on these processors; ``None`` where it can. ``root`` stands for ``/``."""
    if not hasattr(os, "sched_setaffinity"):
        return f"a process can be kept on processors on Linux alone; this is {platform.system()}"
    try:
        allowed = allowed_processors(root)
        refused = set(cpus) - allowed
        if not refused:
            return None
        present, online = (processor_list(read(f"{_PROCESSORS}/{name}", root)) for name in ("present", "online"))
    except (Unavailable, ValueError) as error:
        return f"whether there are processors {_ranges(cpus)} for this run cannot be read: {error}"
    if absent := refused - present:
        return f"there is no processor {_ranges(absent)}: this machine has {_ranges(present)}"
    if off := refused - online:
        return f"processor {_ranges(off)} is switched off: of this machine {_ranges(online)} are on"
    why = "by its container or by taskset"
    return f"processor {_ranges(refused)} is kept from this run, {why}: it may use {_ranges(allowed)}"


def _ranges(numbers: Iterable[int]) -> str:
    """Return numbers as the kernel writes them."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def wait(command: list[str], child: Child) -> Ended:
    """Run ``command`` to its end or to the timeout, then end whatever it left running. Raises ``OSError``.

    On ``KeyboardInterrupt`` the child is killed first.
    """
    started_ns = time.monotonic_ns()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=child.scratch,
        # Ultralytics writes its settings where this points; the user's own are left alone.
        env=environment(os.environ, child.threads) | dict.fromkeys(_OWN_FOLDERS, str(child.scratch)),
        start_new_session=True,
        pass_fds=child.descriptors,
    )
    pump = threading.Thread(target=_pump, args=(process.stdout, child), daemon=True)
    # Popen.wait(timeout) polls; a thread blocked in waitpid does not, and the parent must not wake while one measures.
    waiter = threading.Thread(target=process.wait, daemon=True)
    try:
        pump.start()
        waiter.start()
        waiter.join(child.timeout_s)
        timed_out = waiter.is_alive()
    finally:
        _end_group(process)
        process.wait()  # not the thread's end: an interrupt may have come before it was begun
    pump.join(_PUMP_GRACE_S)
    return Ended(process.returncode, timed_out, time.monotonic_ns() - started_ns)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _pump(stream: IO[bytes] | None, child: Child) -> None:
    """Read a child's output to its end, whatever becomes of the log."""
    if stream is None:
        return
    with stream:
        try:
            _log(stream.fileno(), child)
        except OSError:
            # The disk is full, say: a child must not break on a pipe that nobody reads.
            while os.read(stream.fileno(), 65536):
                pass


def _log(source: int, child: Child) -> None:
    """Copy to the log: the head as it comes, then the tail; what lies between is counted. Raises ``OSError``."""
    written, tail, dropped = 0, bytearray(), 0
    with child.log.open("ab", buffering=0) as file:
        while chunk := os.read(source, 65536):
            if child.echo:
                os.write(2, chunk)
            head = chunk[: max(0, LOG_HEAD_BYTES - written)]
            if head:
                file.write(head)
                written += len(head)
            tail += chunk[len(head) :]
            if len(tail) > 2 * LOG_TAIL_BYTES:
                dropped += len(tail) - LOG_TAIL_BYTES
                del tail[:-LOG_TAIL_BYTES]
        if dropped:
            file.write(f"\n... {dropped} bytes left out ...\n".encode())
        file.write(tail)


def _read_answer(answer_file: Path, ended: Ended, child: Child, kind: type[Answer]) -> Answer | Failed | Skipped:
    stage = reached(child.scratch)
    if ended.timed_out:
        hint = f"{child.remedy}, or leave the cell out; the log shows how far it came"
        return Failed(stage, "timeout", f"no end after {child.timeout_s:g} s, in stage {stage.value}", hint)
    try:
        data: Any = json.loads(answer_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return _crash(ended, stage, _last_words(child.log))
    try:
        if "refusal" in data:
            refusal = codec.decode(jobs.Refusal, data["refusal"])
            if (refused := refusal.failed or refusal.skipped) is not None:
                return refused
        return codec.decode(kind, data["answer"])
    except (HarnessError, KeyError, TypeError) as error:
        message = f"the worker's answer cannot be read: {error}"
        return Failed(Stage.RECORD, "bad-answer", message, "is the same harness version installed there?")


def _crash(ended: Ended, stage: Stage, last_words: str) -> Failed:
    hint = "see the log; `harness rerun RUN CELL` repeats it in the foreground"
    if ended.returncode < 0:
        name = _signal_name(-ended.returncode)
        message = f"killed by {name} in stage {stage.value}"
        if name == "SIGKILL":
            message += "; the kernel may have killed it for want of memory"
            hint = f"if so, fewer `streams`, a smaller `batch` or a higher limit of memory help; {hint}"
        return Failed(stage, "crash", message, hint)
    if ended.returncode == 0:
        return Failed(stage, "no-record", f"exited 0 in stage {stage.value} without a record", hint)
    detail = f": {last_words}" if last_words else ""
    return Failed(stage, "crash", f"exited {ended.returncode} in stage {stage.value}{detail}", hint)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time signals have no name of their own
        return f"signal {number}"


def reached(scratch: Path) -> Stage:
    """Return how far the worker of this scratch folder came."""
    try:
        return Stage((scratch / jobs.STAGE_FILE).read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return Stage.IMPORT


def _last_words(log: Path) -> str:
    try:
        lines = log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""
