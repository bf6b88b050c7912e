"""``python -m benchmarks [NAME] [--json] [--engine ENGINE]``: list the benchmarks, or measure one afresh.

Exit codes: 0 every figure passes; 1 a figure fails or is undecided; 4 wrong usage, or something needed is absent.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from benchmarks.figure import Verdict, table
from harness.errors import HarnessError
from harness.host import environment, hardware

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from benchmarks.figure import Measured

NAMES = (
    "fidelity",
    "overhead",
    "launch",
    "yolo11",
    "engines",
    "benchmark_app",
    "cameras",
    "queueing",
    "coverage",
    "soak_coverage",
    "false_alarms",
    "power",
    "throttle",
    "aa_gates",
    "busy",
    "loadgen",
    "gates",
    "compare",
    "history",
    "change_points",
    "report",
    "fleet",
)
BY_ENGINE = frozenset({"fidelity", "yolo11", "engines", "aa_gates"})
"""Those that measure one engine after the other, and take ``--engine``."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise HarnessError(message, "`python -m benchmarks --help` shows how it is used")


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; tables go to standard output, progress to the error stream."""
    try:
        asked = _parser().parse_args(arguments)
        if asked.name is None:
            print(listing())
            return 0
        load_1min = os.getloadavg()[0]
        measured = _measured(asked.name, asked.engine)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    if asked.json:
        print(json.dumps(document(asked.name, measured, load_1min), indent=2, sort_keys=True, allow_nan=False))
    else:
        print(table(measured.figures))
        for note in measured.notes:
            print(f"note: {note}")
    return int(any(figure.verdict not in {Verdict.PASS, Verdict.NONE} for figure in measured.figures))


def listing() -> str:
    """Return the names of the benchmarks with a line each."""
    width = max(map(len, NAMES))
    return "\n".join(f"{name:<{width}}  {(_module(name).__doc__ or '').splitlines()[0]}" for name in NAMES)


def document(name: str, measured: Measured, load_1min: float) -> dict[str, object]:
    """Return what ``--json`` prints: the figures, and the machine that they are from."""
    return {
        "benchmark": name,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_1min_before": load_1min,
        "hardware": hardware(),
        "environment": environment({}),
        "figures": [figure.as_data() for figure in measured.figures],
        "notes": list(measured.notes),
    }


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m benchmarks", description="Measure afresh what the harness claims of itself.")
    parser.add_argument("name", nargs="?", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--engine", action="append", default=[], metavar="ENGINE", help="only this engine; repeatable (default: all)"
    )
    return parser


def _measured(name: str, engines: Sequence[str]) -> Measured:
    if engines and name not in BY_ENGINE:
        raise HarnessError(f"{name} runs no engine", f"--engine goes with {', '.join(sorted(BY_ENGINE))}")
    measure = _module(name).measure
    measured: Measured = measure(_told, engines) if name in BY_ENGINE else measure(_told)
    return measured


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def _told(word: str) -> None:
    print(word, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
