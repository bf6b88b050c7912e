"""The command line: the composition root, the only place that knows every layer, and the only ``sys.exit``."""

from __future__ import annotations

import sys

from harness.cli.app import invoke


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(invoke(sys.argv[1:]))
