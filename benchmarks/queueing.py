"""The mean wait of queries that arrive at random, against the formula of the M/D/1 queue: one server, equal service.

Poisson arrivals in ``harness.measure.open_loop`` over one stream of the fake engine, which spins: its service takes the
same time to a few microseconds, where a sleep would be lengthened by the kernel's timers, and with one stream it takes
the processor from nobody. The wait of a query is from when it was due to when its service began.

- Formula: W = u D / (2 (1 - u)), u = λ D (Pollaczek and Khinchine; Kleinrock, Queueing Systems 1, 1975, section 5.6).
  D is the mean service as the harness recorded it, λ the rate that was asked. Whatever the harness adds between two
  services is wait that the formula does not know, and weighs 1 + 1 / (1 - u) times as much as it lasts.
- For given arrivals and services each wait is known: w' = max(0, w + service - gap) (Lindley, Proceedings of the
  Cambridge Philosophical Society 48, 1952). By the draw of the arrivals alone the mean wait of a run nears the formula
  slowly: thousands of services for a per cent. So of many draws that one is taken whose mean wait by this recursion,
  with equal services, is the formula's, and what is left is what the harness and the machine add.
- The second figure is against the arrivals and the services that came about, unequal as they were: nothing is left in
  it but what the harness adds, and how late the machine wakes a sleeper.
- Both intervals come from batch means (Law, Simulation Modeling and Analysis, 5th ed., section 9.5.3) of what each
  query waited longer than by the recursion.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from benchmarks.figure import Figure, Limit, Measured
from engines.fake import FakeEngine, FakeOptions
from harness.engine import SessionConfig
from harness.errors import HarnessError
from harness.measure.open_loop import Arrivals, open_loop
from harness.vocabulary import FORMAT_FAKE, Artifact, Precision, TensorSpec
from harness.worker.scenarios.server import poisson

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.engine import Stream

LIMIT = Limit(0.95, 1.05)
LOADS = (0.5, 0.8)
_SERVICE_US = 20_000.0
"""As long as a small model takes on two cores; the mean wait is then 10 and 40 ms, a hundred times what the harness is
late and a sleeper is woken."""
_QUERIES = {0.5: 3000, 0.8: 6000}
"""By load, about: of a run of two, of two and a half minutes."""
_DRAWS = 500
_BATCHES = 20


def measure(told: Callable[[str], None]) -> Measured:
    """Return measured over expected mean waits at each load: by the formula, and by what came and how long it took."""
    figures: list[Figure] = []
    notes = []
    with tempfile.TemporaryDirectory(prefix="queueing-") as folder:
        for load in LOADS:
            stream, inputs = _stream(Path(folder), _SERVICE_US)
            alone_ns = _alone_ns(stream, inputs)
            due_ns = (drawn(load) * alone_ns).astype(np.int64)
            told(f"{load:.0%} load: {due_ns[-1] / 1e9:.0f} s")
            done = open_loop([stream], [(inputs, None)], _finish, Arrivals(due_ns, np.zeros_like(due_ns))).samples
            waits_ns, services_ns = done.start_ns - done.scheduled_ns, done.host_to_host_ns
            service_ns = float(services_ns.mean())
            formula_ns = mean_wait(load * service_ns / alone_ns, service_ns)
            equal_ns = lindley(done.scheduled_ns, np.full(len(done), service_ns))
            replayed_ns = lindley(done.scheduled_ns, services_ns)
            figures += [
                _figure(f"mean wait / formula, {load:.0%} load", waits_ns, equal_ns, formula_ns),
                _figure(f"mean wait / replayed, {load:.0%} load", waits_ns, replayed_ns, float(replayed_ns.mean())),
            ]
            notes.append(
                f"{load:.0%}: {len(done)} queries; formula {formula_ns / 1e6:.3f} ms, service {service_ns / 1e6:.3f} ms"
                f" with a coefficient of variation of {services_ns.std() / service_ns:.3f}; the draw alone is"
                f" {equal_ns.mean() / formula_ns:.4f} of the formula"
            )
    return Measured(tuple(figures), tuple(notes))


def mean_wait(load: float, service: float) -> float:
    """Return the mean wait of the M/D/1 queue, in units of ``service``. Raises ``HarnessError`` from a load of 1 on."""
    if load >= 1:
        raise HarnessError(f"the server was at {load:.0%} load", "measure again when the machine does less besides")
    return load * service / (2 * (1 - load))


def drawn(load: float) -> np.ndarray:
    """Return when queries are due, (n,) in units of a service: of ``_DRAWS`` draws the most like the formula."""
    expected, services = mean_wait(load, 1.0), _QUERIES[load] / load
    draws = (poisson(load, services, (draw,)).due_ns / 1e9 for draw in range(_DRAWS))
    return min(draws, key=lambda due: abs(float(lindley(due, np.ones(len(due))).mean()) - expected))


def lindley(due: np.ndarray, services: np.ndarray) -> np.ndarray:
    """Return the wait of each of (n,) queries where one server takes them in turn, as long as ``services`` say.

    The recursion w' = max(0, w + service - gap), solved: a random walk above the lowest point that it has reached.
    """
    walk = np.concatenate([[0.0], np.cumsum(services[:-1] - np.diff(due))])
    return np.asarray(walk - np.minimum.accumulate(walk))


def batch_means(values: np.ndarray) -> np.ndarray:
    """Return the means of equal stretches of (n,) values; the first few, where n is no multiple, are left out."""
    return np.asarray(values[len(values) % _BATCHES :].reshape(_BATCHES, -1).mean(axis=1))


def _stream(folder: Path, service_us: float) -> tuple[Stream, dict[str, np.ndarray]]:
    given, gives = TensorSpec("input", "float32", (1, 16)), TensorSpec("output", "float32", (1, 1))
    script = folder / "script.json"
    script.write_text(json.dumps({"outputs": [{"name": "output", "shape": [1, 1]}]}), encoding="utf-8")
    artifact = Artifact(FORMAT_FAKE, Precision.FP32, script, "", script.stat().st_size, (given,), (gives,))
    session = FakeEngine().load(artifact, SessionConfig(options=FakeOptions(latency_us=service_us)))
    return session.stream(), {"input": np.zeros((1, 16), np.float32)}


def _alone_ns(stream: Stream, inputs: dict[str, np.ndarray]) -> float:
    """Return the mean service of queries that come far apart."""
    due_ns = np.arange(200, dtype=np.int64) * int(2_000 * _SERVICE_US)
    done = open_loop([stream], [(inputs, None)], _finish, Arrivals(due_ns, np.zeros_like(due_ns)))
    return float(done.samples.host_to_host_ns.mean())


def _figure(name: str, waits_ns: np.ndarray, recursion_ns: np.ndarray, expected_ns: float) -> Figure:
    """Return the mean wait over an expected one, with the t interval of what was waited beyond the recursion."""
    batches = (batch_means(waits_ns - recursion_ns) + recursion_ns.mean()) / expected_ns
    mean = float(batches.mean())
    reach = float(stats.t.ppf(0.975, len(batches) - 1) * batches.std(ddof=1)) / math.sqrt(len(batches))
    return Figure(name, mean, mean - reach, mean + reach, "", LIMIT, len(batches))


def _finish(outputs: object, frames: object) -> None:
    """Stand for a task without post-processing."""
