"""Rows of several runs side by side: of each machine the newest of every row, ranked together; what was before it."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.vocabulary import Completed, Failed, canonical_json, digest
from results.comparison import Side, Verdict, compare
from results.environments import differences
from results.rank import standings
from results.sources import load, mapping, shortest
from results.words import counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.vocabulary import Cell
    from results.changes import Difference
    from results.row import Interval, Row, Standing, Throughput
    from results.sources import Source

__all__ = ["Earlier", "Merged", "apart", "load", "merged", "own_launch"]

_APART = 1_000_000
"""Between the launch indices of two runs: equal ones ran in one round, and no round is of two runs."""
_OF = "-"
"""Between the id of a variant, a digest, and that of its machine."""

NEVER_PAIRED = (
    "Rows of different runs are compared by Welch’s test: what changed on a machine between its runs is in the "
    "difference, and no pairing takes it out."
)


@dataclass(frozen=True)
class Earlier:
    """What another run on the same machine has of a row that stands on the page."""

    variant_id: str  # of the row that stands
    run_id: str
    stands_run_id: str
    newer: bool  # it came after the run that stands, and measured nothing of the row
    state: str  # completed | failed | skipped
    latency: Interval | None  # nanoseconds
    ratio: Interval | None  # latency of the row that stands / this one; None: not measured in both
    verdict: Verdict | None  # over all rows that two runs measured, at the usual margin
    differences: tuple[Difference, ...]  # from this run's environment to that of the run that stands


@dataclass(frozen=True)
class Merged:
    """Runs as one. Of a single run the rows are what they were; else each says its run, and its machine if several."""

    rows: tuple[Row, ...]
    standings: tuple[Standing, ...]
    sources: tuple[Source, ...]  # oldest first
    earlier: tuple[Earlier, ...] = ()  # in the order of the rows, oldest run first
    notes: tuple[str, ...] = ()  # what a reader must know of putting them together, whole sentences

    @property
    def machines(self) -> tuple[str, ...]:
        """Labels of the machines, in the order of their oldest run."""
        return tuple(dict.fromkeys(source.machine for source in self.sources))

    def source(self, row: Row) -> Source:
        """Return the run that a row is of."""
        return next((source for source in self.sources if source.run_id == row.run_id), self.sources[-1])


def merged(sources: Sequence[Source]) -> Merged:
    """Return the rows of all sources with their standings; ``sources`` as ``results.sources.load`` gives them.

    Of a row that several runs of a machine have, the newest that measured anything of it stands. Variant ids are told
    apart by the machine where there are several, and launch indices by the run, so that nothing is paired across runs.
    A workload that is another model, task or shape in another run has a standing of its own, and a name that says so.
    """
    if len(sources) == 1:
        rows = sources[0].rows
        return Merged(rows, standings(rows), tuple(sources))
    ids = _machine_ids(sources)
    names, notes = _workload_names(sources)
    found: dict[tuple[str, str], list[tuple[Source, Row]]] = defaultdict(list)
    for place, source in enumerate(sources):
        for row in source.rows:
            found[source.machine_id, row.variant_id].append((source, _moved(row, place)))
    chosen = {key: _that_stands(among) for key, among in found.items()}
    rows = tuple(
        replace(
            row,
            variant_id=f"{row.variant_id}{_OF}{ids[source.machine_id]}" if ids else row.variant_id,
            cell=replace(row.cell, workload=names.get((row.cell.workload, _identity(row.cell)), row.cell.workload)),
            machine=source.machine if ids else "",
            run_id=source.run_id,
        )
        for source, row in chosen.values()
    )
    pairs = [
        (shown, source, other)
        for shown, (key, (source, _)) in zip(rows, chosen.items(), strict=True)
        for other in found[key]
        if other[0] is not source
    ]
    if len({row.run_id for row in rows}) > 1:
        notes = (*notes, NEVER_PAIRED)
    return Merged(
        rows, standings(rows), tuple(sources), _earlier(pairs), (*notes, *_other_images(rows), *_other_references(rows))
    )


def own_launch(index: int) -> int:
    """Return the index that a launch has in its own run, of a row that may stand among those of others."""
    return index % _APART


def apart(variant_id: str) -> tuple[str, str]:
    """Return the id that a row has in its own run, and the beginning of its machine's; empty where there is one."""
    own, _, machine = variant_id.partition(_OF)
    return own, machine


