"""How the run was made, on what machine, and how to make it again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, TypeVar

from reports import units
from reports.execution import noise
from reports.model import Method
from reports.text import clamp, counted, listed
from results.sources import UNNAMED, machine_label, mapping, shortest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reports.field import Field
    from results.sources import Source

T = TypeVar("T")

_TELLING = 10
"""Characters of a run id: those of its time."""
_WHOSE = 4
"""Runs that a title names one by one."""


def method(manifest: Mapping[str, Any], fields: Sequence[Field], records: int) -> Method:
    """Return the method section. A key that the manifest lacks is left out, never guessed."""
    plan, host = mapping(manifest.get("plan")), mapping(manifest.get("host"))
    run = [
        ("run", str(manifest.get("run_id", ""))),
        ("made", str(manifest.get("created_at", ""))),
        ("harness", str(manifest.get("harness_version", ""))),
        ("preset", str(plan.get("preset", ""))),
        ("seed", str(plan.get("seed", ""))),
        ("launches on record", f"{records:,}" if records else ""),
        ("record schema", str(manifest.get("schema", ""))),
        ("hw_id", str(host.get("hw_id", ""))),
        ("env_id", str(host.get("env_id", ""))),
    ]
    groups = [("Run", tuple((key, value) for key, value in run if value))]
    groups += [
        (title, tuple(flat(mapping(host.get(key)))))
        for key, title in (("hardware", "Hardware"), ("environment", "Environment"), ("conditions", "Conditions"))
    ]
    return Method(
        fingerprint=tuple((title, facts) for title, facts in groups if facts),
        engines=tuple(_engines(mapping(manifest.get("engines")))),
        overhead=tuple(_overhead(mapping(manifest.get("overhead")))),
        noise=tuple((field.workload, table) for field in fields if (table := noise(field))),
        command=command(manifest.get("command")),
        suite_text=str(manifest.get("suite_text", "")),
    )


def machine(manifest: Mapping[str, Any]) -> str:
    """Return the machine in a few words, or an empty string where the manifest does not say."""
    label = machine_label(mapping(mapping(manifest.get("host")).get("hardware")), memory=True)
    return "" if label == UNNAMED else label


def command(value: object) -> str:
    """Return a command line, quoted for a POSIX shell where it is stored as a list."""
    if isinstance(value, (list, tuple)):
        return shlex.join(str(word) for word in value)
    return str(value or "")


def _engines(engines: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, facts in sorted(engines.items()):
        if not isinstance(facts, dict):
            yield name, str(facts)
            continue
        versions = {str(key): str(version) for key, version in mapping(facts.get("versions")).items()}
        parts = [str(facts.get("version", "")), *(f"{key} {version}" for key, version in sorted(versions.items()))]
        reason = [str(facts.get(key, "")) for key in ("reason", "message", "hint")]
        yield name, ", ".join(dict.fromkeys(part for part in [*parts, *reason] if part)) or "no facts on record"


def _overhead(by_streams: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the time that the harness itself takes per inference, by the number of streams."""
    for streams, value in sorted(by_streams.items(), key=lambda item: (len(item[0]), item[0])):
        if streams.isdecimal() and len(streams) < 9 and isinstance(value, (int, float)):
            yield f"with {counted(int(streams), 'stream')}", f"{units.duration(value)} per inference"
        else:
            yield _leaf(streams, value)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of a nested mapping under readable names, in the unit that each name ends in."""
    for key, value in sorted(values.items()):
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flat(value, f"{name} · ")
        elif isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
            yield from flat({f"{key} {place}": item for place, item in enumerate(value)}, prefix)
        elif isinstance(value, (list, tuple)):
            yield _plain(name), ", ".join(str(item) for item in value) if value else units.MISSING
        else:
            yield _leaf(name, value)


def _leaf(name: str, value: object) -> tuple[str, str]:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is not None and name.endswith("_ns"):
        return _plain(name.removesuffix("_ns")), units.duration(number)
    if number is not None and name.endswith("_bytes"):
        return _plain(name.removesuffix("_bytes")), units.sizes([number]).quantity(number)
    if isinstance(value, bool):
        return _plain(name), "yes" if value else "no"
    if isinstance(value, float):
        return _plain(name), units.significant(value)
    return _plain(name), units.MISSING if value is None or value == "" else str(value)


def _plain(name: str) -> str:
    return name.replace("_", " ")


def launches_phrase(fields: Sequence[Field]) -> str:
    """Return how many launches the latency cells had: ``5 launches`` or ``2 to 5 launches``."""
    counts = {row.latency.host_to_host.launches for field in fields for _, row in field if row.latency is not None}
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    return counted(low, "launch", "launches") if low == high else f"{low} to {high} launches"


# --- several runs ------------------------------------------------------------------------------------------------


def methods(sources: Sequence[Source], fields: Sequence[Field]) -> Method:
    """Return the method section of several runs: what they share is said once, the rest of each by its name."""
    tells = run_tells(sources)
    each = [(tells[source.run_id], method(source.manifest, (), source.records)) for source in sources]
    groups = _by_content((tell, part) for tell, made in each for part in made.fingerprint)
    engines = _by_content((tell, part) for tell, made in each for part in made.engines)
    overhead = _by_content((tell, part) for tell, made in each for part in made.overhead)
    commands = _by_content((tell, ("", made.command)) for tell, made in each if made.command)
    texts = _by_content((tell, ("", made.suite_text)) for tell, made in each if made.suite_text)
    return Method(
        fingerprint=tuple((_of(title, who, len(each)), facts) for (title, facts), who in groups.items()),
        engines=tuple((_of(name, who, len(each)), facts) for (name, facts), who in sorted(engines.items(), key=_title)),
        overhead=tuple((_of(name, who, len(each)), facts) for (name, facts), who in overhead.items()),
        noise=tuple((field.workload, table) for field in fields if (table := noise(field))),
        command=_texts(commands, len(each)),
        suite_text=_texts(texts, len(each)),
    )


def short_ids(sources: Sequence[Source]) -> dict[str, str]:
    """Return the beginning of each run's id that tells it from the others, by its id."""
    return {
        run: clamp(head, 100)
        for run, head in shortest(sorted({source.run_id for source in sources}), least=_TELLING).items()
    }


