"""YAML text to plain data that knows the file, line and column of every value, with overrides and variables."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from harness.errors import SuiteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ruamel.yaml.events import Event

Place = tuple[str | int, ...]
"""Keys and indices from the top of the document to a value."""

_MAXIMUM_BYTES = 256 * 1024
_MAXIMUM_VALUES = 20_000
_MAXIMUM_DEPTH = 32
_MAXIMUM_SHOWN = 10
_TAG = "tag:yaml.org,2002:"
# What YAML calls printable, less nothing: tabs and line ends are judged by the parser.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_VARIABLE_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?")
EXAMPLE_HINT = "`harness suite new` writes a commented suite that is valid"


@dataclass(frozen=True)
class FileKind:
    """What a file is to its reader: the noun of messages, and where a valid one is to be had."""

    noun: str
    hint: str


SUITE = FileKind("suite", EXAMPLE_HINT)


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place. ``at_key``: the key itself is meant, not its value."""

    place: Place
    message: str
    hint: str = ""
    at_key: bool = False


class Undefined(Exception):  # noqa: N818 - caught here or by the caller, never shown
    """A ``${NAME}`` without default that the environment does not hold."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and where each value stands."""

    name: str  # of the file, as the user gave it
    data: Any
    values: dict[Place, str] = field(default_factory=dict)  # "file:line:column" of each value
    keys: dict[Place, str] = field(default_factory=dict)  # the same of its key
    kind: FileKind = SUITE

    def where(self, place: Place, *, at_key: bool = False) -> str:
        """Return ``file:line:column`` of the value, or of the nearest value around it."""
        if at_key and place in self.keys:
            return self.keys[place]
        while place and place not in self.values:
            place = place[:-1]
        return self.values.get(place, f"{self.name}:1:1")

    def error(self, problems: Sequence[Problem]) -> SuiteError:
        """Return one error that lists the problems, at most ten of them, in the order of the file."""
        located = [(self.where(problem.place, at_key=problem.at_key), problem) for problem in problems]
        # An override has no line; it comes after the file.
        located.sort(key=lambda pair: _line_and_column(pair[0]))
        lines = [f"{where}: {problem.message}" for where, problem in located[:_MAXIMUM_SHOWN]]
        if len(located) > _MAXIMUM_SHOWN:
            lines.append(f"and {len(located) - _MAXIMUM_SHOWN} more")
        hints = list(dict.fromkeys(problem.hint for _, problem in located[:_MAXIMUM_SHOWN] if problem.hint))
        return SuiteError("\n".join(lines), "; ".join(hints) or self.kind.hint)

    def override(self, assignment: str) -> None:
        """Set what ``dotted.key=VALUE`` says, VALUE being YAML. Raises ``SuiteError`` that names the assignment."""
        key, equals, text = assignment.partition("=")
        origin = f"--set {shorten(key)}"
        parts = key.split(".")
        if not equals or not all(parts):
            raise SuiteError(
                f"--set {shorten(assignment)}: not of the form KEY=VALUE",
                "for example --set workloads.yolo11n.source.ultralytics=yolo11n.pt",
            )
        parsed = _parse(origin, text)
        parent = self.data
        place: Place = ()
        for part in parts[:-1]:
            step = _step(parent, part, origin)
            if isinstance(parent, dict) and step not in parent:
                parent[step] = {}
                self.keys[*place, step] = self.values[*place, step] = origin
            place, parent = (*place, step), parent[step]
        step = _step(parent, parts[-1], origin)
        parent[step] = parsed.data
        place = (*place, step)
        for places in (self.values, self.keys):
            for old in [old for old in places if old[: len(place)] == place]:
                del places[old]
            places[place] = origin

    def expand(self, environ: Mapping[str, str], deferred: Callable[[Place], bool]) -> list[Problem]:
        """Replace ``${NAME}`` in every text but those whose place is ``deferred``; return what could not be."""
        problems: list[Problem] = []
        self.data = self._expanded(self.data, (), environ, deferred, problems)
        return problems

    def _expanded(
        self,
        value: Any,
        place: Place,
        environ: Mapping[str, str],
        deferred: Callable[[Place], bool],
        problems: list[Problem],
    ) -> Any:
        if isinstance(value, dict):
            return {k: self._expanded(v, (*place, k), environ, deferred, problems) for k, v in value.items()}
        if isinstance(value, list):
            return [self._expanded(v, (*place, i), environ, deferred, problems) for i, v in enumerate(value)]
        if not isinstance(value, str) or deferred(place):
            return value
        try:
            return substitute(value, environ)
        except Undefined as undefined:
            hint = f"export {undefined.name}=..., or write ${{{undefined.name}:-default}}"
            problems.append(Problem(place, f"the environment variable {undefined.name} is not set", hint))
        except ValueError as error:
            problems.append(Problem(place, str(error)))
        return value


