"""``harness export``: a stored run in a format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from harness.cli import campaign as campaigns
from harness.cli.arguments import RunName, Runs
from harness.cli.console import as_json, document, out, say
from harness.cli.exports import Export, checked, put, text_of
from harness.errors import HarnessError


def export(
    run_name: RunName = "latest",
    *,
    name: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="junit, csv, bencher, … (`--list` shows all).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where it goes; printed if absent.")
    ] = None,
    list_formats: Annotated[bool, typer.Option("--list", help="List the formats.")] = False,
    runs: Runs = campaigns.RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON: of a run, its text in a string.")] = False,
) -> None:
    """Write RUN by itself in a format of another tool; `--export` of compare, gate and ab writes comparisons."""
    # Imported here: they bring SciPy, and `harness --help` should not wait for it.
    from results.formats import registry
    from results.named import find

    if list_formats:
        _list(json=json)
        return
    if name is None:
        raise HarnessError("no format is given", f"--format takes {', '.join(registry.offered())}")
    form = registry.named(name)
    path = None if output is None else checked(output)
    run = find(run_name, runs, Path()).snapshot
    text = text_of(form, run)
    if path is not None:
        put(Export(form, path), text)
    if json:
        as_json({"run_id": run.run_id, "format": form.name, "file": path and str(path), "text": text})
    elif path is None:
        document(text)
    else:
        say(str(path))


def _list(*, json: bool) -> None:
    from results.formats import registry  # as above

    formats = [registry.named(name) for name in registry.offered()]
    if json:
        as_json([{"name": form.name, "suffix": form.suffix, "description": form.description} for form in formats])
        return
    table = Table(box=None, pad_edge=False)
    for head in ("format", "file", ""):
        table.add_column(head, overflow="fold")
    for form in formats:
        table.add_row(Text(form.name), Text(form.suffix), Text(form.description))
    out.print(table)
