"""Questions to a host as bytes, and their answers: what crosses the wire, whatever carries it.

Bytes, because what carries them would otherwise look into them, copy them and rebuild errors without their hints.
They are pickles: whoever may ask can run code, which is why a connection off this machine needs a certificate.
"""

from __future__ import annotations

import inspect
import pickle
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.fleet.contract import FleetError, Host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

QUESTIONS = frozenset(name for name, kind in inspect.getmembers(Host, inspect.isfunction) if not name.startswith("_"))
"""What may be asked: the methods of the contract."""


@dataclass(frozen=True)
class _Answer:
    value: Any


@dataclass(frozen=True)
class _Refusal:
    """An error of ours, whose class may ask for other arguments than an error's text."""

    kind: type[HarnessError]
    message: str
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Defect:
    kind: str
    message: str


class _Here:
    host: Any = None


@contextmanager
def answering(host: Host) -> Iterator[None]:
    """Have ``perform`` ask this host, which is the one of this process, as long as the context lasts."""
    _Here.host = host
    try:
        yield
    finally:
        _Here.host = None


def question(arguments: tuple[Any, ...]) -> bytes:
    """Return the arguments of a question as ``perform`` takes them."""
    return pickle.dumps(arguments)


def perform(method: str, arguments: bytes) -> bytes:
    """Ask the host that this process is, and return what ``answer`` reads. An error is an answer too."""
    try:
        return pickle.dumps(_Answer(_asked(method, arguments)))
    except HarnessError as error:
        return pickle.dumps(_Refusal(type(error), error.message, _carried(error)))
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is to know, and this host goes on
        traceback.print_exc(file=sys.stderr)
        return pickle.dumps(_Defect(type(error).__name__, str(error)))


def _asked(method: str, arguments: bytes) -> object:
    if _Here.host is None:
        raise FleetError("this process is no host of a fleet", "start one by `harness fleet worker`")
    if method not in QUESTIONS:
        raise FleetError(f"a host is not asked for {method!r}", "is the same harness version installed there?")
    return getattr(_Here.host, method)(*pickle.loads(arguments))  # noqa: S301 - see above


def answer(host: str, reply: bytes) -> Any:
    """Return what a host answered, or raise what it raised.

    An error of the harness is raised as itself, with its hint; any other is a ``FleetError`` that names host and type.
    """
    try:
        found = pickle.loads(reply)  # noqa: S301 - see above
    except Exception as error:
        hint = "is the same installed there as here?"
        raise FleetError(f"{host}: its answer cannot be read: {type(error).__name__}: {error}", hint) from error
    if isinstance(found, _Answer):
        return found.value
    if isinstance(found, _Refusal):
        refused = found.kind.__new__(found.kind, found.message)
        refused.__dict__.update(found.state)
        raise refused
    if isinstance(found, _Defect):
        hint = "this is a defect: what `harness fleet worker` printed there says where"
        raise FleetError(f"{host}: {found.kind}: {found.message}", hint)
    raise FleetError(f"{host}: its answer is of no known form", "is the same harness version installed there?")


def _carried(error: HarnessError) -> dict[str, Any]:
    kept = {}
    for name, value in vars(error).items():
        try:
            pickle.dumps(value)
        except Exception:  # noqa: BLE001, S112 - what cannot travel stays; message and hint are text
            continue
        kept[name] = value
    return kept
