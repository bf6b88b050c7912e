"""A snapshot as a file: JSON with one cell a line, so that a diff shows which cell moved; read back fast, strictly."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from harness.codec import CodecError, decode
from harness.errors import StoreError
from results.files import explained, write_whole
from results.quantities import quantity
from results.snapshot import COMPLETED, FAILED, NOT_RUN, SKIPPED, SNAPSHOT_SCHEMA, CellState, Reading, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HINT = "give a snapshot: a baseline, or the snapshot.json of a run"
_STATUSES = frozenset({COMPLETED, FAILED, SKIPPED, NOT_RUN})
_NUMBERS, _WHOLE = frozenset({int, float}), frozenset({int})
_SEQUENCES = frozenset({list, tuple})  # a tuple is the default: JSON gives none
_HEAD = tuple(field.name for field in fields(Snapshot) if field.name not in {"schema", "cells"})


def to_json(snapshot: Snapshot) -> str:
    """Return the one text of a snapshot: what is as by default is left out of a cell, floats are exact.

    Raises ``ValueError`` for a value without JSON form, such as NaN.
    """
    head = [f'"schema": {snapshot.schema}']
    head += [f'"{name}": {_spread(getattr(snapshot, name))}' for name in _HEAD]
    cells = ",\n".join(map(_line, map(_cell_data, snapshot.cells)))
    body = ",\n".join(head)
    return f'{{\n{body},\n"cells": [\n{cells}\n]\n}}\n' if cells else f'{{\n{body},\n"cells": []\n}}\n'


def from_json(text: str) -> Snapshot:
    """Return the snapshot of a text. Raises ``StoreError``, which names the place inside, for what is none."""
    try:
        data = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"no whole JSON: {error}", _HINT) from None
    if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
        raise StoreError("$: it has no list of cells", _HINT)
    schema = data.get("schema")
    if type(schema) is not int or schema < 1:
        raise StoreError("$.schema: it has no version", _HINT)
    if schema > SNAPSHOT_SCHEMA:
        message = f"$.schema: {schema} is of a newer harness, this one reads up to {SNAPSHOT_SCHEMA}"
        raise StoreError(message, "upgrade the harness: pip install --upgrade inference-harness")
    lines = data.pop("cells")
    try:
        around = decode(Snapshot, {**data, "cells": []}, "$")
        cells = tuple(_cell(line, index) for index, line in enumerate(lines))
    except CodecError as error:
        raise StoreError(error.message, _HINT) from None
    except OverflowError:
        raise StoreError("a number is beyond all bounds", _HINT) from None
    if len({cell.cell_id for cell in cells}) < len(cells):
        raise StoreError("$.cells: two of them have one cell_id", _HINT)
    values = {field.name: getattr(around, field.name) for field in fields(Snapshot)}
    return Snapshot(**{**values, "cells": cells})


def read(path: Path) -> Snapshot:
    """Read a snapshot. Raises ``StoreError`` with the file, and the place inside, for what is none."""
    with explained(path):
        data = path.read_bytes()
    try:
        return from_json(data.decode())
    except UnicodeDecodeError:
        raise StoreError(f"{path}: it is no text", _HINT) from None
    except StoreError as error:
        raise StoreError(f"{path}: {error.message}", error.hint) from None


def write(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot whole or not at all. Raises ``StoreError`` where it cannot be written."""
    try:
        data = to_json(snapshot).encode()
    except (ValueError, TypeError) as error:
        raise StoreError(f"the snapshot of {snapshot.run_id} has a value without JSON form: {error}") from error
    with explained(path):
        write_whole(path, data)


