"""What each row is called and how it is drawn: label, colour by engine and machine, marker by precision."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.vocabulary import Completed, Failed, Skipped
from reports.field import standing_of
from reports.model import RowName, Tag
from reports.text import clamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.vocabulary import Cell, Finding
    from results.row import Row, Standing

SERIES = 10
"""Colours in the palette; an eleventh engine or machine repeats the first, and its label tells them apart."""

_SHAPES = {"fp32": "circle", "fp16": "square", "bf16": "diamond", "int8": "triangle"}
_LONGEST = 60  # characters of a label
_ALIAS = 32  # characters of what a label calls a machine
_DOUBTS = frozenset({"noisy", "unsteady"})
TAGS = {
    "fell-back": Tag("fell back", "bad"),
    "other-precision": Tag("other precision", "bad"),
    "accuracy": Tag("misses accuracy", "bad"),
    "overlap": Tag("data overlap", "bad"),
    "launches-failed": Tag("launches failed", "warn"),
    "noisy": Tag("noisy", "warn"),
    "unsteady": Tag("unsteady", "warn"),
    "throttled": Tag("throttled", "warn"),
    "oversubscribed": Tag("oversubscribed", "warn"),
    "leak": Tag("memory grows", "warn"),
    "emulated": Tag("emulated", "warn"),
    "unproven": Tag("unproven", "warn"),
    "accuracy-undecided": Tag("accuracy undecided", "warn"),
    "accuracy-unknown": Tag("accuracy unknown", "warn"),
    "other-threads": Tag("other threads", "warn"),
    "overhead": Tag("overhead", "warn"),
    "screening": Tag("screening"),
}
"""Findings that have a word of their own; any other is called by its kind."""

# What may tell the rows of a workload apart beside engine and precision, each as a word of the label.
_DISTINCTIONS: tuple[Callable[[Cell], str], ...] = (
    lambda cell: cell.device,
    lambda cell: f"b{cell.batch}",
    lambda cell: "" if cell.threads is None else f"t{cell.threads}",
    lambda cell: "" if cell.environment == "default" else f"@{cell.environment}",
    lambda cell: "" if cell.configuration == "default" else f"+{cell.configuration}",
    # What a configuration sets is told by its name.
    lambda cell: (
        " ".join(f"{key}={value}" for key, value in sorted(cell.options.items()))
        if cell.configuration == "default"
        else ""
    ),
)


def ordered(rows: Sequence[Row], standings: Sequence[Standing]) -> list[Row]:
    """Return rows by workload (in the order of the standings), fastest first, those without a latency last."""
    belongs = standing_of(rows, standings)
    place = {standing.workload: index for index, standing in enumerate(standings)}

    def key(row: Row) -> tuple[int, str, bool, float, str, str]:
        latency = row.latency.host_to_host.estimate if row.latency else 0.0
        workload = belongs[row.variant_id].workload
        return place.get(workload, len(place)), workload, row.latency is None, latency, row.label, row.variant_id

    return sorted(rows, key=key)


def named(rows: Sequence[Row], standings: Sequence[Standing]) -> tuple[RowName, ...]:
    """Return a name for each of ``rows``, in their order, indexed by it."""
    belongs = standing_of(rows, standings)
    workloads = [belongs[row.variant_id].workload for row in rows]
    drawn_alike = sorted({(row.cell.engine, row.machine) for row in rows})
    series = {alike: index % SERIES for index, alike in enumerate(drawn_alike)}
    labels = _labels(rows, workloads)
    return tuple(
        RowName(
            index=index,
            variant_id=row.variant_id,
            workload=workloads[index],
            label=labels[index],
            engine=row.cell.engine,
            precision=str(row.cell.precision),
            device=row.cell.device,
            series=series[row.cell.engine, row.machine],
            shape=_SHAPES.get(str(row.cell.precision), "plus"),
            state=state(row),
            doubted=doubted(row),
            tags=tuple(_tag(finding) for finding in row.findings),
            machine=row.machine,
        )
        for index, row in enumerate(rows)
    )


def state(row: Row) -> str:
    """Return the state of a row: failed, partial, skipped, set aside or completed."""
    outcomes = list(row.outcomes.values())
    completed = any(isinstance(outcome, Completed) for outcome in outcomes)
    if any(isinstance(outcome, Failed) for outcome in outcomes):
        return "partial" if completed else "failed"
    if outcomes and all(isinstance(outcome, Skipped) for outcome in outcomes):
        return "skipped"
    return "set aside" if any(finding.unranked for finding in row.findings) else "completed"


def doubted(row: Row) -> bool:
    """Return whether the row's figures deserve less trust than the others': drawn hollow."""
    return any(finding.unranked or finding.kind in _DOUBTS for finding in row.findings)


def _tag(finding: Finding) -> Tag:
    words = clamp(finding.kind.replace("-", " "), 30)
    known = TAGS.get(finding.kind, Tag(words, "bad" if finding.unranked else "plain"))
    return replace(known, detail=finding.message)


def _labels(rows: Sequence[Row], workloads: Sequence[str]) -> list[str]:
    """Return labels that are unique within their workload, also where they are cut."""
    members = defaultdict(list)
    for index, workload in enumerate(workloads):
        members[workload].append(index)
    aliases = _aliases(sorted({row.machine for row in rows}))
    labels = [""] * len(rows)
    for indices in members.values():
        varying = [tell for tell in _DISTINCTIONS if len({tell(rows[index].cell) for index in indices}) > 1]
        several = len({rows[index].machine for index in indices}) > 1
        for index in indices:
            cell = rows[index].cell
            words = [cell.engine, str(cell.precision), *(tell(cell) for tell in varying)]
            if several:
                words.append(f"on {aliases[rows[index].machine]}")
            labels[index] = clamp(" ".join(word for word in words if word), _LONGEST)
        twice = {label for label, times in Counter(labels[index] for index in indices).items() if times > 1}
        for index in indices:
            if labels[index] in twice:
                told = f" #{_short_id(rows[index].variant_id)}"
                labels[index] = clamp(labels[index], _LONGEST - len(told)) + told
    return labels


def _short_id(variant_id: str) -> str:
    """Return the beginning of an id, and of the machine's that may follow it."""
    variant, _, machine = variant_id.partition("-")
    return f"{variant[:6]}-{machine[:4]}" if machine else variant[:6]


def _aliases(machines: Sequence[str]) -> dict[str, str]:
    """Return a short word for each machine: its processor, where no other has the same, else more of its label."""
    processors = [machine.split(", ", 1)[0] for machine in machines]
    words = processors if len(set(processors)) == len(machines) else machines
    short = [clamp(word, _ALIAS) for word in words]
    times = Counter(short)
    return {
        machine: word if times[word] == 1 else f"{word} ({place})"
        for place, (machine, word) in enumerate(zip(machines, short, strict=True), start=1)
    }
