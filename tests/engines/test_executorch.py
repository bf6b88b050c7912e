"""ExecuTorch's adapter and its exporter: the contract, and what is this engine's own."""

from dataclasses import replace

import numpy as np
import pytest

from engines.executorch import ExecuTorchEngine
from engines.exporters.torch_executorch import TorchExportToExecuTorch
from harness.conformance import EngineConformance
from harness.engine import ExportSpec, NoOptions, SessionConfig
from harness.errors import DataError, ExportFailed, Unsupported
from harness.tiny_model import TINY_INPUTS, TINY_OUTPUTS, tiny_artifact, tiny_calibration, tiny_inputs, tiny_weights
from harness.vocabulary import FORMAT_EXECUTORCH, FORMAT_TORCH_EXPORT, Artifact, Goal, Precision, TensorSpec

pytestmark = [
    pytest.mark.engine,
    # torch itself uses what it deprecates: torch.export when it copies a tree specification.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning"),
]
torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("executorch.exir", reason="executorch is not installed", exc_type=ImportError)
SPEC = ExportSpec(Precision.FP32, 1, TINY_INPUTS[0].shape[1:])


def _package(module, shape, folder, name="image"):
    from engines.exporters import _torch

    made = _torch.export(_torch.Traceable(module.eval(), name), ExportSpec(Precision.FP32, 1, shape), folder)
    return Artifact(FORMAT_TORCH_EXPORT, Precision.FP32, folder / made.entry, "", 0, made.inputs, made.outputs)


def _tiny(folder):
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    weights = [torch.from_numpy(value) for value in tiny_weights().values()]
    module.load_state_dict(dict(zip(module.state_dict(), weights, strict=True)))
    return replace(_package(module, SPEC.shape, folder), inputs=TINY_INPUTS, outputs=TINY_OUTPUTS)


def _artifact(precision, folder):
    sources, made = folder / "sources", folder / "made"
    sources.mkdir()
    made.mkdir()
    spec = replace(SPEC, precision=precision, calibration=tiny_calibration(sources))
    exported = TorchExportToExecuTorch().export(_tiny(sources), spec, made)
    assert (exported.inputs, exported.outputs) == (TINY_INPUTS, TINY_OUTPUTS)
    assert [path.name for path in made.iterdir()] == ["model.pte"]
    return tiny_artifact(made / exported.entry, FORMAT_EXECUTORCH, precision)


class TestContract(EngineConformance):
    engine = ExecuTorchEngine
    precisions = (Precision.FP32, Precision.INT8)

    def artifact(self, precision, folder):
        return _artifact(precision, folder)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    return _artifact(Precision.FP32, tmp_path_factory.mktemp("fp32"))


def _load(artifact, **changes):
    return ExecuTorchEngine().load(artifact, replace(SessionConfig(options=NoOptions(), threads=1), **changes))


def _infer(session, inputs):
    stream = session.stream()
    stream.bind(inputs)
    stream.run()
    return stream.fetch()


def test_what_is_delegated_shows_in_the_execution(fp32):
    execution = _load(fp32).describe()
    assert execution.operators["Conv2d+Clamp"] == 1
    assert execution.operators["FullyConnected"] == 1
    assert execution.graph_nodes == sum(execution.operators.values())
    assert execution.flags["own kernels"] == "none"
    assert execution.macs_by_precision == {"fp32": 1.0}


def test_an_fp32_program_under_another_name_shows_what_ran(fp32):
    execution = _load(replace(fp32, precision=Precision.INT8), precision=Precision.INT8).describe()
    assert execution.macs_by_precision == {"fp32": 1.0}


def test_one_stream_is_recommended_since_python_runs_one_at_a_time(fp32):
    assert _load(fp32, goal=Goal.THROUGHPUT, threads=2).recommended_streams == 1


def test_a_truncated_program_is_refused(fp32, tmp_path):
    path = tmp_path / "model.pte"
    path.write_bytes(fp32.path.read_bytes()[:-100])
    with pytest.raises(DataError) as caught:
        _load(replace(fp32, path=path))
    assert "export" in caught.value.hint


def test_other_shapes_than_the_artifacts_are_refused(fp32):
    with pytest.raises(Unsupported, match="expected were"):
        _load(replace(fp32, inputs=(replace(TINY_INPUTS[0], shape=(2, 3, 16, 16)),)))


# --- the exporter


