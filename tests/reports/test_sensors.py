"""What the sensors told, among the particulars of a row and in its columns."""

import json
from dataclasses import replace

import pytest

from harness.vocabulary import NoiseReading, State
from reports.sensors import facts
from results.driven import Sensed
from results.table import frame, to_json

GIB = 2**30
TOLD = (
    Sensed("CPU clock", "MHz", reason="this machine shows no CPU frequencies"),
    Sensed("GPU clock", "MHz", (1755.0, 1980.0, 1980.0), 15, 5),
    Sensed("GPU temperature", "°C", (61.0, 61.5, 70.0), 15, 5),
    Sensed("GPU memory", "B", (3.0 * GIB, 3.0 * GIB, 4.5 * GIB), 1, 1),
)


@pytest.fixture
def row(make):
    return replace(make.varied()[0], sensors=TOLD)


def test_each_sensor_is_told_with_its_unit_and_what_it_rests_on(row):
    assert dict(facts(row)) == {
        "GPU clock": "min 1,755, median 1,980, max 1,980\u00a0MHz; 15 samples in 5 launches",
        "GPU temperature": "min 61, median 62, max 70\u00a0°C; 15 samples in 5 launches",
        "GPU memory": "min 3.00, median 3.00, max 4.50\u00a0GiB; 1 sample in 1 launch",
        "CPU clock": "unavailable: this machine shows no CPU frequencies",
    }


def test_a_reason_is_told_once_for_all_that_it_is_of(row):
    why = "NVML: Not Supported"
    silent = replace(row, sensors=tuple(replace(each, spread=None, reason=why) for each in TOLD[1:]))
    assert list(facts(silent)) == [("GPU clock, GPU temperature, GPU memory", f"unavailable: {why}")]


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        (NoiseReading(State.OK, 0.0, 0.0, "share"), "none"),
        (
            NoiseReading(State.OK, 0.0, 0.0, "share", "at its power limit in 80% of the samples"),
            "none; at its power limit in 80% of the samples",
        ),
        (
            NoiseReading(State.BAD, 0.25, 0.0, "share", "power brake, up to 91 °C"),
            "in 25\u00a0% of the samples of a launch: power brake, up to 91 °C",
        ),
        (NoiseReading(State.UNAVAILABLE, detail="numbered differently"), "unavailable: numbered differently"),
    ],
)
def test_throttling_is_told_whatever_became_of_it(row, reading, told):
    assert dict(facts(replace(row, noise={"gpu_throttle": reading})))["GPU throttling"] == told


def test_a_row_without_sensors_says_nothing_of_them(make):
    assert list(facts(replace(make.varied()[0], noise={}))) == []


def test_the_page_shows_them_under_the_row(make, row):
    page = make.page([row])
    folded = page[page.index('<section id="particulars"') :]
    assert "min 1,755, median 1,980, max 1,980\u00a0MHz; 15 samples in 5 launches" in folded
    assert "unavailable: this machine shows no CPU frequencies" in folded


def test_the_table_has_a_column_for_each(row):
    (line,) = json.loads(to_json([row]))
    assert (line["gpu_clock_min_mhz"], line["gpu_clock_median_mhz"], line["gpu_clock_max_mhz"]) == (1755, 1980, 1980)
    assert (line["gpu_memory_max_mib"], line["gpu_memory_unavailable"]) == (4608, None)
    assert (line["gpu_temperature_max_c"], line["cpu_clock_median_mhz"]) == (70, None)
    assert line["cpu_clock_unavailable"] == "this machine shows no CPU frequencies"
    types = frame([row]).dtypes
    assert (str(types["gpu_clock_median_mhz"]), str(types["cpu_clock_unavailable"])) == ("Float64", "string")
