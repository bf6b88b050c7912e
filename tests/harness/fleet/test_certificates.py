"""Certificates: made once, added to, readable by their owner; each end takes those of its own fleet and no others."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest

from harness.errors import HarnessError

pytest.importorskip("cryptography")
pytest.importorskip("distributed")

from cryptography import x509

from harness.fleet import certificates, config, settings
from harness.fleet.certificates import Asked


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """The folder of a fleet with two hosts, to be read only."""
    folder = tmp_path_factory.mktemp("fleet") / "certificates"
    certificates.init(folder, Asked(("lab.example", "10.0.0.7"), ("one", "two")))
    return folder


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """The folder of another fleet."""
    folder = tmp_path_factory.mktemp("stranger") / "certificates"
    certificates.init(folder, Asked(("lab.example",), ("one",)))
    return folder


def end(folder):
    """Return the security of one end."""
    return settings.security(certificates.of_folder(folder))


def handshake(asking, serving, name):
    """Let two contexts shake hands in memory. Raises ``ssl.SSLError`` where either end refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server, server_hostname=name)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    server.write(b"x")
    # With TLS 1.3 a client learns only here whether its certificate was taken.
    assert client.read(1) == b"x"
    return client, server


def asks(folder, role="worker"):
    return end(folder).get_connection_args(role)["ssl_context"]


def serves(folder, role="scheduler"):
    return end(folder).get_listen_args(role)["ssl_context"]


def test_what_is_made(fleet):
    made = sorted(str(path.relative_to(fleet)) for path in fleet.rglob("*") if path.is_file())
    ends = ("client", "hosts/one", "hosts/two", "scheduler")
    files = [f"{end}/{name}" for end in ends for name in ("ca.pem", "certificate.pem", "key.pem")]
    assert made == sorted(["ca/ca.pem", "ca/key.pem", "fleet.yaml", *files])
    assert stat.S_IMODE(fleet.stat().st_mode) == 0o700
    for path in fleet.rglob("*"):
        expected = 0o700 if path.is_dir() else 0o600
        if path.name != "fleet.yaml" and path != fleet / "hosts":
            assert stat.S_IMODE(path.stat().st_mode) == expected, path
    assert not list(fleet.rglob(".*"))


def test_the_example_is_a_fleet_file(fleet):
    found = config.load(fleet / "fleet.yaml", {})
    assert str(found.scheduler) == "tls://lab.example:8786"
    assert found.tls == certificates.of_folder(fleet / "client")
    assert found.patience_s == 120


@pytest.mark.parametrize("name", ["lab.example", "10.0.0.7", "localhost", "127.0.0.1", "::1"])
@pytest.mark.parametrize("asking", ["client", "hosts/one"])
def test_the_ends_of_a_fleet_take_each_other(fleet, asking, name):
    client, server = handshake(asks(fleet / asking), serves(fleet / "scheduler"), name)
    assert client.version() == server.version() == "TLSv1.3"
    assert client.getpeercert()
    assert server.getpeercert()


def test_the_scheduler_fetches_from_a_host(fleet):
    handshake(asks(fleet / "scheduler", "scheduler"), serves(fleet / "hosts/two", "worker"), "10.9.9.9")


def test_a_certificate_of_another_authority_is_refused_by_both_ends(fleet, stranger):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(asks(stranger / "client"), serves(fleet / "scheduler"), "lab.example")
    trusting = asks(stranger / "hosts/one")
    trusting.load_verify_locations(fleet / "scheduler" / "ca.pem")  # the client takes it; the scheduler does not
    with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_VERIFY_FAILED|UNKNOWN_CA"):
        handshake(trusting, serves(fleet / "scheduler"), "lab.example")


def test_no_certificate_is_refused(fleet):
    bare = ssl.create_default_context(cafile=fleet / "scheduler" / "ca.pem")
    with pytest.raises(ssl.SSLError, match=r"PEER_DID_NOT_RETURN_A_CERTIFICATE|CERTIFICATE_REQUIRED"):
        handshake(bare, serves(fleet / "scheduler"), "lab.example")


@pytest.mark.parametrize("asking", ["client", "hosts/one"])
def test_a_host_cannot_stand_for_the_scheduler(fleet, asking):
    for name in ("lab.example", "two", "host two"):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"Hostname mismatch|not valid for"):
            handshake(asks(fleet / asking), serves(fleet / "hosts/two", "worker"), name)


