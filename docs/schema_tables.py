"""``python docs/schema_tables.py``: bring the tables made from code up to date.

They are the keys of a suite and the suites that ship in ``docs/suites.md``, the exporters that ship in
``docs/architecture.md``, and the engines in ``docs/engines/README.md``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry, suite

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGES = tuple(Path(__file__).parent / name for name in ("suites.md", "architecture.md", "engines/README.md"))
_TABLE = re.compile(r"(<!-- schema: (\w+) -->\n).*?(<!-- /schema -->)", re.DOTALL)
_LIST = re.compile(r"(<!-- (exporters|engines|suites) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def updated(page: str) -> str:
    """Return the page with each table between ``<!-- schema: NAME -->`` and ``<!-- /schema -->`` made anew.

    Those between ``<!-- exporters -->``, ``<!-- engines -->`` or ``<!-- suites -->`` and their ends likewise. Raises
    ``KeyError`` for a NAME that the schema does not define.
    """
    schema = suite.schema()
    models = models_of(schema)
    lists = {"exporters": _exporters, "engines": _engines, "suites": _suites}
    page = _LIST.sub(lambda found: f"{found[1]}{lists[found[2]]()}{found[3]}", page)
    return _TABLE.sub(lambda found: f"{found[1]}{_table(models[found[2]], schema)}{found[3]}", page)


def _exporters() -> str:
    """Return one line of Markdown per exporter of this distribution: name, step, precisions."""
    lines = ["| exporter | step | from FP32 it gives | carries over |", "|---|---|---|---|"]
    for name, entry in registry.registered(registry.EXPORTERS_GROUP).items():
        if entry.distribution != "inference-harness" or name.startswith("fake"):
            continue
        exporter = registry.exporter(entry.target)
        given = ", ".join(
            f"{precision}, calibrated" if precision in exporter.calibrated else str(precision)
            for precision in sorted(exporter.precisions)
        )
        bound = "; bound to its device" if exporter.bound else ""
        kept = ", ".join(sorted(map(str, exporter.keeps)))
        lines.append(f"| `{name}` | `{exporter.source}` → `{exporter.target}`{bound} | {given} | {kept} |")
    return "\n".join(lines) + "\n"


def _engines() -> str:
    """Return one line of Markdown per engine of this distribution: page, formats, how it is installed."""
    lines = ["| engine | loads | install |", "|---|---|---|"]
    for name, entry in registry.registered(registry.ENGINES_GROUP).items():
        if entry.distribution != "inference-harness" or name.startswith("fake"):
            continue
        engine = registry.engine(entry.target)
        formats = ", ".join(f"`{each}`" for each in engine.formats)
        lines.append(f"| [{name}]({name}.md) | {formats} | `{engine.install}` |")
    return "\n".join(lines) + "\n"


def _suites() -> str:
    """Return one line of Markdown per suite that ships: its file, and what it says of itself."""
    shipped = sorted(suite.shipped().items())
    lines = [f"| [`{name}`](../suites/{path.name}) | {suite.description_of(path)} |" for name, path in shipped]
    return "\n".join(("| suite | |", "|---|---|", *lines)) + "\n"


def models_of(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return every mapping that a suite may hold, by name; ``Suite`` is the whole."""
    return {"Suite": schema, **{name: model for name, model in schema["$defs"].items() if "properties" in model}}


def _table(model: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return one line of Markdown per key: name, type, default, meaning."""
    required = model.get("required", ())
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, said in model["properties"].items():
        default = "required" if key in required else _default(said.get("default"))
        kinds = list(dict.fromkeys(_kinds(said, schema)))
        # Where the list is named first, a single value may merely stand for it, as the page says once.
        words = " or ".join(kind for place, kind in enumerate(kinds) if f"list of {kind}" not in kinds[:place])
        lines.append(f"| `{key}` | {words} | {default} | {' '.join(said.get('description', '').split())} |")
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    return f"`{json.dumps(value)}`" if value not in (None, "", [], {}) else ""


def _kinds(said: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words for the values that a node of the schema allows, null left out."""
    reference = said.get("$ref", "").rpartition("/")[2]
    choices = said.get("anyOf") or said.get("oneOf")
    if reference and "properties" in schema["$defs"][reference]:
        yield reference
    elif reference:
        yield from _kinds(schema["$defs"][reference], schema)
    elif choices:
        for choice in choices:
            yield from _kinds(choice, schema)
    elif "enum" in said or "const" in said:
        yield ", ".join(f"`{value}`" for value in said.get("enum", [said.get("const")]))
    elif said.get("type") == "array":
        items = " or ".join(dict.fromkeys(_kinds(said.get("items", {}), schema))) or "anything"
        yield f"list of {items}"
    elif said.get("type") == "object":
        yield "mapping"
    elif said.get("type") != "null":
        yield said.get("type", "anything")


if __name__ == "__main__":
    for each in PAGES:
        each.write_text(updated(each.read_text(encoding="utf-8")), encoding="utf-8")
