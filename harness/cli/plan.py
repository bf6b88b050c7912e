"""``harness plan``: every cell, what will be skipped and why, and how long it should take; nothing is run."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from harness import durations, suite
from harness import plan as planning
from harness.cli import campaign as campaigns
from harness.cli.arguments import Only, Preset, Set, SuiteName, overrides
from harness.cli.console import as_json, out, say
from harness.cli.progress import duration, reporter
from harness.vocabulary import Failed, Level, Skipped

if TYPE_CHECKING:
    from harness.cli.campaign import Campaign


def plan(
    suite_name: SuiteName,
    *,
    only: Only = None,
    assign: Set = None,
    preset: Preset = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what `harness run SUITE` would do: every cell, what is skipped and why, the estimated time."""
    path = suite.find(suite_name)
    loaded = suite.load(path, overrides(assign, preset))
    with reporter(quiet=json) as progress, campaigns.opened_workshop(campaigns.EXPORT_TIMEOUT_S) as workshop:
        campaign = campaigns.look(loaded, path.absolute().parent, workshop, progress.told)
    made = planning.select(campaign.plan, only) if only else campaign.plan
    seconds = durations.seconds_total(made)
    troubles = _troubles(campaign)
    if json:
        as_json(
            {
                "suite": made.suite,
                "preset": made.preset,
                "seed": made.seed,
                "estimated_s": round(seconds, 1),
                "budget_s": loaded.budget_s,
                "launches": len(made.order),
                "troubles": troubles,
                "cells": [
                    {
                        "label": planned.cell.label,
                        "cell_id": planned.cell.cell_id,
                        "launches": planned.launches,
                        "seconds_per_launch": planned.seconds,
                        "level": planned.level.value,
                        "skipped": planned.skipped.reason if planned.skipped else None,
                        "hint": planned.skipped.hint if planned.skipped else None,
                    }
                    for planned in made.cells
                ],
            }
        )
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("cell", overflow="fold")
    table.add_column("launches", justify="right")
    table.add_column("each", justify="right")
    table.add_column("")
    rows: dict[str, list[Skipped | None]] = defaultdict(list)
    for planned in made.cells:
        rows[planned.cell.variant_id].append(planned.skipped)
    told: set[str] = set()
    for planned in made.cells:
        if planned.skipped is not None:
            # One line for all scenarios of a row that are skipped for one reason.
            among = rows[planned.cell.variant_id]
            whole = len(among) > 1 and set(among) == {planned.skipped}
            if whole and planned.cell.variant_id in told:
                continue
            told.add(planned.cell.variant_id)
            hint = f" ({planned.skipped.hint})" if planned.skipped.hint else ""
            label = f"{planned.cell.label.rpartition('/')[0]}/*" if whole else planned.cell.label
            table.add_row(Text(label), "–", "–", Text(f"skipped: {planned.skipped.reason}{hint}"))
            continue
        mark = "emulated" if planned.level is Level.EMULATED else ""
        table.add_row(Text(planned.cell.label), str(planned.launches), duration(planned.seconds), mark)
    out.print(table)
    for what, trouble in troubles.items():
        say(f"{what} will fail: {trouble}")
    skipped = sum(planned.skipped is not None for planned in made.cells)
    say(
        f"{len(made.cells) - skipped} cells in {len(made.order)} launches, {skipped} skipped; "
        f"about {duration(seconds)}, besides exporting what the cache lacks"
    )
    if loaded.budget is not None:
        certain, most = durations.certain_launches(loaded), durations.most_launches(loaded)
        say(
            f"budget {loaded.budget}: after {certain} launches of each timed cell it is spent where intervals are "
            f"widest, on up to {most} launches of one"
        )


def _troubles(campaign: Campaign) -> dict[str, str]:
    found = {name: model.trouble for name, model in campaign.survey.models.items() if model.trouble}
    found |= {name: facts for name, facts in campaign.survey.engines.items() if isinstance(facts, Failed)}
    return {
        name: f"{trouble.message} ({trouble.hint})" if trouble.hint else trouble.message
        for name, trouble in found.items()
    }
