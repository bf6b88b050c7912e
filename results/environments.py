"""What differs between two descriptions of a machine or its software, the likeliest causes of a change first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from results.changes import Difference

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of an environment: what changes the machine code that runs, then how the system lets it run. Others come after these.
_LIKELIEST = (
    "versions",
    "revision",
    "python",
    "kernel",
    "governor",
    "turbo",
    "microcode",
    "thread_variables",
    "preloaded",
    "affinity",
    "cpu_quota_cores",
    "memory_limit_bytes",
    "smt",
    "transparent_hugepages",
    "system",
)
_OURS = "versions.harness"
_ABSENT = object()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return every fact that differs, by its dotted place; a side that lacks it has ``None``.

    Mappings, and lists of mappings of one length, are looked into; any other value is one fact. The order is that of
    how likely each is to explain a change: versions of engines and drivers, the harness's own, the revision, Python,
    the kernel, then how the system lets processes run.
    """
    return tuple(sorted(_within(before, after, ""), key=_unlikeliness))


def _within(before: Any, after: Any, place: str) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}, key=str):
            inside = f"{place}.{key}" if place else str(key)
            yield from _within(before.get(key, _ABSENT), after.get(key, _ABSENT), inside)
    elif _rows(before) and _rows(after) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _within(one, other, f"{place}[{index}]")
    elif not _same(before, after):
        yield Difference(place, None if before is _ABSENT else before, None if after is _ABSENT else after)


def _rows(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _same(before: Any, after: Any) -> bool:
    """Return whether two facts are one: a list is what a tuple was before it was stored, and true is not 1."""
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return len(before) == len(after) and all(map(_same, before, after))
    return isinstance(before, bool) == isinstance(after, bool) and bool(before == after)


def _unlikeliness(difference: Difference) -> tuple[int, bool, str]:
    area = difference.place.split(".", 1)[0].split("[", 1)[0]
    rank = _LIKELIEST.index(area) if area in _LIKELIEST else len(_LIKELIEST)
    return rank, difference.place == _OURS, difference.place
