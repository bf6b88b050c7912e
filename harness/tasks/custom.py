"""Post-processing and metrics of the user's own, by import path, around a built-in task."""

from __future__ import annotations

import hashlib
import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import HarnessError
from harness.tasks.task import Evaluation, Frame, Task
from harness.vocabulary import digest

if TYPE_CHECKING:
    import numpy as np

    from harness.tasks.parameters import TaskParameters


class Customised(Task):
    """A task whose post-processing, metric or both are the user's.

    ``postprocess(outputs: dict[str, ndarray], frames: list[Frame])`` returns one prediction per frame and is imported
    at once, since every scenario runs it. ``metric(predictions, labels, classes)`` returns {name: value}, the headline
    metric first; it is imported at its first use, so that a measured process never holds it.
    """

    name: ClassVar[str] = "customised"

    def __init__(self, task: Task, parameters: TaskParameters) -> None:
        """Raise ``HarnessError`` where the post-processing cannot be imported."""
        self._task = task
        self._parameters = parameters
        self._postprocess: Callable[..., Any] = (
            task.postprocess
            if parameters.postprocess is None
            else function(parameters.postprocess, parameters.path, "postprocess")
        )

    def preprocess(self, image: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, Frame]:
        """Return what the built-in task returns."""
        return self._task.preprocess(image, shape)

    def postprocess(self, outputs: Mapping[str, np.ndarray], frames: Sequence[Frame]) -> list[Any]:
        """Return the user's predictions, one per frame. Raises ``HarnessError`` where their number differs."""
        predictions = list(self._postprocess(outputs, frames))
        if len(predictions) != len(frames):
            raise HarnessError(
                f"{self._parameters.postprocess}: {len(predictions)} predictions for {len(frames)} frames",
                "return one prediction per frame, in the order of the batch",
            )
        return predictions

    def for_evaluation(self) -> Task:
        """Return the built-in task's settings of validation with the same functions of the user's."""
        return Customised(self._task.for_evaluation(), self._parameters)

    def evaluate(self, predictions: Sequence[Any], labels: Sequence[Any], classes: Mapping[int, str]) -> Evaluation:
        """Return the user's metrics, or the built-in task's where the user gave none.

        Raises ``HarnessError`` where the metric cannot be imported or returns anything but finite numbers by name.
        """
        reference = self._parameters.metric
        if reference is None:
            return self._task.evaluate(predictions, labels, classes)
        values = function(reference, self._parameters.path, "metric")(predictions, labels, classes)
        if not isinstance(values, Mapping) or not values:
            raise HarnessError(
                f"{reference}: returned {type(values).__name__}", "return {name: number}, headline first"
            )
        metrics = {str(name): _finite(reference, str(name), value) for name, value in values.items()}
        return Evaluation(metrics, primary=next(iter(metrics)), notes=(f"metric of the user: {reference}",))


def function(reference: str, path: str | None, key: str) -> Callable[..., Any]:
    """Return what ``"module:function"`` names, looking in the folder ``path`` after everything installed.

    Raises ``HarnessError`` naming ``key`` where the form is wrong, the module cannot be imported or lacks the name.
    """
    module_name, separator, name = reference.partition(":")
    if not (separator and module_name and name):
        raise HarnessError(f"{key}: {reference!r} is no import path", 'write "module:function"')
    if path is not None and path not in sys.path:
        sys.path.append(path)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing runs the user's code, which may raise anything
        where = f"in {path} and among the installed packages" if path else "among the installed packages"
        raise HarnessError(
            f"{key}: {module_name} cannot be imported: {type(error).__name__}: {error}",
            f"it is looked for {where}; give its folder as path:",
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise HarnessError(f"{key}: {module_name} has no function {name!r}", f"it is {module.__file__}")
    return found  # type: ignore[no-any-return]  # callable() narrows Any no further


def source_hash(references: Sequence[str], path: str | None) -> str:
    """Return a hash of the source of what import paths name: a module's file, or every file of its package.

    Nothing is imported. Empty of a module without a file of Python. Raises ``HarnessError`` where there is none.
    """
    found: dict[str, str] = {}
    for reference in references:
        name = reference.partition(":")[0].partition(".")[0]
        spec = PathFinder.find_spec(name, [*sys.path, *([path] if path else [])])
        if spec is None:
            where = f"in {path} and among the installed packages" if path else "among the installed packages"
            raise HarnessError(
                f"{reference}: there is no {name}", f"it is looked for {where}; give its folder as path:"
            )
        for folder in spec.submodule_search_locations or ():
            for file in sorted(Path(folder).rglob("*.py")):
                found[f"{name}/{file.relative_to(folder).as_posix()}"] = _sha256(file)
        if not spec.submodule_search_locations and spec.origin and spec.origin.endswith(".py"):
            found[name] = _sha256(Path(spec.origin))
    return digest(found) if found else ""


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _finite(reference: str, name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # the user's value; what is no number raises
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise HarnessError(f"{reference}: {name} is {value!r}", "return finite numbers only")
    return number
