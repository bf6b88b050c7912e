"""What the parameters of every task share: the user's own post-processing and metric, and the words for errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class TaskParameters:
    """Fields of every task's parameters: code of the user's own, by import path. See ``harness.tasks.custom``."""

    postprocess: str | None = None  # "module:function" of (outputs, frames) -> one prediction per frame
    metric: str | None = None  # "module:function" of (predictions, labels, classes) -> {name: value}, primary first
    path: str | None = None  # a folder added to the import path for the two above
    code: str | None = None  # hash of their source, which makes it part of the identity; not written by hand


def one_of(task: str, key: str, value: str, choices: Iterable[str]) -> None:
    """Raise ``HarnessError`` with a suggestion where ``value`` is none of ``choices``."""
    known = tuple(choices)
    if value not in known:
        raise HarnessError(f"{task}: {key} is {value!r}", suggestion(value, known))


def suggestion(value: str, choices: Iterable[str]) -> str:
    """Return a hint that names the nearest of ``choices``, then all of them."""
    # Only for an error: a measured process need not hold it.
    import difflib  # noqa: PLC0415

    known = tuple(choices)
    near = difflib.get_close_matches(value, known, n=1)
    listed = f"one of {', '.join(known)}"
    return f"did you mean {near[0]!r}? It is {listed}" if near else f"give {listed}"
