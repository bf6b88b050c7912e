import csv
import io
import json
from dataclasses import replace

import pandas as pd
import pytest

from harness.vocabulary import Completed, LoadGenRun, digest
from results.driven import Camera, EndToEnd, Energy, Growth, LoadGenResult, Server, Share, Soak
from results.row import Interval, Quantile
from results.table import frame, to_csv, to_json


@pytest.fixture
def found(synthetic_rows):
    return synthetic_rows


def test_the_three_forms_say_the_same(found):
    table = frame(found)
    parsed = json.loads(to_json(found), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    lines = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert [*table.columns, "certificate"] == list(parsed[0]) == [*lines[0], "certificate"]
    assert len(table) == len(parsed) == len(lines) == len(found)
    for row, record, line, name in zip(found, parsed, lines, table["variant_id"], strict=True):
        assert row.variant_id == record["variant_id"] == line["variant_id"] == name
        expected = row.latency.host_to_host.estimate / 1e6 if row.latency else None
        assert record["latency_ms"] == (pytest.approx(expected) if row.latency else None)
        assert line["latency_ms"] == ("" if record["latency_ms"] is None else str(record["latency_ms"]))


def test_what_was_not_measured_is_missing_never_zero(found):
    table = frame(found)
    skipped = table[table["latency_outcome"].str.startswith("skipped")]
    assert len(skipped) == 1
    assert skipped[["latency_ms", "throughput_items_per_s", "memory_peak_mib", "accuracy"]].isna().all(axis=None)
    too_few = table[table["latency_launches"] == 2]
    assert too_few["latency_p99_ms"].isna().all()


def test_columns_have_the_same_types_whatever_was_measured(found):
    whole, empty = frame(found), frame([row for row in found if row.latency is None])
    shared = [name for name in whole.columns if name in empty.columns]
    assert "latency_ms" in shared
    assert whole[shared].dtypes.to_dict() == empty[shared].dtypes.to_dict()
    assert whole["batch"].dtype == pd.Int64Dtype()


def test_outcomes_are_words(found):
    table = frame(found)
    assert "failed at verify: VerifyFailed" in set(table["latency_outcome"].dropna())
    assert "completed" in set(table["latency_outcome"].dropna())
    assert table["accuracy_outcome"].isna().any()  # not asked


def test_a_certificate_stands_beside_its_digest(found):
    for row, record in zip(found, json.loads(to_json(found)), strict=True):
        told = record["certificate"]
        assert (told is None) == (row.certificate is None) == (record["certificate_sha256"] is None)
        assert told is None or digest(told) == record["certificate_sha256"] == row.certificate.digest


def test_a_spreadsheet_takes_nothing_for_a_formula(found):
    evil = replace(found[0], cell=replace(found[0].cell, workload="=cmd|'/c calc'!A0"))
    (line,) = csv.DictReader(io.StringIO(to_csv([evil])))
    assert line["workload"].startswith("'=")
    assert json.loads(to_json([evil]))[0]["workload"].startswith("=")


def test_no_rows_are_an_empty_table():
    assert len(frame([])) == 0
    assert json.loads(to_json([])) == []
    assert to_csv([]).strip() == ""


@pytest.fixture
def driven(found):
    """A row that every scenario drove, and one that none did."""
    figures = {"Samples per second": 61.5}
    said = {"valid": True, "reasons": (), "official": False, "version": "5.1", "summary": ""}
    run = LoadGenRun("Offline", "PerformanceOnly", figures=figures, settings={}, **said)
    night = camera(title="night", missed=Share(12, 1500, 0.004, 0.014), verdict="misses")
    everything = replace(
        found[0],
        outcomes={**found[0].outcomes, "camera": Completed(), "mlperf": Completed()},
        end_to_end=EndToEnd(
            *(Interval(part * 1e6, 0.9e6 * part, 1.1e6 * part, 5) for part in (20.0, 6.0, 12.0, 2.0)),
            quantiles=(Quantile(0.9, 22e6, 21e6, 23e6, 400.0, 36), Quantile(0.99, None, None, None, 100.0, 368)),
            launch_medians_ns=(20e6,) * 5,
            launch_indices=tuple(range(5)),
            iterations=500,
        ),
        cameras=(camera(), night),
        servers=(server(),),
        soaks=(Soak("k", "long-load", 2, 600.0, 100.0, 92.0, Interval(0.92, 0.9, 0.94, 1), None, ()),),
        growth=Growth(1000, Interval(2097.152, 2000.0, 2200.0, 3), leaks=True),
        energy=(
            Energy("package", "rapl", Interval(0.4, 0.38, 0.42, 5), 9.5),
            Energy("gpu", "nvml", None, None, "no GPU"),
        ),
        loadgen=(LoadGenResult("m", "mlperf", run),),
    )
    return everything, replace(found[1], energy=())


def test_the_energy_of_a_soak_has_columns_of_its_own(driven):
    soak = replace(
        driven[0].soaks[0],
        energy=(
            Energy("package", "rapl", Interval(0.3, None, None, 1), 60.0),
            Energy("gpu", "nvml", None, None, "no GPU"),
        ),
    )
    line = json.loads(to_json([replace(driven[0], soaks=(soak,))]))[0]
    told = {name: value for name, value in line.items() if name.startswith("soak_long_load_energy_")}
    assert told == {
        "soak_long_load_energy_package_j": 0.3,
        "soak_long_load_energy_package_j_low": None,
        "soak_long_load_energy_package_j_high": None,
        "soak_long_load_energy_package_w": 60.0,
        "soak_long_load_energy_package_counter": "rapl",
    }
    types = frame([replace(driven[0], soaks=(soak,))]).dtypes
    assert types["soak_long_load_energy_package_counter"] == pd.StringDtype()


def server():
    return Server(
        *("s", "", 2, 1, 50.0, 99.0),
        searched=True,
        rate_hz=None,
        tried=(),
        lateness_ns=8e4,
        verdict="misses",
        message="no rate meets p99 ≤ 50 ms",
    )


def camera(**changes):
    made = Camera(
        *("c", "", 1, 30.0, 33.3, "staggered", "stale", False, 1, 5),
        missed=Share(0, 1500, 0.0, 0.002),
        launch_misses=(0.0,) * 5,
        dropped=0,
        overruns=0,
        response=Interval(20e6, 19e6, 21e6, 5),
        quantiles=(),
        worst_lateness_ns=0.0,
        verdict="holds",
    )
    return replace(made, **changes)


def test_scenarios_that_ran_have_columns_with_their_units(driven):
    line = json.loads(to_json(driven))[0]
    assert (line["end_to_end_ms"], line["end_to_end_ms_high"]) == (pytest.approx(20), pytest.approx(22))
    assert (line["end_to_end_p90_ms"], line["end_to_end_p99_ms"]) == (pytest.approx(22), None)
    assert (line["camera_verdict"], line["camera_miss_share"], line["camera_frames"]) == ("holds", 0.0, 1500)
    assert (line["camera_night_verdict"], line["camera_night_miss_share"]) == ("misses", pytest.approx(0.008))
    assert (line["server_verdict"], line["server_rate_hz"], line["server_slo_ms"]) == ("misses", None, 50.0)
    assert (line["soak_long_load_ratio"], line["soak_long_load_slowed_after_s"]) == (0.92, None)
    assert (line["memory_growth_mib_per_1000"], line["memory_growth_leaks"]) == (pytest.approx(2.0), True)
    assert (line["energy_package_j"], line["energy_package_w"]) == (0.4, 9.5)
    assert (line["energy_gpu_j"], line["energy_gpu_unavailable"]) == (None, "no GPU")
    assert line["loadgen_offline_score_unverified"] == 61.5
    assert line["loadgen_offline_status"].startswith("unverified: Result not verified by MLCommons")
    assert (line["camera_outcome"], line["loadgen_outcome"]) == ("completed", "completed")
    assert "mlperf" not in to_csv(driven).casefold(), "a shortened run does not bear the name"


def test_a_row_that_no_scenario_drove_is_empty_there(driven):
    table = frame(driven)
    columns = [name for name in table.columns if name.startswith(("end_to_end", "camera", "server", "soak"))]
    assert len(columns) > 35
    assert table[columns].iloc[1].isna().all()
    assert not frame(driven[1:]).columns.isin(columns).any(), "nothing is added where nothing ran"


def test_columns_of_scenarios_have_types_of_their_own(driven):
    types = frame(driven).dtypes
    assert types["camera_missed"] == types["soak_long_load_streams"] == pd.Int64Dtype()
    assert types["memory_growth_leaks"] == types["loadgen_offline_valid"] == pd.BooleanDtype()
    assert types["camera_miss_share"] == types["server_rate_hz"] == types["energy_gpu_j"] == pd.Float64Dtype()
    assert types["camera_verdict"] == types["energy_gpu_unavailable"] == pd.StringDtype()
