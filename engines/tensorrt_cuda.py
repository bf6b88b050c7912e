"""NVIDIA's CUDA runtime through its own Python bindings: checked calls, the GPUs there are, buffers that go back."""

from __future__ import annotations

import ctypes
import importlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import EngineUnavailable, HarnessError, Unsupported

if TYPE_CHECKING:
    from contextlib import ExitStack

    from harness.vocabulary import TensorSpec

MODULE = "cuda.bindings.runtime"
"""The CUDA runtime is linked into it: without a driver it imports, and each call says what is missing."""
_INSTALL = "pip install cuda-bindings"
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Gpu:
    """One device; ``capability`` is CUDA's compute capability."""

    name: str  # cuda:0
    index: int
    description: str
    capability: tuple[int, int]


class Cuda:
    """Calls of the CUDA runtime that raise ``HarnessError`` instead of returning a status."""

    def __init__(self) -> None:
        """Import the bindings. Raises ``EngineUnavailable``."""
        try:
            self.runtime: Any = importlib.import_module(MODULE)
        except ImportError as error:
            raise EngineUnavailable(f"{MODULE} cannot be imported: {error}", _INSTALL) from error
        self.success = self.runtime.cudaError_t.cudaSuccess

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function and return its one value, if it has one."""
        status, *values = getattr(self.runtime, name)(*arguments)
        self.check(status, name)
        return values[0] if values else None

    def check(self, status: Any, name: str) -> None:
        """Raise ``HarnessError`` unless the status is success."""
        if status != self.success:
            hint = "the GPU's memory may be full, or an earlier call may have failed: see the log of the launch"
            raise HarnessError(f"{name}: {self.word(status)}", hint)

    def word(self, status: Any) -> str:
        """Return CUDA's own text for a status."""
        text = self.runtime.cudaGetErrorString(status)[1]
        return text.decode() if isinstance(text, bytes) else str(text)

    def gpus(self) -> list[Gpu]:
        """Return every GPU. Raises ``EngineUnavailable`` where there is none, or no driver for it."""
        status, count = self.runtime.cudaGetDeviceCount()
        if status != self.success or not count:
            reason = self.word(status) if status != self.success else "the driver lists none"
            hint = "run on a machine with an NVIDIA GPU, and NVIDIA's driver installed"
            raise EngineUnavailable(f"no NVIDIA GPU or driver: {reason}", hint)
        found = []
        for index in range(count):
            told = self.call("cudaGetDeviceProperties", index)
            name = told.name.decode() if isinstance(told.name, bytes) else str(told.name)
            found.append(Gpu(f"cuda:{index}", index, name.rstrip("\0"), (told.major, told.minor)))
        return found

    def gpu(self, name: str) -> Gpu:
        """Return the GPU of a name. Raises ``EngineUnavailable``, or ``Unsupported`` where others are there."""
        gpus = {gpu.name: gpu for gpu in self.gpus()}
        if name not in gpus:
            raise Unsupported(f"there is no NVIDIA GPU {name!r} here", f"there is {', '.join(gpus)}")
        return gpus[name]

    def versions(self) -> dict[str, str]:
        """Return the version of CUDA that the driver brings, and the driver's own where the kernel tells it."""
        number = self.call("cudaDriverGetVersion")
        found = {"cuda": f"{number // 1000}.{number % 1000 // 10}"}
        try:
            told = re.search(r"(\d+(?:\.\d+)+)", _DRIVER.read_text(encoding="utf-8"))
        except OSError:
            return found
        return {**found, "driver": told[1]} if told else found

    def pinned(self, spec: TensorSpec, undo: ExitStack) -> np.ndarray:
        """Return a host array in page-locked memory, which copies to and from the GPU need to be asynchronous."""
        pointer = self.call("cudaMallocHost", _bytes(spec))
        undo.callback(self.runtime.cudaFreeHost, pointer)
        raw = np.ctypeslib.as_array((ctypes.c_uint8 * _bytes(spec)).from_address(int(pointer)))
        return raw[: _bytes(spec) if math.prod(spec.shape) else 0].view(spec.dtype).reshape(spec.shape)

    def device(self, spec: TensorSpec, undo: ExitStack) -> int:
        """Return the address of device memory for a tensor, filled with zeros."""
        pointer = self.call("cudaMalloc", _bytes(spec))
        undo.callback(self.runtime.cudaFree, pointer)
        self.call("cudaMemset", pointer, 0, _bytes(spec))
        return int(pointer)


def _bytes(spec: TensorSpec) -> int:
    """Return the size of a tensor; one byte for an empty one, since CUDA gives no address for nothing."""
    return max(1, math.prod(spec.shape) * np.dtype(spec.dtype).itemsize)
