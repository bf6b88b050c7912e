"""``harness report``: the page of a run, of several runs as one, or a site of pages, from the records alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import campaign as campaigns
from harness.cli import fleet_report
from harness.cli import report_formats as formats
from harness.cli.arguments import RunNames, Runs, meant
from harness.cli.console import as_json, document, explain, say
from harness.cli.demand_options import (
    Asked,
    LoadOption,
    MinAccuracy,
    PricesFile,
    SloOption,
    Utilisation,
    Workload,
    asked,
)
from harness.errors import HarnessError
from results.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.model import View
    from results.fleets import FleetRun
    from results.merged import Merged
    from results.procurement.offers import Recommendation
    from results.row import Row
    from results.sources import Source

HTML = "html"
_LISTED = 6


def report(
    run_names: RunNames = None,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PLACE",
            help="FILE for one page; DIR/ for a site: a page per suite, and an index.",
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help=f"{HTML}, or {', '.join(formats.FORMATS)} instead of it.")
    ] = HTML,
    slo: SloOption = None,
    min_accuracy: MinAccuracy = None,
    load: LoadOption = None,
    prices: PricesFile = None,
    workload: Workload = None,
    utilisation: Utilisation = None,
    runs: Runs = campaigns.RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead.")] = False,
) -> None:
    """Render the report of RUN as one self-contained HTML file, from its records alone.

    Several runs are put together: -o PAGE.html for those of one suite,
    -o DIR/ for a site of any number of suites.
    With --slo, --load or --prices the page begins with what to buy.
    """
    wanted = asked(slo, min_accuracy, load, prices, workload, utilisation)
    if form != HTML:
        formats.known(form)
    if json and (output is not None or form != HTML):
        asked_too = "-o" if output is not None else "--format"
        hint = "--format json -o FILE writes the rows; or send what --json prints to a file"
        raise HarnessError(f"--json prints, and takes no {asked_too}", hint)
    # Imported here: they bring matplotlib, pandas and SciPy, and `harness --help` should not wait for them.
    from results.merged import merged
    from results.named import any_folder_of
    from results.sources import load as load_runs

    found = meant(run_names or ["latest"], runs, any_folder_of)
    sources = load_runs(found.folders)
    if form == HTML and output is not None and _is_folder(output):
        _write_site(sources, found.fleets, wanted, Path(output))
        return
    _check_one_suite(sources)
    together = fleet_report.told(merged(sources), found.fleets)
    if json:
        as_json(_data(together, wanted))
        return
    if form != HTML:
        place = None if output is None else Path(output)
        view = _view(together, _answers(together, wanted), Path() if place is None else place.parent)
        made = formats.written(form, together.rows, view, place)
        if isinstance(made, str):
            document(made)
        else:
            say("\n".join(map(str, made)))
        return
    whole = found.fleet.folder if found.fleet is not None else None
    if output is None and whole is None and len(sources) > 1:
        hint = "-o PAGE.html puts them together on one page, -o DIR/ makes a site"
        raise HarnessError(f"the page of {len(sources)} runs needs a place", hint)
    page = Path(output) if output is not None else (whole or sources[0].folder) / "report.html"
    say(str(write_page(together, page, _answers(together, wanted))))


def write_report(store: RunStore, derived: Sequence[Row], page: Path) -> Path:
    """Write the page of one run whole or not at all, and return its path.

    Raises ``HarnessError`` where it cannot be written.
    """
    from results.merged import merged  # as above
    from results.sources import source_of

    return write_page(merged([source_of(store, derived)]), page)


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _check_one_suite(sources: Sequence[Source]) -> None:
    suites = sorted({source.suite for source in sources})
    if len(suites) > 1:
        shown = ", ".join(repr(suite[:60]) for suite in suites[:_LISTED])
        more = f" and {len(suites) - _LISTED} more" if len(suites) > _LISTED else ""
        hint = "-o DIR/ makes a page for each, with an index; or name runs of one suite"
        raise HarnessError(f"the runs are of {len(suites)} suites: {shown}{more}", hint)


def _data(together: Merged, wanted: Asked | None) -> dict[str, Any]:
    """Return what ``--json`` prints: of one run as ever, of several what was put together."""
    from harness.cli import recommendation_text
    from harness.cli.summary import summary_data
    from harness.codec import encode
    from results import table

    sources = together.sources
    if len(sources) == 1:
        told = summary_data(RunStore.open(sources[0].folder), together.rows)
    else:
        told = {
            "runs": [run_data(source) for source in sources],
            "notes": list(together.notes),
            "standings": [encode(standing) for standing in together.standings],
            "earlier": [encode(earlier) for earlier in together.earlier],
            "rows": table.records(together.rows),
        }
    found = _answers(together, wanted)
    if found is not None:
        told |= {"recommendation": recommendation_text.data(found, together.rows, sources)}
    return told


def run_data(source: Source) -> dict[str, Any]:
    """Return what ``--json`` says of one run among several."""
    return {
        "run_id": source.run_id,
        "created_at": source.created_at,
        "suite": source.suite,
        "machine": source.machine,
        "hw_id": source.hw_id,
        "env_id": source.env_id,
        "records": source.records,
        "folder": str(source.folder),
        "trouble": source.trouble,
        "damage": list(source.damage),
    }


def _answers(together: Merged, wanted: Asked | None) -> tuple[Recommendation, ...] | None:
    return None if wanted is None else wanted.answered(together.rows, together.sources)


# --- pages -------------------------------------------------------------------------------------------------------


def _view(together: Merged, answers: Sequence[Recommendation] | None, folder: Path) -> View:
    """Return the view of a page that will lie in ``folder``, where its links to logs begin."""
    from reports import view
    from reports.coverage import log_key

    several = len(together.sources) > 1
    logs = {
        log_key(source.run_id if several else "", cell): os.path.relpath(source.folder / log, folder)
        for source in together.sources
        for cell, log in source.logs.items()
    }
    return view.of_runs(together, logs, answers)


def write_page(together: Merged, page: Path, answers: Sequence[Recommendation] | None = None) -> Path:
    """Write the page of runs that were put together, whole or not at all, and return its path.

    Raises ``HarnessError`` where it cannot be written.
    """
    from reports import html

    _write(page, html.render(_view(together, answers, page.parent)))
    return page


def _write(path: Path, text: str) -> None:
    from results.files import write_whole

    try:
        # Names from outside may hold halves of characters, which no file can.
        write_whole(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise HarnessError(f"{path} cannot be written: {error.strerror}", "give another place with -o") from error


# --- sites -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Suite:
    """The runs of one suite, and what to buy by them."""

    together: Merged
    answers: tuple[Recommendation, ...] | None


def _write_site(sources: Sequence[Source], fleets: Sequence[FleetRun], wanted: Asked | None, folder: Path) -> None:
    """Write a page for each suite and the index last; what an earlier site left there stays, and is named."""
    from reports import site

    pages = [
        site.Page(suite, _view(each.together, each.answers, folder), each.together)
        for suite, each in _suites(sources, fleets, wanted).items()
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"{folder} cannot be made: {error.strerror}", "give another folder with -o") from error
    for name, text in site.files(pages):
        _write(folder / name, text)
    left = site.strangers((path.name for path in folder.iterdir()), pages)
    if left:
        shown = ", ".join(left[:_LISTED]) + (f" and {len(left) - _LISTED} more" if len(left) > _LISTED else "")
        explain(
            f"not of this site, and left as it was: {shown}",
            f"it may go from {folder} where it should no longer be found",
        )
    say(str(folder / site.INDEX))


def _suites(sources: Sequence[Source], fleets: Sequence[FleetRun], wanted: Asked | None) -> Mapping[str, _Suite]:
    """Return the runs by suite. Raises ``HarnessError`` for a workload asked for that no suite has."""
    from results.merged import merged

    by_suite = {
        suite: fleet_report.told(
            merged([source for source in sources if source.suite == suite]),
            [fleet for fleet in fleets if fleet.suite == suite],
        )
        for suite in sorted({source.suite for source in sources})
    }
    name = wanted.demand.workload if wanted else None
    able = {
        suite: name is None or any(row.cell.workload == name for row in together.rows)
        for suite, together in by_suite.items()
    }
    if wanted is not None and not any(able.values()):
        _answers(merged(sources), wanted)  # says what workloads there are
    return {
        suite: _Suite(together, _answers(together, wanted) if able[suite] else None)
        for suite, together in by_suite.items()
    }
