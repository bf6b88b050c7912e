"""The two sides of a gate: the run that is judged, by what rules, and what it is held to."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.errors import HarnessError
from harness.gating import Gating
from results.baselines import baselines_in, find
from results.environments import differences
from results.named import find as find_run
from results.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from results.snapshot import Snapshot

STORED = "baseline"
"""The word for the stored baseline of the suite at hand."""


class NoBaseline(HarnessError):  # noqa: N818 - no error of the program: there is nothing yet to compare with
    """Nothing was accepted yet that could be compared with; the hint is the command that sets it."""


@dataclass(frozen=True)
class Judged:
    """What has to be known of the side that is judged, measured or still to be."""

    suite: str
    hw_id: str
    hardware: Mapping[str, Any]
    setting: str
    """The command that makes a baseline of it."""


def setting(suite: str, assigned: Sequence[str], launches: int) -> str:
    """Return the command that makes a baseline of a suite; ``assigned``: what is set over it, ``KEY=VALUE`` each."""
    said = any(each.partition("=")[0] == "launches" for each in assigned)
    words = [*assigned, *([] if said else [f"launches={launches}"])]
    settings = " ".join(f"--set {shlex.quote(each)}" for each in words)
    return f"harness run {shlex.quote(suite)} {settings} && harness baseline set latest"


def base_of(which: str, judged: Judged, baselines: Path, runs: Path) -> Snapshot:
    """Return what to compare with: the stored baseline, one stored under a name, or the run that is meant.

    Raises ``NoBaseline`` where none is stored, naming the fact of the hardware that those there are differ in, or where
    it is of other hardware, ``StoreError`` as ``results.named.find`` does.
    """
    name = "" if which == STORED else which
    if name and not _is_stored(name, baselines):
        base = find_run(name, runs, Path()).snapshot
        if base.hw_id != judged.hw_id:
            message = f"{which} was measured on other hardware: {_difference(base, judged)}"
            raise NoBaseline(message, f"measure it on this machine, or set a baseline: {judged.setting}")
        return base
    found = find(baselines, judged.suite, judged.hw_id, name)
    if found is not None:
        return found[1]
    others = baselines_in(baselines, judged.suite, name)
    there = f"; {others[0][0]} is of other hardware: {_difference(others[0][1], judged)}" if others else ""
    message = f"no baseline of the suite {judged.suite!r} for this hardware ({judged.hw_id}) in {baselines}{there}"
    named = f" --name {name}" if name else ""
    raise NoBaseline(message, f"set one: {judged.setting}{named}")


def head_of(name: str, runs: Path) -> tuple[Snapshot, Gating]:
    """Return a stored run with the ``gate`` of its suite. Raises ``HarnessError`` as ``results.named.find`` does."""
    found = find_run(name, runs, Path())
    if found.folder is None:
        return found.snapshot, Gating()
    said = RunStore.open(found.folder).manifest.get("suite", {}).get("gate", {})
    try:
        return found.snapshot, Gating.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = f"the suite of {found.snapshot.run_id} has a gate that cannot be read: {place}: {first['msg']}"
        raise HarnessError(message, "it was run by another version of the harness: run the suite anew") from error


def _is_stored(name: str, baselines: Path) -> bool:
    return "/" not in name and (baselines / name).is_dir()


def _difference(base: Snapshot, judged: Judged) -> str:
    """Return the facts in which two machines differ, the first few of them."""
    facts = differences(base.hardware, judged.hardware)
    shown = [f"{each.place} ({each.before} there, {each.after} here)" for each in facts[:3]]
    more = [f"{len(facts) - 3} more"] if len(facts) > 3 else []
    return ", ".join((*shown, *more)) or f"its id is {base.hw_id}"


def share_a_cell(base: Snapshot, cell_ids: Sequence[str]) -> bool:
    """Whether anything that is measured is in the baseline."""
    return not {cell.cell_id for cell in base.cells}.isdisjoint(cell_ids)