def _spread(value: Any) -> str:
    """Return JSON over several lines where there is something inside, so that a diff shows what differs."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _cell_data(cell: CellState) -> dict[str, Any]:
    data: dict[str, Any] = {
        "label": cell.label,
        "cell_id": cell.cell_id,
        "key": cell.key,
        "workload": cell.workload,
        "engine": cell.engine,
        "precision": cell.precision,
        "device": cell.device,
        "scenario": cell.scenario,
        "status": cell.status,
        "planned": cell.planned,
    }
    if cell.failed:
        data["failed"] = cell.failed
    if cell.why:
        data["why"] = cell.why
    if cell.findings:
        data["findings"] = cell.findings
    if cell.readings:
        data["readings"] = [_reading_data(reading) for reading in cell.readings]
    return data


def _reading_data(reading: Reading) -> dict[str, Any]:
    data: dict[str, Any] = {"quantity": reading.quantity, "values": reading.values}
    if reading.launches:
        data["launches"] = reading.launches
    if reading.noisy:
        data["noisy"] = reading.noisy
    if reading.low is not None:
        data["low"] = reading.low
    if reading.high is not None:
        data["high"] = reading.high
    if reading.name:
        data["name"] = reading.name
    return data


_CELL = frozenset(field.name for field in fields(CellState))
_CELL_TEXTS = ("cell_id", "key", "label", "workload", "engine", "precision", "device", "scenario", "status")
_READING = frozenset(field.name for field in fields(Reading))


class _Odd(Exception):  # noqa: N818 - no error yet: the codec says whether it is one, and where
    """A value that the fast way does not take."""


def _cell(data: Any, index: int) -> CellState:
    """Return one cell: the fast way where all is plain, else by the codec, which says where something is wrong."""
    try:
        cell = _plain_cell(data)
    except (_Odd, KeyError, TypeError, AttributeError):
        cell = decode(CellState, data, f"$.cells[{index}]")
    return _checked(cell, index)


def _plain_cell(data: Any) -> CellState:
    if not data.keys() <= _CELL:
        raise _Odd
    texts = {name: data[name] for name in _CELL_TEXTS}
    why, findings = data.get("why", ""), data.get("findings", ())
    planned, failed = data.get("planned", 0), data.get("failed", 0)
    if set(map(type, texts.values())) != {str} or type(why) is not str or not type(planned) is type(failed) is int:
        raise _Odd
    if type(findings) not in _SEQUENCES or not {str}.issuperset(map(type, findings)):
        raise _Odd
    readings = data.get("readings", ())
    if type(readings) not in _SEQUENCES:
        raise _Odd
    return CellState(
        **texts,
        why=why,
        readings=tuple(map(_plain_reading, readings)),
        findings=tuple(findings),
        planned=planned,
        failed=failed,
    )


def _plain_reading(data: Any) -> Reading:
    if not data.keys() <= _READING:
        raise _Odd
    name, values = data["quantity"], data["values"]
    launches, noisy, kind = data.get("launches", ()), data.get("noisy", ()), data.get("name", "")
    low, high = data.get("low"), data.get("high")
    if type(name) is not str or type(kind) is not str or type(values) is not list:
        raise _Odd
    if not _NUMBERS.issuperset(map(type, values)):
        raise _Odd
    for whole in (launches, noisy):
        if type(whole) not in _SEQUENCES or not _WHOLE.issuperset(map(type, whole)):
            raise _Odd
    bounds = [None if bound is None else _number(bound) for bound in (low, high)]
    return Reading(name, tuple(map(float, values)), tuple(launches), tuple(noisy), bounds[0], bounds[1], kind)


def _number(value: Any) -> float:
    if type(value) not in _NUMBERS:
        raise _Odd
    return float(value)


def _checked(cell: CellState, index: int) -> CellState:
    """Raise ``CodecError`` for what has the right types and yet no sense."""
    if cell.status not in _STATUSES:
        raise CodecError(f"$.cells[{index}].status: {cell.status!r} is none of {', '.join(sorted(_STATUSES))}")
    for place, reading in enumerate(cell.readings):
        wrong = _nonsense(reading)
        if wrong:
            raise CodecError(f"$.cells[{index}].readings[{place}].{wrong}")
    return cell


def _nonsense(reading: Reading) -> str:
    if not _is_quantity(reading.quantity):
        return f"quantity: {reading.quantity!r} is none"
    if not reading.values:
        return "values: there is none"
    if not _finite(reading.values) or not _finite([b for b in (reading.low, reading.high) if b is not None]):
        return "values: one is beyond all bounds"
    if reading.launches and len(reading.launches) != len(reading.values):
        return f"launches: there are {len(reading.launches)} of {len(reading.values)} values"
    if len(set(reading.launches)) < len(reading.launches):
        return "launches: one is there twice"
    if reading.noisy and not set(reading.noisy) <= set(reading.launches):
        return "noisy: one is none of the launches"
    return ""


def _finite(values: Sequence[float]) -> bool:
    # The sum is finite where all are, but for sums beyond a double's range.
    return math.isfinite(sum(values)) or all(map(math.isfinite, values))


@functools.lru_cache(maxsize=256)
def _is_quantity(name: str) -> bool:
    try:
        quantity(name)
    except KeyError:
        return False
    return True


def _refused(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