def test_weights_with_strides_of_channels_last_do_no_harm(tmp_path):
    """Such a convolution feeding one of ExecuTorch's own kernels failed at the first run."""

    class Split(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 1)
            weight = self.conv.weight.detach()
            self.conv.weight.data = weight.as_strided(weight.shape, (3, 1, 3, 3))

        def forward(self, image):
            first, second = self.conv(image).split(2, 1)
            return first * second

    module = Split()
    source = _package(module, (3, 6, 6), tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    made = TorchExportToExecuTorch().export(source, SPEC, folder)
    assert "split" in made.notes[0]
    artifact = replace(source, format=FORMAT_EXECUTORCH, path=folder / made.entry)
    image = np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(np.float32)
    session = _load(artifact)
    expected = module(torch.from_numpy(image)).detach().numpy()
    assert _infer(session, {"image": image})["output0"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert "split_with_sizes" in session.describe().flags["own kernels"]


def test_an_operator_kept_in_float_shows(tmp_path):
    source = _tiny(tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    calibration = tiny_calibration(tmp_path, 4)
    spec = replace(
        SPEC, precision=Precision.INT8, calibration=calibration, options={"exclude": ["conv2d.*"], "keep_last": False}
    )
    made = TorchExportToExecuTorch().export(source, spec, folder)
    assert made.notes[1:] == ("kept in float (after the last layers): 1 operators", "kept in float (as asked): conv2d")
    artifact = tiny_artifact(folder / made.entry, FORMAT_EXECUTORCH, Precision.INT8)
    shares = _load(artifact, precision=Precision.INT8).describe().macs_by_precision
    assert shares["fp32"] > 0.9
    assert shares["int8"] > 0
    assert np.isfinite(_infer(_load(artifact, precision=Precision.INT8), tiny_inputs())["logits"]).all()


class Detector(torch.nn.Module):
    """Boxes in hundreds of pixels and scores below 1, joined in one tensor."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.boxes = torch.nn.Conv2d(16, 4, 1)
        self.scores = torch.nn.Conv2d(16, 5, 1)

    def forward(self, image):
        features = torch.relu(self.backbone(image))
        boxes = self.boxes(features).flatten(2) * 300.0 + 320.0
        return torch.cat((boxes, self.scores(features).flatten(2).sigmoid()), 1)


@pytest.mark.parametrize("keep_last", [True, False])
def test_scores_that_share_a_tensor_with_boxes_survive(tmp_path, keep_last):
    module = Detector()
    source = _package(module, SPEC.shape, tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    calibration = tiny_calibration(tmp_path, 4)
    spec = replace(SPEC, precision=Precision.INT8, calibration=calibration, options={"keep_last": keep_last})
    made = TorchExportToExecuTorch().export(source, spec, folder)
    assert "kept in float (after the last layers): 7 operators" in made.notes
    assert ("kept in float (last layer): conv2d_1, conv2d_2" in made.notes) == keep_last
    session = _load(
        replace(source, format=FORMAT_EXECUTORCH, precision=Precision.INT8, path=folder / made.entry),
        precision=Precision.INT8,
    )
    shares = session.describe().macs_by_precision
    assert shares.get("fp32", 0.0) == pytest.approx(9 / (27 + 9) if keep_last else 0.0)
    image = np.load(calibration.path)[:1]
    expected = module(torch.from_numpy(image)).detach().numpy()
    scores = _infer(session, {"image": image})["output0"][:, 4:]
    assert scores.std() > 0.5 * expected[:, 4:].std()
    assert np.abs(scores - expected[:, 4:]).max() < 0.1


class Limited(torch.nn.Module):
    """A layer whose answers spread far beyond what a ReLU6 behind it leaves."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.wide = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.last = torch.nn.Conv2d(16, 4, 1)
        with torch.no_grad():
            self.wide.weight *= 200.0

    def forward(self, image):
        return self.last(torch.nn.functional.relu6(self.wide(image), inplace=True))


def test_a_limit_is_quantised_with_its_layer(tmp_path):
    """Of the layer's own range the limit leaves little."""
    module = Limited()
    source = _package(module, SPEC.shape, tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    calibration = tiny_calibration(tmp_path, 4)
    made = TorchExportToExecuTorch().export(
        source, replace(SPEC, precision=Precision.INT8, calibration=calibration), folder
    )
    artifact = replace(source, format=FORMAT_EXECUTORCH, precision=Precision.INT8, path=folder / made.entry)
    session = _load(artifact, precision=Precision.INT8)
    assert session.describe().macs_by_precision["int8"] == pytest.approx(27 / (27 + 4))
    images = np.load(calibration.path)[:1]
    expected = module(torch.from_numpy(images)).detach().numpy()
    error = np.abs(_infer(session, {"image": images})["output0"] - expected)
    assert error.mean() < 0.02 * np.abs(expected).mean()  # 0.027 with a range of its own


def test_an_operator_without_a_kernel_fails_by_name(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, given):
            return torch.special.airy_ai(given)

    with pytest.raises(ExportFailed, match="airy_ai") as caught:
        TorchExportToExecuTorch().export(_package(Odd(), (3, 4, 4), tmp_path), SPEC, tmp_path)
    assert caught.value.hint


def test_a_package_that_is_cut_short_fails_with_a_hint(tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(b"PK\3\4 no package")
    inputs = (TensorSpec("image", "float32", (1, 3, 4, 4)),)
    source = Artifact(FORMAT_TORCH_EXPORT, Precision.FP32, path, "", 0, inputs, inputs)
    with pytest.raises(ExportFailed) as caught:
        TorchExportToExecuTorch().export(source, SPEC, tmp_path)
    assert caught.value.hint


def test_int8_of_which_nothing_is_quantised_is_refused(tmp_path):
    spec = replace(
        SPEC, precision=Precision.INT8, calibration=tiny_calibration(tmp_path, 2), options={"exclude": [".*"]}
    )
    with pytest.raises(ExportFailed, match="every layer of the model in float"):
        TorchExportToExecuTorch().export(_tiny(tmp_path), spec, tmp_path)


def test_an_option_that_there_is_not_is_refused_at_every_precision(tmp_path):
    with pytest.raises(ExportFailed, match="no option 'channels'"):
        TorchExportToExecuTorch().export(_tiny(tmp_path), replace(SPEC, options={"channels": 1}), tmp_path)


def test_int8_without_images_is_refused(tmp_path):
    with pytest.raises(ExportFailed, match="no calibration images"):
        TorchExportToExecuTorch().export(_tiny(tmp_path), replace(SPEC, precision=Precision.INT8), tmp_path)
