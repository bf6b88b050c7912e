"""``harness cache``: what exported models take on disk, and how to be rid of it."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from harness import environments
from harness.cache import Cache, Entry, default_root
from harness.cli.console import as_json, out, say
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(help="Show or prune exported models.", no_args_is_help=True)

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def opened() -> Cache:
    """Return the cache that this environment names."""
    return Cache(default_root(os.environ))


@app.command("ls")
def ls(*, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List what is kept, the most recently used first."""
    cache = opened()
    entries = sorted([*cache.entries(), *_environments(cache)], key=lambda entry: -entry.used_s)
    if json:
        as_json([_facts(entry) for entry in entries])
        return
    table = Table(box=None, pad_edge=False)
    for head, justify in (("kind", "left"), ("key", "left"), ("what", "left"), ("MB", "right"), ("used", "right")):
        table.add_column(head, justify="right" if justify == "right" else "left")
    for entry in entries:
        table.add_row(entry.kind, entry.key[:12], _what(entry), f"{entry.size_bytes / 1e6:.1f}", _ago(entry.used_s))
    total = sum(entry.size_bytes for entry in entries) / 1e6
    if entries:
        out.print(table)
    say(f"{len(entries)} entries, {total:.1f} MB in {cache.root}")


@app.command("prune")
def prune(
    keep: Annotated[
        str, typer.Option("--keep", metavar="SIZE", help="What may stay, such as 2GB; the least recently used go.")
    ] = "0",
) -> None:
    """Remove the least recently used entries; by default all of them."""
    keep_bytes, cache = _bytes(keep), opened()
    removed = cache.prune(keep_bytes=keep_bytes, beside=_environments(cache))
    say(f"removed {len(removed)} entries, {sum(entry.size_bytes for entry in removed) / 1e6:.1f} MB")


def _environments(cache: Cache) -> Iterator[Entry]:
    """Return what `harness ab` made of requirements."""
    return environments.kept(cache.root / environments.FOLDER)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:b)?\s*", text, re.IGNORECASE)
    if match is None:
        raise HarnessError(f"--keep {text!r} is no size", "write it as 500MB or 2GB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _what(entry: Entry) -> str:
    if "requirements" in entry.meta:
        return " ".join(entry.meta["requirements"]) or "left half made"
    artifact = entry.meta.get("artifact")
    if not artifact:
        return f"{entry.meta.get('count', '')} tensors" if "count" in entry.meta else ""
    return f"{artifact['format']} {artifact['precision']} ({' → '.join(artifact['route'])})"


def _ago(used_s: float) -> str:
    minutes = max(0.0, time.time() - used_s) / 60
    if minutes < 60:
        return f"{minutes:.0f} min ago"
    return f"{minutes / 60:.0f} h ago" if minutes < 48 * 60 else f"{minutes / 1440:.0f} d ago"


def _facts(entry: Entry) -> dict[str, object]:
    return {
        "kind": entry.kind,
        "key": entry.key,
        "path": str(entry.content),
        "size_bytes": entry.size_bytes,
        "idle_s": max(0, int(time.time() - entry.used_s)),
        "what": _what(entry),
    }
