"""Whether a job failed for want of memory, in whatever words: a reason of its own, with what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

KIND = "out-of-memory"
HINT = "ask for fewer `streams` or a smaller `batch`, or raise the memory limit of the container around it"
# As C++'s allocator, torch's, CUDA, TensorFlow, numpy, and Python's threads say it, each of which wants a stack.
_WORDS = re.compile(
    r"out of memory|\bOOM\b|bad[ _]?alloc|can't start new thread"
    r"|(?:can ?not|can't|could not|fail(?:ed|ure) to|unable to) allocate"
    r"|allocation (?:of \S+ bytes )?failed",
    re.IGNORECASE,
)


def exhausted(error: BaseException) -> bool:
    """Return whether an error, or one that it was raised from, is for want of memory."""
    return any(isinstance(each, MemoryError) or _WORDS.search(_said(each)) for each in _chain(error))


def _said(error: BaseException) -> str:
    # Not our own hint: it may well guess at the memory.
    return error.message if isinstance(error, HarnessError) else str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and so on."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__
