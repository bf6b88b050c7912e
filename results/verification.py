"""Whether a stored run still says what its rows say: every part read again, every figure made again another way."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from harness import proof
from harness.codec import encode
from harness.errors import HarnessError
from harness.vocabulary import Completed, State, Unknowable
from results import recomputed
from results.journal import Journal
from results.reported import line_differences
from results.store import JOURNAL
from results.visible import compared, visible_differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np

    from harness.measure.samples import Samples
    from harness.vocabulary import Artifact, Record, SamplesRef
    from results.published import Published
    from results.row import Row
    from results.store import RunStore

_SHOWN = 3
"""Differences of one kind that are told one by one."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked again. ``unavailable``: it could not be, for the reason in ``detail``."""

    name: str
    state: State
    detail: str = ""


@dataclass(frozen=True)
class Verification:
    """All that was checked of one row."""

    row: Row
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that found a difference."""
        return tuple(check for check in self.checks if check.state is State.BAD)


@dataclass(frozen=True)
class Subject:
    """A row, its records, and where to look for what they name."""

    row: Row
    records: tuple[Record, ...]  # of all its launches, whatever became of them
    store: RunStore
    disorder: Mapping[str, Sequence[str]]  # by cell id: what the order of the journal's lines says against it
    published: Published | None
    cached: Callable[[str], tuple[str, ...]]

    @property
    def completed(self) -> tuple[Record, ...]:
        """The launches that completed."""
        return tuple(record for record in self.records if isinstance(record.outcome, Completed))

    @property
    def proof(self) -> Record | None:
        """The launch that read back what executed."""
        return next((record for record in reversed(self.completed) if record.execution is not None), None)


def verify(
    store: RunStore, rows: Sequence[Row], published: Published | None, cached: Callable[[str], tuple[str, ...]]
) -> tuple[Verification, ...]:
    """Check rows of a run again, those without a completed launch left out.

    ``cached``: the content hash of an artifact → the hashes, computed now, of what the cache keeps under that name.
    """
    records: dict[str, list[Record]] = defaultdict(list)
    for record in store.records():
        records[record.variant_id].append(record)
    disorder = _disorder(store)
    found = []
    for row in rows:
        subject = Subject(row, tuple(records[row.variant_id]), store, disorder, published, cached)
        if subject.completed:
            found.append(Verification(row, tuple(check(subject) for check in CHECKS)))
    return tuple(found)


def _check(name: str, differences: Iterable[str], untold: str = "") -> Check:
    """Return a failed check where there are differences, else ``unavailable`` where ``untold`` says why, else ok."""
    told = list(dict.fromkeys(differences))
    if told:
        more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        return Check(name, State.BAD, "; ".join(told[:_SHOWN]) + more)
    return Check(name, State.UNAVAILABLE, untold) if untold else Check(name, State.OK)


def _called(record: Record) -> str:
    again = f", attempt {record.launch.attempt + 1}" if record.launch.attempt else ""
    return f"{record.cell.scenario.name} #{record.launch.index}{again}"


# --- the records and their files ---------------------------------------------------------------------------------


def _disorder(store: RunStore) -> dict[str, list[str]]:
    """Return, by cell id, the ends of launches that stand before their beginnings: lines that were moved."""
    journal = Journal(store.folder / JOURNAL)
    journal.refresh()
    begun: set[tuple[str, int, int]] = set()
    found: dict[str, list[str]] = defaultdict(list)
    for entry in journal.entries:
        ended = "finished" in entry.payload
        body = entry.payload.get("finished") or entry.payload.get("started")
        if not isinstance(body, dict) or not isinstance(body.get("launch"), dict):
            continue  # told by the store as damage
        launch, cell_id = body["launch"], str(body.get("cell_id", ""))
        key = (cell_id, launch.get("index", 0), launch.get("attempt", 0))
        if not ended:
            begun.add(key)
        elif key not in begun and not body.get("supersedes"):
            found[cell_id].append(f"{JOURNAL}:{entry.number} ends a launch that had not begun")
    return found


def _records(subject: Subject) -> Check:
    return _check("records", _record_differences(subject))


def _record_differences(subject: Subject) -> Iterator[str]:
    hw_id = subject.store.manifest.get("host", {}).get("hw_id")
    for record in subject.records:
        if (record.cell_id, record.variant_id) != (record.cell.cell_id, record.cell.variant_id):
            yield f"the record of {_called(record)} describes another cell than its id names"
        if record.run_id != subject.store.run_id:
            yield f"the record of {_called(record)} is of run {record.run_id}"
        if hw_id is not None and record.hw_id != hw_id:
            yield f"the record of {_called(record)} is of other hardware than the run"
    names = Counter((r.cell_id, r.launch.index, r.launch.attempt) for r in subject.records)
    for record in subject.records:
        if names[record.cell_id, record.launch.index, record.launch.attempt] > 1:
            yield f"{_called(record)} has several records"
    for cell_id in dict.fromkeys(record.cell_id for record in subject.records):
        yield from subject.disorder.get(cell_id, ())
    # By name: a scenario may bring a package of its own, such as LoadGen, that the others do without.
    versions: dict[str, set[str]] = defaultdict(set)
    for record in subject.completed:
        for name, version in record.versions.items():
            versions[name].add(version)
    differing = sorted(name for name, found in versions.items() if len(found) > 1)
    if differing:
        yield f"its launches ran different versions of {', '.join(differing)}"


def _files(subject: Subject) -> Check:
    return _check("files", _file_differences(subject))


def _file_differences(subject: Subject) -> Iterator[str]:
    owners: dict[str, Record] = {}
    for record in subject.records:
        for ref in _references(record):
            if ref.path in owners:
                yield f"{ref.path} is named by {_called(owners[ref.path])} and {_called(record)}"
            owners[ref.path] = record
            if not _belongs(record, ref):
                yield f"the record of {_called(record)} names {ref.path}, which is of another launch"
            try:
                held = _rows_held(subject, record, ref)
            except HarnessError as error:
                yield error.message
                continue
            if held != ref.rows:
                yield f"{ref.path} holds {held} rows, its record says {ref.rows}"


def _references(record: Record) -> tuple[SamplesRef, ...]:
    per_image = record.accuracy.per_image if record.accuracy is not None else None
    return tuple(ref for ref in (record.samples, per_image, record.telemetry) if ref is not None)


def _rows_held(subject: Subject, record: Record, ref: SamplesRef) -> int:
    """Return how many rows a file holds: samples, times of the sensors, or images. Raises ``HarnessError``."""
    if ref is record.samples:
        return len(subject.store.samples(ref))
    arrays = subject.store.arrays(ref)
    return len(arrays.get("time_ns", ())) if ref is record.telemetry else len(arrays)


def _belongs(record: Record, ref: SamplesRef) -> bool:
    """Return whether a file bears the name of its launch: ``<beginning of the cell id>-<index>-<attempt>``."""
    cell, _, launch = PurePosixPath(ref.path).stem.partition("-")
    return bool(cell) and record.cell_id.startswith(cell) and launch == f"{record.launch.index}-{record.launch.attempt}"


# --- the figures -------------------------------------------------------------------------------------------------


def _numbers(subject: Subject) -> Check:
    return _check("numbers", _number_differences(subject))


def _number_differences(subject: Subject) -> Iterator[str]:
    for record in subject.completed:
        samples, facts = _samples(subject, record), _facts(subject, record)
        said: list[str] = []
        if samples is not None:
            thinned = record.cell.scenario.name == "soak"
            said += recomputed.timing_differences(record.timing, samples, thinned=thinned)
            said += _median_differences(subject, record, samples)
        if facts is not None and record.accuracy is not None:
            said += recomputed.accuracy_differences(record.accuracy, facts)
        yield from (f"the record of {_called(record)} {words}" for words in said)
    latency = subject.row.latency
    if latency is not None:
        mean_ns = recomputed.geometric_mean(latency.launch_medians_ns)
        if not recomputed.alike(latency.host_to_host.estimate, mean_ns):
            yield "the latency of the row is not the geometric mean of its launches"


def _median_differences(subject: Subject, record: Record, samples: Samples) -> Iterator[str]:
    row = subject.row
    if row.latency is None or record.cell_id != row.cell_ids.get("latency"):
        return
    same = (r for r in subject.completed if (r.cell_id, r.launch.index) == (record.cell_id, record.launch.index))
    if record.launch.attempt != max(each.launch.attempt for each in same):
        return  # it was repeated for noise, and does not count
    shown = dict(zip(row.latency.launch_indices, row.latency.launch_medians_ns, strict=True))
    median_ns = recomputed.median_ns(samples)
    if not recomputed.alike(shown.get(record.launch.index), median_ns):
        yield f"has samples of the median {median_ns:,.0f} ns, which is not that of the row"


def _samples(subject: Subject, record: Record) -> Samples | None:
    try:
        return subject.store.samples(record.samples) if record.samples is not None else None
    except HarnessError:  # said by the check of the files
        return None


def _facts(subject: Subject, record: Record) -> dict[str, np.ndarray] | None:
    per_image = record.accuracy.per_image if record.accuracy is not None else None
    try:
        return subject.store.arrays(per_image) if per_image is not None else None
    except HarnessError:  # as above
        return None


# --- the work ----------------------------------------------------------------------------------------------------


def _artifact(subject: Subject) -> Check:
    return _check("artifact", _artifact_differences(subject))


def _artifact_differences(subject: Subject) -> Iterator[str]:
    builds = max(1, int(subject.store.manifest.get("suite", {}).get("builds", 1)))
    by_build: dict[int, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in subject.completed:
        if record.artifact is None:
            yield f"the record of {_called(record)} names no artifact"
        else:
            by_build[record.launch.index % builds][record.artifact.content_hash].append(record)
    for build, hashes in sorted(by_build.items()):
        if len(hashes) > 1:
            which = f" of build {build + 1}" if builds > 1 else ""
            proven = subject.proof is not None and subject.proof.launch.index % builds == build
            odd = min(hashes.values(), key=len)[0]
            what = "its proof and its other launches" if proven and odd is subject.proof else _called(odd)
            yield f"its launches loaded {len(hashes)} different artifacts{which}: not the same for {what}"


def _inputs(subject: Subject) -> Check:
    found = {(record.inputs_hash, record.inputs_count) for record in subject.completed}
    told = [f"its launches were given {len(found)} different sets of inputs"] if len(found) > 1 else []
    return _check("inputs", told, "no launch names its inputs" if found == {(None, 0)} else "")


def _boundary(subject: Subject) -> Check:
    record = subject.proof
    if record is None or record.execution is None or record.artifact is None:
        return _check("boundary", (), "no proof: nothing was read back")
    told = []
    untold = []
    for what in ("inputs", "outputs"):
        made, read = getattr(record.artifact, what), getattr(record.execution, what)
        if not made or not read:
            untold.append(what)
        elif made != read:
            told.append(f"the runtime read other {what} than the artifact has: {boundary_difference(made, read)}")
    return _check("boundary", told, f"the {' and '.join(untold)} were not told" if untold else "")


def boundary_difference(made: Sequence[object], read: Sequence[object]) -> str:
    """Return the first tensor that differs, as the artifact has it and as the runtime read it."""
    for index in range(max(len(made), len(read))):
        pair = [_tensor(specs[index]) if index < len(specs) else "nothing" for specs in (made, read)]
        if pair[0] != pair[1]:
            return f"{pair[0]}, read as {pair[1]}"
    return ""


def _tensor(spec: object) -> str:
    said = encode(spec)
    return f"{said['name']} {said['dtype']} {'×'.join(map(str, said['shape']))}"


def _executed(subject: Subject) -> Check:
    record = subject.proof
    if record is None or record.execution is None:
        return _check("executed", (), "no proof: what executed is not known")
    execution, cell = record.execution, record.cell
    told = [difference.message for difference in proof.differences(execution, cell.device, cell.precision)]
    if cell.threads is not None and isinstance(execution.threads, int) and execution.threads != cell.threads:
        told.append(f"ran with {execution.threads} threads, {cell.threads} were asked")
    untold = [
        f"the {what} is not told: {fact.reason}" if isinstance(fact, Unknowable) else f"no arithmetic to tell {what} by"
        for what, fact in (("device", execution.macs_by_device), ("precision", execution.macs_by_precision))
        if isinstance(fact, Unknowable) or not fact
    ]
    # Not a failure of the evidence: the report derives the same from the same record, and leaves the row unranked.
    return _check("executed", (), "; ".join([*(f"not as asked: {message}" for message in told), *untold]))


def _cache(subject: Subject) -> Check:
    artifacts: dict[str, Artifact] = {r.artifact.content_hash: r.artifact for r in subject.completed if r.artifact}
    exported = {content_hash: artifact for content_hash, artifact in artifacts.items() if artifact.route}
    if not exported:
        return _check("cache", (), "the source itself was loaded, which no cache keeps")
    told, gone = [], 0
    for content_hash, artifact in exported.items():
        now = subject.cached(content_hash)
        gone += not now
        if any(each != content_hash for each in now):
            told.append(f"the {artifact.format} {artifact.precision} in the cache has been changed since")
    return _check("cache", told, "gone from the cache" if gone else "")


def _report(subject: Subject) -> Check:
    row, published = subject.row, subject.published
    if published is None:
        return _check("report", (), "no report to compare with")
    line = published.rows.get(row.variant_id)
    if line is None:
        if row.variant_id in published.instead:
            return _check(
                "report", (), f"{published.name} shows that of run {published.instead[row.variant_id]} instead"
            )
        return _check("report", [f"{published.name} has no such row"])
    seen = published.seen.get(row.variant_id, ())
    told = [*line_differences(row, line), *visible_differences(row, seen)]
    untold = "" if "certificate_sha256" in line else f"{published.name} was made before rows had certificates"
    found = _check("report", (f"{published.name} {words}" for words in told), untold)
    numbers = compared(row, seen)
    return replace(found, detail=f"{numbers} visible numbers agree") if found.state is State.OK and numbers else found


CHECKS: tuple[Callable[[Subject], Check], ...] = (
    _records, _files, _numbers, _artifact, _inputs, _boundary, _executed, _cache, _report,
)  # fmt: skip
"""What is checked of each row, in the order it is told."""
