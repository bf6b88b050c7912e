"""What a user writes for a side: each form is told from the others, and what can be none is refused."""

from __future__ import annotations

import sys

import pytest

from harness import arms, registry
from harness.arms import BASE, HEAD, Kind
from harness.errors import HarnessError

KNOWN = frozenset({"onnxruntime", "onnxruntime-gpu", "torch"})


class Toy:
    def __init__(self, *distributions, alternatives=()):
        self.distributions, self.alternatives = distributions, alternatives


ENGINES = {
    "executorch": Toy("executorch", "torch"),
    "onnxruntime": Toy("onnxruntime", alternatives=("onnxruntime-gpu",)),
    "tensorrt": Toy("tensorrt", "cuda_bindings"),
    "torch": Toy("torch"),
    "fake": Toy(),
}


def read(text):
    return arms.read(HEAD, text, KNOWN)


@pytest.mark.parametrize(
    ("text", "requirements", "names"),
    [
        ("onnxruntime==1.30.*", ("onnxruntime==1.30.*",), ("onnxruntime",)),
        ("onnxruntime>=1.30,<1.31", ("onnxruntime>=1.30,<1.31",), ("onnxruntime",)),
        ("onnxruntime >= 1.30", ("onnxruntime >= 1.30",), ("onnxruntime",)),
        ("onnxruntime", ("onnxruntime",), ("onnxruntime",)),
        ("ONNXRuntime_GPU==1.30", ("ONNXRuntime_GPU==1.30",), ("onnxruntime-gpu",)),
        ("onnxruntime==1.30 numpy<2", ("onnxruntime==1.30", "numpy<2"), ("onnxruntime", "numpy")),
        ("onnxruntime==1.30 numpy", ("onnxruntime==1.30", "numpy"), ("onnxruntime", "numpy")),
        ("mine[gpu]", ("mine[gpu]",), ("mine",)),
        ("mine @ https://host/mine-1.whl", ("mine @ https://host/mine-1.whl",), ("mine",)),
    ],
)
def test_requirements(text, requirements, names):
    arm = read(f" {text} ")
    assert (arm.kind, arm.requirements, arm.distributions) == (Kind.REQUIREMENT, requirements, names)


@pytest.mark.parametrize(
    "text", ["main", "HEAD", "HEAD~3", "HEAD^", "HEAD@{1}", "v1.2.3", "origin/main", "feature/x", "0badc0de", "a b"]
)
def test_revisions(text):
    assert read(text).kind is Kind.REVISION


def test_a_wheel_is_a_requirement_of_its_own_path(tmp_path, monkeypatch):
    wheel = tmp_path / "onnxruntime-1.32.0-py3-none-any.whl"
    wheel.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    arm = read(wheel.name)
    assert (arm.kind, arm.requirements, arm.distributions) == (Kind.REQUIREMENT, (str(wheel),), ("onnxruntime",))
    with pytest.raises(HarnessError, match="no such wheel"):
        read("gone-1.0-py3-none-any.whl")


def test_interpreters_keep_their_links(tmp_path):
    folder = tmp_path / "env" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    for text in (str(folder / "python"), str(tmp_path / "env")):
        arm = read(text)
        assert (arm.kind, arm.interpreter) == (Kind.INTERPRETER, str(folder / "python"))


def test_an_interpreter_of_the_path(monkeypatch, tmp_path):
    (tmp_path / "python3.99").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read("python3.99").interpreter == str(tmp_path / "python3.99")


def test_nothing_is_refused():
    with pytest.raises(HarnessError, match="base: nothing is named"):
        arms.read(BASE, "  ", KNOWN)


def test_a_revision_meets_revisions_alone():
    main, wheel = arms.read(BASE, "main", KNOWN), read("onnxruntime==1.31.0")
    arms.check_kinds(main, arms.read(HEAD, "HEAD", KNOWN))
    with pytest.raises(HarnessError, match=r"base \(main\) is a revision and head .* a requirement"):
        arms.check_kinds(main, wheel)


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("onnxruntime==1.30", "onnxruntime"),
        ("onnxruntime-gpu==1.30", "onnxruntime"),
        ("numpy<2 onnxruntime==1.30", "onnxruntime"),
        ("torch==2.9", "torch"),  # executorch needs it too, torch is it
        ("executorch==1.5", "executorch"),
        ("cuda-bindings==13", "tensorrt"),
    ],
)
def test_the_engine_of_a_requirement(text, engine):
    assert arms.engine_of(read(text), ENGINES) == engine


def test_a_requirement_that_brings_no_engine_is_asked_about():
    with pytest.raises(HarnessError, match="known to bring no engine") as refused:
        arms.engine_of(read("requests==2"), ENGINES)
    assert "--engine" in refused.value.hint
    assert "onnxruntime-gpu" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "engine", "also"),
    [
        ("tensorrt==10", "tensorrt", ("cuda_bindings",)),
        ("tensorrt==10 cuda-bindings==13", "tensorrt", ()),
        ("onnxruntime-gpu==1.30", "onnxruntime", ()),  # beside it the other would take its place
        ("onnxruntime==1.30", "onnxruntime", ()),
    ],
)
def test_what_is_installed_besides(text, engine, also):
    assert arms.companions(read(text), ENGINES[engine]) == also


def test_every_built_in_engine_is_known_by_what_brings_it():
    engines = {name: registry.engine(each.target) for name, each in registry.registered(registry.ENGINES_GROUP).items()}
    known = arms.distributions(engines)
    for name, engine in engines.items():
        for distribution in (*engine.distributions[:1], *engine.alternatives):
            assert arms.engine_of(arms.read(HEAD, distribution, known), engines) == name
