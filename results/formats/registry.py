"""The formats by name: the built-in ones, and those that other distributions offer as ``harness.formats``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import registry
from harness.errors import HarnessError
from harness.settings import did_you_mean
from results.formats.bencher import Bencher
from results.formats.comma_separated import CommaSeparated
from results.formats.comment import Comment
from results.formats.contract import Format
from results.formats.github_action_benchmark import BiggerIsBetter, SmallerIsBetter
from results.formats.junit import JUnit
from results.formats.openmetrics import OpenMetrics
from results.formats.pytest_benchmark import PytestBenchmark
from results.formats.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "harness.formats"
_KINDS: tuple[type[Format], ...] = (
    *(JUnit, Summary, Comment, CommaSeparated, Bencher, SmallerIsBetter, BiggerIsBetter),
    *(PytestBenchmark, OpenMetrics),
)
FORMATS: Mapping[str, Format] = {made.name: made for made in (kind() for kind in _KINDS)}
"""The built-in formats by name, in the order that they are listed in."""


def offered() -> tuple[str, ...]:
    """Return every name there is: built-in ones first, then those of other distributions."""
    return tuple(dict.fromkeys((*FORMATS, *registry.registered(GROUP))))


def named(name: str) -> Format:
    """Return the format of a name; a built-in one is not replaced. Raises ``HarnessError`` that says what there is."""
    if name in FORMATS:
        return FORMATS[name]
    others = registry.registered(GROUP)
    if name not in others:
        raise HarnessError(
            f"no format is called {name!r}{did_you_mean(name, offered())}", f"there are {', '.join(offered())}"
        )
    made = registry.resolve(others[name].target)
    if not isinstance(made, Format):
        hint = "it has the attributes and methods of results.formats.contract.Format"
        raise HarnessError(f"{others[name].target} of {others[name].distribution} is no format", hint)
    return made
