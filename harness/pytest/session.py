"""The suites of one pytest session: collected, measured before the first test, told at the end."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.cli.progress import Silent, duration, ending
from harness.errors import HarnessError
from harness.places import unplaced
from harness.pytest.nodes import CellItem, SuiteFile

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, MutableMapping
    from typing import Self

    from harness.vocabulary import Cell, Launch, Record


class Suites:
    """A plugin that lives as long as a session in which a suite is named."""

    def __init__(self, config: pytest.Config, is_suite: Callable[[Path], bool]) -> None:
        self._config = config
        self._is_suite = is_suite
        self._files: list[SuiteFile] = []

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> SuiteFile | None:
        """Collect a suite that is named itself; those that lie in a folder that is named are left alone."""
        if not parent.session.isinitpath(file_path) or not self._is_suite(file_path):
            return None
        file = SuiteFile.from_parent(parent, path=file_path)
        self._files.append(file)
        return file

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Measure what is selected, before the first test and outside the time limit of any."""
        option = session.config.option
        broken = session.testsfailed and not option.continue_on_collection_errors
        if option.collectonly or option.setuponly or broken:
            return
        for file in self._files:
            items = [item for item in session.items if isinstance(item, CellItem) and item.suite is file]
            kept = [item for item in items if item.get_closest_marker("skip") is None]
            file.selected = {item.planned.cell.cell_id for item in kept}
            cells = [item.planned.cell for item in kept if item.planned.skipped is None]
            if cells:
                self._measure(file, cells)

    def _measure(self, file: SuiteFile, cells: list[Cell]) -> None:
        # Imported here: what compares takes a second to load, and `--collect-only` has no use for it.
        from harness.cli.gate_sides import NoBaseline  # noqa: PLC0415
        from harness.pytest.baseline import baseline  # noqa: PLC0415
        from harness.pytest.measuring import Interrupted, Order, measure  # noqa: PLC0415
        from results.compared import ComparisonRefused, NothingToCompare  # noqa: PLC0415
        from results.named import NoRun  # noqa: PLC0415

        option = self._config.option
        runs = Path(option.harness_runs)
        try:
            before = None
            if option.harness_baseline is not None:
                # Before anything is measured: where it is missing, minutes are saved.
                folder = Path(option.harness_baselines)
                before = baseline(option.harness_baseline, file, cells, folder, runs)
            order = Order(file.campaign, cells, file.text, self._command(), runs, before)
            file.measured = measure(order, self._progress())
        except Interrupted as interrupted:
            pytest.exit(str(interrupted), returncode=2)
        except (NoBaseline, NoRun, ComparisonRefused, NothingToCompare) as missing:
            pytest.exit(str(missing), returncode=5)
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error

    def _command(self) -> str:
        """Return the command line as a reader could repeat it."""
        words = ["pytest", *map(str, self._config.invocation_params.args)]
        return unplaced(shlex.join(Path(word).name if os.path.isabs(word) else word for word in words))  # noqa: PTH117 - a plain word

    def _progress(self) -> Silent:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None:
            return Silent()
        return Told(terminal) if self._config.get_verbosity() >= 0 else Quiet(terminal)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give a cell's report the time of its launches, and its skip the place of the suite."""
        report = yield
        if isinstance(item, CellItem) and call.when == "call":
            if item.result is not None:
                report.duration = item.result.seconds
            if report.skipped and isinstance(report.longrepr, tuple):
                report.longrepr = (os.fspath(item.path), 1, report.longrepr[2])
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where each run lies, and what the gate could have found."""
        measured = [(file.name, file.measured) for file in self._files if file.measured is not None]
        if not measured:
            return
        terminalreporter.section("inference harness")
        for name, each in measured:
            run = each.store.run_id
            terminalreporter.write_line(f"{name}: run {run} in {each.store.folder.parent}; harness report {run}")
            for damage in each.store.damage:
                terminalreporter.write_line(f"damaged: {damage}")
            if each.gate is not None:
                from harness.pytest.baseline import told  # noqa: PLC0415 - as above

                for line in told(each.gate):
                    terminalreporter.write_line(line)

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: MutableMapping[str, Any]) -> None:
        """Store the fingerprint of the machine in the place of its host's name."""
        from harness.pytest.machine import described  # noqa: PLC0415 - as above

        machine_info.clear()
        machine_info.update(described())

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_compare_machine_info(
        self, machine_info: MutableMapping[str, Any], compared_benchmark: MutableMapping[str, Any]
    ) -> None:
        """Refuse to compare with another machine's figures."""
        from harness.pytest.machine import refusal  # noqa: PLC0415 - as above

        refused = refusal(compared_benchmark["machine_info"], machine_info)
        if refused:
            raise pytest.UsageError(refused)


class Quiet(Silent):
    """Says nothing of how far the run is; the rest goes through pytest's own terminal, since it captures stderr."""

    def __init__(self, terminal: Any) -> None:
        self._terminal = terminal

    def noted(self, word: str) -> None:
        """Say what the user is to know however quiet the command is."""
        self._say(word)

    def _say(self, line: str) -> None:
        if self._terminal.isatty:
            self._terminal.rewrite("", erase=True)
        self._terminal.write_line(line)


class Told(Quiet):
    """What is prepared and measured, told through pytest's own terminal."""

    def __init__(self, terminal: Any) -> None:
        super().__init__(terminal)
        self._launches = self._done = 0
        self._left_s = 0.0

    def __enter__(self) -> Self:
        self._terminal.ensure_newline()
        return self

    def told(self, word: str) -> None:
        """Say what is being prepared."""
        self._say(f"prepare  {word}")

    def began(self, launches: int) -> None:
        """Note how many launches there will be."""
        self._launches = launches

    def started(self, cell: Cell, launch: Launch, expected_s: float, left_s: float) -> None:
        """Say on a terminal which launch begins; a log has a line when it has ended."""
        self._done += 1
        self._left_s = left_s
        if self._terminal.isatty:
            line = f"{self._place} {cell.label} #{launch.index}, about {duration(expected_s)}; {duration(left_s)} left"
            self._terminal.rewrite(line, erase=True)

    def finished(self, record: Record) -> None:
        """Say how it ended."""
        left = f" ({duration(max(0.0, self._left_s - record.duration_ns / 1e9))} left)" if self._left_s else ""
        self._say(f"{self._place} {record.cell.label} #{record.launch.index}: {ending(record)}{left}")

    @property
    def _place(self) -> str:
        return f"[{min(self._done, self._launches)}/{self._launches}]"
