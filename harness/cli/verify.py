"""``harness verify``: whether a stored run still is what its report says, checked again from its parts."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from harness import codec, plan
from harness.cache import hash_tree
from harness.cli import campaign as campaigns
from harness.cli.arguments import RunOrFleet, Runs, meant
from harness.cli.cache import opened
from harness.cli.console import as_json, out, say
from harness.cli.exit_codes import ExitCode, worst
from harness.errors import PlanError
from harness.vocabulary import State
from results.store import RunStore
from results.words import counted, listed, showable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from harness.cache import Cache
    from results.fleets import FleetRun
    from results.published import Published
    from results.verification import Verification

_PAGE = "report.html"
_LISTED = 3


@dataclass(frozen=True)
class _Checked:
    """What became of the check of one run."""

    store: RunStore
    found: tuple[Verification, ...]
    wrong: tuple[str, ...]  # what is damaged, or foreign to the run
    handed_out: Published | None  # what the report says of this run
    others: Mapping[str, int]  # rows of the report by run, of runs that are not checked

    @property
    def kept(self) -> int:
        """How many rows were verified."""
        return len(self.found) - sum(bool(each.failed) for each in self.found)

    @property
    def verified(self) -> bool:
        """Whether there is something, and all of it is as it was."""
        return bool(self.found) and not self.wrong and self.kept == len(self.found)

    @property
    def code(self) -> ExitCode:
        """What a script is told of it."""
        if self.wrong or self.kept < len(self.found):
            return ExitCode.CELL_FAILED
        return ExitCode.OK if self.found else ExitCode.NOTHING


def verify(
    run_name: RunOrFleet = "latest",
    cells: Annotated[
        list[str] | None,
        typer.Argument(metavar="CELL", help="Only the rows of these: a label, a pattern, the beginning of an id."),
    ] = None,
    *,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="A page or JSON that was handed out; else the page in the run."),
    ] = None,
    runs: Runs = campaigns.RUNS,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check again, from the stored parts, that RUN is what its report says.

    Its journal, samples and cached artifacts are read again,
    its figures and certificates are made again.
    What an engine did not tell or the cache holds no more fails nothing.

    Exit codes: 0 nothing differs, 3 something does, 4 usage, 5 nothing ran.
    """
    from results.named import any_folder_of  # imported here: it brings SciPy, and `harness --help` should not wait

    named = meant([run_name], runs, any_folder_of)
    stores = [RunStore.open(folder) for folder in named.folders]
    done = _checked(stores, _chosen(stores, cells or []), report, named.fleet)
    if json:
        facts = [_facts(one) for one in done]
        as_json(facts[0] if named.fleet is None else _together(named.fleet, done, facts))
    else:
        for place, one in enumerate(done):
            if place:
                say("")
            _show(one)
        if named.fleet is not None:
            kept, of = sum(one.kept for one in done), sum(len(one.found) for one in done)
            say(f"\n{named.fleet.fleet_id}: {kept} of {of} rows of {counted(len(done), 'run')} verified")
    codes = [one.code for one in done]
    # A host that measured nothing is nothing only where no other measured anything.
    return worst([code for code in codes if code is not ExitCode.NOTHING] or codes)


def _chosen(stores: Sequence[RunStore], patterns: Sequence[str]) -> list[Collection[str] | None]:
    """Return the variants of each run that patterns mean; ``None`` where there are no patterns, for all of them.

    Raises ``PlanError`` for a pattern that matches nothing in any run.
    """
    if not patterns:
        return [None] * len(stores)
    chosen: list[set[str]] = [set() for _ in stores]
    for pattern in patterns:
        refused = []
        for store, mine in zip(stores, chosen, strict=True):
            try:
                mine.update(cell.variant_id for cell in plan.matching(store.plan, pattern))
            except PlanError as error:
                refused.append(error)
        if len(refused) == len(stores):
            raise refused[0]
    return list(chosen)


