"""``--export FORMAT=FILE``: checked before anything is measured, written after, each file whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.changes import Comparison
    from results.formats.contract import Format
    from results.snapshot import Snapshot

Exports = Annotated[
    list[str] | None,
    typer.Option(
        "--export",
        metavar="FORMAT=FILE",
        help="Write FILE besides, such as junit=gate.xml (`harness export --list`). Repeatable.",
    ),
]


@dataclass(frozen=True)
class Export:
    """A file to write; ``appended`` where others write to it too, as to the summary of a CI's step."""

    format: Format
    path: Path
    appended: bool = False


def parsed(exports: Sequence[str] | None) -> tuple[Export, ...]:
    """Return what ``--export`` asks for. Raises ``HarnessError`` for what could not be written later.

    A format that a CI gives a file for each step, as GitHub does for ``summary``, needs no ``=FILE`` there.
    """
    if not exports:
        return ()
    from results.formats import registry  # brings SciPy, which only an export should wait for

    made: list[Export] = []
    for text in exports:
        name, equals, file = text.partition("=")
        made.append(_export(registry.named(name), file, given=bool(equals)))
    places = [export.path.resolve() for export in made]
    for place, export in zip(places, made, strict=True):
        if places.count(place) > 1:
            raise HarnessError(f"--export writes {export.path} twice", "give each format a file of its own")
    return tuple(made)


def write(exports: Sequence[Export], what: Comparison | Snapshot) -> None:
    """Write each file: nothing is written before every text is made. Raises ``HarnessError``."""
    texts = [text_of(export.format, what) for export in exports]
    for export, text in zip(exports, texts, strict=True):
        put(export, text)


def text_of(form: Format, what: Comparison | Snapshot) -> str:
    """Return a run or a comparison in a format."""
    from results.changes import Comparison  # as above

    return form.of_comparison(what) if isinstance(what, Comparison) else form.of_run(what)


def put(export: Export, text: str) -> None:
    """Write one file whole or not at all, or append to it. Raises ``HarnessError``."""
    from results.files import write_whole  # as above

    data = text.encode()
    try:
        if export.appended:
            with export.path.open("ab") as file:
                file.write(b"\n" + data if file.tell() else data)
        elif export.path.exists() and not export.path.is_file():
            export.path.write_bytes(data)  # a pipe or a terminal: there is nothing to replace
        else:
            write_whole(export.path, data)
    except OSError as error:
        raise HarnessError(f"{export.path} cannot be written: {error.strerror}", "give another file") from error


def checked(path: Path) -> Path:
    """Return a file that can be written as far as can be told. Raises ``HarnessError``."""
    if path.is_dir():
        raise HarnessError(f"{path} is a folder", "give a file in it")
    if not path.absolute().parent.is_dir():
        raise HarnessError(f"there is no folder {path.absolute().parent} for {path.name}", "make it first")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise HarnessError(f"no permission to write {path}", "give another file")
    return path


def _export(form: Format, file: str, *, given: bool) -> Export:
    step_file = os.environ.get(form.step_file, "") if form.step_file else ""
    if not given and step_file:
        return Export(form, checked(Path(step_file)), appended=True)
    if not file:
        where = f"; alone it needs ${form.step_file}, which is not set here" if form.step_file else ""
        raise HarnessError(
            f"--export {form.name} names no file{where}", f"write it as {form.name}=harness{form.suffix}"
        )
    return Export(form, checked(Path(file)), appended=bool(step_file) and Path(file) == Path(step_file))
