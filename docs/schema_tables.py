"""``python docs/schema_tables.py``: bring the tables of ``docs/suites.md`` up to date with the schema of a suite."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import suite

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = Path(__file__).with_name("suites.md")
_TABLE = re.compile(r"(<!-- schema: (\w+) -->\n).*?(<!-- /schema -->)", re.DOTALL)


def updated(page: str) -> str:
    """Return the page with each table between ``<!-- schema: NAME -->`` and ``<!-- /schema -->`` made anew.

    Raises ``KeyError`` for a NAME that the schema does not define.
    """
    models = models_of(suite.schema())
    return _TABLE.sub(lambda found: f"{found[1]}{table(models[found[2]])}{found[3]}", page)


def models_of(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return every mapping that a suite may hold, by name; ``Suite`` is the whole."""
    defined = schema.get("$defs", {})
    return {"Suite": schema, **{name: model for name, model in defined.items() if "properties" in model}}


def table(model: Mapping[str, Any]) -> str:
    """Return one line of Markdown per key: name, type, default, meaning."""
    required = model.get("required", ())
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, said in model["properties"].items():
        default = "required" if key in required else _default(said.get("default"))
        meaning = " ".join(str(said.get("description", "")).split())
        lines.append(f"| `{key}` | {' or '.join(dict.fromkeys(_kinds(said)))} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    return f"`{json.dumps(value)}`" if value not in (None, "", [], {}) else ""


def _kinds(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words for the values that a node of the schema allows, null left out."""
    choices = said.get("anyOf") or said.get("oneOf")
    if choices:
        for choice in choices:
            yield from _kinds(choice)
    elif "$ref" in said:
        yield said["$ref"].rpartition("/")[2]
    elif "enum" in said or "const" in said:
        yield ", ".join(f"`{value}`" for value in said.get("enum", [said.get("const")]))
    elif said.get("type") == "array":
        items = " or ".join(dict.fromkeys(_kinds(said.get("items", {})))) or "anything"
        yield f"list of {items}"
    elif said.get("type") == "object":
        yield "mapping"
    elif said.get("type") != "null":
        yield said.get("type", "anything")


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
