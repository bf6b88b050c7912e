"""What every pytest imports where the harness is installed: a few options, and whether a suite is named at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_MAXIMUM_CHARACTERS = 256 * 1024
_SUFFIXES = frozenset({".yaml", ".yml"})
# Keys at the top of the document, in block style or in flow style. No parser is loaded for files of others.
_KEYS = tuple(re.compile(rf"""(?m)(?:^|[{{,]\s*)["']?{key}["']?\s*:""") for key in ("version", "workloads"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; they mean something only where a suite is named."""
    group = parser.getgroup("harness", "inference harness (pytest SUITE.yaml)")
    group.addoption("--harness-runs", metavar="DIR", default="runs", help="Folder that runs are kept in.")
    group.addoption(
        "--harness-baseline",
        metavar="WHICH",
        default=None,
        help="Hold each cell by the suite's `gate` to `baseline`, that of the suite on this hardware; to the name of "
        "another; or to a run.",
    )
    group.addoption(
        "--harness-baselines", metavar="DIR", default="baselines", help="Folder that baselines are kept in."
    )
    group.addoption(
        "--harness-set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="Set a value of the suite, such as matrix.batch=[1,8]. Repeatable.",
    )
    group.addoption("--harness-preset", metavar="NAME", default=None, help="quick, default or publish.")
    group.addoption(
        "--harness-strict", action="store_true", help="What cannot run here, or cannot be judged, fails its test."
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Load the rest where a suite is named; refuse to measure in several processes at once."""
    if not any(is_suite(path_of(argument, config.invocation_params.dir)) for argument in config.args):
        return
    distributed = getattr(config.option, "dist", "no") != "no" and getattr(config.option, "tx", None)
    if distributed and not config.option.collectonly:
        raise pytest.UsageError(
            "a suite is not measured by several workers of pytest-xdist: on one machine they would measure each other\n"
            "  hint: leave -n away, or add -n0; the harness gives every launch a process of its own"
        )
    # Imported here: a session without a suite pays nothing.
    from harness.pytest.session import Suites  # noqa: PLC0415

    config.pluginmanager.register(Suites(config, is_suite), "harness-suites")


def path_of(argument: str, folder: Path) -> Path:
    """Return the file of an argument such as ``suite.yaml::a/cell``."""
    return folder / argument.partition("::")[0]


def is_suite(path: Path) -> bool:
    """Whether a file is a suite, by its name and by two keys that every suite has; it need not be a valid one."""
    if path.suffix not in _SUFFIXES:
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            text = file.read(_MAXIMUM_CHARACTERS)
    except OSError:
        return False
    return all(key.search(text) for key in _KEYS)
