"""``harness recommend``: which machine, how many of it and at what cost, for a load, from stored runs."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import campaign as campaigns
from harness.cli import fleet_report
from harness.cli.arguments import RunNames, Runs, meant
from harness.cli.console import as_json, document, explain
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
from harness.cli.exit_codes import ExitCode, worst


def recommend(
    run_names: RunNames = None,
    *,
    slo: SloOption = None,
    min_accuracy: MinAccuracy = None,
    load: LoadOption = None,
    prices: PricesFile = None,
    workload: Workload = None,
    utilisation: Utilisation = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every offer and every reason.")] = False,
    runs: Runs = campaigns.RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    example_prices: Annotated[
        bool, typer.Option("--example-prices", help="Print a prices file to start from, and nothing else.")
    ] = False,
    prices_schema: Annotated[
        bool, typer.Option("--prices-schema", help="Print the JSON Schema of prices files, and nothing else.")
    ] = False,
) -> int:
    """Say which machine to take for a load, how many of it, and what that costs.

    The answer stands on what was sustained host to host, never on a burst;
    rows that are screening, noisy, fallen back or failed never win.
    Prices are your own: without --prices devices are counted, or speed is ranked.

    Exit codes: 0 an answer for each workload, 4 usage, 5 nothing to recommend.
    """
    if example_prices or prices_schema:
        _print_about_prices(schema=prices_schema)
        return ExitCode.OK
    from results.procurement.demand import Demand

    wanted = asked(slo, min_accuracy, load, prices, workload, utilisation) or Asked(Demand(), None, None)
    # Imported here: they bring SciPy, and neither `harness --help` nor a wrong option should wait for it.
    from results.merged import load as load_runs
    from results.merged import merged
    from results.named import NoRun

    try:
        named = meant(run_names or ["latest"], runs)
        together = fleet_report.told(merged(load_runs(named.folders)), named.fleets)
    except NoRun as error:
        explain(error.message, error.hint)
        return ExitCode.NOTHING
    found = wanted.answered(together.rows, together.sources)
    from harness.cli import recommendation_text

    if json:
        as_json(recommendation_text.data(found, together.rows, together.sources))
    else:
        recommendation_text.show_sources(together)
        recommendation_text.show(found, together.rows, together.sources, everything=everything)
    if not found:
        explain("nothing to recommend: these runs have no rows", "run a suite first: harness run procurement")
    return worst([ExitCode.OK if each.offers else ExitCode.NOTHING for each in found] or [ExitCode.NOTHING])


def _print_about_prices(*, schema: bool) -> None:
    from results.procurement import prices_file

    if schema:
        as_json(prices_file.schema())
    else:
        document(prices_file.example())
