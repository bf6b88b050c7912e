"""The machine, in two hashes: ``hw_id`` must match to compare, ``env_id`` explains; conditions are never hashed.

Nothing here holds a host name, a user name or a path. A fact that cannot be read is the text ``unavailable: reason``.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import subprocess
from typing import TYPE_CHECKING, Any

from harness import git
from harness.measure.noise import frequencies_mhz
from harness.quietness import Check, governors, quietness, turbo
from harness.system import ROOT, Unavailable, cpu_quota_cores, memory_limit_bytes, read
from harness.vocabulary import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Check", "conditions", "environment", "fingerprint", "hardware", "quietness", "short_id"]

_CPU = "sys/devices/system/cpu"
# What decides the speed of inference kernels, in the kernel's own words: x86 flags, then Arm features.
_ISA = re.compile(
    r"^(sse4_2|avx|avx2|fma|f16c|avx_vnni\w*|avx512\w*|avx10\w*|amx_\w+"
    r"|asimd|asimdhp|asimddp|fphp|neon|vfpv4|i8mm|bf16|ebf16|sve\w*|sme(?!p)\w*)$"
)
_THREAD_VARIABLES = re.compile(
    r"^(OMP_\w+|GOMP_\w+|KMP_\w+|MKL_\w+|OPENBLAS_\w+|BLIS_\w+|VECLIB_\w+|NUMEXPR_\w+|TBB_\w+|DNNL_\w+|ONEDNN_\w+"
    r"|MALLOC_\w+|CUDA_VISIBLE_DEVICES)$"
)
_GIB = 1 << 30


def fingerprint(versions: Mapping[str, str], repository: Path | None = None, root: Path = ROOT) -> dict[str, Any]:
    """Return {hw_id, env_id, hardware, environment, conditions}, as the manifest of a run holds it."""
    machine, around = hardware(root), environment(versions, repository, root)
    return {
        "hw_id": short_id(machine),
        "env_id": short_id(around),
        "hardware": machine,
        "environment": around,
        "conditions": conditions(root),
    }


def short_id(facts: Mapping[str, Any]) -> str:
    """Return the first 12 hex digits of the SHA-256 of the facts' canonical JSON."""
    return digest(facts)[:12]


def hardware(root: Path = ROOT) -> dict[str, Any]:
    """Return what must match for two results to be compared; memory to the nearest GiB."""
    return {
        "architecture": platform.machine(),
        "cpu": _told(lambda: _cpu(root)),
        "topology": _told(lambda: _topology(root)),
        "caches": _told(lambda: _caches(root)),
        "isa": _told(lambda: _isa(root)),
        "numa_nodes": _told(lambda: _numa_nodes(root)),
        "memory_gib": _told(lambda: round(_meminfo_bytes("MemTotal", root) / _GIB)),
        "accelerators": _told(lambda: _accelerators(root)),
        "hypervisor": _told(lambda: _hypervisor(root)),
        "board": _told(lambda: read("proc/device-tree/model", root).rstrip("\0")),
    }


def environment(versions: Mapping[str, str], repository: Path | None = None, root: Path = ROOT) -> dict[str, Any]:
    """Return what explains a difference: system, frequency policy, limits, thread variables, versions, revision.

    ``versions``: distribution → version. ``repository``: a folder inside the suite's repository, if it has one.
    """
    return {
        "system": _told(_system),
        "kernel": platform.release(),
        "microcode": _told(lambda: _cpu_fields(root)["microcode"]),
        "governor": _told(lambda: governors(root)),
        "turbo": _told(lambda: "on" if turbo(root)[0] else "off"),
        "smt": _told(lambda: read(f"{_CPU}/smt/active", root)),
        "transparent_hugepages": _told(lambda: read("sys/kernel/mm/transparent_hugepage/enabled", root)),
        "cpu_quota_cores": _told(lambda: cpu_quota_cores(root) or "no limit"),
        "memory_limit_bytes": _told(lambda: memory_limit_bytes(root) or "no limit"),
        "affinity": _told(_affinity),
        "thread_variables": {k: os.environ[k] for k in sorted(os.environ) if _THREAD_VARIABLES.match(k)},
        # An allocator preloaded changes timings; the folder that it lies in does not, and may name a user.
        "preloaded": [name.rpartition("/")[2] for name in re.split(r"[: ]+", os.environ.get("LD_PRELOAD", "")) if name],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": dict(sorted(versions.items())),
        "revision": _told(lambda: _revision(repository)),
    }


def conditions(root: Path = ROOT) -> dict[str, Any]:
    """Return what changes from minute to minute: load, temperatures, frequencies, free memory."""
    return {
        "load_average": _told(lambda: [round(load, 2) for load in os.getloadavg()]),
        "temperatures_c": _told(lambda: _temperatures_c(root)),
        "cpu_mhz": _told(lambda: [round(mhz) for mhz in frequencies_mhz(root)]),
        "memory_available_gib": _told(lambda: round(_meminfo_bytes("MemAvailable", root) / _GIB, 1)),
    }


def _told(tell: Callable[[], Any]) -> Any:
    """Return a fact, or why it is not known."""
    try:
        return tell()
    except Unavailable as unavailable:
        return f"unavailable: {unavailable}"
    except (OSError, AttributeError) as error:  # no such call on this system
        return f"unavailable: {type(error).__name__} on {platform.system()}"
    except (ValueError, LookupError):
        return "unavailable: the system's answer has an unknown form"