def test_a_client_cannot_serve(fleet):
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(asks(fleet / "scheduler", "scheduler"), serves(fleet / "client", "worker"), "localhost")


def test_a_name_that_the_certificate_does_not_have_is_refused(fleet):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(asks(fleet / "client"), serves(fleet / "scheduler"), "other.example")


def test_a_host_is_added_with_the_same_authority(tmp_path):
    folder = tmp_path / "fleet"
    certificates.init(folder, Asked(("lab",)))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert certificates.init(folder, Asked(hosts=("late",))) == (folder / "hosts" / "late",)
    assert {path: path.read_bytes() for path in before} == before
    handshake(asks(folder / "hosts/late"), serves(folder / "scheduler"), "lab")


def test_nothing_is_made_anew_unless_that_is_asked_for(tmp_path):
    folder = tmp_path / "fleet"
    certificates.init(folder, Asked(("lab",), ("one",)))
    for asked in (Asked(hosts=("new", "one")), Asked(("other",))):
        with pytest.raises(HarnessError, match="exists already") as raised:
            certificates.init(folder, asked)
        assert "--replace" in raised.value.hint
    assert not (folder / "hosts" / "new").exists()
    with pytest.raises(HarnessError, match="has all that was asked for"):
        certificates.init(folder, Asked())
    before = (folder / "hosts" / "one" / "key.pem").read_bytes()
    assert certificates.init(folder, Asked(hosts=("one",), replace=True)) == (folder / "hosts" / "one",)
    assert (folder / "hosts" / "one" / "key.pem").read_bytes() != before
    handshake(asks(folder / "hosts/one"), serves(folder / "scheduler"), "lab")
    assert [path.name for path in (folder / "hosts").iterdir()] == ["one"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 64])
def test_a_host_of_no_safe_name_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(HarnessError, match="no name for a host"):
        certificates.init(tmp_path / "fleet", Asked(hosts=(name,)))
    assert not (tmp_path / "fleet").exists()


@pytest.mark.parametrize("name", ["", "a b", "lab:80", "tls://lab", "[::1]", "\u00e4"])
def test_a_scheduler_of_no_name_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(HarnessError, match="is neither a host name nor an IP address"):
        certificates.init(tmp_path / "fleet", Asked((name,)))
    assert not (tmp_path / "fleet").exists()


@pytest.mark.parametrize("days", [0, -1, 10_000])
def test_a_time_of_no_sense_is_refused(tmp_path, days):
    with pytest.raises(HarnessError, match="is no time for a certificate"):
        certificates.init(tmp_path / "fleet", Asked(days=days))


def test_certificates_end_when_it_was_asked(tmp_path):
    folder = tmp_path / "fleet"
    certificates.init(folder, Asked(("lab",), days=30))
    found = x509.load_pem_x509_certificate((folder / "client" / "certificate.pem").read_bytes())
    left = found.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
    assert found.not_valid_before_utc < datetime.now(UTC) - timedelta(hours=23)  # a clock may be behind


def test_an_authority_without_its_key_adds_nothing(tmp_path):
    folder = tmp_path / "fleet"
    certificates.init(folder, Asked(("lab",)))
    (folder / "ca" / "key.pem").unlink()
    with pytest.raises(HarnessError, match="is no authority of a fleet"):
        certificates.init(folder, Asked(hosts=("one",)))
    (folder / "ca" / "key.pem").write_bytes((folder / "client" / "key.pem").read_bytes())
    with pytest.raises(HarnessError, match="is not the key of"):
        certificates.init(folder, Asked(hosts=("one",)))


def test_a_folder_that_lacks_a_file_is_said(tmp_path):
    with pytest.raises(HarnessError, match=r"ca\.pem does not exist"):
        certificates.of_folder(tmp_path)


def test_a_key_of_another_certificate_is_said(fleet, tmp_path):
    files = certificates.of_folder(fleet / "client")
    with pytest.raises(HarnessError, match="cannot be used"):
        settings.security(config.Tls(files.ca, files.certificate, fleet / "hosts" / "one" / "key.pem"))
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    with pytest.raises(HarnessError, match="cannot be used"):
        settings.security(config.Tls(broken, files.certificate, files.key))
