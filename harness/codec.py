"""Dataclasses of the vocabulary to JSON-able values and back, checked by their own annotations.

A union of dataclasses is written with its class name under ``"is"``; everything else is plain JSON. Standard library
only, since the worker process may import nothing more.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import HarnessError

T = TypeVar("T")
_TAG = "is"


class CodecError(HarnessError):
    """A stored value does not have the shape its type asks for; the message begins with the path to it."""


def encode(value: object) -> Any:
    """Return ``value`` as JSON-able data. Raises ``TypeError`` for a type that JSON has no form for."""
    kind: type = type(value)
    if kind in _PLAIN:  # nearly everything is, and certificates by the ten thousand are made of it
        return value
    names = _field_names(kind)
    if names is not None:
        fields = {name: encode(getattr(value, name)) for name in names}
        return {_TAG: kind.__name__, **fields} if kind.__name__ in _TAGGED else fields
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"no JSON form for {kind.__name__}")


def decode(kind: type[T], data: object, where: str = "$") -> T:
    """Return ``data`` as a ``kind``, checking every field. Raises ``CodecError`` naming the path to what is wrong.

    Unknown fields are refused: a record of a newer schema must not be read as an older one by accident.
    """
    return typing.cast("T", _decode(kind, data, where))


_PLAIN = frozenset({str, int, float, bool, type(None)})


@functools.cache
def _field_names(kind: type) -> tuple[str, ...] | None:
    """Return the names of a dataclass's fields, ``None`` for any other type."""
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


# Classes that appear in unions and so carry their name.
_TAGGED = frozenset({"Completed", "Failed", "Skipped", "Unknowable"})


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, data: object, where: str) -> object:
    if kind is Any:
        return data
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(typing.get_args(kind), data, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, data, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(data)
        except ValueError:
            raise CodecError(f"{where}: {data!r} is no {kind.__name__}") from None
    if kind is Path and isinstance(data, str):
        return Path(data)
    if origin is tuple and isinstance(data, list):
        return _decode_tuple(typing.get_args(kind), data, where)
    if origin in (dict, Mapping) and isinstance(data, dict):
        item = typing.get_args(kind)[1]
        return {key: _decode(item, value, f"{where}.{key}") for key, value in data.items()}
    if kind is float and isinstance(data, (int, float)) and not isinstance(data, bool):
        return float(data)
    if kind in (str, int, bool) and type(data) is kind:
        return data
    if kind is type(None) and data is None:
        return None
    raise CodecError(f"{where}: expected {getattr(kind, '__name__', kind)}, found {type(data).__name__}")


def _decode_tuple(arguments: tuple[Any, ...], data: list[Any], where: str) -> tuple[Any, ...]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_decode(arguments[0], value, f"{where}[{i}]") for i, value in enumerate(data))
    if len(arguments) != len(data):
        raise CodecError(f"{where}: expected {len(arguments)} values, found {len(data)}")
    pairs = zip(arguments, data, strict=True)
    return tuple(_decode(argument, value, f"{where}[{i}]") for i, (argument, value) in enumerate(pairs))


def _decode_union(members: tuple[Any, ...], data: object, where: str) -> object:
    if data is None and type(None) in members:
        return None
    tag = data.get(_TAG) if isinstance(data, dict) else None
    # A plain mapping may have a key of that name; in unions its values are numbers, never a class name.
    if isinstance(tag, str):
        for member in members:
            if getattr(member, "__name__", "") == tag:
                return _decode(member, data, where)
        raise CodecError(f"{where}: unexpected {tag!r}")
    plain = [m for m in members if m is not type(None) and getattr(m, "__name__", "") not in _TAGGED]
    for member in plain[:-1]:
        try:
            return _decode(member, data, where)
        except CodecError:  # noqa: PERF203 - a union has two or three members
            continue
    if not plain:
        raise CodecError(f"{where}: the field {_TAG!r} is missing")
    return _decode(plain[-1], data, where)


def _decode_dataclass(kind: type, data: object, where: str) -> object:
    if not isinstance(data, dict):
        raise CodecError(f"{where}: expected {kind.__name__}, found {type(data).__name__}")
    hints = _hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    given = {key: value for key, value in data.items() if key != _TAG}
    unknown = sorted(given.keys() - fields.keys())
    if unknown:
        raise CodecError(f"{where}: {kind.__name__} has no field {unknown[0]!r}")
    required = (
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    for name in required:
        if name not in given:
            raise CodecError(f"{where}: {kind.__name__} lacks {name!r}")
    return kind(**{name: _decode(hints[name], value, f"{where}.{name}") for name, value in given.items()})
