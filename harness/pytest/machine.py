"""The machine as pytest-benchmark stores it: our fingerprint, and why figures of another are not compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.host import environment, hardware, short_id
from results.environments import differences
from results.formats.pytest_benchmark import machine_info

if TYPE_CHECKING:
    from collections.abc import Mapping


def described() -> dict[str, Any]:
    """Return what is known of this machine, with no host name in it."""
    machine = hardware()
    found = machine_info(short_id(machine), "", machine, environment({}))
    # It holds the revision of the suite's repository: each commit would look like another machine.
    del found["env_id"]
    return found


def refusal(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return why two machines are not compared, with the facts that differ; nothing where they are alike.

    A file that holds no fingerprint of ours is left to pytest-benchmark, which warns.
    """
    then, now = before.get("cpu"), after.get("cpu")
    if not isinstance(then, dict) or not isinstance(now, dict) or "topology" not in then:
        return ""
    found = differences(then, now)
    if not found:
        return ""
    listed = ", ".join(f"{each.place} ({each.before} → {each.after})" for each in found[:4])
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    hint = "compare with figures of this machine, or give --benchmark-compare the number of another file"
    return f"not compared, the hardware differs: {listed}{more}\n  hint: {hint}"
