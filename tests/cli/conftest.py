"""The command line as a user has it: a process of its own, in a folder of its own, with a cache of its own."""

from __future__ import annotations

import html
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from harness.cli.app import invoke
from results.store import RunStore, runs_in

if TYPE_CHECKING:
    from pathlib import Path

    from harness.vocabulary import Record

SUITE = """
version: 1
workloads:
  toy: {source: {file: model.json, format: fake-script}, task: raw, input: [3, 8, 8]}
matrix: {engine: [fake], scenario: [latency]}
preset: quick
launches: 1
options: {fake: {latency_us: 3000, asleep: true}}
"""


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Let Ctrl-C reach the commands also where a shell started these tests in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Place:
    """A user's folder with a model and suites in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the user's."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    def model(self, name: str = "model.json", **script: object) -> None:
        """Write a script of the fake engine."""
        self.write(name, json.dumps({"outputs": {"scores": [10]}, **script}))

    @property
    def own(self) -> dict[str, str]:
        """The variables by which nothing outside the folder is used, and nothing waited for."""
        # The lock lies beside the folder, which may be a repository, whose state would show it.
        lock = self.folder.with_name(f"{self.folder.name}.lock")
        mine = {"HARNESS_CACHE": str(self.folder / "cache"), "HARNESS_MACHINE_LOCK": str(lock)}
        return {**mine, **self.environment}

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *arguments],
            cwd=self.folder,
            env={**os.environ, **self.own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Said:
        """Run a command to its end."""
        with self.begin(*arguments) as process:
            out, err = process.communicate(timeout=240)
        return Said(process.returncode, out, err)

    def say(self, *arguments: str) -> Said:
        """Run a command in this process, which is quicker; what children echo goes elsewhere."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
            patched.chdir(self.folder)
            patched.delenv("HARNESS_DEBUG", raising=False)
            for name, value in {**self.own, "COLUMNS": "80"}.items():
                patched.setenv(name, value)
            code = invoke(arguments)
        return Said(int(code), out.getvalue(), err.getvalue())

    @property
    def store(self) -> RunStore:
        """The latest run."""
        return RunStore.open("latest", self.folder / "runs")

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(runs_in(self.folder / "runs"))

    @property
    def page(self) -> str:
        """The report of the latest run, as a reader sees its text."""
        return html.unescape((self.store.folder / "report.html").read_text(encoding="utf-8"))

    def records(self) -> dict[str, Record]:
        """The last record of each cell by a short label: without precision, device and batch."""
        return {short(record): record for record in self.store.records()}


def short(record: Record) -> str:
    """Return ``workload/engine/scenario``."""
    cell = record.cell
    return f"{cell.workload}/{cell.engine}/{cell.scenario.name}"


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def new_place():
    """The maker of places, for fixtures that many tests share."""

    def made(folder: Path) -> Place:
        place = Place(folder)
        place.model()
        place.write("suite.yaml", SUITE)
        return place

    return made


@pytest.fixture
def place(tmp_path, new_place):
    return new_place(tmp_path)


@pytest.fixture
def say(place):
    """Run a command in this process, in the place."""
    return place.say
