"""The command line: the composition root, the only place that knows every layer, and the only ``sys.exit``."""

from __future__ import annotations

import io
import sys

from harness.cli.app import invoke


def main() -> None:
    """Run the command line and leave with its exit code. What a terminal cannot show is escaped, and ends nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is from the start
    sys.exit(invoke(sys.argv[1:]))
