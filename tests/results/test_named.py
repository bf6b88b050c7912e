"""Which run is meant: folders, files, ids, tags, and revisions of a repository made for it."""

import json
import subprocess
from types import SimpleNamespace

import pytest

from harness.errors import HarnessError, StoreError
from harness.vocabulary import Precision
from results import bundle
from results.fleets import FleetRun, Part
from results.named import NoRun, any_folder_of, find, fleet_of, folder_of, tag, tags_of
from results.snapshots import snapshot, write
from results.store import MANIFEST, RunStore


def git(folder, *arguments):
    identity = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@t",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "init.defaultBranch=main",
    ]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder, word):
    (folder / "file").write_text(word)
    git(folder, "add", "file")
    git(folder, "commit", "-m", word)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def stored(factory, tmp_path_factory):
    """Four runs, made at two commits of main, a dirty tree, and a branch beside main."""
    root, repository = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("repository")
    git(repository, "init")
    first = commit(repository, "first")
    second = commit(repository, "second")
    git(repository, "checkout", "-b", "side", first)
    side = commit(repository, "side")
    git(repository, "checkout", "main")
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=1, scenarios=("memory",))
    folders = {}
    for name, sha, dirty in (
        ("first", first, False),
        ("second", second, False),
        ("dirty", second, True),
        ("side", side, False),
    ):
        folders[name] = factory.write_run(root, (recipe,))
        manifest = json.loads((folders[name] / MANIFEST).read_text())
        manifest["host"]["environment"]["revision"] = {"sha": sha, "dirty": dirty}
        (folders[name] / MANIFEST).write_text(json.dumps(manifest))
    tag(folders["first"], "release")
    return SimpleNamespace(
        root=root, repository=repository, folders=folders, shas={"first": first, "second": second, "side": side}
    )


@pytest.fixture
def found(stored):
    return lambda name: find(str(name), stored.root, stored.repository).folder


def test_a_folder_an_id_the_latest_and_a_tag(stored, found):
    for name, folder in stored.folders.items():
        assert found(folder) == folder
        assert found(folder.name) == folder
        assert found(folder.name.lower()[:25]) == folder, name
    assert found("latest") == stored.folders["side"]
    assert found("release") == stored.folders["first"]
    assert tags_of(stored.folders["first"]) == ("release",)


def test_a_snapshot_file_and_a_bundle_are_all_that_there_is_of_a_run(stored, tmp_path):
    store = RunStore.open(stored.folders["first"])
    write(tmp_path / "base.json", snapshot(store))
    kept = find(str(tmp_path / "base.json"), stored.root, stored.repository)
    assert (kept.folder, kept.snapshot.run_id) == (None, store.run_id)
    bundle.write(store, tmp_path / "one.run.zip")
    carried = find(str(tmp_path / "one.run.zip"), stored.root, stored.repository)
    assert (carried.folder, carried.snapshot.cells) == (None, kept.snapshot.cells)
    (tmp_path / "notes.txt").write_text("something else")
    with pytest.raises(StoreError, match=r"notes\.txt: no whole JSON"):
        find(str(tmp_path / "notes.txt"), stored.root, stored.repository)


def test_a_ref_is_the_newest_clean_run_of_exactly_that_commit(stored, found):
    assert found("main") == stored.folders["second"], "the later one was made with uncommitted changes"
    assert found("main~1") == stored.folders["first"]
    assert found("side") == stored.folders["side"]
    assert found(stored.shas["second"][:10]) == stored.folders["second"]


def test_latest_of_a_ref_is_the_newest_clean_run_that_it_contains(stored, found):
    assert found("latest:main") == stored.folders["second"]
    assert found("latest:side") == stored.folders["side"]
    assert found("latest:main~1") == stored.folders["first"]


def test_a_branch_that_is_only_at_the_origin_is_found(stored, tmp_path):
    git(tmp_path, "clone", "--branch", "side", str(stored.repository), "clone")
    clone = tmp_path / "clone"
    assert "main" not in git(clone, "branch", "--format=%(refname:short)").split()
    assert find("latest:main", stored.root, clone).folder == stored.folders["second"]
    assert find("main", stored.root, clone).folder == stored.folders["second"]


def test_a_commit_without_a_run_is_not_another_ones(stored, found):
    git(stored.repository, "checkout", "--detach", "main")
    commit(stored.repository, "third")
    try:
        with pytest.raises(NoRun, match="there is no run of HEAD"):
            found("HEAD")
        assert found("latest:HEAD") == stored.folders["second"]
    finally:
        git(stored.repository, "checkout", "main")


