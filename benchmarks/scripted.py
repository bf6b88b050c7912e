"""Launches of the fake engine, by the runner and into a run folder as every engine's."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import jobs, runner, suite
from harness.errors import HarnessError
from harness.vocabulary import Completed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.vocabulary import Record
    from results.store import RunStore

HEAD = """
version: 1
workloads:
  fake:
    source: {file: script.json, format: fake-script}
    task: raw
    input: [3, 16, 16]
preset: quick
"""
"""Of every suite of the fake engine; ``matrix`` and the rest follow."""


@dataclass(frozen=True)
class Scripted:
    """A run that is made step by step."""

    store: RunStore
    events: Iterator[runner.Started | runner.Finished]


@contextmanager
def scripted(rest: str, limits: jobs.Limits) -> Iterator[Scripted]:
    """Yield the run of the suite ``HEAD`` + ``rest``, each launch of it ended by ``limits``; the folder vanishes."""
    from harness.cli import campaign as campaigns

    text = HEAD + rest
    with tempfile.TemporaryDirectory(prefix="scripted-") as name, campaigns.opened_workshop(300.0) as workshop:
        folder = Path(name)
        (folder / "script.json").write_text(json.dumps({"outputs": {"output": [10]}}), encoding="utf-8")
        (folder / "suite.yaml").write_text(text, encoding="utf-8")
        campaign = campaigns.look(suite.load(folder / "suite.yaml"), folder, workshop, lambda _: None)
        benches = campaigns.prepared(campaign, campaigns.runnable(campaign.plan), lambda _: None)
        with campaigns.create(campaign, folder / "runs", suite_text=text, command="") as store:
            setting = campaigns.setting(campaign, store, benches)
            setting = replace(setting, limits=dict.fromkeys(setting.limits, limits))
            yield Scripted(store, runner.run(campaigns.order_of(campaign, store), store, setting))


def completed(record: Record) -> Record:
    """Return the record. Raises ``HarnessError`` where its launch did not complete."""
    if not isinstance(record.outcome, Completed):
        raise HarnessError(f"{record.cell.label}: a launch did not complete: {record.outcome}")
    return record
