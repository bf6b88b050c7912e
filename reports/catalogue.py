"""What the page's script filters and lists: facets and leading figures of every row, by column."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.text import clamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reports.model import RowName, View

_ACCURACY = {"passes": "kept", "reference": "kept", "fails": "missed", "undecided": "undecided"}
"""What a verdict on accuracy means to who looks for a row; FP32 keeps its own accuracy."""
UNMEASURED = "not measured"
_FIGURES = (
    ("latency_ms", "median latency", "ms", 1.0),
    ("latency_p99_ms", "p99", "ms", 1.0),
    ("throughput_items_per_s", "throughput", "items/s", 1.0),
    ("accuracy_change", "against FP32", "points", 100.0),
    ("memory_peak_mib", "peak memory", "MiB", 1.0),
    ("first_inference_ms", "first inference", "ms", 1.0),
    ("artifact_mib", "artifact", "MiB", 1.0),
)
"""Columns of the data that the list of all rows shows, where a row has them: column, title, unit, factor."""
_ANCHOR = 12
_WHY = 160
_WORDS = 8
"""Words of a label that are told one by one; what follows them is told as one."""
_LARGEST = float(np.finfo(np.float32).max)


def anchors(names: Sequence[RowName]) -> tuple[str, ...]:
    """Return the id of each row in the page: from its variant alone, so that a link outlives the run."""
    short = [_short(name.variant_id) for name in names]
    times = Counter(short)
    return tuple(
        f"row-{word if times[word] == 1 else _digest(name.variant_id)[:16]}"
        for word, name in zip(short, names, strict=True)
    )


def _short(variant_id: str) -> str:
    """Return the beginning of an id, and of the machine's that may follow it; of one that is not plain, of its hash."""
    parts = variant_id.split("-")
    plain = all(part.isascii() and part.isalnum() for part in parts)
    return "-".join(part[:_ANCHOR] for part in parts) if plain else _digest(variant_id)[:_ANCHOR]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def facets(view: View, lines: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return what rows can be filtered by: the view's own, and what became of the accuracy where it was measured."""
    found = set(_accuracies(lines))
    if found <= {UNMEASURED}:
        return view.facets
    values = tuple(value for value in ("kept", "undecided", "missed", UNMEASURED) if value in found)
    return (*view.facets, ("accuracy", "Accuracy", values))


def catalogue(view: View, lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the JSON that the script reads. ``lines``: the rows of the data, in the order of the view's.

    Of what repeats, and of figures, it has arrays of numbers in base64, little-endian: a browser takes them as they
    are, where it would read and keep a text for each row of many.
    """
    keys = [key for key, _, _ in view.facets]
    figures = [
        {"key": column, "title": title, "unit": unit, "values": _figures([line.get(column) for line in lines], factor)}
        for column, title, unit, factor in _FIGURES
        if any(line.get(column) is not None for line in lines)
    ]
    found = {
        "ids": " ".join(anchor.removeprefix("row-") for anchor in anchors(view.rows)),
        "labels": _labels([name.label for name in view.rows]),
        "ranked": _array([line.get("ranked") is True for line in lines], "u1"),
        "facets": {
            **{key: _coded(str(getattr(name, key)) for name in view.rows) for key in keys},
            "accuracy": _coded(_accuracies(lines)),
        },
        "figures": figures,
        "why": _coded(_reasons(view)),
    }
    return json.dumps(found, separators=(",", ":"), allow_nan=False)


def _accuracies(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [_ACCURACY.get(str(line.get("accuracy_verdict")), UNMEASURED) for line in lines]


def _coded(values: Iterable[str]) -> dict[str, Any]:
    """Return texts that repeat as the list of the different ones, and which of them each is where they differ.

    That is an array of bytes, or of as many more as it takes to tell them apart.
    """
    of: dict[str, int] = {}
    at = [of.setdefault(value, len(of)) for value in values]
    kind = "u1" if len(of) <= 1 << 8 else "u2" if len(of) <= 1 << 16 else "u4"
    return {"of": list(of), "at": _array(at, kind)} if len(of) > 1 else {"of": list(of)}


def _labels(labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return labels by the word at each of their places, empty where a label has ended: they share most of them."""
    words = [label.split(" ", _WORDS - 1) for label in labels]
    places = max(map(len, words), default=0)
    return [_coded(each[place] if place < len(each) else "" for each in words) for place in range(places)]


def _figures(values: Sequence[object], factor: float) -> str:
    """Return figures to seven digits, not a number where there is none: to be ordered and shown, not counted with."""
    scaled = [value * factor if isinstance(value, int | float) else np.nan for value in values]
    return _array(np.clip(scaled, -_LARGEST, _LARGEST), "f4")


def _array(values: Sequence[float] | np.ndarray, kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(f"<{kind}").tobytes()).decode("ascii")


def _reasons(view: View) -> list[str]:
    """Return, by row, what did not complete or what there is to say against it."""
    said: dict[int, list[str]] = {name.index: [] for name in view.rows}
    for incident in (*view.coverage.incidents, *view.coverage.findings):
        words = clamp(f"{incident.state}: {incident.reason}", _WHY)
        for row in incident.rows:
            said[row].append(words)
    return ["; ".join(dict.fromkeys(words)) for words in said.values()]
