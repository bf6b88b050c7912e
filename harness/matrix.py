"""The combinations that a suite asks for."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.suite_model import Suite
    from harness.vocabulary import Precision

MAXIMUM_CELLS = 100_000
AUTO = "auto"
DEFAULT = "default"
"""The configuration without a name of its own."""
_KEYS = ("workload", "engine", "precision", "device", "batch", "threads", "streams", "scenario", "configuration")


@dataclass(frozen=True)
class Asked:
    """One combination of the matrix, as the suite names it."""

    workload: str
    engine: str
    precision: Precision
    device: str
    batch: int
    threads: int | None
    streams: int | None
    scenario: str
    configuration: str = DEFAULT


def combinations(suite: Suite, devices: Mapping[str, tuple[str, ...]]) -> Iterator[Asked]:
    """Yield what the matrix and ``include`` ask for, less what ``exclude`` drops; ``auto`` becomes each device.

    ``devices``: by engine; an engine without any keeps the word ``auto``. A configuration that an engine does not have
    is none of its cells. Raises ``PlanError`` for over 100,000 cells.
    """
    base = {key: getattr(suite.matrix, key) for key in _KEYS}
    base["workload"] = base["workload"] or tuple(suite.workloads)
    base["configuration"] = base["configuration"] or _configurations(suite)
    matrices = [base, *({key: getattr(entry, key) or base[key] for key in _KEYS} for entry in suite.include)]
    count = sum(math.prod(len(lists[key]) for key in _KEYS) for lists in matrices)
    if count > MAXIMUM_CELLS:
        raise PlanError(f"the matrix has {count:,} cells; the limit is {MAXIMUM_CELLS:,}", "split the suite")
    for lists in matrices:
        for values in itertools.product(*(lists[key] for key in _KEYS)):
            asked = Asked(*values)
            if asked.configuration not in {DEFAULT, *suite.configurations.get(asked.engine, ())}:
                continue
            found = devices.get(asked.engine) or (AUTO,)
            for device in found if asked.device == AUTO else (asked.device,):
                one = replace(asked, device=device)
                if not _excluded(suite, one):
                    yield one


def _configurations(suite: Suite) -> tuple[str, ...]:
    """Return every name there is, the default first: where two cells turn out to be one, it gives the name."""
    return tuple(dict.fromkeys((DEFAULT, *(name for named in suite.configurations.values() for name in named))))


def _excluded(suite: Suite, asked: Asked) -> bool:
    return any(
        all(
            getattr(asked, key) in values or (key == "device" and AUTO in values)  # ``auto`` is each device
            for key in _KEYS
            if (values := getattr(entry, key)) is not None
        )
        for entry in suite.exclude
    )