def _checked(
    stores: Sequence[RunStore], chosen: Sequence[Collection[str] | None], report: Path | None, fleet: FleetRun | None
) -> list[_Checked]:
    """Check each run against a report: the one that was handed out, else that of the fleet, else its own."""
    # Imported here: they bring pandas and SciPy, and `harness --help` should not wait for them.
    from results.published import published
    from results.rows import rows as derive
    from results.sources import machine_id_of
    from results.verification import verify as check

    cached, read = _cached(opened()), functools.cache(published)
    of_all = fleet.folder / _PAGE if fleet is not None and (fleet.folder / _PAGE).is_file() else None
    checked = {store.run_id for store in stores}
    done = []
    for store, variants in zip(stores, chosen, strict=True):
        derived = derive(store)
        known = {row.variant_id for row in derived}
        if variants is not None:
            derived = tuple(row for row in derived if row.variant_id in variants)
        page = report or of_all or store.folder / _PAGE
        handed_out = None
        if report is not None or page.is_file():
            handed_out = read(page).of_run(store.run_id, machine_id_of(store))
        foreign = sorted(handed_out.rows.keys() - known) if handed_out else []
        wrong = [f"{page.name} has the row {name[:12]}, which is not of this run" for name in foreign]
        others = handed_out.others if handed_out else {}
        done.append(
            _Checked(
                store,
                tuple(check(store, derived, handed_out, cached)),
                (*store.damage, *wrong),
                handed_out,
                {run_id: count for run_id, count in others.items() if run_id not in checked},
            )
        )
    return done


def _cached(cache: Cache) -> Callable[[str], tuple[str, ...]]:
    """Return a look-up: the content hash of an artifact → what its entries in the cache hash to now."""
    entries: dict[str, list[Path]] = defaultdict(list)
    for entry in cache.entries():
        artifact = entry.meta.get("artifact")
        if artifact:
            entries[artifact["content_hash"]].append(entry.content)

    @functools.cache
    def now(content_hash: str) -> tuple[str, ...]:
        return tuple(hash_tree(content)[0] for content in entries[content_hash])

    return now


def _together(fleet: FleetRun, done: Sequence[_Checked], facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the facts of the runs of a fleet, each with its host."""
    hosts = {part.run_id: part.host for part in fleet.runs}
    return {
        "fleet_id": fleet.fleet_id,
        "verified": all(one.verified for one in done if one.code is not ExitCode.NOTHING)
        and any(one.found for one in done),
        "runs": [{**each, "host": hosts.get(each["run_id"], "")} for each in facts],
    }


def _facts(one: _Checked) -> dict[str, Any]:
    return {
        "run_id": one.store.run_id,
        "report": one.handed_out.name if one.handed_out else None,
        "rows_of_other_runs": dict(one.others),
        "verified": one.verified,
        "damage": list(one.wrong),
        "rows": [
            {
                "row": f"{each.row.cell.workload} {each.row.label}",
                "variant_id": each.row.variant_id,
                "certificate_sha256": each.row.certificate.digest if each.row.certificate else None,
                "verified": not each.failed,
                "checks": [codec.encode(check) for check in each.checks],
            }
            for each in one.found
        ],
    }


def _show(one: _Checked) -> None:
    """Print one line per row, then every difference under the row's name, then what could not be checked."""
    found = one.found
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("row", "certificate", "result"):
        table.add_column(head, no_wrap=head != "row", overflow="fold")
    for each in found:
        digest = each.row.certificate.digest[:12] if each.row.certificate else "–"
        failed = ", ".join(check.name for check in each.failed)
        result = Text(f"FAILED: {failed}", style="bold red") if failed else Text("verified")
        table.add_row(Text(_name(each)), digest, result)
    if found:
        out.print(table)
    else:
        say("nothing to verify: no launch completed")
    for each in found:
        for check in each.failed:
            say(f"{_name(each)}: {check.name}: {check.detail}")
    for (name, detail), count in Counter(
        (check.name, check.detail) for each in found for check in each.checks if check.state is State.UNAVAILABLE
    ).items():
        rows = "every row" if count == len(found) > 1 else f"{count} of {len(found)} rows"
        say(f"not checked, {name}: {detail} ({rows})")
    if one.handed_out is not None and one.others:
        rows = counted(sum(one.others.values()), "row")
        say(f"not of this run, and not checked: {rows} of {one.handed_out.name}, of {_runs(one.others)}")
    for damage in one.wrong:
        say(f"damaged: {damage}")
    say(f"run {one.store.run_id}: {one.kept} of {len(found)} rows verified, {len(one.store.records())} records")


def _runs(run_ids: Collection[str]) -> str:
    shown = [showable(run_id[:40]) for run_id in list(run_ids)[:_LISTED]]
    more = [f"{len(run_ids) - _LISTED} more"] if len(run_ids) > _LISTED else []
    return f"{'run' if len(run_ids) == 1 else 'runs'} {listed([*shown, *more])}"


def _name(verification: Verification) -> str:
    return f"{verification.row.cell.workload} {verification.row.label}"
