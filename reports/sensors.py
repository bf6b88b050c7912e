"""What the machine's sensors told while a row was timed, as facts of the row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.telemetry.noise import GPU_THROTTLE
from harness.vocabulary import State
from reports import units
from reports.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.vocabulary import NoiseReading
    from results.driven import Sensed
    from results.row import Row

_WORDS = ("min", "median", "max")


def facts(row: Row) -> Iterator[tuple[str, str]]:
    """Yield each sensor with what it told, then once for each reason those that told nothing, then the throttling."""
    untold: dict[str, list[str]] = {}
    for sensed in row.sensors:
        if sensed.spread is None:
            untold.setdefault(sensed.reason, []).append(sensed.name)
        else:
            yield sensed.name, _told(sensed, sensed.spread)
    for reason, names in untold.items():
        yield ", ".join(names), f"unavailable: {reason}"
    if GPU_THROTTLE in row.noise:
        yield "GPU throttling", _throttling(row.noise[GPU_THROTTLE])


def _told(sensed: Sensed, spread: tuple[float, float, float]) -> str:
    unit, shown = sensed.unit, [f"{value:,.0f}" for value in spread]
    if unit == "B":
        scale = units.sizes(spread)
        unit, shown = scale.unit, [scale.number(value) for value in spread]
    said = ", ".join(f"{word} {value}" for word, value in zip(_WORDS, shown, strict=True))
    of = f"{counted(sensed.samples, 'sample')} in {counted(sensed.launches, 'launch', 'launches')}"
    return f"{said}\u00a0{unit}; {of}"


def _throttling(reading: NoiseReading) -> str:
    if reading.state is State.UNAVAILABLE:
        return f"unavailable: {reading.detail}"
    if reading.state is State.OK:
        return "; ".join(filter(None, ("none", reading.detail)))
    return f"in {100 * (reading.value or 0.0):.0f}\u00a0% of the samples of a launch: {reading.detail}"
