import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.codec import decode, encode
from harness.vocabulary import Launch, Precision, Unknowable
from results.certificate import Certificate, certify
from results.rows import rows
from results.store import RunStore

SCHEMA_1 = Path(__file__).parent / "data" / "schema-1"
PINNED = ["2c5bad7a8421b88c5b2a7349be60283958929a0538dd11b2cef71258a811f009"]


@pytest.fixture
def recipe(factory):
    return factory.Recipe("lite0", "openvino", Precision.INT8, launches=2, notes=("calibrated by NNCF",))


@pytest.fixture
def launches(factory, recipe, tmp_path):
    """The launches of one variant in the order of a plan, with texts of their own."""
    with RunStore.create(tmp_path / "runs", factory.manifest_of((recipe,))) as store:
        for scenario in recipe.scenarios:
            for index in range(1 if scenario in {"accuracy", "prove"} else recipe.launches):
                store.finished(factory.record_of(store, recipe, scenario, Launch(index), seed=index))
        return list(zip(store.records(), store.digests(), strict=True))


def with_artifact(launch, **changes):
    record, text = launch
    return replace(record, artifact=replace(record.artifact, **changes)), text


def test_a_row_without_a_completed_launch_has_none():
    assert certify(()) is None


def test_it_says_what_was_asked_loaded_and_executed(launches, recipe):
    certificate = certify(launches, 64)
    record = launches[0][0]
    assert certificate.variant_id == record.variant_id
    assert (certificate.asked.engine, certificate.asked.precision) == ("openvino", Precision.INT8)
    (loaded,) = certificate.artifacts
    assert (loaded.content_hash, loaded.route) == (record.artifact.content_hash, record.artifact.route)
    assert loaded.notes == ("calibrated by NNCF",)
    assert certificate.executed.macs_by_precision == {"int8": 1.0}
    assert certificate.executed.inputs == record.artifact.inputs
    assert certificate.inputs.count == 64
    assert (certificate.evaluation.count, certificate.calibration.count) == (200, 64)
    assert certificate.launches.count == len(launches) == 8


def test_anyone_can_recompute_the_digest(launches):
    certificate = certify(launches)
    published = json.loads(json.dumps(encode(certificate)))  # as a report holds it, its keys in any order
    text = json.dumps(published, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == certificate.digest
    assert decode(Certificate, published) == certificate


def test_what_the_runtime_does_not_tell_survives_the_codec(launches):
    untold = Unknowable("the provider does not tell")
    changed = [
        (replace(r, execution=replace(r.execution, macs_by_device=untold)) if r.execution else r, text)
        for r, text in launches
    ]
    certificate = certify(changed)
    assert decode(Certificate, encode(certificate)).executed.macs_by_device == untold


@pytest.mark.parametrize(
    "change",
    [
        lambda launches: launches[:-1],
        lambda launches: [*launches[:-1], (launches[-1][0], "0" * 64)],
        lambda launches: launches[::-1],
        lambda launches: [with_artifact(launch, content_hash="0" * 64) for launch in launches],
        lambda launches: [with_artifact(launches[0], content_hash="0" * 64), *launches[1:]],
        lambda launches: [(replace(record, inputs_hash="0" * 64), text) for record, text in launches],
        lambda launches: [(replace(record, versions={"openvino": "0"}), text) for record, text in launches],
        lambda launches: [(replace(record, execution=None), text) for record, text in launches],
    ],
    ids=["a launch less", "a record changed", "reordered", "artifact", "one artifact", "inputs", "version", "unproven"],
)
def test_nothing_can_be_changed_behind_it(launches, change):
    assert certify(change(launches)).digest != certify(launches).digest


def test_several_builds_are_said_the_proven_one_first(launches):
    rebuilt = [with_artifact(launch, content_hash=f"{launch[0].launch.index}" * 64) for launch in reversed(launches)]
    assert [loaded.content_hash[0] for loaded in certify(rebuilt).artifacts] == ["0", "1"]


def test_every_row_of_a_run_has_its_own(synthetic_rows):
    with_one = [row for row in synthetic_rows if row.certificate is not None]
    assert len({row.certificate.digest for row in with_one}) == len(with_one)
    without = [row for row in synthetic_rows if row.certificate is None]
    assert without
    assert all(row.latency is None and row.memory is None for row in without)


def test_the_same_run_gives_the_same_certificates_in_every_version():
    """What was published must still be found by a later harness: a new field goes with a new ``FORM``."""
    digests = [row.certificate.digest if row.certificate else None for row in rows(RunStore.open(SCHEMA_1))]
    assert digests == PINNED
