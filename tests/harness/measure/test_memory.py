import subprocess
import sys
from pathlib import Path

import pytest

from harness.measure.memory import MemoryUnavailable, peak_bytes, resident_bytes

STATUS = "Name:\tpython\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\nThreads:\t1\n"
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


@pytest.fixture
def status(tmp_path):
    path = tmp_path / "proc/self/status"
    path.parent.mkdir(parents=True)
    path.write_text(STATUS)
    return path


def test_kib_are_read_as_bytes(status, tmp_path):
    assert resident_bytes(tmp_path) == 1 << 20
    assert peak_bytes(tmp_path) == 2 << 20


@pytest.mark.parametrize("text", ["", "VmRSS: many\n", "VmRSS:\t1 MB\n", "VmRSSX: 1 kB\n"])
def test_a_status_without_resident_memory_is_unavailable(status, tmp_path, text):
    status.write_text(text)
    with pytest.raises(MemoryUnavailable) as caught:
        resident_bytes(tmp_path)
    assert caught.value.hint


def test_the_peak_falls_back_on_getrusage(tmp_path):
    resource = pytest.importorskip("resource")
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    factor = 1 if sys.platform == "darwin" else 1024
    assert peak_bytes(tmp_path / "nothing") >= highest * factor


def test_the_peak_is_unavailable_where_nothing_tells(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    with pytest.raises(MemoryUnavailable, match="peak memory"):
        peak_bytes(tmp_path / "nothing")


CHILD = """
from harness.measure.memory import peak_bytes, resident_bytes
block = bytearray(64 << 20)
for page in range(0, len(block), 4096):
    block[page] = 1
held, peak = resident_bytes(), peak_bytes()
del block
print(held, peak, resident_bytes(), peak_bytes())
"""


@linux
def test_this_kernel_counts_a_block_and_remembers_it_in_the_peak():
    out = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True).stdout.split()
    held, peak, after, peak_after = map(int, out)
    assert held > 64 << 20
    assert peak >= held - (1 << 20)  # the kernel batches its counters per CPU
    assert after < held - (32 << 20)
    assert peak_after >= peak - (1 << 20)  # as above; the block itself is 64 times that
