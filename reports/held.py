"""How many cameras each row holds within their deadline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import units
from reports.model import Column, Line, Panel, Table, Value, Verdict
from reports.text import counted, who
from reports.workloads import called
from results.findings import MINIMUM_LAUNCHES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.field import Field
    from reports.model import RowName
    from results.driven import Camera
    from results.row import Row

_HOLDS = "holds"


@dataclass(frozen=True)
class _Holding:
    """What one row holds of one kind of camera."""

    name: RowName
    label: str
    row: Row
    cameras: tuple[Camera, ...]  # every number of them that was tried
    most: Camera | None  # the most that it holds, with no fewer of which it missed a frame

    @property
    def number(self) -> int:
        return self.most.cameras if self.most else 0

    @property
    def missed_at(self) -> int | None:
        """Return the fewest cameras of which it missed a frame."""
        return min((camera.cameras for camera in self.cameras if camera.verdict != _HOLDS), default=None)

    @property
    def ranked(self) -> bool:
        return not any(finding.unranked for finding in self.row.findings)


def cameras(group: Sequence[Field]) -> Iterator[Panel]:
    """Yield a panel per kind of camera: how many of them each row holds within the deadline."""
    kinds: dict[object, list[_Holding]] = {}
    for name, row in (pair for field in group for pair in field):
        mine: dict[object, list[Camera]] = {}
        for camera in row.cameras:
            mine.setdefault(_kind(camera), []).append(camera)
        for kind, cameras in mine.items():
            holding = _Holding(name, called(name, row, group), row, tuple(cameras), _most(cameras))
            kinds.setdefault(kind, []).append(holding)
    for place, found in enumerate(kinds.values()):
        found.sort(key=lambda holding: (-holding.number, holding.missed_at or 0, holding.name.index))
        first, workload = found[0].cameras[0], group[0].workload
        title = f"Cameras at {first.fps:g}\u00a0frames/s, deadline {units.significant(first.deadline_ms)}\u00a0ms"
        lines = tuple(Line(holding.name.index, _holding_values(holding)) for holding in found)
        table = Table(f"t-held-{group[0].anchor}-{place}", f"{title}, {workload}", _HOLDING, lines)
        yield Panel(workload, (), (table,), (), title, _camera_card(found, title, workload))


def _kind(camera: Camera) -> object:
    return camera.fps, camera.deadline_ms, camera.phase, camera.drop, camera.decode


def _most(cameras: Sequence[Camera]) -> Camera | None:
    missing = min((camera.cameras for camera in cameras if camera.verdict != _HOLDS), default=math.inf)
    return max(
        (camera for camera in cameras if camera.verdict == _HOLDS and camera.cameras < missing),
        key=lambda camera: camera.cameras,
        default=None,
    )


def _camera_card(found: Sequence[_Holding], title: str, workload: str) -> Verdict:
    able = [holding for holding in found if holding.most and holding.ranked]
    replicated = [holding for holding in able if holding.most and holding.most.launches >= MINIMUM_LAUNCHES]
    able = replicated or able
    most = able[0].number if able else 0
    best = [holding for holding in able if holding.number == most]
    labels = [holding.label for holding in best]
    many = counted(most, "camera")
    if not best:
        headline = "No row is shown to hold a single camera."
    elif len(best) == 1:
        headline = f"{labels[0]} holds {'the most: ' if len(found) > 1 else ''}{many}."
    else:
        headline = f"Equal: {who(labels)} hold {many}."
    sentences = []
    if best and best[0].most:
        missed = best[0].most.missed
        sentences.append(
            f"Of {missed.of:,} frames of {labels[0]} none was late: at most "
            f"{units.significant(100 * missed.high)}\u00a0% are, at 95\u00a0%."
        )
    if best and all(holding.missed_at is None for holding in best):
        sentences.append("More were not tried: there may be room.")
    if best and not replicated:
        sentences.append("Screening: fewer than five launches; nothing here is a recommendation.")
    return Verdict(workload, title, headline, tuple(holding.name.index for holding in best), (), tuple(sentences))


_HOLDING = (
    Column("cameras held", hint="the most of which not one frame was late"),
    Column("missed", "%", hint="of their frames, 95 % interval"),
    Column("missed at", "cameras", hint="the fewest of which a frame was late; a dash: none was"),
    Column("frames/s", hint="of all cameras that it holds"),
    Column("streams"),
    Column("batch"),
    Column("launches"),
)


def _holding_values(holding: _Holding) -> tuple[Value, ...]:
    told = holding.most or holding.cameras[0]
    shown, bounds = units.percent(told.missed)
    rate = holding.number * told.fps
    return (
        Value(str(holding.number), holding.number) if holding.most else Value("none", 0, tone="bad"),
        Value(shown, told.missed.estimate, bounds),
        Value(units.MISSING) if holding.missed_at is None else Value(str(holding.missed_at), holding.missed_at),
        Value(f"{rate:,.4g}" if rate else units.MISSING, rate or None),
        Value(str(told.streams), told.streams),
        Value(str(holding.row.cell.batch), holding.row.cell.batch),
        Value(str(told.launches), told.launches),
    )