def _machine_ids(sources: Sequence[Source]) -> dict[str, str]:
    """Return what is added to the ids of a machine's rows; nothing where there is one machine."""
    keys = sorted({source.machine_id for source in sources})
    return shortest(keys, least=6) if len(keys) > 1 else {}


def _that_stands(among: Sequence[tuple[Source, Row]]) -> tuple[Source, Row]:
    """Return the newest that measured anything; else the newest that completed anything, or the newest."""
    newest_first = among[::-1]
    measured = (pair for pair in newest_first if _measured(pair[1]))
    completed = (pair for pair in newest_first if _state(pair[1]) == "completed")
    return next(measured, None) or next(completed, newest_first[0])


def _measured(row: Row) -> bool:
    """Return whether there is a figure of it: the proof, which comes first, only says what would be measured."""
    return any(isinstance(outcome, Completed) for name, outcome in row.outcomes.items() if name != "prove")


def _state(row: Row) -> str:
    outcomes = row.outcomes.values()
    if any(isinstance(outcome, Completed) for outcome in outcomes):
        return "completed"
    return "failed" if any(isinstance(outcome, Failed) for outcome in outcomes) else "skipped"


# --- rounds ------------------------------------------------------------------------------------------------------


def _moved(row: Row, place: int) -> Row:
    """Return a row whose launches share no index with those of another run."""
    by = place * _APART
    latency, rate, whole = row.latency, row.throughput, row.end_to_end
    return replace(
        row,
        latency=latency
        and replace(latency, launch_indices=_shifted(latency.launch_indices, latency.launch_medians_ns, by)),
        throughput=rate and _at(rate, by),
        throughputs=tuple(_at(each, by) for each in row.throughputs),
        end_to_end=whole and replace(whole, launch_indices=_shifted(whole.launch_indices, whole.launch_medians_ns, by)),
        servers=tuple(
            replace(server, tried=tuple(replace(one, launch=one.launch + by) for one in server.tried))
            for server in row.servers
        ),
    )


def _at(rate: Throughput, by: int) -> Throughput:
    return replace(rate, launch_indices=_shifted(rate.launch_indices, rate.launch_rates, by))


def _shifted(indices: Sequence[int], values: Sequence[float], by: int) -> tuple[int, ...]:
    return tuple(index + by for index in (indices or range(len(values))))


# --- workloads ---------------------------------------------------------------------------------------------------

_Identity = tuple[str, str, tuple[int, ...]]


def _identity(cell: Cell) -> _Identity:
    """Return what a workload is, whatever it is called: the model, the work, the shape of an item."""
    return cell.source_hash, canonical_json(dict(cell.task)), cell.shape


def _workload_names(sources: Sequence[Source]) -> tuple[dict[tuple[str, _Identity], str], tuple[str, ...]]:
    """Return a name for each workload that is not the same in all runs, and what is to be said of it.

    What completed nowhere is no other workload: of a model that could not be read, nothing is known but its name.
    """
    kinds: dict[str, dict[_Identity, list[Source]]] = defaultdict(lambda: defaultdict(list))
    for source in sources:
        for row in source.rows:
            if _state(row) == "completed":
                runs = kinds[row.cell.workload][_identity(row.cell)]
                if source not in runs[-1:]:
                    runs.append(source)
    names, notes = {}, []
    for workload, alike in kinds.items():
        if len(alike) < 2:
            continue
        tells, differing = _told_apart(list(alike))
        for identity, tell in tells.items():
            names[workload, identity] = f"{workload} ({tell})"
        said = "; ".join(f"{tells[identity]} in {_runs(mine)}" for identity, mine in alike.items())
        notes.append(
            f"“{workload}” is not the same in all runs: its {listed(differing)} differs ({said}). "
            "They are shown and ranked apart."
        )
    return names, tuple(notes)


