"""Revisions are checked out apart from the working folder, and nothing of them is left."""

from __future__ import annotations

import subprocess

import pytest

from harness import revisions
from harness.errors import HarnessError


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Run git in a repository with two commits of one file."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "somebody@example.org")

    def run(*words):
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "--quiet", "--initial-branch=main")
    for text in ("one", "two"):
        (folder / "file").write_text(text)
        run("add", "file")
        run("commit", "--quiet", "-m", text)
    run.folder = folder
    return run


def test_each_has_its_own_files_and_none_of_the_working_folder(git):
    (git.folder / "file").write_text("not committed")
    (git.folder / "untracked").touch()
    commits = [revisions.resolved(git.folder, name) for name in ("main~1", "main")]
    with revisions.checked_out(git.folder, commits) as folders:
        assert [(folder / "file").read_text() for folder in folders] == ["one", "two"]
        assert not any((folder / "untracked").exists() for folder in folders)
        assert all(folder.name == "repository" for folder in folders)
    assert not any(folder.exists() for folder in folders)
    assert len(git("worktree", "list").splitlines()) == 1
    assert (git.folder / "file").read_text() == "not committed"


def test_nothing_is_left_after_a_failure_inside(git):
    commit = revisions.resolved(git.folder, "main")
    with pytest.raises(KeyboardInterrupt), revisions.checked_out(git.folder, [commit, commit]):
        raise KeyboardInterrupt
    assert len(git("worktree", "list").splitlines()) == 1


def test_hooks_of_the_repository_do_not_run(git):
    hook = git.folder / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {git.folder}/ran\n")
    hook.chmod(0o755)
    with revisions.checked_out(git.folder, [revisions.resolved(git.folder, "main")]):
        pass
    assert not (git.folder / "ran").exists()


@pytest.mark.parametrize("name", ["nowhere", "--help", "", "main:file"])
def test_a_revision_that_is_none(git, name):
    with pytest.raises(HarnessError, match="repository has no revision") as refused:
        revisions.resolved(git.folder, name)
    assert "shallow" in refused.value.hint


def test_what_a_hook_of_git_sets_is_not_taken_for_the_repository(git, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert revisions.repository_of(git.folder).name == "repository"


def test_a_folder_in_no_repository(tmp_path):
    with pytest.raises(HarnessError, match="not a git repository"):
        revisions.repository_of(tmp_path)


def test_git_that_is_not_there(git, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(HarnessError, match="git cannot be run"):
        revisions.repository_of(git.folder)
