"""Whether NVIDIA's GPUs hold still: what their driver says by ``nvidia-smi``, with the command that changes it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.vocabulary import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Ask = Callable[[Sequence[str]], str]

_SMI = "nvidia-smi"
_FIELDS = ("index", "name", "persistence_mode", "clocks.sm", "clocks.max.sm")
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Told:
    """One check of one GPU."""

    name: str
    state: State
    value: str
    advice: str = ""


def ask(arguments: Sequence[str]) -> str:
    """Return what ``nvidia-smi`` prints; nothing where there is none, or where it cannot reach the driver."""
    if shutil.which(_SMI) is None:
        return ""
    try:
        done = subprocess.run([_SMI, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def checks(ask: Ask) -> Iterator[Told]:
    """Yield the checks of every GPU; none without one.

    Clocks are ``unavailable``: the driver sets a lock (``--lock-gpu-clocks``) and does not tell of one.
    """
    for line in ask([f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]).splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) != len(_FIELDS):
            continue
        index, name, persistence, now, highest = words
        gpu = f"gpu {index}"
        yield Told(f"{gpu} persistence", *_persistence(index, persistence))
        clocks = f"{name}: {now} of at most {highest} MHz now; the driver does not tell whether they are locked"
        yield Told(f"{gpu} clocks", State.UNAVAILABLE, clocks, _lock(index))
        yield Told(f"{gpu} other processes", *_processes(ask, index))


def _persistence(index: str, mode: str) -> tuple[State, str, str]:
    if mode not in {"Enabled", "Disabled"}:
        return State.UNAVAILABLE, mode, ""
    if mode == "Enabled":
        return State.OK, "on", ""
    return State.BAD, "off: the driver is set up anew for each process", f"sudo {_SMI} -i {index} --persistence-mode=1"


def _lock(index: str) -> str:
    """Say how to lock the clock; which one a board holds under load is for its owner to find out."""
    smi = f"sudo {_SMI} -i {index}"
    return (
        f"{smi} --lock-gpu-clocks=MHZ, one that `{_SMI} -q -d SUPPORTED_CLOCKS` lists; undo: {smi} --reset-gpu-clocks"
    )


def _processes(ask: Ask, index: str) -> tuple[State, str, str]:
    told = ask(["-i", index, "--query-compute-apps=pid,process_name,used_gpu_memory", "--format=csv,noheader"])
    found = [line.strip() for line in told.splitlines() if line.strip()]
    if not found:
        return State.OK, "none", ""
    return State.BAD, "; ".join(found), "stop them, or give the suite another device"
