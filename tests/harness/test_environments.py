"""Environments of requirements: made once, whole or not at all, with the harness in them and nothing else of ours."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import engines
import harness
from harness import environments
from harness.cache import Cache
from harness.environments import Wanted
from harness.errors import HarnessError


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, wheels):
    """A folder of wheels: three versions of a runtime that is none."""
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "1.5", "2.0"):
        wheels.wheel(folder, "toyrt", version, {"toyrt.py": f"VERSION = {version!r}\n"})
    return folder


@pytest.fixture(scope="module")
def offline(shelf):
    """Take pip's own variables to the shelf, and uv off the path."""
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            patched.delenv(name)
        patched.setenv("PIP_CONFIG_FILE", os.devnull)
        patched.setenv("PIP_NO_INDEX", "1")
        patched.setenv("PIP_FIND_LINKS", str(shelf))
        patched.setattr(environments.shutil, "which", lambda _: None)
        yield


@pytest.fixture
def wanted(offline):
    """A maker of what is wanted; no support is needed to import what is on the shelf."""

    def made(*requirements):
        packages = environments.packages_of(["engines.fake:FakeEngine"])
        return Wanted(requirements, support=(), packages=packages)

    return made


class Words(list):
    """What was told."""

    def __call__(self, word):
        self.append(word)


@pytest.fixture(scope="module")
def made(offline, tmp_path_factory):
    """One environment that several tests read."""
    root = tmp_path_factory.mktemp("environments")
    packages = environments.packages_of(["engines.fake:FakeEngine"])
    one = Wanted(("toyrt==1.*",), support=(), packages=packages)
    return root, one, environments.environment(one, root, Words())