def run_tells(sources: Sequence[Source]) -> dict[str, str]:
    """Return a short name for each run by its id: the beginning that tells it, and its machine if there are several."""
    short = short_ids(sources)
    several = len({source.machine for source in sources}) > 1
    return {
        source.run_id: clamp(f"{short[source.run_id]} ({source.machine})" if several else short[source.run_id], 100)
        for source in sources
    }


def _by_content(parts: Iterable[tuple[str, T]]) -> dict[T, list[str]]:
    """Return whose each part is, in the order of first sight."""
    found: dict[T, list[str]] = {}
    for tell, part in parts:
        found.setdefault(part, []).append(tell)
    return found


def _title(item: tuple[tuple[str, str], list[str]]) -> tuple[str, list[str]]:
    (name, _), who = item
    return name, who


def _of(title: str, who: Sequence[str], runs: int) -> str:
    """Return a title with whose it is, where that is not everyone's."""
    if len(who) == runs:
        return title
    shown = [*who[:_WHOSE], f"{len(who) - _WHOSE} more"] if len(who) > _WHOSE else who
    return f"{title}: {'run' if len(who) == 1 else 'runs'} {listed(shown)}"


def _texts(texts: Mapping[tuple[str, str], Sequence[str]], runs: int) -> str:
    """Return the text that all runs share, or each under a comment that says whose it is."""
    if len(texts) == 1 and all(len(who) == runs for who in texts.values()):
        return next(text for _, text in texts)
    return "\n".join(f"# {_of('', who, runs).removeprefix(': ')}\n{text}" for (_, text), who in texts.items())
