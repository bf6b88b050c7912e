"""Every task by name: the type of its parameters, and the task itself from what a suite says."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from harness import codec
from harness.errors import HarnessError
from harness.tasks.custom import Customised, source_hash
from harness.tasks.parameters import TaskParameters, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.tasks.task import Task

# Imported by name when asked for: a measured process holds the one task that it runs.
_TASKS = {
    "classify": ("harness.tasks.classify", "ClassifyParameters", "Classify"),
    "detect": ("harness.tasks.detect", "DetectParameters", "Detect"),
    "obb": ("harness.tasks.obb", "ObbParameters", "Obb"),
    "pose": ("harness.tasks.pose", "PoseParameters", "Pose"),
    "raw": ("harness.tasks.raw", "RawParameters", "Raw"),
    "segment": ("harness.tasks.segment", "SegmentParameters", "Segment"),
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
    make: Callable[[Any], Task] = _entry(spec["name"])[1]
    task = make(chosen)
    return task if chosen.postprocess is None and chosen.metric is None else Customised(task, chosen)


def identified(spec: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return a spec as the identity of the work: without ``path``, a place, and with the hash of the user's code.

    ``path`` is relative to ``base``. Raises ``HarnessError`` where the code is not found; none of it is run.
    """
    made = {key: value for key, value in spec.items() if key != "path"}
    references = [str(spec[key]) for key in ("postprocess", "metric") if spec.get(key)]
    if references:
        path = str((base / spec["path"]).absolute()) if spec.get("path") else None
        made["code"] = source_hash(references, path)
    return made


def labels(spec: Mapping[str, Any]) -> str:
    """Return the form of label that the task's metric needs. Raises ``HarnessError`` as ``parameters``."""
    return _entry(str(spec.get("name")))[1].labels


def _entry(name: str) -> tuple[type[TaskParameters], type[Task]]:
    if name not in _TASKS:
        raise HarnessError(f"no task {name!r}", suggestion(name, NAMES))
    module, parameters_name, task_name = _TASKS[name]
    found = importlib.import_module(module)
    return getattr(found, parameters_name), getattr(found, task_name)
