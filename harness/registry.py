"""Engines and exporters by entry point; the built-in ones come by the same route as third parties'."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from harness import codec
from harness.engine import Engine, Exporter
from harness.errors import HarnessError
from harness.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGINES_GROUP = "harness.engines"
EXPORTERS_GROUP = "harness.exporters"


@dataclass(frozen=True)
class Registered:
    """An adapter that some distribution offers under a name; ``target`` is ``module:attribute``."""

    name: str
    target: str
    distribution: str


def registered(group: str) -> Mapping[str, Registered]:
    """Return what is offered in an entry-point group, by name, sorted."""
    found = {}
    for point in metadata.entry_points(group=group):
        distribution = point.dist.name if point.dist else "unknown"
        found[point.name] = Registered(point.name, point.value, distribution)
    return dict(sorted(found.items()))


def resolve(target: str) -> object:
    """Import ``module:attribute`` and return an instance of it.

    Raises ``HarnessError`` for whatever goes wrong on the way: a broken third-party adapter costs only its own cells.
    """
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (Exception, SystemExit) as error:
        hint = "reinstall the distribution that offers it, or leave the engine out of the suite"
        raise HarnessError(f"the adapter {target} cannot be made: {type(error).__name__}: {error}", hint) from error


def engine(target: str) -> Engine:
    """Return the engine at ``module:attribute``. Raises ``HarnessError``."""
    made = resolve(target)
    if not isinstance(made, Engine):
        raise HarnessError(f"{target} is no harness.engine.Engine", "an engine subclasses harness.engine.Engine")
    return made


def exporter(target: str) -> Exporter:
    """Return the exporter at ``module:attribute``. Raises ``HarnessError``."""
    made = resolve(target)
    if not isinstance(made, Exporter):
        raise HarnessError(f"{target} is no harness.engine.Exporter", "it subclasses harness.engine.Exporter")
    if not _is_writable(made.defaults):
        hint = "its `defaults` are a mapping of what a suite can write: text, numbers, lists"
        raise HarnessError(f"{target} declares options in no form of a suite", hint)
    return made


def _is_writable(defaults: object) -> bool:
    try:
        return isinstance(codec.encode(defaults), dict)
    except TypeError:
        return False


def named(group: str, name: str) -> Registered:
    """Return the entry called ``name``. Raises ``HarnessError`` that lists what there is."""
    offered = registered(group)
    if name in offered:
        return offered[name]
    meant = did_you_mean(name, offered)
    hint = f"known here: {', '.join(offered) or 'none'}; `harness doctor` lists them"
    raise HarnessError(f"no engine is called {name!r}{meant}" if group == ENGINES_GROUP else f"no {name!r}", hint)
