"""The ``gate`` of a suite: what may fail a build, by how much it has to change, and what is suffered until when."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    PositiveFloat,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
)

from harness.settings import did_you_mean
from harness.suite_values import Listed, Many, SuiteModel, Word, problem

STATUS, ACCURACY = "status", "accuracy"
MARGINS = (
    *("latency", "throughput", "tail", "cold_start", "memory", "size"),
    *(ACCURACY, "misses", "rate", "sustained"),
)
"""What a margin can be set of."""
DEFAULT_RULES = ("latency", "throughput", "memory", ACCURACY, STATUS)
"""What is gated where a suite names nothing."""
FIRST_LOOK, SECOND_LOOK = 10, 20
"""Launches of a timed cell at the first look and, where that leaves something open, at the second."""

_MARGIN = re.compile(r"\s*([0-9]{1,6}(?:\.[0-9]{1,9})?)\s*(%|pts?|points?)\s*")


def share(rule: str, margin: object) -> float:
    """Return a margin as a share, ``3%`` as 0.03; that of ``accuracy`` in the metric's units, ``0.5pt`` as 0.005.

    Raises ``ValueError``, which says how one is written, for what is none, has no unit or that of another rule, or does
    not lie between 0 and 1. A bare number is read as percent by one and as a share by another: it is refused.
    """
    example = "0.5pt" if rule == ACCURACY else "3%"
    match = _MARGIN.fullmatch(margin) if isinstance(margin, str) else None
    if match is None:
        raise ValueError(f"a margin of {rule} is written as {example}, not {str(margin)[:40]!r}")
    if (match[2] != "%") != (rule == ACCURACY):
        kind = "a difference in points" if rule == ACCURACY else "a share"
        raise ValueError(f"a margin of {rule} is {kind}, written as {example}, not {match[0][:40]!r}")
    found = float(match[1]) / 100
    if not 0 < found < 1:
        raise ValueError(f"a margin of {rule} lies between 0 and 100 {match[2]}, not at {match[0].strip()}")
    return found


def _as_date(value: object) -> object:
    """Return a day; YAML, JSON and the command line give text."""
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"a day is written 2026-12-01, not {value[:40]!r}") from None


def _as_rule(value: object) -> object:
    known = (*MARGINS, STATUS)
    if value is not None and value not in known:
        meant = did_you_mean(str(value), known)
        raise problem((), f"no rule is called {str(value)[:40]!r}{meant}", f"there are: {', '.join(known)}")
    return value


Day = Annotated[date, BeforeValidator(_as_date), WithJsonSchema({"type": "string", "format": "date"})]
Margin = Annotated[
    str | bool | None,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "boolean"}]}),
]


class Allow(SuiteModel):
    """A change that is known, and fails nothing until a day."""

    cells: Word = Field(description="Pattern of labels, as `--only` takes it, such as `yolo11n/openvino/int8/*`.")
    until: Day = Field(description="The last day on which it holds, such as 2026-12-01.")
    rule: Annotated[
        str | None,
        BeforeValidator(_as_rule),
        WithJsonSchema({"enum": [*MARGINS, STATUS]}),
    ] = Field(None, description="The rule that it holds for; every one where absent.")
    reason: str = Field("", description="Why, for whoever reads the next gate.")

    @model_serializer(mode="wrap")
    def _without_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _told(dump(self))


class Gating(SuiteModel):
    """What `harness gate` fails for. A margin is a share, such as `3%`; `true` takes the quantity's own."""

    latency: Margin = Field(None, description="Median latency; 3% where `true` or by default.")
    throughput: Margin = Field(None, description="Items per second; 3% where `true` or by default.")
    tail: Margin = Field(None, description="Percentiles of latency; 10% where `true`.")
    cold_start: Margin = Field(None, description="Load time and first inference; 10% where `true`.")
    memory: Margin = Field(None, description="Peak memory; 5% where `true` or by default.")
    size: Margin = Field(None, description="Size of the artifact; 5% where `true`.")
    accuracy: Margin = Field(None, description="In points of the metric; 0.5pt where `true` or by default.")
    misses: Margin = Field(None, description="Deadline misses; 10% where `true`.")
    rate: Margin = Field(None, description="A server's rate within its SLO; 5% where `true`.")
    sustained: Margin = Field(None, description="Throughput at the end of a soak; 5% where `true`.")
    status: bool | None = Field(None, description="A cell that passed and now fails; `true` by default.")
    only: Many[Word] | None = Field(None, description="Patterns of labels: what is gated; every cell where absent.")
    launches: Annotated[int, Field(ge=2, le=1000)] = Field(
        FIRST_LOOK,
        description="Fresh processes per timed cell at the first look; where that leaves something open, every cell "
        "gets as many again, up to 20.",
    )
    minutes: PositiveFloat = Field(20.0, description="Cap for all measuring, export and second look included.")
    allow: Annotated[tuple[Allow, ...], Listed] = Field((), description="Known changes that fail nothing for now.")

    @field_validator(*MARGINS, mode="before")
    @classmethod
    def _is_margin(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            raise ValueError("null means nothing here: leave the key out, or write false")
        if not isinstance(value, bool):
            share(str(info.field_name), value)
        return value

    @field_validator(STATUS, mode="before")
    @classmethod
    def _is_told(cls, value: object) -> object:
        if value is None:
            raise ValueError("null means nothing here: leave the key out, or write false")
        return value

    @model_serializer(mode="wrap")
    def _without_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _told(dump(self))

    @property
    def gated(self) -> frozenset[str]:
        """What can fail: the rules that are named, or where none is the usual ones, less those that are ``false``."""
        said = {name: getattr(self, name) for name in (*MARGINS, STATUS)}
        named = frozenset(name for name, value in said.items() if value is not None and value is not False)
        return named or frozenset(DEFAULT_RULES) - {name for name, value in said.items() if value is False}

    @property
    def margins(self) -> dict[str, float]:
        """The margins that are given, by rule."""
        said = {name: getattr(self, name) for name in MARGINS}
        return {name: share(name, value) for name, value in said.items() if isinstance(value, str)}


def _told(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}
