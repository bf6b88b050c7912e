"""The exporters that make or take a SavedModel: what they make, and what they say when they cannot."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from engines.exporters.keras_import import KerasImport
from engines.exporters.saved_model_import import SavedModelImport
from engines.exporters.saved_model_tflite import SavedModelToTflite
from harness.engine import ExportSpec
from harness.errors import DataError, EngineUnavailable, ExportFailed, HarnessError, Unsupported
from harness.vocabulary import FORMAT_KERAS_FILE, FORMAT_SAVED_MODEL, FORMAT_SAVED_MODEL_FILE, Artifact, Precision
from harness.vocabulary import TensorSpec as Spec

pytestmark = [
    pytest.mark.engine,
    # Keras reads TensorFlow's variables with an interface that numpy 2 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

ROOT = Path(__file__).parents[2]
SHAPE = (3, 32, 32)


def export(exporter, path, folder, batch=2, shape=SHAPE, **options):
    folder.mkdir()
    source = Artifact(exporter.source, Precision.FP32, path, "0" * 64, 0)
    return exporter.export(source, ExportSpec(Precision.FP32, batch, shape, options=options), folder)


def images(shape=(2, 32, 32, 3)):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def serve(folder, name, value):
    model = tf.saved_model.load(str(folder / "model"))
    signature = model.signatures["serving_default"]
    assert all(tensor.shape.is_fully_defined() for tensor in signature.structured_outputs.values())
    return {key: found.numpy() for key, found in signature(**{name: tf.constant(value)}).items()}


def assert_near(found, expected):
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


# --- Keras ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    """A small model of ``keras.applications`` with random weights, and what it answers."""
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNet(alpha=0.25, input_shape=(32, 32, 3), weights=None, classes=10)
    path = tmp_path_factory.mktemp("keras") / "mobilenet.keras"
    model.save(path)
    return path, model(images(), training=False).numpy()


@pytest.mark.parametrize("freeze", [False, True])
def test_a_model_of_keras_becomes_one_signature_of_static_shapes(application, tmp_path, freeze):
    path, expected = application
    made = export(KerasImport(), path, tmp_path / "out", freeze=freeze)
    assert made.inputs == (Spec("input_layer", "float32", (2, 32, 32, 3)),)
    assert made.outputs == (Spec("output_0", "float32", (2, 10)),)
    assert made.notes == (("variables frozen into constants",) if freeze else ())
    assert_near(serve(tmp_path / "out", "input_layer", images())["output_0"], expected)
    variables = list((tmp_path / "out" / "model" / "variables").glob("*.data*"))
    assert (sum(file.stat().st_size for file in variables) > 500_000) == (not freeze)


def small(tmp_path, *layers, shape=(32, 32, 3), name="small.keras", **settings):
    given = keras.Input(shape, name="images", **settings)
    found = given
    for layer in (*layers, keras.layers.GlobalAveragePooling2D()):
        found = layer(found)
    keras.Model(given, found).save(tmp_path / name)
    return tmp_path / name


def test_open_sides_take_the_shape_that_is_asked(tmp_path):
    path = small(tmp_path, keras.layers.Conv2D(4, 3), shape=(None, None, 3))
    made = export(KerasImport(), path, tmp_path / "out", batch=3, shape=(3, 16, 24))
    assert made.inputs[0].shape == (3, 16, 24, 3)
    assert made.outputs[0].shape == (3, 4)


def test_outputs_in_a_dictionary_keep_their_names(tmp_path):
    given = keras.Input((32, 32, 3), name="images")
    keras.Model(given, {"mean": keras.ops.mean(given, (1, 2)), "largest": keras.ops.max(given, (1, 2))}).save(
        tmp_path / "two.keras"
    )
    made = export(KerasImport(), tmp_path / "two.keras", tmp_path / "out")
    assert {spec.name for spec in made.outputs} == {"mean", "largest"}


@pytest.mark.parametrize(
    ("shape", "batch", "error", "says"),
    [
        ((3, 32, 64), 1, Unsupported, r"takes \(None, 32, 32, 3\), a batch of 1 of \[3, 32, 64\] was asked"),
        ((1, 32, 32), 1, Unsupported, "takes"),
        ((3, 32), 1, ExportFailed, "4 dimensions, the workload gives 2"),
    ],
)
def test_another_shape_is_refused(application, tmp_path, shape, batch, error, says):
    with pytest.raises(error, match=says) as caught:
        export(KerasImport(), application[0], tmp_path / "out", batch, shape)
    assert "`input:`" in caught.value.hint


def test_a_shape_that_a_layer_cannot_take_is_refused(tmp_path):
    path = small(tmp_path, keras.layers.Conv2D(4, 9), shape=(None, None, 3))
    with pytest.raises(ExportFailed, match=r"does not run at \(1, 4, 4, 3\)"):
        export(KerasImport(), path, tmp_path / "out", 1, (3, 4, 4))


def test_a_truncated_file_is_refused(application, tmp_path):
    (tmp_path / "cut.keras").write_bytes(application[0].read_bytes()[:50_000])
    with pytest.raises(ExportFailed, match=r"cut\.keras is no Keras archive"):
        export(KerasImport(), tmp_path / "cut.keras", tmp_path / "out")


def test_an_archive_of_something_else_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ExportFailed, match=r"other\.keras cannot be read"):
        export(KerasImport(), tmp_path / "other.keras", tmp_path / "out")


def test_the_code_of_a_lambda_layer_is_not_run(tmp_path):
    path = small(tmp_path, keras.layers.Lambda(lambda given: given * 2, output_shape=(32, 32, 3)))
    with pytest.raises(ExportFailed, match="brings code of its own, which is not run") as caught:
        export(KerasImport(), path, tmp_path / "out")
    assert "Lambda" in caught.value.hint


def test_a_layer_that_keras_does_not_have_is_named(tmp_path):
    class Doubling(keras.layers.Layer):
        def call(self, given):
            return given * 2

    path = small(tmp_path, Doubling())
    with pytest.raises(ExportFailed, match="needs 'Doubling', which is unknown here") as caught:
        export(KerasImport(), path, tmp_path / "out")
    assert "SavedModel" in caught.value.hint


def test_inputs_that_are_no_image_are_refused(tmp_path):
    with pytest.raises(Unsupported, match="takes uint8"):
        export(KerasImport(), small(tmp_path, keras.layers.Rescaling(1.0), dtype="uint8"), tmp_path / "out")
    one, other = keras.Input((32, 32, 3), name="one"), keras.Input((32, 32, 3), name="other")
    keras.Model([one, other], one + other).save(tmp_path / "two.keras")
    with pytest.raises(Unsupported, match="the inputs one, other"):
        export(KerasImport(), tmp_path / "two.keras", tmp_path / "out2")


def test_lower_precision_in_the_file_is_noted(tmp_path):
    path = small(tmp_path, keras.layers.Conv2D(4, 3, dtype="mixed_float16"))
    (note,) = export(KerasImport(), path, tmp_path / "out").notes
    assert "computes in float16" in note


def test_an_option_that_there_is_not_is_refused(application, tmp_path):
    with pytest.raises(ExportFailed, match="no option 'frozen'"):
        export(KerasImport(), application[0], tmp_path / "out", frozen=True)


# --- SavedModel ----------------------------------------------------------------------------------------------------


class Module(tf.Module):
    """Convolution, ReLU6; signatures of several kinds."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(1).random((3, 3, 3, 4), np.float32) - 0.5)

    def spec(*shape, dtype=tf.float32):
        return tf.function(input_signature=[tf.TensorSpec(shape, dtype, name="given")], autograph=False)

    @spec(None, None, None, 3)
    def open(self, given):
        return {"found": tf.nn.relu6(tf.nn.conv2d(given, self.kernel, 1, "SAME"))}

    @spec(1, 32, 32, 3)
    def fixed(self, given):
        return {"found": given * 2}

    @spec(None, 3, None, None)
    def channels_first(self, given):
        return {"found": tf.reduce_mean(given, (2, 3))}

    @spec(None, 32, 32, 3, dtype=tf.uint8)
    def bytes(self, given):
        return {"found": tf.cast(given, tf.float32)}

    @spec(None, 32, 32, 3)
    def words(self, given):
        return {"found": tf.strings.as_string(given)}

    @spec(1, 32, 32, 3)
    def unknown_to_lite(self, given):
        return {"found": tf.math.igamma(given, given)}