def test_a_commit_with_dirty_runs_alone_says_so(stored, factory, tmp_path):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=1, scenarios=("memory",))
    run = factory.write_run(tmp_path, (recipe,))
    manifest = json.loads((run / MANIFEST).read_text())
    manifest["host"]["environment"]["revision"] = {"sha": stored.shas["first"], "dirty": True}
    (run / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(NoRun) as caught:
        find("main~1", tmp_path, stored.repository)
    assert f"run {run.name} is of it, with changes" in caught.value.hint
    with pytest.raises(NoRun, match=r"no run in .* is of a commit that main contains"):
        find("latest:main", tmp_path, stored.repository)


def test_a_beginning_that_several_share_is_refused(stored, found):
    with pytest.raises(StoreError, match=r"4 runs in .* begin with '01'"):
        found("01")


@pytest.mark.parametrize("name", ["nothing", "-x", "--all", "latest:nothing", "latest:", "a" * 5000, "main:file", "\n"])
def test_a_name_that_means_nothing_says_what_there_is(stored, found, name):
    with pytest.raises(StoreError, match="is no file, run, tag or git ref here") as caught:
        found(name)
    assert not isinstance(caught.value, NoRun)
    assert f"there are 4 runs, the newest {stored.folders['side'].name}; tags: release" in caught.value.hint


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_that_nothing_can_have_is_refused(found, name):
    with pytest.raises(StoreError, match="names no run"):
        found(name)


def test_outside_a_repository_it_is_said(stored, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(StoreError, match="in no git repository"):
        find("main", stored.root, tmp_path)
    assert find("release", stored.root, tmp_path).folder == stored.folders["first"]


def test_without_git_it_is_said(stored, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StoreError, match="git is not installed"):
        find("main", stored.root, stored.repository)
    assert find("latest", stored.root, stored.repository).folder == stored.folders["side"]


def test_git_that_hangs_is_left(stored, monkeypatch):
    def hangs(command, **how):
        raise subprocess.TimeoutExpired(command, how["timeout"])

    monkeypatch.setattr(subprocess, "run", hangs)
    with pytest.raises(StoreError, match="TimeoutExpired"):
        find("main", stored.root, stored.repository)


def test_without_any_run(tmp_path, stored):
    with pytest.raises(NoRun, match="there is no run in"):
        find("latest", tmp_path, stored.repository)
    with pytest.raises(NoRun):
        find("main", tmp_path / "none", stored.repository)


def test_a_run_whose_manifest_cannot_be_read_is_of_no_commit(stored, factory, tmp_path):
    (tmp_path / "01ARZ3NDEKTSV4RRFFQ69G5FAV").mkdir()
    (tmp_path / "01ARZ3NDEKTSV4RRFFQ69G5FAV" / MANIFEST).write_text("{")
    with pytest.raises(NoRun):
        find("main", tmp_path, stored.repository)


def test_a_run_of_two_sides_is_meant_by_its_own_name_alone(factory, tmp_path, stored):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=1, scenarios=("memory",))
    older, newer = (factory.write_run(tmp_path, (recipe,)) for _ in range(2))
    manifest = json.loads((newer / MANIFEST).read_text())
    manifest["ab"] = {"base": {"environment": {"python": "one"}}, "head": {"environment": {"python": "other"}}}
    (newer / MANIFEST).write_text(json.dumps(manifest))
    assert find("latest", tmp_path, stored.repository).folder == older
    assert find(newer.name, tmp_path, stored.repository).folder == newer
    head = find(f"{newer.name}@head", tmp_path, stored.repository)
    assert (head.folder, head.snapshot.environment["python"]) == (newer, "other")
    with pytest.raises(HarnessError, match="measured one environment"):
        find(f"{older.name}@base", tmp_path, stored.repository)


def test_a_fleet_is_meant_by_its_name_after_tags_and_before_refs(factory, tmp_path, stored):
    recipe = factory.Recipe("lite0", "torch", Precision.FP32, launches=1, scenarios=("memory",))
    one, two = (factory.write_run(tmp_path, (recipe,)) for _ in range(2))
    facts = {"suite": "s", "command": "c", "harness_version": "1", "hosts": {}}
    with FleetRun.create(tmp_path, **facts) as fleet:
        fleet.add(Part(one.name, "oak"))
        assert fleet_of(fleet.fleet_id[:10], tmp_path).fleet_id == fleet.fleet_id
        assert find(fleet.fleet_id, tmp_path, stored.repository).folder == one
        assert any_folder_of(str(fleet.folder), tmp_path, stored.repository) == one
        fleet.add(Part(two.name, "elm"))
    for finding in (find, folder_of, any_folder_of):
        with pytest.raises(StoreError, match="is 2 runs, and one is meant here"):
            finding(fleet.fleet_id, tmp_path, stored.repository)
    tag(two, "fleet-0")
    assert fleet_of("fleet-0", tmp_path) is None
    assert folder_of("fleet-0", tmp_path, stored.repository) == two
    git(stored.repository, "branch", "fleet-support")
    assert fleet_of("fleet-support", tmp_path) is None
    with pytest.raises(NoRun, match="there is no run of fleet-support"):
        find("fleet-support", tmp_path, stored.repository)
    with pytest.raises(StoreError, match="is no file, run, tag or git ref here") as caught:
        find("fleet-nonesuch", tmp_path, stored.repository)
    assert f"fleets: {fleet.fleet_id}" in caught.value.hint
