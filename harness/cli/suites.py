"""``harness suite``: check a suite, print its schema, begin a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import suite
from harness.cli.arguments import SuiteName
from harness.cli.console import as_json, say
from harness.errors import HarnessError

app = typer.Typer(help="Check, document or begin suites.", no_args_is_help=True)


@app.command("check")
def check(
    name: SuiteName,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the resolved suite as JSON.")] = False,
) -> None:
    """Read SUITE and say what is wrong with it, at which line, or that nothing is."""
    path = suite.find(name)
    loaded = suite.load(path)
    if json:
        as_json(loaded.resolved())
        return
    say(f"{path}: ok, {len(loaded.workloads)} workload(s), preset {loaded.preset}")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of suite files, for editors."""
    as_json(suite.schema())


@app.command("list")
def shipped() -> None:
    """List the suites that ship with the harness."""
    for name, path in suite.shipped().items():
        say(f"{name:<14} {suite.description_of(path)}")


@app.command("new")
def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"Kind of model: {', '.join(suite.templates())}.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where it goes; printed if absent.")
    ] = None,
) -> None:
    """Write a commented suite to start from."""
    text = suite.template(kind)
    if output is None:
        say(text.rstrip("\n"))
        return
    if output.exists():
        raise HarnessError(f"{output} exists already", "give another name, or remove it first")
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HarnessError(f"{output} cannot be written: {error.strerror}", "give another file") from error
    say(f"{output}: edit it, then `harness plan {output}`")
