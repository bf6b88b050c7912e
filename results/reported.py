"""Whether the line that a report carries of a row says what the records give."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.vocabulary import digest
from results import recomputed, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from results.row import Row

_COMPARED_OTHERWISE = frozenset({"latency_ms", "certificate", "certificate_sha256", "findings"})
"""Columns of a report that are not simply equal to those made now."""


def line_differences(row: Row, line: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a line of a report says and the records do not; a column that only one of them has says nothing."""
    if line.get("certificate") is not None and digest(line["certificate"]) != line.get("certificate_sha256"):
        yield "has another certificate than the one that its digest is of"
    now = json.loads(table.to_json([row]))[0]
    held = now["certificate_sha256"]
    if line.get("certificate_sha256", held) != held:
        found = held[:12] if held else "none"
        yield f"names the certificate {str(line['certificate_sha256'])[:12]}, the records give {found}"
    found_ms = recomputed.geometric_mean(row.latency.launch_medians_ns) / 1e6 if row.latency else None
    if not _same(line.get("latency_ms"), found_ms):
        yield f"says {line.get('latency_ms')} ms, the samples {found_ms}"
    for name, value in now.items():
        if name == "workload" and _told_apart(line, value):
            continue
        if name in line and name not in _COMPARED_OTHERWISE and not _same(line[name], value):
            yield f"says {name} {line[name]}, the records give {value}"
    # By their kinds alone: another version may have other words.
    kinds = dict.fromkeys(finding.kind for finding in row.findings)
    yield from (f"does not say {kind}" for kind in kinds if f"{kind}: " not in str(line.get("findings")))


def _told_apart(line: Mapping[str, Any], workload: str) -> bool:
    """Whether a line among those of other runs calls a workload by more than its name, see ``results.merged``."""
    said = str(line.get("workload"))
    return "run_id" in line and said.startswith(f"{workload} (") and said.endswith(")")


def _same(said: object, found: object) -> bool:
    if isinstance(said, bool) or isinstance(found, bool) or not isinstance(said, int | float):
        return said == found
    return isinstance(found, int | float) and recomputed.alike(float(said), float(found))
