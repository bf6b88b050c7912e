"""Columns that a drive of any length never fills: they are thinned evenly instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.measure.loop import MAXIMUM_ROWS, Columns, closed_loop

if TYPE_CHECKING:
    from harness.engine import Stream
    from harness.measure.loop import Finish, Work

_BLOCK = 64
"""Rows that are kept of one stretch of a thinned drive."""


class ThinningColumns(Columns):
    """Columns that let go of every other steady row when they are full, and keep every second one from then on.

    So each steady row stands for ``every`` inferences, a power of two, and at least half the room is in use.
    """

    def __init__(self, capacity: int = MAXIMUM_ROWS) -> None:
        super().__init__(capacity)
        self.every = 1
        self.done = 0  # steady inferences, those without a row included

    def drive(self, stream: Stream, work: Work, finish: Finish, until_ns: int) -> None:
        """Run inferences one after the other until ``until_ns`` of ``perf_counter_ns``; ``warm`` is set by then."""
        ended_ns = -1
        while ended_ns < until_ns:
            if self.filled + self._block > self.capacity:
                self.thin(2 * self.every)
            ended_ns = self._stretch(stream, work, finish, until_ns)

    def thin(self, every: int) -> None:
        """Keep so many steady rows that each stands for ``every`` inferences, a power of two."""
        kept = self._data[:, self.warm : self.filled : max(1, every // self.every)].copy()
        self.filled = self.warm + kept.shape[1]
        self._data[:, self.warm : self.filled] = kept
        self.every = max(every, self.every)

    @property
    def _block(self) -> int:
        return max(1, min(_BLOCK, (self.capacity - self.warm) // 4))

    def _stretch(self, stream: Stream, work: Work, finish: Finish, until_ns: int) -> int:
        """Run until the room is full or the time is up, as far as one block where rows are thinned; return its end."""
        before = self.filled
        if self.every == 1:
            closed_loop(stream, work, finish, self, self.capacity - self.filled, until_ns)
            self.done += self.filled - before
            return int(self.end[self.filled - 1])
        block = Columns(self._block * self.every)
        shift = self.done % len(work)
        closed_loop(stream, [*work[shift:], *work[:shift]], finish, block, block.capacity, until_ns)
        # Rows stay at whole multiples of ``every``, whatever a stretch ended on.
        kept = block._data[:, -self.done % self.every : block.filled : self.every]  # noqa: SLF001 - of this very kind
        self.filled += kept.shape[1]
        self._data[:, before : self.filled] = kept
        self.done += block.filled
        return int(block.end[block.filled - 1])
