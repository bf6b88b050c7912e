"""What a host needs is brought to it once, whole, and named as it finds it there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from harness import jobs
from harness.artifacts import Request, Route, Workshop
from harness.cache import Cache, hash_tree
from harness.engine import Calibration
from harness.fleet.contract import FleetError
from harness.fleet.sending import Packing, Sender
from harness.fleet.shelf import Shelf
from harness.prepare import Portable
from harness.runner import Bench
from harness.vocabulary import Artifact, Precision, Skipped


@dataclass
class Host:
    """The host's shelf, and what was asked of it."""

    shelf: Shelf
    name: str = "oak"
    put_bytes: int = 0
    asked: list = field(default_factory=list)
    breaks: int = 0  # pieces that arrive broken
    refusal: object = None

    def lacks(self, parcels):
        self.asked.append(len(parcels))
        return self.shelf.lacks(parcels)

    def put(self, chunk):
        self.put_bytes += len(chunk.data)
        if self.breaks:
            self.breaks -= 1
            chunk = replace(chunk, data=bytes(byte ^ 1 for byte in chunk.data))
        self.shelf.put(chunk)

    def assemble(self, parcel):
        self.shelf.assemble(parcel)

    def build(self, source, parcel, route, request):
        self.asked.append((source.path.as_posix(), parcel, route.exporters, request))
        return self.refusal or replace(source, content_hash=f"{request.build}" * 64)


@pytest.fixture
def host(tmp_path):
    return Host(Shelf(tmp_path / "host"))


@pytest.fixture
def packing(tmp_path):
    return Packing(Workshop(Cache(tmp_path / "cache"), tmp_path / "scratch", tmp_path / "logs", 60))


@pytest.fixture
def portable(tmp_path):
    """What a variant needs: a model in the cache, inputs, a reference, images, and a folder of the user's code."""
    root = tmp_path / "cache/artifacts/ab/abcdef/content"
    for folder in (
        root / "parts",
        tmp_path / "inputs",
        tmp_path / "images/a",
        tmp_path / "images/b",
        tmp_path / "code",
    ):
        folder.mkdir(parents=True)
    (root / "model.xml").write_text("graph")
    (root / "parts/model.bin").write_bytes(b"weights" * 1000)
    np.save(tmp_path / "inputs/inputs.npy", np.zeros((2, 3)))
    (tmp_path / "outputs.npz").write_bytes(b"outputs")
    (tmp_path / "code/mine.py").write_text("x = 1")
    for name in ("a", "b"):
        (tmp_path / f"images/{name}/cat.png").write_bytes(name.encode() * 100)
    items = tuple(jobs.Item(tmp_path / f"images/{name}/cat.png", [place]) for place, name in enumerate("ab"))
    artifact = Artifact("openvino-ir", Precision.FP32, root / "model.xml", "of the folder", 7)
    inputs = jobs.Inputs(tmp_path / "inputs", "of the inputs", 2)
    bench = Bench("engines.x:X", artifact, inputs, tmp_path / "outputs.npz", items, {"0": "cat"})
    return Portable(bench, Route((), "openvino-ir"), (), {"path": tmp_path / "code"})


def silent(_word):
    pass


def test_everything_arrives_and_is_named_as_the_host_finds_it(host, packing, portable):
    load = Sender(host, packing, silent).load("openvino", portable)
    shelf, bench = host.shelf, portable.bench
    assert (load.engine, load.inputs_hash, load.inputs_count, load.classes) == (
        "openvino",
        "of the inputs",
        2,
        {"0": "cat"},
    )
    model = shelf.path_of(load.artifact_parcel, load.artifact.path)
    assert model.read_text() == "graph"
    assert hash_tree(model.parent)[0] == hash_tree(bench.artifact.path.parent)[0] == load.artifact_parcel
    assert np.load(shelf.path_of(load.inputs_parcel) / "inputs.npy").shape == (2, 3)
    assert shelf.path_of(load.reference_parcel).read_bytes() == b"outputs"
    assert (shelf.path_of(load.task_parcels["path"]) / "mine.py").read_text() == "x = 1"
    found = [(shelf.referred(place).name, shelf.referred(place).read_bytes()[:1], label) for place, label in load.items]
    assert found == [("cat.png", b"a", [0]), ("cat.png", b"b", [1])]


