"""What a reader must know about a row: pure functions of what was asked, what ran, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import proof
from harness.scenarios import KINDS
from harness.vocabulary import Failed, Finding, Level, Skipped, State, Unknowable
from results.scenarios.energy import throttled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from results.launches import CellHistory
    from results.row import Row

MINIMUM_LAUNCHES = 5
"""Below this a row is shown as ``screening``: no rank, no recommendation."""
MINIMUM_INPUTS = 64
"""Fewer different inputs measure the cache."""
OVERHEAD_SHARE = 0.01
"""Share of the latency that the harness itself may take."""


@dataclass(frozen=True)
class Evidence:
    """A row without findings, and what else they are made of."""

    row: Row
    level: Level = Level.NATIVE
    histories: tuple[CellHistory, ...] = ()  # of every cell of the variant
    overhead_ns: float | None = None  # of the harness, per iteration of one stream
    random_inputs: bool = False  # drawn, since the workload has no images
    calibration_overlap: int = 0  # images that both calibrate and evaluate


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """Return every finding on a row, what bars it from the ranking first."""
    found = [finding for check in CHECKS for finding in check(evidence)]
    return tuple(sorted(found, key=lambda finding: not finding.unranked))


def _placement(evidence: Evidence) -> Iterator[Finding]:
    execution, cell = evidence.row.execution, evidence.row.cell
    if execution is None:
        return
    off = False
    for difference in proof.differences(execution, cell.device, cell.precision):
        off = off or difference.kind == "fell-back"
        yield Finding(difference.kind, difference.message, unranked=True)
    nodes = execution.nodes_by_device
    if off or isinstance(nodes, Unknowable):
        return
    away = sum(count for name, count in nodes.items() if not proof.on_device(name, cell.device))
    if away:
        yield Finding("partial", f"{away} of {sum(nodes.values())} nodes ran elsewhere than on {cell.device}")


def _precision(evidence: Evidence) -> Iterator[Finding]:
    execution, asked = evidence.row.execution, evidence.row.cell.precision.value
    if execution is None or isinstance(execution.macs_by_precision, Unknowable):
        return
    shares = execution.macs_by_precision
    others = {name: share for name, share in shares.items() if name != asked and share > 0}
    if others and shares.get(asked, 0.0) >= proof.MAC_SHARE:
        listed = ", ".join(f"{share:.1%} at {name}" for name, share in sorted(others.items()))
        yield Finding("partial", f"of the multiply-accumulates {listed} instead of {asked}")


def _proof(evidence: Evidence) -> Iterator[Finding]:
    row = evidence.row
    if not row.timed:
        return
    if row.execution is None:
        outcome = row.outcomes.get("prove")
        why = "the suite asks for no prove scenario" if outcome is None else "its prove launch gave no record of it"
        yield Finding("unproven", f"what the engine executed is not proven: {why}")
        return
    for what, fact in (("device", row.execution.macs_by_device), ("precision", row.execution.macs_by_precision)):
        if isinstance(fact, Unknowable):
            yield Finding("unproven", f"the {what} that the work ran at is not proven: {fact.reason}")
        elif not fact:
            yield Finding("unproven", f"no Conv, MatMul or Gemm to tell the {what} by")


def _threads(evidence: Evidence) -> Iterator[Finding]:
    execution, cell = evidence.row.execution, evidence.row.cell
    if execution is None or isinstance(execution.threads, Unknowable):
        return
    if cell.threads is not None and execution.threads != cell.threads:
        yield Finding("other-threads", f"ran with {execution.threads} threads, {cell.threads} were asked")
    kept = cell.scenario.parameters.get("cpus") or ()
    if kept and execution.threads > len(kept):
        message = f"{execution.threads} threads on {len(kept)} processors: they wait for each other"
        yield Finding("oversubscribed", message)


def _emulated(evidence: Evidence) -> Iterator[Finding]:
    if evidence.level is Level.EMULATED:
        cell = evidence.row.cell
        yield Finding("emulated", f"{cell.precision.value} is emulated on {cell.device}, by casts or in software")


def _noise(evidence: Evidence) -> Iterator[Finding]:
    for history in _timed(evidence):
        bad = [{n for n, r in record.noise.items() if r.state is State.BAD} for record in history.completed]
        noisy = sum(bool(names) for names in bad)
        if noisy:
            names = ", ".join(sorted(set().union(*bad))).replace("_", " ")
            message = f"{noisy} of {len(bad)} {_scenario(history)} launches were noisy: {names}"
            yield Finding("noisy", message)


def _throttling(evidence: Evidence) -> Iterator[Finding]:
    for history in _timed(evidence):
        seen = throttled(history.completed)
        if seen:
            count = len({each.launch for each in seen})
            causes = "; ".join(dict.fromkeys(each.cause for each in seen))
            message = f"{count} of {len(history.completed)} {_scenario(history)} launches were throttled: {causes}"
            yield Finding("throttled", message)


def _sensors(evidence: Evidence) -> Iterator[Finding]:
    for history in _timed(evidence):
        reasons = [record.unsampled for record in history.completed if record.unsampled]
        if reasons:
            which = f"{len(reasons)} of {len(history.completed)} {_scenario(history)} launches"
            yield Finding("unsampled", f"no sensor was read beside {which}: {'; '.join(dict.fromkeys(reasons))}")


def _steadiness(evidence: Evidence) -> Iterator[Finding]:
    for history in _timed(evidence):
        count = sum(launch.unsteady for launch in history.measured)
        if count:
            message = f"{count} of {len(history.measured)} {_scenario(history)} launches became over 3 % slower"
            yield Finding("unsteady", message)


def _replication(evidence: Evidence) -> Iterator[Finding]:
    latency = evidence.row.latency
    if latency is not None and latency.host_to_host.launches < MINIMUM_LAUNCHES:
        count = latency.host_to_host.launches
        yield Finding("screening", f"{count} launches, {MINIMUM_LAUNCHES} are needed for a recommendation")
    elif latency is None:
        for history in _timed(evidence):
            count = len(history.measured)
            if KINDS[_scenario(history)].replicated and count < MINIMUM_LAUNCHES:
                words = f"{count} {_scenario(history)} launches, {MINIMUM_LAUNCHES} are needed for a recommendation"
                yield Finding("screening", words)
    for history in evidence.histories:
        total = max(history.planned.launches, len(history.records) + history.lost)
        done = len(history.completed)
        if not done:
            continue  # the outcome says it all
        if history.failed:
            message = f"{history.failed} of {total} {_scenario(history)} launches failed"
            yield Finding("launches-failed", message)
        missing = total - done - history.failed
        if missing > 0:
            yield Finding("incomplete", f"{missing} of {total} {_scenario(history)} launches were not run")
        if history.retried:
            yield Finding("retried", f"{history.retried} of {total} {_scenario(history)} launches were retried")


def _growth(evidence: Evidence) -> Iterator[Finding]:
    growth = evidence.row.growth
    if growth is not None and growth.leaks:
        found = growth.bytes_per_inference
        bounds = "" if found.low is None or found.high is None else f" [{found.low:,.0f}, {found.high:,.0f}]"
        message = f"memory grows by {found.estimate:,.0f}{bounds} bytes with every inference"
        yield Finding("leak", f"{message}, over {growth.inferences:,}")


def _overlap(evidence: Evidence) -> Iterator[Finding]:
    count = evidence.calibration_overlap
    if count and evidence.row.cell.calibration_hash is not None:
        message = f"{count} images were used both to calibrate and to evaluate: the accuracy flatters"
        yield Finding("overlap", message, unranked=True)


def _accuracy(evidence: Evidence) -> Iterator[Finding]:
    result = evidence.row.accuracy
    if result is None:
        outcome = evidence.row.outcomes.get("accuracy")
        # A row with nothing measured makes no claim that its accuracy should stand behind.
        if isinstance(outcome, Failed | Skipped) and evidence.row.latency is not None:
            why = outcome.message if isinstance(outcome, Failed) else outcome.reason
            yield Finding("accuracy-unknown", f"its accuracy was not measured: {why}")
        return
    if result.verdict == "not measured":
        yield Finding("accuracy-unknown", result.notes[-1] if result.notes else "the change was not measured")
    if result.change is None or result.verdict not in {"fails", "undecided"}:
        return
    change = result.change
    points = f"{100 * change.estimate:+.1f} points [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    goal = f"{result.target:.0%} of {result.primary} of {change.reference}"
    if result.verdict == "fails":
        yield Finding("accuracy", f"{points}: misses {goal}", unranked=True)
    else:
        yield Finding("accuracy-undecided", f"{points} on {change.images} images do not settle {goal}")


def _overhead(evidence: Evidence) -> Iterator[Finding]:
    latency, overhead_ns = evidence.row.latency, evidence.overhead_ns
    if latency is None or overhead_ns is None:
        return
    share = overhead_ns / latency.host_to_host.estimate
    if share > OVERHEAD_SHARE:
        yield Finding("overhead", f"the harness itself takes {share:.1%} of the latency ({overhead_ns:.0f} ns)")


def _inputs(evidence: Evidence) -> Iterator[Finding]:
    if evidence.random_inputs:
        message = "random inputs: post-processing and data-dependent work are not those of real images"
        yield Finding("random-inputs", message)
    counts = [record.inputs_count for history in _timed(evidence) for record in history.completed]
    if counts and 0 < min(counts) < MINIMUM_INPUTS:
        message = f"{min(counts)} inputs in rotation, fewer than {MINIMUM_INPUTS}: caches are warmer than in use"
        yield Finding("few-inputs", message)


def _timed(evidence: Evidence) -> Iterator[CellHistory]:
    return (history for history in evidence.histories if history.measured)


def _scenario(history: CellHistory) -> str:
    return history.planned.cell.scenario.name


CHECKS: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    _placement,
    _precision,
    _overlap,
    _accuracy,
    _proof,
    _threads,
    _emulated,
    _replication,
    _noise,
    _throttling,
    _sensors,
    _steadiness,
    _growth,
    _overhead,
    _inputs,
)
