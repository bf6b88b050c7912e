"""The options that say what is asked of a machine: those of ``harness recommend``, and of a report that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results.procurement.demand import Demand
    from results.procurement.offers import Recommendation
    from results.procurement.prices import Prices
    from results.row import Row
    from results.sources import Source

SloOption = Annotated[
    str | None, typer.Option("--slo", metavar="pQ=TIME", help="How late an answer may be, such as p99=33ms.")
]
MinAccuracy = Annotated[
    str | None,
    typer.Option("--min-accuracy", metavar="SHARE", help="How much of FP32's accuracy must be kept, such as 99%."),
]
LoadOption = Annotated[
    str | None,
    typer.Option("--load", metavar="LOAD", help="How much there is to do: cameras, 8x30fps, or a rate, 240/s."),
]
PricesFile = Annotated[
    Path | None,
    typer.Option("--prices", metavar="FILE", help="Your prices, dated (`harness recommend --example-prices`)."),
]
Workload = Annotated[str | None, typer.Option("--workload", metavar="NAME", help="This one alone, of several.")]
Utilisation = Annotated[
    str | None,
    typer.Option(
        "--utilisation", metavar="SHARE", help="The most that a device is to be loaded, such as 70%; else as in prices."
    ),
]


@dataclass(frozen=True)
class Asked:
    """A demand, and what machines cost."""

    demand: Demand
    prices: Prices | None
    utilisation: float | None  # None: as the prices file says

    def answered(self, rows: Sequence[Row], sources: Sequence[Source]) -> tuple[Recommendation, ...]:
        """Return the recommendation for each workload asked for.

        Raises ``HarnessError`` for a workload that the rows do not hold, and for two prices of one machine.
        """
        from results.procurement.choice import recommended  # brings SciPy, which only an answer should wait for

        return recommended(rows, sources, self.demand, self.prices, self.utilisation)


def asked(
    slo: str | None,
    min_accuracy: str | None,
    load: str | None,
    prices: Path | None,
    workload: str | None,
    utilisation: str | None,
) -> Asked | None:
    """Return what the options ask, or ``None`` where none of them is given. Raises ``HarnessError`` for a wrong one."""
    if all(each is None for each in (slo, min_accuracy, load, prices, workload, utilisation)):
        return None
    from results.procurement import demand_text
    from results.procurement.demand import Demand
    from results.procurement.prices_file import read_prices

    demand = Demand(
        slo=None if slo is None else demand_text.slo(slo),
        minimum_accuracy=None if min_accuracy is None else demand_text.minimum_accuracy(min_accuracy),
        load=None if load is None else demand_text.load(load),
        workload=workload,
    )
    share = None if utilisation is None else demand_text.utilisation(utilisation)
    return Asked(demand, None if prices is None else read_prices(prices), share)
