"""Whether `camera` sees what is missed: an engine that takes 1.1 × the deadline, and one that takes half of it.

Whole launches of the fake engine, whose time for an inference is scripted, by ``harness.runner`` into a run folder on
disk, and the share of frames that ``results.scenarios.camera`` derives from them. One camera at 30 frames a second,
33 ms for each frame. The engine sleeps, as an accelerator leaves the processor idle, and no sleep ends early: at 1.1 ×
every frame misses whatever the machine does. At 0.5 × none does, unless the machine holds one up for 16 ms.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figure import Figure, Limit, Measured
from harness import runner, suite
from harness.errors import HarnessError
from results.launches import histories
from results.scenarios.camera import camera

if TYPE_CHECKING:
    from collections.abc import Callable

    from results.driven import Camera

LAUNCHES, SECONDS = 5, 10.0
DEADLINE_MS = 33.0
CASES = {"over": (1.1, Limit(low=1.0)), "under": (0.5, Limit(high=0.0))}
"""Time of an inference over the deadline, by configuration, and the share of frames that must miss."""


def measure(told: Callable[[str], None], launches: int = LAUNCHES, seconds: float = SECONDS) -> Measured:
    """Return the share of frames that missed their deadline at 1.1 × and at 0.5 × of it."""
    told(f"{launches} launches of {seconds:g} s each at {' and '.join(f'{factor} ×' for factor, _ in CASES.values())}")
    seen = driven(launches, seconds)
    figures, notes = [], []
    for name, (factor, limit) in CASES.items():
        missed = seen[name].missed
        figures.append(Figure(f"missed at {factor} × the deadline", missed.estimate, None, None, "", limit, missed.of))
        notes.append(
            f"at {factor} ×: {missed.count} of {missed.of} frames missed, 95 % interval {missed.low:.2%} to "
            f"{missed.high:.2%}, {seen[name].dropped} of them dropped"
        )
    return Measured(tuple(figures), tuple(notes))


def driven(launches: int, seconds: float) -> dict[str, Camera]:
    """Return what ``camera`` says of each case. Raises ``HarnessError`` where a launch did not complete."""
    from harness.cli import campaign as campaigns

    with tempfile.TemporaryDirectory(prefix="cameras-") as name, campaigns.opened_workshop(300.0) as workshop:
        folder, text = Path(name), _suite(launches, seconds)
        (folder / "script.json").write_text(json.dumps({"outputs": {"output": [10]}}), encoding="utf-8")
        (folder / "suite.yaml").write_text(text, encoding="utf-8")
        campaign = campaigns.look(suite.load(folder / "suite.yaml"), folder, workshop, lambda _: None)
        with campaigns.create(campaign, folder / "runs", suite_text=text, command="") as store:
            benches = campaigns.prepared(campaign, campaigns.runnable(campaign.plan), lambda _: None)
            setting = campaigns.setting(campaign, store, benches)
            for _ in runner.run(campaigns.order_of(campaign, store), store, setting):
                pass
            seen = {}
            for history in histories(store):
                if history.planned.cell.scenario.name == "camera":
                    if len(history.completed) < launches:
                        raise HarnessError(f"a launch of the fake engine did not complete: {history.outcome}")
                    seen[history.planned.cell.configuration] = camera(history.measured)
            return seen


def _suite(launches: int, seconds: float) -> str:
    configurations = {
        name: {"options": {"asleep": True, "latency_us": round(1e3 * factor * DEADLINE_MS)}}
        for name, (factor, _) in CASES.items()
    }
    return f"""
version: 1
workloads:
  fake:
    source: {{file: script.json, format: fake-script}}
    task: raw
    input: [3, 8, 8]
matrix: {{engine: fake, precision: fp32, device: cpu, scenario: camera, configuration: [{", ".join(CASES)}]}}
scenarios: {{camera: {{fps: 30, deadline_ms: {DEADLINE_MS}, seconds: {seconds}}}}}
configurations: {{fake: {json.dumps(configurations)}}}
launches: {launches}
"""
