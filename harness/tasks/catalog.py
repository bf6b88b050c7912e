"""Every task by name: the type of its parameters, and the task itself from what a suite says."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from harness import codec
from harness.errors import HarnessError
from harness.tasks.custom import Customised
from harness.tasks.parameters import TaskParameters, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.tasks.task import Task

# Imported by name when asked for: a measured process holds the one task that it runs.
_TASKS = {
    "classify": ("harness.tasks.classify", "ClassifyParameters", "Classify"),
    "detect": ("harness.tasks.detect", "DetectParameters", "Detect"),
    "raw": ("harness.tasks.raw", "RawParameters", "Raw"),
}

NAMES = tuple(sorted(_TASKS))


def parameters(name: str) -> type[TaskParameters]:
    """Return the frozen dataclass of a task's parameters. Raises ``HarnessError`` for a task that does not exist."""
    return _entry(name)[0]


def validate(spec: Mapping[str, Any]) -> TaskParameters:
    """Return the checked parameters of ``{"name": "detect", "confidence": 0.25, ...}``; no code of the user is run.

    Raises ``HarnessError``, with a suggestion, for an unknown task, an unknown parameter or a value of a wrong type.
    """
    name = spec.get("name")
    if not isinstance(name, str):
        raise HarnessError("a task without a name", suggestion("", NAMES))
    kind, given = parameters(name), {key: value for key, value in spec.items() if key != "name"}
    known = [field.name for field in dataclasses.fields(kind)]
    for key in given:
        if key not in known:
            raise HarnessError(f"{name}: no parameter {key!r}", suggestion(key, known))
    try:
        return codec.decode(kind, codec.encode(given), name)
    except (codec.CodecError, TypeError) as error:
        raise HarnessError(str(error), f"see the parameters of the task {name}") from error


def create(spec: Mapping[str, Any]) -> Task:
    """Return the task of a spec. Raises as ``validate``, and where the user's post-processing cannot be imported."""
    chosen = validate(spec)
    task = _entry(spec["name"])[1](chosen)
    return task if chosen.postprocess is None and chosen.metric is None else Customised(task, chosen)


def _entry(name: str) -> tuple[type[TaskParameters], Callable[[Any], Task]]:
    if name not in _TASKS:
        raise HarnessError(f"no task {name!r}", suggestion(name, NAMES))
    module, parameters_name, task_name = _TASKS[name]
    found = importlib.import_module(module)
    return getattr(found, parameters_name), getattr(found, task_name)