def _told_apart(identities: Sequence[_Identity]) -> tuple[dict[_Identity, str], list[str]]:
    """Return words for each identity, unique among them, and what it is that differs."""
    models = shortest(sorted({source for source, _, _ in identities}), least=6)
    tasks = shortest(sorted({digest(task) for _, task, _ in identities}), least=6)
    parts = {
        "model": [f"model {models[source]}" for source, _, _ in identities],
        "task": [f"task {tasks[digest(task)]}" for _, task, _ in identities],
        "input": ["×".join(map(str, shape)) for _, _, shape in identities],
    }
    differing = [name for name, words in parts.items() if len(set(words)) > 1]
    tells = zip(*(parts[name] for name in differing), strict=True)
    return {identity: ", ".join(words) for identity, words in zip(identities, tells, strict=True)}, differing


def _runs(sources: Sequence[Source]) -> str:
    words = [f"run {source.run_id}" for source in sources[:3]]
    return listed([*words, f"{len(sources) - 3} more"] if len(sources) > 3 else words)


def _other_images(rows: Iterable[Row]) -> list[str]:
    """Return a sentence for each workload whose accuracy was measured on other images in other runs."""
    sets: dict[str, set[str | None]] = defaultdict(set)
    for row in rows:
        if row.accuracy is not None:
            sets[row.cell.workload].add(row.cell.evaluation_hash)
    return [
        f"The accuracy of “{workload}” was measured on {len(hashes)} sets of images: values of different sets are not "
        "comparable, and the frontier holds rows of one set alone."
        for workload, hashes in sets.items()
        if len(hashes) > 1
    ]


def _other_references(rows: Iterable[Row]) -> list[str]:
    """Return a sentence for each workload with rows whose accuracy changed against an FP32 row that does not stand."""
    stand: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for row in rows:
        stand[row.cell.workload, row.machine, row.label].add(row.run_id)
    count = Counter(
        row.cell.workload
        for row in rows
        if row.accuracy is not None
        and row.accuracy.change is not None
        and (runs := stand.get((row.cell.workload, row.machine, row.accuracy.change.reference)))
        and row.run_id not in runs
    )
    return [
        f"The accuracy of {counted(rows_of_it, 'row')} of “{workload}” is compared with an FP32 row of the same run, "
        "of which another run’s stands here: no accuracy is compared across runs."
        for workload, rows_of_it in count.items()
    ]


# --- what was before ---------------------------------------------------------------------------------------------


def _earlier(pairs: Sequence[tuple[Row, Source, tuple[Source, Row]]]) -> tuple[Earlier, ...]:
    """Return what other runs have of the rows that stand; ``pairs``: a row that stands, its run, another run's."""
    medians = {
        str(place): (_side(row), _side(stands))
        for place, (stands, _, (_, row)) in enumerate(pairs)
        if row.latency and stands.latency
    }
    judged = compare(medians) if medians else {}

    @functools.cache
    def apart(before: int, after: int) -> tuple[Difference, ...]:
        return differences(_environment(pairs[before][2][0]), _environment(pairs[after][1]))

    first: dict[tuple[str, str], int] = {}
    found = []
    for place, (stands, source, (other, row)) in enumerate(pairs):
        told = judged.get(str(place))
        same = first.setdefault((other.run_id, source.run_id), place)
        found.append(
            Earlier(
                variant_id=stands.variant_id,
                run_id=other.run_id,
                stands_run_id=source.run_id,
                newer=(other.created_at, other.run_id) > (source.created_at, source.run_id),
                state=_state(row),
                latency=row.latency.host_to_host if row.latency else None,
                ratio=told.effect if told else None,
                verdict=told.verdict if told else None,
                differences=apart(same, same),
            )
        )
    return tuple(found)


def _side(row: Row) -> Side:
    assert row.latency, "only measured rows are compared"
    # Logarithms need more than nothing: what the clock saw no time pass in took at most one tick.
    return Side({place: max(median, 1.0) for place, median in enumerate(row.latency.launch_medians_ns)})


def _environment(source: Source) -> Mapping[str, object]:
    return mapping(mapping(source.manifest.get("host")).get("environment"))
