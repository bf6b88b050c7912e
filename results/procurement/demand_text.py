"""What is asked of a machine, as it is typed and as it is shown: each is the other read backwards."""

from __future__ import annotations

import re
from decimal import Decimal

from harness.errors import HarnessError
from harness.suite_yaml import shorten
from results.procurement.demand import Load, Slo

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,24})?)"
_NS_PER_UNIT = {"ns": Decimal(1), "us": Decimal(10) ** 3, "µs": Decimal(10) ** 3, "ms": Decimal(10) ** 6}
_NS_PER_UNIT["s"] = Decimal(10) ** 9
_SECONDS_PER_PERIOD = {"second": 1, "minute": 60, "hour": 3_600}
_PERIODS = {"s": "second", "sec": "second", "min": "minute", "h": "hour"} | {name: name for name in _SECONDS_PER_PERIOD}
_MULTIPLES = {"": Decimal(1), "k": Decimal(10) ** 3, "M": Decimal(10) ** 6}
_MAXIMUM_CAMERAS = 1_000_000

_SLO = re.compile(rf"p{_NUMBER}\s*(?:<=|=|<|≤)\s*{_NUMBER}\s*([a-zµ]*)", re.IGNORECASE)
_SHARE = re.compile(rf"{_NUMBER}\s*(%?)")
_CAMERAS = re.compile(rf"(?:([0-9]{{1,15}})\s*(?:[x×*]|cameras?\s+at)\s*)?{_NUMBER}\s*fps", re.IGNORECASE)
_RATE = re.compile(rf"{_NUMBER}\s*([kM]?)\s*(?:/|per\s)\s*([a-z]+)")

_SLO_HINT = "a percentile and its limit in ns, us, ms or s, such as --slo p99=33ms"
_ACCURACY_HINT = "a share of FP32's accuracy, such as --min-accuracy 99% or 0.99"
_UTILISATION_HINT = "the most of its capacity that a device is to be loaded with, such as 70% or 0.7"
_LOAD_HINT = "cameras, such as --load 8x30fps, or a rate, such as --load 240/s, 15k/min or 2M/h"


def slo(text: str) -> Slo:
    """Return the percentile and the limit that ``p99=33ms`` or ``p99.9 <= 5 ms`` says; units are ns, us, µs, ms and s.

    Raises ``HarnessError``, which says how one is written.
    """
    match = _SLO.fullmatch(_plain(text))
    if match is None:
        raise _refused("--slo", text, "not a percentile and its limit", _SLO_HINT)
    percentile, unit = float(match[1]), match[3].lower()
    if not unit:
        raise _refused("--slo", text, f"the limit {match[2]} has no unit", _SLO_HINT)
    if unit not in _NS_PER_UNIT:
        raise _refused("--slo", text, f"{shorten(match[3])!r} is no unit of time known here", _SLO_HINT)
    if not 0 < percentile < 100:
        raise _refused("--slo", text, "a percentile lies between 0 and 100; p100 would be a maximum", _SLO_HINT)
    limit_ns = float(Decimal(match[2]) * _NS_PER_UNIT[unit])
    if limit_ns <= 0:
        raise _refused("--slo", text, "no answer takes no time", _SLO_HINT)
    return Slo(percentile, limit_ns)


def shown_slo(slo: Slo) -> str:
    """Return ``p99 ≤ 33 ms``, in the largest unit of which the limit is at least one."""
    limit_ns = _exact(slo.limit_ns)
    units = [unit for unit in ("ns", "µs", "ms", "s") if limit_ns >= _NS_PER_UNIT[unit]] or ["ns"]
    return f"p{_digits(_exact(slo.percentile))} ≤ {_digits(limit_ns / _NS_PER_UNIT[units[-1]])} {units[-1]}"


def minimum_accuracy(text: str) -> float:
    """Return the share of the FP32 row's metric that ``99%`` or ``0.99`` asks for, above 0 and at most 1.

    Raises ``HarnessError``, which says how one is written.
    """
    share = _share(text)
    if share is None:
        raise _refused("--min-accuracy", text, "not a share", _ACCURACY_HINT)
    if share <= 0:
        raise _refused("--min-accuracy", text, "everything keeps that", _ACCURACY_HINT)
    if share > 1:
        more = "more than all of FP32's accuracy" if "%" in text else "neither a share of 1 nor marked with %"
        raise _refused("--min-accuracy", text, more, _ACCURACY_HINT)
    return share


