"""Fixtures that every room's tests share."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from results.rows import rows
from results.store import RunStore

if TYPE_CHECKING:
    from types import ModuleType

    from results.row import Row

# A test that imports OpenVINO by itself must not report that to its maker either: see engines/openvino_module.py.
sys.modules.setdefault("openvino_telemetry", None)

# How long an example takes says nothing of the code on a machine that does other work besides.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_FACTORY = Path(__file__).parent / "results" / "factory.py"
_WHEELS = Path(__file__).parent / "wheels.py"
_OFFERED = Path(__file__).parent / "offered.py"
_POSTGRES = Path(__file__).parent / "postgres.py"


@pytest.fixture(autouse=True)
def _usual_floats():
    """Give the thread its usual floating-point mode back after each test.

    Some runtimes leave it flushing subnormal numbers to zero, which is no matter in a process of their own; the tests
    share one, and Hypothesis refuses to draw floats then.
    """
    yield
    if sys.platform.startswith("linux"):
        ctypes.CDLL("libm.so.6").fesetenv(ctypes.c_void_p(-1))  # FE_DFL_ENV of glibc and musl


@pytest.fixture(scope="session", autouse=True)
def _own_lock(tmp_path_factory):
    """Let launches of tests wait for each other alone, not for what else is measured on this machine."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HARNESS_MACHINE_LOCK", str(tmp_path_factory.mktemp("lock") / "machine.lock"))
        yield


@pytest.fixture(scope="session")
def factory():
    """The maker of synthetic runs."""
    return _loaded(_FACTORY)


@pytest.fixture(scope="session")
def wheels():
    """The maker of wheels."""
    return _loaded(_WHEELS)


@pytest.fixture(scope="session")
def offered():
    """The maker of recommendations by hand."""
    return _loaded(_OFFERED)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server, for as long as tests run; they skip, with the reason, where none is installed."""
    pytest.importorskip("psycopg")
    with _loaded(_POSTGRES).running() as server:
        yield server


@pytest.fixture
def database(postgres):
    """The name of an empty database of the test's own."""
    with postgres.database("team") as name:
        yield name


def _loaded(path: Path) -> ModuleType:
    """Return a module that is loaded by path, since tests are no package."""
    spec = importlib.util.spec_from_file_location(f"synthetic_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def written_run(factory, tmp_path_factory) -> Path:
    """The folder of the synthetic run that all tests share: to be read only."""
    return factory.write_run(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="session")
def synthetic_rows(written_run) -> tuple[Row, ...]:
    """The rows of the synthetic run, which all tests share."""
    return rows(RunStore.open(written_run))


@pytest.fixture
def synthetic_run(written_run, tmp_path) -> Path:
    """The folder of a run of its own with every kind of row: failed, skipped, fell back, noisy, hostile names."""
    return Path(shutil.copytree(written_run, tmp_path / "runs" / written_run.name))
