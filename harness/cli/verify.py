"""``harness verify``: whether a stored run still is what its report says, checked again from its parts."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from harness import codec, plan
from harness.cache import hash_tree
from harness.cli import campaign as campaigns
from harness.cli.arguments import RunName, Runs
from harness.cli.cache import opened
from harness.cli.console import as_json, out, say
from harness.cli.exit_codes import ExitCode
from harness.vocabulary import State
from results.store import RunStore
from results.words import counted, listed, showable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from harness.cache import Cache
    from results.published import Published
    from results.verification import Verification

_PAGE = "report.html"
_LISTED = 3


def verify(
    run_name: RunName = "latest",
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
    # Imported here: they bring pandas and SciPy, and `harness --help` should not wait for them.
    from results.published import published
    from results.rows import rows as derive
    from results.sources import machine_id_of
    from results.verification import verify as check

    store = RunStore.open(run_name, runs)
    derived = derive(store)
    known = {row.variant_id for row in derived}
    if cells:
        chosen = {planned.cell.variant_id for planned in plan.select(store.plan, cells).cells}
        derived = tuple(row for row in derived if row.variant_id in chosen)
    page = report or store.folder / _PAGE
    handed_out = None
    if report is not None or page.is_file():
        handed_out = published(page).of_run(store.run_id, machine_id_of(store))
    found = check(store, derived, handed_out, _cached(opened()))
    foreign = sorted(handed_out.rows.keys() - known) if handed_out else []
    wrong = [*store.damage, *(f"{page.name} has the row {name[:12]}, which is not of this run" for name in foreign)]
    if json:
        as_json(_facts(store, found, wrong, handed_out))
    else:
        _show(store, found, wrong, handed_out)
    if wrong or any(verification.failed for verification in found):
        return ExitCode.CELL_FAILED
    return ExitCode.OK if found else ExitCode.NOTHING


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


def _facts(
    store: RunStore, found: Sequence[Verification], wrong: Sequence[str], handed_out: Published | None
) -> dict[str, Any]:
    return {
        "run_id": store.run_id,
        "report": handed_out.name if handed_out else None,
        "rows_of_other_runs": dict(handed_out.others) if handed_out else {},
        "verified": bool(found) and not wrong and not any(each.failed for each in found),
        "damage": list(wrong),
        "rows": [
            {
                "row": f"{each.row.cell.workload} {each.row.label}",
                "variant_id": each.row.variant_id,
                "certificate_sha256": each.row.certificate.digest if each.row.certificate else None,
                "verified": not each.failed,
                "checks": [codec.encode(check) for check in each.checks],
            }
            for each in found
        ],
    }


def _show(store: RunStore, found: Sequence[Verification], wrong: Sequence[str], handed_out: Published | None) -> None:
    """Print one line per row, then every difference under the row's name, then what could not be checked."""
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
    if handed_out is not None and handed_out.others:
        rows = counted(sum(handed_out.others.values()), "row")
        say(f"not of this run, and not checked: {rows} of {handed_out.name}, of {_runs(handed_out.others)}")
    for damage in wrong:
        say(f"damaged: {damage}")
    kept = len(found) - sum(bool(each.failed) for each in found)
    say(f"run {store.run_id}: {kept} of {len(found)} rows verified, {len(store.records())} records")


def _runs(run_ids: Collection[str]) -> str:
    shown = [showable(run_id[:40]) for run_id in list(run_ids)[:_LISTED]]
    more = [f"{len(run_ids) - _LISTED} more"] if len(run_ids) > _LISTED else []
    return f"{'run' if len(run_ids) == 1 else 'runs'} {listed([*shown, *more])}"


def _name(verification: Verification) -> str:
    return f"{verification.row.cell.workload} {verification.row.label}"
