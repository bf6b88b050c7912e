"""The nodes of a suite: the file, and a test per cell that reports what its launches gave."""

from __future__ import annotations

import contextlib
import os
import types
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from harness import suite as suites
from harness.cli import campaign as campaigns
from harness.cli.arguments import overrides
from harness.cli.progress import Silent
from harness.cli.run import begun
from harness.errors import HarnessError
from harness.pytest.replay import ReplayClock, leave_out, replay
from harness.scenarios import KINDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from harness.cli.campaign import Campaign
    from harness.pytest.measuring import Measured, Result
    from harness.vocabulary import Failed, PlannedCell, Skipped
    from results.changes import Change

SENTINEL, PROVE = "sentinel", "prove"


class SuiteFile(pytest.Module):
    """A suite. A module to pytest and its plugins, for fixtures of that scope need one; there is no code in it."""

    campaign: Campaign
    text: str
    measured: Measured | None = None
    selected: Collection[str] = ()  # cell ids of the tests that are run

    def _getobj(self) -> types.ModuleType:
        return types.ModuleType(self.path.stem)

    def collect(self) -> Iterator[CellItem]:
        """Yield a test per planned cell. What is wrong with the suite is one message, at its line."""
        opened = contextlib.ExitStack()
        self.config.add_cleanup(opened.close)
        workshop = opened.enter_context(campaigns.opened_workshop(campaigns.EXPORT_TIMEOUT_S))
        try:
            assigned = self._overrides()
            self.campaign, self.text = begun(_named(self.path), [], assigned, workshop, Silent())
        except HarnessError as error:
            raise self.CollectError(str(error)) from error
        planned = [each for each in self.campaign.plan.cells if each.cell.scenario.name != SENTINEL]
        labels = Counter(each.cell.label for each in planned)
        for each in planned:
            own = each.cell.label
            name = own if labels[own] == 1 else f"{own}#{each.cell.cell_id[:8]}"
            yield self._item(name, each)

    @property
    def setting(self) -> str:
        """The command that makes a baseline of what is measured here."""
        # Imported here: it brings what compares, which `--collect-only` has no use for.
        from harness.cli.gate_sides import setting  # noqa: PLC0415

        options = self.config.option
        assigned = overrides(options.harness_set, options.harness_preset)
        return setting(_named(self.path), assigned, self.campaign.suite.gate.launches)

    def _overrides(self) -> list[str]:
        """Return what is set over the suite: where it is held to a baseline, as many launches as its ``gate`` says."""
        options = self.config.option
        assigned = overrides(options.harness_set, options.harness_preset)
        if options.harness_baseline is None:
            return assigned
        launches = suites.load(Path(_named(self.path)), assigned).gate.launches
        said = any(text.partition("=")[0] == "launches" for text in assigned)
        # Who gets more launches by what it showed finds what is not there: no budget, and as many for every cell.
        return [*assigned, *([] if said else [f"launches={launches}"]), "budget=null"]

    def _item(self, name: str, planned: PlannedCell) -> CellItem:
        stored = KINDS[planned.cell.scenario.name].timed and self.config.pluginmanager.has_plugin("benchmark")
        item = CellItem.from_parent(self, name=name, callobj=_timed if stored else _untimed, planned=planned)
        if stored:
            group = f"{planned.cell.workload}/{planned.cell.scenario.label}"
            item.add_marker(pytest.mark.benchmark(timer=item.clock, group=group))
        if planned.skipped is not None and not self.config.option.harness_strict:
            item.add_marker(pytest.mark.skip(reason=_why_skipped(planned.skipped)))
        return item


