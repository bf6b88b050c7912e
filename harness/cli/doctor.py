"""``harness doctor``: engines, devices and precisions here, what is missing, and how quiet the machine is."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

import engines
import harness
import reports
import results
from harness import codec, host, quietness, registry, survey
from harness.cli import campaign as campaigns
from harness.cli.console import as_json, out, say
from harness.cli.progress import reporter
from harness.errors import HarnessError
from harness.vocabulary import EngineFacts, Failed, Level, Precision, Skipped

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARKS = {Level.NATIVE: "native", Level.EMULATED: "emulated", Level.UNSUPPORTED: "–"}


def doctor(*, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say which engines, devices and precisions can be measured here, what is missing, and how quiet the machine is."""
    checks = quietness.quietness()  # first: probing keeps the machine busy itself
    found: dict[str, EngineFacts | Skipped | Failed] = {}
    with reporter(quiet=json) as progress, campaigns.opened_workshop(survey.PROBE_TIMEOUT_S) as workshop:
        for name, entry in registry.registered(registry.ENGINES_GROUP).items():
            progress.told(f"probing {name}")
            found[name] = survey.probe(entry, workshop, sys.executable)
    foreign = _foreign_packages()
    if json:
        as_json(
            {
                "harness": harness.__version__,
                "engines": {name: codec.encode(facts) for name, facts in found.items()},
                "exporters": _exporters(),
                "machine": host.hardware(),
                "quiet": [codec.encode(check) for check in checks],
                "problems": foreign,
            }
        )
        return
    _show_engines(found)
    _show_exporters()
    table = Table(title="How quiet is this machine?", title_justify="left", box=None, pad_edge=False)
    for head in ("check", "state", "value", "advice"):
        table.add_column(head)
    for check in checks:
        table.add_row(check.name, check.state.value, Text(check.value), Text(check.advice))
    out.print(table)
    for problem in foreign:
        say(f"problem: {problem}")


def _show_engines(found: Mapping[str, EngineFacts | Skipped | Failed]) -> None:
    table = Table(title="Engines", title_justify="left", box=None, pad_edge=False)
    for head in ("engine", "version", "device", *(precision.value for precision in Precision)):
        table.add_column(head)
    notes = []
    for name, facts in found.items():
        if isinstance(facts, Skipped):
            table.add_row(name, "–", Text(f"not available: {facts.reason}"))
            notes.append(f"{name}: {facts.hint}")
            continue
        if isinstance(facts, Failed):
            table.add_row(name, "–", Text(f"broken: {facts.message}"))
            notes.append(f"{name}: {facts.hint}")
            continue
        for device in facts.devices:
            marks = []
            for precision in Precision:
                support = device.precisions.get(precision.value)
                marks.append(_MARKS[support.level] if support else "–")
                if support and support.reason:
                    notes.append(f"{name} {precision.value} on {device.name}: {support.level.value}, {support.reason}")
            table.add_row(name, facts.version, Text(f"{device.name} ({device.description})"), *marks)
    out.print(table)
    for note in notes:
        say(f"  {note}")
    say("")


def _exporters() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, entry in registry.registered(registry.EXPORTERS_GROUP).items():
        try:
            exporter = registry.exporter(entry.target)
        except HarnessError as error:
            found[name] = {"missing": error.message, "install": error.hint}
            continue
        absent = [each for each in exporter.distributions if not _installed(each)]
        found[name] = {
            "from": exporter.source,
            "to": exporter.target,
            "precisions": sorted(precision.value for precision in exporter.precisions),
            "missing": ", ".join(absent),
            "install": exporter.install if absent else "",
        }
    return found


def _show_exporters() -> None:
    table = Table(title="Exporters", title_justify="left", box=None, pad_edge=False)
    for head in ("exporter", "step", "precisions", "missing"):
        table.add_column(head)
    for name, facts in _exporters().items():
        missing = f"{facts['missing']}: {facts['install']}" if facts["missing"] else ""
        step = f"{facts.get('from', '?')} → {facts.get('to', '?')}"
        table.add_row(name, step, ", ".join(facts.get("precisions", ())), Text(missing))
    out.print(table)
    say("")


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _foreign_packages() -> list[str]:
    """Return which of the four packages are somebody else's: their names are taken on PyPI."""
    home = Path(harness.__file__).parent.parent
    return [
        f"the package {package.__name__} is not the harness's own: uninstall what brought {package.__file__}"
        for package in (engines, results, reports)
        if package.__file__ is None or Path(package.__file__).parent.parent != home
    ]