def shown_accuracy(share: float) -> str:
    """Return a share of the FP32 row's metric in percent, ``99 %``."""
    return f"{_digits(_exact(share) * 100)} %"


def utilisation(text: str) -> float:
    """Return the share of its capacity that ``70%`` or ``0.7`` allows a device, above 0 and at most 1.

    Raises ``HarnessError``, which says how one is written.
    """
    share = _share(text)
    if share is None or not 0 < share <= 1:
        raise _refused("--utilisation", text, "not a share above 0 and at most 1", _UTILISATION_HINT)
    return share


def load(text: str) -> Load:
    """Return the load that ``8x30fps`` (eight cameras), ``30fps`` (one) or ``240/s``, ``15k/min``, ``2M/h`` says.

    The words of ``shown_load`` are read too. Raises ``HarnessError``, which says how one is written.
    """
    plain = _plain(text)
    match = _CAMERAS.fullmatch(plain)
    if match is not None:
        cameras, rate_hz = int(match[1] or 1), float(match[2])
        if not 0 < cameras <= _MAXIMUM_CAMERAS:
            raise _refused("--load", text, f"the number of cameras lies between 1 and {_MAXIMUM_CAMERAS:,}", _LOAD_HINT)
        asked = Load(rate_hz, sources=cameras, cameras=True)
    else:
        asked = Load(_rate_hz(text, plain))
    if asked.rate_hz <= 0:
        raise _refused("--load", text, "that is nothing to do", _LOAD_HINT)
    return asked


def shown_load(load: Load) -> str:
    """Return ``8 cameras at 30 fps``, or ``240 per second``; per minute or hour where only that is a short number."""
    if load.cameras:
        noun = "camera" if load.sources == 1 else "cameras"
        return f"{load.sources} {noun} at {_digits(_exact(load.rate_hz))} fps"
    per_second = _exact(load.items_per_s)
    for period, seconds in _SECONDS_PER_PERIOD.items():
        shown = Decimal(f"{per_second * seconds:.6g}")
        if float(shown / seconds) == load.items_per_s:
            return f"{_compact(shown)} per {period}"
    return f"{_digits(per_second)} per second"


def _share(text: str) -> float | None:
    match = _SHARE.fullmatch(_plain(text))
    return None if match is None else float(Decimal(match[1]) / (100 if match[2] else 1))


def _rate_hz(text: str, plain: str) -> float:
    match = _RATE.fullmatch(plain)
    if match is None:
        raise _refused("--load", text, "neither cameras nor a rate", _LOAD_HINT)
    period = _PERIODS.get(match[3])
    if period is None:
        raise _refused("--load", text, f"{shorten(match[3])!r} is no period known here: s, min or h", _LOAD_HINT)
    return float(Decimal(match[1]) * _MULTIPLES[match[2]] / _SECONDS_PER_PERIOD[period])


def _plain(text: str) -> str:
    """Return the text without what surrounds it, the Greek letter mu as the micro sign that looks the same."""
    return text.strip().replace("\N{GREEK SMALL LETTER MU}", "µ")


def _refused(option: str, text: str, message: str, hint: str) -> HarnessError:
    comma = "; no comma is read, neither between thousands nor as a point" if "," in text else ""
    return HarnessError(f"{option} {shorten(text)!r}: {message}{comma}", hint)


def _exact(value: float) -> Decimal:
    """Return the shortest decimal that reads as this number."""
    return Decimal(repr(value))


def _digits(value: Decimal) -> str:
    """Return a number in plain digits, without zeros that say nothing."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _compact(value: Decimal) -> str:
    """Return ``240``, ``2500``, ``15k``, ``2M``: no comma, which one reader takes for a point and another for none."""
    multiple = "M" if value >= _MULTIPLES["M"] else "k" if value >= 10 * _MULTIPLES["k"] else ""
    return f"{_digits(value / _MULTIPLES[multiple])}{multiple}"
