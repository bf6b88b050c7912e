"""The two streams of the command line: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

out = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)


def say(text: str) -> None:
    """Print plain text, with no markup in it interpreted."""
    out.print(text, markup=False, highlight=False)


def as_json(value: Any) -> None:
    """Print ``value`` as JSON alone, for scripts."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