def saved(folder, *names, default=""):
    module = Module()
    signatures = {"serving_default" if name == default else name: getattr(module, name) for name in names}
    tf.saved_model.save(module, str(folder / "given"), signatures=signatures)
    return folder / "given"


@pytest.mark.parametrize("freeze", [False, True])
def test_a_signature_of_open_sides_becomes_static(tmp_path, freeze):
    path = saved(tmp_path, "open")
    made = export(SavedModelImport(), path, tmp_path / "out", freeze=freeze)
    assert made.inputs == (Spec("given", "float32", (2, 32, 32, 3)),)
    assert made.outputs == (Spec("found", "float32", (2, 32, 32, 4)),)
    model = tf.saved_model.load(str(path))
    expected = model.open(images())["found"].numpy()
    assert_near(serve(tmp_path / "out", "given", images())["found"], expected)


def test_channels_that_come_first_stay_first(tmp_path):
    made = export(SavedModelImport(), saved(tmp_path, "channels_first"), tmp_path / "out")
    assert made.inputs[0].shape == (2, 3, 32, 32)


def test_of_several_signatures_one_is_asked_for(tmp_path):
    path = saved(tmp_path, "open", "fixed")
    with pytest.raises(Unsupported, match="has the signatures: open, fixed") as caught:
        export(SavedModelImport(), path, tmp_path / "none")
    assert "signature" in caught.value.hint
    with pytest.raises(Unsupported, match="no signature 'serve'"):
        export(SavedModelImport(), path, tmp_path / "other", signature="serve")
    assert export(SavedModelImport(), path, tmp_path / "one", batch=1, signature="fixed").outputs[0].shape[-1] == 3


