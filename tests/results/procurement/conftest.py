"""Rows, runs and prices by hand: what a choice is made of, without a run on disk."""

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.vocabulary import Cell, Completed, Precision, Scenario
from results.driven import Camera, Energy, RateTried, Server, Soak
from results.procurement.prices import Match, Price, Prices
from results.row import AccuracyResult, Change, Interval, Quantile, Row, Throughput
from results.scenarios.shares import exact_share
from results.sources import Source
from results.statistics import rate_interval

MS = 1e6
SPREAD = (1.0, 1.01, 0.99, 1.005, 0.995)
HOST = {
    "environment": {"governor": "performance", "turbo": "off"},
    "hardware": {"accelerators": [{"name": "NVIDIA L4", "memory_gib": 24, "power_limit_w": 72}]},
}


def soak(sustained, *, spread=0.01, streams=4, seconds=600.0, kept=0.9):
    """Full load for long, of which the burst held ``kept``."""
    ratio = Interval(kept, kept * (1 - spread), kept * (1 + spread), 1)
    return Soak("c", "", streams, seconds, sustained / kept, sustained, ratio, None, ())


def throughput(rate, streams=4, factors=(1.0,) * 5):
    """Full load for a moment, a launch for each of ``factors``."""
    rates = tuple(rate * factor for factor in factors)
    return Throughput(rate_interval(rates), streams, rates, tuple(range(len(rates))))


def tried(launch, rate, p99_ms, *, slo_ms=33.0, q=0.99, stable=True, effective=1000.0):
    """One rate of one launch; ``p99_ms`` None: n is too small for it."""
    late = 50 if p99_ms is None or p99_ms > slo_ms else 0
    value = None if p99_ms is None else p99_ms * MS
    response = Quantile(q, value, value, value, effective, 368)
    return RateTried(launch, rate, response, exact_share(late, 1000), stable, 1000, 1000)


def server(ladder, *, launches=5, slo_ms=33.0, percentile=99.0, searched=True, verdict="meets", streams=4, **changes):
    """Every launch tries every rate of ``ladder``, rate → p99 in ms; rates differ a little from launch to launch."""
    each = tuple(
        tried(launch, rate * SPREAD[launch % 5], p99_ms, slo_ms=slo_ms, q=percentile / 100, **changes)
        for launch in range(launches)
        for rate, p99_ms in ladder.items()
    )
    met = [one.rate_hz for one in each if one.meets]
    rate = rate_interval(met) if met else None
    return Server("c", "", streams, 1, slo_ms, percentile, searched, rate, each, 1e4, verdict, "as the server said")


def camera(cameras=8, fps=30.0, *, deadline_ms=33.0, missed=0, of=100_000, launches=5, quantiles=(), dropped=0):
    """Frames by the clock."""
    return Camera(
        cell_id="c",
        title="",
        cameras=cameras,
        fps=fps,
        deadline_ms=deadline_ms,
        phase="staggered",
        drop="stale",
        decode=False,
        streams=4,
        launches=launches,
        missed=exact_share(missed, of),
        launch_misses=(),
        dropped=dropped,
        overruns=0,
        response=None,
        quantiles=quantiles,
        worst_lateness_ns=0.0,
        verdict="misses" if missed else "holds",
    )


def accuracy(low, high=None, *, verdict="passes", target=0.99, metric=0.8):
    """The accuracy of a row that keeps between ``low`` and ``high`` of its reference's ``metric``."""
    high = low if high is None else high
    middle = (low + high) / 2
    change = Change((middle - 1) * metric, (low - 1) * metric, (high - 1) * metric, "by hand", 500, "fp32")
    return AccuracyResult({"top1": middle * metric}, "top1", 500, (), change, target, verdict)


def row(name, sustained=None, *, device="cpu", workload="lite0", batch=1, precision=Precision.INT8, **changes):
    """A row called ``name`` that sustains so many items per second; None: it had no soak.

    Beside each of its soaks five launches of throughput were all alike, where the changes say nothing else.
    """
    cell = Cell(
        workload=workload,
        source_hash="f" * 64,
        task={"name": "classify"},
        shape=(3, 224, 224),
        engine="onnxruntime",
        precision=precision,
        device=device,
        scenario=Scenario("soak"),
        batch=batch,
    )
    soaks = changes.pop("soaks", () if sustained is None else (soak(sustained),))
    given = {
        "label": name,
        "soaks": soaks,
        "throughputs": tuple(throughput(each.burst, each.streams) for each in soaks),
        "outcomes": {"soak": Completed()} if soaks else {},
        **changes,
    }
    return Row(variant_id=name, cell=cell, **given)


def source(run_id="run", machine="box", hw_id="hw", host=None):
    """A run."""
    manifest = {"host": HOST if host is None else host}
    return Source(run_id, "2026-02-03T04:05:06Z", "s", hw_id, "env", machine, manifest, (), 1, Path("runs") / run_id)


def price(name, value=1000.0, *, machine=None, per_hour=None, **changes):
    """A price of machines like ``machine``, of all where that is None."""
    match = Match(machine=machine, hw_id=None, device="*")
    return Price(name, match, date(2026, 1, 2), None if per_hour else value, per_hour, **changes)


def prices(*given, **changes):
    """A file of prices."""
    return Prices("EUR", tuple(given), **changes)


def energy(watts=30.0, scope="package", source_name="rapl"):
    """What a counter said."""
    return Energy(scope, source_name, Interval(0.1, 0.09, 0.11, 5), watts)


@pytest.fixture(scope="session")
def make():
    """The makers above, for tests that cannot import a conftest."""
    makers = (soak, throughput, tried, server, camera, accuracy, row, source, price, prices, energy)
    return SimpleNamespace(**{maker.__name__: maker for maker in makers}, SPREAD=SPREAD, HOST=HOST)
