"""The answer: what was on offer, what each would cost, what was left out and why, how sure the choice is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results.procurement.demand import Demand
    from results.row import Interval


STATED = "at full load, as stated with its price"
"""Where the power of an offer is from that nobody measured here."""


class Constraint(StrEnum):
    """What may leave a row out."""

    TRUST = "trust"  # screening, noisy, fallen back, failed, another precision than asked
    SUSTAINED = "sustained"  # nothing says what it holds for long
    SLO = "slo"  # misses it, or was not measured under arrivals
    ACCURACY = "accuracy"  # below the minimum, undecided, or not measured
    LOAD = "load"  # one source is more than the device holds
    PRICE = "price"  # others have one and it has none


@dataclass(frozen=True)
class Span:
    """A value with the ends that the measurement's 95 % interval leaves to it; prices have no interval."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Capacity:
    """Items per second that one device holds for long, within the SLO where there is one."""

    items_per_s: Interval
    basis: tuple[str, ...]  # in words, the limiting one first: "sustained over 600 s (soak, 4 streams)"
    at_least: bool  # the highest load that was tried held as well: there may be more
    streams: int
    power_mode: str  # as the run states it; "not stated" where it does not
    by_launch: Mapping[int, float] | None = None  # of the limiting measurement, where it has several launches


@dataclass(frozen=True)
class Cost:
    """Money in the currency of the prices file."""

    per_year: Span | None  # None: no load was asked for
    per_million: Span  # inferences, at the load asked for, or at the allowed utilisation of one device
    parts: Mapping[str, float]  # per year at the estimate: device, host, energy, rent
    unit: str = ""  # name of the price: what is bought or rented


@dataclass(frozen=True)
class Offer:
    """A row that keeps every constraint."""

    variant_id: str
    capacity: Capacity
    devices: Span | None  # whole numbers; None: no load was asked for
    spares: int
    utilisation: float | None  # of the devices needed, at the load asked for
    watts: float | None  # of one device; under which load, and what says so, is in ``watts_source``
    watts_source: str  # ``STATED``, or "measured with one stream (rapl, package)"
    joules_per_inference: Interval | None  # as measured, whatever a price states
    energy_kwh_per_year: float | None
    cost: Cost | None  # None: no price, and no price was asked for
    retained_accuracy: float | None  # share of the FP32 row's metric
    joules_source: str = ""  # how they are known, as in ``watts_source``


@dataclass(frozen=True)
class Excluded:
    """A row that does not, with every constraint that it breaks, first the one that weighs most."""

    variant_id: str
    reasons: Mapping[Constraint, str]


@dataclass(frozen=True)
class Relaxation:
    """What one constraint costs: the best offer without it, and the least that it would have to give."""

    constraint: Constraint
    to: str  # "p99 ≤ 41 ms", "at least 97.8 % of FP32's accuracy", "sustained throughput measured"
    variant_id: str
    admits: int  # rows that would come in
    saves: float | None  # share of the choice's cost per year (devices where there are no prices); None: no choice yet


@dataclass(frozen=True)
class Sensitivity:
    """When the choice would be another."""

    of: str  # "price of NAME", "interval of the measurement", "load"
    holds: bool  # over the whole range looked at
    words: str  # "stays the choice until its price rises above 1,480 EUR (+23 %)"
    rival: str | None = None  # variant id of what would be chosen then


@dataclass(frozen=True)
class Recommendation:
    """The ranked answer for one workload."""

    workload: str
    demand: Demand
    currency: str | None
    offers: tuple[Offer, ...]  # best first
    tied: int  # how many of the first cannot be told apart; 1 is a choice, 0: nothing to offer
    excluded: tuple[Excluded, ...]
    relaxations: tuple[Relaxation, ...]
    sensitivities: tuple[Sensitivity, ...]
    criterion: str  # "cost per year", "cost per million inferences", "devices needed", "sustained throughput"
    notes: tuple[str, ...]  # "Units tested: 1; unit-to-unit spread not measured", ...