def _cpu_fields(root: Path) -> dict[str, str]:
    """Return the fields of the first CPU of ``/proc/cpuinfo``."""
    fields: dict[str, str] = {}
    for line in read("proc/cpuinfo", root).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields


def _cpu(root: Path) -> dict[str, str]:
    fields = _cpu_fields(root)
    names = {
        "vendor": ("vendor_id", "CPU implementer"),
        "family": ("cpu family", "CPU architecture"),
        "model": ("model", "CPU part"),
        "name": ("model name", "Processor"),
        "stepping": ("stepping", "CPU revision"),
    }
    found = {key: next((fields[name] for name in known if name in fields), "") for key, known in names.items()}
    if not any(found.values()):
        raise Unavailable("/proc/cpuinfo names no processor")
    return {key: value for key, value in found.items() if value}


def _topology(root: Path) -> dict[str, int]:
    packages, cores, threads = set(), set(), 0
    for folder in (root / _CPU).glob("cpu[0-9]*/topology"):
        place = folder.relative_to(root)
        package = read(f"{place}/physical_package_id", root)
        packages.add(package)
        cores.add((package, read(f"{place}/core_id", root)))
        threads += 1
    if not threads:
        raise Unavailable(f"/{_CPU} shows no topology")
    return {"sockets": len(packages), "cores": len(cores), "threads": threads}


def _caches(root: Path) -> dict[str, str]:
    """Return size and number of instances by cache, such as {"L2": "1024K x 2"}."""
    shared: dict[str, tuple[str, set[str]]] = {}
    suffixes = {"Data": "d", "Instruction": "i"}
    for folder in sorted((root / _CPU).glob("cpu[0-9]*/cache/index[0-9]*")):
        place = folder.relative_to(root)
        name = f"L{read(f'{place}/level', root)}{suffixes.get(read(f'{place}/type', root), '')}"
        _, instances = shared.setdefault(name, (read(f"{place}/size", root), set()))
        instances.add(read(f"{place}/shared_cpu_list", root))
    if not shared:
        raise Unavailable(f"/{_CPU} shows no caches")
    return {name: f"{size} x {len(instances)}" for name, (size, instances) in sorted(shared.items())}


def _isa(root: Path) -> list[str]:
    fields = _cpu_fields(root)
    words = (fields.get("flags") or fields.get("Features") or "").split()
    if not words:
        raise Unavailable("/proc/cpuinfo lists no instruction sets")
    return sorted(word for word in words if _ISA.match(word))


def _numa_nodes(root: Path) -> int:
    nodes = len(list((root / "sys/devices/system/node").glob("node[0-9]*")))
    if not nodes:
        raise Unavailable("/sys/devices/system/node is empty")
    return nodes


def _meminfo_bytes(field: str, root: Path) -> int:
    for line in read("proc/meminfo", root).splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise Unavailable(f"/proc/meminfo has no {field}")


def _accelerators(root: Path) -> list[dict[str, Any]]:
    """Return NVIDIA devices with memory and power limit, read by NVML."""
    try:
        pynvml: Any = importlib.import_module("pynvml")  # optional, and without type information
    except ImportError:
        if (root / "proc/driver/nvidia/version").exists():
            raise Unavailable("an NVIDIA driver is loaded; pip install nvidia-ml-py to name its devices") from None
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if (root / "proc/driver/nvidia/version").exists():
            raise Unavailable(f"NVML: {error}") from None
        return []
    try:
        return [_nvidia(pynvml, pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _nvidia(nvml: Any, device: Any) -> dict[str, Any]:
    name = nvml.nvmlDeviceGetName(device)
    try:
        power_limit_w: Any = round(nvml.nvmlDeviceGetEnforcedPowerLimit(device) / 1000)
    except nvml.NVMLError as error:
        power_limit_w = f"unavailable: {error}"
    return {
        "name": name.decode() if isinstance(name, bytes) else name,
        "memory_gib": round(nvml.nvmlDeviceGetMemoryInfo(device).total / _GIB),
        "power_limit_w": power_limit_w,
    }


def _hypervisor(root: Path) -> str:
    """Return who virtualises this machine, or ``none``; Arm processors do not tell, the firmware may."""
    fields = _cpu_fields(root)
    flags = fields.get("flags", "").split()
    if flags and "hypervisor" not in flags:
        return "none"
    for place in ("sys/hypervisor/type", "sys/class/dmi/id/sys_vendor"):
        try:
            return read(place, root) or "unnamed"
        except Unavailable:
            continue
    if flags:
        return "unnamed"
    raise Unavailable("this processor does not tell, and there is no firmware table")


def _system() -> str:
    try:
        distribution = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
    return f"{platform.system()}, {distribution}"


def _affinity() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _temperatures_c(root: Path) -> dict[str, float]:
    found = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone[0-9]*")):
        place = zone.relative_to(root)
        found[f"{zone.name} {read(f'{place}/type', root)}"] = int(read(f"{place}/temp", root)) / 1e3
    if not found:
        raise Unavailable("no thermal zones")
    return found


def _revision(repository: Path | None) -> dict[str, Any]:
    if repository is None:
        raise Unavailable("the suite is in no repository")
    sha = _git(repository, "rev-parse", "HEAD")
    return {"sha": sha, "dirty": bool(_git(repository, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = git.asked(folder, *arguments, timeout_s=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"git: {type(error).__name__}") from None
    if done.returncode:
        raise Unavailable("the suite is in no repository")
    return done.stdout.strip()
