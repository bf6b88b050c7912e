"""Recommendations by hand, in amounts that are plainly invented."""

from __future__ import annotations

from dataclasses import replace

from results.procurement.demand import Demand, Load, Slo
from results.procurement.offers import (
    STATED,
    Capacity,
    Constraint,
    Cost,
    Excluded,
    Offer,
    Recommendation,
    Relaxation,
    Sensitivity,
    Span,
)
from results.row import Interval

SUSTAINED = "sustained over 600 s (soak, 4 streams)"
UNITS_TESTED = "Units tested: 1; unit-to-unit spread not measured."
DEMAND = Demand(Slo(99.0, 33e6), 0.99, Load(30.0, 8, cameras=True))
ASKED_FOR_NOTHING = Demand()


def capacity(**changes):
    usual = Capacity(Interval(212.0, 201.0, 223.0, 1), (SUSTAINED,), False, 4, "governor performance")  # noqa: FBT003
    return replace(usual, **changes)


def cost(per_year=1240.0, unit="Example box", **changes):
    span = Span(per_year, per_year, per_year * 4 / 3)
    return Cost(span, Span(per_year / 7574, per_year / 7574, per_year / 5680), {"device": 1000.0}, unit, **changes)


def offer(variant, **changes):
    usual = Offer(
        variant_id=variant,
        capacity=capacity(),
        devices=Span(3, 3, 4),
        spares=0,
        utilisation=0.62,
        watts=61.0,
        watts_source=STATED,
        joules_per_inference=Interval(0.41, 0.40, 0.42, 5),
        energy_kwh_per_year=534.0,
        cost=cost(),
        retained_accuracy=0.998,
    )
    return replace(usual, **changes)


def unpriced(variant, **changes):
    unknown = {"watts": None, "watts_source": "", "joules_per_inference": None, "energy_kwh_per_year": None}
    return offer(variant, **{**unknown, "cost": None, **changes})


def excluded(variant, **reasons):
    return Excluded(variant, {Constraint(name): reason for name, reason in reasons.items()})


def relaxation(variant, constraint="slo", to="p99 ≤ 41 ms", admits=2, saves=0.12):
    return Relaxation(Constraint(constraint), to, variant, admits, saves)


def sensitivity(rival=None, *, holds=True, of="price of Example box", words="stays the choice up to 1,480 EUR (+19 %)"):
    return Sensitivity(of, holds, words, rival)


def recommendation(*offers, **changes):
    """Return a choice of the first offer, or nothing where there is none."""
    usual = Recommendation(
        workload="lite0",
        demand=DEMAND,
        currency="EUR",
        offers=offers,
        tied=min(1, len(offers)),
        excluded=(),
        relaxations=(),
        sensitivities=(),
        criterion="cost per year",
        notes=(UNITS_TESTED,),
    )
    return replace(usual, **changes)
