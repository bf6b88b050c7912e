"""A suite of the fake engine on a fleet, up to its launches: what `harness run SUITE --fleet FILE` puts together."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.scripted import HEAD, completed
from harness import jobs, suite
from harness.errors import HarnessError
from harness.fleet.dispatch import Crew, Dispatch
from harness.fleet.events import Finished, Lost
from results.fleets import FleetRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.fleet.contract import Host
    from harness.fleet.events import Event
    from harness.vocabulary import Record

SHORTEST = jobs.Limits(minimum_iterations=1, minimum_s=0.0, maximum_s=0.0, warmup_s=0.0)
"""Hardly an iteration: what is left of a launch is the same everywhere."""
MATRIX = "matrix: {{engine: fake, precision: fp32, device: cpu, threads: {threads}, scenario: [latency]}}\n"
"""Of rows that differ in their thread count, which the fake engine ignores: one artifact for all of them."""


@dataclass(frozen=True)
class Work:
    """Launches that are made one by one as records are asked for."""

    cells: int
    launches: int
    events: Iterator[Event]

    def records(self) -> Iterator[Record]:
        """Yield the record of each launch. Raises ``HarnessError`` where one did not complete or a host is lost."""
        for event in self.events:
            if isinstance(event, Lost):
                raise HarnessError(f"{event.host} was lost: {event.reason}", "measure again when the machine does less")
            if isinstance(event, Finished):
                yield completed(event.record)


@contextmanager
def work(folder: Path, rest: str, hosts: Sequence[Host]) -> Iterator[Work]:
    """Yield the launches of the suite ``HEAD`` + ``rest`` on hosts, prepared, none of them made."""
    from harness.cli import campaign as campaigns
    from harness.cli import fleet_campaign
    from harness.cli.fleet_runs import Making

    folder.mkdir(exist_ok=True)
    (folder / "script.json").write_text(json.dumps({"outputs": {"output": [10]}}), encoding="utf-8")
    (folder / "suite.yaml").write_text(HEAD + rest, encoding="utf-8")
    with campaigns.opened_workshop(300.0) as workshop:
        campaign = fleet_campaign.look(suite.load(folder / "suite.yaml"), folder, workshop, hosts, _unheard)
        portables = fleet_campaign.prepared(
            campaign, {kind: campaigns.runnable(plan) for kind, plan in campaign.plans.items()}, _unheard
        )
        found = {machine.name: kind for kind in campaign.kinds for machine in kind.machines}
        hw_ids = {name: kind.hw_id for name, kind in found.items()}
        run = FleetRun.create(folder / "runs", suite="", command="", harness_version="", hosts=hw_ids)
        with Making(campaign, run, folder / "runs", HEAD + rest, "") as making:
            errands = [
                replace(errand, terms=replace(errand.terms, limits=dict.fromkeys(errand.terms.limits, SHORTEST)))
                for errand in making.begun(portables)
            ]
            kinds = {name: kind.name for name, kind in found.items()}
            crew = Crew({host.name: host for host in hosts}, kinds, campaign.packing, making.further, _unheard)
            yield Work(
                cells=sum(len(plan.cells) for plan in campaign.plans.values()),
                launches=sum(len(errand.plan.order) for errand in errands),
                events=Dispatch(crew, errands, {}).run(),
            )


def _unheard(*_words: str) -> None:
    """Hear progress and say nothing."""
