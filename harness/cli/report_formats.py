"""``harness report --format``: the report as Markdown, data or pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.exports import checked
from harness.errors import HarnessError
from harness.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.model import View
    from results.row import Row

TEXTS = ("md", "json", "csv")
FORMATS = (*TEXTS, "png")
"""Besides the page itself."""


def written(name: str, rows: Sequence[Row], view: View, output: Path | None) -> list[Path] | str:
    """Return the files that were written; or the text to print, where no ``output`` is given.

    ``rows``: those of the view. ``output``: a file; of ``png`` a folder, made where it is absent, that gets one file
    per chart, or a file ``*.png`` for the chart of latency against accuracy alone. Raises ``HarnessError`` for an
    unknown format, for a place that cannot be written, and where there is no chart.
    """
    known(name)
    if name == "png":
        return _pictures(view, output)
    # Names from outside may hold halves of characters, which no file can.
    data = _text(name, rows, view).encode("utf-8", "replace")
    if output is None:
        return data.decode()
    _put(checked(output), data)
    return [output]


def known(name: str) -> None:
    """Raise ``HarnessError`` where there is no such format, before anything is read."""
    if name not in FORMATS:
        meant = did_you_mean(name, FORMATS)
        raise HarnessError(f"no report is written as {name[:80]!r}{meant}", f"--format takes {', '.join(FORMATS)}")


def _text(name: str, rows: Sequence[Row], view: View) -> str:
    # Imported here: they bring pandas, which no other command should wait for.
    from results import table

    if name == "md":
        from reports.formats.markdown import markdown  # as above

        return markdown(view, rows)
    place = {row.variant_id: row.index for row in view.rows}
    ordered = sorted(rows, key=lambda row: place.get(row.variant_id, len(place)))
    return table.to_csv(ordered) if name == "csv" else f"{table.to_json(ordered)}\n"


def _pictures(view: View, output: Path | None) -> list[Path]:
    from reports.formats import png  # as above: matplotlib

    if output is None:
        raise HarnessError("png needs a place", "give -o FOLDER for every chart, or -o FILE.png for the frontier alone")
    if output.suffix.casefold() == ".png" and not output.is_dir():
        found = png.frontiers(view)
        if len(found) != 1:
            many = f"{len(found)} charts" if found else "no chart"
            hint = "give a folder with -o: it gets one file per chart"
            raise HarnessError(f"the report has {many} of latency against accuracy, and {output} takes one", hint)
        chart, workload = found[0]
        _put(checked(output), png.picture(chart, view.rows, workload))
        return [output]
    if output.exists() and not output.is_dir():
        raise HarnessError(f"{output} is a file", "give a folder for the charts, or a name that ends in .png for one")
    # Every picture is drawn before the first is written.
    made = list(png.pictures(view))
    if not made:
        raise HarnessError("the report has no chart: too little was measured", "--format md says what and why")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"{output} cannot be made: {error.strerror}", "give another folder with -o") from error
    for name, data in made:
        _put(output / name, data)
    return [output / name for name, _ in made]


def _put(path: Path, data: bytes) -> None:
    from results.files import write_whole  # as above

    try:
        write_whole(path, data)
    except OSError as error:
        raise HarnessError(f"{path} cannot be written: {error.strerror}", "give another place with -o") from error
