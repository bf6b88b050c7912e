"""The columns of a flat table that scenarios beyond latency, throughput, memory and accuracy fill: only where one ran.

Where a suite names several scenarios of one kind, the name is in the column: ``camera_night_miss_share``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from results.scenarios.loadgen import NOT_VERIFIED, headline, name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results.driven import Camera, EndToEnd, Energy, Growth, LoadGenResult, Sensed, Server, Soak
    from results.row import Interval, Row

_UNSAFE = re.compile(r"[^a-z0-9]+")
_MIB = 1 << 20
_SENSED = {"MHz": ("mhz", 1.0), "°C": ("c", 1.0), "B": ("mib", 1 / _MIB)}
"""The unit of a sensor in the name of its column, and the factor to it."""


def driven(row: Row) -> dict[str, Any]:
    """Return the columns of a row, units in their names."""
    columns: dict[str, Any] = {}
    # One title may be driven with several numbers of streams, which its columns then name.
    several = {
        (kind, each.title)
        for kind, found in (("camera", row.cameras), ("server", row.servers), ("soak", row.soaks))
        for each in found
        if sum(other.title == each.title for other in found) > 1
    }

    def titled(kind: str, each: Camera | Server | Soak) -> str:
        return f"{each.title or kind} s{each.streams}" if (kind, each.title) in several else each.title

    if row.end_to_end is not None:
        columns |= _end_to_end(row.end_to_end)
    for camera in row.cameras:
        columns |= _named("camera", titled("camera", camera), _camera(camera))
    for server in row.servers:
        columns |= _named("server", titled("server", server), _server(server))
    for soak in row.soaks:
        columns |= _named("soak", titled("soak", soak), {**_soak(soak), **_soak_energy(soak)})
    if row.growth is not None:
        columns |= _named("memory_growth", "", _growth(row.growth))
    for energy in row.energy:
        columns |= _named("energy", energy.scope, _energy(energy))
    for sensed in row.sensors:
        columns |= _named(_UNSAFE.sub("_", sensed.name.casefold()), "", _sensed(sensed))
    for result in row.loadgen:
        # The scenario's own name in the suite may be one that a shortened run must not bear.
        accuracy = " accuracy" if result.run.mode == "AccuracyOnly" else ""
        columns |= _named("loadgen", f"{result.run.scenario}{accuracy}", _loadgen(result))
    return columns


def _named(kind: str, title: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    word = _UNSAFE.sub("_", title.casefold()).strip("_")
    prefix = kind if word in {"", kind} else f"{kind}_{word.removeprefix(f'{kind}_')}"
    return {f"{prefix}_{column}": value for column, value in columns.items()}


def _end_to_end(found: EndToEnd) -> dict[str, Any]:
    return {
        **interval("end_to_end_ms", found.total, 1e-6),
        "end_to_end_preparation_ms": found.preparation.estimate * 1e-6,
        "end_to_end_inference_ms": found.inference.estimate * 1e-6,
        "end_to_end_finish_ms": found.finish.estimate * 1e-6,
        "end_to_end_launches": found.total.launches,
        "end_to_end_iterations": found.iterations,
        **{f"end_to_end_p{100 * each.q:g}_ms": scaled(each.value_ns, 1e-6) for each in found.quantiles},
    }


def _camera(found: Camera) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "miss_share": found.missed.estimate,
        "miss_share_low": found.missed.low,
        "miss_share_high": found.missed.high,
        "missed": found.missed.count,
        "frames": found.missed.of,
        "dropped": found.dropped,
        "overruns": found.overruns,
        **interval("response_ms", found.response, 1e-6),
        **{f"response_p{100 * each.q:g}_ms": scaled(each.value_ns, 1e-6) for each in found.quantiles},
        "worst_lateness_ms": found.worst_lateness_ns * 1e-6,
        "streams": found.streams,
        "launches": found.launches,
    }


def _server(found: Server) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "slo_ms": found.slo_ms,
        "slo_percentile": found.slo_percentile,
        **interval("rate_hz", found.rate_hz),
        "generator_lateness_ms": found.lateness_ns * 1e-6,
        "streams": found.streams,
    }


def _soak(found: Soak) -> dict[str, Any]:
    return {
        "burst_items_per_s": found.burst,
        "sustained_items_per_s": found.sustained,
        **interval("ratio", found.ratio),
        "slowed_after_s": found.slowed_after_s,
        "seconds": found.seconds,
        "streams": found.streams,
    }


def _soak_energy(found: Soak) -> dict[str, Any]:
    """Return the energy at full load, of what could be read; why another could not is told with that of latency."""
    told = [(each.scope, _energy(each)) for each in found.energy if each.joules_per_inference is not None]
    return {
        f"energy_{scope}_{name}": value
        for scope, columns in told
        for name, value in columns.items()
        if name != "unavailable"
    }


def _growth(found: Growth) -> dict[str, Any]:
    return {
        **interval("mib_per_1000", found.bytes_per_inference, 1000 / _MIB),
        "leaks": found.leaks,
        "inferences": found.inferences,
    }


def _energy(found: Energy) -> dict[str, Any]:
    return {
        **interval("j", found.joules_per_inference),
        "w": found.watts,
        "counter": found.source or None,
        "unavailable": found.reason or None,
    }


def _sensed(found: Sensed) -> dict[str, Any]:
    unit, factor = _SENSED[found.unit]
    spread = found.spread or (None, None, None)
    told = zip(("min", "median", "max"), spread, strict=True)
    return {**{f"{name}_{unit}": scaled(value, factor) for name, value in told}, "unavailable": found.reason or None}


def _loadgen(result: LoadGenResult) -> dict[str, Any]:
    found = headline(result.run)
    score = {"score_name": f"{found[0]}, {found[2]}", "score_unverified": found[1]} if found else {}
    return {"name": name(result.run), "valid": result.run.valid, **score, "status": f"unverified: {NOT_VERIFIED}"}


def interval(column: str, found: Interval | None, factor: float = 1.0) -> dict[str, float | None]:
    """Return the columns of an estimate and its bounds; ``factor`` turns its unit into that of the column."""
    return {
        column: scaled(found.estimate if found else None, factor),
        f"{column}_low": scaled(found.low if found else None, factor),
        f"{column}_high": scaled(found.high if found else None, factor),
    }


def scaled(value: float | None, factor: float) -> float | None:
    """Return ``value`` in another unit; what is missing stays missing."""
    return None if value is None else value * factor
