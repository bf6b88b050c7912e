"""A suite measured for a gate: a first look and, where it leaves something open and time allows, a second."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import plan_order, suite
from harness.cli import campaign as campaigns
from harness.cli.console import errors
from harness.cli.gate_sides import Judged, NoBaseline, base_of, setting, share_a_cell
from harness.cli.progress import duration, reporter
from harness.cli.run import begun, command_line, measure
from harness.gating import SECOND_LOOK
from harness.host import hardware, short_id
from harness.looks import Looks, seconds_more
from results.compared import compared
from results.gate import is_open, joined, judge, look, rules_of
from results.snapshots import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from harness.cli.progress import Reporter
    from harness.suite import Suite
    from harness.vocabulary import Plan
    from results.changes import Comparison, Rules
    from results.gate import Gate
    from results.snapshot import Snapshot
    from results.store import RunStore


@dataclass(frozen=True)
class Asked:
    """What the command line asks to be measured and judged."""

    suite: str
    overrides: tuple[str, ...]
    only: tuple[str, ...]
    baseline: str
    cap_s: float | None  # for everything; the suite's where ``None``
    baselines: Path
    runs: Path


def measured(asked: Asked, *, today: date, quiet: bool) -> Gate | None:
    """Measure a suite and judge it; ``None`` where it was interrupted.

    Raises ``NoBaseline`` before anything is measured, ``HarnessError`` for what no plan can be made of.
    """
    begun_s = time.monotonic()
    loaded = suite.load(suite.find(asked.suite), asked.overrides)
    base = base_of(asked.baseline, _judged(asked, loaded), asked.baselines, asked.runs)
    rules = rules_of(loaded.gate, asked.only)
    cap_s = 60 * loaded.gate.minutes if asked.cap_s is None else asked.cap_s
    launches = _launches(asked, loaded)
    # Who gets more launches by what it showed finds what is not there: no budget, and as many for every cell.
    over = (*asked.overrides, f"launches={launches}", "budget=null")
    with (
        reporter(quiet=quiet) as progress,
        campaigns.termination_as_interrupt(),
        campaigns.opened_workshop(campaigns.EXPORT_TIMEOUT_S) as workshop,
    ):
        campaign, text = begun(asked.suite, rules.only, over, workshop, progress)
        if not share_a_cell(base, [planned.cell.cell_id for planned in campaign.plan.cells]):
            message = f"the baseline of {base.run_id} has no cell of what {asked.suite} measures now"
            raise NoBaseline(message, f"weights, images or settings changed: {_judged(asked, loaded).setting}")
        store = campaigns.create(campaign, asked.runs, suite_text=text, command=command_line())
        with store:
            looking = _Looking(base, store, rules, today, launches, lambda: cap_s - (time.monotonic() - begun_s))
            looks = Looks(
                campaign.plan,
                lambda plan: campaigns.order_of(replace(campaign, plan=plan), store),
                lambda: looking.longer(progress),
                looking.seconds_left,
            )
            try:
                interrupted = measure(campaign, store, progress, looks)
            finally:
                campaigns.keep_logs(workshop, store)
            if interrupted:
                words = f"harness run --resume {store.run_id}, then harness gate --head {store.run_id}"
                errors.print(f"interrupted; continue with: {words}", markup=False, highlight=False)
                return None
            return looking.judged(looks.cut)


def _judged(asked: Asked, loaded: Suite) -> Judged:
    facts = hardware()
    made = setting(asked.suite, asked.overrides, loaded.gate.launches)
    return Judged(str(loaded.name), short_id(facts), facts, made)


def _launches(asked: Asked, loaded: Suite) -> int:
    """Return the launches of the first look: what ``--set`` says, else the suite's ``gate``."""
    return loaded.launches if _says_launches(asked) and loaded.launches is not None else loaded.gate.launches


def _says_launches(asked: Asked) -> bool:
    return any(text.partition("=")[0] == "launches" for text in asked.overrides)


@dataclass
class _Looking:
    """The looks at a run that is being made. Whether there may be two is known beforehand, and splits the level."""

    base: Snapshot
    store: RunStore
    rules: Rules
    today: date
    launches: int
    seconds_left: Callable[[], float]
    first: Comparison | None = None
    is_longer: bool = False
    notes: tuple[str, ...] = ()

    @property
    def most(self) -> int:
        """Launches of a cell at the second look."""
        return max(self.launches, min(2 * self.launches, SECOND_LOOK))

    def longer(self, progress: Reporter) -> Plan | None:
        """Take the first look; return the plan of a second one where that is needed and there is time."""
        if self.most == self.launches:
            return None
        self.first = look(self.base, snapshot(self.store), self.rules, 1, today=self.today)
        if not is_open(self.first):
            return None
        plan = plan_order.lengthened(self.store.plan, self.most)
        if plan == self.store.plan:  # nothing in it is replicated
            return None
        needed_s, left_s = seconds_more(plan, self.store.records()), self.seconds_left()
        if needed_s > left_s:
            self.notes += (
                f"no time for a second look: it would take about {duration(needed_s)}, {duration(left_s)} are left",
            )
            return None
        self.store.lengthen(plan)
        self.is_longer = True
        progress.began(len(plan.order))
        progress.told(f"second look: {len(self.first.open)} open, {self.most} launches of every timed cell")
        return plan

    def judged(self, cut: int | None) -> Gate:
        """Return the run judged after the looks that it took; ``cut``: the rounds that there was time for."""
        notes = self.notes
        if cut is not None:
            planned = self.most if self.is_longer else self.launches
            notes += (f"the time was up after {cut} of {planned} launches of every timed cell",)
        after = snapshot(self.store)
        if self.most == self.launches:
            return judge(compared(self.base, after, self.rules, today=self.today), today=self.today, notes=notes)
        first = self.first or look(self.base, after, self.rules, 1, today=self.today)
        if not self.is_longer:
            return judge(first, today=self.today, notes=notes)
        second = look(self.base, after, self.rules, 2, today=self.today)
        return judge(joined(first, second), today=self.today, looks=2, notes=notes)
