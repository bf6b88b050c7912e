"""A shipped suite made ready as ``harness run`` does it: engines probed, models exported, inputs prepared."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import registry, suite
from harness.cli import campaign as campaigns
from harness.errors import HarnessError
from harness.runner import Bench
from harness.vocabulary import EngineFacts, Failed, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.cli.campaign import Campaign
    from harness.vocabulary import Cell

_EXPORT_TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Prepared:
    """A campaign with a bench for each of its variants."""

    campaign: Campaign
    benches: Mapping[str, Bench]  # by variant id
    absent: tuple[str, ...] = ()  # engines that are not to be had here, each with the reason

    def cells(self, scenario: str) -> tuple[tuple[Cell, Bench], ...]:
        """Return the cells of a scenario by engine, each with its bench."""
        cells = campaigns.runnable(self.campaign.plan)
        found = [cell for cell in cells if cell.scenario.name == scenario and cell.variant_id in self.benches]
        return tuple((cell, self.benches[cell.variant_id]) for cell in sorted(found, key=lambda cell: cell.engine))


def vendors_engines() -> tuple[str, ...]:
    """Return every registered engine that stands on a vendor's distribution, as the fake one does not."""
    offered = registry.registered(registry.ENGINES_GROUP).values()
    return tuple(entry.name for entry in offered if registry.engine(entry.target).distributions)


@contextmanager
def prepared(
    name: str, overrides: Sequence[str], engines: Sequence[str], told: Callable[[str], None]
) -> Iterator[Prepared]:
    """Yield the shipped suite ``name`` at FP32 with ``engines``, ready to run; none of them: each that is to be had.

    Raises ``HarnessError`` for a named engine, a model or an image that is not to be had: nothing is left out in
    silence.
    """
    chosen = engines or vendors_engines()
    path = suite.find(name)
    asked = [*overrides, f"matrix.engine=[{', '.join(chosen)}]", "matrix.precision=[fp32]", "exclude=[]"]
    absent: dict[str, HarnessError] = {}
    with campaigns.opened_workshop(_EXPORT_TIMEOUT_S) as workshop:
        campaign = campaigns.look(suite.load(path, asked), path.absolute().parent, workshop, told)
        for engine, facts in campaign.survey.engines.items():
            if not isinstance(facts, EngineFacts):
                absent[engine] = _absent(facts)
        for planned in campaign.plan.cells:
            if planned.skipped is not None:
                absent.setdefault(planned.cell.engine, _absent(planned.skipped, planned.cell.label))
        for why in absent.values() if engines else ():
            raise why
        benches = campaigns.prepared(campaign, campaigns.runnable(campaign.plan), told)
        for bench in benches.values():
            if not isinstance(bench, Bench):
                raise _absent(bench)
        yield Prepared(campaign, benches, tuple(f"{name} is left out: {why.message}" for name, why in absent.items()))


def _absent(why: Failed | Skipped, what: str = "") -> HarnessError:
    reason = why.message if isinstance(why, Failed) else why.reason
    return HarnessError(f"{what}: {reason}" if what else reason, why.hint)
