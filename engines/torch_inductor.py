"""TorchInductor: its settings in few words, the folder of its caches, and the calls that its generated code makes."""

from __future__ import annotations

import os
import re
import zipfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from harness.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_MEMORY: Mapping[str, Mapping[str, Any]] = {
    "reuse": {},
    "pool": {"memory_planning": True},
    "none": {"allow_buffer_reuse": False, "inplace_buffers": False, "reorder_for_peak_memory": False},
}
# A pointwise operation is put into the loop of its reader while the graph is lowered, unless its buffer is made real.
_UNFUSED: Mapping[str, Any] = {
    "max_fusion_size": 1,
    "epilogue_fusion": False,
    "pattern_matcher": False,
    "realize_opcount_threshold": 0,
    "realize_cpu_opcount_threshold": 0,
    "realize_reads_threshold": 0,
}
_PYTHON_BODY = re.compile(r"^ *def call\(.*?^ *return ", re.DOTALL | re.MULTILINE)
_CPP_BODY = re.compile(r"void AOTInductorModel::run_impl\(.*?^\}", re.DOTALL | re.MULTILINE)
_CALL = re.compile(
    r"\bextern_kernels\.(?P<extern>\w+)\("
    r"|\btorch\.ops\.(?P<operator>\w+\.\w+)(?:\.\w+)?\("
    r"|\baoti_torch_(?:cpu|cuda)_(?P<shim>\w+)\("
    r"|(?<![\w.])(?:call_)?(?P<kernel>(?:cpp|triton)_\w+?)(?:_\d+)?(?:\.run)?\("
)


@dataclass(frozen=True)
class Inductor:
    """What ``torch.compile`` and AOTInductor have in common. ``freezing: None`` means where INT8 needs it."""

    mode: str = "default"  # default | reduce-overhead | max-autotune | max-autotune-no-cudagraphs
    freezing: bool | None = None  # weights become constants: folded into their layers, and packed once
    fusion: bool = True
    memory: str = "reuse"  # none | reuse | pool
    further: Mapping[str, Any] = field(default_factory=dict)  # any other key of torch._inductor.config


def patches(torch: Any, settings: Inductor, *, int8: bool) -> dict[str, Any]:
    """Return the keys of ``torch._inductor.config`` to patch. Raises ``Unsupported`` for what is none."""
    own = keys(settings, int8=int8)
    inductor = torch._inductor  # noqa: SLF001 - torch's own name of it
    unknown = sorted(set(settings.further) - set(inductor.list_options()))
    if unknown:
        message = f"torch._inductor.config has no key {unknown[0]!r}"
        raise Unsupported(message, "see torch._inductor.list_options()")
    # More threads would start a pool of processes that outlives the session.
    return {**inductor.list_mode_options(settings.mode), "compile_threads": 1, **own}


def keys(settings: Inductor, *, int8: bool) -> dict[str, Any]:
    """Return what the settings other than the mode are in inductor's words. Raises ``Unsupported``."""
    for option, value, choices in (("compile_mode", settings.mode, _MODES), ("memory", settings.memory, _MEMORY)):
        if value not in choices:
            raise Unsupported(f"torch: {option} cannot be {value!r}", f"it is one of {', '.join(choices)}")
    if int8 and settings.freezing is False:
        message = "inductor lowers an INT8 model to INT8 kernels only with its weights frozen"
        raise Unsupported(message, "leave `freezing` out, or set it to true")
    return {
        **_MEMORY[settings.memory],
        **({} if settings.fusion else _UNFUSED),
        "freezing": int8 if settings.freezing is None else settings.freezing,
        **settings.further,
    }


def require_compiler() -> None:
    """Raise ``Unsupported`` where there is no C++ compiler for the kernels of a CPU."""
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        hint = "install g++ (apt-get install g++), or name a C++ compiler in the variable CXX"
        raise Unsupported("inductor found no C++ compiler, and generates C++ for a CPU", hint) from error


@contextmanager
def environment_kept(folder: Path) -> Iterator[None]:
    """Undo what torch does to the environment meanwhile, with ``folder`` as the place of inductor's caches.

    ``torch.export`` imports dynamo, which makes that folder and writes its path into the environment; nothing but the
    environment tells torch of another one.
    """
    before = dict(os.environ)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@contextmanager
def caches_in(folder: Path) -> Iterator[None]:
    """Keep inductor's caches in ``folder`` meanwhile, and forget what it holds in memory before and after.

    Precompiled headers have a folder of their own, whatever the environment says.
    """
    with environment_kept(folder):
        from torch._inductor import codecache
        from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir

        headers = folder / "precompiled_headers"
        with (
            patch.multiple(codecache, _HEADER_DIR=str(headers), _HEADER_LOCK_DIR=str(headers / "locks")),
            temporary_cache_dir(str(folder)),
        ):
            codecache._precompile_header.cache_clear()  # noqa: SLF001 - it remembers paths in the other folder
            yield
            codecache._precompile_header.cache_clear()  # noqa: SLF001 - as above


def generated_files() -> tuple[Path, ...]:
    """Return the Python modules that inductor generated and loaded since its caches were last cleared."""
    from torch._inductor.codecache import PyCodeCache

    return tuple(Path(module.__file__) for module in PyCodeCache.modules if hasattr(module, "call"))


def python_calls(files: tuple[Path, ...]) -> Counter[str]:
    """Return how often each kernel is called by the modules that ``torch.compile`` generated."""
    total: Counter[str] = Counter()
    for file in files:
        total += _calls(_PYTHON_BODY, file.read_text(encoding="utf-8"))
    return total


def package_calls(package: Path) -> Counter[str]:
    """Return how often each kernel is called by the wrapper whose source an AOTInductor package carries."""
    total: Counter[str] = Counter()
    with zipfile.ZipFile(package) as archive:
        for name in archive.namelist():
            if name.endswith(".wrapper.cpp"):
                total += _calls(_CPP_BODY, archive.read(name).decode(errors="replace"))
    return total


def _calls(body: re.Pattern[str], source: str) -> Counter[str]:
    found = body.search(source)
    return Counter(
        match[match.lastgroup].lstrip("_") for match in _CALL.finditer(found[0] if found else "") if match.lastgroup
    )
