"""Whether the numbers that a page shows of a row are those that the records give."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from results.numbers import fixed
from results.row import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from results.page_tables import Seen
    from results.row import Row

_UNITS = {
    "ns": 1.0,
    "µs": 1e3,
    "ms": 1e6,
    "s": 1e9,
    "B": 1.0,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
    "items/s": 1.0,
    "queries/s": 1.0,
    "points": 0.01,
}
"""Base units in one of each: nanoseconds, bytes, one per second, shares."""
_NUMBER = r"[+−-]?\d[\d,]*(?:\.\d+)?"
_ALONE = re.compile(_NUMBER)
_BOUNDS = re.compile(rf"\[({_NUMBER}), ({_NUMBER})\]")
_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")
_DIGITS = 1e-5
"""A value is ordered by six digits of it."""


@dataclass(frozen=True)
class _Table:
    """A table by the heads that it cannot be without, and what stands under each of those that are compared."""

    heads: frozenset[str]
    figures: Mapping[str, Callable[[Row], Iterable[Interval | float | None]]]
    quantiles: bool = False  # of the latency, under heads such as ``p99``


def visible_differences(row: Row, seen: Sequence[Seen]) -> Iterator[str]:
    """Yield in words each number that a page shows of a row and the records do not give."""
    for cell in seen:
        found = _figures(row, cell)
        if found is not None and not any(_agrees(cell, figure) for figure in found):
            given = " or ".join(dict.fromkeys(_said(figure, cell) for figure in found)) or "none"
            aside = f" {cell.aside}" if _BOUNDS.match(cell.aside) else ""
            yield f"shows {cell.head} {cell.text} {cell.unit}{aside}, the records give {given}"


def compared(row: Row, seen: Sequence[Seen]) -> int:
    """Return how many of the numbers that a page shows of a row are held against the records."""
    return sum(_figures(row, cell) is not None for cell in seen)


def _figures(row: Row, cell: Seen) -> list[Interval | float] | None:
    """Return what may stand in a cell; ``None`` where it holds no number, or nothing is known of its head."""
    if _ALONE.fullmatch(cell.text) is None or cell.unit not in _UNITS:
        return None
    for table in _TABLES:
        if table.heads <= cell.heads:
            if cell.head in table.figures:
                return [figure for figure in table.figures[cell.head](row) if figure is not None]
            percentile = _PERCENTILE.fullmatch(cell.head) if table.quantiles else None
            if percentile is not None:
                return _quantiles(row, float(percentile[1]) / 100)
    return None


def _quantiles(row: Row, q: float) -> list[Interval | float]:
    known = row.latency.quantiles if row.latency else ()
    return [
        Interval(each.value_ns, each.low_ns, each.high_ns, 0)
        for each in known
        if each.value_ns is not None and math.isclose(each.q, q, abs_tol=1e-6)
    ]


def _agrees(cell: Seen, figure: Interval | float) -> bool:
    """Whether a number, its bounds and what it is sorted by are the figure, to the digits that each has."""
    estimate = figure.estimate if isinstance(figure, Interval) else figure
    unit = _UNITS[cell.unit]
    if not _rounds(cell.text, estimate / unit):
        return False
    if cell.order and not math.isclose(_value(cell.order), estimate, rel_tol=_DIGITS, abs_tol=1e-12):
        return False
    bounds = _BOUNDS.match(cell.aside)
    if bounds is None or not isinstance(figure, Interval):
        return True
    ends = zip(bounds.groups(), (figure.low, figure.high), strict=True)
    return all(end is not None and _rounds(text, end / unit) for text, end in ends)


def _rounds(text: str, value: float) -> bool:
    """Whether ``value`` rounds to the number that ``text`` shows."""
    step = 10.0 ** -len(text.partition(".")[2])
    return abs(_value(text) - value) <= 0.5 * step + 1e-9 * abs(value)


def _value(text: str) -> float:
    try:
        return float(text.replace(",", "").replace("−", "-"))
    except ValueError:
        return math.nan


def _said(figure: Interval | float, cell: Seen) -> str:
    """Return a figure as it would stand in the cell."""
    places, unit = len(cell.text.partition(".")[2]), _UNITS[cell.unit]
    if not isinstance(figure, Interval):
        return fixed(figure / unit, places)
    ends = ", ".join(fixed(end / unit, places) for end in (figure.low, figure.high) if end is not None)
    return fixed(figure.estimate / unit, places) + (f" [{ends}]" if ends else "")


def _latency(row: Row) -> Iterator[Interval | float]:
    if row.latency is not None:
        yield row.latency.host_to_host


def _rates(row: Row) -> Iterator[Interval | float]:
    yield from (each.items_per_s for each in (*row.throughputs, *([row.throughput] if row.throughput else ())))


def _change(row: Row) -> Iterator[Interval | float]:
    change = row.accuracy.change if row.accuracy is not None else None
    if change is not None:
        yield Interval(change.estimate, change.low, change.high, 0)


def _of(part: str, *names: str) -> Callable[[Row], Iterable[Interval | float | None]]:
    """Return what reads attributes of a part of the row."""

    def read(row: Row) -> Iterator[Interval | float | None]:
        found = getattr(row, part)
        each = found if isinstance(found, tuple) else () if found is None else (found,)
        yield from (getattr(one, name) for one in each for name in names)

    return read


_TABLES = (
    _Table(
        frozenset({"median latency"}),
        {
            "median latency": _latency,
            "throughput": _rates,
            "accuracy against FP32": _change,
            "against FP32": _change,
            "peak memory": _of("memory", "peak"),
            "first inference": _of("cold_start", "first"),
        },
    ),
    _Table(
        frozenset({"median", "compute"}),
        {
            "median": _latency,
            "min": _of("latency", "minimum_ns"),
            "max": _of("latency", "maximum_ns"),
            **{name: _of("latency", name) for name in ("bind", "compute", "finish")},
        },
        quantiles=True,
    ),
    _Table(frozenset({"batch", "per item"}), {"throughput": _rates, "latency": _latency}),
    _Table(frozenset({"throughput", "streams"}), {"throughput": _rates}),
    _Table(
        frozenset({"import", "load", "first"}),
        {
            "import": _of("cold_start", "imported"),
            "load": _of("cold_start", "load"),
            "first": _of("cold_start", "first"),
        },
    ),
    _Table(
        frozenset({"peak", "baseline", "loaded"}),
        {
            **{name: _of("memory", name) for name in ("peak", "baseline", "imported", "loaded")},
            "after first": _of("memory", "first"),
            "artifact": _of("artifact", "size_bytes"),
        },
    ),
    _Table(frozenset({"sustained", "burst"}), {name: _of("soaks", name) for name in ("sustained", "burst")}),
    *(
        _Table(frozenset({head}), {head: _of("servers", "rate_hz")})
        for head in ("rate that meets it", "rate within the SLO")
    ),
    _Table(
        frozenset({"total", "preparation", "inference"}),
        {name: _of("end_to_end", name) for name in ("total", "preparation", "inference", "finish")},
    ),
    _Table(frozenset({"missed", "frames"}), {"response": _of("cameras", "response")}),
)
"""What is compared. Ratios, ranks and costs follow from these, and from other rows."""
