"""A host of these tests: this machine under another name and as other hardware, whose launches measure next to nothing.

``python worker.py '{"name": …}'``; the keys are those of ``Asked``. What a user starts is `harness fleet worker`.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import harness


@dataclass(frozen=True)
class Asked:
    """What is to be pretended."""

    name: str
    folder: str  # of its own
    scheduler: str
    tls: str | None = None  # folder of its certificates
    memory_gib: int | None = None  # another amount of memory is another kind of machine
    engines: tuple[str, ...] = ()  # that it offers; all that are installed where none is named
    listen: str | None = None
    reached_by: str | None = None  # where others are told to reach it, in the place of where it listens
    version: str | None = None  # of the harness


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(text: str) -> None:
    """Serve until a signal ends it."""
    asked = Asked(**json.loads(text))
    if asked.version:
        harness.__version__ = asked.version

    # Imported here: what comes below asks for the version.
    from harness import host, jobs
    from harness.errors import HarnessError
    from harness.fleet import config, serving
    from harness.fleet.certificates import of_folder
    from harness.fleet.hosting import Hosting, Kit
    from results.store import RunStore

    shortest = jobs.Limits(
        minimum_iterations=1, minimum_s=0.0, maximum_s=0.0, warmup_iterations=1, warmup_s=0.0, warmup_maximum_s=0.0
    )

    class Hurried(Hosting):
        def begin(self, manifest, terms):
            super().begin(manifest, replace(terms, limits=dict.fromkeys(terms.limits, shortest)))

        def forget(self, run_id):
            held = folder / "state" / "runs" / run_id
            if held.is_dir():  # for the tests to look at
                shutil.copytree(held, folder / "kept" / run_id)
            super().forget(run_id)

    class Elsewhere(serving._Worker):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, contact_address=asked.reached_by, **options)

    def fingerprint(versions):
        found = host.fingerprint(versions)
        machine = found["hardware"] | ({"memory_gib": asked.memory_gib} if asked.memory_gib else {})
        return {**found, "hardware": machine, "hw_id": host.short_id(machine)}

    serving._Worker = Elsewhere
    folder = Path(asked.folder)
    (folder / "dask").mkdir(parents=True, exist_ok=True)
    # Each has a lock of its own, since each stands for a machine of its own.
    kit = Kit(engines=frozenset(asked.engines) or None, fingerprint=fingerprint, lock=folder / "machine.lock")
    station = serving.Station(
        asked.name,
        config.address(asked.scheduler),
        folder / "dask",
        of_folder(Path(asked.tls)) if asked.tls else None,
        listen=config.address(asked.listen) if asked.listen else None,
    )
    hosting = Hurried(asked.name, folder / "state", RunStore, kit)
    try:
        serving.serve_worker(hosting, station, _say)
    except HarnessError as error:
        sys.exit(f"error: {error}")
    finally:
        hosting.close()


if __name__ == "__main__":
    main(sys.argv[1])
