"""One workload's rows, what they are called, and how they stand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness.vocabulary import FORMAT_TORCH_EXPORT, FORMAT_TORCH_MODULE, Precision
from results.row import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from reports.model import RowName
    from results.row import Interval, Row


T = TypeVar("T")


@dataclass(frozen=True)
class Field:
    """The rows of one workload by variant id, fastest first, with their names."""

    standing: Standing
    rows: Mapping[str, Row]
    names: Mapping[str, RowName]

    @property
    def workload(self) -> str:
        """The workload's own name, as given."""
        return self.standing.workload

    @property
    def anchor(self) -> str:
        """Part of an element id: safe and unique, whatever the workload is called."""
        return str(next(iter(self.names.values())).index)

    def __iter__(self) -> Iterator[tuple[RowName, Row]]:
        return ((self.names[variant], row) for variant, row in self.rows.items())

    def label(self, variant: str) -> str:
        """Return the short label of a row."""
        return self.names[variant].label

    def latency(self, variant: str) -> Interval | None:
        """Return the headline latency of a row, if it has one."""
        latency = self.rows[variant].latency
        return latency.host_to_host if latency else None

    @property
    def baseline(self) -> str | None:
        """The FP32 row that the verdict compares with: like the leader in machine, device and batch, if there is one.

        Among those, the row that accuracy is measured against, else one in the source framework's own format.
        """
        leader = self.rows[self.standing.best[0]] if self.standing.best else None

        def distance(variant: str) -> tuple[bool, bool, bool, bool, bool, str]:
            row = self.rows[variant]
            unlike = leader is not None and (row.cell.device, row.cell.batch) != (leader.cell.device, leader.cell.batch)
            elsewhere = leader is not None and row.machine != leader.machine
            reference = row.accuracy is not None and row.accuracy.verdict == "reference"
            source = row.artifact is not None and row.artifact.format in (FORMAT_TORCH_EXPORT, FORMAT_TORCH_MODULE)
            return elsewhere, unlike, not row.ranked, not reference, not source, self.label(variant)

        measured = [key for key, row in self.rows.items() if row.latency and row.cell.precision is Precision.FP32]
        return min(measured, key=distance, default=None)


def standing_of(rows: Sequence[Row], standings: Sequence[Standing]) -> dict[str, Standing]:
    """Return the standing that each row belongs to, by variant id; a row that none names gets one for its workload.

    A workload with several batches or shapes has several standings, each with a name of its own.
    """
    known = {
        variant: standing for standing in standings for variant in (*standing.best, *standing.rest, *standing.excluded)
    }
    spare: dict[str, Standing] = {}
    for row in rows:
        if row.variant_id not in known:
            workload = row.cell.workload
            spare.setdefault(workload, Standing(workload, (), (), (), (), screening=False))
    return {row.variant_id: known.get(row.variant_id) or spare[row.cell.workload] for row in rows}


def fields(rows: Sequence[Row], names: Sequence[RowName], standings: Sequence[Standing]) -> tuple[Field, ...]:
    """Return the rows by standing, in their order."""
    by_variant = standing_of(rows, standings)
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(id(by_variant[row.variant_id]), []).append(index)
    return tuple(
        Field(
            by_variant[rows[members[0]].variant_id],
            {rows[index].variant_id: rows[index] for index in members},
            {rows[index].variant_id: names[index] for index in members},
        )
        for members in groups.values()
    )


def nothing(fields: Sequence[Field], scenario: str, words: str) -> str:
    """Return why a section is empty: ``words``, and whether that is because the suite never asked for it."""
    asked = any(scenario in row.outcomes for field in fields for _, row in field)
    return words if asked or not fields else f"{words} The suite does not ask for the scenario “{scenario}”."


def grouped(found: Iterable[tuple[RowName, T]], key: Callable[[T], object]) -> list[list[tuple[RowName, T]]]:
    """Return what rows have, in groups of equal ``key``, in the order of first sight."""
    groups: dict[object, list[tuple[RowName, T]]] = {}
    for name, each in found:
        groups.setdefault(key(each), []).append((name, each))
    return list(groups.values())
