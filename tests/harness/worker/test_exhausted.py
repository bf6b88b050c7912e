"""Want of memory, in the words of those that tell of it, and a real one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.errors import HarnessError, Unsupported
from harness.vocabulary import Failed, Stage
from harness.worker import __main__ as worker
from harness.worker.exhausted import exhausted

WORDS = (
    "std::bad_alloc",
    "bad allocation",
    "CUDA out of memory. Tried to allocate 20.00 MiB",
    "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
    "Failed to allocate memory for requested buffer of size 4096",
    "OOM when allocating tensor with shape[8,64,320,320] and type float on /job:localhost",
    "can't start new thread",
    "Unable to allocate 256. MiB for an array with shape (33554432,)",
)


@pytest.mark.parametrize("words", WORDS)
def test_it_is_a_reason_of_its_own_in_whatever_words(words):
    failed = worker._refusal(RuntimeError(words), Stage.LOAD).failed
    assert (failed.stage, failed.kind) == (Stage.LOAD, "out-of-memory")
    assert failed.message == f"memory ran out in stage load: {words}"
    assert "fewer `streams`" in failed.hint


def test_python_need_not_say_anything():
    assert worker._refusal(MemoryError(), Stage.WARMUP).failed.message == "memory ran out in stage warmup"


def test_what_an_adapter_made_of_it_is_no_reason_to_skip_the_cell():
    unsupported = Unsupported("the runtime cannot open model.onnx", "the message names what it does not take")
    unsupported.__cause__ = RuntimeError("std::bad_alloc")
    failed = worker._refusal(unsupported, Stage.LOAD).failed
    assert isinstance(failed, Failed)
    assert failed.message == "memory ran out in stage load: the runtime cannot open model.onnx"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the operator Allocate is unknown"),
        HarnessError("cudaLaunchKernel: unspecified launch failure", "the GPU may be out of memory"),
        RuntimeError("its memory layout is not known"),
        ValueError("no room for improvement"),
    ],
    ids=str,
)
def test_other_errors_are_what_they_were(error):
    assert not exhausted(error)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the address space is limited as Linux does it")
def test_a_real_one_is_known_by_its_words():
    """numpy, and Python's threads, where the address space of the process is at its limit."""
    program = """
import resource, sys, threading
import numpy as np
from harness.worker.exhausted import exhausted
held = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (held + (64 << 20), resource.RLIM_INFINITY))
threading.stack_size(32 << 20)
release, told = threading.Event(), []
for ask in (lambda: np.zeros(1 << 30), lambda: [threading.Thread(target=release.wait).start() for _ in range(8)]):
    try:
        ask()
    except Exception as error:
        told.append(exhausted(error))
release.set()
sys.exit(told != [True, True])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
