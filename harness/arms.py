"""The two sides of an A/B comparison as a user writes them: what to install, an interpreter, or a revision."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.engine import Engine

BASE, HEAD = "base", "head"
"""The environment labels of the two sides: what there was, and what is to be judged."""
FORMS = (
    "a side is a requirement such as onnxruntime==1.30.*, a wheel, an interpreter such as .venv/bin/python, or with "
    "--suite a git revision"
)
_PYTHON = re.compile(r"(python|pypy)[0-9.]*")


class NothingToCompare(HarnessError):  # noqa: N818 - as the other errors are named
    """The two sides are one and the same."""


class Kind(StrEnum):
    """What a side is."""

    REQUIREMENT = "requirement"
    INTERPRETER = "interpreter"
    REVISION = "revision"


@dataclass(frozen=True)
class Arm:
    """One side."""

    name: str  # ``BASE`` or ``HEAD``
    written: str  # by the user
    kind: Kind
    requirements: tuple[str, ...] = ()  # as pip takes them; a wheel by its absolute path
    distributions: tuple[str, ...] = ()  # their names, normalised, in the same order
    interpreter: str = ""  # absolute, links not followed: they would lead out of a virtual environment

    @property
    def said(self) -> str:
        """Which side this is, for messages."""
        return f"{self.name} ({self.written})"


def read(name: str, written: str, known: Collection[str]) -> Arm:
    """Return what a side is: a file that can be run or an environment's folder, what pip could install, a revision.

    ``known``: normalised names of distributions that bring an engine. A bare word is a requirement only where it is
    one of them, else a revision. Raises ``HarnessError`` for nothing at all.
    """
    text = written.strip()
    if not text:
        raise HarnessError(f"{name}: nothing is named", FORMS)
    interpreter = _interpreter(text)
    if interpreter is not None:
        return Arm(name, text, Kind.INTERPRETER, interpreter=str(interpreter.absolute()))
    found = _requirements(text, known)
    if found:
        return Arm(name, text, Kind.REQUIREMENT, tuple(each for each, _ in found), tuple(each for _, each in found))
    return Arm(name, text, Kind.REVISION)


def check_kinds(base: Arm, head: Arm) -> None:
    """Raise ``HarnessError`` where a revision meets anything else: two things would differ at once."""
    if (base.kind is Kind.REVISION) != (head.kind is Kind.REVISION):
        revision, other = (base, head) if base.kind is Kind.REVISION else (head, base)
        message = f"{revision.said} is a revision and {other.said} a{'n' if other.kind[0] == 'i' else ''} {other.kind}"
        raise HarnessError(f"{message}: what differs could not be told apart", FORMS)


def distributions(engines: Mapping[str, Engine]) -> frozenset[str]:
    """Return the normalised names of all distributions that bring one of the engines."""
    return frozenset(
        canonicalize_name(name) for engine in engines.values() for name in (*engine.distributions, *engine.alternatives)
    )


def engine_of(arm: Arm, engines: Mapping[str, Engine]) -> str:
    """Return the engine that a requirement brings: first whose own it is, then who needs it besides.

    Raises ``HarnessError`` where none does.
    """
    for among in (
        lambda engine: (*engine.distributions[:1], *engine.alternatives),
        lambda engine: engine.distributions,
    ):
        for distribution in arm.distributions:
            for name, engine in engines.items():
                if distribution in {canonicalize_name(each) for each in among(engine)}:
                    return name
    known = ", ".join(sorted(distributions(engines)))
    raise HarnessError(f"{arm.said} is known to bring no engine", f"name it with --engine; known are {known}")


def companions(arm: Arm, engine: Engine) -> tuple[str, ...]:
    """Return what has to be installed with a requirement: the rest of what its engine consists of."""
    own = {canonicalize_name(each): each for each in engine.distributions}
    if not own.keys() & set(arm.distributions):
        return ()  # an alternative stands in their place
    return tuple(each for name, each in own.items() if name not in arm.distributions)


def _interpreter(text: str) -> Path | None:
    path = Path(text).expanduser()
    try:
        for inside in ("bin/python", "Scripts/python.exe"):
            if (path / inside).is_file():
                return path / inside
        if path.is_file() and os.access(path, os.X_OK) and path.suffix != ".whl":
            return path
    except OSError:  # too long for a path
        return None
    found = shutil.which(text) if _PYTHON.fullmatch(text) else None
    return Path(found) if found else None


def _requirements(text: str, known: Collection[str]) -> list[tuple[str, str]]:
    """Return each requirement with its distribution, none where the text is no such thing."""
    whole = _requirement(text, known)
    found = [whole] if whole else [_requirement(part, known) for part in text.split()]
    parsed = [each for each in found if each is not None]
    if len(parsed) < len(found) or not any(certain for _, _, certain in parsed):
        return []
    return [(requirement, name) for requirement, name, _ in parsed]


def _requirement(text: str, known: Collection[str]) -> tuple[str, str, bool] | None:
    """Return a requirement, its distribution, and whether it can be nothing else."""
    if text.endswith(".whl") and "@" not in text:
        wheel = Path(text).expanduser()
        try:
            name = parse_wheel_filename(wheel.name)[0]
        except InvalidWheelFilename:
            return None
        if not wheel.is_file():
            raise HarnessError(f"{text}: there is no such wheel", FORMS)
        return str(wheel.absolute()), name, True
    try:
        parsed = Requirement(text)
    except InvalidRequirement:
        return None
    if parsed.url is not None and "://" not in parsed.url:
        return None  # such as HEAD@{1}
    name = canonicalize_name(parsed.name)
    certain = bool(parsed.specifier or parsed.url or parsed.extras) or name in known
    return text, name, certain
