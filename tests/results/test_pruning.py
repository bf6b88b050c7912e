from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.errors import StoreError
from results import pruning
from results import store as stores
from results.pruning import Limits, candidates, remove
from results.store import RunStore, runs_in
from results.tags import tag

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Five runs, made 400, 300, 200, 100 and 1 days ago."""
    for days in (400, 300, 200, 100, 1):
        monkeypatch.setattr(stores, "now", lambda days=days: (NOW - timedelta(days=days)).isoformat())
        RunStore.create(tmp_path / "runs", {}).close()
    return tmp_path / "runs"


def going(root, limits, leaned_on=None):
    return [each.folder for each in candidates(root, limits, NOW, leaned_on or {}) if not each.kept]


def test_what_is_old_goes(root):
    runs = list(runs_in(root))
    assert going(root, Limits(older=timedelta(days=150))) == runs[:3]
    assert going(root, Limits(keep=2)) == runs[:3]
    assert going(root, Limits(older=timedelta(days=250), keep=2)) == runs[:2]
    assert going(root, Limits(older=timedelta(days=50), keep=4)) == runs[:1]
    assert going(root, Limits(keep=0)) == runs
    assert going(root, Limits(keep=9)) == []


def test_what_something_leans_on_stays(root):
    runs = runs_in(root)
    tag(runs[0], "release-1")
    (runs[3] / "manifest.json").write_text("{")
    with RunStore.open(runs[1]) as writer:
        writer.acquire()
        found = {each.folder: each for each in candidates(root, Limits(keep=0), NOW, {runs[2].name: "a baseline"})}
    assert found[runs[0]].kept == "tagged release-1"
    assert found[runs[1]].kept == "it is being written"
    assert found[runs[2]].kept == "a baseline"
    assert found[runs[3]].kept == "nothing says when it was made"
    assert not found[runs[4]].kept
    assert found[runs[4]].size_bytes > 0


def test_a_run_from_the_future_is_not_old(root, monkeypatch):
    later = (NOW + timedelta(days=4000)).isoformat()
    monkeypatch.setattr(stores, "now", lambda: later)
    RunStore.create(root, {}).close()
    assert going(root, Limits(older=timedelta(days=0))) == list(runs_in(root))[:5]


def test_a_run_goes_whole_or_stays(root, monkeypatch):
    runs = runs_in(root)
    with RunStore.open(runs[0]) as writer:
        writer.acquire()
        with pytest.raises(StoreError, match="is being written"):
            remove(runs[0])
    assert runs_in(root) == runs

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pruning.shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            remove(runs[0])
    assert runs_in(root) == runs[1:]  # out of sight, though not yet off the disk
    (root / ".mine.removed").mkdir()
    remove(runs[1])
    assert runs_in(root) == runs[2:]
    assert sorted(root.iterdir()) == [root / ".mine.removed", *runs[2:]]


def test_a_run_that_may_not_be_removed_says_so(root, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match="no permission"):
        remove(runs_in(root)[0])