def test_what_variants_share_is_sent_once_and_is_one_object(host, packing, portable, tmp_path):
    sender = Sender(host, packing, silent)
    first = sender.load("openvino", portable)
    before = host.put_bytes
    lower = tmp_path / "cache/artifacts/cd/cdefab/content"
    lower.mkdir(parents=True)
    (lower / "model.xml").write_text("lower")
    artifact = replace(portable.bench.artifact, path=lower / "model.xml")
    second = sender.load("openvino", replace(portable, bench=replace(portable.bench, artifact=artifact)))
    assert host.put_bytes - before == len("lower")
    assert second.items is first.items
    assert host.asked == [5, 5, 1, 1]


def test_a_host_that_has_it_from_before_is_sent_nothing(host, packing, portable):
    Sender(host, packing, silent).load("openvino", portable)
    before = host.put_bytes
    words = []
    Sender(host, packing, words.append).load("openvino", portable)
    assert (host.put_bytes, words) == (before, [])


def test_what_arrives_broken_is_sent_again(host, packing, portable):
    host.breaks = 2
    load = Sender(host, packing, silent).load("openvino", portable)
    assert host.shelf.path_of(load.artifact_parcel, load.artifact.path).read_text() == "graph"
    assert len(host.asked) > 2


def test_what_always_arrives_broken_is_given_up(host, packing, portable):
    host.breaks = 1000
    with pytest.raises(FleetError, match="oak does not keep what it is sent: 7 files"):
        Sender(host, packing, silent).load("openvino", portable)


def test_a_file_of_the_users_own_travels_under_its_name(host, packing, portable, tmp_path):
    model = tmp_path / "mine.onnx"
    model.write_bytes(b"onnx")
    artifact = replace(portable.bench.artifact, path=model)
    load = Sender(host, packing, silent).load("x", replace(portable, bench=replace(portable.bench, artifact=artifact)))
    assert host.shelf.path_of(load.artifact_parcel, load.artifact.path).name == "mine.onnx"


def test_builds_are_asked_for_with_their_calibration_there(host, packing, portable, tmp_path):
    tensors = tmp_path / "inputs/inputs.npy"
    calibration = Calibration(tensors, "of the images", 2)
    builds = tuple(Request(1, (3,), {}, calibration, device="cuda:0", build=build) for build in (0, 1))
    words = []
    bound = replace(portable, route=Route((), "tensorrt-engine"), builds=builds)
    load = Sender(host, packing, words.append).load("tensorrt", bound)
    assert (load.artifact_parcel, [parcel for _, parcel in load.rebuilt]) == ("0" * 64, ["1" * 64])
    (source, parcel, _, request), (_, _, _, second) = host.asked[-2:]
    assert (source, host.shelf.has(parcel)) == ("model.xml", True)
    assert host.shelf.referred(request.calibration.path.as_posix()).read_bytes() == tensors.read_bytes()
    assert (request.calibration.content_hash, second.build) == ("of the images", 1)
    assert words[-1].endswith("for cuda:0, build 2")


def test_a_build_that_the_host_refuses_is_what_becomes_of_the_variant(host, packing, portable):
    host.refusal = Skipped("oak: the exporter tensorrt needs tensorrt, which is not installed", "pip install tensorrt")
    bound = replace(portable, route=Route((), "tensorrt-engine"), builds=(Request(1, (3,), {}),))
    assert Sender(host, packing, silent).load("tensorrt", bound) == host.refusal


def test_a_file_that_is_gone_is_named(host, packing, portable):
    portable.bench.reference.unlink()
    with pytest.raises(FleetError, match=r"outputs\.npz cannot be read"):
        Sender(host, packing, silent).load("x", portable)
