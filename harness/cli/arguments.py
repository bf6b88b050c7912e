"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run: its id, the beginning of it, or latest.")]
RunNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="Runs, of one machine or of many: a folder, an id, a tag, a git ref. The latest where none is named.",
        show_default=False,
    ),
]
CellName = Annotated[
    str, typer.Argument(metavar="CELL", help="A cell: its label, a pattern, or the beginning of its id.")
]
SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="A suite file, or the name of one that ships (`harness suite list`).")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="PATTERN", help="Only cells whose label matches, for example '*/int8/*'. Repeatable."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set a value of the suite, such as matrix.batch=[1,8]. Repeatable."
    ),
]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="quick, default or publish, instead of the suite's.")
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder that runs are kept in.")]


def overrides(assign: list[str] | None, preset: str | None) -> list[str]:
    """Return what --set and --preset say, as ``suite.load`` takes it."""
    return [*(assign or []), *([f"preset={preset}"] if preset else [])]
