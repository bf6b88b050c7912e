"""The suite file: found, read, checked as a whole, with every error at its line."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.errors import SuiteError
from harness.settings import did_you_mean
from harness.suite_model import Suite
from harness.suite_yaml import Place, Problem, Undefined, describe, read, shorten, substitute

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from harness.suite_yaml import Document

__all__ = ["Suite", "explained", "find", "load", "schema", "shipped", "template", "templates"]

VERSION = 1
_FOLDER = Path(__file__).resolve().parent
_CANDIDATES = {
    "source": frozenset({"ultralytics", "onnx", "keras", "saved_model", "tflite", "file", "weights"}),
    "data": frozenset({"yolo", "imagefolder", "coco", "images", "files"}),
}
_OFFICIAL = re.compile(r"[\w-]+\.(pt|yaml|yml)")
"""A bare name of a checkpoint or of a model's definition: Ultralytics is asked for it where no such file is found."""
_ALTERNATIVES: frozenset[Any] = frozenset().union(*_CANDIDATES.values())
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}


def load(path: Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Suite:
    """Return the suite in a file, with ``overrides`` such as ``matrix.batch=[1, 8]`` set over it.

    ``${NAME}`` is replaced from ``environ``, the process's own by default. Of a list of candidate paths the first that
    exists is kept; a relative path is looked for beside the suite, then in the working folder. Raises ``SuiteError``
    whose message begins with ``file:line:column:`` and lists up to ten problems.
    """
    document = read(path)
    for override in overrides:
        document.override(override)
    version = document.data.get("version", VERSION)
    if isinstance(version, bool) or version != VERSION:
        message = f"version {describe(version)} is not known; this harness reads version {VERSION}"
        raise document.error([Problem(("version",), message, "install a harness that knows it, or write version: 1")])
    environ = os.environ if environ is None else environ
    problems = document.expand(environ, lambda place: _is_candidate(place, document.data))
    folders = (path.absolute().parent, Path.cwd())
    problems += _keep_existing(document, environ, folders)
    problems += _unknown_workloads(document.data)
    broken = {problem.place for problem in problems}
    try:
        suite = Suite.model_validate(document.data)
    except ValidationError as error:
        whole = Suite.model_json_schema()
        found = [explained(details, whole) for details in error.errors(include_url=False)]
        problems += [problem for problem in found if problem.place not in broken]
    if problems:
        raise document.error(problems)
    return suite if suite.name else suite.model_copy(update={"name": path.stem[:200]})


def find(name_or_path: str) -> Path:
    """Return the path of a suite: a file, or one that ships with the project, by name. Raises ``SuiteError``."""
    path = Path(name_or_path)
    if os.path.isfile(name_or_path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        return path
    known = shipped()
    if name_or_path in known:
        return known[name_or_path]
    hint = f"give the path of a file, or one of {', '.join(known)}"
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise SuiteError(f"{shorten(name_or_path)}: there is no such file", hint)
    raise SuiteError(f"no suite is called {shorten(name_or_path)!r}{did_you_mean(name_or_path, known)}", hint)


def shipped() -> dict[str, Path]:
    """Return the suites that ship with the project, by name."""
    return {path.stem: path for path in sorted(_suites().glob("*.yaml"))}


def description_of(path: Path) -> str:
    """Return the first line of what a suite says about itself, without checking the rest of it."""
    description = read(path).data.get("description", "")
    return str(description).strip().partition("\n")[0]


def templates() -> tuple[str, ...]:
    """Return the kinds that ``template`` knows."""
    return tuple(sorted(path.stem for path in (_suites() / "templates").glob("*.yaml")))


def template(kind: str) -> str:
    """Return a commented suite for a model of this kind, to be edited. Raises ``SuiteError`` for an unknown kind."""
    if kind not in templates():
        meant = did_you_mean(kind, templates())
        raise SuiteError(f"no template is called {shorten(kind)!r}{meant}", f"one of {', '.join(templates())}")
    return (_suites() / "templates" / f"{kind}.yaml").read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a suite file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Suite.model_json_schema()}


def _suites() -> Path:
    installed = _FOLDER / "_suites"
    return installed if installed.is_dir() else _FOLDER.parent / "suites"


def _is_candidate(place: Place, data: Any) -> bool:
    """Whether the text at ``place`` is one of a list of candidate paths."""
    if len(place) < 5 or place[0] != "workloads" or place[-2] not in _CANDIDATES.get(str(place[2]), ()):
        return False
    if len(place) == 5:
        return isinstance(data["workloads"][place[1]][place[2]][place[3]], list)
    return len(place) == 6 and place[3] == "calibrate"


def _keep_existing(document: Document, environ: Mapping[str, str], folders: Sequence[Path]) -> list[Problem]:
    """Replace lists of candidates by the first that exists, and what exists by its absolute path."""
    problems = []
    for holder, place in _path_holders(document.data):
        key = place[-1]
        inside = str(holder["package"]) if key == "files" and isinstance(holder.get("package"), str) else None
        value = holder[key]
        if isinstance(value, str):
            holder[key] = value if inside else _located(value, folders) or value
        elif (
            key in _ALTERNATIVES and isinstance(value, list) and value and all(isinstance(item, str) for item in value)
        ):
            if inside:
                problems.append(Problem(place, "files inside a package are one glob, not a list"))
                continue
            chosen, tried = _first_existing(value, environ, folders)
            holder[key] = chosen or value[0]
            if chosen is None and not (key == "ultralytics" and _OFFICIAL.fullmatch(value[0])):
                dotted = ".".join(str(part) for part in place)
                hint = f"put one in place, or give yours: --set {dotted}=PATH"
                problems.append(Problem(place, f"no candidate of {key} exists: {'; '.join(tried)}", hint))
    interpreters = document.data.get("interpreters")
    for name, value in interpreters.items() if isinstance(interpreters, dict) else ():
        if isinstance(value, str):
            interpreters[name] = _located(value, folders) or value
    return problems


def _path_holders(data: Mapping[str, Any]) -> Iterator[tuple[Any, Place]]:
    """Yield each mapping or list that holds a path, and the place of the path in it."""
    workloads = data.get("workloads")
    for name, workload in workloads.items() if isinstance(workloads, dict) else ():
        task = workload.get("task") if isinstance(workload, dict) else None
        if isinstance(task, dict) and "path" in task:
            yield task, ("workloads", name, "task", "path")
        for part, keys in _CANDIDATES.items():
            holder = workload.get(part) if isinstance(workload, dict) else None
            if not isinstance(holder, dict):
                continue
            inner = holder.get("calibrate")
            for images, place in ((holder, (part,)), (inner, (part, "calibrate"))):
                if not isinstance(images, dict):
                    continue
                for key in sorted(keys & images.keys()):
                    # Beside `files`, `images` is a glob below it.
                    if key != "images" or "files" not in images:
                        yield images, ("workloads", name, *place, key)
            folders = holder.get("path")
            if part == "source" and isinstance(folders, list):
                for index in range(len(folders)):
                    yield folders, ("workloads", name, part, "path", index)


def _first_existing(
    candidates: Sequence[str], environ: Mapping[str, str], folders: Sequence[Path]
) -> tuple[str | None, list[str]]:
    tried = []
    for candidate in candidates:
        try:
            text = substitute(candidate, environ)
        except Undefined as undefined:
            tried.append(f"{shorten(candidate)} ({undefined.name} is not set)")
            continue
        except ValueError as error:
            tried.append(str(error))
            continue
        found = _located(text, folders)
        if found is not None:
            return found, []
        tried.append(f"{shorten(text)} (not found)")
    return None, tried


def _located(text: str, folders: Sequence[Path]) -> str | None:
    """Return the absolute path (or glob) of what exists in one of the folders, links kept as they are."""
    for folder in folders:
        absolute = os.path.abspath(folder / os.path.expanduser(text))  # noqa: PTH100, PTH111 - Path resolves no ".." itself
        # os.path answers for a name that is too long, where Path raises.
        if os.path.exists(absolute):  # noqa: PTH110
            return absolute
        if glob.has_magic(text) and next(glob.iglob(absolute, recursive=True), None) is not None:  # noqa: PTH207
            return absolute
    return None


def _unknown_workloads(data: Mapping[str, Any]) -> list[Problem]:
    """Return the workloads that the matrix or its exceptions name and that are not defined."""
    known = data.get("workloads")
    if not isinstance(known, dict):
        return []
    problems = []
    for place, value in _workload_names(data):
        if isinstance(value, str) and value not in known:
            message = f"unknown workload {shorten(value)!r}{did_you_mean(value, known)}"
            problems.append(Problem(place, message, f"defined under workloads: {', '.join(map(shorten, known))}"))
    return problems


def _workload_names(data: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    holders: list[tuple[Place, Any]] = [(("matrix",), data.get("matrix"))]
    for key in ("include", "exclude"):
        entries = data.get(key)
        holders += [((key, i), entry) for i, entry in enumerate(entries)] if isinstance(entries, list) else []
    for place, holder in holders:
        named = holder.get("workload") if isinstance(holder, dict) else None
        if isinstance(named, list):
            yield from (((*place, "workload", i), name) for i, name in enumerate(named))
        else:
            yield (*place, "workload"), named


def explained(details: ErrorDetails, whole: Mapping[str, Any]) -> Problem:
    """Return what pydantic found in the words of the file's reader; ``whole`` is the JSON Schema of the file."""
    context = details.get("ctx", {})
    place = tuple(part for part in details["loc"] if part not in {"[key]", "[range]", "[images]"})
    value = details["input"]
    match details["type"]:
        case "extra_forbidden":
            key = str(place[-1])
            known = _known_keys(place[:-1], whole)
            hint = f"known there: {', '.join(known)}"
            return Problem(place, f"unknown key {shorten(key)!r}{did_you_mean(key, known)}", hint, at_key=True)
        case "missing":
            return Problem(place[:-1], f"the key {place[-1]!r} is missing")
        case "literal_error" | "enum":
            expected = context["expected"]
            meant = did_you_mean(str(value), expected.replace("'", "").replace(" or ", ", ").split(", "))
            return Problem(place, f"expected {expected}, found {describe(value)}{meant}")
        case "string_pattern_mismatch" if "[key]" in details["loc"]:
            message = f"{shorten(value)!r} is no name: up to 64 letters, digits, '_', '+' and '-'"
            return Problem(place, message, at_key=True)
        case "string_pattern_mismatch":
            return Problem(place, f"{describe(value)} does not have the form {_FORMS.get(str(place[-1]), 'asked')}")
        case "too_short":
            return Problem(place, f"at least {context['min_length']} is needed here")
        case "suite":
            return Problem((*place, *context["below"]), context["message"], context["hint"])
        case "value_error":
            return Problem(place, str(context["error"]))
        case kind if kind in _EXPECTED:
            return Problem(place, f"expected {_EXPECTED[kind]}, found {describe(value)}")
    return Problem(place, f"{details['msg'].removeprefix('Input ')}, found {describe(value)}")


_FORMS = {
    "torch": "package.module:callable",
    "calibrate": "start:stop, such as 0:64 or train:0:64",
    "evaluate": "start:stop, such as 64:128",
    "take": "start:stop, such as 0:64",
}


def _known_keys(place: Place, whole: Mapping[str, Any]) -> list[str]:
    """Return the keys that the schema knows at a place."""
    node = whole
    for part in place:
        named = next(iter(node.get("patternProperties", {}).values()), None)
        inner = node.get("properties", {}).get(part) or named or node.get("items") or node.get("additionalProperties")
        node = _followed(inner or {}, whole)
    return list(node.get("properties", ()))


def _followed(node: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
    # Of several forms that with keys is meant: a place below the value is looked for.
    node = next((choice for choice in choices if "$ref" in choice or "oneOf" in choice), (choices or [node])[0])
    node = next((choice for choice in node.get("oneOf", ()) if "$ref" in choice), node)
    reference = node.get("$ref")
    return whole["$defs"][reference.rpartition("/")[2]] if reference else node
