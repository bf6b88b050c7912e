"""What is asked: everything that may be typed, everything that is refused, and that what is shown reads as the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from results.procurement import demand_text
from results.procurement.demand import Load, Slo

HOSTILE = [
    "",
    " ",
    "\x00",
    "<script>alert(1)</script>",
    "p99=33ms\u202e",
    "9" * 10_000,
    "٣٣",
    "p٩٩=٣٣ms",
    "nan",
    "-1",
    "1e9",
]
PARSERS = {
    "--slo": demand_text.slo,
    "--min-accuracy": demand_text.minimum_accuracy,
    "--load": demand_text.load,
}


def refusal(option, text):
    """Return what the text is refused with, or `None` where it is read; any other error is raised."""
    try:
        PARSERS[option](text)
    except HarnessError as error:
        return error
    return None


def refused(option, text):
    error = refusal(option, text)
    assert error is not None
    assert error.message.startswith((f"{option} '", f'{option} "'))
    assert "such as --" in error.hint
    assert len(error.message) < 300
    assert error.message.isprintable()
    return error.message


@pytest.mark.parametrize(
    ("text", "percentile", "limit_ns"),
    [
        ("p99=33ms", 99.0, 33e6),
        ("p99.9<=5 ms", 99.9, 5e6),
        ("  P50 ≤ 0.25s ", 50.0, 250e6),
        ("p95<800us", 95.0, 800e3),
        ("p95=800µs", 95.0, 800e3),
        ("p95=800\N{GREEK SMALL LETTER MU}s", 95.0, 800e3),
        ("p99=100ns", 99.0, 100.0),
        ("p99=16.7MS", 99.0, 16.7e6),
        ("p0.5=1ms", 0.5, 1e6),
    ],
)
def test_a_percentile_and_its_limit(text, percentile, limit_ns):
    assert demand_text.slo(text) == Slo(percentile, limit_ns)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("p99=33", "the limit 33 has no unit"),
        ("p99=33m", "'m' is no unit of time"),
        ("p99=33hours", "'hours' is no unit of time"),
        ("p100=33ms", "between 0 and 100"),
        ("p0=33ms", "between 0 and 100"),
        ("p990=33ms", "between 0 and 100"),
        ("p99=0ms", "no answer takes no time"),
        ("p99=-3ms", "not a percentile and its limit"),
        ("p99>=3ms", "not a percentile and its limit"),
        ("p99", "not a percentile and its limit"),
        ("33ms", "not a percentile and its limit"),
        ("p99=33,5ms", "not a percentile and its limit; no comma is read"),
        ("p99=33ms p50=1ms", "not a percentile and its limit"),
    ],
)
def test_a_limit_that_is_refused(text, why):
    assert why in refused("--slo", text)


@pytest.mark.parametrize(
    ("text", "share"), [("99%", 0.99), ("99 %", 0.99), ("99.9%", 0.999), ("0.99", 0.99), ("100%", 1.0), ("1", 1.0)]
)
def test_a_share_of_the_accuracy(text, share):
    assert demand_text.minimum_accuracy(text) == share


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("990%", "more than all"),
        ("100.1%", "more than all"),
        ("99", "neither a share of 1 nor marked with %"),
        ("0", "everything keeps that"),
        ("0%", "everything keeps that"),
        ("-1%", "not a share"),
        ("99,5%", "not a share"),
        ("99pt", "not a share"),
        ("%", "not a share"),
    ],
)
def test_a_share_that_is_refused(text, why):
    assert why in refused("--min-accuracy", text)


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ("8x30fps", Load(30.0, 8, cameras=True)),
        ("8×30fps", Load(30.0, 8, cameras=True)),
        ("8 * 29.97 FPS", Load(29.97, 8, cameras=True)),
        ("8 cameras at 30 fps", Load(30.0, 8, cameras=True)),
        ("1 camera at 30fps", Load(30.0, 1, cameras=True)),
        ("30fps", Load(30.0, 1, cameras=True)),
        ("240/s", Load(240.0)),
        ("240 / s", Load(240.0)),
        ("240 per second", Load(240.0)),
        ("15k/min", Load(250.0)),
        ("2M/h", Load(2e6 / 3600)),
        ("2 M per hour", Load(2e6 / 3600)),
        ("0.5/h", Load(0.5 / 3600)),
    ],
)
def test_a_load(text, load):
    assert demand_text.load(text) == load


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0x30fps", "the number of cameras"),
        ("2000000x30fps", "the number of cameras"),
        ("8x0fps", "nothing to do"),
        ("0/s", "nothing to do"),
        ("8x30", "neither cameras nor a rate"),
        ("8.5x30fps", "neither cameras nor a rate"),
        ("-8x30fps", "neither cameras nor a rate"),
        ("240", "neither cameras nor a rate"),
        ("240/day", "'day' is no period"),
        ("240/ms", "'ms' is no period"),
        ("2,500/s", "neither cameras nor a rate; no comma is read"),
        ("2m/h", "neither cameras nor a rate"),
    ],
)
def test_a_load_that_is_refused(text, why):
    assert why in refused("--load", text)


@pytest.mark.parametrize("option", PARSERS)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_one_message(option, text):
    refused(option, text)


@pytest.mark.parametrize("option", PARSERS)
@given(text=st.text(max_size=80) | st.text(alphabet="p0123456789.=<≤ %xkM/fpsmuhner", max_size=20))
def test_any_text_is_read_or_refused(option, text):
    error = refusal(option, text)
    assert error is None or (error.hint and error.message.isprintable())


@pytest.mark.parametrize(
    ("slo", "shown"),
    [
        (Slo(99.0, 33e6), "p99 ≤ 33 ms"),
        (Slo(99.9, 5.5e6), "p99.9 ≤ 5.5 ms"),
        (Slo(50.0, 2e9), "p50 ≤ 2 s"),
        (Slo(95.0, 800e3), "p95 ≤ 800 µs"),
        (Slo(95.0, 0.5), "p95 ≤ 0.5 ns"),
        (Slo(90.0, 100e9), "p90 ≤ 100 s"),
    ],
)
def test_how_a_limit_is_shown(slo, shown):
    assert demand_text.shown_slo(slo) == shown


@pytest.mark.parametrize(
    ("load", "shown"),
    [
        (Load(30.0, 8, cameras=True), "8 cameras at 30 fps"),
        (Load(29.97, 1, cameras=True), "1 camera at 29.97 fps"),
        (Load(240.0), "240 per second"),
        (Load(2500.0), "2500 per second"),
        (Load(15_000.0), "15k per second"),
        (Load(1_250_000.0), "1.25M per second"),
        (Load(1000 / 60), "1000 per minute"),
        (Load(2e6 / 3600), "2M per hour"),
        (Load(0.5 / 3600), "0.5 per hour"),
    ],
)
def test_how_a_load_is_shown(load, shown):
    assert demand_text.shown_load(load) == shown


@pytest.mark.parametrize(("share", "shown"), [(0.99, "99 %"), (0.978, "97.8 %"), (1.0, "100 %"), (0.5, "50 %")])
def test_how_a_share_is_shown(share, shown):
    assert demand_text.shown_accuracy(share) == shown


@given(
    percentile=st.floats(0.001, 99.999999, exclude_min=True),
    limit_ns=st.floats(1e-3, 1e20) | st.integers(1, 10**6).map(lambda ms: ms * 1e6),
)
def test_a_shown_limit_reads_as_the_same(percentile, limit_ns):
    slo = Slo(percentile, limit_ns)
    assert demand_text.slo(demand_text.shown_slo(slo)) == slo


@given(st.floats(1e-4, 1.0) | st.integers(1, 1000).map(lambda permille: permille / 1000))
def test_a_shown_share_reads_as_the_same(share):
    assert demand_text.minimum_accuracy(demand_text.shown_accuracy(share)) == share


@given(
    rate_hz=st.floats(1e-4, 1e12)
    | st.integers(1, 10**9).map(float)
    | st.integers(1, 10**9).map(lambda per_hour: per_hour / 3600)
)
def test_a_shown_rate_reads_as_the_same(rate_hz):
    load = Load(rate_hz)
    assert demand_text.load(demand_text.shown_load(load)) == load


@given(cameras=st.integers(1, 1_000_000), rate_hz=st.floats(1e-3, 1e6))
def test_shown_cameras_read_as_the_same(cameras, rate_hz):
    load = Load(rate_hz, cameras, cameras=True)
    assert demand_text.load(demand_text.shown_load(load)) == load


@pytest.mark.parametrize(
    ("text", "share"), [("70%", 0.7), ("0.7", 0.7), ("100 %", 1.0), (" 1 ", 1.0), ("58.7%", 0.587)]
)
def test_a_utilisation_is_a_share(text, share):
    assert demand_text.utilisation(text) == share


@pytest.mark.parametrize("text", ["0", "0%", "101%", "1.1", "-1", "nan", "seventy", "", "70%%", "9" * 400])
def test_what_is_no_share_of_a_device_is_refused(text):
    with pytest.raises(HarnessError, match="not a share") as refused:
        demand_text.utilisation(text)
    assert refused.value.hint
