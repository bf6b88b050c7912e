"""The answer in plain sentences: who is fastest, by how much, at what cost in accuracy, and how far to trust it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.vocabulary import Completed, Failed, Skipped
from reports import units
from reports.glance import TONES, glance
from reports.large import LEADING, led
from reports.model import Figure, Tag, Verdict
from reports.names import TAGS
from reports.text import NAMED, clamp, counted, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.field import Field
    from results.row import Row

_KEEPS = frozenset({"passes", "reference"})
INCIDENTS, FINDINGS = "incidents", "findings"
"""Ids of the parts of the page that say what did not complete, and what did with reservations."""
_MANY = {"fails": "missed"}


def verdict(field: Field) -> Verdict:
    """Return the verdict on one workload."""
    standing = field.standing
    about = _about(next(iter(field.rows.values()))) if field.rows else ""
    table = glance(led(field, LEADING))
    if not standing.best:
        return Verdict(standing.workload, about, "Nothing can be said about speed.", (), (), _nothing(field), table)
    best = list(standing.best)
    return Verdict(
        workload=standing.workload,
        about=about,
        headline=_headline(field),
        leaders=tuple(field.names[variant].index for variant in best),
        figures=tuple(_figures(field)),
        sentences=tuple(_sentences(field)),
        table=table,
    )


def _headline(field: Field) -> str:
    standing = field.standing
    labels = [field.label(variant) for variant in standing.best]
    measured = " measured" if standing.screening else ""
    if len(labels) > NAMED:
        return f"A tie of {len(labels)} rows: {labels[0]} is the fastest on the clock, and they cannot be told apart."
    if len(labels) > 1:
        return f"A tie: {listed(labels)} are the fastest{measured}, and cannot be told apart."
    if not standing.rest:
        return f"{labels[0]} is the only row that could be ranked."
    return f"{labels[0]} is the fastest{measured}."


def _figures(field: Field) -> list[Figure]:
    best = field.standing.best[0]
    figures = [_latency_figure(field, best)]
    baseline = field.baseline
    if baseline is not None and baseline != best:
        figures.append(_ratio_figure(field, baseline, f"as fast as {field.label(baseline)}", "the FP32 baseline"))
    runner_up = next((variant for variant in field.standing.rest if variant != baseline), None)
    if runner_up is not None:
        figures.append(_ratio_figure(field, runner_up, f"as fast as {field.label(runner_up)}", "the next fastest"))
    accuracy = _accuracy_figure(field.rows[best])
    return [*figures, *([accuracy] if accuracy else [])]


def _latency_figure(field: Field, variant: str) -> Figure:
    interval = field.latency(variant)
    assert interval is not None, "a ranked row has a latency"
    scale = units.durations([interval.estimate])
    launches = counted(interval.launches, "launch", "launches")
    bounds = scale.bounds(interval)
    note = f"95 % interval over {launches}" if bounds else f"{launches}: no interval"
    return Figure("median latency, host→host", scale.number(interval.estimate), scale.unit, bounds, note)


def _ratio_figure(field: Field, other: str, label: str, note: str) -> Figure:
    against = field.standing.ratio_to_best.get(other)
    if against is not None:
        return Figure(label, units.significant(against.estimate), "×", units.PLAIN.bounds(against), note)
    mine, theirs = field.latency(field.standing.best[0]), field.latency(other)
    assert mine is not None, "a ranked row has a latency"
    value = units.MISSING if theirs is None else units.significant(theirs.estimate / mine.estimate)
    return Figure(label, value, "×", "", f"{note}; no interval, since it is not ranked")


def _accuracy_figure(row: Row) -> Figure | None:
    accuracy = row.accuracy
    if accuracy is None:
        return None
    metric = metric_name(accuracy.primary)
    images = counted(accuracy.images, "image")
    tone = TONES.get(accuracy.verdict, "plain")
    if accuracy.change is None:
        value = units.fixed(accuracy.metrics.get(accuracy.primary, float("nan")) * 100, 1)
        return Figure(f"{metric}, points", value, "", "", f"{accuracy.verdict}; {images}", tone)
    change, bounds = units.change_in_points(accuracy.change.estimate, accuracy.change.low, accuracy.change.high)
    return Figure(f"{metric} against FP32, points", change, "", bounds, f"{accuracy.verdict}; {images}", tone)


def _sentences(field: Field) -> list[str]:
    standing = field.standing
    sentences = [*_ties(field), _speed_sentence(field), *_accuracies(field), _accurate_enough(field), _left_out(field)]
    sentences += _under_load(field)
    if standing.screening:
        launches = min(interval.launches for interval in map(field.latency, field.rows) if interval)
        each = counted(launches, "launch", "launches")
        sentences.append(f"Screening: {each} a cell; nothing here is a recommendation.")
    return [text for text in sentences if text]


def _under_load(field: Field) -> list[str]:
    """Return which deadlines and SLOs of the suite the leading rows do not hold: speed alone is no answer."""
    sentences = []
    for variant in field.standing.best[:NAMED]:
        row, label = field.rows[variant], field.label(variant)
        for camera in row.cameras:
            if camera.verdict != "holds":
                share, bounds = units.percent(camera.missed)
                within = f"the deadline of {camera.deadline_ms:.4g}\u00a0ms of {clamp(camera.title or 'camera', 60)}"
                sentences.append(
                    f"{label} misses {within} in {share}\u00a0% of the frames (95\u00a0%: {bounds}\u00a0%)."
                )
        for server in row.servers:
            if server.verdict != "meets":
                who = clamp(server.title or "server", 60)
                sentences.append(f"{label} under {who}: {server.verdict}, {clamp(server.message, 160)}.")
    return sentences


def _ties(field: Field) -> list[str]:
    """Return how far apart tied rows are on the clock; the table below the verdict has each."""
    fastest, *others = (interval for variant in field.standing.best if (interval := field.latency(variant)))
    if not others:
        return []
    scale = units.durations([fastest.estimate, others[-1].estimate])
    return [f"Their medians lie from {scale.quantity(fastest.estimate)} to {scale.quantity(others[-1].estimate)}."]


def _accuracies(field: Field) -> list[str]:
    """Return a sentence on the accuracy of each leading row; of many, how many keep it."""
    best = field.standing.best
    if len(best) <= NAMED:
        return [_accuracy_sentence(field, variant) for variant in best]
    verdicts = Counter(accuracy.verdict if (accuracy := field.rows[variant].accuracy) else "" for variant in best)
    kept = sum(verdicts.pop(verdict, 0) for verdict in _KEEPS)
    unknown = verdicts.pop("", 0) + verdicts.pop("not measured", 0)
    told = [f"{kept} kept"] if kept else []
    told += [f"{count} {_MANY.get(verdict, verdict)}" for verdict, count in sorted(verdicts.items())]
    told += [f"{unknown} not measured, and speed alone is no reason to choose"] if unknown else []
    return [f"The accuracy target by these {len(best)} rows: {', '.join(told)}."]


def _speed_sentence(field: Field) -> str:
    best, baseline = field.standing.best[0], field.baseline
    if baseline is None:
        return "No FP32 row was measured, so there is no baseline to compare with."
    if len(field.standing.best) + len(field.standing.rest) == 1:
        return ""
    if baseline in field.standing.best:
        place = "among the fastest" if len(field.standing.best) > 1 else "the fastest itself"
        return f"The FP32 baseline, {field.label(baseline)}, is {place}."
    against = field.standing.ratio_to_best.get(baseline)
    mine, theirs = field.latency(best), field.latency(baseline)
    if against is None or mine is None or theirs is None:
        return ""
    resolved = against.low is not None and against.low > 1
    doubt = "" if resolved else ", though the interval does not exclude that they are equal"
    scale = units.durations([mine.estimate, theirs.estimate])
    return (
        f"It takes {scale.quantity(mine.estimate)} where the FP32 baseline, {field.label(baseline)}, takes "
        f"{scale.quantity(theirs.estimate)}: {units.ratio(against)} as fast{doubt}."
    )


def _accuracy_sentence(field: Field, variant: str) -> str:
    row, label = field.rows[variant], field.label(variant)
    accuracy = row.accuracy
    if accuracy is None:
        return f"The accuracy of {label} was not measured: its speed alone is no reason to choose it."
    metric = metric_name(accuracy.primary)
    if accuracy.change is None:
        if accuracy.verdict == "reference":
            return f"{label} is FP32 itself, the reference for accuracy."
        return f"The accuracy of {label} could not be compared with FP32."
    change, bounds = units.change_in_points(accuracy.change.estimate, accuracy.change.low, accuracy.change.high)
    target = f"the target of {accuracy.target * 100:.4g}\u00a0% of FP32"
    words = {
        "passes": f"it passes {target}",
        "fails": f"it fails {target}",
        "undecided": f"whether it meets {target} is undecided on {counted(accuracy.images, 'image')}",
    }
    outcome = words.get(accuracy.verdict, accuracy.verdict)
    return f"{metric} of {label} changes by {change} points {bounds} against FP32: {outcome}."


def _accurate_enough(field: Field) -> str:
    """Name the fastest row that surely keeps its accuracy, where the fastest of all does not."""
    standing = field.standing
    if any(_keeps(field.rows[variant]) for variant in standing.best):
        return ""
    keeper = next((variant for variant in standing.rest if _keeps(field.rows[variant])), None)
    if keeper is None:
        return "No ranked row is shown to keep the accuracy target." if _any_accuracy(field) else ""
    interval = field.latency(keeper)
    behind = standing.ratio_to_best.get(keeper)
    slower = f", {units.ratio(behind)} the latency of the fastest" if behind else ""
    taking = units.duration(interval.estimate if interval else None)
    return f"The fastest row shown to keep the accuracy target is {field.label(keeper)} at {taking}{slower}."


def _left_out(field: Field) -> str:
    """Name what was faster on the clock and yet not ranked, with the reason: the reader would see it anyway."""
    best = field.latency(field.standing.best[0])
    faster = []
    for variant in field.standing.excluded:
        interval = field.latency(variant)
        if best is None or interval is None or interval.estimate >= best.estimate:
            continue
        reasons = [finding.message for finding in field.rows[variant].findings if finding.unranked]
        why = clamp(reasons[0], 160) if reasons else "too few launches"
        faster.append(f"{field.label(variant)} at {units.duration(interval.estimate)} ({why})")
    return f"Faster on the clock, but not ranked: {listed(faster)}." if faster else ""


def _keeps(row: Row) -> bool:
    return row.accuracy is not None and row.accuracy.verdict in _KEEPS


def _any_accuracy(field: Field) -> bool:
    return any(row.accuracy for row in field.rows.values())


def _nothing(field: Field) -> tuple[str, ...]:
    measured = [variant for variant, row in field.rows.items() if row.latency]
    if not measured:
        return ("No row of this workload completed a latency measurement; every reason is under Coverage.",)
    excluded = listed([field.label(variant) for variant in measured])
    return (f"{excluded} ran, but not as asked, and cannot be ranked; the reasons are under Coverage.",)


def _about(row: Row) -> str:
    task = str(row.cell.task.get("name", ""))
    shape = "×".join(str(size) for size in row.cell.shape)
    return " · ".join(word for word in (task, shape) if word)


def metric_name(key: str) -> str:
    """Return a metric's key as readers write it."""
    known = {"top1": "top-1", "top5": "top-5", "map50_95": "mAP50-95", "map50": "mAP50"}
    return known.get(key, key)


