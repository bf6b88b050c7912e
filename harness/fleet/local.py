"""A fleet of this machine alone: what ``scheduler: local`` means. No connection, no second process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.fleet.contract import Host
    from harness.fleet.hosting import Hosting

NAME = "local"


class LocalFleet:
    """The machine that this process runs on, as a fleet. See ``harness.fleet.contract.Fleet``."""

    def __init__(self, hosting: Hosting) -> None:
        """Take the host, which is closed with the fleet."""
        self._hosting = hosting

    def hosts(self) -> Sequence[Host]:
        """Return the one host."""
        return (self._hosting,)

    def close(self) -> None:
        """Let go of the run that was launched last; safe to call twice."""
        self._hosting.close()