def read(path: Path, kind: FileKind = SUITE) -> Document:
    """Return the document in a file. Raises ``SuiteError`` for a file that cannot be read or is no YAML mapping."""
    name = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MAXIMUM_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SuiteError(f"{shorten(name)}: cannot be read: {reason}", f"give the path of a {kind.noun}") from error
    if len(content) > _MAXIMUM_BYTES:
        raise SuiteError(f"{name}:1:1: larger than {_MAXIMUM_BYTES // 1024} KiB", f"this is hardly a {kind.noun}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = _position(name, content[: error.start].decode("utf-8", "replace"))
        raise SuiteError(f"{where}: not UTF-8 text", "save the file as UTF-8") from error
    document = _parse(name, text, kind)
    if document.data is None:
        raise SuiteError(f"{name}:1:1: the {kind.noun} is empty", kind.hint)
    if not isinstance(document.data, dict):
        found = describe(document.data)
        raise SuiteError(f"{document.where(())}: a {kind.noun} is a mapping, this is {found}", kind.hint)
    return document


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with ``${NAME}`` and ``${NAME:-default}`` replaced; ``$${`` stands for a plain ``${``.

    As in a shell, the default also stands in for an empty value. Raises ``Undefined``, or ``ValueError`` for anything
    else inside the braces.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${"
        body = _VARIABLE_BODY.fullmatch(match[1])
        if body is None:
            raise ValueError(f"{shorten(match[0])} is neither ${{NAME}} nor ${{NAME:-default}}; a plain ${{ is $${{")
        name, default = body.groups()
        if environ.get(name) or (default is None and name in environ):
            return environ[name]
        if default is None:
            raise Undefined(name)
        return default

    return _VARIABLE.sub(value, text)


def shorten(value: object, limit: int = 60) -> str:
    """Return the text of a value, cut where it is long."""
    text = str(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def describe(value: object) -> str:
    """Return a value in the words of a suite's reader: ``the text 'abc'``, ``a list``."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return f"the text {shorten(value)!r}" if isinstance(value, str) else shorten(value)


def _parse(name: str, text: str, kind: FileKind = SUITE) -> Document:
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        where = _position(name, text[: unprintable.start()])
        raise SuiteError(f"{where}: the character U+{ord(unprintable[0]):04X} is not text", "remove it")
    # A parser of one's own each time: it keeps the version directive of the last document.
    parser = YAML(typ="rt", pure=True)
    try:
        _check_size(name, parser.parse(text), kind)
        node = parser.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else f"{name}:1:1"
        tab = "tabs cannot indent YAML: use spaces" if "'\\t'" in str(error.problem) else ""
        context = f" {error.context}" if error.context else ""
        raise SuiteError(f"{where}: not valid YAML: {error.problem}{context}", tab or "see https://yaml.org") from error
    except (YAMLError, ValueError) as error:
        raise SuiteError(f"{name}:1:1: not valid YAML: {shorten(error, 200)}", "see https://yaml.org") from error
    document = Document(name, None, kind=kind)
    if node is not None:
        document.data = _Builder(document).build(node, ())
    return document


def _check_size(name: str, events: Iterable[Event], kind: FileKind) -> None:
    """Raise ``SuiteError`` where the text is too deep or too long to be composed in a reasonable time."""
    depth = 0
    for count, event in enumerate(events):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        where = f"{name}:{event.start_mark.line + 1}:{event.start_mark.column + 1}"
        if depth > _MAXIMUM_DEPTH:
            raise SuiteError(f"{where}: nested too deeply", f"a {kind.noun} is at most a few levels deep")
        if count > _MAXIMUM_VALUES:
            raise SuiteError(f"{where}: more than {_MAXIMUM_VALUES} values", f"split the {kind.noun}")


class _Builder:
    """Nodes to plain data, within limits that an honest suite never meets."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._values = 0

    def build(self, node: Node, place: Place) -> Any:
        self._values += 1
        if self._values > _MAXIMUM_VALUES:
            raise self._error(node, f"more than {_MAXIMUM_VALUES} values once its aliases are expanded")
        if len(place) > _MAXIMUM_DEPTH:
            raise self._error(node, "nested too deeply")
        self._document.values[place] = self._where(node)
        if isinstance(node, MappingNode):
            self._plain(node, "map")
            return self._mapping(node, place)
        if isinstance(node, SequenceNode):
            self._plain(node, "seq")
            return [self.build(item, (*place, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, Any]:
        built: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if str(key_node.tag) == f"{_TAG}merge":
                raise self._error(key_node, "<< is not part of YAML 1.2", "repeat the keys, or alias a whole value")
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or str(key_node.tag) not in {f"{_TAG}str", f"{_TAG}timestamp"}:
                raise self._error(key_node, "a key is text: put it in quotes")
            if key in built:
                message = f"duplicate key {shorten(key)!r}, first on line {lines[key]}"
                raise self._error(key_node, message, "remove one of the two")
            lines[key] = key_node.start_mark.line + 1
            self._document.keys[(*place, key)] = self._where(key_node)
            built[key] = self.build(value_node, (*place, key))
        return built

    def _scalar(self, node: Node) -> Any:
        kind = str(node.tag).removeprefix(_TAG)
        text: str = node.value
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in {"true", "false"}:
            return text.lower() == "true"
        try:
            if kind == "int":
                return _integer(text)
            if kind == "float":
                return _number(text)
        except ValueError:
            raise self._error(node, f"{shorten(text)!r} is no finite number; quote it if it is text") from None
        if kind not in {"str", "bool", "timestamp"}:
            self._plain(node, "str")
        return text

    def _plain(self, node: Node, kind: str) -> None:
        if str(node.tag) != f"{_TAG}{kind}":
            tag, noun = shorten(str(node.tag).replace(_TAG, "!!")), self._document.kind.noun
            raise self._error(node, f"tags such as {tag} are not used in a {noun}", "remove the tag")

    def _where(self, node: Node) -> str:
        return f"{self._document.name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def _error(self, node: Node, message: str, hint: str = "") -> SuiteError:
        return SuiteError(f"{self._where(node)}: {message}", hint or self._document.kind.hint)


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    return int(digits, 0) if re.match(r"[-+]?0[xob]", digits) else int(digits)


def _number(text: str) -> float:
    value = float(text.replace("_", ""))
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _step(parent: Any, part: str, origin: str) -> str | int:
    """Return ``part`` as a key or index of ``parent``. Raises ``SuiteError`` where ``parent`` has no such thing."""
    if isinstance(parent, dict):
        return part
    if isinstance(parent, list) and part.isdecimal() and int(part) < len(parent):
        return int(part)
    reason = f"the list has {len(parent)} entries" if isinstance(parent, list) else f"it is {describe(parent)}"
    raise SuiteError(f"{origin}: nothing is called {shorten(part)!r} there: {reason}", "name a key of the suite file")


def _position(name: str, before: str) -> str:
    return f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def _line_and_column(where: str) -> tuple[int, int]:
    match = re.search(r":(\d+):(\d+)$", where)
    return (int(match[1]), int(match[2])) if match else (1 << 30, 0)
