"""Settings that a suite gives to a task or an engine, checked against the dataclass that declares them."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import TYPE_CHECKING, Any

from harness import codec
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class SettingError(HarnessError):
    """One setting of a task or an engine is wrong; ``key`` is its name."""

    def __init__(self, key: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.key = key


def settings(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every field of the dataclass ``kind`` as JSON-able data, those in ``given`` checked by its annotations.

    Raises ``SettingError`` for an unknown name, a wrong type or whatever the dataclass itself refuses.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    known = f"known: {', '.join(names)}" if names else "there are none"
    for key in given:
        if key not in names:
            raise SettingError(key, f"unknown setting {key[:60]!r}{did_you_mean(key, names)}", known)
    try:
        encoded: dict[str, Any] = codec.encode(codec.decode(kind, dict(given)))
    except HarnessError as error:
        place = re.match(r"\$(?:\.(\w+))?[^:]*: ", error.message)
        key = (place[1] if place else None) or ""
        raise SettingError(
            key, error.message[place.end() :] if place else error.message, error.hint or known
        ) from error
    return encoded


def differing(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given another value than its default: to write a default out changes nothing."""
    return {key: value for key, value in given.items() if key not in defaults or not _same(value, defaults[key])}


def _same(value: object, default: object) -> bool:
    """Whether both are written alike: a list is as good as a tuple, but 1 is not true."""
    one, other = codec.encode(value), codec.encode(default)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` or nothing."""
    near = difflib.get_close_matches(word[:80], list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
