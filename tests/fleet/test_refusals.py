"""Who is not let in, and what is refused before anything runs; always by name."""

from __future__ import annotations

import json
import shutil
import ssl

import pytest

SUITE = """
version: 1
workloads:
  toy: {source: {file: model.json, format: fake-script}, task: raw, input: [3, 8, 8]}
matrix: {engine: [fake], scenario: [latency]}
preset: quick
launches: 1
"""


@pytest.fixture(scope="module")
def lab(make_lab):
    """A fleet of one host, and a suite that it can measure."""
    made = make_lab("ash")
    (made.folder / "model.json").write_text(json.dumps({"outputs": {"scores": [10]}}))
    (made.folder / "suite.yaml").write_text(SUITE)
    other = made.command("fleet", "init", "other", "--scheduler", "127.0.0.1", "--host", "ash")
    assert other.ended()[0] == 0
    made.scheduler()
    made.worker("ash", engines=["fake"])
    return made


@pytest.fixture
def run(lab):
    """Try to run the suite; return exit code and words. Nothing may have been begun."""

    def tried(*more, fleet=lab.fleet.name, suite="suite.yaml"):
        said = lab.command("run", suite, "--fleet", fleet, *more).ended()
        assert lab.runs == []
        return said

    return tried


def test_the_fleet_itself_is_there(lab):
    code, said = lab.command("fleet", "status", "--fleet", lab.fleet.name).ended()
    assert code == 0, said
    assert "ash" in said


def test_a_client_of_another_authority_is_refused(lab, run):
    text = json.loads(lab.fleet.read_text())
    text["tls"] = {key: place.replace("lab/", "other/") for key, place in text["tls"].items()}
    (lab.folder / "foreign.yaml").write_text(json.dumps(text))
    code, said = run(fleet="foreign.yaml")
    assert code == 4
    assert "certificates do not fit" in said


def test_a_worker_of_another_authority_is_refused(lab):
    process = lab.worker("elm", wait=False, tls=str(lab.folder / "other" / "hosts" / "ash"))
    code, said = process.ended()
    assert code == 1
    assert "certificates do not fit" in said


def test_who_shows_no_certificate_is_refused(lab):
    context = ssl.create_default_context(cafile=str(lab.folder / "lab" / "client" / "ca.pem"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        lab.greeted(context)
    context.load_cert_chain(*(lab.folder / "lab" / "client" / name for name in ("certificate.pem", "key.pem")))
    assert lab.greeted(context)


def test_a_certificate_of_a_host_does_not_stand_for_the_scheduler(lab, free_port):
    shutil.rmtree(lab.folder / "false", ignore_errors=True)
    shutil.copytree(lab.folder / "lab" / "hosts" / "ash", lab.folder / "false")
    port = free_port()
    listen = ("--host", "127.0.0.1", "--port", str(port))
    lab.command("fleet", "scheduler", "--tls", "false", *listen, log="false.log").says("listens at")
    text = json.loads(lab.fleet.read_text()) | {"scheduler": f"tls://127.0.0.1:{port}"}
    (lab.folder / "misled.yaml").write_text(json.dumps(text))
    code, said = lab.command("fleet", "status", "--fleet", "misled.yaml").ended()
    assert code == 4
    assert "certificates do not fit" in said


@pytest.mark.parametrize(
    "words",
    [
        ("fleet", "scheduler", "--host", "0.0.0.0"),
        ("fleet", "worker", "tcp://192.0.2.1:8786"),
        ("run", "suite.yaml", "--fleet", "bare.yaml"),
        ("fleet", "status", "--fleet", "bare.yaml"),
    ],
)
def test_tcp_without_tls_is_refused_off_loopback(lab, words):
    (lab.folder / "bare.yaml").write_text(json.dumps({"version": 1, "scheduler": "tcp://192.0.2.1:8786"}))
    code, said = lab.say(*words)
    assert code == 4
    assert "without TLS" in said
    assert lab.runs == []


def test_a_worker_of_another_version_is_refused_by_name(lab):
    code, said = lab.worker("elm", wait=False, version="0.0.1", tls=str(lab.folder / "lab" / "hosts" / "ash")).ended()
    assert code == 1
    assert "0.0.1" in said
    assert "install the same version" in said


def test_a_second_host_of_one_name_is_refused(lab):
    code, said = lab.worker("ash", wait=False, folder=str(lab.folder / "hosts" / "second")).ended()
    assert code == 1
    assert "has a host called ash already" in said


def test_an_engine_that_no_host_offers_is_refused_by_name(run):
    code, said = run("--set", "matrix.engine=[fake,onnxruntime]")
    assert code == 4
    assert "no host of the fleet offers the engine 'onnxruntime'" in said


def test_a_device_that_no_host_offers_is_refused_by_name(run):
    code, said = run("--set", "matrix.device=[cuda:0]")
    assert code == 4
    assert "no host of the fleet offers the device 'cuda:0'" in said


def test_a_client_of_another_version_is_refused_by_name(lab):
    code, said = lab.command("run", "suite.yaml", "--fleet", lab.fleet.name, version="0.0.1").ended()
    assert code == 4
    assert "this is 0.0.1" in said
    assert lab.runs == []