def _named(path: Path) -> str:
    """Return a path as the user would write it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if path.is_relative_to(here) else str(path)


def _timed(request: pytest.FixtureRequest, benchmark: Any) -> None:
    request.node.report(benchmark)


def _untimed(request: pytest.FixtureRequest) -> None:
    request.node.report(None)


class CellItem(pytest.Function):
    """One cell. A function to pytest and its plugins, since only functions are given fixtures such as ``benchmark``."""

    def __init__(self, *, planned: PlannedCell, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.planned = planned
        self.clock = ReplayClock()

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the suite as the place, the label as the name."""
        return self.path, 0, self.name

    @property
    def suite(self) -> SuiteFile:
        """The file that it is in."""
        found = self.getparent(SuiteFile)
        assert found is not None
        return found

    @property
    def result(self) -> Result | None:
        """What its launches gave; ``None`` where none was to be made."""
        measured = self.suite.measured
        return measured.results.get(self.planned.cell.cell_id) if measured is not None else None

    def report(self, benchmark: Any) -> None:
        """Pass, fail or skip by what the launches gave; hand their samples to pytest-benchmark."""
        if self.planned.skipped is not None:
            _end(benchmark, failed=f"skipped, with --harness-strict: {_why_skipped(self.planned.skipped)}")
        result = self.result
        if result is None:
            _end(benchmark, failed="nothing was measured: its launches are made before the first test begins")
        self.user_properties.extend((name, _flat(value)) for name, value in result.facts.items())
        self._judge_outcome(result, benchmark)
        samples_s = result.samples_s if benchmark is not None else []
        if samples_s:
            benchmark.extra_info.update(result.facts)
            replay(benchmark, self.clock, samples_s)
        elif benchmark is not None:
            leave_out(benchmark)
        self._judge_changes(result)

    def _judge_outcome(self, result: Result, benchmark: Any) -> None:
        label = self.planned.cell.label
        if result.failed is not None:
            _end(benchmark, failed=_told(label, result.failed, result))
        if result.skipped is None:
            return
        proof = f"{label.rpartition('/')[0]}/{PROVE}"
        if result.proof is not None and self._is_judged_elsewhere():
            _end(benchmark, skipped=f"{proof} failed: {result.proof.message}")
        if result.proof is not None:
            _end(benchmark, failed=_told(proof, result.proof, result))
        # The engine refused when it was asked: that is an answer, as in the plan.
        why = _why_skipped(result.skipped)
        if self.config.option.harness_strict:
            _end(benchmark, failed=f"skipped, with --harness-strict: {why}")
        _end(benchmark, skipped=why)

    def _is_judged_elsewhere(self) -> bool:
        """Whether the proof of this row is among the tests of this session, and fails there."""
        row = self.planned.cell.variant_id
        return any(
            each.cell.cell_id in self.suite.selected
            for each in self.suite.campaign.plan.cells
            if each.cell.scenario.name == PROVE and each.cell.variant_id == row
        )

    def _judge_changes(self, result: Result) -> None:
        regressed = [change for change in result.changes if change.fails]
        if regressed:
            pytest.fail(_lines(regressed), pytrace=False)
        undecided = [change for change in result.changes if change.open]
        if undecided and self.config.option.harness_strict:
            pytest.fail(_lines(undecided), pytrace=False)
        if undecided:
            pytest.skip(_lines(undecided))


def _end(benchmark: Any, *, failed: str = "", skipped: str = "") -> NoReturn:
    """End the test; nothing of it is stored as a benchmark."""
    if skipped:
        pytest.skip(skipped)
    if benchmark is not None:
        leave_out(benchmark)
    pytest.fail(failed, pytrace=False)


def _told(label: str, failed: Failed, result: Result) -> str:
    several = result.history.failed > 1 or result.history.completed
    count = f" in {result.history.failed} of {result.history.planned.launches} launches" if several else ""
    lines = [f"{label}: failed in {failed.stage.value}, {failed.kind}{count}: {failed.message}"]
    lines += [f"hint: {failed.hint}"] if failed.hint else []
    lines += [f"log: {result.log}"] if result.log else []
    return "\n  ".join(lines)


def _why_skipped(skipped: Skipped) -> str:
    return f"{skipped.reason} ({skipped.hint})" if skipped.hint else skipped.reason


def _lines(changes: Collection[Change]) -> str:
    return "\n".join("\n  ".join((f"{change.verdict}: {change.message}", *change.notes)) for change in changes)


def _flat(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
