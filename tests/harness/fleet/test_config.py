"""The fleet file: what is valid, and where each error is."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, SuiteError
from harness.fleet import config
from harness.fleet.config import Address, FleetFile, Tls

FILES = ("ca.pem", "certificate.pem", "key.pem")
TLS = "tls: {ca: ca.pem, certificate: certificate.pem, key: key.pem}\n"


@pytest.fixture
def written(tmp_path):
    """Write a fleet file, beside files that may stand for certificates."""
    for name in FILES:
        (tmp_path / name).write_text("")

    def write(text):
        file = tmp_path / "fleet.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_a_fleet_over_tls(written, tmp_path):
    file = written(f"version: 1\nscheduler: tls://lab:9000\n{TLS}patience: 5m\nhosts: [lab-1, lab-2]\n")
    tls = Tls(*(tmp_path / name for name in FILES))
    assert config.load(file) == FleetFile(Address("tls", "lab", 9000), tls, 300.0, ("lab-1", "lab-2"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "[::1]"])
def test_plain_tcp_on_loopback_is_fine(written, host):
    found = config.load(written(f"version: 1\nscheduler: tcp://{host}\n"))
    assert found == FleetFile(Address("tcp", host.strip("[]"), config.PORT))
    assert found.scheduler is not None
    assert str(found.scheduler) == f"tcp://{host}:8786"
    assert not found.local


def test_a_local_fleet(written):
    found = config.load(written("version: 1\nscheduler: local\n"))
    assert found.local
    assert found.patience_s == 120


def test_variables_stand_for_their_values(written):
    file = written("version: 1\nscheduler: tcp://${LAB:-127.0.0.1}:${PORT}\n")
    assert config.load(file, {"PORT": "80"}).scheduler == Address("tcp", "127.0.0.1", 80)
    with pytest.raises(SuiteError, match=r"fleet.yaml:2:12: the environment variable PORT is not set"):
        config.load(file, {})


WRONG = {
    "plain tcp elsewhere": (
        "version: 1\nscheduler: tcp://lab:8786\n",
        r":2:12: tcp://lab:8786 is refused: without TLS whoever reaches a port",
        "harness fleet init",
    ),
    "plain tcp everywhere": ("version: 1\nscheduler: tcp://0.0.0.0\n", r":2:12: .*is refused", "tls://0.0.0.0:8786"),
    "a name that may mean loopback": ("version: 1\nscheduler: tcp://127.1\n", r":2:12: .*is refused", "harness fleet"),
    "tls without files": ("version: 1\nscheduler: tls://lab\n", r":2:12: .*needs certificates", "harness fleet init"),
    "files without tls": (
        f"version: 1\nscheduler: tcp://127.0.0.1\n{TLS}",
        r":2:12: certificates are given",
        "tls://127.0.0.1:8786",
    ),
    "files of a local fleet": (f"version: 1\nscheduler: local\n{TLS}", r":3:1: .*no connections", "leave `tls` out"),
    "a file that is not there": (
        "version: 1\nscheduler: tls://lab\ntls: {ca: no.pem, certificate: certificate.pem, key: key.pem}\n",
        r":3:11: there is no such file",
        "harness fleet init",
    ),
    "no address": ("version: 1\nscheduler: lab:8786\n", r":2:12: the text 'lab:8786' is no address", "tls://lab:8786"),
    "no port": ("version: 1\nscheduler: tls://lab:99999\n", r":2:12: 99999 is no port", "tls://lab:8786"),
    "no time": ("version: 1\nscheduler: local\npatience: 120\n", r":3:11: expected text", ""),
    "no unit": ("version: 1\nscheduler: local\npatience: '120'\n", r":3:11: .*no time to wait", "120s"),
    "a typo": ("version: 1\nscheduller: local\n", r":2:1: unknown key 'scheduller'; did you mean 'scheduler'?", ""),
    "a typo below": (
        "version: 1\nscheduler: local\ntls: {ca: a, certificat: b, key: c}\n",
        r":3:14: unknown key 'certificat'; did you mean 'certificate'",
        "",
    ),
    "another version": ("version: 2\nscheduler: local\n", r":1:10: expected 1, found 2", ""),
    "no version": ("scheduler: local\n", r":1:1: the key 'version' is missing", ""),
    "a name of a place": (
        "version: 1\nscheduler: tcp://localhost\nhosts: [../up]\n",
        r":3:9: .*is no name of a host",
        "letters, digits",
    ),
    "a name twice": ("version: 1\nscheduler: tcp://localhost\nhosts: [a, b, a]\n", r":3:15: 'a' is named twice", ""),
    "nothing": ("", r":1:1: the fleet file is empty", "harness fleet init"),
    "no mapping": ("- a\n", r":1:1: a fleet file is a mapping", "harness fleet init"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_at_its_line(written, case):
    text, message, hint = WRONG[case]
    with pytest.raises(SuiteError, match=rf"fleet\.yaml{message}") as raised:
        config.load(written(text), {})
    assert hint in raised.value.hint
    assert raised.value.hint


def test_all_that_is_wrong_is_said_at_once(written):
    with pytest.raises(SuiteError) as raised:
        config.load(written("version: 1\nscheduler: tcp://lab\nhosts: [a, a]\n"), {})
    assert raised.value.message.count("fleet.yaml:") == 2


@given(st.one_of(st.text(max_size=30), st.from_regex(r"(tcp|tls)://[a-z0-9.:\[\]-]{0,12}", fullmatch=True)))
def test_a_text_is_an_address_or_refused(text):
    with suppress(HarnessError):
        found = config.address(text)
        assert config.address(str(found)) == found


@given(st.text(max_size=80))
def test_every_text_gives_a_name_that_is_safe(text):
    config.check_name(config.safe_name(text))


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a/b", "a b", "a\n", "x" * 64, "ä"])
def test_a_name_that_is_no_safe_word_is_refused(name):
    with pytest.raises(HarnessError, match="no name for a host"):
        config.check_name(name)


def test_the_domain_is_no_part_of_the_name():
    assert config.safe_name("box-3.lab.example") == "box-3"


def test_the_schema_knows_the_keys():
    assert set(config.schema()["properties"]) == {"version", "scheduler", "tls", "patience", "hosts"}


def test_what_is_not_installed_is_said_with_the_command(monkeypatch):
    config.check_installed()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "distributed" else object())
    with pytest.raises(HarnessError, match="a fleet needs distributed") as raised:
        config.check_installed()
    assert raised.value.hint == "pip install 'inference-harness[fleet]'"
