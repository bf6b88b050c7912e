"""What a setting gave, against the row that it differs from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from harness.vocabulary import Finding, Precision
from results.row import AccuracyResult, Change, MemoryUse, Throughput
from results.statistics import launch_interval, paired_log_ratio, rate_interval
from results.techniques import Points, Setting, difference, effects, settings

DRIFT = (1.0, 1.2, 0.9, 1.05, 1.1)
"""What the machine did in each round, to every row alike."""
MIB = 2.0**20
MANIFEST = {
    "suite": {
        "configurations": {
            "onnxruntime": {
                "fusion-off": {"options": {"x": 0}, "technique": "fusion", "description": "What it does."},
                "arena-off": {"options": {"arena": False}, "technique": "memory"},
                "spin": {"options": {"allow_spinning": True}, "technique": "threads"},
                "other": {"options": {"x": 1}, "technique": None},
            }
        }
    }
}


@pytest.fixture(scope="module")
def template(synthetic_rows):
    return next(row for row in synthetic_rows if row.ranked)


@pytest.fixture
def make(template):
    """Rows of one workload; the latency and the rate of each follow the drift of the rounds."""

    def row(configuration="default", ms=10.0, *, peaks=(100.0, 101.0, 99.0), score=0.8, **cell):
        medians = tuple(1e6 * ms * factor * (1 + 0.001 * place) for place, factor in enumerate(DRIFT))
        rates = tuple(1e9 / median for median in medians)
        indices = tuple(range(len(DRIFT)))
        changed = replace(
            template.cell,
            **{"engine": "onnxruntime", "precision": Precision.FP32, "configuration": configuration, **cell},
            options={} if configuration == "default" else {"name": configuration},
        )
        latency = replace(
            template.latency,
            host_to_host=launch_interval(medians),
            launch_medians_ns=medians,
            launch_indices=indices,
        )
        peak = tuple(MIB * value for value in peaks)
        return replace(
            template,
            variant_id=changed.variant_id,
            cell=changed,
            label=f"{changed.engine}+{configuration} {changed.precision}",
            latency=latency,
            throughput=Throughput(rate_interval(rates), 2, rates, indices),
            memory=MemoryUse(1.0, 2.0, 3.0, 4.0, sorted(peak)[len(peak) // 2], len(peak), peak),
            accuracy=AccuracyResult({"top1": score}, "top1", 200),
        )

    return row


def found(rows):
    return effects(rows, settings(MANIFEST))


def test_a_setting_is_held_against_the_row_without_it_round_by_round(make):
    rows = [make(), make("fusion-off", 14.2, peaks=(112.0, 113.0, 111.0))]
    (effect,) = found(rows)
    assert (effect.technique, effect.name) == ("fusion", "fusion-off")
    assert (effect.base, effect.subject) == (rows[0].variant_id, rows[1].variant_id)
    assert effect.latency.estimate == pytest.approx(1.42)
    assert effect.latency.high - effect.latency.low < 1e-9, "the drift of the rounds cancels"
    assert effect.throughput.estimate == pytest.approx(1 / 1.42)
    assert effect.peak_bytes.estimate == pytest.approx(12 * MIB)
    assert effect.peak_bytes.low < 12 * MIB < effect.peak_bytes.high
    assert effect.accuracy == Points(0.0)


def test_the_ratio_is_that_of_the_ranking(make):
    rows = [make(), make("fusion-off", 11.0)]
    wobbly = tuple(value * factor for value, factor in zip(rows[1].latency.launch_medians_ns, DRIFT, strict=True))
    rows[1] = replace(rows[1], latency=replace(rows[1].latency, launch_medians_ns=wobbly))
    (effect,) = found(rows)
    by_round = [dict(enumerate(row.latency.launch_medians_ns)) for row in rows]
    expected = paired_log_ratio(*by_round)
    assert (effect.latency.estimate, effect.latency.low, effect.latency.high) == (
        expected.estimate,
        expected.low,
        expected.high,
    )


@pytest.mark.parametrize(
    "other",
    [
        {"workload": "another"},
        {"engine": "openvino"},
        {"precision": Precision.FP16},
        {"device": "gpu"},
        {"batch": 8},
        {"threads": 7},
        {"environment": "nightly"},
        {"shape": (3, 8, 8)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_rows_that_differ_in_something_else_are_no_pair(make, other):
    assert [effect for effect in found([make(**other), make("fusion-off")]) if effect.technique == "fusion"] == []


def test_threads_may_differ_where_they_are_the_technique(make):
    spin = make("spin", 9.0, threads=2)
    (effect,) = found([make(threads=1), spin])
    assert effect.latency.estimate == pytest.approx(0.9)
    (effect,) = found([make(threads=1), make(ms=18.0, threads=2), spin])
    assert effect.latency.estimate == pytest.approx(0.5), "of the same threads, where there is one"


def test_a_lower_precision_is_a_technique_too(make):
    base, int8 = make(), make(ms=4.0, precision=Precision.INT8, score=0.78)
    change = Change(-0.02, -0.04, 0.0, "paired", 200, base.label)
    int8 = replace(int8, accuracy=replace(int8.accuracy, change=change))
    (effect,) = found([base, int8])
    assert (effect.technique, effect.name, effect.base) == ("precision", "int8", base.variant_id)
    assert effect.accuracy == Points(pytest.approx(-0.02), -0.04, 0.0)
    other = replace(int8, accuracy=replace(int8.accuracy, change=replace(change, reference="another row")))
    assert found([base, other])[0].accuracy == Points(pytest.approx(-0.02)), "bounds against another row are not ours"


def test_a_configured_row_of_a_lower_precision_is_held_against_its_own_precision(make):
    int8 = make(ms=4.0, precision=Precision.INT8)
    rows = [make(), int8, make("fusion-off", 8.0, precision=Precision.INT8)]
    assert [(effect.technique, effect.base) for effect in found(rows)] == [
        ("fusion", int8.variant_id),
        ("precision", rows[0].variant_id),
    ]


def test_effects_come_by_technique_what_has_none_last(make):
    rows = [make("other"), make("arena-off"), make("fusion-off"), make(), make("unheard-of")]
    assert [(effect.technique, effect.name) for effect in found(rows)] == [
        ("fusion", "fusion-off"),
        ("memory", "arena-off"),
        ("", "other"),
        ("", "unheard-of"),
    ]


def test_what_was_not_measured_on_both_sides_is_none(make):
    bare = {"latency": None, "throughput": None, "memory": None, "accuracy": None}
    base, subject = make(), make("fusion-off")
    assert found([base, replace(subject, **bare)]) == ()
    (effect,) = found([base, replace(subject, **{**bare, "memory": subject.memory})])
    assert (effect.latency, effect.throughput, effect.accuracy) == (None, None, None)
    assert effect.peak_bytes.estimate == 0
    (effect,) = found([replace(base, throughput=replace(base.throughput, launch_rates=(), launch_indices=())), subject])
    assert effect.throughput is None, "rates of launches that are not known give no ratio"


@pytest.mark.parametrize("change", [{"primary": "top5", "metrics": {"top5": 0.9}}, {"images": 5}])
def test_accuracies_of_another_kind_are_not_subtracted(make, change):
    base, subject = make(), make("fusion-off")
    assert found([base, replace(subject, accuracy=replace(subject.accuracy, **change))])[0].accuracy is None


def test_accuracies_on_other_images_are_not_subtracted(make):
    assert found([make(), make("fusion-off", evaluation_hash="0" * 64)])[0].accuracy is None


@given(
    st.lists(st.floats(0, 1e6), min_size=2, max_size=8),
    st.lists(st.floats(0, 1e6), min_size=2, max_size=8),
)
@example([0.0, 0.0], [0.0, 1.3551569099559597e-140])  # the square of its variance is 0
def test_the_difference_is_welchs(base, other):
    interval = difference(base, other)
    assert interval.low <= interval.estimate <= interval.high
    if len(set(base)) > 1 and len(set(other)) > 1:
        expected = stats.ttest_ind(other, base, equal_var=False).confidence_interval(0.95)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)


def test_one_launch_a_side_has_no_bounds():
    interval = difference([5.0], [7.0, 9.0])
    assert (interval.estimate, interval.low, interval.high, interval.launches) == (3.0, None, None, 1)


def test_launches_that_agree_to_the_byte_leave_no_doubt():
    interval = difference([5.0, 5.0], [7.0, 7.0])
    assert (interval.low, interval.high) == (2.0, 2.0)


def test_settings_are_read_from_the_suite_of_the_run():
    known = settings(MANIFEST)
    assert known["onnxruntime", "fusion-off"] == Setting("fusion", "What it does.")
    assert known["onnxruntime", "other"] == Setting("")


@pytest.mark.parametrize(
    "suite",
    [None, {}, {"configurations": None}, {"configurations": {"a": None}}, {"configurations": {"a": {"b": "c"}}}],
)
def test_a_manifest_without_settings_has_none(suite):
    assert settings({"suite": suite}) == {}


def test_what_did_not_run_as_asked_tells_nothing_of_the_setting(make):
    """An INT8 row that ran FP32 is no INT8: its ratio would be read as what INT8 gives."""
    otherwise = (Finding("other-precision", "ran fp32", unranked=True),)
    low = replace(make(precision=Precision.INT8), findings=otherwise)
    assert found([make(), low]) == ()
    fused, plain = make("fusion-off", precision=Precision.INT8), make(precision=Precision.INT8)
    assert [effect.technique for effect in found([make(), low, fused])] == []
    both = found([make(), low, replace(fused, findings=otherwise)])
    assert [(effect.technique, effect.base) for effect in both] == [("fusion", plain.variant_id)]