def test_the_one_that_serves_by_default_is_taken_of_several(tmp_path):
    path = saved(tmp_path, "open", "fixed", default="open")
    assert export(SavedModelImport(), path, tmp_path / "out").outputs[0].shape[-1] == 4


@pytest.mark.parametrize(
    ("name", "says"),
    [("fixed", r"takes \(1, 32, 32, 3\), a batch of 2"), ("bytes", "is uint8"), ("words", "no tensor of")],
)
def test_what_a_signature_cannot_take_is_refused(tmp_path, name, says):
    with pytest.raises(Unsupported, match=says) as caught:
        export(SavedModelImport(), saved(tmp_path, name), tmp_path / "out")
    assert caught.value.hint


def _without_graph(path):
    (path / "saved_model.pb").unlink()


def _truncated(path):
    graph = path / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:3000])


def _without_weights(path):
    next(path.glob("variables/*.index")).unlink()


def _foreign_operator(path):
    graph = path / "saved_model.pb"
    graph.write_bytes(graph.read_bytes().replace(b"Relu6", b"Relv6"))


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (_without_graph, DataError, "holds no saved_model.pb"),
        (_truncated, HarnessError, "cannot be restored"),
        (_without_weights, HarnessError, "given"),
        (_foreign_operator, Unsupported, "operator that TensorFlow lacks.*Relv6"),
    ],
)
def test_a_broken_folder_is_refused(tmp_path, fault, error, says):
    path = saved(tmp_path, "open")
    fault(path)
    with pytest.raises(error, match=says) as caught:
        export(SavedModelImport(), path, tmp_path / "out")
    assert caught.value.hint


def test_a_model_that_fails_at_this_shape_is_refused(tmp_path):
    class Product(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, name="given")])
        def serve(self, given):
            return {"found": tf.reshape(given, (-1, 12_288)) @ tf.ones((12_288, 2))}

    module = Product()
    tf.saved_model.save(module, str(tmp_path / "given"), signatures=module.serve)
    with pytest.raises(ExportFailed, match=r"does not run at \(1, 32, 32, 3\)"):
        export(SavedModelImport(), tmp_path / "given", tmp_path / "out", batch=1)


# --- TensorFlow Lite -----------------------------------------------------------------------------------------------


