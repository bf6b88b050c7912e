"""What NVIDIA's management library tells of each GPU, through its vendor's own binding (``nvidia-ml-py``)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from harness.system import Unavailable
from harness.telemetry.sensor import CLOCK, ENERGY, FOREIGN, MEMORY, NVML, OWN, POWER, REASONS, TEMPERATURE, Column

if TYPE_CHECKING:
    from pathlib import Path

    from harness.telemetry.sensor import Sensors

_INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of include/linux/proc_ns.h
NOT_THE_MACHINES = (
    "NVML numbers processes as the machine does, this container differently: start it with --pid=host to tell them"
)


def nvml(sensors: Sensors, root: Path, ancestor: int) -> None:
    """Add the sensors of every GPU; processes below ``ancestor`` are ours. Raises ``Unavailable`` with the reason."""
    try:
        library: Any = importlib.import_module("pynvml")  # optional, and without type information
    except ImportError:
        raise Unavailable("to sample NVIDIA's GPUs: pip install 'inference-harness[energy]'") from None
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        raise Unavailable(f"NVML: {error}") from None
    sensors.stack.callback(library.nvmlShutdown)
    try:
        handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]
    except library.NVMLError as error:
        raise Unavailable(f"NVML: {error}") from None
    if not handles:
        raise Unavailable("NVML finds no GPU")
    for index, handle in enumerate(handles):
        _device(sensors, _Gpu(library, handle, str(index)), _Kin(root, ancestor))


class _Gpu:
    """One device and its questions."""

    def __init__(self, library: Any, handle: Any, index: str) -> None:
        self._library = library
        self._handle = handle
        self.index = index

    def column(self, what: str, quantity: str, unit: str) -> Column:
        return Column(f"nvml/{self.index}/{what}", NVML, quantity, "gpu", unit, self.index)

    def asked(self, name: str, *arguments: Any) -> Any:
        """Return an answer of NVML. Raises ``Unavailable``."""
        question = getattr(self._library, name, None)
        if question is None:
            raise Unavailable(f"nvidia-ml-py is too old for {name}")
        try:
            return question(self._handle, *arguments)
        except self._library.NVMLError as error:
            raise Unavailable(f"NVML: {error}") from None


def _device(sensors: Sensors, gpu: _Gpu, kin: _Kin) -> None:
    ask = gpu.asked
    sensors.add(gpu.column("energy", ENERGY, "mJ"), lambda: float(ask("nvmlDeviceGetTotalEnergyConsumption")))
    sensors.add(gpu.column("power", POWER, "mW"), lambda: float(ask("nvmlDeviceGetPowerUsage")))
    # The enumerators are plain numbers of nvml.h: NVML_TEMPERATURE_GPU is 0, NVML_CLOCK_SM 1, NVML_CLOCK_MEM 2.
    temperature = _first(gpu, "nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature", 0)
    sensors.add(gpu.column("temperature", TEMPERATURE, "°C"), lambda: float(ask(temperature, 0)))
    sensors.add(gpu.column("clock", CLOCK, "MHz"), lambda: float(ask("nvmlDeviceGetClockInfo", 1)))
    sensors.add(gpu.column("memory-clock", CLOCK, "MHz"), lambda: float(ask("nvmlDeviceGetClockInfo", 2)))
    # The older name of the same question is for drivers before R535.
    reasons = _first(gpu, "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
    sensors.add(gpu.column("reasons", REASONS, "bits"), lambda: float(ask(reasons)))
    sensors.add(gpu.column("memory", MEMORY, "B"), lambda: float(ask("nvmlDeviceGetMemoryInfo").used))
    sensors.add(gpu.column("own", OWN, "processes"), lambda: float(_counts(gpu, kin)[0]))
    sensors.add(gpu.column("foreign", FOREIGN, "processes"), lambda: float(_counts(gpu, kin)[1]))


def _first(gpu: _Gpu, newer: str, older: str, *arguments: int) -> str:
    """Return the newer name of a question where binding and driver both know it."""
    try:
        gpu.asked(newer, *arguments)
    except Unavailable:
        return older
    return newer


def _counts(gpu: _Gpu, kin: _Kin) -> tuple[int, int]:
    """Return how many processes on a GPU are ours, and how many of the others compute: a desktop draws, and is none."""
    kin.check()
    computing = {process.pid for process in gpu.asked("nvmlDeviceGetComputeRunningProcesses")}
    drawing = {process.pid for process in gpu.asked("nvmlDeviceGetGraphicsRunningProcesses")}
    own = {pid for pid in computing | drawing if kin.ours(pid)}
    return len(own), len(computing - own)


class _Kin:
    """Which processes descend from the one that measures."""

    def __init__(self, root: Path, ancestor: int) -> None:
        self._root = root
        self._ancestor = ancestor

    def check(self) -> None:
        """Raise ``Unavailable`` where processes have other numbers here than NVML gives them."""
        try:
            namespace = str((self._root / "proc/self/ns/pid").readlink())
        except OSError as error:
            raise Unavailable(f"/proc/self/ns/pid: {error.strerror}") from None
        if namespace != _INITIAL_PID_NAMESPACE:
            raise Unavailable(NOT_THE_MACHINES)

    def ours(self, pid: int) -> bool:
        while pid > 1:
            if pid == self._ancestor:
                return True
            pid = self._parent(pid)
        return False

    def _parent(self, pid: int) -> int:
        """Return the parent of a process, 0 where it has ended (proc_pid_stat(5): its name may hold anything)."""
        try:
            stat = (self._root / f"proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            return int(stat.rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return 0