def asked(interpreter, program):
    done = subprocess.run([interpreter, "-I", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_it_holds_what_was_asked_and_no_more(made):
    _, _, found = made
    assert found.versions == {"toyrt": "1.5"}
    assert found.python.endswith(".".join(map(str, sys.version_info[:3])))
    assert asked(found.interpreter, "import toyrt; print(toyrt.VERSION)") == "1.5"


def test_the_harness_and_the_adapter_come_from_where_they_lie(made):
    _, _, found = made
    program = "import harness, importlib.util; print(harness.__file__, importlib.util.find_spec('engines').origin)"
    places = [Path(place).resolve() for place in asked(found.interpreter, program).split()]
    assert places == [Path(harness.__file__).resolve(), Path(engines.__file__).resolve()]


def test_nothing_else_of_what_lies_beside_them_is_there(made):
    _, _, found = made
    program = "import importlib.util as u; print([n for n in ('results', 'reports', 'benchmarks') if u.find_spec(n)])"
    assert asked(found.interpreter, program) == "[]"


def test_a_second_time_nothing_is_made(made, monkeypatch):
    root, one, found = made
    monkeypatch.setattr(environments, "_run", lambda *_: pytest.fail("installed again"))
    words = Words()
    assert environments.environment(one, root, words) == found
    assert words == []


def test_links_follow_the_harness(made, tmp_path):
    root, one, found = made
    moved = tmp_path / "elsewhere" / "engines"
    moved.mkdir(parents=True)
    (moved / "__init__.py").touch()
    environments.environment(replace(one, packages={**one.packages, "engines": moved}), root, Words())
    assert asked(found.interpreter, "import engines; print(engines.__file__)").endswith("engines/__init__.py")
    linked = root / one.key[:20] / "linked" / "engines"
    assert linked.readlink() == moved
    environments.environment(one, root, Words())
    assert linked.readlink() == Path(engines.__file__).parent


def test_another_process_is_waited_for(made):
    root, one, found = made
    lock = os.open(root / f".{one.key[:20]}.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    waiting, got = threading.Event(), []

    def told(_):
        waiting.set()

    thread = threading.Thread(target=lambda: got.append(environments.environment(one, root, told)))
    thread.start()
    assert waiting.wait(30)
    assert got == []
    os.close(lock)
    thread.join(30)
    assert got == [found]


def test_what_was_left_half_made_is_made_anew(made, wanted, tmp_path, monkeypatch):
    _, _, found = made
    one = wanted("toyrt")
    half = tmp_path / one.key[:20]
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").symlink_to(found.interpreter)  # it runs, and nobody said that it is complete
    (half / "left over").touch()
    assert environments.environment(one, tmp_path, Words()).versions == {"toyrt": "2.0"}
    assert not (half / "left over").exists()


def test_refreshing_finds_what_is_new(offline, wheels, shelf, tmp_path, monkeypatch):
    own = tmp_path / "shelf"
    own.mkdir()
    wheels.wheel(own, "toyrt", "1.0", {"toyrt.py": ""})
    monkeypatch.setenv("PIP_FIND_LINKS", str(own))
    one = Wanted(("toyrt==1.*",), support=())
    assert environments.environment(one, tmp_path, Words()).versions == {"toyrt": "1.0"}
    wheels.wheel(own, "toyrt", "1.1", {"toyrt.py": ""})
    assert environments.environment(one, tmp_path, Words()).versions == {"toyrt": "1.0"}
    words = Words()
    assert environments.environment(one, tmp_path, words, refresh=True).versions == {"toyrt": "1.1"}
    assert words == ["an environment with toyrt==1.*"]


def test_what_cannot_be_installed_is_said_in_the_words_of_pip(wanted, tmp_path):
    one = wanted("toyrt==9.*")
    for _ in range(2):  # nothing is left that would count as made
        with pytest.raises(HarnessError, match=r"toyrt==9\.\* cannot be installed: ") as refused:
            environments.environment(one, tmp_path, Words())
        assert "No matching distribution found for toyrt==9.*" in refused.value.message
        assert "PIP_INDEX_URL" in refused.value.hint


def test_uv_is_taken_where_it_is(offline, shelf, tmp_path, monkeypatch):
    log = tmp_path / "log"
    uv = tmp_path / "uv"
    # A stand-in that does what uv does, by way of the standard library and pip.
    uv.write_text(
        textwrap.dedent(f"""\
            #!{sys.executable}
            import pathlib, subprocess, sys
            words = sys.argv[1:]
            with pathlib.Path({str(log)!r}).open("a") as file:
                print(*words, file=file)
            if words[0] == "venv":
                python, folder = words[words.index("--python") + 1:]
                raise SystemExit(subprocess.call([python, "-m", "venv", "--without-pip", folder]))
            python, *rest = words[words.index("--python") + 1:]
            raise SystemExit(subprocess.call([sys.executable, "-m", "pip", "--python", python, "install", *rest]))
            """)
    )
    uv.chmod(0o755)
    monkeypatch.setattr(environments.shutil, "which", {"uv": str(uv)}.get)
    found = environments.environment(Wanted(("toyrt==2.0",), support=()), tmp_path / "root", Words())
    assert found.versions == {"toyrt": "2.0"}
    made, installed = log.read_text().splitlines()
    assert made.startswith("venv --quiet --python ")
    assert installed.endswith(" toyrt==2.0")


def test_without_uv_and_pip_there_is_a_word(offline, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "_has_pip", lambda: False)
    with pytest.raises(HarnessError, match="neither uv nor pip"):
        environments.environment(Wanted(("toyrt",), support=()), tmp_path, Words())


def test_a_place_that_cannot_be_written(offline, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HarnessError, match="no environment can be made") as refused:
        environments.environment(Wanted(("toyrt",), support=()), tmp_path / "file" / "below", Words())
    assert "HARNESS_CACHE" in refused.value.hint


def test_the_key_is_what_was_written_and_what_a_wheel_holds(tmp_path):
    one, other = Wanted(("toyrt==1.*",)), Wanted(("toyrt==1.5",))
    assert len({one.key, other.key, replace(one, support=()).key}) == 3
    assert replace(one, packages={"harness": tmp_path}).key == one.key
    wheel = tmp_path / "toyrt-1.0-py3-none-any.whl"
    keys = set()
    for text in ("one", "two"):
        wheel.write_text(text)
        keys.add(Wanted((str(wheel),)).key)
    assert len(keys) == 2


def test_an_interpreter_that_is_none(tmp_path):
    with pytest.raises(HarnessError, match="cannot be run"):
        environments.installed(str(tmp_path / "gone"))
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\necho no python >&2\nexit 3\n")
    shell.chmod(0o755)
    with pytest.raises(HarnessError, match="does not say what it holds: no python"):
        environments.installed(str(shell))


def test_an_adapter_that_is_not_there():
    with pytest.raises(HarnessError, match="the package no_such_package is not to be found"):
        environments.packages_of(["no_such_package.module:Engine"])


def test_a_cache_tells_of_them_and_prunes_those_that_nobody_holds(made, tmp_path):
    root, one, found = made
    (kept,) = environments.kept(root)
    assert (kept.kind, kept.key) == ("environments", one.key[:20])
    assert kept.meta == {"requirements": ["toyrt==1.*"]}
    assert Path(found.interpreter).is_relative_to(kept.folder)
    own = sum(file.lstat().st_size for file in kept.folder.rglob("*") if not file.is_dir() or file.is_symlink())
    assert 0 < kept.size_bytes <= own
    cache = Cache(tmp_path)
    beside = tmp_path / environments.FOLDER
    (beside / "older" / "lib").mkdir(parents=True)
    (beside / "older" / "lib" / "half").write_text("x" * 10)
    (beside / "linked").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("y")
    (beside / "linked" / "harness").symlink_to(outside)
    (beside / "linked" / "complete").write_text("a==1\nb")
    lock = beside / ".linked.lock"
    lock.touch()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert [entry.key for entry in environments.kept(beside)] == ["older"], "the other is being made"
    removed = cache.prune(keep_bytes=0, beside=environments.kept(beside))
    assert {entry.key: entry.meta["requirements"] for entry in removed} == {"older": [], "linked": ["a==1", "b"]}
    assert not list(environments.kept(beside))
    assert (outside / "kept").read_text() == "y", "what it linked to is not its own"


def test_there_may_be_none(tmp_path):
    assert not list(environments.kept(tmp_path / "nowhere"))
