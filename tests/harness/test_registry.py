"""Adapters by entry point: what is broken costs itself alone."""

from __future__ import annotations

import sys

import pytest

from engines.exporters.fake import FakeQuantiser
from engines.fake import FakeEngine
from harness import registry
from harness.errors import HarnessError


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A third-party distribution made on the fly."""
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[harness.engines]\nraises = brittle_raises:Engine\nexits = brittle_exits:Engine\n"
        "gone = no_such_module:Engine\nlacking = engines.fake:NoSuchEngine\ndemanding = brittle_demanding:Engine\n"
        "stranger = pathlib:Path\n"
    )
    (tmp_path / "brittle_raises.py").write_text("1 / 0\n")
    (tmp_path / "brittle_exits.py").write_text("raise SystemExit(7)\n")
    (tmp_path / "brittle_demanding.py").write_text(
        "from engines.fake import FakeEngine\nclass Engine(FakeEngine):\n    def __init__(self, licence): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("brittle_raises", "brittle_exits", "brittle_demanding"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return registry.registered(registry.ENGINES_GROUP)


def test_third_parties_come_by_the_same_route_as_our_own(offered):
    assert offered["fake"] == registry.Registered("fake", "engines.fake:FakeEngine", "inference-harness")
    assert offered["raises"].distribution == "third-party"
    assert list(offered) == sorted(offered)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("raises", "ZeroDivisionError"),
        ("exits", "SystemExit: 7"),
        ("gone", "No module named 'no_such_module'"),
        ("lacking", "NoSuchEngine"),
        ("demanding", "licence"),
        ("stranger", "is no harness.engine.Engine"),
    ],
)
def test_a_broken_adapter_is_one_error_with_a_hint(offered, name, why):
    with pytest.raises(HarnessError, match=why.replace(".", r"\.")) as error:
        registry.engine(offered[name].target)
    assert error.value.hint


@pytest.mark.parametrize("defaults", [{"kinds": {1, 2}}, None, ["mean"]], ids=str)
def test_an_exporter_whose_options_no_suite_can_write_is_one_error(monkeypatch, defaults):
    monkeypatch.setattr(FakeQuantiser, "defaults", defaults)
    with pytest.raises(HarnessError, match="declares options in no form of a suite") as error:
        registry.exporter("engines.exporters.fake:FakeQuantiser")
    assert error.value.hint


def test_listing_imports_nothing(offered):
    assert not {"brittle_raises", "brittle_exits", "brittle_demanding"} & sys.modules.keys()


def test_our_own_are_made():
    assert isinstance(registry.engine("engines.fake:FakeEngine"), FakeEngine)
    assert registry.exporter("engines.exporters.fake:FakeImport").name == "fake-import"
    with pytest.raises(HarnessError, match=r"is no harness\.engine\.Exporter"):
        registry.exporter("engines.fake:FakeEngine")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(HarnessError, match="no engine is called 'fakee'; did you mean 'fake'") as error:
        registry.named(registry.ENGINES_GROUP, "fakee")
    assert "harness doctor" in error.value.hint
