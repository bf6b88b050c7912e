"""Margins as people write them: ``3%`` of a ratio, ``0.5pt`` of an accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.gating import share
from results.quantities import RULE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable


def parse_margin(rule_name: str, text: str) -> float:
    """Return a margin: a share for ratios, a difference in the metric's units for accuracy.

    Raises ``HarnessError`` for a rule that is none, and for a margin without its unit, of the wrong one, or out of
    range: a bare number would be read as percent by one and as a share by another.
    """
    if rule_name not in RULE_NAMES:
        raise HarnessError(f"no rule is called {rule_name[:40]!r}", f"there are: {', '.join(RULE_NAMES)}")
    try:
        return share(rule_name, text)
    except ValueError as error:
        raise HarnessError(str(error), "for example latency=5% or accuracy=0.5pt") from None


def parse_margins(given: Iterable[str]) -> dict[str, float]:
    """Return margins by rule, of texts such as ``latency=5%``. Raises ``HarnessError``."""
    margins: dict[str, float] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise HarnessError(f"a margin is given as RULE=VALUE, not {text[:80]!r}", "for example latency=5%")
        margins[name.strip()] = parse_margin(name.strip(), value)
    return margins
