"""Real samples through pytest-benchmark's public API: a round is one inference, and its timer is a virtual clock."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class ReplayClock:
    """A timer that shows what a sample took: set back to zero before each, so that no digit is lost in a difference."""

    __name__ = "the launch's own monotonic clock"  # what pytest-benchmark stores as the timer

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_s


class _NotMeasuredError(Exception):
    """Ends a round that is none."""


def replay(benchmark: Any, clock: ReplayClock, samples_s: Sequence[float]) -> None:
    """Let the ``benchmark`` fixture take each sample as one round. At least one sample."""
    coming = iter(samples_s)

    def back() -> None:
        clock.now_s = 0.0

    def inference() -> None:
        clock.now_s = next(coming, 0.0)  # where benchmarks are disabled or profiled it is called beyond the rounds

    benchmark.pedantic(inference, setup=back, rounds=len(samples_s))


def leave_out(benchmark: Any) -> None:
    """Let the ``benchmark`` fixture know that there is nothing to store, as of any benchmark that fails."""

    def fail() -> None:
        raise _NotMeasuredError

    with contextlib.suppress(_NotMeasuredError):
        benchmark.pedantic(fail)
