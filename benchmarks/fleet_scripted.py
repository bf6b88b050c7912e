"""Hosts that measure nothing and answer at once, with records as real ones give: what their client costs is left."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import harness
from harness import codec
from harness.fleet.contract import About, FleetError, Packed
from harness.jobs import OverheadAnswer
from harness.runner import launch_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.artifacts import Request, Route
    from harness.fleet.contract import Chunk, Parcel, Terms
    from harness.jobs import OverheadJob
    from harness.ports import Step
    from harness.vocabulary import Artifact, EngineFacts, Failed, Record, Skipped


@dataclass(frozen=True)
class Made:
    """A launch that was really made: its record and the file of its samples."""

    record: Record
    samples: bytes


@dataclass
class ScriptedHost:
    """One machine. See ``harness.fleet.contract.Host`` for what each method promises."""

    name: str
    fingerprint: Mapping[str, Any]
    engines: Mapping[str, EngineFacts]
    made: Mapping[str, Made]  # by scenario
    manifests: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def about(self) -> About:
        """Say what it is."""
        return About(self.name, harness.__version__, self.fingerprint["hw_id"], self.fingerprint, {})

    def probe(self, engines: Sequence[str], cpus: Sequence[int] | None) -> Mapping[str, EngineFacts | Failed | Skipped]:
        """Say what it was told of the engines."""
        del cpus
        return {name: self.engines[name] for name in engines}

    def overhead(self, job: OverheadJob, cpus: Sequence[int] | None) -> OverheadAnswer | Failed | Skipped:
        """Say that there is none."""
        del job, cpus
        return OverheadAnswer(0.0)

    def lacks(self, parcels: Sequence[Parcel]) -> tuple[str, ...]:
        """Lack nothing."""
        del parcels
        return ()

    def put(self, chunk: Chunk) -> None:
        """Take a piece of a file and drop it."""

    def assemble(self, parcel: Parcel) -> None:
        """Make nothing of it."""

    def build(self, source: Artifact, parcel: str, route: Route, request: Request) -> Artifact | Failed | Skipped:
        """Refuse: no artifact of the fake engine is bound to a device unless it is asked for."""
        del source, parcel, route, request
        raise FleetError(f"{self.name} builds nothing")

    def begin(self, manifest: Mapping[str, Any], terms: Terms) -> None:
        """Remember the run."""
        del terms
        self.manifests[manifest["run_id"]] = manifest

    def launch(self, run_id: str, step: Step) -> Packed:
        """Return the record of the scenario as if it had been measured."""
        # Only what is timed is repeated to watch the machine.
        made = self.made.get(step.cell.scenario.name, self.made["latency"])
        host = self.manifests[run_id]["host"]
        record = replace(
            made.record,
            run_id=run_id,
            cell=step.cell,
            launch=step.launch,
            hw_id=host["hw_id"],
            env_id=host["env_id"],
            cell_id=step.cell.cell_id,
            variant_id=step.cell.variant_id,
            log="",
            telemetry=None,
        )
        files = {}
        if record.samples is not None:
            path = f"samples/{launch_name(step.cell, step.launch)}.npz"
            record = replace(record, samples=replace(record.samples, path=path))
            files[path] = made.samples
        return Packed(f"{launch_name(step.cell, step.launch)}", codec.encode(record), files)

    def held(self, run_id: str) -> tuple[str, ...]:
        """Hold nothing."""
        del run_id
        return ()

    def fetch(self, run_id: str, record_id: str) -> Packed:
        """Refuse, as it holds nothing."""
        raise FleetError(f"{self.name} holds no record {record_id} of run {run_id}")

    def forget(self, run_id: str) -> None:
        """Forget the run."""
        self.manifests.pop(run_id, None)