def caveats(rows: Sequence[Row]) -> tuple[Tag, ...]:
    """Return how many cells ended how, and how many rows carry each finding: what to know before believing."""
    outcomes = [outcome for row in rows for outcome in row.outcomes.values()]
    failed = sum(isinstance(outcome, Failed) for outcome in outcomes)
    skipped = sum(isinstance(outcome, Skipped) for outcome in outcomes)
    completed = sum(isinstance(outcome, Completed) for outcome in outcomes)
    tags = [
        Tag(
            f"{completed:,} of {counted(len(outcomes), 'cell')} completed",
            "good" if completed else "bad",
            target="coverage",
        )
    ]
    if failed:
        tags.append(Tag(f"{failed:,} failed", "bad", target=INCIDENTS))
    if skipped:
        tags.append(Tag(f"{skipped:,} skipped", "plain", target=INCIDENTS))
    kinds = Counter(kind for row in rows for kind in {finding.kind for finding in row.findings})
    words = {
        "fell-back": "fell back to another device",
        "other-precision": "ran at another precision",
        "accuracy": "missed the accuracy target",
        "overlap": "calibrated on evaluation images",
        "noisy": "noisy",
        "unsteady": "unsteady",
        "emulated": "emulated",
        "unproven": "unproven",
        "screening": "only screening",
    }
    for kind, phrase in words.items():
        if kinds[kind]:
            target = "coverage" if kind == "screening" else FINDINGS
            tags.append(Tag(f"{counted(kinds[kind], 'row')} {phrase}", TAGS[kind].tone, target=target))
    return tuple(tags)