def test_a_saved_model_becomes_a_tflite_file_that_answers_the_same(tmp_path):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    made = export(SavedModelImport(), saved(tmp_path, "open"), tmp_path / "made")
    source = Artifact(FORMAT_SAVED_MODEL, Precision.FP32, tmp_path / "made" / "model", "", 0, made.inputs, made.outputs)
    lite = SavedModelToTflite().export(source, ExportSpec(Precision.FP32, 2, SHAPE), tmp_path)
    assert (lite.inputs, lite.outputs) == (made.inputs, made.outputs)
    runner = litert.Interpreter(str(tmp_path / lite.entry)).get_signature_runner("serving_default")
    found = runner(given=images())["found"]
    assert_near(found, serve(tmp_path / "made", "given", images())["found"])


def test_an_operator_that_tensorflow_lite_lacks_is_named(tmp_path):
    made = export(SavedModelImport(), saved(tmp_path, "unknown_to_lite"), tmp_path / "made", batch=1)
    source = Artifact(FORMAT_SAVED_MODEL, Precision.FP32, tmp_path / "made" / "model", "", 0, made.inputs, made.outputs)
    with pytest.raises(ExportFailed, match="Igamma") as caught:
        SavedModelToTflite().export(source, ExportSpec(Precision.FP32, 1, SHAPE), tmp_path)
    assert "operator" in caught.value.hint


@pytest.mark.parametrize("exporter", [KerasImport, SavedModelImport, SavedModelToTflite])
def test_without_tensorflow_it_says_how_to_install_it(monkeypatch, tmp_path, exporter):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(EngineUnavailable) as caught:
        export(exporter(), tmp_path, tmp_path / "out")
    assert caught.value.hint == exporter.install


def test_formats_are_those_of_the_vocabulary():
    ends = [(exporter.source, exporter.target) for exporter in (KerasImport, SavedModelImport)]
    assert ends == [(FORMAT_KERAS_FILE, FORMAT_SAVED_MODEL), (FORMAT_SAVED_MODEL_FILE, FORMAT_SAVED_MODEL)]


# --- torch ---------------------------------------------------------------------------------------------------------

FROM_TORCH = """
    import sys
    from pathlib import Path
    import numpy as np
    import torch
    from engines.exporters.torch_saved_model import TorchToSavedModel
    from engines.tensorflow import TensorFlowEngine, TensorFlowOptions
    from harness.engine import ExportSpec, SessionConfig
    from harness.vocabulary import Artifact, Precision, TensorSpec
    folder, nn = Path(sys.argv[1]), torch.nn
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(784, 5)).eval()
    image = torch.rand(1, 3, 16, 16)
    inputs, outputs = (TensorSpec("images", "float32", (1, 3, 16, 16)),), (TensorSpec("output0", "float32", (1, 5)),)
    source = Artifact("torch-export", Precision.FP32, folder / "model.pt2", "", 0, inputs, outputs)

    class Tupled(nn.Module):
        def forward(self, given):
            return (net(given),)

    torch.export.save(torch.export.export(Tupled(), (image,)), folder / "model.pt2")
    made = TorchToSavedModel().export(source, ExportSpec(Precision.FP32, 1, (3, 16, 16)), folder)
    assert (made.inputs, made.outputs) == (inputs, outputs), made
    artifact = Artifact("saved-model", Precision.FP32, folder / made.entry, "", 0, inputs, outputs)
    session = TensorFlowEngine().load(artifact, SessionConfig(options=TensorFlowOptions()))
    stream = session.stream()
    stream.bind({"images": image.numpy()})
    stream.run()
    np.testing.assert_allclose(stream.fetch()["output0"], net(image).detach().numpy(), rtol=1e-4, atol=1e-5)
    execution = session.describe()
    assert execution.macs_by_precision == {"fp32": 1.0}, execution
    assert execution.flags["compiled by"] == "XLA", execution
    print("same")
"""


def test_a_program_of_torch_runs_in_tensorflow_by_way_of_stablehlo(tmp_path):
    pytest.importorskip("torch")
    from importlib.util import find_spec

    if find_spec("litert_torch") is None:
        pytest.skip("litert-torch is not installed")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FROM_TORCH), tmp_path],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "same" in done.stdout
