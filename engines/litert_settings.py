"""The settings of the LiteRT engine: what there is to choose, and how threads are shared out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.engine import usable_processors
from harness.errors import Unsupported
from harness.vocabulary import Goal, Precision

if TYPE_CHECKING:
    from harness.engine import SessionConfig

# Names of the interpreter's ``OpResolverType``.
KERNELS = {
    "xnnpack": "BUILTIN",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}


@dataclass(frozen=True)
class LiteRTOptions:
    """Settings of an interpreter, or of a ``CompiledModel``: an option of the one is refused by the other."""

    api: str = "interpreter"  # interpreter | compiled: LiteRT's newer CompiledModel, which says little of what it does
    kernels: str = "xnnpack"  # xnnpack | builtin | reference
    fusion: bool = True  # interpreter: false gives XNNPACK each operator alone, so that it fuses nothing
    reuse_memory: bool = True  # interpreter: false keeps every intermediate tensor, and fuses nothing either
    fp16_arithmetic: bool = False  # compiled: XNNPACK computes float32 graphs in float16
    weight_cache: bool = False  # compiled: packed weights are mapped from a file in the launch's scratch folder


def check(config: SessionConfig) -> None:
    """Raise ``Unsupported`` for settings that do not exist, or that the chosen API does not have."""
    given, default = config.options, LiteRTOptions()
    if given.api not in {"interpreter", "compiled"}:
        raise Unsupported(f"litert: api cannot be {given.api!r}", "it is interpreter or compiled")
    if given.kernels not in KERNELS:
        raise Unsupported(f"litert: kernels cannot be {given.kernels!r}", f"it is one of {', '.join(KERNELS)}")
    foreign = ("fp16_arithmetic", "weight_cache") if given.api == "interpreter" else ("fusion", "reuse_memory")
    for option in foreign:
        if getattr(given, option) != getattr(default, option):
            other = "compiled" if given.api == "interpreter" else "interpreter"
            raise Unsupported(f"litert: the {given.api} has no {option}", f"set `api: {other}` beside it")
    if given.kernels != "xnnpack" and (given.fp16_arithmetic or given.weight_cache):
        raise Unsupported("litert: float16 arithmetic and the weight cache are XNNPACK's", "set `kernels: xnnpack`")
    if given.fp16_arithmetic and config.precision is not Precision.FP16:
        raise Unsupported(f"litert: fp16_arithmetic is not {config.precision}", "ask for precision fp16")


def budget(config: SessionConfig) -> tuple[int, int]:
    """Return streams and threads of each, ``config.threads`` being the whole session's.

    Each stream is an interpreter with threads of its own; one thread a stream gives most throughput. Left to itself,
    the runtime takes one thread.
    """
    if config.goal is Goal.LATENCY:
        streams, threads = config.streams or 1, config.threads or 1
    else:
        threads = config.threads or usable_processors()
        streams = config.streams or threads
    return streams, max(1, threads // streams)
